"""T6 and the norm factor at the paper's scale: the estimate of 36 pairs at four shapes, and growth over two decades.

Run with ``pytest -m paper paper_checks``, or ``advmf check --full --theorem T6.d --theorem T6.K``;
``python paper_checks/test_t6_dimensions.py d K`` prints the ratios of simulated norms to the estimate.
"""

import itertools
import sys

import pytest

import advmf as mf
from advmf.verify.runs import run
from advmf.verify.sources.matrices import check_matrices
from advmf.verify.statistics import Design
from advmf.verify.suite import PAPER, cases
from advmf.verify.verdict import Verdict

pytestmark = pytest.mark.paper

EXPONENTS = ("1", "1.5", "2", "3", "4", "inf")
PAIRS = list(itertools.product(EXPONENTS, repeat=2))
SHAPES = [(784, 10, 60), (50, 50, 200), (20, 500, 100), (3072, 100, 24)]
"""(d, K, samples)."""
LARGEST = 1200
"""Samples where the norm is the largest of many and scatters most; it is exact there, and quick."""
DESIGN = Design(alpha=0.01 / (len(SHAPES) * len(PAIRS)))
"""A false alarm in any of the pairs in 1 % of seeds."""


def estimates(d, K, samples):
    border = [pair for pair in PAIRS if pair[0] == "1" or pair[1] == "inf"]
    inside = [pair for pair in PAIRS if pair not in border]
    reports = []
    for pairs, count in ((border, LARGEST), (inside, samples)):
        claims = [mf.norm_factor(p, q, "estimate") for p, q in pairs]
        reports += check_matrices(claims, {"d": d, "K": K}, samples=count, design=DESIGN)
    return reports


@pytest.mark.parametrize(("d", "K", "samples"), SHAPES)
def test_the_estimate(d, K, samples):
    reports = estimates(d, K, samples)
    assert {r.verdict for r in reports} == {Verdict.SUPPORTED}, "\n".join(map(str, reports))


@pytest.mark.parametrize("theorem", ["T6.d", "T6.K"])
def test_growth(theorem):
    (outcome,) = run(cases([theorem], profile=PAPER))
    assert {r.verdict for r in outcome.reports} == {Verdict.SUPPORTED}, "\n".join(map(str, outcome.reports))
    assert {r.verdict for r in outcome.controls} == {Verdict.REFUTED}


if __name__ == "__main__":
    d, K = map(int, sys.argv[1:])
    for report in estimates(d, K, next((n for *shape, n in SHAPES if shape == [d, K]), 60)):
        finding = report.findings[0]
        error = finding.stderr / finding.predicted
        print(
            f"{report.p:>4} {report.q:>4} {finding.ratio:.4f} ± {error:.4f} {report.verdict} {finding.reason}",
            flush=True,
        )
