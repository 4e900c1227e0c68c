"""Calibration: over thousands of synthetic suites the checks refute true claims no more often, and wrong ones no less,
than they declare.

The numbers of a suite's networks are drawn, not simulated; everything from the rungs on is the package's own.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from advmf.observables import Capacity
from advmf.verify import statistics
from advmf.verify.judge import Consequence, decide_bound, decide_equality, judge
from advmf.verify.moments import Running
from advmf.verify.statistics import Design, Rung, combine, holm, resolution
from advmf.verify.verdict import Verdict

WIDTHS = np.array([64, 128, 256, 512])
NETS = 100
SUITES = 2000
RATE = 0.05
"""Family-wise, so that a true suite with any REFUTED is common enough to be counted."""


def normal(rng, shape):
    return rng.normal(0, 0.1, shape)


def heavy(rng, shape):
    """Log-normal, as attack maxima and products over depth nearly are: of a spread of 0.3 and a skewness of 2."""
    return (rng.lognormal(0, 0.55, shape) - math.exp(0.55**2 / 2)) * 0.42


def mirrored(rng, shape):
    return -heavy(rng, shape)


CLAIMS = [(normal, 2), (heavy, 0), (heavy, 2), (mirrored, 0), (normal, 0)]
"""The claims of a suite: the noise of a network's number, and the degree of the law in 1/N."""


def estimates(rng, noise, degree, suites, departure=0.0, stderr=1.0):
    """The estimated departures of so many checks; ``stderr`` is a factor by which standard errors are wrong."""
    law = departure + (0.5 * WIDTHS[0] / WIDTHS if degree else 0 * WIDTHS)
    draws = noise(rng, (suites, len(WIDTHS), NETS))
    mean = draws.mean(-1) + law
    centred = draws - draws.mean(-1, keepdims=True)
    error = np.sqrt((centred**2).sum(-1) / (NETS - 1) / NETS) * stderr
    skew = (centred**3).mean(-1) / (centred**2).mean(-1) ** 1.5
    for row in zip(mean.tolist(), error.tolist(), skew.tolist()):
        rungs = [Rung(N, NETS, *values) for N, *values in zip(WIDTHS.tolist(), *row)]
        yield combine(rungs, degree)


def false_refutes(rng, stderr=1.0, suites=SUITES):
    """How many suites of true claims show any REFUTED: equalities, and a bound that holds with equality, by Holm's
    rule."""
    p_values = []
    for noise, degree in CLAIMS:
        found = list(estimates(rng, noise, degree, suites, stderr=stderr))
        decide = decide_bound if noise is mirrored else decide_equality
        p_values.append([decide(e, 1e-3, 0.05, 0.5).p_value for e in found])
    return sum(any(holm(suite, RATE)) for suite in zip(*p_values))


def most(rate, runs):
    """What a count of that rate does not exceed, but once in 10,000 tests."""
    return stats.binom.ppf(1 - 1e-4, runs, rate)


def test_suites_of_true_claims_are_refuted_no_more_often_than_declared():
    assert false_refutes(np.random.default_rng(0)) <= most(RATE, SUITES)


def test_the_calibration_notices_a_wrong_standard_error():
    """The negative control: standard errors that are too small by a third."""
    assert false_refutes(np.random.default_rng(0), stderr=2 / 3, suites=200) > most(RATE, 200)


@pytest.mark.parametrize("tail", [heavy, mirrored])
def test_skewed_numbers_are_refuted_at_the_declared_rate_and_by_student_s_t_alone_too_often(tail, monkeypatch):
    """At 1 in 500, on the side that t misjudges."""
    rng, runs, alpha = np.random.default_rng(1), 8000, 2e-3

    def rate(found):
        below = sum((e.p_below(0.0) if tail is heavy else e.p_above(0.0)) < alpha for e in found)
        above = sum((e.p_above(0.0) if tail is heavy else e.p_below(0.0)) < alpha for e in found)
        return below, above

    found = list(estimates(rng, tail, 0, runs))
    below, above = rate(found)
    assert below <= most(alpha, runs) and above <= most(alpha, runs)
    monkeypatch.setattr(statistics, "CAUTION", 0.0)
    assert rate(found)[0] > most(alpha, runs)


@pytest.mark.parametrize(("noise", "degree"), CLAIMS)
@pytest.mark.parametrize("decide", [decide_bound, decide_equality])
def test_departures_of_the_declared_effect_are_found_with_the_declared_power(noise, degree, decide):
    """Among checks that do not say that they are UNDERPOWERED; the effect is what most of them can just resolve."""
    rng, design, suites = np.random.default_rng(2), Design(alpha=1e-3, beta=0.05), 400
    resolved = [decide(e, design.alpha, design.beta, 9.0).resolution for e in estimates(rng, noise, degree, 100)]
    effect = float(np.quantile(resolved, 0.9))
    verdicts = [
        decide(e, design.alpha, design.beta, effect).verdict
        for e in estimates(rng, noise, degree, suites, departure=effect)
    ]
    told = [v for v in verdicts if v is not Verdict.UNDERPOWERED]
    missed = sum(v is not Verdict.REFUTED for v in told)
    assert len(told) > suites / 2
    assert missed <= most(design.beta, len(told))


@pytest.mark.parametrize(("noise", "degree"), CLAIMS)
def test_an_equality_that_is_off_by_the_effect_is_seldom_supported(noise, degree):
    """SUPPORTED is an equivalence test of size beta: on either side, whatever the numbers of networks."""
    rng, beta, suites = np.random.default_rng(3), 0.05, 300
    for effect in (0.05, 0.2):
        for sign in (1, -1):
            found = estimates(rng, noise, degree, suites, departure=sign * effect)
            supported = sum(decide_equality(e, 1e-3, beta, effect).verdict is Verdict.SUPPORTED for e in found)
            assert supported <= most(beta, suites)


def refuted_without_law(rng, departure, runs, alpha):
    """How many equalities whose departures fall by 1/sqrt(N), the slowest way that is reckoned with, to ``departure``
    are refuted."""
    test = Consequence("", Capacity(), *[dict.fromkeys(WIDTHS.tolist(), 1.0)] * 2, False, 0, False)
    refuted = unlawful = 0
    for _ in range(runs):
        draws = normal(rng, (len(WIDTHS), NETS)) + (departure + 5 * (WIDTHS[0] / WIDTHS) ** 0.5)[:, None]
        error = draws.std(-1, ddof=1) / math.sqrt(NETS)
        rungs = tuple(
            Rung(N, NETS, 1 + m, e) for N, m, e in zip(WIDTHS.tolist(), draws.mean(-1).tolist(), error.tolist())
        )
        finding = judge(test, rungs, alpha, Design(effect=1e-9), decide_equality, 0.0)
        refuted += finding.verdict is Verdict.REFUTED
        unlawful += combine([r.scaled(1.0, -1.0) for r in rungs], 2).fit_p < alpha
    assert unlawful > 0.9 * runs
    return refuted


def test_true_equalities_without_a_law_in_the_width_are_refuted_no_more_often_than_declared():
    assert refuted_without_law(np.random.default_rng(4), 0.0, 1000, 0.02) <= most(0.02, 1000)


def test_what_lasts_without_a_law_is_refuted():
    """The negative control."""
    assert refuted_without_law(np.random.default_rng(5), 1.0, 50, 0.02) == 50


@pytest.mark.parametrize(("scatter", "verdict"), [(1e-6, Verdict.SUPPORTED), (1e-2, Verdict.UNDERPOWERED)])
def test_the_scatter_of_an_identitys_last_digits_has_no_tail(scatter, verdict):
    """Seventeen of the networks of a width had logarithms 3.6 apart. Numbers that are no rounding have such a tail."""
    widths = WIDTHS.tolist()
    test = Consequence("", Capacity(), dict.fromkeys(widths, 0.0), dict.fromkeys(widths, 1.0), True, 0, False)
    rungs = tuple(Rung(N, 17, scatter / 10, scatter / 17**0.5, skew=1.0, spread=3.6) for N in widths)
    finding = judge(test, rungs, 1e-4, Design(effect=0.1), decide_equality, 0.0, 1e-4)
    assert finding.verdict is verdict, finding


@pytest.mark.parametrize("size", [1e12, 1e16, 1e23])
def test_gross_mistakes_are_refuted_whatever_their_last_digits(size):
    """A prediction that is so many times too large leaves residuals of its own rounding, which are no lack of fit."""
    rng, widths = np.random.default_rng(6), WIDTHS.tolist()
    predicted = {N: size * (1 + rng.normal() * 1e-15) for N in widths}
    test = Consequence("", Capacity(), predicted, dict.fromkeys(widths, 1.0), False, 0, False)
    rungs = tuple(Rung(N, NETS, 1 + rng.normal() * 0.01, 0.01) for N in widths)
    finding = judge(test, rungs, 1e-4, Design(), decide_equality, 0.0)
    assert finding.verdict is Verdict.REFUTED and "off by" in finding.reason, finding


def test_holm_rejects_more_than_bonferroni_and_stops_at_the_first_that_stands():
    assert holm([0.001, 0.013, 0.02, 0.9], 0.05) == [True, True, True, False]  # Bonferroni: the first alone
    assert holm([0.013, 0.02, 0.04, 0.001], 0.05) == [True, True, True, True]
    assert holm([0.02, 0.04], 0.05) == [True, True]
    assert holm([0.03, 0.04], 0.05) == [False, False]
    assert holm([], 0.05) == []


def slowly(rng, runs, *, departure, power, size, widths=WIDTHS, alpha=0.02, effect=0.15, crossover=0.0):
    """The verdicts on an equality whose departures fall from ``size`` at the narrowest width, as 1/N^power, to
    ``departure``."""
    test = Consequence("", Capacity(), *[dict.fromkeys(widths.tolist(), 1.0)] * 2, False, 0, False, crossover=crossover)
    law = departure + size * (widths[0] / widths) ** power
    for _ in range(runs):
        draws = rng.normal(0, 0.05, (len(widths), NETS)) + law[:, None]
        error = draws.std(-1, ddof=1) / math.sqrt(NETS)
        rungs = tuple(
            Rung(N, NETS, 1 + m, e) for N, m, e in zip(widths.tolist(), draws.mean(-1).tolist(), error.tolist())
        )
        yield judge(test, rungs, alpha, Design(alpha=alpha, effect=effect), decide_equality, 0.0)


@pytest.mark.parametrize("power", [0.5, 0.6, 0.7, 0.85, 1.0, 2.0])
@pytest.mark.parametrize("size", [0.02, 0.1, 0.3, -0.3, 0.6])
@pytest.mark.parametrize("ratio", [2, 4])
def test_true_equalities_are_not_refuted_however_slowly_they_hold(power, size, ratio):
    """Also by laws between 1/sqrt(N) and 1/N, which products of random matrices show where they are not wide enough."""
    widths = 64 * ratio ** np.arange(4)
    found = list(slowly(np.random.default_rng(7), 150, departure=0.0, power=power, size=size, widths=widths))
    assert sum(f.verdict is Verdict.REFUTED for f in found) <= most(0.02, 150)


@pytest.mark.parametrize("power", [0.5, 0.6, 0.7, 0.85, 1.0, 2.0])
@pytest.mark.parametrize("size", [0.02, -0.1, 0.1, -0.3, 0.3])
@pytest.mark.parametrize("departure", [0.15, -0.15])
def test_equalities_that_are_off_are_not_supported_however_slowly(power, size, departure):
    """Where the finite width makes up for the mistake, too."""
    found = list(slowly(np.random.default_rng(8), 150, departure=departure, power=power, size=size))
    assert sum(f.verdict is Verdict.SUPPORTED for f in found) <= most(0.05, 150)


def test_wide_ladders_decide_and_narrow_ones_say_that_wider_networks_are_wanted():
    """What hardly depends on the width is decided as before; what halves with it is told from the slow law by numbers
    alone."""
    rng = np.random.default_rng(9)
    for departure, verdict in ((0.0, Verdict.SUPPORTED), (0.3, Verdict.REFUTED)):
        for size in (0.0, 0.02):
            assert {f.verdict for f in slowly(rng, 20, departure=departure, power=1.0, alpha=1e-3, size=size)} == {
                verdict
            }
    told = list(slowly(rng, 20, departure=0.0, power=1.0, alpha=1e-3, size=0.3))
    assert {f.verdict for f in told} <= {Verdict.UNDERPOWERED, Verdict.SUPPORTED}
    assert any("use larger N" in f.reason for f in told)
    assert all(f.stderr > 0.03 for f in told if f.reason), "the standard error has what the laws leave open"
    clear = list(slowly(rng, 20, departure=0.0, power=1.0, alpha=1e-3, size=9.0))
    assert {f.verdict for f in clear} == {Verdict.SUPPORTED}
    below = list(slowly(rng, 20, departure=0.0, power=1.0, alpha=1e-3, size=9.0, crossover=65.0))
    assert {f.verdict for f in below} == {Verdict.UNDERPOWERED}, "on a ladder from below the crossover no fit tells"
    poly = list(slowly(rng, 20, departure=0.0, power=1.0, alpha=1e-3, size=0.3, crossover=None))
    assert {f.verdict for f in poly} == {Verdict.SUPPORTED}


def tails(rng, spread, count, runs):
    """The estimates of a mean of 1 by log-normal numbers, as simulations keep them."""
    for _ in range(max(1, runs // 50)):
        running = Running(50)
        running.add(np.exp(rng.normal(-(spread**2) / 2, spread, (count, 50))))
        for column in range(50):
            yield combine([running.rung(8, column)], 0)


@pytest.mark.parametrize(
    ("spread", "count"), [(2.0, 64), (3.0, 64), (2.0, 500), (3.0, 500), (4.0, 500), (3.0, 3000), (5.0, 3000)]
)
def test_what_a_heavy_tail_hides_refutes_nothing(spread, count):
    """Log-normal numbers whose mean is carried by networks that were hardly, or never, seen; by Student's t they are
    refuted from below."""
    rng, runs, alpha = np.random.default_rng(10), 1000 if count < 1000 else 200, 1e-2
    found = list(tails(rng, spread, count, runs))
    assert sum(e.p_below(1.0) < alpha for e in found) <= most(alpha, runs)
    assert sum(decide_equality(e, alpha, 0.05, 1.0).verdict is Verdict.SUPPORTED for e in found) < runs / 10
    assert all(e.hidden[0] == 1 for e in found), "what is missing can only add"
    blind = [replace(e, hidden=(1.0, 1.0)) for e in found]
    assert sum(e.p_below(1.0) < alpha for e in blind) > most(alpha, runs)


@pytest.mark.parametrize("numbers", ["normal", "squares", "products", "fourth", "constant", "mild"])
def test_what_is_no_heavy_tail_is_tested_as_before(numbers):
    """Numbers near zero spread logarithms as well, below."""
    rng, count = np.random.default_rng(11), 2000
    z = rng.normal(size=(count, 40, 8))
    drawn = {
        "normal": z[..., 0], "squares": z[..., 0] ** 2, "products": z[..., 0] * z[..., 1], "fourth": (z**4).mean(-1),
        "constant": np.ones((count, 40)), "mild": np.exp(0.5 * z[..., 0]),
    }[numbers]  # fmt: skip
    running = Running(40)
    running.add(drawn)
    found = [combine([running.rung(8, column)], 0) for column in range(40)]
    assert max(max(e.hidden) for e in found) < 1.06


def test_hidden_numbers_are_on_the_side_of_their_weight():
    """Of a ladder whose narrow networks have the tail, the mean there is too low, and by its weight the limit too low
    or too high."""
    heavy, light = Rung(64, 100, 1.0, 0.3, 5.0, spread=2.0), Rung(128, 100, 1.0, 0.01, 0.1, spread=0.1)
    above = combine([heavy, light], 0)
    assert above.hidden[0] < 1.1 and above.hidden[1] > 4 and above.mirrored.hidden == above.hidden[::-1]
    assert above.p_below(1.5) > 0.01 and above.p_above(-9.0) < 1e-3
    assert resolution(above, 0.01, 0.05) < resolution(above.mirrored, 0.01, 0.05) / 2
    below = combine([heavy, light, replace(light, N=256), replace(light, N=512)], 1)
    assert below.hidden[0] > 4 and below.hidden[1] < 1.1
    told = decide_equality(above, 0.01, 0.05, 0.2)
    assert told.verdict is Verdict.REFUTED, "what is missing would only add to what is too high"
    told = decide_equality(above.shifted(-1.0), 0.01, 0.05, 0.2)
    assert told.verdict is Verdict.UNDERPOWERED and "too rare to be seen" in told.reason
    assert max(combine([replace(heavy, stderr=1e-9, spread=1.0), light], 0).hidden) < 1.1, "it hardly weighs"
    none = combine([replace(heavy, stderr=1e-9, spread=4.0), light], 0)
    assert none.hidden[1] == math.inf, "so little of it was seen that its error says nothing"
    assert none.p_below(1e9) == 0.5 and decide_equality(none.shifted(-1.0), 0.01, 0.05, 9.0).reason.startswith(
        "resolves nothing"
    )
