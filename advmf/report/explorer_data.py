"""What the explorer's page knows: networks, statements about them, routes to the norm factor, and their formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element, tostring

import sympy as sp

from advmf.claim import Claim
from advmf.emit.formats.javascript import Script
from advmf.emit.formats.python_source import python_source
from advmf.emit.latex import latex
from advmf.emit.typeset.prose import regime
from advmf.errors import AdvmfError, UnsupportedFunctionError
from advmf.nets import PRESETS, STEPS, Net
from advmf.observables import AdversarialLoss, EscapeTime, HalfLife, WeightVariance
from advmf.report.document import Document
from advmf.report.mathml import formula
from advmf.report.overview import number
from advmf.symbols import SYMBOLS
from advmf.theorems import SHIPPED, theorem_of
from advmf.theorems.theorem import Theorem
from advmf.theory.norms import BETA, routes
from advmf.verify.catalogue import ACTIVATIONS

ROUTE = "chevet"
"""The route to the norm factor with which the page opens."""

_ROLES = {AdversarialLoss: "bound", WeightVariance: "variance", HalfLife: "half_life", EscapeTime: "escape"}
"""The observables that the page draws, and what it calls them."""


class Data:
    """A collection that grows by claims; formulas, MathML and LaTeX that are equal are kept once."""

    def __init__(self) -> None:
        self.script = Script()
        self.formulas: dict[str, int] = {}
        self.letters: set[str] = set()
        self.shown: dict[str, int] = {}
        self.nets: dict[str, str] = {}
        self.activations: dict[str, str] = {}
        self.statements: dict[str, list[dict[str, Any]]] = {}
        self.routes: dict[str, list[dict[str, Any]]] = {}
        self.reasons: dict[str, set[str]] = {}
        self._compiled: dict[sp.Expr, dict[str, Any]] = {}
        self._typeset: dict[str, list[int]] = {}

    def preset(self, name: str, phi: str) -> None:
        """All statements of the theorems about a preset network with a named activation."""
        net = PRESETS[name](phi=ACTIVATIONS[phi])
        key = self._add(name, phi, STEPS.get(name, ""))
        for theorem in SHIPPED:
            if not theorem.matrices:
                self._theorem(theorem, net, key)

    def _theorem(self, theorem: Theorem, net: Net, key: str) -> None:
        """What a theorem states about all exponents together; nothing where its claims are about given ones."""
        try:
            claims = theorem.stated(net, "p", "q", ROUTE)
        except AdvmfError:
            return
        for i, claim in enumerate(claims):
            self._state(claim, key, {"theorem": theorem.name, "index": i})

    def claim(self, claim: Claim) -> None:
        """A claim of the user's, as it stands."""
        net = claim.net.name if claim.net else "Gaussian matrix"
        key = self._add(net, "as declared", "" if claim.net is None else STEPS.get(net, ""))
        try:
            source = python_source(claim)
        except UnsupportedFunctionError as error:
            source = f"# {error}\n"
        self._state(claim, key, {"python": source}, free=False)

    def pair(self, p: str, q: str) -> None:
        """The routes to the norm factor of a pair."""
        self.routes[f"{p}|{q}"] = [
            {
                "name": route.name,
                "rigour": route.rigour,
                **self._formula(route.formula(*map(_exponent, (p, q)))),
                **self._typed(rf"\beta_{{{_tex(p)},{_tex(q)}}} = {latex(route.formula(*map(_exponent, (p, q))))}"),
                "processes": route.processes,
            }
            for route in routes(p, q)
        ]

    def _add(self, net: str, phi: str, step: str) -> str:
        self.nets.setdefault(net, step.replace("<-", "←").replace("phi", "φ").replace(" * ", " ∗ "))
        self.activations.setdefault(phi, phi)
        key = f"{net}|{phi}"
        self.statements.setdefault(key, [])
        return key

    def _state(self, claim: Claim, key: str, python: dict[str, Any], free: bool = True) -> None:
        """A statement; with ``free`` the norm factor stays a symbol, which the page takes by the route chosen."""
        where = {s: meaning for s, meaning in claim.where.items() if s != BETA} if free else claim.where
        shown = replace(claim, where=where)
        theorem = theorem_of(claim.name)
        fixed = claim.p is not None and bool(claim.p.is_number)
        roles = [role for observable, role in _ROLES.items() if claim.lhs.has(observable)]
        role = roles[0] if roles and (roles[0] != "bound" or claim.relation == "<=") else ""
        value = {"missing": ""} if claim.relation == "asymp" else self._formula(shown.rhs)
        if role == "variance" and "t" not in {s.name for s in shown.rhs.free_symbols}:
            role = ""
        self.statements[key].append(
            {
                "name": claim.name,
                "title": theorem.head if theorem else "",
                "pair": [_name(claim.p), _name(claim.q)] if fixed else None,
                "role": role,
                "relation": str(claim.relation),
                "regime": regime(claim).replace("->", "→").replace("oo", "∞"),
                "heuristic": claim.heuristic.replace("->", "→"),
                "depth": claim.depth,
                **value,
                **self._typed(latex(shown)),
                **python,
            }
        )

    def _formula(self, expr: sp.Expr) -> dict[str, Any]:
        """The number of a formula's function, or the name of the function that it lacks."""
        if expr not in self._compiled:
            try:
                source = self.script.formula(expr)
            except UnsupportedFunctionError as error:
                said, *_ = str(error).partition(". ")
                name, _, why = said.partition(" has no JavaScript form")
                self._compiled[expr] = {"missing": name}
                self.reasons.setdefault(why.removeprefix(": "), set()).add(name)
            else:
                self.letters |= {symbol.name for symbol in expr.free_symbols}
                self._compiled[expr] = {"f": self.formulas.setdefault(source, len(self.formulas))}
        return self._compiled[expr]

    def _typed(self, tex: str) -> dict[str, Any]:
        """The numbers of the MathML of a formula's lines, and its LaTeX."""
        if tex not in self._typeset:
            lines = [tostring(_unwrapped(line), encoding="unicode") for line in formula(tex)]
            self._typeset[tex] = [self.shown.setdefault(line, len(self.shown)) for line in lines]
        return {"shown": self._typeset[tex], "latex": tex}

    @property
    def missing(self) -> list[str]:
        """The functions without a JavaScript form, by name, with the reasons."""
        groups = sorted((", ".join(sorted(names)), why) for why, names in self.reasons.items())
        return [f"{names} ({why})" if why else names for names, why in groups]


def verdicts(document: Document) -> list[dict[str, Any]]:
    """The verdicts of a run, for the page."""
    return [
        {
            "name": claim.report.theorem,
            "net": claim.report.net,
            "phi": claim.activation,
            "p": claim.report.p,
            "q": claim.report.q,
            "verdict": str(claim.report.verdict),
            "ratio": number(claim.report),
            "margin": claim.report.margin,
            "given": claim.report.given.replace("oo", "∞"),
            "at": {name: float(value) for name, value in claim.report.at.items() if name in SYMBOLS},
        }
        for claim in document.claims
    ]


def _unwrapped(element: Element) -> Element:
    """MathML without rows of one element, which change nothing."""
    for i, child in enumerate(element):
        while child.tag == "mrow" and len(child) == 1 and not (child.attrib or child.text):
            child = child[0]
        element[i] = _unwrapped(child)
    return element


def _exponent(value: str) -> sp.Expr:
    return sp.oo if value == "inf" else sp.Rational(value)


def _name(value: sp.Expr | None) -> str:
    return "inf" if value is sp.oo else str(value)


def _tex(value: str) -> str:
    return value.replace("inf", r"\infty")
