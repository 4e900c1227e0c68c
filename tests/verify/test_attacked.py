"""A share of the networks is attacked: the linear part of the loss is measured on the others."""

import math
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.errors import ArgumentError, DomainError
from advmf.observables import (
    AdversarialLoss,
    Expectation,
    LossDecay,
    OperatorNorm,
    Output,
    WeightNormSlope,
    WeightVarianceSlope,
)
from advmf.simulate.estimate import Single
from advmf.verify.sources.parts import terms
from advmf.verify.sources.simulation import measured
from advmf.verify.statistics import Rung, combine
from advmf.verify.verdict import Report

NET = mf.vanilla(u=1, v=0)
AT = {"L": 2, "d": 16, "K": 4, "sigma_w": 1.4, "sigma_b": 0.0, "eps": 0.4}
FEW = {"widths": (16, 32, 64), "directions": 1, "steps": 3, "seed": 1}
VALUES = {"eps": 0.4, "N": 32}
PAIRS = [(1, 1), (2, 2), ("inf", "inf")]


def claims(pairs=PAIRS):
    return [mf.loss_bound(NET, p, q) for p, q in pairs]


def means(attacked, nets=1500, own=None, seed=1):
    """The rungs of each loss, by its pair and width."""
    found, _ = measured(own or claims(), AT, {**FEW, "nets": nets, "attacked": attacked, "seed": seed})
    return {(product, rung.N): rung for product, rungs in found.tables.items() for rung in rungs}


@pytest.mark.parametrize(
    "product",
    [
        AdversarialLoss(2, 2),
        AdversarialLoss(1, sp.oo) ** 2 + 3 * Output(0) ** 2,
        WeightVarianceSlope(sp.oo, 2),
        WeightNormSlope(2, 2) + 4 * AdversarialLoss(2, 2),
    ],
)
def test_two_terms_add_up_to_what_is_attacked(product):
    first, second = terms([Output(0) ** 2, product], VALUES)
    assert [column.product for column in first] == [Output(0) ** 2, product]
    assert [column.product for column in second] == [product]
    assert sp.expand(first[1].measured + second[0].measured - product) == 0
    assert not first[1].measured.has(AdversarialLoss, WeightVarianceSlope, WeightNormSlope)


def test_eulers_identity_has_no_linear_part():
    (first,), _ = terms([WeightNormSlope(2, 2) + 2 * AdversarialLoss(2, 2)], VALUES)
    assert first.measured == 0


@pytest.mark.parametrize("product", [LossDecay(2, 2), Single(AdversarialLoss(2, 2)), Output(0) ** 2])
def test_there_are_no_terms_without_a_linear_part_of_counts_and_without_attacks(product):
    assert terms([product], VALUES) is None


def test_the_mean_is_that_of_networks_that_are_all_attacked():
    """On balls so large that the loss is not the linear part, which alone would be seen to be wrong."""
    every, few = means(1.0), means(0.2, nets=3000)
    losses = [key for key in every if isinstance(key[0], AdversarialLoss)]
    assert len(losses) == 9
    scores = [(few[k].mean - every[k].mean) / math.hypot(few[k].stderr, every[k].stderr) for k in losses]
    assert max(map(abs, scores)) < 3.5 and sum(s**2 for s in scores) < 27.9  # chi-square of 9 at 0.1 %
    linear = means(1.0, own=[norm_claim(p, q) for p, q in PAIRS])
    wrong = [
        AT["eps"] * linear[OperatorNorm(*loss.args), N].mean / every[loss, N].mean - 1
        for loss, N in losses
        if sp.oo in loss.args
    ]
    assert max(map(abs, wrong)) > 0.05


def norm_claim(p, q):
    """A claim that takes the norm of J(x) to be measured."""
    return replace(claims([(p, q)])[0], lhs=Expectation(OperatorNorm(p, q)))


def test_the_mean_does_not_depend_on_what_is_nearby(monkeypatch):
    every = means(1.0)
    monkeypatch.setattr(AdversarialLoss, "nearby", property(lambda self: 20 * OperatorNorm(1, 2)))
    other = means(0.5, nets=3000)
    losses = [key for key in every if isinstance(key[0], AdversarialLoss)]
    scores = [(other[k].mean - every[k].mean) / math.hypot(other[k].stderr, every[k].stderr) for k in losses]
    assert max(map(abs, scores)) < 3.5
    assert all(other[k].stderr > 3 * every[k].stderr for k in losses)  # but its error does


def test_a_tenth_of_the_attacks_gives_nearly_the_same_error_in_small_balls():
    at = {**AT, "eps": 0.02}

    def error(attacked):
        found, _ = measured(claims([(2, 2)]), at, {**FEW, "nets": 1000, "attacked": attacked})
        return np.array([rung.stderr for rung in found.tables[AdversarialLoss(2, 2)]])

    assert np.all(error(0.1) < 1.15 * error(1.0))


def test_the_error_of_a_sum_is_that_of_repeated_sums():
    generator = np.random.default_rng(0)

    def rung(n):
        values = generator.gamma(2.0, size=n)
        third = ((values - values.mean()) ** 3).mean() / values.std() ** 3
        return Rung(8, n, values.mean(), values.std(ddof=1) / math.sqrt(n), third)

    sums = [rung(40).plus(rung(10)) for _ in range(4000)]
    deviation = np.std([s.mean for s in sums])
    assert np.sqrt(np.mean([s.stderr**2 for s in sums])) == pytest.approx(deviation, rel=0.05)
    assert 9 < np.mean([s.dof for s in sums]) < 20  # most of the variance is that of ten numbers
    one = Rung(8, 41, 1.0, 0.1).plus(Rung(8, 41, 1.0, 0.1))
    assert one.freedom == pytest.approx(80) and combine([one], 0).dof == pytest.approx(80)


def test_what_is_unseen_of_the_first_term_is_unseen_of_the_sum():
    heavy, rest = Rung(8, 1000, 1.0, 0.3, spread=1.0), Rung(8, 20, 0.0, 1e-9)
    assert heavy.plus(rest).seen == pytest.approx(heavy.seen, rel=1e-6)
    assert Rung(8, 1000, 1.0, 0.3).plus(replace_lost(rest)).finite is False


def replace_lost(rung):
    return Rung(rung.N, rung.nets, math.nan, math.inf, lost=1)


def test_the_report_says_how_many_are_attacked_and_is_written():
    report, _ = mf.check_all(claims([(2, 2), (1, 1)]), AT, **FEW, nets=(60, 50, 40), attacked=0.25)
    assert report.settings["nets"] == [60, 50, 40] and report.settings["attacked"] == [15, 13, 10]
    (finding,) = report.findings
    assert [rung.nets for rung in finding.rungs] == [60, 50, 40]
    assert all(rung.dof < rung.nets for rung in finding.rungs)
    assert Report.from_dict(report.to_dict()).findings == report.findings
    assert "attacked" not in mf.check(claims()[0], AT, **FEW, nets=20).settings


def test_a_check_of_a_share_goes_on_where_it_stopped():
    parts = {}
    first = mf.check(claims()[1], AT, **FEW, nets=40, attacked=0.3, parts=parts)
    assert len(parts) == 6  # two for each width
    again = mf.check(claims()[1], AT, **FEW, nets=40, attacked=0.3, parts=parts)
    assert again.findings == first.findings


@pytest.mark.parametrize(
    ("attacked", "error"), [(0, DomainError), (1.5, DomainError), (math.nan, DomainError), ("x", ArgumentError), (True, ArgumentError)]
)  # fmt: skip
def test_a_share_is_a_number_above_0_and_at_most_1(attacked, error):
    with pytest.raises(error, match="attacked is a share"):
        mf.check(claims()[0], AT, **FEW, nets=20, attacked=attacked)
