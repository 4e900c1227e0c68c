"""What the theory has no rule for is refused by name, and what it derives holds at the edges of its letters."""

import json
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.errors import AdvmfError, ArgumentError, DeclarationError, DomainError, StepError
from advmf.nets import Block, Coordinates, Rebuilt
from advmf.symbols import L
from advmf.theory.proof import Derivation, by
from advmf.theory.stream import Stream, Streams


@dataclass(frozen=True)
class RMSNorm(Block):
    """x over the root of its mean square: the Jacobian's growth is 1/Q."""


@dataclass(frozen=True)
class Square(Block):
    """A block whose Jacobian grows with Q."""


@Streams.rule(RMSNorm)
def _(algebra, block, state):
    return Stream(sp.S.One, state.mu / sp.sqrt(state.Q), tuple(replace(t, V=t.V / state.Q) for t in state.tangents))


@Streams.rule(Square)
def _(algebra, block, state):
    return Stream(3 * state.Q**2, state.Q, tuple(replace(t, V=4 * state.Q * t.V) for t in state.tangents))


@dataclass(frozen=True)
class Twice(Block):
    """A block of one's own, with a rule for streams alone."""


@Streams.rule(Twice)
def _(algebra, block, state):
    return Stream(4 * state.Q, 2 * state.mu, tuple(t.scaled(sp.Integer(2)) for t in state.tangents))


for block in (RMSNorm, Square, Twice):
    Coordinates.rule(block)(lambda algebra, block, stream: stream)


@pytest.mark.parametrize("own", [RMSNorm(), Square()])
@pytest.mark.parametrize("derive", [mf.omega, mf.growth_rate, lambda net: mf.loss_value(net, 2, 2), mf.share])
def test_no_growth_that_depends_on_the_stream(own, derive):
    net = mf.Net(mf.Serial(own, mf.Dense(sigma_b=0), mf.ReLULike(1, 0)), name="own")
    with pytest.raises(DeclarationError, match=r"depends on the stream's Q: there is no omega"):
        derive(net)


def test_a_block_of_ones_own_does_not_take_the_name_of_another():
    """The package reads its own norm by that name, and writes no file in which one would stand for the other."""
    assert Block.kinds["RMSNorm"] is mf.RMSNorm and Block.kinds["Square"] is Square
    (claim, *_) = mf.linear_form(mf.Net(mf.Serial(RMSNorm(), mf.Dense(), mf.ReLULike(1, 0))))
    with pytest.raises(ArgumentError, match=r"JSON has the name RMSNorm for another kind of block than RMSNorm\(\)"):
        mf.to_json(claim)


def test_a_norm_after_which_nothing_depends_on_the_stream_has_a_growth():
    """The Jacobian's growth is what counts, whatever the moments do."""
    net = mf.Net(mf.Serial(Twice(), mf.Dense(sigma_b=0), mf.ReLULike(1, 0)), name="own")
    assert mf.omega(net) == 2 * mf.symbols.sigma_w**2


def test_a_block_that_could_hold_a_trained_matrix_is_not_passed_over():
    net = mf.Net(mf.Serial(Twice(), mf.Dense(sigma_b=0), mf.ReLULike(1, 0)), name="own")
    for derive in (mf.share, mf.ntk, lambda net: mf.variance_slope(net, 2, 2)):
        with pytest.raises(
            DeclarationError,
            match=r"Twice has no rule in advmf\.theory\.(trained\.Separated|ntk\.DecorrelatedPairs)",
        ):
            derive(net)
    as_weights = mf.Net(mf.Serial(mf.Dense(2 * mf.symbols.sigma_w, 0), mf.ReLULike(1, 0)))
    assert mf.capacity(net).rhs == mf.capacity(as_weights).rhs, "one rule gives the moments and the capacity"
    with pytest.raises(DeclarationError, match="Twice has no rule"):
        Twice().apply(Rebuilt(), ())


@pytest.mark.parametrize("preset", [mf.vanilla, mf.residual])
def test_a_network_without_blocks_leaves_no_band(preset):
    """omega**0 = 1 for all time: outside the band at once, or for ever inside."""
    escape = mf.kernel(mf.escape_time(preset(1, 0), 2, 2, "leading"))
    at = {"N": 100, "sigma_w": 1.4, "M": [2, 2, 2, 0.9], "eps": 0.1, "d": 16, "K": 4}
    assert np.array_equal(escape(L=0, m=[0.5, 1, 1.5, 0.5], **at), [np.inf, np.inf, 0, 0])


@pytest.mark.parametrize("preset", [mf.vanilla, mf.residual])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_first_order_of_a_recursion(preset, depth):
    """With biases the capacity is a Recursion, whose derivative by t is one more variable of it: against a difference
    quotient."""
    ratio = mf.capacity_ratio(preset(1, 0), 2, 2)
    first = mf.first_order(ratio)
    at = {"L": depth, "N": 100, "d": 16, "K": 4, "sigma_w": 1.2, "sigma_b": 0.3, "eps": 0.1, "x_sq": 1.0}
    step = 1e-3
    ends = mf.kernel(ratio)(t=[0, step, 2 * step], **at)
    quotient = (4 * ends[1] - ends[2] - 3 * ends[0]) / (2 * step)
    # What is left is of the order of the step squared, and of the rounding of the ratio over the step.
    curvature = abs(ends[0] - 2 * ends[1] + ends[2]) / step
    slope = mf.kernel(first)(t=1.0, **at) - mf.kernel(first)(t=0.0, **at)
    assert abs(slope - quotient) <= curvature * step + 8 * np.finfo(float).eps / step
    assert slope < 0


def about_matrices(net):
    """Claims about trained matrices, of which there is none at L = 0."""
    laws = [mf.variance_slope(net, 2, 2), mf.weight_variance(net, 2, 2), mf.half_life(net, 2, 2)]
    laws += [mf.capacity_ratio(net, 2, 2), mf.euler_identity(net, 2, 2)]
    return [*laws, mf.first_order(laws[1]), mf.growth(laws[0], "d"), laws[0].scaled(2)]


@pytest.mark.parametrize("net", [mf.vanilla(1, 0), mf.residual(1, 0)], ids=lambda net: net.name)
def test_no_matrix_no_statement(net):
    at = {"N": 100, "d": 16, "K": 4, "eps": 0.1, "t": 1, "sigma_w": 1.4, "sigma_b": 0, "x_sq": 1}
    for claim in about_matrices(net):
        f = mf.kernel(claim)
        assert np.isfinite(float(f(L=1, **at)))
        with pytest.raises(DomainError, match=r"L = 0.* is outside its domain \[1, oo\)"):
            f(L=[2, 0], **at)
        assert f.depth == pickle.loads(pickle.dumps(f)).depth == mf.kernel([mf.omega(net), claim]).depth == 1
    slope = mf.variance_slope(net, 2, 2)
    with pytest.raises(DomainError, match=r"L = 0.* is outside its domain \[1, oo\)"):
        mf.kernel(slope, "torch")(L=[2, 0], **at)
    assert mf.from_json(mf.to_json(slope)) == slope
    assert "L >= 1" in mf.export(slope, "python") and r"L \ge 1" in mf.document([slope], dimensions=None)
    assert np.isfinite(mf.kernel(mf.loss_bound(net, 2, 2))(L=0, **at))  # there is a loss without any block
    with pytest.raises(DomainError, match="T3 holds from L = 1 on"):
        mf.check(
            mf.variance_slope(net, 2, 2, "estimate"),
            at={n: at[n] for n in ("d", "K", "eps", "sigma_w", "sigma_b")} | {"L": 0},
        )


def test_python_functions_refuse_a_depth_without_a_matrix():
    space = {}
    exec(mf.export(mf.weight_variance(mf.vanilla(1, 0), 2, 2, "leading"), "python"), space)
    at = {"N": 100, "d": 16, "K": 4, "eps": 0.1, "t": 1, "sigma_w": 1.4}
    assert 0 < space["T3"](L=1, **at) < 1.4**2
    with pytest.raises(ValueError, match="T3 holds from L = 1 on"):
        space["T3"](L=0, **at)


def test_claims_of_older_files_hold_at_every_depth():
    text = mf.to_json(mf.loss_bound(mf.vanilla(), 2, 2))
    record = json.loads(text)
    del record["depth"]
    record["version"] = 1
    assert mf.from_json(json.dumps(record)) == mf.from_json(text)
    for depth in (-1, True, 1.5, "1"):
        with pytest.raises(ArgumentError, match="least L"):
            replace(mf.from_json(text), depth=depth)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_derivation_may_rest_on_the_depth_of_its_claim(depth):
    claim = replace(mf.half_life(mf.vanilla(1, 0), 2, 2), depth=depth)
    for least in (1, 2):
        proof = Derivation("T3.half", "the law, assumed", where=(L >= least,))
        law = proof.assume("the law", claim.lhs, "==", claim.rhs)
        proof.begin(claim.lhs)
        proof.step(claim.rhs, by(law))
        if least <= depth:
            assert proof.concludes(claim).right == claim.rhs
        else:
            with pytest.raises(StepError, match=rf"holds where L >= {least}, and T3.half is stated"):
                proof.concludes(claim)


WRONG = [
    {"relation": []},
    {"relation": 1},
    {"regime": "EXACT"},
    {"regime": None},
    {"tolerance": "1"},
    {"tolerance": np.nan},
]
WRONG += [{"tolerance": -1}, {"lhs": []}, {"formula": "1 +"}, {"depth": None}]


@pytest.mark.parametrize("bad", WRONG, ids=str)
def test_no_claim_of_wrong_kinds(bad):
    claim = mf.loss_bound(mf.vanilla(), 2, 2)
    with pytest.raises(AdvmfError):
        replace(claim, **bad)
    law = mf.linear_form(mf.vanilla())[0].equations[0]
    for side in ("lhs", "rhs", "scale"):
        with pytest.raises(AdvmfError):
            replace(law, **{side: object()})
