"""Documents: their parts without TeX; and, by ``pytest -m latex``, through pdflatex without a warning."""

import json
import random
import re
import subprocess

import pytest
import sympy as sp
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.emit.typeset.bibliography import cited
from advmf.emit.typeset.breaking import Breaker, width
from advmf.emit.typeset.lines import claim_lines
from advmf.emit.typeset.printer import Printer, letters
from advmf.emit.typeset.prose import prose
from advmf.errors import ArgumentError, DataError
from advmf.report.paper import PACKAGES, macro
from advmf.report.results import read_results
from advmf.symbols import SYMBOLS
from advmf.theorems import THEOREMS
from advmf.theorems.derivations import derivations
from advmf.theory.lemmas import LEMMAS
from advmf.theory.norms import ROUTES


def row(theorem="T2", verdict="NOT_REFUTED", p="2", q="2", net="vanilla", **more):
    return {
        "theorem": theorem, "net": net, "activation": "relu", "p": p, "q": q, "verdict": verdict, "estimate": 0.9, "stderr": 0.01,
        "predicted": 1.0, "ratio": 0.9, "at": {"L": 2}, "seed": 0, "settings": {}, "findings": [
            {"label": "E J²", "verdict": verdict, "reason": "omega**L is 5 % & more", "estimate": 0.9, "predicted": 1.0}], **more,
    }  # fmt: skip


def record(*rows, complete=True):
    counts = dict.fromkeys(("SUPPORTED", "NOT_REFUTED", "REFUTED", "UNDERPOWERED"), 0)
    for r in rows:
        counts[r["verdict"]] += 1
    return {
        "version": "0.1.0",
        "seed": 3,
        "results": list(rows),
        "summary": {**counts, "complete": complete, "controls": {"total": 4, "refuted": 4, "missed": []}},
    }


FULL = record(
    row("T1.J", "SUPPORTED", None, None),
    row("T1.a", "SUPPORTED", None, None),
    *(
        row(p=p, q=q, net=net)
        for p in ("1", "2", "inf")
        for q in ("1", "2", "inf")
        for net in ("vanilla", "plain_residual")
    ),
    row("T2", "REFUTED", "3", "1.5"),
    row("T6", "UNDERPOWERED", net="matrix", activation="", estimate=-0.43, predicted=-0.44, settings={"along": "d"}),
)


def balanced(text):
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for kind in ("align*", "theorem", "heuristic", "longtable", "tabular", "cases", "aligned", "center"):
        assert text.count(rf"\begin{{{kind}}}") == text.count(rf"\end{{{kind}}}"), kind
    assert text.count(r"\left") - text.count(r"\leftarrow") == text.count(r"\right") - text.count(r"\rightarrow")
    assert not re.search(r"Dummy|_\{?Dummy|GaussianNorm|Recursion|Expectation|BETA|\*\*", text)


def sections(net, *theorems):
    return [
        mf.Section(f"{name}: {THEOREMS[name].title}", THEOREMS[name].stated(net, "inf", "2", "chevet"))
        for name in theorems
    ]


@pytest.mark.parametrize("net", [mf.vanilla(), mf.residual(), mf.plain_residual(1, 0)], ids=lambda net: net.name)
def test_a_document_states_every_claim_with_what_belongs_to_it(net):
    text = mf.document(sections(net, "T1", "T2", "T3", "T4", "T5"), net=net, dimensions=None)
    balanced(text)
    claims = [claim for section in sections(net, "T1", "T2", "T3", "T4", "T5") for claim in section.claims]
    heuristic = sum(bool(claim.heuristic) for claim in claims)
    assert text.count(r"\begin{heuristic}") == heuristic
    assert (heuristic > 0) == (net.name != "plain_residual"), "T3 and T4 rest on such steps, and are silent of it"
    assert text.count(r"\begin{theorem}") == len(claims) - heuristic > 0
    for words in (r"\emph{Regime}", r"\emph{Assumptions}", r"\emph{Source}"):
        assert text.count(words) == len(claims)
    assert text.count(r"\emph{Heuristic step}") == heuristic
    assert text.count("arXiv:2505.14021") and text.count(r"\emph{Standing assumptions}") == 1


def test_only_the_symbols_in_use_are_in_the_notation():
    text = mf.document([mf.loss_bound(mf.vanilla(1, 0), 2, 2)], dimensions=None)
    notation = text.partition(r"\section{T2}")[0]
    assert SYMBOLS["sigma_w"].latex in notation and "depth: number of blocks" in notation
    assert "upper edge" not in notation and r"\lambda" not in notation
    assert r"$\{0, 1, \dots\}$" in notation and r"$(0, \infty)$" in notation


def test_macros_rename_in_one_place():
    claims = [mf.loss_bound(mf.vanilla(), 2, 2), *mf.linear_form(mf.vanilla())]
    text = mf.document(claims, macros=True, dimensions=None)
    head, _, body = text.partition(r"\begin{document}")
    for name in letters():
        assert rf"\newcommand{{\{macro(name)}}}" in head
    assert rf"\{macro('sigma_w')}" in body and r"\sigma_w^2 " not in body and r"\epsilon" not in body
    assert rf"\newcommand{{\{macro('x_sq')}}}{{\tfrac{{\lVert x\rVert^2}}{{\{macro('d')}}}}}" in head


def test_a_fragment_has_no_preamble():
    text = mf.document([mf.loss_bound(mf.vanilla(), 2, 2)], fragment=True, macros=True)
    assert not re.search(
        r"\\(documentclass|usepackage\{|begin\{document\}|maketitle)", text.replace(text.splitlines()[0], "")
    )
    assert r"\providecommand" in text and r"\ifcsname theorem" in text


def test_norm_factors_are_those_of_the_routes():
    text = mf.document([], dimensions=(50, 7))
    at = {mf.symbols.d: 50, mf.symbols.K: 7}
    for p, q, best in (("inf", "1", "tilted"), ("2", "2", "spectral"), ("1", "2", "extremal")):
        for route in ("chevet", "leading", best):
            assert f"{float(mf.beta(p, q, route).subs(at).evalf()):.4g}" in text
        assert best in text
    assert "$d = 50$, $K = 7$" in text


def test_verdicts():
    text = mf.document([], results=FULL, dimensions=None)
    balanced(text)
    assert r"0.900\textsuperscript{n}" in text and r"\textbf{0.900\textsuperscript{R}}" in text
    assert r"$-$0.43/$-$0.44\textsuperscript{u}" in text and r"\paragraph{T6.d}" in text
    assert r"refuted: $\omega^L$ is 5 \% \& more" in text
    assert "4 of 4 negative controls refuted; seed 3" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "another format: expected the file that 'advmf check --json FILE' writes"),
        ('{"norms": 1}', r"got \['norms'\]"),
        (json.dumps({**FULL, "results": []}), "holds no results"),
        (json.dumps({**FULL, "results": [{**row(), "verdict": "FINE"}]}), "in result 1, verdict"),
        (
            json.dumps({**FULL, "results": [row(), {"theorem": "T2"}]}),
            "in result 2, net, verdict, activation, findings, at is missing",
        ),
        (json.dumps(record(row(), complete=False)), "was interrupted"),
    ],
)
def test_a_file_that_is_no_record_of_a_check_is_refused(content, message, tmp_path):
    path = tmp_path / "out.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_results(path)
    result = CliRunner().invoke(cli.main, ["latex", "T2", "--results", str(path)])
    assert result.exit_code == 2 and "advmf check --json" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["T9"], "There is no theorem 'T9'; choose from T1"),
        (["t22"], "Did you mean T2?"),
        (["T2", "--net", "resnet"], "choose from vanilla"),
        (["T2", "--p", "0.5"], "p must be a number"),
        (["T2", "--route", "fast"], "route must be split, best or one of"),
        (["F1", "--net", "plain_residual"], "F1 says nothing of plain_residual"),
        (["T2", "--results", "none.json"], "none.json cannot be read"),
        (["T2", "-o", "no/such/folder/paper.tex"], "There is no folder 'no/such/folder'"),
    ],
)
def test_bad_input(args, message):
    result = CliRunner().invoke(cli.main, ["latex", *args])
    assert result.exit_code == 2 and message in " ".join(result.output.split())


def test_a_document_takes_sections_and_claims():
    with pytest.raises(ArgumentError, match="takes sections and claims"):
        mf.document(["T2"])


def test_the_command_prints_or_writes(tmp_path):
    path = tmp_path / "paper.tex"
    runner = CliRunner()
    assert (
        runner.invoke(cli.main, ["latex", "t2", "--net", "vanilla", "-o", str(path)], catch_exceptions=False).output
        == ""
    )
    printed = runner.invoke(cli.main, ["latex", "T2", "--net", "vanilla"], catch_exceptions=False).output
    assert path.read_text() == printed and r"\subsection*{Derivation" in printed
    balanced(printed)
    assert "Derivation" not in runner.invoke(cli.main, ["latex", "T2", "--no-derivations"]).output
    found = runner.invoke(
        cli.main, ["latex", "T2", "--net", "preactivation", "--fragment"], catch_exceptions=False
    ).output
    assert "Derivation" not in found and r"\documentclass" not in found


def random_sum(rng, depth):
    letters = sp.symbols("a b c d e f")
    if depth == 0:
        return rng.choice(letters)
    if rng.random() < 0.5:
        return sp.Add(*(rng.randint(-3, 3) * random_sum(rng, depth - 1) for _ in range(rng.randint(2, 5))))
    top = sp.Mul(*(random_sum(rng, depth - 1) for _ in range(rng.randint(1, 3))))
    return rng.choice((1, 2, sp.Rational(1, 3))) * top / (7 + rng.choice(letters) ** 2)


def value(text, at):
    """The number of LaTeX of sums, products, fractions and powers of single letters."""
    text = re.sub(r"\\(left|right|Bigl|Bigr|quad|qquad|,)(?![a-z])|\{\}", " ", text)
    text = re.sub(r"\\times|\\cdot", "*", text)
    while (new := re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text)) != text:
        text = new
    text = re.sub(r"\^(\d)", r"**\1 ", re.sub(r"\^\{(\d+)\}", r"**\1 ", text))
    text = re.sub(r"\s+", " ", re.sub(r"([a-f])", r" \1 ", text))
    text = re.sub(r"(?<=[\w)])\s*(?=\()|(?<=\))\s*(?=\w)|(?<=\w) +(?=\w)", "*", text)
    return eval(text, {"__builtins__": {}}, at)


@pytest.mark.parametrize("limit", [12, 20, 30])
def test_a_broken_formula_says_the_same(limit):
    rng = random.Random(limit)
    breaker, at = Breaker(Printer()), dict(zip("abcdef", (0.7, 1.3, 1.9, 2.3, 2.9, 3.1)))
    broken = 0
    for _ in range(60):
        expr = random_sum(rng, 3)
        lines = breaker.lines(expr, limit)
        broken += len(lines) > 1
        wanted = float(expr.subs(at))
        assert value(" ".join(lines), at) == pytest.approx(wanted, rel=1e-9, abs=1e-9), (expr, lines)
    assert broken >= 10


def test_lines_stay_within_their_limit():
    for net in (mf.vanilla(), mf.plain_residual()):
        for name in ("T1", "T5"):
            for claim in THEOREMS[name].stated(net, "2", "2", "chevet"):
                lines, rows = claim_lines(claim)
                for line in rows:
                    assert not line.items or line.relation == ""
                    if not line.items:
                        assert max(map(width, lines.pieces(line, 36))) < 38


def test_prose():
    assert prose("m <= omega(t)^L <= M, for a net") == r"$m \le \omega(t)^L \le M$, for a net"
    assert prose("J.-P. Kahane, Israel J. Math. 55, 1986") == "J.-P. Kahane, Israel J. Math. 55, 1986"
    assert prose("50 % of {it} & y_1") == r"50 \% of \{it\} \& $y_1$"
    assert prose("E‖G‖_{p -> q} of a K x d matrix") == r"$\mathbb{E} \Vert G\Vert_{p \to q}$ of a $K \times d$ matrix"
    assert (
        prose("my_bound, in my_bound.py, with sigma_w and P_in")
        == r"my\_bound, in my\_bound.py, with $\sigma_w$ and $P_{\mathrm{in}}$"
    )
    assert prose("see arXiv:2505.14021", link=True).startswith(r"see \href{https://arxiv.org/abs/2505.14021}")


# Through TeX


def compiled(folder, text):
    """The log of pdflatex after two runs, with BibTeX between where the text has it; fails where one of them warns."""
    (folder / "paper.tex").write_text(text)
    tex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for command in [tex, ["bibtex", "paper"], tex, tex] if r"\bibliography{" in text else [tex, tex]:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        assert run.returncode == 0, run.stdout[-3000:]
        assert command == tex or "Warning" not in run.stdout, run.stdout
    log = (folder / "paper.log").read_text(errors="replace")
    found = [line for line in log.splitlines() if re.search(r"Warning|Overfull|Underfull|^!", line)]
    assert not found, found
    return log


@pytest.mark.latex
@pytest.mark.parametrize(
    "args",
    [
        ("--net", "vanilla"),
        ("--net", "residual", "--p", "inf", "--q", "1", "--results", "out.json"),
        ("--net", "vanilla", "--p", "inf", "--macros", "--no-derivations", "--results", "out.json"),
        ("--net", "plain_residual", "--p", "3", "--q", "4"),
        ("--net", "preactivation", "--p", "1", "--q", "inf", "--route", "best"),
        ("--net", "vanilla", "--activation", "relu", "--p", "1.5", "--q", "3", "--route", "leading"),
        ("--net", "residual", "T1", "T2", "T3", "--fragment"),
        ("--net", "residual", "T2", "T5", "--fragment", "--macros"),
    ],
    ids=" ".join,
)
def test_documents_compile_without_a_warning(args, tmp_path):
    (tmp_path / "out.json").write_text(json.dumps(FULL))
    args = [str(tmp_path / arg) if arg == "out.json" else arg for arg in args]
    if "--fragment" in args:
        args += ["--bib", str(tmp_path / "works.bib")]
    text = CliRunner().invoke(cli.main, ["latex", *args], catch_exceptions=False).output
    if "--fragment" in args:
        (tmp_path / "part.tex").write_text(text)
        works = "\\bibliographystyle{plain}\n\\bibliography{works}"
        text = f"\\documentclass[11pt]{{article}}\n{PACKAGES}\n\\begin{{document}}\n\\input{{part}}\n{works}\n\\end{{document}}\n"
    compiled(tmp_path, text)


@pytest.mark.latex
def test_a_warning_is_found(tmp_path):
    with pytest.raises(AssertionError, match="Overfull"):
        compiled(tmp_path, r"\documentclass{article}\begin{document}\mbox{" + "m" * 200 + r"}\end{document}")


@pytest.mark.latex
def test_widths_are_those_of_tex(tmp_path):
    """The estimate, in ems of 10.95 pt, is at most an em short of what TeX measures."""
    texts = []
    for net in (mf.vanilla(), mf.residual(), mf.plain_residual()):
        for name in ("T1", "T2", "T3", "T4", "T5", "F1", "F2", "D1", "D2"):
            for claim in THEOREMS[name].stated(net, "2", "2", "chevet"):
                lines, rows = claim_lines(claim)
                texts += [line.left for line in rows if not line.items]
                texts += [lines.text(line.right) for line in rows if not line.items and isinstance(line.right, sp.Expr)]
    measured = "\n".join(rf"\setbox0\hbox{{$\displaystyle {text}$}}\typeout{{W:\the\wd0}}" for text in texts)
    log = compiled(
        tmp_path,
        f"\\documentclass[11pt]{{article}}\n{PACKAGES}\n\\begin{{document}}\n{measured}\nx\n\\end{{document}}\n",
    )
    true = [float(points) / 10.95 for points in re.findall(r"W:([\d.]+)pt", log)]
    assert len(true) == len(texts)
    worst = max(zip((t - width(text) for t, text in zip(true, texts)), texts))
    assert worst[0] < 1.2, worst


@pytest.mark.latex
@pytest.mark.parametrize(
    "title",
    [
        "The norm factor β and ω^L",
        "A bound ≤ 5 % of √(d K), N → ∞",
        "‖J‖ & x_0 {in} #1",
        "Über \\input{x} $β$ ℝ 数 Ħ „a“",
        "ξ²",
    ],
)
def test_headings_with_formulas_stand_in_the_outline(title, tmp_path):
    compiled(tmp_path, mf.document([mf.Section(title, (mf.norm_factor(2, 2),))], title=title))
    outline = (tmp_path / "paper.out").read_text(errors="replace")
    assert all(rf"\{byte:03o}" in outline for c in "βωξ" if c in title for byte in c.encode("utf-16-be"))


@pytest.mark.parametrize("named", [*LEMMAS.values(), *ROUTES.values()], ids=lambda named: named.name)
def test_works_that_sources_name_are_known(named):
    """No year and no volume stays in the text of a source."""
    assert not re.search(
        r"\b(1[89]|20)\d\d\b|\d{4}\.\d{4}", re.sub(r"\\cite\{\w+\}", "", cited(prose(named.source))[0])
    )


def test_a_work_that_is_not_known_stays_as_it_is_written():
    assert cited("A. Nobody, J. Unknown 1, 1999") == ("A. Nobody, J. Unknown 1, 1999", [])


def test_sources_are_cited_and_listed_once(tmp_path):
    text = mf.document([mf.loss_bound(mf.residual(1, 0), p, 2) for p in (1, 2)] + [mf.jacobian_norm(mf.vanilla(1, 0))])
    assert text.count(r"\cite{kumano2023adversarial}") == 2 and text.count(r"\bibitem{kumano2023adversarial}") == 1
    assert r"\bibitem{hanin2020products}" in text and "Kumano, Kera and Yamasaki, Adversarial" not in text
    assert set(re.findall(r"\\cite\{(\w+)\}", text)) == set(re.findall(r"\\bibitem\{(\w+)\}", text))
    fragment = mf.document([mf.loss_bound(mf.residual(1, 0), 1, 2)], fragment=True)
    assert "% @inproceedings{kumano2023adversarial," in fragment and r"\bibitem" not in fragment
    proved = mf.document([mf.Section("T2", (), derivations("T2", mf.residual(1, 0)))])
    assert (
        r"\emph{Lemmas}: " in proved
        and r"Sudakov-Fernique (\cite{fernique1975regularite}; \cite{vitale2000some})" in proved
    )
    own = mf.Claim.of(mf.norm_factor(2, 2).lhs, "<=", 3, None)
    assert r"\cite" not in mf.document([own]) and r"\emph{Source}: yours." in mf.document([own])
    path = tmp_path / "a.bib"
    CliRunner().invoke(
        cli.main, ["latex", "T2", "-o", str(tmp_path / "a.tex"), "--bib", str(path)], catch_exceptions=False
    )
    assert re.match(r"@\w+\{\w+,\n  author = ", path.read_text())


def test_a_consequence_that_repeats_its_claim_is_left_out():
    plain, law = mf.document([mf.jacobian_norm(mf.residual())]), mf.document([*mf.linear_form(mf.residual(1, 0))])
    assert "It implies" not in plain and "It implies" in law
    assert r"\times \mathbb{E}" not in plain, "a fraction is in one piece"


@pytest.mark.parametrize(
    ("words", "tex"),
    [
        ("lp ball of the perturbation", r"$\ell_p$ ball of the perturbation"),
        ("the dual of lq", r"the dual of $\ell_q$"),
        ("|dL_adv/dW|_F**2", r"$\Vert \partial L_{\mathrm{adv}}/\partial W\Vert_F^2$"),
        ("at every x (T1)", r"at every $x$ (T1)"),
        ("metric domination (ours)", "metric domination (ours)"),
        ("a matrix G(x) at (0, 1)", r"a matrix $G(x)$ at $(0, 1)$"),
    ],
)
def test_letters_of_norms_derivatives_and_remarks(words, tex):
    assert prose(words) == tex
