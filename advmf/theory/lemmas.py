"""The lemmas that derivations rest on, and a check of each by numbers.

``find_lemma(name).at(...)`` states a lemma for given values of its letters, after verifying its hypotheses. ``check``
draws random cases and compares the two sides. :func:`register_lemma` adds a lemma.
"""

from __future__ import annotations

import difflib

import sympy as sp

from advmf.errors import StepError
from advmf.symbols import SYMBOLS
from advmf.theory import lemma_cases as cases
from advmf.theory import lemma_statements as state
from advmf.theory import process_cases as processes
from advmf.theory.lemma import Lemma
from advmf.theory.lemma_statements import activation, radius

__all__ = ["LEMMAS", "activation", "find_lemma", "radius", "register_lemma"]


def find_lemma(name: str) -> Lemma:
    """The lemma of that name; raises StepError for an unknown name and suggests a similar one."""
    if name not in LEMMAS:
        close = difflib.get_close_matches(name.lower(), [known.lower() for known in LEMMAS], n=1, cutoff=0.4)
        hint = "".join(f"; did you mean {known!r}?" for known in LEMMAS if known.lower() in close) or "."
        raise StepError(
            f"There is no lemma {name!r}{hint} The library has {', '.join(LEMMAS)}; register_lemma adds another."
        )
    return LEMMAS[name]


def register_lemma(new: Lemma) -> Lemma:
    """Add a lemma after it has passed its own check; raises StepError if the check fails or another lemma has the
    name."""
    if LEMMAS.get(new.name, new) != new:
        raise StepError(f"There is already a lemma {new.name!r}, from {LEMMAS[new.name].source}.")
    new.check()
    LEMMAS[new.name] = new
    return new


_PAIR = {"p": "exponent of the ball", "q": "exponent of the output's norm"}
_TIS = "Borell, Invent. Math. 30, 1975; Tsirelson, Ibragimov and Sudakov 1976; Boucheron, Lugosi and Massart, Concentration Inequalities, 2013"

LEMMAS: dict[str, Lemma] = {
    one.name: one
    for one in (
        Lemma(
            "ReLU-like moments",
            "E phi(z)^k for z ~ N(0, h) and phi of slopes u, v is (u^k + (-v)^k) h^(k/2) times a half moment",
            "the Gaussian half moments, by substitution in Euler's integral",
            {"u": "slope for z >= 0", "v": "slope for z < 0", "h": "variance", "k": "power", "z": "symbol of the Gaussian"},
            state.moments,
            lambda u, v, h, k, z: [("h > 0", h > 0), ("k >= 0", k >= 0), ("k whole", state.whole(k)),
                                    ("z in no other letter", state.apart((z,), u, v, h, k))],
            cases.moments_case,
            equality=True,
        ),
        Lemma(
            "Gaussian norm",
            "E‖g_n‖_r is at most (n E|z|^r)^(1/r), and sqrt(2 ln 2n) at r = oo",
            "Jensen's inequality; Boucheron, Lugosi and Massart, Concentration Inequalities, 2013, section 2.5",
            {"n": "dimension", "r": "exponent"},
            state.gaussian_norm,
            lambda n, r: [("n >= 1", n >= 1), ("n whole", state.whole(n)), ("r >= 1", r >= 1)],
            cases.norm_case(state.gaussian_norm, 1, 1.5, 2, 3, sp.oo),
        ),
        Lemma(
            "Euclidean norm",
            "E‖g_n‖_2 is the mean of a chi variable of n degrees of freedom",
            "the density of the chi distribution",
            {"n": "dimension"},
            state.euclidean,
            lambda n: [("n >= 1", n >= 1), ("n whole", state.whole(n))],
            cases.norm_case(state.euclidean, 2),
            equality=True,
        ),
        Lemma(
            "Chevet",
            "E‖G‖_{p -> q} <= (K^max(0, 1/q - 1/2) E‖g_d‖_{p*} + d^max(0, 1/2 - 1/p) E‖g_K‖_q)/sqrt(d), entries N(0, 1/d)",
            "Chevet 1978 with Gordon's constant; Vershynin, High-Dimensional Probability, 2018, exercise 8.7.4",
            _PAIR,
            state.chevet,
            state.norm_hypotheses,
            cases.chevet_case,
        ),
        Lemma(
            "uniform integrability",
            "as N -> oo the mean loss is that of the limit, for activations that are Lipschitz and outputs that converge in law on the ball",
            "the mean square of the loss is bounded in N (in steps in the derivation of its own: Lipschitz constants multiply, and given "
            "the hidden layers outputs are Gaussian); Billingsley, Convergence of Probability Measures, 1999, theorem 3.5",
            _PAIR,
            state.uniformly_integrable,
            state.norm_hypotheses,
            processes.uniform_integrability_case,
            equality=True,
        ),
        Lemma(
            "Chevet on bounded sets",
            "E max over D in a bounded set with 0 of ‖G D‖_q <= K^max(0, 1/q - 1/2) E max <g, D> + max |D| E‖g_K‖_q, G of K rows N(0, 1)",
            "the proof of Chevet 1978 with Gordon's constant, which takes any two bounded sets; Gordon, Israel J. Math. 50, 1985",
            _PAIR,
            state.chevet_of_sets,
            state.norm_hypotheses,
            processes.chevet_of_sets_case,
        ),
        Lemma(
            "metric domination",
            "‖D(eta) - D(eta')‖_2 <= sqrt(scale/d) ‖eta - eta'‖_2 in a ball, where no eigenvalue of Sigma(x + eta) is above scale/d in it; D(0) = 0",
            "the ball is convex: integrate |dD| = sqrt(d eta' Sigma d eta) along the segment (ours)",
            {"p": "exponent of the ball", "scale": "bound on d times the eigenvalues of Sigma"},
            state.dominated,
            lambda p, scale: [("p >= 1", p >= 1), ("scale > 0", scale > 0), ("scale no random quantity", state.fixed(scale))],
            processes.domination_case,
        ),
        Lemma(
            "Sudakov-Fernique",
            "E max <g, D(eta)> <= E max <g, sqrt(scale/d) eta> over the ball, for increments that metric domination bounds",
            "Fernique 1975; Vitale, Proc. Amer. Math. Soc. 128, 2000",
            {"p": "exponent of the ball", "scale": "bound on d times the eigenvalues of Sigma"},
            state.sudakov_fernique,
            lambda p, scale: [("p >= 1", p >= 1), ("scale > 0", scale > 0), ("scale no random quantity", state.fixed(scale))],
            processes.sudakov_fernique_case,
        ),
        Lemma(
            "domination by pixels",
            "‖D(eta) - D(eta')‖_2^2 <= sum_i s_i (eta_i - eta'_i)^2/d for the profile s of a network on images; D(0) = 0",
            "the changes at each position, layer by layer: advmf.theory.profile (ours)",
            {"p": "exponent of the ball", "code": "the profile in numbers"},
            state.dominated_by_pixels,
            state.pixel_hypotheses,
            processes.pixel_domination_case,
        ),
        Lemma(
            "Sudakov-Fernique by pixels",
            "E max <g, D(eta)> <= E max <g, sqrt(s/d) eta> over the ball, for increments that domination by pixels bounds",
            "Fernique 1975; Vitale, Proc. Amer. Math. Soc. 128, 2000",
            {"p": "exponent of the ball", "code": "the profile in numbers"},
            state.sudakov_fernique_by_pixels,
            state.pixel_hypotheses,
            processes.pixel_sudakov_fernique_case,
        ),
        Lemma(
            "Gaussian Poincaré",
            "the variance of ‖G‖_{p -> q} is at most the square of its Lipschitz constant",
            "Boucheron, Lugosi and Massart, Concentration Inequalities, 2013, theorem 3.20",
            _PAIR,
            state.poincare,
            state.norm_hypotheses,
            cases.poincare_case,
        ),
        Lemma(
            "Borell-TIS",
            "‖G‖_{p -> q} exceeds its mean by s with a probability of at most exp(-s^2/(2 Lipschitz^2))",
            _TIS,
            {**_PAIR, "s": "excess"},
            state.borell_tis,
            lambda p, q, s: [*state.norm_hypotheses(p, q), ("s > 0", s > 0), ("s no random quantity", state.fixed(s))],
            cases.borell_tis_case,
        ),
        Lemma(
            "Euler",
            "<w, df/dw> = k f for f positively homogeneous of degree k in w",
            "Euler's theorem on homogeneous functions",
            {"f": "function", "variables": "tuple of its variables w", "degree": "k"},
            state.euler,
            state.homogeneous,
            cases.euler_case,
            equality=True,
        ),
        Lemma(
            "arc-cosine kernel",
            "E phi(z) phi(z') for standard Gaussians of correlation c is u v c + (u - v)^2 kappa_1(c)/2",
            "Cho and Saul, Kernel Methods for Deep Learning, NeurIPS 2009",
            {"u": "slope for z >= 0", "v": "slope for z < 0", "c": "correlation", "z": "first Gaussian", "w": "second Gaussian"},
            state.arc_cosine,
            lambda u, v, c, z, w: [("c >= -1", c >= -1), ("c <= 1", c <= 1), ("z, w distinct and in no other letter", state.apart((z, w), u, v, c))],
            cases.arc_cosine_case,
            equality=True,
        ),
        Lemma(
            "mean value inequality",
            "f continuous and piecewise linear: ‖f(x + eta) - f(x)‖_q <= eps max over the ball of ‖J‖_{p -> q}",
            "f(x + eta) - f(x) is the mean of J over the segment, times eta",
            _PAIR,
            state.mean_value,
            state.norm_hypotheses,
            cases.mean_value_case,
        ),
        Lemma(
            "Jensen",
            "E X <= ln E exp(m X)/m",
            "Jensen's inequality for the exponential",
            {"x": "random quantity", "m": "positive number"},
            state.jensen,
            lambda x, m: [("m > 0", m > 0), ("m no random quantity", state.fixed(m))],
            cases.jensen_case,
        ),
        Lemma(
            "Slepian",
            "E exp(m ‖G‖) exp(m^2 a^2 b^2/2) <= E exp(m b ‖g‖_{p*}) E exp(m a ‖h‖_q), a and b the radii of the two balls",
            "Slepian's inequality, for p = 2 or p = oo, and q = 1 or q = 2; Gordon 1985",
            {**_PAIR, "m": "positive number", "g": "‖g_d‖_{p*}", "h": "‖g_K‖_q"},
            state.slepian,
            lambda p, q, m, g, h: [("p in {2, oo}", p in (2, sp.oo)), ("q in {1, 2}", q in (1, 2)), ("m > 0", m > 0),
                                      ("m no random quantity", state.fixed(m)), ("g, h new symbols", state.apart((g, h), p, q, m)
                                       and not {g.name, h.name} & set(SYMBOLS))],
            cases.slepian_case,
        ),
        Lemma(
            "uniqueness",
            "a path that starts at z_0 and has dz/dt = rate(z), the rate Lipschitz or falling in z, is the only one for t >= 0",
            "the theorem of Picard and Lindelöf",
            {"time": "t", "z": "the variable", "rate": "rate(z)", "start": "z_0", "path": "the solution as a function of t"},
            state.unique,
            state.solves,
            cases.unique_case,
            equality=True,
        ),
        Lemma(
            "induction",
            "paths that start as a recursion does, and obey its updates from one depth to the next, are the recursion",
            "induction over the depth",
            {
                "depth": "symbol of the depth",
                "variables": "tuple of variables",
                "updates": "their next values",
                "start": "their values at depth 0",
                "paths": "closed forms in the depth",
                "of": "the variable asked for",
            },
            state.induction,
            state.repeats,
            cases.induction_case,
            equality=True,
        ),
    )
}  # fmt: skip
"""The library, by name."""
