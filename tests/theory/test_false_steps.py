"""False steps, each of which has to be refused: one function per kind of falsehood. A step that was ever wrongly taken
belongs here."""

import pytest
import sympy as sp

import advmf as mf
from advmf.errors import StepError
from advmf.functions import Flow, GaussianMean, GaussianNorm, Recursion
from advmf.observables import (
    AdversarialLoss,
    EscapeTime,
    Expectation,
    JacobianAlong,
    LimitLoss,
    MatrixNorm,
    Offset,
    Probability,
    WeightVarianceSlope,
)
from advmf.symbols import K, L, N, c, d, eps, p, q, sigma_b, sigma_w, t, u, v
from advmf.theory.lemmas import activation
from advmf.theory.proof import Derivation, Fact, Limit, Status, algebra, by, gaussian, lemma

x, y, a, b = sp.symbols("x y a b", positive=True)
r, s, z, w = sp.symbols("r s z w", real=True)
n = sp.Symbol("n", integer=True, nonnegative=True)
k = sp.Symbol("k", integer=True, positive=True)
f, g = sp.Function("f"), sp.Function("g")
LOSS, SLOPE, CROSS = (
    Expectation(AdversarialLoss(2, 2)),
    Expectation(WeightVarianceSlope(2, 2)),
    Expectation(JacobianAlong(0) * Offset(0)),
)


def refused(start, right, reason=algebra, where=()):
    """The step is refused, by a StepError that names it."""
    proof = Derivation("D", "false")
    proof.begin(start, where=where)
    with pytest.raises(StepError, match="D, step 1"):
        proof.step(right, reason)


@pytest.mark.parametrize("letter", [eps, N, L, d, K, sigma_w, sigma_b, u, t])
def test_observables_are_no_constants(letter):
    refused(sp.Derivative(LOSS, letter), 0)
    refused(sp.Derivative(letter * LOSS, letter), LOSS)
    refused(sp.Integral(LOSS, (letter, 0, 1)), LOSS)


@pytest.mark.parametrize(
    ("start", "right", "limit"),
    [
        (LOSS + eps, LOSS, Limit(eps, sp.S.Zero)),
        (LOSS * (1 + 1 / N), LOSS, Limit(N, sp.oo)),
        (LOSS * N / (N + 1), LOSS, Limit(N, sp.oo)),
        (Expectation(MatrixNorm(2, 2)) + 1 / d, Expectation(MatrixNorm(2, 2)), Limit(d, sp.oo)),
        (SLOPE**2 * t + SLOPE, SLOPE, Limit(t, sp.S.Zero)),
    ],
)
def test_limits_of_observables_are_not_known(start, right, limit):
    refused(start, right, limit)


def test_what_an_observable_does_not_depend_on_is_differentiated():
    """Not everything is refused: a matrix norm is free of eps, and the product rule holds."""
    proof = Derivation("D", "true")
    norm = Expectation(MatrixNorm(2, 2))
    proof.begin(sp.Derivative(eps * norm, eps))
    proof.step(norm, algebra)
    proof.begin(sp.Derivative(eps * LOSS, eps))
    proof.step(LOSS + eps * sp.Derivative(LOSS, eps), algebra)


@pytest.mark.parametrize("observable", [SLOPE, CROSS, Offset(0), Expectation(Offset(0)), WeightVarianceSlope(2, 2)])
def test_observables_are_positive_only_if_declared(observable):
    refused(sp.sqrt(observable**2), observable)
    refused(sp.Abs(observable), observable)
    refused(sp.Max(observable, 0), observable)
    refused(sp.sign(observable) * observable, observable)


def test_what_may_be_zero_is_not_positive():
    refused(sp.sign(LOSS), 1)
    refused(sp.sign(Expectation(EscapeTime())), 1)
    refused(sp.Heaviside(LOSS, 0), 1)


@pytest.mark.parametrize(
    ("start", "right"),
    [
        (sp.sqrt(f(x) ** 2), f(x)),
        (sp.Abs(f(x)), f(x)),
        (f(x, y), f(y, x)),
        (sp.Derivative(f(x), (x, 3)), 0),
        (sp.Derivative(f(x), (x, 4)) + f(x), f(x)),
        (f(x) + f(y), f(x + y)),
        (f(g(x)), g(f(x))),
    ],
)
def test_undefined_functions_are_arbitrary(start, right):
    refused(start, right)


@pytest.mark.parametrize(
    ("start", "right", "old", "new"),
    [
        (r**2, s**2, r, s),
        (sp.Abs(r), sp.Abs(s), r, s),
        (r**4 + 1, s**4 + 1, r, s),
        (1 / r, 1 / s, r, s),
        (-1 / r, -1 / s, r, s),
        (sp.tan(r), sp.tan(s), r, s),
        (sp.cosh(r), sp.cosh(s), r, s),
        (r * s, s**2, r, s),
        (SLOPE**2, CROSS**2, SLOPE, CROSS),
        (r - sp.floor(r), s - sp.floor(s), r, s),
        (sp.Piecewise((x, x < 50), (x - 60, True)), sp.Piecewise((y, y < 50), (y - 60, True)), x, y),
        (x - x**2 / 10**5, y - y**2 / 10**5, x, y),
        (sp.Derivative(r * f(r), r).subs(f(r), a), a, r, s),
    ],
)
def test_inequalities_are_put_in_only_where_the_expression_is_monotone(start, right, old, new):
    for relation in ("<=", ">="):
        proof = Derivation("D", "false")
        fact = proof.assume("a bound", old, relation, new)
        proof.begin(start)
        with pytest.raises(StepError):
            proof.step(right, by(fact))


def test_bounds_do_not_pass_through_derivatives_and_limits():
    proof = Derivation("D", "false")
    fact = proof.assume("a bound of functions", f(x), "<=", g(x))
    proof.begin(sp.Derivative(f(x), x))
    with pytest.raises(StepError, match="under a derivative"):
        proof.step(sp.Derivative(g(x), x), by(fact))


def test_a_square_of_a_bound_is_taken_where_the_sign_is_known():
    """The true neighbour of r**2 <= s**2."""
    proof = Derivation("D", "true")
    small = proof.assume("a bound from below", a, "<=", r)
    proof.begin(a**2 + 1)
    proof.step(r**2 + 1, by(small))
    assert (proof.result.relation, proof.steps[-1].status) == ("<=", Status.PROVED)


def conditional():
    proof = Derivation("D", "false")
    proof.begin(sp.Abs(r), where=(r > 0,))
    proof.step(r, algebra)
    return proof


def test_facts_are_put_in_only_where_their_conditions_are_known():
    proof = conditional()
    fact = proof.result
    assert fact.where == (r > 0,)
    proof.begin(sp.Abs(r) + 1)
    with pytest.raises(StepError, match=r"steps? 1.* holds where r > 0, which is not known here"):
        proof.step(r + 1, by(fact))
    proof.begin(sp.Abs(r) + 1, where=(r > 0,))
    proof.step(r + 1, by(fact))
    other = Derivation("E", "cites D")
    cited = other.cite(conditional())
    other.begin(sp.Abs(r) ** 3)
    with pytest.raises(StepError, match="D holds where r > 0"):
        other.step(r**3, by(cited))
    case = sp.Piecewise((sp.Abs(r), r > 0), (0, True))
    other.begin(case)
    other.step(sp.Piecewise((r, r > 0), (0, True)), by(cited))
    for wrong in (sp.Piecewise((sp.Abs(r), r < 0), (0, True)), sp.Piecewise((0, r > 0), (sp.Abs(r), True))):
        other.begin(wrong)
        with pytest.raises(StepError, match="holds where"):
            other.step(wrong.subs(sp.Abs(r), r), by(cited))


def test_conditional_bounds_too():
    proof = Derivation("D", "false", where=(x >= 1,))
    small = proof.assume("a bound", 1 / x, "<=", 1)
    proof.begin(a / x)
    proof.step(a, by(small))
    other = Derivation("E", "cites D")
    cited = other.cite(proof)
    other.begin(a / x + 1)
    with pytest.raises(StepError, match="D holds where x >= 1"):
        other.step(a + 1, by(cited))


def test_a_fact_at_one_value_is_not_differentiated():
    proof = Derivation("D", "false")
    proof.begin(x**2, where=(sp.Eq(x, 1),))
    proof.step(1, algebra)
    fact = proof.result
    proof.begin(sp.Derivative(x**2, x), where=(sp.Eq(x, 1),))
    with pytest.raises(StepError, match="under Derivative"):
        proof.step(0, by(fact))


def test_letters_are_no_constants_in_what_their_definitions_hold():
    proof = Derivation("D", "false")
    square = proof.define(a, x**2)
    proof.begin(sp.Derivative(a * x, x))
    proof.step(a, algebra)
    proof.begin(sp.Derivative(a * x, x))
    with pytest.raises(StepError, match="under Derivative"):
        proof.step(3 * x**2, by(square))
    other = Derivation("E", "false")
    gaussian_letter = other.assume("a number that happens to be z", y, "==", z)
    other.begin(GaussianMean(y * z, z))
    with pytest.raises(StepError, match="under GaussianMean"):
        other.step(1, by(gaussian_letter))


def claim_about(right, **named):
    return mf.Claim(name="own", lhs=LOSS, relation="<=", formula=right, where={}, regime=mf.Regime.LARGE_WIDTH, assumptions=(), source="",
                    net=mf.vanilla(), **named)  # fmt: skip


@pytest.mark.parametrize("condition", [sp.Eq(L, 1), L >= 1, sigma_w < 1, p > 2, sp.Ne(u, v)])
def test_a_claim_is_not_concluded_under_conditions(condition):
    for conditions in ({"where": (condition,)}, {}):
        proof = Derivation("D", "false", **conditions)
        fact = proof.assume("a bound", LOSS, "<=", eps * x**L)
        proof.begin(LOSS, where=() if conditions else (condition,))
        proof.step(eps * x**L, by(fact))
        with pytest.raises(StepError, match=r"holds where .* stated everywhere"):
            proof.concludes(claim_about(eps * x**L))


def test_a_claim_is_concluded_under_conditions_that_hold_in_its_domain():
    proof = Derivation("D", "true", where=(d >= 1,))
    fact = proof.assume("a bound", LOSS, "<=", eps * x**L)
    proof.begin(LOSS)
    proof.step(eps * x**L, by(fact))
    proof.concludes(claim_about(eps * x**L))


def test_a_limit_is_no_equality():
    proof = Derivation("D", "false")
    proof.begin((1 + 1 / N) ** N)
    proof.step(sp.E, Limit(N, sp.oo))
    fact = proof.result
    assert fact.relation == "->"
    proof.begin((1 + 1 / N) ** N + 1)
    with pytest.raises(StepError, match="cannot be put in"):
        proof.step(sp.E + 1, by(fact))
    with pytest.raises(StepError, match="ends in a limit"):
        Derivation("E", "").cite(_with_limit(N))
    with pytest.raises(StepError, match="ends in lim <="):
        _with_limit(L).concludes(claim_about(eps))
    _with_limit(N).concludes(claim_about(eps))  # as N -> oo, as the claim says


@pytest.mark.parametrize("factor", [N, 1 / N, LOSS, CROSS, Expectation(MatrixNorm(2, 2)), 1 + eps / LOSS])
def test_a_limit_is_put_in_beside_what_stands_still_alone(factor):
    found = Expectation(LimitLoss(2, 2))
    refused(factor * LOSS, factor * found, lemma("uniform integrability", p=2, q=2))
    proof = Derivation("D", "the control")
    proof.begin(2 ** (1 - 1 / q) * eps * LOSS)
    proof.step(2 ** (1 - 1 / q) * eps * found, lemma("uniform integrability", p=2, q=2))
    assert proof.result.relation == "->"


def test_the_letter_of_a_limit_does_not_stand_still():
    proof = Derivation("D", "a limit put in")
    proof.begin((1 + a / x) * y)
    proof.step(y, Limit(x, sp.oo))
    known = proof.result
    proof.begin(b * (1 + a / x) * y)
    proof.step(b * y, by(known))
    proof.begin(x * (1 + a / x) * y)
    with pytest.raises(StepError, match="D, step 3"):
        proof.step(x * y, by(known))


def _with_limit(letter):
    proof = Derivation("D", "a bound, then its limit")
    fact = proof.assume("a bound", LOSS, "<=", eps * (1 + 1 / letter))
    proof.begin(LOSS)
    proof.step(eps * (1 + 1 / letter), by(fact))
    proof.step(eps, Limit(letter, sp.oo))
    return proof


@pytest.mark.parametrize(
    ("start", "right", "limit"),
    [
        ((-1) ** n, 1, Limit(n, sp.oo)),
        ((-1) ** n + x, x + 1, Limit(n, sp.oo)),
        (sp.cos(2 * sp.pi * x), 1, Limit(x, sp.oo)),
        (sp.Min(x, 10**20) / x, 1, Limit(x, sp.oo)),
        (sp.Mod(n, 2), 0, Limit(n, sp.oo)),
        (1 / sp.log(sp.log(x)), sp.Rational(1, 4), Limit(x, sp.oo)),
        (x ** sp.Rational(1, 10**12), 1, Limit(x, sp.oo)),
        (1 / x, 0, Limit(x, sp.S.Zero)),
        (x + y, y + x, Limit(x, sp.oo)),
        (sp.sign(r), 1, Limit(r, sp.S.Zero, "-")),
        (x, 0, Limit(x, sp.S.Zero, "both")),
        (x / y + x, x + 1, Limit(x, y)),
    ],
)
def test_false_limits(start, right, limit):
    refused(start, right, limit)


def test_a_limit_outside_the_conditions():
    refused(x / (x + 1), 1, Limit(x, sp.oo), where=(x < 5,))


@pytest.mark.parametrize(
    ("rate", "start", "path", "variable"),
    [
        (sp.sqrt(x), 0, t**2 / 4, x),
        (sp.sqrt(y), 0, t**2 / 4, y),
        (2 * sp.sqrt(sp.Abs(r)), 0, t**2, r),
        (3 * sp.cbrt(r) ** 2, 0, t**3, r),
        (sp.Abs(r) ** sp.Rational(1, 4), 0, (3 * t / 4) ** sp.Rational(4, 3), r),
        (x ** sp.Rational(1, 2) * (1 + x), 0, sp.tan(t / 2) ** 2, x),
        (r**2, 1, 1 / (1 + t), r),
        (r, 1, sp.exp(t) + 1, r),
    ],
)
def test_solutions_that_are_not_the_only_ones_or_none(rate, start, path, variable):
    flow = Flow(t, sp.Tuple(variable), sp.Tuple(rate), sp.Tuple(start), variable)
    refused(flow, path, lemma("uniqueness", time=t, z=variable, rate=rate, start=sp.sympify(start), path=path))


SMALL_DOMAINS = [
    (sp.Min(L, 12), L),
    (sp.Min(d, 1000) * eps, d * eps),
    (sp.Min(N, 10**6), N),
    (sp.Min(sigma_w, 10**9), sigma_w),
    (sp.Max(sigma_w, sp.Rational(1, 8)), sigma_w),
    (sp.Max(eps, sp.Rational(1, 10**12)), eps),
    (sp.floor(sigma_w / 6), 0),
    (sp.ceiling(sigma_w / 10**5), 1),
    (sp.Piecewise((0, sp.Eq(u, 0)), (1, True)), 1),
    (sp.Piecewise((0, sp.Eq(u, v)), (1, True)), 1),
    (sp.Piecewise((0, sp.Eq(u, -v)), (1, True)), 1),
    (sp.Piecewise((2, sp.Eq(d, K)), (1, True)), 1),
    (sp.KroneckerDelta(L, 17), 0),
    (sp.KroneckerDelta(d, 3 * K), 0),
    (sp.Piecewise((0, sp.Eq(sigma_b, 0)), (1, True)), 1),
    (sp.Piecewise((0, sp.Eq(p, sp.oo)), (1, True)), 1),
    (sp.Piecewise((0, sp.Eq(c, -1)), (1, True)), 1),
    (sp.Piecewise((1, u**2 + v**2 < 10**5), (0, True)), 1),
    (sp.Piecewise((1, x * y < 10**4), (0, True)), 1),
    (sp.sign(13 - L), 1),
    (sp.Abs(20 - sigma_w), 20 - sigma_w),
    (sp.Max(0, sigma_w - 300), 0),
    (sp.Heaviside(r + 50, 1), 1),
    (sp.Mod(L, 64), L),
    (L * (L - 1) * (L - 2) * sp.Max(0, L - 40), 0),
    (sp.exp(-sp.Max(0, L - 12)), 1),
]


@pytest.mark.parametrize(("start", "right"), SMALL_DOMAINS, ids=[str(start) for start, _ in SMALL_DOMAINS])
def test_what_holds_in_a_small_part_of_the_domain(start, right):
    refused(start, right)


def test_bounds_that_hold_in_a_small_part_of_the_domain():
    proof = Derivation("D", "false")
    small = proof.assume("a bound", LOSS, "<=", eps)
    proof.begin(LOSS * (13 - L))
    with pytest.raises(StepError, match="not monotone"):
        proof.step(eps * (13 - L), by(small))
    proof.begin(LOSS * (100 - sigma_w))
    with pytest.raises(StepError, match="not monotone"):
        proof.step(eps * (100 - sigma_w), by(small))


def test_gaussian_means_that_hold_in_a_small_part_of_the_domain():
    refused(GaussianMean(sp.Min(L, 12) * z**2, z), L, gaussian)
    refused(GaussianMean(sp.Max(0, z) * sp.Abs(sigma_w - 40), z), (40 - sigma_w) / sp.sqrt(2 * sp.pi), gaussian)
    refused(Recursion(L, sp.Tuple(x), sp.Tuple(x + sp.Piecewise((1, x < 15), (0, True))), sp.Tuple(0), x), L)


@pytest.mark.parametrize(
    ("start", "right"),
    [
        (sp.exp(1000 * x), sp.exp(1000 * y)),
        (x**2, y**2),
        (x - 5, y - 5),
        (1 / (1 - x), 1 / (1 - y)),
        (sp.log(x), sp.log(y)),
        (sp.Derivative(x * f(x), x), sp.Derivative(y * f(y), y)),
        (sp.floor(x), sp.floor(y)),
    ],
)
def test_approximations_whose_errors_grow(start, right):
    proof = Derivation("D", "false")
    near = proof.assume("near", x, "approx", y)
    proof.begin(start)
    with pytest.raises(StepError):
        proof.step(right, by(near))


def test_approximations_whose_errors_do_not_grow():
    proof = Derivation("D", "true")
    near = proof.assume("near", x, "approx", y)
    proof.begin(a * sp.sqrt(x) + b)
    proof.step(a * sp.sqrt(y) + b, by(near))
    assert proof.result.relation == "approx"
    with pytest.raises(StepError, match="an approximation is followed by an approximation"):
        proof.step(a * sp.sqrt(x) + b, by(proof.assume("near again", y, "approx", x)))
    larger = proof.assume("a bound", b, "<=", 2 * b)
    proof.begin(b + x)
    proof.step(2 * b + x, by(larger))
    with pytest.raises(StepError, match="leaves no relation"):
        proof.step(2 * b + y, by(near))


def test_other_relations_are_refused_by_name():
    proof = Derivation("D", "false")
    order = proof.assume("of the same order", x, "asymp", y)
    proof.begin(2 * x)
    with pytest.raises(StepError, match=r"D, step 1 .*x asymp y, which cannot be put in"):
        proof.step(2 * y, by(order))
    with pytest.raises(StepError, match="a relation is one of"):
        proof.assume("no relation", x, "<", y)


def test_definitions_within_the_domain_of_their_letter():
    proof = Derivation("D", "false")
    for letter, meaning in ((x, -1), (x, 0), (a, r), (n, sp.Rational(1, 2)), (k, 0), (y, -(r**2) - 1)):
        with pytest.raises(StepError, match="is declared"):
            proof.define(letter, meaning)
    for letter, meaning, message in (
        (L, 1, "a letter of the theory"),
        (eps, 0, "a letter of the theory"),
        (x + y, 3, "a symbol or a function of symbols"),
        (sp.Integer(2), 3, "a symbol or a function of symbols"),
        (LOSS, 3, "a symbol or a function of symbols"),
    ):
        with pytest.raises(StepError, match=message):
            proof.define(letter, meaning)
    proof.define(f(x), x)
    with pytest.raises(StepError, match="defined twice"):
        proof.define(f(2), 5)


def test_facts_belong_to_their_derivation():
    proof = Derivation("D", "false")
    proof.begin(x)
    with pytest.raises(StepError, match="no fact of this derivation"):
        proof.step(y, by(Fact("forged", "", Status.PROVED, x, "==", y)))
    other = Derivation("E", "")
    with pytest.raises(StepError, match="no fact of this derivation"):
        proof.step(y, by(other.assume("elsewhere", x, "==", y)))


@pytest.mark.parametrize("value", [sp.nan, sp.zoo, sp.true, object(), x > 1, "1 +"])
def test_sides_are_expressions_with_a_value(value):
    proof = Derivation("D", "false")
    with pytest.raises(StepError, match="an expression with a value"):
        proof.begin(value)


def euler(**values):
    return lemma("Euler", **values)


def test_letters_of_lemmas_are_what_the_lemmas_say():
    square = x**2
    refused(2 * x * sp.Derivative(square, x), 2 * square, euler(f=square, variables=(x, x), degree=2))
    refused(Expectation(MatrixNorm(2, 2)), GaussianNorm(d, 2), lemma("Gaussian norm", n=d + sp.Rational(1, 2), r=2))
    mean = GaussianMean(activation(sp.sqrt(x) * z, z, v) ** 2, z)
    refused(mean, (z**2 + v**2) * x / 2, lemma("ReLU-like moments", u=z, v=v, h=x, k=2, z=z))
    norm = MatrixNorm(2, 2)
    tail = Probability(norm >= Expectation(norm) + norm)
    refused(tail, sp.exp(-(norm**2) * d / 2), lemma("Borell-TIS", p=2, q=2, s=norm))
    refused(Expectation(x), sp.log(Expectation(sp.exp(norm * x))) / norm, lemma("Jensen", x=x, m=norm))
    start = Expectation(sp.exp(a * sp.sqrt(d) * norm))
    moments = Expectation(sp.exp(a * d)) * Expectation(sp.exp(a * K)) * sp.exp(-(a**2) / 2)
    refused(start, moments, lemma("Slepian", p=2, q=2, m=a, g=d, h=K))
    twice = Recursion(n, sp.Tuple(x), sp.Tuple(2 * x), sp.Tuple(1), x)
    refused(twice, 2**n, lemma("induction", depth=n, variables=(x,), updates=(2 * x,), start=(1,), paths=(2**n,), of=y))


def test_hypotheses_are_strict_where_they_say_so():
    refused(GaussianMean(activation(sp.Abs(r) * z, u, v) ** 2, z), (u**2 + v**2) * r**2 / 2,
            lemma("ReLU-like moments", u=u, v=v, h=r**2, k=2, z=z))  # fmt: skip
    refused(Expectation(MatrixNorm(q, 2)), 1, lemma("Chevet", p=q - 1, q=2))
