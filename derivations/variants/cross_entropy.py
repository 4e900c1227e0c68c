"""A variant of T2: the largest increase of the cross-entropy over the ball and over all labels, by its Lipschitz
constant.

    E max_y max_{‖eta‖_p <= eps} l(f(x + eta), y) - l(f(x), y) <= 2^(1 - 1/q) eps beta omega^(L/2),  l(f, y) = ln sum_k
    exp(f_k) - f_y

Run it to read it: ``python derivations/variants/cross_entropy.py``. The gradient of l in the outputs is softmax(f) -
e_y, whose l_{q*} norm is at most 2^(1/q*). The rest is T2's proof, by metric domination. The increase is no observable
of the package: it is declared here with its measurement, an attack on the cross-entropy.
"""

from dataclasses import replace

import numpy as np
import sympy as sp
import torch

import advmf as mf
from advmf.functions import Conjugate, GaussianNorm
from advmf.observables import AdversarialLoss, Expectation, FeatureMaximum, FeatureRadius, LimitLoss, Observable
from advmf.simulate import Probe, attack_loss
from advmf.symbols import K, L, d, eps, p, q
from advmf.theory.lemma import Case, Lemma
from advmf.theory.lemmas import radius
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, algebra, by, lemma, register_lemma
from advmf.theory.propagation import OMEGA as omega

NET = mf.residual(u=1, v=0)
SIZES = {"L": 3, "d": 64, "K": 3}
POINT = {"sigma_w": 1.0, "sigma_b": 0.1, "eps": 0.2, "x_sq": 100.0, "p": sp.oo, "q": 2}
"""Inputs of length 10 sqrt(d) make confident networks, with one probability near 1, where the cross-entropy is
steepest."""


class CrossEntropyRise(Observable):
    """``max_y max l(f(x + eta), y) - l(f(x), y)`` over ``‖eta‖_p <= eps``: ``CrossEntropyRise(p)``."""

    tex = r"\Delta\ell^{{{}}}"

    def measure(self, probe: Probe) -> torch.Tensor:
        def rise(output: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
            return (output + change).logsumexp(-1) - output.logsumexp(-1) - change.amin(-1)

        s, p = probe.settings, float(self.args[0])
        race = {"steps": s.steps, "restarts": s.restarts, "directions": s.directions, "generator": probe.generator}
        return attack_loss(probe.trace, rise, eps=s.eps, p=p, **race).value[:, 0]


# Two lemmas of this file, each with its hypotheses and a check by random numbers.


def _power_sum(s: sp.Expr, k: sp.Symbol, n: sp.Expr, h: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    return sp.Sum(s**h, (k, 1, n)), "<=", sp.Sum(s, (k, 1, n)) ** h


def _power_sum_case(rng: np.random.Generator) -> Case:
    s, h = rng.exponential(size=rng.integers(1, 9)), rng.uniform(1, 5)
    return Case(float((s**h).sum()), float(s.sum() ** h))


def _lipschitz(p: sp.Expr, q: sp.Expr, slope: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(CrossEntropyRise(p)), "<=", slope * Expectation(AdversarialLoss(p, q))


def _lipschitz_case(rng: np.random.Generator) -> Case:
    """Random outputs, a random change of them, the worst label; the constant for a random q."""
    f, change, q = (
        *rng.standard_normal((2, rng.integers(2, 9))) * rng.uniform(0.1, 10),
        rng.choice([1, 1.5, 2, 4, np.inf]),
    )
    rise = np.logaddexp.reduce(f + change) - np.logaddexp.reduce(f) - change.min()
    return Case(float(rise), float(2 ** (1 - 1 / q) * np.linalg.norm(change, q)))


LETTERS = {
    "p": "exponent of the ball",
    "q": "exponent of the output's norm",
    "slope": "bound on the l_{q*} norm of the gradient",
}
register_lemma(
    Lemma(
        "power sum",
        "sum_k s_k^h <= (sum_k s_k)^h for s_k >= 0 and h >= 1",
        "(s_k/S)^h <= s_k/S, summed over k, with S = sum_k s_k",
        {"s": "numbers, in terms of k", "k": "index", "n": "how many", "h": "power"},
        _power_sum,
        lambda s, k, n, h: [("s >= 0", s >= 0), ("h >= 1", h >= 1)],
        _power_sum_case,
    )
)
register_lemma(
    Lemma(
        "cross-entropy",
        "the increase of l is at most the largest l_{q*} norm of its gradient times the l_q norm of the change of the outputs",
        "the mean value theorem and Hölder's inequality",
        LETTERS,
        _lipschitz,
        lambda p, q, slope: [
            ("p >= 1", p >= 1),
            ("q >= 1", q >= 1),
            ("slope >= 2^(1 - 1/q)", slope >= 2 ** (1 - 1 / q)),
        ],
        _lipschitz_case,
    )
)

f = sp.Symbol("f", real=True)
a, h, slope = sp.symbols("a h Lambda", positive=True)
k, n = sp.symbols("k n", integer=True, positive=True)
s = sp.Function("s", nonnegative=True)


def derive(net: mf.Net) -> Derivation:
    """The Lipschitz constant from the gradient, then the bound, for symbols p and q."""
    proof = Derivation("cross-entropy", f"largest increase of the cross-entropy of the {net.name} network")
    dual = proof.define(h, Conjugate(q), "the dual exponent q*")
    proof.begin(
        sp.Derivative(sp.log(sp.exp(f) + a), f), "slope in the output of another class; a holds the rest of the sum"
    )
    proof.step(sp.exp(f) / (sp.exp(f) + a), algebra, "its probability")
    proof.begin(sp.Derivative(sp.log(sp.exp(f) + a) - f, f), "slope in the output of the label")
    proof.step(-a / (sp.exp(f) + a), algebra, "minus the sum of the others' probabilities")

    others = sp.Sum(s(k), (k, 1, n))
    probabilities = proof.assume("s_1, ..., s_n are the probabilities of the other classes", others, "<=", 1)
    proof.begin((others**h + sp.Sum(s(k) ** h, (k, 1, n))) ** (1 / h), "l_{q*} norm of the gradient", (h >= 1,))
    proof.step((2 * others**h) ** (1 / h), lemma("power sum", s=s(k), k=k, n=n, h=h))
    proof.step(2 ** (1 / h) * others, algebra)
    proof.step(2 ** (1 / h), by(probabilities))
    proof.step(2 ** (1 - 1 / q), by(dual))

    bound = claim(net)
    rate, factor = (
        proof.define(omega, mf.omega(net), "growth per block (T1)"),
        proof.define(beta, mf.beta(p, q), "norm factor"),
    )
    proof.assume("as N -> oo the outputs converge in law to independent Gaussian processes on the ball")
    proof.assume("T1: the gradients of an output are N(0, omega^L/d I) at every x")
    constant = proof.define(slope, 2 ** (1 - 1 / q), "Lipschitz constant")
    proof.begin(Expectation(CrossEntropyRise(p)), "the bound")
    proof.step(
        constant.right * Expectation(AdversarialLoss(p, q)), lemma("cross-entropy", p=p, q=q, slope=constant.right)
    )
    proof.step(slope * Expectation(AdversarialLoss(p, q)), by(constant))
    (inner, outer), length, scale = radius(p, q), GaussianNorm(K, q), omega**L
    proof.step(slope * Expectation(LimitLoss(p, q)), lemma("uniform integrability", p=p, q=q), "as N -> oo")
    parts = outer * Expectation(FeatureMaximum(p)) + FeatureRadius(p) * length
    proof.step(slope * parts, lemma("Chevet on bounded sets", p=p, q=q))
    first = outer * eps * sp.sqrt(scale / d) * GaussianNorm(d, Conjugate(p))
    proof.step(slope * (first + FeatureRadius(p) * length), lemma("Sudakov-Fernique", p=p, scale=scale))
    second = eps * sp.sqrt(scale / d) * inner * length
    proof.step(slope * (first + second), lemma("metric domination", p=p, scale=scale))
    proof.step(slope * eps * beta * omega ** (L / 2), by(factor))
    proof.step(bound.rhs, by(constant, factor, rate))
    proof.concludes(bound)
    return proof


def claim(net: mf.Net) -> mf.Claim:
    """T2 times the Lipschitz constant, with the abbreviations, regime and assumptions of T2."""
    bound = mf.loss_bound(net, p, q)
    return replace(
        bound,
        name="cross_entropy",
        lhs=Expectation(CrossEntropyRise(p)),
        formula=2 ** (1 - 1 / q) * bound.formula,
        source="T2 with the Lipschitz constant of the cross-entropy",
    )


def wrong(claim: mf.Claim) -> list[mf.Claim]:
    """Half the bound, and the bound without the Lipschitz constant."""
    plain = replace(claim, name=f"{claim.name} [Lipschitz constant 1]", formula=claim.formula / 2 ** (1 - 1 / q))
    return [claim.scaled("1/2"), plain]


THEOREM = mf.Theorem(
    name="cross_entropy",
    title="cross-entropy: its largest increase, whatever the label",
    source="T2 with the Lipschitz constant of the cross-entropy",
    net=NET,
    tests=lambda net, pairs: [claim(net)],
    wrong=wrong,
    derive=derive,
    scales={"quick": mf.Scale(**SIZES, at=POINT, nets=(64,) * 4, widths=(64, 256, 1024, 4096), directions=8, steps=5)},
)


def main() -> None:
    """Print the derivation, and the verdicts on the claim and on wrong versions of it."""
    print(derive(NET), end="\n\n")
    for report in mf.check_theorem(THEOREM):
        print(report)


if __name__ == "__main__":
    main()
