"""What a user adds in one file, no file of the package knowing of it."""

import copy
import itertools
import math
import pickle
import runpy
from dataclasses import dataclass, replace
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch
from click.testing import CliRunner
from scipy import special

import advmf as mf
from advmf import cli
from advmf.emit.kernels import register
from advmf.emit.typeset.breaking import Breaker
from advmf.emit.typeset.lines import Lines
from advmf.emit.typeset.printer import Printer, letters
from advmf.emit.typeset.tables import notation
from advmf.errors import AdvmfError, ArgumentError, DeclarationError, UnsupportedFunctionError
from advmf.functions.columns import COLUMNS
from advmf.nets import Block, Coordinates, GaussianLayer
from advmf.nets.algebra import Algebra
from advmf.observables import Expectation, Observable
from advmf.report.document import of_outcomes
from advmf.report.html import html
from advmf.report.overview import tables
from advmf.simulate.networks import Mask, layers
from advmf.simulate.realisation import Realisation
from advmf.symbols import K, d, z
from advmf.theorems import THEOREMS
from advmf.theorems.derivations import derived
from advmf.theorems.theorem import Caption
from advmf.theory.norms import BETA, ROUTES
from advmf.theory.propagation import moments
from advmf.theory.stream import Streams
from advmf.verify import suite
from advmf.verify.controls import controls, differs
from advmf.verify.runs import run
from advmf.verify.verdict import Verdict


@dataclass(frozen=True)
class Bottleneck(Block):
    """A block of primitives: two layers with an activation between, behind a shortcut."""

    slope: sp.Expr = sp.S.Zero

    def apply(self, algebra, state):
        inner = mf.Residual(mf.Dense(), mf.ReLULike(1, self.slope), mf.Dense(sigma_b=0), scale="1/2")
        return inner.apply(algebra, state)


@dataclass(frozen=True)
class Half(GaussianLayer):
    """A Gaussian layer of another law: untrained weights of half the deviation."""

    @property
    def deviation(self):
        return sp.Rational(1, 2)


@dataclass(frozen=True)
class Minus(Block):
    """A primitive of another kind: x -> -x."""


def test_a_block_of_primitives_is_read_by_all():
    """Theory, LaTeX, kernels, simulation, checks and controls of a block with a rule of its own for nothing."""
    net = mf.Net(Bottleneck(), name="bottleneck")
    same = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dense(sigma_b=0), scale="1/2"))
    assert mf.omega(net) == mf.omega(same) and net.exact == same.exact
    assert mf.latex(net) == mf.latex(same)
    assert len(net.trained) == 2 and len(net.activations) == 1
    for derive in (mf.ntk, mf.nngp, lambda n: mf.capacity(n).rhs, lambda n: mf.stream_fluctuation(n).rhs):
        assert derive(net) == derive(same)
    for claim, twin in zip(mf.linear_form(net), mf.linear_form(same)):
        assert claim.rhs == twin.rhs
    sizes = {"N": 16, "L": 2, "d": 6, "K": 3, "nets": 4, "sigma_w": 1.1, "sigma_b": 0.2}
    x = torch.ones(6)
    outputs = [mf.simulate.sample(n, **sizes, generator=torch.Generator().manual_seed(0))(x) for n in (net, same)]
    assert torch.equal(*outputs)
    at = {"L": 2, "d": 6, "K": 3, "sigma_w": 1.0, "sigma_b": 0.0, "eps": 0.1}
    claim = mf.loss_bound(net, 2, 2)
    right, wrong = mf.check_all(
        [claim, claim.scaled("1/4")], at, nets=200, widths=(64, 256, 1024), directions=1, steps=2
    )
    assert right.verdict is Verdict.NOT_REFUTED and wrong.verdict is Verdict.REFUTED


def test_another_gaussian_layer_is_a_deviation():
    net = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), Half()))
    assert mf.omega(net) == mf.symbols.sigma_w**2 / 8 + 1 and len(net.trained) == 1
    weights = mf.simulate.sample(
        net,
        N=400,
        L=1,
        d=4,
        K=2,
        nets=1,
        sigma_w=1.0,
        sigma_b=0.0,
        sampler="dense",
        generator=torch.Generator().manual_seed(0),
    )
    (chunk,) = weights.chunks()
    inner = list(layers(chunk.map))[1:-1]
    spread = [float(layer.weight.matmul(torch.eye(400)[None]).std()) * 20 for layer in inner]
    assert spread == pytest.approx([1.0, 0.5], rel=0.02)


@dataclass(frozen=True)
class Swish(mf.Pointwise):
    """An activation of one's own: z times the logistic function of slope s z. It owes phi(z) alone."""

    s: sp.Expr = sp.S.One

    def phi(self, z):
        return z / (1 + sp.exp(-self.s * z))


def test_an_activation_is_its_formula():
    """Laws, LaTeX, JSON, kernels with gradients, simulation, checks and controls of a class with phi(z) alone."""
    net = mf.preactivation(phi=Swish(sp.Integer(2)))
    for law in runpy.run_path(str(Path(__file__).with_name("test_laws.py"))).values():
        for mark in getattr(law, "pytestmark", []) if callable(law) else []:
            if mark.args[0] in ("block", "net", "phi"):
                subject = {"block": net.block, "net": net, "phi": net.activations[0]}[mark.args[0]]
                others = [m for m in law.pytestmark if m.args[0] != mark.args[0]]
                for values in itertools.product(*(m.args[1] for m in others)):
                    law(subject, **dict(zip((m.args[0] for m in others), values)))
    assert r"\phi(z) = \frac{z}{1 + e^{-2 z}}" in mf.latex(net)
    at = {"L": 2, "d": 12, "K": 8, "sigma_w": 1.0, "sigma_b": 0.8, "x_sq": 1.0}
    claims = [*mf.linear_form(net), mf.capacity(net)]
    for claim in claims:
        assert mf.from_json(mf.to_json(claim)) == claim
    point = {**at, "N": 32}
    wrong = [mutant for claim in claims for mutant in controls(claim) if differs(claim, mutant, point)]
    assert len({mutant.name.partition(" ")[0] for mutant in wrong}) == len(claims), "one of each claim at least"
    reports = mf.check_all([*claims, *wrong], at, nets=8000, widths=(32, 64, 128), seed=3)
    assert {r.verdict for r in reports[: len(claims)]} == {Verdict.SUPPORTED}, reports
    assert {r.verdict for r in reports[len(claims) :]} == {Verdict.REFUTED}, reports


def test_an_activation_of_a_letter_has_its_number_from_the_point():
    a = sp.Symbol("a", positive=True)
    net = mf.vanilla(phi=mf.Activation(sp.tanh(a * z)))
    at = {"L": 2, "sigma_w": 1.3, "sigma_b": 0.1, "x_sq": 1.0, "a": 0.8}
    value, slope = mf.kernel(moments(net).Q, grad="a")(**at)
    ends = [mf.kernel(moments(net).Q)(**{**at, "a": 0.8 + h}) for h in (1e-5, -1e-5)]
    assert float(slope["a"]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-8)
    nets = mf.simulate.sample(
        net,
        N=400,
        d=6,
        K=4,
        nets=300,
        generator=torch.Generator().manual_seed(0),
        **{k: v for k, v in at.items() if k != "x_sq"},
    )
    f = nets(torch.ones(6, dtype=torch.float64))
    spread = f.square().mean(1)
    assert abs(float(spread.mean()) - value) < 4.5 * float(spread.std()) / math.sqrt(300) + 10 * value / 400
    with pytest.raises(ArgumentError, match="a"):
        mf.simulate.sample(net, N=4, L=1, d=6, K=4, nets=2, sigma_w=1.0, sigma_b=0.0)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (sp.Symbol("w"), "does not depend on z"),
        (sp.Integer(3), "does not depend on z"),
        (sp.Abs(sp.cos(z) - z), "does not find where"),
        (sp.Function("f")(z), "no derivative|must be a finite"),
        ("tanh(z", "must be a finite real number or a SymPy expression"),
        (sp.I * z, "it is not real"),
        (sp.sign(z), "it jumps at z = 0"),
        (sp.Piecewise((z, z > 1), (0, True)), "it jumps at z = 1"),
        (z**2, "its slope is not bounded"),
        (sp.exp(z), "its slope is not bounded, or its formula overflows"),
        (sp.sqrt(sp.Abs(z)), "its slope is not bounded"),
    ],
)
def test_what_is_no_activation_is_refused_when_it_is_declared(formula, message):
    with pytest.raises(DeclarationError, match=message):
        mf.Activation(formula)


def test_a_primitive_of_another_kind_takes_a_rule_for_each_reading_and_is_refused_by_the_others():
    Coordinates.rule(Minus)(lambda algebra, block, stream: stream)
    with pytest.raises(DeclarationError, match=r"Minus has no rule in advmf\.theory\.stream\.Streams\. Define"):
        mf.omega(mf.Net(mf.Serial(Minus(), mf.Dense(), mf.ReLULike(1, 0))))

    @Streams.rule(Minus)
    def _(algebra, block, state):
        return replace(state, mu=-state.mu, tangents=tuple(replace(t, tau=-t.tau) for t in state.tangents))

    net = mf.Net(mf.Serial(Minus(), mf.Dense(), mf.ReLULike(1, 0)))
    assert mf.omega(net) == mf.symbols.sigma_w**2 / 2
    assert mf.capacity(net).rhs == mf.capacity(mf.vanilla(1, 0)).rhs, "of one rule"
    with pytest.raises(DeclarationError, match=r"Minus has no rule in advmf\.theory\.pair\.Pairs"):
        mf.nngp(net)
    with pytest.raises(DeclarationError, match=r"Minus has no rule in advmf\.simulate\.realisation\.Realisation"):
        mf.simulate.sample(net, N=8, L=1, d=4, K=2, nets=2, sigma_w=1.0, sigma_b=0.0)


@dataclass(frozen=True)
class Flipped(Block):
    """A primitive of another kind: every second coordinate changes its sign."""


def test_a_rule_of_the_simulation_is_given_the_maps_so_far():
    Coordinates.rule(Flipped)(lambda algebra, block, stream: stream)
    flip = Mask(torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(8)[None])
    Realisation.rule(Flipped)(lambda algebra, block, maps: (*maps, flip))
    block = mf.Serial(mf.Dense(), Flipped(), mf.Dropout("1/4"))
    x, options = torch.ones(4, dtype=torch.float64), {"d": 4, "K": 2, "sigma_w": 1.0, "sigma_b": 0.0}
    one, other = (
        mf.simulate.sample(
            mf.Net(b), N=16, L=1, generator=torch.Generator().manual_seed(0), dtype=torch.float64, **options
        )
        for b in (block, mf.Serial(mf.Dense(), mf.Dropout("1/4")))
    )
    streams = [next(networks.traces(x)).stream() for networks in (one, other)]
    assert torch.equal(streams[0], streams[1] * flip.values[..., None, None]) and not torch.equal(*streams)
    with pytest.raises(DeclarationError, match=r"Flipped has no rule in advmf\.nets\.readings\.Widths"):
        mf.Net(mf.Stage(block, 1), mf.Stage(block, 1, 2))


def test_a_reading_of_ones_own():
    """And a rule registered with a reading holds for those that are derived from it, not for its siblings."""

    class Matrices(Algebra[int]):
        def gaussian(self, layer, state):
            return state + 1

        def pointwise(self, activation, state):
            return state

        def fork(self, state):
            return 0

        def add(self, block, shortcut, branch, before):
            return before + shortcut + branch

    class Doubled(Matrices):
        def gaussian(self, layer, state):
            return state + 2

    Matrices.rule(Minus)(lambda algebra, block, state: state + 100)
    block = mf.Serial(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix(), shortcut=mf.Mix()), Minus())
    assert block.apply(Matrices(), 0) == 103 and block.apply(Doubled(), 0) == 106
    with pytest.raises(DeclarationError, match=r"Minus has no rule in .*Algebra"):
        Minus().apply(Algebra(), 0)


@pytest.fixture
def routes():
    """The routes as they were, whatever a test adds."""
    before = dict(ROUTES)
    yield
    ROUTES.clear()
    ROUTES.update(before)


def sharper(p, q):
    """Half way from the lower bound to Chevet's at p = q = 2, d >> K: above the truth, which is next to the lower bound
    there."""
    return (mf.beta(p, q, "lower") + 3 * mf.beta(p, q, "chevet")) / 4


def test_a_route_to_beta_is_one_value(routes):
    """Its kernel, LaTeX, claims, controls and checks, its place among the best, and the list of the command line."""
    only = lambda p, q: p == 2 and q == 2  # noqa: E731
    mine = mf.register_route(
        mf.Route("mine", "upper bound", "p = q = 2", "this test", only, sharper), before="spectral"
    )
    assert mf.beta(2, 2, "best") == mf.beta(2, 2, "mine") == sharper(2, 2) and mine in mf.routes(2, 2)
    assert mf.beta(1, 2, "best") != mf.beta(1, 2, "chevet"), "elsewhere the best is what it was"
    claim = mf.norm_factor(2, 2, "mine")
    assert claim.relation == "<=" and claim.source == "this test" and "beta" in mf.latex(claim)
    assert mf.kernel(claim)(d=100, K=4) == pytest.approx(float(sharper(2, 2).subs({d: 100, K: 4}).evalf()))
    (wrong,) = controls(claim)
    right, refuted = (mf.check(each, {"d": 100, "K": 4}, samples=200) for each in (claim, wrong))
    assert right.verdict is Verdict.NOT_REFUTED and refuted.verdict is Verdict.REFUTED
    assert mf.loss_bound(mf.vanilla(1, 0), 2, 2, "mine").where[BETA] == sharper(2, 2)
    assert "mine" in CliRunner().invoke(cli.main, ["list"]).output
    with pytest.raises(ArgumentError, match="The route 'mine' is for p = q = 2"):
        mf.beta(1, 2, "mine")


@pytest.mark.parametrize(
    ("rigour", "formula", "message"),
    [
        ("upper bound", lambda p, q: mf.beta(p, q, "lower") * 0.9, "that is not an upper bound"),
        ("lower bound", lambda p, q: mf.beta(p, q, "chevet") * 1.1, "that is not a lower bound"),
        ("exact", lambda p, q: mf.beta(p, q, "chevet"), "where beta is .*: that is not an exact"),
        ("estimate", lambda p, q: 2 * mf.beta(p, q, "chevet"), "that is not an estimate"),
        ("upper bound", lambda p, q: sp.sqrt(-d), "must give a number"),
        ("sharp", lambda p, q: d, "A route's rigour is one of exact, upper bound"),
    ],
)
def test_a_route_that_contradicts_what_is_known_is_refused(routes, rigour, formula, message):
    with pytest.raises(ArgumentError, match=message):
        mf.register_route(mf.Route("mine", rigour, "all", "this test", lambda p, q: p == 2, formula))
    assert "mine" not in ROUTES


def test_a_name_is_taken_once(routes):
    again = replace(ROUTES["chevet"], source="elsewhere")
    for new, before in ((again, None), (replace(again, name="best"), None), (replace(again, name="new"), "nowhere")):
        with pytest.raises(ArgumentError, match=r"There is already a route|before must be one of"):
            mf.register_route(new, before)


@pytest.mark.parametrize("route", ROUTES.values(), ids=lambda route: route.name)
def test_the_routes_of_the_package_pass_the_check_for_ones_own(route):
    route.check()


class Above(Observable):
    """An observable of one's own: the share of outputs above zero."""

    tex = r"\rho"
    needs = frozenset()

    def measure(self, probe):
        return (probe.output > 0).double().mean((1, 2))


def mine(net, pairs):
    """A claim about it: half of the outputs are, whatever the network, by symmetry."""
    return [
        mf.Claim(
            name="half", lhs=Expectation(Above()), relation="==", formula=sp.S.Half, where={}, regime=mf.Regime.EXACT,
            assumptions=("biases and weights are symmetric",), source="symmetry", net=net,
        )
    ]  # fmt: skip


@pytest.fixture
def theorem():
    """A theorem about any network, registered for a test."""
    scale = mf.Scale(L=2, d=8, K=3, widths=(16, 32, 64), nets=(60,) * 3)
    own = mf.Theorem(
        name="half_above", title="outputs: half of them are above zero", source="this test", tests=mine,
        wrong=lambda claim: [claim.scaled("4/5"), claim.scaled("6/5")], scales={"quick": scale},
        captions={"half_above": Caption("share of outputs", "Share of outputs")},
    )  # fmt: skip
    yield mf.register_theorem(own)
    del THEOREMS["half_above"]


def test_a_theorem_with_an_observable_is_one_value(theorem):
    """Its suite on the package's networks, its controls, LaTeX, table and page, without a line in the package."""
    (case,) = suite.cases(["half_above"], ["residual"], ["relu"])
    assert [claim.name for claim in case.claims] == ["half_above"] and "this test; of the form of half" in case.claims[
        0
    ].source
    (outcome,) = run([case], nets=400)
    assert [r.verdict for r in outcome.reports] == [Verdict.SUPPORTED]
    assert [r.verdict for r in outcome.controls] == [Verdict.REFUTED] * 2
    assert r"\rho" in mf.latex(case.claims[0])
    document = of_outcomes([outcome], 0, "", True)
    (table,) = tables(document.claims)
    assert (table.title, table.numbers) == ("half_above", "share of outputs")
    assert "half_above: outputs: half of them are above zero" in html(document)
    assert "half_above" in CliRunner().invoke(cli.main, ["list"]).output
    with pytest.raises(ArgumentError, match="needs a name of its own, such as my_bound; got 'T1'"):
        mf.register_theorem(replace(theorem, name="T1"))


def test_a_theorem_that_could_not_fail_is_refused(theorem):
    with pytest.raises(ArgumentError, match="wrong must be a function"):
        replace(theorem, wrong=None)
    with pytest.raises(ArgumentError, match="give it a scale"):
        replace(theorem, scales={})
    with pytest.raises(ArgumentError, match="has either tests, to be checked, or parts"):
        replace(theorem, tests=None)
    mf.register_theorem(replace(theorem, wrong=lambda claim: []))
    with pytest.raises(ArgumentError, match="half_above: its theorem knows no wrong version of it"):
        next(run(suite.cases(["half_above"], ["residual"], ["relu"])))
    mf.register_theorem(replace(theorem, wrong=lambda claim: [claim.scaled(2), claim.scaled(2)]))
    with pytest.raises(ArgumentError, match="a name of its own"):
        next(run(suite.cases(["half_above"], ["residual"], ["relu"])))


class Dawson(sp.Function):
    """A special function of one's own: Dawson's integral, whose derivative is 1 - 2 x F(x)."""

    def fdiff(self, argindex=1):
        return 1 - 2 * self.args[0] * self

    def _latex(self, printer, exp=None):
        return rf"D_+\left({printer._print(self.args[0])}\right)"


def stated(formula):
    """A claim of a formula."""
    return mf.Claim(
        name="own", lhs=sp.Symbol("A"), relation="==", formula=formula, where={}, regime=mf.Regime.EXACT,
        assumptions=(), source="here", net=None,
    )  # fmt: skip


def test_a_special_function_is_one_class_and_its_arrays():
    """Values, derivatives and gradients of kernels, LaTeX; what has no column for it refuses it by name."""
    register(Dawson, numpy=special.dawsn, torch=lambda x: torch.as_tensor(special.dawsn(x.detach().numpy())))
    try:
        x = sp.Symbol("x", real=True)
        f = mf.kernel(Dawson(2 * x), grad=("x",))
        points = np.linspace(-3, 3, 41)
        value, slope = f(x=points)
        np.testing.assert_allclose(
            value,
            [float(mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(-(t**2)) * mpmath.erfi(t)) for t in 2 * points],
            rtol=1e-13,
        )
        step = 1e-5
        around = [mf.kernel(Dawson(2 * x))(x=points + h) for h in (step, -step)]
        np.testing.assert_allclose(slope["x"], (around[0] - around[1]) / (2 * step), atol=1e-8)
        assert mf.latex(Dawson(2 * x)) == "D_+(2 x)"
        found = mf.kernel(Dawson(2 * x), backend="torch")(x=torch.tensor(points))
        np.testing.assert_allclose(found.numpy(), value, rtol=1e-13)
        with pytest.raises(ArgumentError, match="JSON has no name for Dawson"):
            mf.to_json(stated(Dawson(2 * x)))
        with pytest.raises(UnsupportedFunctionError, match="Dawson is no source text"):
            mf.export(stated(Dawson(2 * x)), "python")
    finally:
        COLUMNS.pop(Dawson, None)


class Softplus(sp.Function):
    """The smooth ramp ``Softplus(c)``, ln(1 + exp(c))."""

    def fdiff(self, argindex=1):
        return 1 / (1 + sp.exp(-self.args[0]))

    def _latex(self, printer, exp=None):
        return rf"\zeta\left({printer._print(self.args[0])}\right)"


def test_a_special_function_has_every_column_that_those_of_the_package_have():
    """Numbers of any size, native code, gradients in torch, Python, JSON, a row in the table of notation, and line
    breaks: by one call, in one file."""

    def scaled(a, x):
        return a.logarithm(a.one_plus(a.exponential(a.linear(x))))

    def plain(a, x):
        return a.op("ln1p", a.op("exp", a.value(x)))

    register(
        Softplus, scaled=scaled, plain=plain, python="def softplus(x):\n    return math.log1p(math.exp(x))", json=True,
        notation=lambda e: sp.log(1 + sp.exp(e.args[0])), bracket=lambda e: e.args[0],
    )  # fmt: skip
    try:
        x, f = sp.Symbol("x", real=True), Softplus(2 * sp.Symbol("x", real=True))
        points = np.linspace(-40, 40, 2001)
        expected = np.logaddexp(0, 2 * points)
        for backend in ("numpy", "native"):
            np.testing.assert_allclose(mf.kernel(f, backend)(x=points), expected, rtol=1e-14)
        assert mf.kernel(f)(x=1e6) == 2e6, "beyond the range of an exponential"
        at = torch.tensor(points, requires_grad=True)
        value = mf.kernel(f, "torch")(x=at)
        value.sum().backward()
        np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-14)
        np.testing.assert_allclose(at.grad.numpy(), 2 * special.expit(2 * points), rtol=1e-12)
        claim, room = stated(f), {}
        exec(mf.export(claim, "python"), room)
        assert room["own"](x=0.3) == pytest.approx(np.logaddexp(0, 0.6), rel=1e-14)
        text = mf.to_json(claim)
        assert mf.from_json(text) == claim
        assert r"\ln(1 + e^c)" in notation([f], Lines(letters()))
        wide = Softplus(sum(x**k for k in range(1, 9)))
        assert len(Breaker(Printer()).lines(wide, 12)) > 1
    finally:
        COLUMNS.pop(Softplus)
    with pytest.raises(AdvmfError, match="Softplus"):
        mf.from_json(text)
    assert len(Breaker(Printer()).lines(wide, 12)) == 1, "without the column"


def test_the_derivation_of_a_registered_theorem_is_its_own(theorem):
    with pytest.raises(ArgumentError, match=r"half_above has no derivation: its Theorem has no derive\(net\)"):
        mf.derivations("half_above", mf.vanilla(1, 0))
    assert not derived("half_above", mf.vanilla(1, 0))
    proof = mf.derivations("T2", mf.vanilla(1, 0))
    mf.register_theorem(replace(theorem, derive=lambda net: proof))
    assert derived("half_above", None) and mf.derivations("half_above") == proof


def test_an_activation_has_a_name():
    """Some names give one with closed forms; all are equal to what they stand for, and go through copies and files."""
    assert mf.Activation("relu") == mf.ReLULike(1, 0) and mf.Activation("erf") == mf.Erf()
    assert mf.Activation("tanh") == mf.Activation(sp.tanh(z))
    for phi in (mf.Activation("gelu"), mf.Activation("sin"), mf.Activation("selu")):
        assert pickle.loads(pickle.dumps(phi)) == copy.deepcopy(phi) == phi
    with pytest.raises(ArgumentError, match=r"There is no activation 'swish'; choose from relu"):
        mf.Activation("swish")


class Unfit(mf.Pointwise):
    """An activation of one's own whose phi is given."""

    def __init__(self, phi):
        self._phi = phi

    def __repr__(self):
        return "Unfit()"

    def phi(self, z):
        return self._phi(z)


@pytest.mark.parametrize(
    ("phi", "message"),
    [
        (lambda z: "tanh", r"phi\(z\) of Unfit\(\) must be a SymPy expression; got 'tanh'"),
        (lambda z: 1 / 0, r"phi\(z\) of Unfit\(\) fails: ZeroDivisionError"),
        (lambda z: sp.sign(z), r"Unfit\(\) has sign\(z\): it jumps at z = 0"),
        (lambda z: z**3, r"has z\*\*3: its slope is not bounded"),
        (lambda z: Dawson(z), "NumPy and SciPy do not compute it"),
    ],
)
def test_a_network_asks_its_activations_for_what_they_owe(phi, message):
    with pytest.raises(DeclarationError, match=message):
        mf.vanilla(phi=Unfit(phi))


def test_a_preset_takes_an_activation_its_name_or_its_formula():
    nets = [mf.residual(phi=phi) for phi in ("tanh", sp.tanh(z), mf.Activation("tanh"))]
    assert nets[0] == nets[1] == nets[2]
    with pytest.raises(DeclarationError, match="has the slopes u and v, or phi"):
        mf.residual(1, 0, phi="tanh")
    with pytest.raises(DeclarationError, match="Activation: formula must be"):
        mf.residual(phi=mf.Erf)
