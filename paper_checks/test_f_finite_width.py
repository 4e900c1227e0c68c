"""F1 and F2 at the paper's scale, and the excess of every norm of the Jacobian over its limit.

Run with ``pytest -m paper paper_checks``, or ``advmf check --full --theorem F1 --theorem F2``; ``python
paper_checks/test_f_finite_width.py`` prints the tables of docs/theory.md.
"""

import pytest
import torch

import advmf as mf
from advmf.simulate import operator_norm
from advmf.theorems.selection import DEFAULT_ACTIVATIONS, PAIRS
from advmf.verify.runs import run
from advmf.verify.suite import PAPER, cases
from advmf.verify.verdict import Verdict

pytestmark = pytest.mark.paper

POINTS = [(5, 10, 5000), (5, 10, 1250), (20, 10, 5000), (5, 40, 5000), (5, 10, 310), (20, 10, 1250), (5, 40, 1250)]
"""(L, K, N): LK/N is 0.01, then 0.04 three times, then 0.16 three times."""
D, NETS = 64, 600


def norms(J):
    """E of the norms of matrices J for all pairs, with standard errors."""
    values = torch.stack([operator_norm(J, p, q).value.double() for p, q in PAIRS])
    return values.mean(1), values.std(1) / len(J) ** 0.5


def excess(L, K, N, nets=NETS):
    """E|J|/(omega^(L/2) E|G|/sqrt(d)) - 1 of critical vanilla ReLU networks, G Gaussian, for all pairs; and standard
    errors."""
    generator = torch.Generator().manual_seed(0)
    networks = mf.simulate.sample(
        mf.vanilla(1, 0),
        N=N,
        L=L,
        d=D,
        K=K,
        nets=nets,
        queries=K + 1,
        sigma_w=2**0.5,
        sigma_b=0.0,
        keep=False,
        generator=generator,
    )
    found = [trace.jacobian()[:, 0] for trace in networks.traces(torch.ones(D))]
    J, error = norms(torch.cat(found))
    G, error_G = norms(torch.randn(20 * nets, K, D, generator=generator) / D**0.5)
    return (J / G - 1).tolist(), (J / G * ((error / J) ** 2 + (error_G / G) ** 2).sqrt()).tolist()


@pytest.mark.parametrize("activation", DEFAULT_ACTIVATIONS)
@pytest.mark.parametrize("net", ["vanilla", "residual"])
@pytest.mark.parametrize("theorem", ["F1", "F2"])
def test_finite_width(theorem, net, activation):
    for outcome in run(cases([theorem], [net], [activation], profile=PAPER)):
        assert {r.verdict for r in outcome.reports} == {Verdict.SUPPORTED}, "\n".join(map(str, outcome.reports))
        assert {r.verdict for r in outcome.controls} <= {Verdict.REFUTED}


def test_the_excess_falls_with_width_and_grows_with_depth():
    narrow, wide, deep = excess(5, 10, 310), excess(5, 10, 5000), excess(20, 10, 1250)
    for pair in range(len(PAIRS)):
        error = 4 * (narrow[1][pair] + wide[1][pair])
        assert narrow[0][pair] > wide[0][pair] - error
        assert deep[0][pair] > wide[0][pair] - error


def coefficient(N, nets, L=3, K=6, d=32):
    """N(E|J|/limit - 1) of critical vanilla ReLU networks, its standard error, and what F2 says of it as N -> oo."""
    networks = mf.simulate.sample(
        mf.vanilla(1, 0), N=N, L=L, d=d, K=K, nets=nets, queries=K + 1, sigma_w=2**0.5, sigma_b=0.0, keep=False,
        generator=torch.Generator().manual_seed(N),
    )  # fmt: skip
    found = [operator_norm(trace.jacobian()[:, 0], 2, 2).value.double() for trace in networks.traces(torch.ones(d))]
    law = mf.kernel(mf.jacobian_norm(mf.vanilla(1, 0)))
    point = {"L": L, "d": d, "K": K, "sigma_w": 2**0.5}
    limit = float(law(**point, N=1e15))
    values = N * (torch.cat(found) / limit - 1)
    return float(values.mean()), float(values.std()) / nets**0.5, 1e6 * (float(law(**point, N=1e6)) / limit - 1)


if __name__ == "__main__":
    for N in (150, 300, 600, 1200):
        print("N = {}: {:.1f} ± {:.1f}, F2 {:.1f}".format(N, *coefficient(N, 20_000)), flush=True)
    print("L K N LK/N | " + " | ".join(f"{p},{q}" for p, q in PAIRS))
    for L, K, N in POINTS:
        value, error = excess(L, K, N)
        row = " | ".join(f"{100 * v:.1f} ± {100 * e:.1f}" for v, e in zip(value, error))
        first = float(mf.kernel(mf.jacobian_norm(mf.vanilla(1, 0)))(L=L, d=D, K=K, N=N, sigma_w=2**0.5))
        limit = float(mf.kernel(mf.jacobian_norm(mf.vanilla(1, 0)))(L=L, d=D, K=K, N=10**15, sigma_w=2**0.5))
        print(f"{L} {K} {N} {L * K / N:.2f} | {row} | F2 {100 * (first / limit - 1):.1f}", flush=True)
