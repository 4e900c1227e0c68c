"""The norm factor: the short table, rigour against simulated matrices, duality, monotonicity, limits."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf.emit.latex import latex
from advmf.errors import ArgumentError, DomainError
from advmf.functions import TiltedNorm
from advmf.simulate.matrices import gaussian_norms
from advmf.symbols import K, d

TABLE = {
    (1, 1): sp.sqrt(2 * K * sp.log(2 * d) / d) + K * sp.sqrt(2 / (sp.pi * d)),
    (1, 2): sp.sqrt(2 * sp.log(2 * d) / d) + sp.sqrt(K / d),
    (1, "inf"): sp.sqrt(2 * sp.log(2 * d) / d) + sp.sqrt(2 * sp.log(2 * K) / d),
    (2, 1): sp.sqrt(K) + K * sp.sqrt(2 / (sp.pi * d)),
    (2, 2): 1 + sp.sqrt(K / d),
    (2, "inf"): 1 + sp.sqrt(2 * sp.log(2 * K) / d),
    ("inf", 1): sp.sqrt(2 * K * d / sp.pi) + K * sp.sqrt(2 / sp.pi),
    ("inf", 2): sp.sqrt(2 * d / sp.pi) + sp.sqrt(K),
    ("inf", "inf"): sp.sqrt(2 * d / sp.pi) + sp.sqrt(2 * sp.log(2 * K)),
}
"""The nine leading-order closed forms, typed here as the oracle."""

EXPONENTS = st.one_of(st.sampled_from([1.0, 2.0, math.inf]), st.floats(1.05, 12))
SIZES = st.integers(1, 3000)


@pytest.mark.parametrize("pair", TABLE)
def test_the_short_table_follows_from_the_general_expression(pair):
    found = mf.beta(*pair, route="leading")
    for values in ({d: 784, K: 10}, {d: 3, K: 50}):
        assert float((found - TABLE[pair]).subs(values)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("route", ["chevet", "leading"])
@pytest.mark.parametrize("pair", list(itertools.product(["p", 2, "inf"], ["q", 1, 3])))
def test_beta_is_an_expression_in_d_and_K(route, pair):
    names = {s.name for s in mf.beta(*pair, route=route).free_symbols}
    assert names <= {"d", "K", "p", "q"}
    assert {"d", "K"} <= names


@pytest.mark.parametrize(("p", "q"), TABLE)
@pytest.mark.parametrize("route", ["chevet", "leading"])
def test_a_symbolic_exponent_takes_the_value_of_a_number(p, q, route):
    general = mf.kernel(mf.beta("p", "q", route=route))
    special = mf.kernel(mf.beta(p, q, route=route))
    assert general(d=50, K=7, p=float(p), q=float(q)) == pytest.approx(special(d=50, K=7), rel=1e-11)


GRID = st.sampled_from([1.0, 1.2, 1.5, 2.0, 3.0, 6.0, math.inf])
"""Closed under conjugation; few, for every law of a norm is tabulated once."""


def conjugate(r):
    return math.inf if r == 1 else 1.0 if r == math.inf else r / (r - 1)


@cache
def compiled(p, q, route):
    return mf.kernel(mf.beta(p, q, route))


def exact_norm(G, p, q):
    """‖G‖_{p -> q} of a small matrix by enumeration, for p, q in {1, 2, inf}."""
    if p == 1:
        return np.linalg.norm(G, q, axis=0).max()
    if q == math.inf:
        return np.linalg.norm(G, 1 / (1 - 1 / p) if p < math.inf else 1, axis=1).max()
    if (p, q) == (2, 2):
        return np.linalg.norm(G, 2)
    if p == math.inf:
        signs = np.array(list(itertools.product([1, -1], repeat=G.shape[1])))
        return np.linalg.norm(signs @ G.T, q, axis=1).max()
    return exact_norm(G.T, math.inf, 2)  # (2, 1): the dual


@pytest.mark.parametrize(("d_", "K_"), [(8, 3), (4, 6)])
@pytest.mark.parametrize(("p", "q"), list(itertools.product([1, 2, math.inf], repeat=2)))
def test_chevet_bounds_the_mean_norm_and_the_larger_term_is_below_it(p, q, d_, K_):
    rng = np.random.default_rng(1)
    norms = np.array([exact_norm(rng.standard_normal((K_, d_)), p, q) for _ in range(1500)]) / math.sqrt(d_)
    stderr = norms.std() / math.sqrt(len(norms))
    chevet, leading = (float(mf.kernel(mf.beta(p, q, route=r))(d=d_, K=K_)) for r in ("chevet", "leading"))
    assert norms.mean() - 4 * stderr < chevet <= leading * (1 + 1e-12)
    terms = [
        float(mf.kernel(term)(**{s.name: {"d": d_, "K": K_}[s.name] for s in term.free_symbols}))
        for term in mf.beta(p, q).args
    ]
    assert max(terms) < norms.mean() + 4 * stderr
    assert chevet / 2 < norms.mean() - 4 * stderr  # the control: half of it is no bound


@settings(max_examples=25, deadline=None)
@given(EXPONENTS, EXPONENTS, SIZES, SIZES)
def test_duality(p, q, d_, K_):
    conjugate = lambda r: math.inf if r == 1 else 1.0 if r == math.inf else r / (r - 1)  # noqa: E731
    beta = mf.kernel(mf.beta("p", "q"))
    left = beta(p=p, q=q, d=d_, K=K_) * math.sqrt(d_)
    right = beta(p=conjugate(q), q=conjugate(p), d=K_, K=d_) * math.sqrt(K_)
    assert left == pytest.approx(right, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(EXPONENTS, EXPONENTS, EXPONENTS, SIZES, SIZES)
def test_monotone_in_p_and_q(p, q, other, d_, K_):
    """A larger p is a larger ball, a larger q a smaller norm."""
    beta = mf.kernel(mf.beta("p", "q"))
    low, high = sorted((p, other))
    assert beta(p=low, q=q, d=d_, K=K_) <= beta(p=high, q=q, d=d_, K=K_) * (1 + 1e-9)
    low, high = sorted((q, other))
    assert beta(p=p, q=high, d=d_, K=K_) <= beta(p=p, q=low, d=d_, K=K_) * (1 + 1e-9)


@pytest.mark.parametrize("bad", [0.5, -1, 0, math.nan, "abc", None, True, [2], 1j])
def test_bad_exponents(bad):
    with pytest.raises(DomainError, match=r"must be a number in \[1, oo\]"):
        mf.beta(bad, 2)
    with pytest.raises(DomainError, match="q must be"):
        mf.beta(2, bad)


def test_unknown_route():
    with pytest.raises(ArgumentError, match="chevet, leading"):
        mf.beta(2, 2, route="guess")


@given(EXPONENTS, EXPONENTS, st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=10, deadline=None)
def test_the_routes_are_ordered_by_what_they_claim(p, q, dim, rank):
    values = {r.name: float(mf.kernel(mf.beta(p, q, r.name))(d=dim, K=rank)) for r in mf.routes(p, q)}
    exact = [values[r.name] for r in mf.routes(p, q) if r.rigour == "exact"]
    slack = 1 + 1e-9
    assert values["lower"] <= values["chevet"] * slack <= 2 * values["lower"] * slack**2
    assert values["chevet"] <= values["leading"] * slack
    for value in exact:
        assert values["lower"] <= value * slack <= values["chevet"] * slack**2


@pytest.mark.parametrize(
    ("pair", "route"),
    [
        ((2, 2), "spectral"),
        *(((p, q), "extremal") for p, q in ((1, 1), (1, 2), (1, math.inf), (2, math.inf), (math.inf, math.inf))),
    ],
)
@pytest.mark.parametrize(("dim", "rank"), [(3, 2), (20, 6)])
def test_exact_routes_are_the_means_of_simulated_norms(pair, route, dim, rank):
    """Two-sided at five standard errors (false-fail rate 6e-7 each); Chevet, a few per cent above, is the control."""
    G = np.random.default_rng(0).standard_normal((20_000, rank, dim))
    p, q = pair
    if route == "spectral":
        norms = np.linalg.norm(G, 2, axis=(1, 2))
    elif p == 1:
        norms = np.linalg.norm(G, q, axis=1).max(1)
    else:
        norms = np.linalg.norm(G, 1 if p == math.inf else p, axis=2).max(1)
    mean, error = norms.mean() / math.sqrt(dim), norms.std() / math.sqrt(len(norms) * dim)
    assert abs(float(mf.kernel(mf.beta(*pair, route))(d=dim, K=rank)) - mean) < 5 * error
    assert float(mf.kernel(mf.beta(*pair))(d=dim, K=rank)) - mean > 5 * error


@pytest.mark.parametrize("pair", [(1, 1), (1, 2), (1, math.inf), (2, 2), (2, math.inf), (math.inf, math.inf)])
@pytest.mark.parametrize("delta", [0.5, 0.05])
def test_the_quantile_is_exceeded_no_more_often_than_delta(pair, delta):
    G = np.random.default_rng(1).standard_normal((2000, 3, 5))
    norms = np.array([exact_norm(g, *pair) for g in G]) / math.sqrt(5)
    bound = float(mf.kernel(mf.beta_quantile(*pair, delta))(d=5, K=3))
    assert (norms > bound).mean() <= delta
    # A control: without the deviation, and half of the mean, the bound is exceeded more often than that.
    assert (norms > float(mf.kernel(mf.beta(*pair))(d=5, K=3)) / 2).mean() > delta


def test_routes_are_refused_where_they_do_not_apply():
    with pytest.raises(
        ArgumentError,
        match=r"'spectral' is for p = q = 2; for p = 1, q = 2 take one of extremal, chevet, leading, lower, estimate",
    ):
        mf.beta(1, 2, "spectral")
    with pytest.raises(ArgumentError, match=r"takes an upper route .*; 'lower' is a lower bound"):
        mf.loss_bound(mf.vanilla(), 2, 2, "lower")
    with pytest.raises(ArgumentError, match="takes an upper route"):
        mf.beta_quantile(2, 2, 0.1, "lower")
    for delta in (0, 1, -0.5, 2):
        with pytest.raises(DomainError, match=r"delta is a probability and must lie in \(0, 1\)"):
            mf.beta_quantile(2, 2, delta)
    assert "spectral" in {route.name for route in mf.routes("2", 2.0)}


def test_a_bound_by_an_exact_route_is_checked_like_any_other():
    claim = mf.loss_bound(mf.residual(1, 0), 2, 2, "spectral")
    at = {"L": 2, "d": 16, "K": 4, "sigma_w": 1.0, "eps": 0.1}
    assert mf.kernel(claim)(**at) < mf.kernel(mf.loss_bound(mf.residual(1, 0), 2, 2))(**at)
    assert r"\mathbb{E}" in mf.latex(claim)


def test_routes_from_the_sharpest_on():
    names = lambda p, q: [route.name for route in mf.routes(p, q)]  # noqa: E731
    assert names(1, "oo") == ["extremal", "chevet", "leading", "lower", "estimate"]
    assert names(2, 2) == ["spectral", "tilted", "chevet", "leading", "lower", "estimate"]
    assert names("oo", 1) == ["tilted", "chevet", "leading", "lower", "estimate"]
    assert names(3, 2) == names("p", "q") == ["chevet", "leading", "lower", "estimate"]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(GRID, GRID, st.integers(1, 60), st.integers(1, 60))
def test_best_is_the_least_upper_route_lower_within_a_factor_of_two_and_each_its_own_mirror(p, q, dim, rank):
    values = {r.name: float(compiled(p, q, r.name)(d=dim, K=rank)) for r in mf.routes(p, q)}
    best = float(compiled(p, q, "best")(d=dim, K=rank))
    assert best <= min(values[r.name] for r in mf.routes(p, q) if r.upper) * (1 + 1e-9)
    assert values["lower"] <= best * (1 + 1e-9)
    assert best <= 2 * values["lower"] * (1 + 1e-9)
    for name, value in values.items():
        mirror = float(compiled(conjugate(q), conjugate(p), name)(d=rank, K=dim)) * math.sqrt(rank)
        assert value * math.sqrt(dim) == pytest.approx(mirror, rel=1e-6 if name == "estimate" else 1e-9), name


@pytest.mark.parametrize(("dim", "rank"), [(12, 12), (40, 8), (8, 40), (15, 1), (2, 2)])
def test_the_lower_route_is_below_norms_that_are_exact(dim, rank):
    """False-alarm rate 1e-6 each; one and a third of it is refuted wherever a dimension is not 1."""
    pairs = [(2, 2), (2, 1), ("inf", 2), ("inf", 1), (1, 1.5), (3, "inf"), (3, 1), ("inf", 1.5)]
    found = gaussian_norms(dim, rank, pairs, samples=300, signs=16)
    for pair in pairs:
        if found[pair].exact:
            norms = found[pair].lower
            mean, error = float(norms.mean()), float(norms.std()) / math.sqrt(300)
            value = float(compiled(*pair, "lower")(d=dim, K=rank))
            assert value < mean + 4.76 * error, pair
            assert rank == 1 or 2 * value > mean - 4.76 * error, pair
    assert sum(norms.exact for norms in found.values()) >= 3


def test_one_step_of_the_iteration_sharpens_the_corners():
    """At K = d Chevet's terms are at most equal; what the step finds is a fifth more than half of their sum."""
    for pair in ((2, 2), (2, 1), ("inf", 2), ("inf", 1)):
        lower, chevet = (float(compiled(*pair, route)(d=500, K=500)) for route in ("lower", "chevet"))
        assert lower > 1.2 * chevet / 2


@pytest.mark.parametrize(("p", "q"), [(2, 3), (2, 1), (3, 2), (1.5, 2), ("inf", 2)])
def test_symbolic_exponents_pass_to_their_limits(p, q):
    """At a distance of 1e-9, and of 1e9 from infinity."""
    general = mf.kernel(mf.beta("p", "q"))
    near = [1e9 if e == "inf" else e + 1e-9 if e in (1, 2) else e for e in (p, q)]
    assert general(d=50, K=7, p=near[0], q=near[1]) == pytest.approx(compiled(p, q, "chevet")(d=50, K=7), rel=1e-7)


def test_latex_of_every_route():
    for p, q in ((1, 2), (2, 2), ("inf", 1), (3, 1.5), (2, "inf"), ("p", "q")):
        for route in mf.routes(p, q):
            text = latex(mf.beta(p, q, route.name))
            assert "Norm" not in text
            assert text.count("{") == text.count("}")


@pytest.mark.parametrize(("p", "q"), [(2, 2), (2, 1), (sp.oo, 2), (sp.oo, 1)])
def test_the_tilted_norm_is_the_least_of_its_closed_form(p, q):
    norm, m = TiltedNorm(6, 20, p, q), sp.Symbol("m", positive=True)
    value = lambda log_m: float(norm.at(m).subs(m, sp.Float(math.exp(log_m), 30)).evalf(20))  # noqa: E731
    low, high = -4.0, 3.0
    for _ in range(40):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, second) if value(first) < value(second) else (first, high)
    assert float(norm.evalf()) == pytest.approx(value(low), rel=1e-8)


@pytest.mark.parametrize(("p", "q"), [(1, 2), (2, 2), ("inf", 1), (3, 1.5)])
@pytest.mark.parametrize("bad", [0, -1, math.nan])
def test_bad_dimensions(p, q, bad):
    for route in mf.routes(p, q):
        with pytest.raises(DomainError, match="outside its domain"):
            compiled(p, q, route.name)(d=bad, K=3)
        with pytest.raises(DomainError, match="outside its domain"):
            compiled(p, q, route.name)(d=3, K=bad)


def test_fractional_dimensions_where_there_are_none():
    for pair, route in (((2, 2), "spectral"), ((1, 2), "extremal"), ((3, 1.5), "lower"), ((3, 1.5), "estimate")):
        with pytest.raises(DomainError, match="takes"):
            compiled(*pair, route)(d=3, K=2.5)
    assert (
        compiled(2, 2, "tilted")(d=3, K=2) < compiled(2, 2, "tilted")(d=3, K=2.5) < compiled(2, 2, "tilted")(d=3, K=3)
    )


@pytest.mark.parametrize("dims", [(784, 10), (10, 784), (3, 2), (1, 1), (10**6, 10**6)])
def test_the_leading_terms_stay_within_a_half_of_chevets_for_every_exponent(dims):
    """Jensen's bound of the lr norm grows without end in r; that of a smaller r is one, too. At 1e6 a gamma function is
    no number."""
    chevet, leading = (mf.kernel(mf.beta("p", "q", route)) for route in ("chevet", "leading"))
    exponents = [1, 1 + 1e-9, 1.01, 1.5, 2, 3, 7, 30, 1e3, 1e6, 1e9, math.inf]
    pairs = list(itertools.product(exponents, exponents))
    at = dict(zip("dKpq", (*dims, *np.transpose(pairs))))
    for pair, least, found in zip(pairs, chevet(**at), leading(**at)):
        assert least <= found * (1 + 1e-9) <= 1.5 * least * (1 + 1e-9), pair
    for q in (1e3, 1e6, 1e12):
        given = mf.kernel(mf.beta(2, q, "leading"))(d=dims[0], K=dims[1])
        assert given == pytest.approx(leading(d=dims[0], K=dims[1], p=2, q=q), rel=1e-12)
        assert given <= mf.kernel(mf.beta(2, "inf", "leading"))(d=dims[0], K=dims[1]) * (1 + 1e-12)


@pytest.mark.parametrize(("dim", "rank"), [(2, 2), (5, 5), (3, 8), (10, 2), (30, 3)])
def test_the_claim_of_the_estimate_is_true_in_small_dimensions(dim, rank):
    """Norms by enumeration; at (oo, 1) the estimate is off by more than it is in large dimensions, and by less than its
    claim allows."""
    norms = gaussian_norms(dim, rank, [("inf", 1), (2, 1)], samples=4000, signs=8)
    for pair, found in norms.items():
        assert found.exact
        mean, error = found.lower.mean(), 4.76 * found.lower.std() / math.sqrt(4000)
        allowed = mf.norm_factor(*pair, "estimate").allowed({"d": dim, "K": rank})
        value = float(compiled(*pair, "estimate")(d=dim, K=rank))
        assert abs(value - mean) < allowed * value + error, pair
        assert abs(1.15 * value - mean) > allowed * 1.15 * value + error, "the control: 15 % too large"


def test_the_claim_of_the_estimate_allows_more_in_small_dimensions_alone():
    """The check takes the tolerance of its own point: what is 6 % too large stands where 7 % is allowed, and nowhere
    else."""
    right = mf.norm_factor(2, 1, "estimate")  # whose norms are exact, by the signs of ten rows
    wrong = right.scaled("106/100")
    large, small = ({"d": 60, "K": 10}, {"d": 8, "K": 3})
    assert (wrong.allowed(large), wrong.allowed(small)) == (0.03, 0.07)
    assert mf.check(wrong, large, samples=400).verdict is mf.Verdict.REFUTED
    assert mf.check(right, large, samples=400).verdict is mf.Verdict.SUPPORTED
    with pytest.raises(ArgumentError, match=r"tolerance of beta .* give K in at"):
        wrong.allowed({"d": 60})
    assert mf.from_json(mf.to_json(wrong)) == wrong
