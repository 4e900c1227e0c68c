import pytest
import sympy as sp

import advmf as mf
from advmf.errors import ArgumentError
from advmf.symbols import SYMBOLS, x_sq


def test_a_bound_reads_as_in_the_paper():
    text = mf.latex(mf.loss_bound(mf.residual(), "inf", 2, route="leading"))
    assert text.startswith(r"\mathbb{E}\left[\mathcal{L}_{\mathrm{adv}}^{\infty,2}\right] \le ")
    for part in (
        r"\beta_{\infty,2}",
        r"\epsilon",
        r"\omega^{\frac{L}{2}}",
        r"\omega = \alpha \, \sigma_w^{2} + 1",
        r"\alpha = \frac{u^{2}}{2} + \frac{v^{2}}{2}",
    ):
        assert part in text
    assert "where" not in text


def test_laws_and_recursions():
    law_of_J, law_of_a, independence = map(mf.latex, mf.linear_form(mf.residual()))
    assert law_of_J.startswith(r"J_{ij} \overset{\text{i.i.d.}}{\sim} \mathcal{N}\left(0, \frac{\omega^{L}}{d}\right)")
    assert r"\sum_{k=1}^{L} \omega^{k-1}" in law_of_a
    assert independence.startswith(r"\mathbb{E}\left[(Jx)_{i} \, a_{i}\right] = 0")
    plain = mf.latex(mf.linear_form(mf.plain_residual(1, 0))[1])
    assert r"\leftarrow" in plain
    assert r"\text{ from } Q = \tfrac{\lVert x\rVert^2}{d}" in plain


def test_expressions_and_powers_of_fractions():
    assert mf.latex(x_sq**3) == r"\left(\tfrac{\lVert x\rVert^2}{d}\right)^{3}"
    assert mf.latex(sp.sqrt(x_sq)) == r"\sqrt{\tfrac{\lVert x\rVert^2}{d}}"
    assert mf.latex(mf.beta(3, 2)).count(r"\mathbb{E}\lVert g_{") == 2
    with pytest.raises(ArgumentError, match="takes a Claim or a SymPy expression"):
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
