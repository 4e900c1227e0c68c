from dataclasses import replace

import pytest
import sympy as sp

import advmf as mf
from advmf.emit.latex import SCREEN
from advmf.emit.typeset.breaking import width
from advmf.errors import ArgumentError
from advmf.symbols import SYMBOLS, c, x_sq, y_sq


def test_a_bound_reads_as_in_the_paper():
    text = mf.latex(mf.loss_bound(mf.residual(), "inf", 2, route="leading"))
    assert text.startswith(
        r"\mathbb{E}[\mathcal{L}_{\mathrm{adv}}^{\infty,2}] \le \epsilon \beta_{\infty,2} \omega^{L/2}, "
    )
    for part in (
        r"\beta_{\infty,2} = \sqrt{K} + \sqrt{\frac{2 d}{\pi}}",
        r"\omega = 1 + \alpha \sigma_w^2",
        r"\alpha = \frac{u^2 + v^2}{2}",
    ):
        assert part in text
    assert "where" not in text


def test_laws_and_recursions():
    law_of_J, law_of_a, independence = map(mf.latex, mf.linear_form(mf.residual()))
    assert law_of_J.startswith(r"J_{ij} \overset{\text{i.i.d.}}{\sim} \mathcal{N}\left(0, \frac{\omega^L}{d}\right)")
    assert r"\sum_{k=1}^L \omega^{k-1}" in law_of_a
    assert independence.startswith(r"\mathbb{E}[(Jx)_i a_i] = 0")
    plain = mf.latex(mf.linear_form(mf.plain_residual(1, 0))[1])
    assert r"\leftarrow" in plain
    assert r"\text{ from } Q = \tfrac{\lVert x\rVert^2}{d}" in plain


def test_expressions_and_powers_of_fractions():
    assert mf.latex(x_sq**3) == r"\left(\tfrac{\lVert x\rVert^2}{d}\right)^3"
    assert mf.latex(sp.sqrt(x_sq)) == r"\sqrt{\tfrac{\lVert x\rVert^2}{d}}"
    assert mf.latex(mf.beta(3, 2)).count(r"\mathbb{E}\lVert g_") == 2
    with pytest.raises(ArgumentError, match="latex takes a Claim, one of its equations"):
        mf.latex(object())


def test_every_symbol_and_claim_has_latex_without_plain_names():
    claims = [
        c for preset in mf.PRESETS.values() for c in (*mf.linear_form(preset()), mf.loss_bound(preset(), "p", "q"))
    ]
    for claim in claims:
        text = mf.latex(claim)
        assert text.count("{") == text.count("}")
        assert not any(
            name in text for name in ("sigma_w}", "x_sq", "eps}", "GaussianNorm", "Recursion", "Expectation")
        )
        assert claim._repr_latex_().startswith("$")
    assert all(q.latex for q in SYMBOLS.values())


def test_a_persons_order_roots_and_fractions():
    a, b, L, z = *sp.symbols("a b", positive=True), SYMBOLS["L"].symbol, sp.Symbol("z", positive=True)
    for expr, text in (
        (a * 2 * SYMBOLS["eps"].symbol, r"2 \epsilon a"),
        (sp.sqrt(2) / 2 / sp.sqrt(sp.pi), r"\frac{1}{\sqrt{2 \pi}}"),
        (sp.sqrt(2 / sp.pi) * a, r"\sqrt{\frac{2}{\pi}} a"),
        (a**2 / 2 + b**2 / 2, r"\frac{a^2 + b^2}{2}"),
        (a - 1, "a - 1"),
        (1 - a, "1 - a"),
        (L / 2 - 1, r"\frac{L}{2} - 1"),
        ((1 + a) ** (1 - L / 2), r"(1 + a)^{1 - L/2}"),
        (a ** (1 / (1 - z)), r"a^{1/(1 - z)}"),
        (a ** sp.Rational(-3, 2), r"\frac{1}{a^{3/2}}"),
        (b * (a / 2 + sp.Rational(1, 2)), r"\frac{b\,(1 + a)}{2}"),
        (2**L * 3, r"3 \cdot 2^L"),
        (sp.log(2 * a), r"\ln(2 a)"),
        (
            sp.Piecewise((a, z > 1), (b, True)),
            r"\begin{cases} a & \text{if } z > 1 \\ b & \text{otherwise} \end{cases}",
        ),
    ):
        assert mf.latex(expr) == text


def test_several_recursions_are_told_apart():
    theta, equal = mf.ntk(mf.vanilla(1, 0)), {c: 1, y_sq: x_sq}
    formula = theta.subs(equal, simultaneous=True) - 2 * theta + theta.subs({c: 1, x_sq: y_sq}, simultaneous=True)
    text = mf.latex(replace(mf.loss_decay(mf.vanilla(1, 0), 2, 2), formula=formula))
    assert r"N T_L^{(1)} - 2 N T_L^{(2)} + N T_L^{(3)}" in text and text.count(r"\text{ from }") == 3
    ratio = mf.latex(mf.capacity_ratio(mf.residual(), 2, 2))
    assert r"\tilde{z} = z\left(" in ratio  # the weight variance at time t, and the variable of its flow


def test_what_else_has_latex():
    net = mf.Net(
        mf.Residual(mf.Dense(), mf.ReLULike(1, "1/10"), mf.Dense(sigma_b=0), scale=1 / sp.sqrt(SYMBOLS["L"].symbol))
    )
    assert r"x^l = x^{l-1} + \frac{1}{\sqrt{L}}\,W_2^l \phi(W_1^l x^{l-1} + b_1^l)" in mf.latex(net)
    for preset in mf.PRESETS.values():
        text = preset()._repr_latex_()
        assert text.startswith("$\\displaystyle \\begin{aligned}\nx^l &= ")
        assert all(width(line) <= SCREEN + 2 for line in text.split("\\\\\n"))
    law, *_ = mf.linear_form(mf.residual())
    assert mf.latex(law.implied[0]).startswith(r"\mathbb{E}[J_{ij}^2] = ")
    assert law.implied[0]._repr_latex_().startswith("$") and law.lhs._repr_latex_() == r"$\displaystyle J_{ij}$"
    assert mf.latex(mf.kernel(SYMBOLS["eps"].symbol * 2)) == r"f(\epsilon) = 2 \epsilon"
    (proof,) = mf.derivations("T2", mf.vanilla())
    text = mf.latex(proof)
    assert text.startswith(r"\begin{align*}") and text.count(r"\tag*") == len(proof.steps)
    assert r"\to" in mf.latex(proof.steps[0]) and r"\le" in mf.latex(proof.steps[1]) and proof._repr_latex_() == text


def test_kernels_and_reports_typeset_themselves():
    assert (
        mf.kernel(mf.omega(mf.residual(1, 0)))._repr_latex_()
        == r"$\displaystyle f(\sigma_w) = 1 + \frac{\sigma_w^2}{2}$"
    )
    report = mf.check(mf.norm_factor(2, 2), at={"d": 30, "K": 5}, samples=40)
    text = report._repr_html_()
    assert f"{report.estimate:.5g} ± {report.stderr:.2g}" in text and "MatrixNorm" not in text and "<math>" in text
