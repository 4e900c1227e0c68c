"""A claim of one's own: its defaults, and wrong fields, which are refused where it is made."""

import pytest
import sympy as sp

import advmf as mf
from advmf import observables
from advmf.errors import AdvmfError, DomainError
from advmf.observables import AdversarialLoss, Expectation
from advmf.symbols import eps

PAIRED = [
    o for o in map(vars(observables).get, observables.__all__)
    if isinstance(o, type) and issubclass(o, observables.Observable) and (o.exponents or observables.ATTACK in o.needs)
]  # fmt: skip
LOSS = Expectation(AdversarialLoss("inf", 2))
NET = mf.residual(u=1, v=0)
RIGHT = {"lhs": LOSS, "relation": "<=", "formula": 3 * eps, "net": NET}


def test_the_defaults_say_yours():
    claim = mf.Claim.of(**RIGHT)
    assert (claim.name, claim.source) == ("yours", "yours")
    assert (claim.p, claim.q) == (sp.oo, 2), "those of the left-hand side"
    assert claim.regime == mf.Regime.LARGE_WIDTH and not claim.where and not claim.equations
    assert mf.Claim.of(**RIGHT, p=1, name="mine").p == 1, "any field may be given"


def test_exponents_are_expressions():
    assert mf.Claim.of(**RIGHT, p=1.5).p == sp.Rational(3, 2) and mf.Claim.of(**RIGHT, q="inf").q is sp.oo


@pytest.mark.parametrize("kind", PAIRED)
def test_exponents_of_observables_are_numbers_from_one_on_or_infinite(kind):
    more = [1] * (kind is observables.LossAfter)
    pair = [2] * (kind.exponents != 1)
    assert kind("inf", *pair, *more) == kind(sp.oo, *pair, *more) and kind(1.5, *pair, *more).args[0] == sp.Rational(
        3, 2
    )
    assert kind(sp.Symbol("p"), *pair, *more).args[0] == sp.Symbol("p")
    for wrong in ("x", 0.3, None, True):
        with pytest.raises(DomainError, match="p must be a number in"):
            kind(wrong, *pair, *more)


def test_which_observables_have_exponents():
    assert {kind.__name__ for kind in PAIRED} >= {
        "AdversarialLoss",
        "OperatorNorm",
        "MatrixNorm",
        "CapacitySlope",
        "LossAfter",
    }
    assert observables.Output(0).args == (0,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lhs": "hello"}, "'hello' is no expression"),
        ({"lhs": eps}, "left-hand side of a claim is an Expectation"),
        ({"lhs": None}, "got None"),
        ({"relation": "<<"}, "relation is one of"),
        ({"relation": 3}, "relation is one of"),
        ({"formula": "foo bar("}, "is no expression"),
        ({"formula": None}, "got None"),
        ({"formula": True}, "got True"),
        ({"formula": sp.nan}, "no number"),
        ({"net": "residual"}, "takes a Net"),
        ({"name": 3}, "name takes a string; got 3"),
        ({"source": 3}, "source takes a string"),
        ({"where": 3}, "where takes a mapping"),
        ({"where": {"a": 1}}, "where takes a mapping"),
        ({"assumptions": "x"}, "assumptions takes a sequence, each item a string"),
        ({"equations": 3}, "equations takes a sequence, each item an Equation"),
        ({"equations": [eps]}, "each item an Equation"),
        ({"heuristic": 3}, "heuristic takes a string"),
        ({"heuristic": "a step"}, "disagree"),
        ({"regime": "large"}, "regime is one of"),
        ({"tolerance": -1}, "tolerance is a finite number"),
        ({"depth": -1}, "depth is the least L"),
        ({"p": 0.3}, "p must be a number in"),
        ({"q": "x"}, "q must be a number in"),
        ({"foo": 3}, "Claim has no argument foo"),
    ],
)
def test_wrong_fields_are_refused(wrong, message):
    with pytest.raises(AdvmfError, match=message):
        mf.Claim.of(**{**RIGHT, **wrong})


def test_a_missing_side_is_named():
    with pytest.raises(AdvmfError, match="missing a required argument: 'net'"):
        mf.Claim.of(LOSS, "<=", eps)
