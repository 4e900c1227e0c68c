"""Safety of text for TeX: an allow-list of commands, applied to everything that comes from formulas, results and
files."""

from __future__ import annotations

import re

_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi varpi rho varrho sigma varsigma tau upsilon "
    "phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell infty partial nabla prime hbar"
)
_ACCENTS = "tilde hat bar dot ddot vec check breve acute grave widehat widetilde overline underline overset"
_FONTS = "mathrm mathcal mathbb mathbf mathit mathsf mathfrak boldsymbol operatorname text textbackslash textasciitilde textasciicircum displaystyle"
_MATHS = (
    "left right big Big bigl bigr Bigl Bigr langle rangle lVert rVert Vert lvert rvert vert frac tfrac sqrt surd sum prod int max min sup inf lim "
    "ln exp log sin cos tan cot arcsin arccos arctan sinh cosh tanh erf cdot cdots ldots dots times pm mp le ge ne ll gg approx asymp sim in to "
    "leftarrow rightarrow mapsto mid circ star quad qquad"
)
COMMANDS = frozenset(f"{_GREEK} {_ACCENTS} {_FONTS} {_MATHS}".split())
_TOKEN = re.compile(r"\\([A-Za-z]+)|\\(.)|\\$|(\^\^)|([%$#~]|[^\S ])|([{}])", re.DOTALL)


def inert(tex: str) -> bool:
    """Whether LaTeX of a formula does nothing but print: it has only known commands and whole groups, and no other way
    to write characters.

    >>> inert(r"\\tilde{q}_{1}"), inert(r"\\input{secret.txt}"), inert("^^5cinput"), inert("}x{")
    (True, False, False, False)
    """
    depth = 0
    for name, sign, hat, odd, brace in _TOKEN.findall(tex):
        depth += (brace == "{") - (brace == "}")
        if brace:
            if depth < 0:
                return False
        elif hat or odd or not (name in COMMANDS if name else sign and sign in "{}_&%$#,;:! |"):
            return False
    return depth == 0 and tex.isprintable()


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: f"\\{c}" for c in "&%$#{}_"},
}


def literal(text: str) -> str:
    """Literal text for TeX: special characters are escaped, and invisible ones left out.

    >>> print(literal(r"50 % of \\input{a_b}"))
    50 \\% of \\textbackslash{}input\\{a\\_b\\}
    """
    return "".join(_SPECIAL.get(c, c) for c in " ".join(text.split()) if c.isprintable())
