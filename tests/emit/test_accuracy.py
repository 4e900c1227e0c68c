"""Every kernel of every shipped statement against 50 digits, over the whole domain of each symbol, on every engine; and
its singular points."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.emit.kernels import kernel
from advmf.functions import (
    ArcCosine,
    Conjugate,
    Flow,
    GaussianNorm,
    GeometricSum,
    NumericNorm,
    QExponential,
    QLogarithm,
    Recursion,
)
from advmf.symbols import K, L, c, d, eps, p, q, sigma_w, t, u, v
from advmf.theorems import THEOREMS

BACKENDS = ("numpy", "native", "torch")
ULP = 2.0**-53
BASE, SLOPE = 20, 2
"""A kernel's error in units of 2**-53: so many, and so many for each unit of the largest logarithm of a power in it."""
LOGARITHMIC = {
    "L": (1, 1e5), "N": (1, 1e8), "d": (1, 1e7), "K": (1, 1e7), "sigma_w": (1e-3, 30), "sigma_b": (1e-3, 30), "eps": (1e-6, 1e3),
    "x_sq": (1e-4, 1e4), "y_sq": (1e-4, 1e4), "t": (1e-6, 1e6), "m": (1e-3, 1), "M": (1, 1e3), "lam": (1e-3, 1e3), "p": (1, 1e3), "q": (1, 1e3),
}  # fmt: skip
BAND = {"L": (3, 20), "sigma_w": (1, 2), "m": (1e-30, 1e-20), "M": (1e20, 1e30)}
POINTS, REFERENCES = 300, 5
"""Elements of a call, enough for the engines, and how many of them are compared."""


def opaque(expr):
    """The formula with a symbol for each function that is computed by quadrature or integration, which have tests of
    their own."""
    names = {}

    def symbol(head):
        return lambda *args: names.setdefault(head(*args), sp.Symbol(f"z{len(names)}", positive=True))

    for head in (Flow, *NumericNorm.__subclasses__()):
        expr = expr.replace(head, symbol(head))
    return expr.replace(
        lambda e: isinstance(e, GaussianNorm) and e.args[1] != 2, lambda e: symbol(GaussianNorm)(*e.args)
    )


def statements():
    """Every statement by label: for all networks at one pair of exponents, for a vanilla one at a generic pair by two
    routes as well."""
    asked = [
        (preset, ("inf", 2), "chevet") for preset in (mf.vanilla, mf.residual, mf.plain_residual, mf.preactivation)
    ]
    asked += [(mf.vanilla, (3, "3/2"), route) for route in ("chevet", "leading")]
    found = {}
    for preset, pair, route in asked:
        for name, statement in ((name, theorem.stated) for name, theorem in THEOREMS.items()):
            try:
                claims = statement(preset(1, "1/5"), *pair, route)
            except mf.errors.AdvmfError:  # says nothing of this network
                continue
            for claim in claims:
                expr = opaque(claim.rhs)
                if not expr.has(Recursion) and expr.free_symbols:
                    found.setdefault(expr, f"{name} {preset.__name__} {pair} {route}")
    return {f"{label} {i}": expr for i, (expr, label) in enumerate(found.items())}


SHIPPED = statements()


def points(expr, seed=0):
    random = np.random.default_rng(seed)
    values = {}
    for symbol in sorted(expr.free_symbols, key=str):
        if symbol.name in LOGARITHMIC or symbol.name.startswith("z"):
            low, high = LOGARITHMIC.get(symbol.name, (0.1, 10))
            if expr.has(sp.Piecewise):  # inside the trainable band
                low, high = BAND.get(symbol.name, (low, high))
            values[symbol.name] = np.exp(random.uniform(math.log(low), math.log(high), POINTS))
        else:
            values[symbol.name] = random.uniform(-1, 1, POINTS)
    return values


def exact(expr, at):
    """50 digits at the very floats given; the closed forms of functions that stay exact."""
    expr = expr.replace(GaussianNorm, lambda n, r: sp.sqrt(2) * sp.gamma((n + 1) / 2) / sp.gamma(n / 2))
    numbers = {symbol: sp.Float(at[symbol.name], 60) for symbol in expr.free_symbols}
    return expr.subs(numbers).evalf(50)


def amplification(expr, at):
    """The magnitude of the largest logarithm of a power in the formula: an error of one ulp in the base or the exponent
    is so many in it."""
    numbers = {symbol: sp.Float(at[symbol.name], 20) for symbol in expr.free_symbols}
    powers = [
        e for e in sp.preorder_traversal(expr) if isinstance(e, (sp.Pow, sp.exp)) and not e.as_base_exp()[1].is_number
    ]
    heads = [e for e in sp.preorder_traversal(expr) if isinstance(e, (QExponential, QLogarithm, GeometricSum))]
    sizes = [abs(sp.log(abs(e.subs(numbers).evalf(20))).evalf(20)) for e in (*powers, *heads)]
    return max([float(size) for size in sizes if size.is_number and size.is_finite], default=0.0)


def errors(expr, backend):
    """The errors at a few points, in units of 2**-53, with what they may be; of the logarithm where the value is no
    normal number."""
    values = points(expr)
    f = kernel(expr, backend)
    got, logs = (np.broadcast_to(np.asarray(g(**values)), POINTS) for g in (f, f.log))
    for i in range(REFERENCES):
        at = {name: float(x[i]) for name, x in values.items()}
        reference = exact(expr, at)
        if not reference.is_real or reference == 0:
            assert np.isnan(got[i]) or got[i] in (0, math.inf), at
            continue
        reference = mpmath.mpf(reference._to_mpmath(200))
        allowed = BASE + SLOPE * amplification(expr, at)
        with mpmath.workdps(50):
            if mpmath.mpf(2) ** -1000 < abs(reference) < mpmath.mpf(2) ** 1000:
                yield float(abs(mpmath.mpf(float(got[i])) / reference - 1)) / ULP, allowed
            log = mpmath.log(abs(reference))
            yield float(abs(mpmath.mpf(float(logs[i])) - log) / max(1, abs(log))) / ULP, allowed


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("label", SHIPPED)
def test_shipped_statements(label, backend):
    for error, allowed in errors(SHIPPED[label], backend):
        assert error < allowed


def test_the_bound_can_fail():
    """A formula that is wrong by 1e-13 is told from the right one."""
    expr = next(expr for label, expr in SHIPPED.items() if label.startswith("beta"))
    at = {name: float(x[0]) for name, x in points(expr).items()}
    wrong = kernel(expr * (1 + sp.Rational(1, 10**13)), "numpy")(**points(expr))[0]
    assert abs(float(wrong) / float(exact(expr, at)) - 1) / ULP > BASE + SLOPE * amplification(expr, at)


BASE_OF_SUM = 1 + (u - v) ** 2 * sigma_w**2 / 4
SINGULAR = {
    "u = v": (GeometricSum(BASE_OF_SUM, L), {"u": 0.7, "v": 0.7, "sigma_w": 1.3, "L": 17}, 17),
    "omega = 1": (GeometricSum(sigma_w**2, L), {"sigma_w": 1, "L": 9}, 9),
    "L = 2 in a q-exponential": (QExponential(-t, L / 2), {"t": 0.75, "L": 2}, sp.exp(-sp.Rational(3, 4))),
    "L = 2 in a q-logarithm": (QLogarithm(sigma_w, L / 2), {"sigma_w": 3, "L": 2}, sp.log(3)),
    "L = 2 in the weight variance": (
        mf.weight_variance(mf.vanilla(1, 0), 2, 2, "leading").rhs.subs({K: 1, d: 4}),
        {"sigma_w": 2, "L": 2, "eps": 0.5, "t": 3, "N": 4}, None,
    ),
    "p = 2": (d ** sp.Max(0, sp.S.Half - 1 / p), {"d": 10, "p": 2}, 1),
    "p = 1": (d ** (1 / Conjugate(p)), {"d": 10, "p": 1}, 1),
    "p = oo": (d ** (1 / Conjugate(p)), {"d": 10, "p": math.inf}, 10),
    "q = oo": (K ** (1 / q) + mf.beta(2, q, "leading"), {"K": 7, "d": 9, "q": math.inf}, None),
    "c = 1": (ArcCosine(c), {"c": 1}, 1),
    "c = -1": (ArcCosine(c), {"c": -1}, 0),
    "eps at p = q": (eps * d ** (1 / p - 1 / q), {"eps": 0.5, "d": 5, "p": 3, "q": 3}, sp.S.Half),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("label", SINGULAR)
def test_singular_points_equal_their_limits(label, backend):
    """At every size: alone, all elements at the point, and among others; also where it is the value on one axis of a
    grid."""
    expr, at, expected = SINGULAR[label]
    numbers = {name: sp.oo if x == math.inf else sp.nsimplify(x) for name, x in at.items()}
    limit = expr.subs({s: numbers[s.name] for s in expr.free_symbols}) if expected is None else sp.sympify(expected)
    limit = float(limit.doit().evalf(20))
    f = kernel(expr, backend)
    one = {name: float(x) for name, x in at.items()}
    shifts = {name: x * np.linspace(1, 1.5, 40) if name not in "cuv" else np.full(40, x) for name, x in one.items()}
    for values in (
        one,
        {name: np.full(2000, x) for name, x in one.items()},
        {name: np.r_[np.full(1000, x), np.resize(shifts[name], 1000)] for name, x in one.items()},
        {
            name: np.r_[x, shifts[name]].reshape((-1,) + (1,) * i)[: 41 if i < 2 else 2]
            for i, (name, x) in enumerate(one.items())
        },
    ):
        got = float(np.asarray(f(**values)).flat[0])
        assert math.isclose(got, limit, rel_tol=1e-14, abs_tol=1e-300), (got, limit)


class Pairs:
    """Two inputs through a block in mpmath by their cross moment, at so many digits that it may cancel."""

    def __init__(self, name, u, v, sigma_w, sigma_b):
        self.name, self.u, self.v = name, mpmath.mpf(u), mpmath.mpf(v)
        self.w, self.b = mpmath.mpf(sigma_w) ** 2, mpmath.mpf(sigma_b) ** 2

    def activation(self, Q, R, P):
        """The moments after it, and the mean of the product of slopes."""
        c = max(min(P / mpmath.sqrt(Q * R), mpmath.mpf(1)), mpmath.mpf(-1))
        angle, k = mpmath.acos(c), (self.u - self.v) ** 2 / 2
        both = mpmath.sqrt(Q * R) * (mpmath.sin(angle) + (mpmath.pi - angle) * c) / mpmath.pi
        alpha = (self.u**2 + self.v**2) / 2
        return alpha * Q, alpha * R, k * both + self.u * self.v * P, k * (1 - angle / mpmath.pi) + self.u * self.v

    def step(self, Q, R, P, T=0):
        dense = lambda *moments: [self.w * moment + self.b for moment in moments]  # noqa: E731
        if self.name == "preactivation":
            q, r, p, slopes = self.activation(Q, R, P)
            own, (q, r, p) = p, dense(q, r, p)
        else:
            own = P
            q, r, p, slopes = self.activation(*dense(Q, R, P))
            own *= slopes
        if self.name == "vanilla":
            return q, r, p, own + self.w * slopes * T
        return Q + q, R + r, P + p, T + own + self.w * slopes * T

    def ntk(self, depth, Q, R, P):
        T = mpmath.mpf(0)
        for _ in range(depth):
            Q, R, P, T = self.step(Q, R, P, T)
        return T


def pairs(seed, count):
    """Networks, depths and inputs from the whole domain: lengths and widths logarithmically, biases also zero."""
    random = np.random.default_rng(seed)
    log = lambda low, high: float(10 ** random.uniform(low, high))  # noqa: E731
    for _ in range(count):
        u, v = [(1.0, 0.0), (1.0, 0.2), (1.0, -1.0), (0.5, 1.5), (1.0, 1 - log(-6, 0))][random.integers(5)]
        at = {"sigma_w": log(-0.3, 0.5), "sigma_b": random.choice([0.0, log(-3, 0.5)]), "x_sq": log(-2, 2)}
        yield random, log, {"u": u, "v": v, "L": int(random.integers(1, 9))}, at


RULES = ("vanilla", "residual", "preactivation")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", RULES)
def test_the_decay_of_the_loss_for_balls_of_all_sizes(name, backend):
    f = kernel(mf.loss_decay(mf.PRESETS[name](), 2, 2), backend)
    for _, log, shape, at in pairs(1, 25):
        eps, size = log(-12, 2), int(log(0, 6))
        got = float(f(**shape, **at, eps=eps, d=size, N=1000, K=10))
        with mpmath.workdps(120):
            net = Pairs(name, shape["u"], shape["v"], at["sigma_w"], at["sigma_b"])
            x = mpmath.mpf(at["x_sq"])
            y = x + mpmath.mpf(eps) ** 2 / size
            ends = [net.ntk(shape["L"], *moments) for moments in ((x, x, x), (x, y, x), (y, y, y))]
            error = mpmath.mpf(got) / (1000 * (ends[0] - 2 * ends[1] + ends[2])) - 1
        assert abs(error) < 1e-13, (shape, at, eps, size)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", RULES)
def test_the_tangent_kernel_up_to_equal_inputs(name, backend):
    """At c = 1 and next to it, for inputs of one length and of different ones, which are never equal after a bias."""
    f = kernel(mf.ntk(mf.PRESETS[name]()), backend)
    for random, log, shape, at in pairs(2, 25):
        at["y_sq"] = at["x_sq"] * random.choice([1.0, log(-1, 1)])
        correlation = 1 - random.choice([0.0, log(-15, 0)])
        got = float(f(**shape, **at, c=correlation, N=1))
        with mpmath.workdps(60):
            net = Pairs(name, shape["u"], shape["v"], at["sigma_w"], at["sigma_b"])
            x, y = mpmath.mpf(at["x_sq"]), mpmath.mpf(at["y_sq"])
            exact = net.ntk(shape["L"], x, y, correlation * mpmath.sqrt(x * y))
        # The angle is the root of a difference of distance and lengths, where these differ.
        few = 1e-13 if x == y else 1e-12 + (ULP / math.sqrt(1 - correlation) if correlation < 1 else 0)
        assert abs(got / float(exact) - 1) < few, (shape, at, correlation)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", RULES)
def test_the_correlation_map_up_to_opposite_inputs(name, backend):
    """Relative to the largest of its terms: with u v = 0 in a vanilla net there is one, which vanishes at c = -1."""
    f = kernel(mf.correlation_map(mf.PRESETS[name]()), backend)
    for random, log, shape, at in pairs(3, 40):
        u, v = shape["u"], random.choice([0.0, shape["v"]])
        correlation = -1 + log(-15, 0.3)
        got = float(f(u=u, v=v, **at, c=correlation))
        with mpmath.workdps(60):
            net = Pairs(name, u, v, at["sigma_w"], at["sigma_b"])
            x = mpmath.mpf(at["x_sq"])
            q, _, p, _ = net.step(x, x, correlation * x)
            exact = p / q
        scale = abs(exact) if name == "vanilla" and v == 0 else 1
        assert abs(got - exact) < 4e-15 * scale, (u, v, at, correlation)
