"""Wrong calls of every public function end in an error of advmf, never in a traceback from inside."""

import inspect
import math
import signal
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf import observables, simulate
from advmf.errors import AdvmfError, ArgumentError
from advmf.experiments.norm_table import norm_table
from advmf.theory.norms import ROUTES

NET = mf.residual(1, 0)
CLAIM = mf.loss_bound(NET, 2, 2)
AT = {"L": 1, "d": 6, "K": 3, "sigma_w": 1.0, "sigma_b": 0.0, "eps": 0.1}
FEW = {"widths": (8, 16, 32), "nets": 4, "steps": 1, "directions": 1}
SIZES = {"N": 8, "L": 1, "d": 6, "K": 3, "nets": 2, "sigma_w": 1.0, "sigma_b": 0.0}


def generator():
    return torch.Generator().manual_seed(0)


def networks(**more):
    return simulate.sample(NET, **{**SIZES, **more}, generator=generator())


def perceptron():
    return mf.to_torch(mf.vanilla(1, 0), N=8, L=2, d=6, K=3, sigma_w=1.4, sigma_b=0.1)


def trace():
    return next(networks().traces(torch.ones(1, 6)))


def images():
    return simulate.load("digits").resampled(6)


def few():
    return simulate.Images("three", images().scaled(1.0).x[:3])


ENSEMBLE, IMAGES = networks(), images()
PAIR = {"p": 2, "q": 2}
ROUTE = {
    "name": "nowhere", "rigour": "upper bound", "pairs": "none", "source": "a test", "applies": lambda p, q: False, "formula": lambda p, q: p,
}  # fmt: skip
SCALE = {
    "L": 1,
    "d": 6,
    "K": 3,
    "widths": (8, 16, 32),
    "nets": (4, 4, 4),
    "directions": 1,
    "steps": 1,
    "at": {**AT, "x_sq": 1.0},
}
THEOREM = {
    "name": "fuzzed", "title": "a bound: of a test", "source": "a test", "net": NET, "tests": lambda net, pairs: [CLAIM],
    "wrong": lambda claim: [claim.scaled("1/2")], "scales": {"quick": mf.Scale(**SCALE)},
}  # fmt: skip
POOLED = mf.image_metric(mf.conv(1, 0, image=(1, 4), head="pool"), np.ones(4), L=1, sigma_w=1.0, sigma_b=0.1)
DEEP_LINEAR = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1)))
CALLS = {
    **{
        f: {"net": NET}
        for f in (
            mf.omega, mf.moments, mf.nngp, mf.correlation_map, mf.growth_rate, mf.depth_law, mf.depth_scale, mf.linear_form, mf.capacity,
            mf.ntk, mf.metric, mf.share, mf.stream_fluctuation, mf.jacobian_norm,
        )
    },
    **{
        f: dict(net=NET, **PAIR, route="chevet")
        for f in (
            mf.loss_bound, mf.weight_variance, mf.half_life, mf.variance_slope, mf.escape_time, mf.capacity_ratio, mf.capacity_rate, mf.loss_life,
        )
    },
    **{f: dict(net=NET, **PAIR) for f in (mf.loss_decay, mf.euler_identity, mf.loss_value)},
    **{f: {"u": 1, "v": 0} for f in (mf.vanilla, mf.residual, mf.plain_residual, mf.preactivation, mf.pre_norm, mf.post_norm)},
    mf.training_flow: dict(net=mf.vanilla(1, 1), **PAIR),
    mf.TrainingFlow: dict(zip(("loss", "capacity", "variance", "end", "total"), mf.training_flow(mf.vanilla(1, 1), 2, 2))),
    mf.finite_rates: {"net": DEEP_LINEAR},
    mf.FiniteRates: dict(zip(("loss", "decay", "capacity", "variance"), mf.finite_rates(DEEP_LINEAR))),
    mf.kernel_flow: lambda: dict(
        ensemble=networks(), images=few(), loss="adversarial", rate=1e-3, steps=1, **PAIR, eps=0.1, attack_steps=1, log_every=1
    ),
    mf.KernelFlow: {
        "N": 8, "rate": 0.1, "step": np.arange(2), "adversarial": np.ones((2, 1)), "standard": None, "accuracy": None, "robust": None,
        "held_standard": None, "held_adversarial": None,
    },
    mf.beta: {"p": 2, "q": 2, "route": "chevet"},
    mf.norm_factor: {"p": 2, "q": 2, "route": "best"},
    mf.routes: PAIR,
    mf.beta_quantile: dict(**PAIR, delta=0.1),
    mf.loss_tail: dict(net=NET, **PAIR, delta=0.1, route="chevet"),
    mf.Route: ROUTE,
    mf.register_route: {"new": mf.Route(**ROUTE), "before": "chevet"},
    mf.Scale: SCALE,
    mf.Design: {"alpha": 0.01, "beta": 0.1, "effect": 0.2, "effect_fourth": 0.5, "effect_probability": 0.5},
    mf.MatrixScale: {"d": 4, "K": 2, "samples": 4, "along": "d", "ladder": (2, 4, 8)},
    mf.Theorem: THEOREM,
    mf.register_theorem: {"new": mf.Theorem(**THEOREM)},
    mf.check_theorem: {"theorem": mf.Theorem(**THEOREM), "seed": 0},
    mf.growth: {"claim": CLAIM, "symbol": "d"},
    mf.growth_order: {"expr": CLAIM.rhs, "symbol": mf.symbols.d},
    mf.first_order: {"claim": mf.weight_variance(NET, 2, 2)},
    mf.kernel: {"claim": CLAIM, "backend": "numpy", "grad": ("eps",)},
    mf.latex: {"obj": CLAIM, "where": True},
    mf.to_json: {"claim": CLAIM},
    mf.from_json: {"text": mf.to_json(CLAIM)},
    mf.export: {"claim": CLAIM, "form": "text"},
    mf.explorer: {"claims": [CLAIM], "nets": ("vanilla",), "activations": ("relu",), "progress": False},
    mf.document: {"sections": [CLAIM], "dimensions": (8, 2), "title": "A title"},
    mf.derivations: {"theorem": "T1", "net": NET},
    mf.phase_diagram: dict(net=mf.vanilla(1, 0), **PAIR, axes=("L", "N"), L=[2, 3], N=[8, 16], d=6, K=3, eps=0.1, t=1, m=0.5, M=2, sigma_w=1.0),
    mf.check: dict(claim=CLAIM, at=AT, **FEW),
    mf.check_all: dict(claims=[CLAIM], at=AT, **FEW, seed=0, data="digits", dtype="float32", sampler="auto"),
    mf.sweep: {
        "claims": CLAIM, "over": {"L": [1, 2]}, "at": {k: v for k, v in AT.items() if k != "L"}, "nets": 2, "widths": "limit", "seed": 0,
    },
    mf.Claim.of: {"lhs": CLAIM.lhs, "relation": "<=", "formula": CLAIM.rhs, "net": NET, "name": "a", "regime": CLAIM.regime, "depth": 0},
    simulate.sample: dict(net=NET, **SIZES),
    simulate.attack: lambda: dict(networks=networks(), x=torch.ones(6), eps=0.1, **PAIR, steps=1, restarts=1, directions=1),
    mf.to_torch: lambda: {"net": NET, "N": 8, "L": 1, "d": 6, "K": 3, "sigma_w": 1.0, "sigma_b": 0.1, "member": 0, "generator": generator()},
    mf.from_torch: lambda: {"module": perceptron(), "example_input": torch.ones(1, 6), "N": 8},
    mf.audit: lambda: dict(
        module=perceptron, images=torch.rand(3, 6), eps=0.1, **PAIR, initialisations=2, twins=4, inputs=1, alpha=0.01, seed=0, reset=False
    ),
    simulate.pgd: lambda: dict(networks=networks(), x=torch.ones(6), eps=0.1, **PAIR, steps=2, restarts=1),
    simulate.attack_trace: lambda: {"trace": trace(), "eps": 0.1, "pairs": [(2.0, 2.0)], "steps": 1, "directions": 1, "generator": generator()},
    simulate.attack_loss: lambda: {
        "trace": trace(), "loss": lambda f, change: (f + change).sum(-1), "eps": 0.1, "p": 2.0, "steps": 1, "directions": 1, "generator": generator()
    },
    simulate.operator_norm: dict(J=torch.ones(3, 4), **PAIR, starts=2, signs=4),
    simulate.bracket: dict(J=torch.ones(3, 4), **PAIR, starts=2, cooling=2, signs=4),
    simulate.upper_bound: dict(J=torch.ones(3, 4), **PAIR),
    simulate.gaussian_norms: {"d": 4, "K": 3, "pairs": [(2, 2)], "samples": 2, "starts": 2, "cooling": 2},
    simulate.load: {"name": "digits"},
    simulate.train: lambda: dict(
        ensemble=networks(), images=images(), loss="adversarial", rate=1e-3, steps=1, **PAIR, eps=0.1, batch=2, attack_steps=1, log_every=1
    ),
    simulate.suggest_rate: lambda: {"ensemble": networks(), "images": images(), "resolution": 0.1, "batch": 2, "attack_steps": 1},
    simulate.training_queries: {"K": 3, "d": 6, "loss": "adversarial", "steps": 2, "batch": 2},
    mf.Claim: {f: getattr(CLAIM, f) for f in ("name", "lhs", "relation", "formula", "where", "regime", "assumptions", "source", "net", "heuristic")},
    mf.Equation: {"label": "a", "lhs": CLAIM.lhs, "rhs": CLAIM.rhs, "scale": CLAIM.rhs},
    mf.Net: {"block": NET.block},
    mf.Stage: {"block": NET.block, "repeat": 2, "width": 1},
    mf.pyramid: {"u": 1, "v": 0, "widths": (2, 1), "repeat": 1},
    mf.conv: {"u": 1, "v": 0, "image": (1, 4, 4), "kernel": 3, "padding": "zero", "head": "flatten"},
    mf.conv_residual: {"u": 1, "v": 0, "image": (2, 5), "kernel": 3, "head": "pool"},
    mf.image_kernel: {
        "net": mf.conv(1, 0, image=(1, 4)), "x": np.ones((2, 4)), "y": np.ones(4), "kind": "ntk", "L": 2, "sigma_w": 1.0, "sigma_b": 0.1,
    },
    mf.image_metric: {
        "net": mf.conv(1, 0, image=(1, 4)), "x": np.ones(4), "L": 2, "sigma_w": 1.0, "sigma_b": 0.1,
    },
    POOLED.beta: {**PAIR, "K": 3, "route": "chevet"},
    POOLED.sampled: {**PAIR, "K": 3, "samples": 2, "seed": 0},
    POOLED.dense: {},
    mf.profile: {"net": mf.conv(1, 0, image=(1, 4))},
    mf.pixel_law: {"net": mf.conv(1, 0, image=(1, 4))},
    mf.profile(mf.conv(1, 0, image=(1, 4))).at: {"L": 2, "sigma_w": 1.0},
    mf.profile(mf.conv(1, 0, image=(1, 4))).beta: {**PAIR, "route": "chevet"},
    mf.profile(mf.conv(1, 0, image=(1, 4))).beta_quantile: {**PAIR, "delta": 0.1, "route": "chevet"},
    mf.AvgPool: {"size": 2},
    mf.Activation: {"formula": sp.tanh(mf.symbols.z)},
    mf.Conv: {"kernel": 3, "padding": "zero", "stride": 1, "sigma_w": 1, "sigma_b": 0},
    mf.ImageMetric: {"diagonal": np.ones(3), "matrix": np.eye(3)},
    mf.Claims: {"claims": [CLAIM]},
    mf.Reports: {"reports": ()},
    norm_table: {"d": 4, "K": 2, "exponents": (1, 2), "routes_": ("chevet",), "samples": 3, "seed": 0},
    simulate.Images: {"name": "a", "x": np.ones((2, 3)), "labels": np.ones(2, int)},
    simulate.AttackSettings: {"eps": 0.1, "steps": 2, "restarts": 1, "directions": 2},
    mf.Dropout: {"rate": 0.5},
    mf.Dense: {"sigma_w": 1, "sigma_b": 0},
    mf.ReLULike: {"u": 1, "v": 0},
    mf.Section: {"title": "A", "claims": (CLAIM,)},
    CLAIM.scaled: {"factor": 2},
    **{method: {"x": torch.ones(6)} for method in (ENSEMBLE.forward, ENSEMBLE.jacobian)},
    ENSEMBLE.jvp: {"x": torch.ones(6), "tangent": torch.ones(6)},
    ENSEMBLE.vjp: {"x": torch.ones(6), "cotangent": torch.ones(3)},
    IMAGES.resampled: {"d": 9},
    IMAGES.scaled: {"x_sq": 1.0},
    IMAGES.split: lambda: {"held_out": 10, "generator": generator()},
    IMAGES.draw: lambda: {"count": 2, "generator": generator()},
    mf.kernel(CLAIM): {"L": 2, "d": 6, "K": 3, "sigma_w": 1.0, "eps": 0.1},
}  # fmt: skip
"""Every public function with arguments that are right, or with a function that makes them."""


@pytest.fixture(autouse=True, scope="module")
def routes():
    """A route that is registered by a right call, or by a wrong one that is right after all, is forgotten."""
    before = dict(ROUTES)
    yield
    ROUTES.clear()
    ROUTES.update(before)


JUNK = (
    None, True, 0, 1, -1, 2, 3.5, -0.0, 1e-300, 1e300, 10**9, 10**30, -(10**9), math.nan, math.inf, -math.inf, 1j, "", "x", "2", "inf", "nan",
    "1/0", "a b", "__import__('os')", "\0", "é" * 300, b"x", (), [], {}, [1, "2"], [[1], [2, 3]], {"a": 1}, {1: 2}, {2}, object(),
    Fraction(1, 3), Decimal("1.5"), Decimal("NaN"), np.float32(2), np.int64(2), np.nan, np.ones(3), np.array("x"), np.array([]),
    np.array([object()]), torch.ones(2), torch.tensor(math.nan), torch.ones(3, 4), torch.ones(2, dtype=torch.int64), torch.empty(0),
    sp.Symbol("L"), sp.Symbol("zeta"), sp.oo, sp.nan, sp.zoo, sp.I, sp.S.true, sp.Integer(2), sp.Eq(sp.Symbol("a"), 1), sp.Matrix([[1]]),
    NET, NET.block, CLAIM, mf.Net, mf.Dense, Exception("x"), len, lambda *a, **k: None, range(3), iter([1]), ...,
)  # fmt: skip
"""What a caller may give in the place of something else."""


@contextmanager
def patience(seconds):
    """A call that takes too long is an error too."""

    def late(*_):
        raise TimeoutError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def wrong_call(draw):
    """A public function with its arguments, one or two of which are junk, missing, or of an unknown name."""
    function = draw.choice(list(CALLS))
    given = CALLS[function]
    arguments = dict(given() if callable(given) else given)
    for _ in range(draw.choice((1, 1, 2))):
        name = draw.choice([*arguments, "unknown"])
        if draw.random() < 0.05:
            arguments.pop(name, None)
        else:
            arguments[name] = draw.choice(JUNK)
    return function, arguments


def fault(function, arguments):
    """What is wrong with how a wrong call ended, or nothing."""
    try:
        with patience(20), torch.random.fork_rng():
            function(**arguments)
    except AdvmfError as error:
        return "" if str(error).strip() else "an error without a message"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:120]}"
    return ""


def test_every_public_function_is_called_wrongly():
    names = {name for module in (mf, simulate) for name in module.__all__ if inspect.isfunction(getattr(module, name))}
    assert names <= {getattr(function, "__name__", "") for function in CALLS}


@pytest.mark.parametrize("function", CALLS, ids=lambda function: getattr(function, "__qualname__", "a kernel"))
def test_right_calls_are_right(function):
    """Else the wrong calls would all fail for the same reason."""
    given = CALLS[function]
    function(**(given() if callable(given) else given))


@pytest.mark.parametrize(
    ("function", "changes"),
    [
        (mf.beta_quantile, {"delta": range(3)}),
        (mf.beta_quantile, {"delta": sp.Matrix([[1]])}),
        (mf.beta_quantile, {"delta": sp.true}),
        (CLAIM.scaled, {"factor": sp.Eq(sp.Symbol("a"), 1)}),
        (mf.phase_diagram, {"N": [[1], [2, 3]]}),
        (simulate.gaussian_norms, {"pairs": torch.tensor(1.0)}),
        (simulate.attack_trace, {"eps": sp.Symbol("eps")}),
        (mf.check_all, {"dtype": "x"}),
        (ENSEMBLE.jvp, {"tangent": torch.tensor(math.nan)}),
        (ENSEMBLE.forward, {"x": torch.ones(6, dtype=torch.complex64)}),
        (ENSEMBLE.forward, {"x": [1j] * 6}),
        (IMAGES.resampled, {"d": -1}),
        (IMAGES.scaled, {"x_sq": -1.0}),
        (IMAGES.draw, {"count": -1}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_the_long_fuzzer_found(function, changes):
    given = CALLS[function]
    arguments = {**(given() if callable(given) else given), **changes}
    assert not fault(function, arguments)
    with pytest.raises(AdvmfError):
        function(**arguments)


def test_an_unguarded_function_is_seen():
    def naive(net):
        return net.block

    assert "AttributeError" in fault(naive, {"net": 3})
    assert "TypeError" in fault(naive, {})
    assert not fault(mf.omega, {"net": 3}) and not fault(mf.omega, {})


@pytest.mark.parametrize("name", sorted(set(observables.__all__) - {"adversarial_loss"}))
def test_observables_of_anything(name):
    """The arguments of an observable are expressions, and text is not run as code."""
    made = getattr(observables, name)
    if not inspect.isclass(made):
        return
    for junk in JUNK:
        for place in range(4):
            arguments = [1] * place + [junk]
            assert not fault(lambda arguments=arguments: made(*arguments), {}), (name, arguments)
    for place in range(4):
        with pytest.raises(AdvmfError):
            made(*[1] * place, "__import__('os').getpid()")


def test_a_product_of_units_that_are_not_there_says_how_many_are_needed():
    seen = observables.Expectation(observables.Output(0) ** 2 * observables.JacobianEntry(4, 2) ** 2)
    claim = mf.Claim("a", seen, "==", 1, {}, mf.Regime.EXACT, (), "a test", NET)
    with pytest.raises(ArgumentError, match="take d >= 4 and K >= 5"):
        mf.check(claim, AT, **FEW)


@pytest.mark.parametrize("two", [2, np.int64(2), np.uint8(2), sp.Integer(2), torch.tensor(2)], ids=repr)
def test_a_count_is_one_of_any_library(two):
    """A whole number is Python's, NumPy's, SymPy's or torch's, everywhere."""
    assert mf.check(**{**CALLS[mf.check], "nets": two, "steps": two, "directions": two}).settings["nets"] == [2, 2, 2]
    assert simulate.sample(NET, **{**SIZES, "nets": two, "L": two}).nets == 2
    assert mf.check(mf.norm_factor(2, 2), at={"d": 6, "K": 3}, samples=two).settings["samples"] == 2
    simulate.operator_norm(torch.ones(3, 4), 3, 3, starts=two, cooling=two, signs=two)
    assert simulate.gaussian_norms(two, two, [(2, 2)], samples=two)[2, 2].lower.shape == (2,)


@pytest.mark.parametrize("name", ["steps", "directions", "restarts"])
def test_endless_attacks_are_refused_wherever_they_are_asked_for(name):
    for function in (mf.check, simulate.attack, simulate.attack_trace, simulate.attack_loss):
        given = CALLS[function]
        arguments = {**(given() if callable(given) else given), name: 10**9}
        with pytest.raises((mf.errors.DomainError, mf.errors.BudgetError)), patience(20):
            function(**arguments)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(draw=st.randoms(use_true_random=False))
def test_wrong_calls(draw):
    function, arguments = wrong_call(draw)
    assert not fault(function, arguments), (function, arguments.keys())


@pytest.mark.fuzz
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(draw=st.randoms(use_true_random=False))
def test_ten_thousand_wrong_calls(draw):
    function, arguments = wrong_call(draw)
    assert not fault(function, arguments), (function, arguments.keys())
