"""Plain sentences with formulas in them, as LaTeX: assumptions, sources, meanings, remarks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from advmf.claim import Claim, Regime
from advmf.emit.typeset.inert import inert, literal
from advmf.emit.typeset.printer import letters

_LETTERS = dict(
    zip(
        "αβγδεζηθικλμνξπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon varphi chi psi omega".split(),
    )
)
_GREEK = {*_LETTERS.values(), "phi", "Lambda", "Sigma"}
_SIGNS = {
    "<=": r"\le ", ">=": r"\ge ", "!=": r"\ne ", "->": r"\to ", "==": "=", "**": "^", "<<": r"\ll ", "*": r"\,", "~": r"\sim ",
    "≤": r"\le ", "≥": r"\ge ", "→": r"\to ", "∞": r"\infty ", "‖": r"\Vert ", "·": r"\cdot ", "×": r"\times ", "−": "-", "±": r"\pm ",
    "√": r"\surd ", "∂": r"\partial ", "∫": r"\int ", "Σ": r"\Sigma ", "⟨": r"\langle ", "⟩": r"\rangle ", "∈": r"\in ", "ℓ": r"\ell ",
    "²": "^2", "³": "^3", "⁴": "^4", "₀": "_0", "₁": "_1", "₂": "_2", "≪": r"\ll ", "′": "'",
    **{sign: rf"\{name} " for sign, name in _LETTERS.items()},
}  # fmt: skip
_UNICODE = "".join(sign for sign in _SIGNS if len(sign) == 1 and not sign.isascii())
_MARKS = re.compile(rf"[\^_=<>|*/+~{_UNICODE}]")
_OPERATORS = {*"=<>+-~*/", "<=", ">=", "->", "==", "!=", "<<", "→", "≤", "≥", "≪", "∈", "·", "×"}
_FUNCTIONS = {"ln", "log", "exp", "max", "min", "sum", "sqrt", "erf"}
_SHORT = _GREEK | _FUNCTIONS | {"eps", "sigma", "lam"}
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def prose(text: str, names: Mapping[str, str] | None = None, link: bool = False) -> str:
    """A sentence as LaTeX, with its formulas in math mode by the letters of ``names``; with ``link``, arXiv numbers
    become links.

    A word with a mathematical sign is a formula, and so is a single letter; neighbouring ones are joined to one
    formula.

    >>> from advmf.emit.typeset.prose import prose
    >>> print(prose("x^0 = P_in x with entries N(0, 1/d), as sigma_w -> oo"))
    $x^0 = P_{\\mathrm{in}} x$ with entries $N(0, 1/d)$, as $\\sigma_w \\to \\infty$
    >>> print(prose("a random net & its 50 % quantile, by Y. Gordon"))
    a random net \\& its 50 \\% quantile, by Y. Gordon
    """
    parts = (f"${formula}${_escape(rest)}" if formula else _escape(rest) for formula, rest in spans(text, names))
    joined = " ".join(parts)
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"\\href{https://arxiv.org/abs/\1}{arXiv:\1}", joined) if link else joined


def spans(text: str, names: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """The parts of a sentence between its spaces, each as a formula in LaTeX (or none) and the plain text attached to
    it.

    >>> spans("the limit N -> oo, at once")
    [('', 'the'), ('', 'limit'), ('N \\\\to \\\\infty', ','), ('', 'at'), ('', 'once')]
    """
    names = letters() if names is None else names
    words = _words(re.sub(r":\w+:", "", text).replace("`", ""))
    kinds = [_kind(word, words[i + 1] if i + 1 < len(words) else "", names) for i, word in enumerate(words)]
    for i, kind in enumerate(kinds):
        # A number or an operator belongs to the formula beside it.
        around = {*kinds[max(i - 1, 0) : i], *kinds[i + 1 : i + 2]}
        computed = any(words[j] in _OPERATORS for j in (i - 1, i + 1) if 0 <= j < len(words))
        lone = kind == "number" or words[i] in ("a", "A", "I")
        if (kind == "operator" and around & {"math", "number"}) or (lone and computed):
            kinds[i] = "math"
    out: list[tuple[str, str]] = []
    formula: list[str] = []
    for word, kind in zip(words, kinds):
        core = word.rstrip(",;:.") if kind == "math" else word
        if kind == "math":
            formula.append(core)
        if formula and (kind != "math" or core != word):
            out.append(_set(" ".join(formula), word[len(core) :], names))
            formula = []
        if kind != "math":
            out.append(("", word))
    if formula:
        out.append(_set(" ".join(formula), "", names))
    return out


def _set(formula: str, rest: str, names: Mapping[str, str]) -> tuple[str, str]:
    """A formula as LaTeX with the text attached to it; plain text if its LaTeX might do more than print."""
    text = _math(formula, names)
    own = {name for tex in names.values() for name in re.findall(r"\\([A-Za-z]+)", tex)}
    known = (
        re.sub(r"\\(" + "|".join(sorted(own, key=len, reverse=True)) + r")(?![A-Za-z])", r"\\alpha", text)
        if own
        else text
    )
    return (text, rest) if text.isascii() and inert(known) else ("", formula + rest)


def _words(text: str) -> list[str]:
    """The words of a sentence; brackets or bars with a formula inside count as one word."""
    plain, out = text.split(), []
    while plain:
        taken = next((n for n in range(1, len(plain) + 1) if _balanced(" ".join(plain[:n]))), 1)
        whole = " ".join(plain[:taken])
        taken = 1 if any(name not in _SHORT for name in re.findall(r"(?<![_A-Za-z])[A-Za-z]{3,}", whole)) else taken
        out.append(" ".join(plain[:taken]))
        plain = plain[taken:]
    return out


def _balanced(text: str) -> bool:
    if (opened := re.search(r"<\w", text)) and ">" not in text[opened.end() :]:
        return False
    return (
        all(text.count(a) == text.count(b) for a, b in _PAIRS.items())
        and not text.count("‖") % 2
        and not text.count("|") % 2
    )


def _kind(word: str, following: str, names: Mapping[str, str]) -> str:
    """The kind of a word: ``math``, ``word``, ``number`` or ``operator``."""
    core = word.rstrip(",;:.")
    bare = core.strip("()[]'-")
    if core in _OPERATORS:
        return "operator"
    if re.fullmatch(r"-?\d+(\.\d+)?", core):
        return "number"
    if not core or re.match(r"http|arXiv|advmf|mf\.", core) or re.fullmatch(r"[A-Za-z]{3,}(/[A-Za-z]{3,})+", core):
        return "word"
    if len(bare) == 1 and bare.isalpha():
        initial = bare.isupper() and word.endswith(".") and following[:1].isupper()
        article = core in ("A", "I") or (core == "a" and following not in ("", "is", "are", "and"))
        return "word" if initial or article else "math"
    if re.fullmatch(r"[TFD]\d(\.\w+)?|[A-Za-z]{3,}", bare) and core.startswith("(") and not {bare} & {*names, *_SHORT}:
        return "word"  # the name of a theorem, or a remark, in brackets
    if re.fullmatch("l[pq]", bare):
        return "math"
    if (own := re.fullmatch(r"([a-z]{2,})(_\w+)+(\.\w+)?", bare)) and not {own[1], bare} & {*names, *_SHORT}:
        return "word"  # the name of a user's file or bound
    if bare in names or bare in _GREEK or bare == "oo" or bare.rstrip("'") in names:
        return "math"
    if re.fullmatch(r"[GJPVW][eghsxyz]|[A-Za-z]{2}'", core) and core != "We":
        return "math"
    if core[0] in _PAIRS and not _balanced(core):
        return "word"
    return "math" if _MARKS.search(core) or _CALL.match(core) else "word"


_CALL = re.compile(rf"-?([A-Za-z]{{1,2}}|sqrt|max|min|exp|{'|'.join(_GREEK)})(_\w+)?'?\(|[\[(][\w, .-]{{1,8}}[\])]$")
_NAME = re.compile(r"[A-Za-z]+(?:_[A-Za-z0-9]+)?")


def _math(formula: str, names: Mapping[str, str]) -> str:
    def name(match: re.Match[str]) -> str:
        whole = match.group()
        base, _, index = whole.partition("_")
        if whole in ("lp", "lq"):
            return rf"\ell_{whole[1]} "
        if whole in ("oo", "E"):
            return r"\infty " if whole == "oo" else r"\mathbb{E} "
        if whole in names or base in names:
            whole, index = (whole, "") if whole in names else (base, index)
            return f"{names[whole]}{_index(index)} "
        if base in _FUNCTIONS:
            return rf"\{base}{_index(index)} " if base != "erf" else r"\operatorname{erf}"
        if base in _GREEK:
            return rf"\{base}{_index(index)} "
        return (base if len(base) < 3 else rf"\mathrm{{{base}}}") + _index(index)

    formula = re.sub(r"\bd ?([A-Za-z]\w*)/d ?([A-Z]\w*)", r"∂\1/∂\2", formula)
    text = re.sub(r"\b([KNdnm]) x ([KNdnm])\b", r"\1 × \2", formula)
    text = re.sub(r"<([^<>]+,[^<>]+)>", r"⟨\1⟩", re.sub(r"\|([^|]+)\|", r"‖\1‖", text))
    text = _NAME.sub(name, text)
    for sign in sorted(_SIGNS, key=len, reverse=True):
        text = text.replace(sign, _SIGNS[sign])
    text = re.sub(r"\\sqrt ?\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"\^\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(r"\^(-?\d{2,}|-\w)", r"^{\1}", text)
    text = re.sub(r"\s+([\^_,()\]}/'])", r"\1", re.sub(r" +", " ", text))
    return re.sub(r"([&%#$])", r"\\\1", text).strip()


def _index(index: str) -> str:
    if not index:
        return ""
    if len(index) == 1:
        return f"_{index}"
    return f"_{{{index}}}" if set(index) <= set("ijklrs") else rf"_{{\mathrm{{{index}}}}}"


def _escape(text: str) -> str:
    """Literal text; a mathematical sign is set in math mode, and a character that pdflatex lacks is given by its
    number."""
    return "".join(map(_letter, literal(text)))


def _letter(c: str) -> str:
    if c in _SIGNS and not c.isascii():
        return f"${_SIGNS[c].strip()}$"
    return _NEAR.get(c) or (c if ord(c) < 0x180 or c in _POINTS else f"[U+{ord(c):04X}]")


_NEAR = dict(
    zip("ÐÞðþĄąĐđĘęĦħĮįŊŋŦŧŲų«»„‚ĸĿŀŉſ", "D Th d th A a D d E e H h I i N n T t U u `` '' ,, , k L l n s".split())
)
_POINTS = "‐‑‒–—―‖‘’“”†‡•…€"
"""The letters of the Latin blocks that LaTeX's usual fonts lack, with substitutes, and the signs outside these blocks
that the fonts have."""


_SPELT = {
    "≤": "<=", "≥": ">=", "→": "->", "∞": "inf", "‖": "|", "·": "*", "×": "x", "−": "-", "²": "2", "³": "3", "⁴": "4", "₀": "0", "₁": "1",
    "₂": "2", "′": "'", "–": "-", "—": "-", "…": "...",
}  # fmt: skip


def outlined(text: str) -> str:
    """A heading as LaTeX for a PDF's outline, which has no formulas. Greek letters stay; other mathematical signs are
    spelt or left out.

    >>> print(outlined("The growth ω^L ≤ 5 % of β_1"))
    The growth ω L <= 5 \\% of β 1
    """
    plain = "".join(_SPELT.get(c, c) for c in text.replace("^", " ").replace("_", " ").replace("$", ""))
    return literal("".join(c for c in plain if c in _LETTERS or ord(c) < 256))


def regime(claim: Claim) -> str:
    """The regime in which a claim holds, in words."""
    words = {
        Regime.EXACT: "exact, at every width and dimension",
        Regime.LARGE_WIDTH: "large width, N -> oo",
        Regime.LARGE_DIMENSION: "large dimension, d or K -> oo",
        Regime.SMALL_BALL: "small balls, eps -> 0",
        Regime.HEURISTIC: "heuristic",
    }
    depth = [f"L >= {claim.depth}"] if claim.depth else []
    return "; ".join([text for flag, text in words.items() if flag in claim.regime] + depth) or "as stated"
