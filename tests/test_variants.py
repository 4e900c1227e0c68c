"""New variants: every worked one is derived, checked and controlled, and so is what ``advmf new`` writes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sympy as sp
import torch
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.cli import template
from advmf.errors import ArgumentError, StepError
from advmf.observables import AdversarialLoss, Expectation, Observable, Probability
from advmf.report.document import read, reproduction
from advmf.report.html import html
from advmf.report.markdown import markdown
from advmf.simulate import attack, attack_loss
from advmf.symbols import L
from advmf.theory.lemmas import LEMMAS, find_lemma, register_lemma
from advmf.verify.own import load
from advmf.verify.runs import run

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "derivations" / "variants").glob("*.py")), Path(template.__file__)]
MUTATIONS = {
    "leaky_two_layer": [
        ("scale=1 / sp.sqrt(L)", "scale=1 / L"),
        ("sp.exp(alpha * sigma_w**4 / 2)", "sp.exp(alpha * sigma_w**4)"),
    ],
    "per_layer_variances": [
        ("start = (j, l), (grown, l + 1), (1, 1)", "start = (j, l), (grown, l + 1), (1, 2)"),
        ("eps * beta * sp.sqrt(product)", "eps * beta * product"),
    ],
    "squared_loss": [
        ("variance = outer**2 * widest**2", "variance = outer * widest**2"),
        ("np.square(D).sum(1).max()", "np.square(D).sum(1).max() / 20"),
    ],
    "cross_entropy": [
        ('proof.step(2 ** (1 / h) * others, algebra)', 'proof.step(2 * others, algebra)'),
        ('proof.define(slope, 2 ** (1 - 1 / q), "L', 'proof.define(slope, 2 ** (1 / q), "L'),
    ],
    "template": [
        ("proof.step(alpha * h, by(slopes))", "proof.step(2 * alpha * h, by(slopes))"),
        ("claim(net).rhs, by(factor, rate)", "2 * claim(net).rhs, by(factor, rate)"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def variant(request):
    return load(request.param)


def test_the_derivation_ends_in_the_claim_and_no_step_in_a_wrong_factor(variant):
    (proof,), (claim,) = variant.proofs, variant.claims
    assert (proof.result.left, proof.result.right) == (claim.lhs, claim.rhs)
    assert proof.result.relation.removeprefix("lim ") == claim.relation
    for step in proof.steps:
        with pytest.raises(StepError):
            step.verify(2 * step.right)


def test_the_claim_stands_and_its_wrong_versions_are_refuted(variant):
    (outcome,) = run([variant.case()])
    assert [str(report.verdict) for report in outcome.reports] == ["NOT_REFUTED"], outcome.reports
    assert len(outcome.controls) >= 2
    assert {str(report.verdict) for report in outcome.controls} == {"REFUTED"}, outcome.controls
    assert json.dumps(outcome.reports[0].to_dict(), allow_nan=False)  # even if at has an infinite exponent
    assert r"\le" in mf.latex(*variant.claims)


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in MUTATIONS.items() for change in changes]
)
def test_a_wrong_copy_is_refused(tmp_path, name, change):
    source = next(path for path in FILES if path.stem == name).read_text()
    assert source.count(change[0]) == 1, change
    copy = tmp_path / f"{name}.py"
    copy.write_text(source.replace(*change))
    with pytest.raises(StepError, match=r", step \d+ \(|fails in a random case"):
        _ = load(copy).proofs


def test_the_bound_of_the_leaky_net_stays_finite_with_depth():
    (path,) = (path for path in FILES if path.stem == "leaky_two_layer")
    (claim,) = load(path).claims
    at = {"d": 64, "K": 10, "sigma_w": 1.2, "eps": 0.2}
    deep, limit = mf.kernel(claim)(L=10**7, **at), mf.kernel(sp.limit(claim.rhs, L, sp.oo))(**at)
    assert deep == pytest.approx(limit, rel=1e-6)
    assert mf.kernel(mf.loss_bound(mf.residual(u=1, v="1/10"), 3, 4))(L=100, **at) > 1e6 * limit


FORMULAS = {
    "Q": lambda net: mf.moments(net).Q,
    "J": lambda net: mf.linear_form(net)[0].rhs,
    "a": lambda net: mf.linear_form(net)[1].rhs,
    "T2": lambda net: mf.loss_bound(net, 3, 4).rhs,
    "T3": lambda net: mf.variance_slope(net, 2, 2).rhs,
    "T5": lambda net: mf.capacity(net).rhs,
    "F1": lambda net: mf.stream_fluctuation(net).rhs,
    "F2": lambda net: mf.jacobian_norm(net).rhs,
    "nngp": mf.nngp,
}


@pytest.mark.parametrize("sigma_b", [0, mf.symbols.sigma_b])
@pytest.mark.parametrize("formula", FORMULAS)
def test_a_block_that_depends_on_the_depth_is_at_each_depth_the_block_with_that_number(formula, sigma_b):
    at = {
        "L": 4,
        "N": 100,
        "d": 9,
        "K": 3,
        "sigma_w": 1.1,
        "sigma_b": 0.3,
        "eps": 0.1,
        "x_sq": 1.2,
        "y_sq": 1.0,
        "c": 0.3,
    }

    def value(scale):
        branch = mf.Dense(sigma_b=sigma_b), mf.ReLULike(1, "1/10"), mf.Dense(sigma_b=0)
        return mf.kernel(FORMULAS[formula](mf.Net(mf.Residual(*branch, scale=scale))))(**at)

    assert value(1 / sp.sqrt(L)) == pytest.approx(value(sp.Rational(1, 2)), rel=1e-12)
    if formula != "a" or sigma_b:  # without biases nothing is offset
        assert value(1 / sp.sqrt(L)) != pytest.approx(value(1 / L), rel=1e-3)


def invoke(*args):
    return CliRunner().invoke(cli.main, args)


def said(result):
    return " ".join(result.output.split())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_new_writes_runs_as_it_stands(folder):
    result = invoke("new", "ring_bound")
    assert result.exit_code == 0, result.output
    text = (folder / "ring_bound.py").read_text()
    assert "my_bound" not in text and text == Path(template.__file__).read_text().replace("my_bound", "ring_bound")
    run = subprocess.run([sys.executable, "ring_bound.py"], capture_output=True, text=True, timeout=300, check=True)
    assert run.stdout.startswith("ring_bound: adversarial loss")
    for part in (
        "proved: 11 of 11 steps",
        r"\mathbb{E}[",
        "bound at depths [ 1  4 16 64]",
        ": NOT_REFUTED within ",
        ": REFUTED (",
    ):
        assert part in run.stdout
    assert not run.stderr


def test_new_writes_nothing_where_it_should_not(folder, monkeypatch):
    for name, message in [
        ("3d", "NAME is a Python name"),
        ("a/b", "without a folder"),
        ("class", "NAME is a Python name"),
        ("own.py", "write 'advmf new own'"),
        ("sympy", "would hide the installed module"),
    ]:
        result = invoke("new", name)
        assert result.exit_code == 2 and message in said(result), result.output
    (folder / "mine.py").write_text("precious")
    result = invoke("new", "mine")
    assert result.exit_code == 2 and "mine.py exists" in said(result) and "--force" in said(result)
    assert (folder / "mine.py").read_text() == "precious"
    monkeypatch.setattr("advmf.outputs.Output._part", lambda _: None)  # as in a folder that cannot be written
    result = invoke("new", "other")
    assert result.exit_code == 2 and "cannot be written to" in said(result)
    assert [path.name for path in folder.iterdir()] == ["mine.py"]
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert invoke("new", "mine", "--force").exit_code == 0
    assert "precious" not in (folder / "mine.py").read_text()


QUICK = "nets=(24,) * 4, widths=(64, 256, 1024, 4096), directions=2, steps=5"


def written(folder, *changes):
    """The template, made as quick as can be, with changes."""
    text = (
        Path(template.__file__)
        .read_text()
        .replace(QUICK, "nets=(12,) * 4, widths=(32, 128, 512, 2048), directions=1, steps=1")
    )
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "own.py").write_text(text)
    return "own.py"


def test_check_of_a_file_prints_verdicts_and_writes_them(folder):
    assert QUICK in Path(template.__file__).read_text()
    result = invoke("check", str(Path(template.__file__)), "--json", "out.json", "--seed", "3")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(
        "my_bound: 11 steps; 11 proved, 0 numerically confirmed, 2 assumed\nmy_bound: Expectation("
    )
    assert "negative controls refuted: 2 of 2" in result.output
    assert '"theorem": "my_bound"' in (folder / "out.json").read_text()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("THEOREM = mf", "THEOREMS = mf"), 2, "own.py does not define THEOREM, an advmf.Theorem with the name, the net, the claims"),
        (("THEOREM = mf.Theorem(", "THEOREM = dict("), 2, "own.py does not define THEOREM, an advmf.Theorem with"),
        (('name="my_bound",\n    title', 'name="T2",\n    title'), 2, "A theorem of your own needs a name of its own, such as my_bound; got 'T2'"),
        (("    net=NET,\n", ""), 2, "takes net, the network that it is about"),
        (("derive=derive,", "derive=lambda net: [derive(net)] * 2,"), 2, "a derivation for each of 1 claims, in their order; got 2"),
        (("(12,) * 4, widths", "12, widths"), 2, "nets takes several whole numbers, such as (64, 256, 1024); got 12"),
        (("(12,) * 4, widths", "(12, 12), widths"), 2, "nets has a number of networks for each of the widths (32, 128, 512, 2048); got (12, 12)"),
        (('"eps": 0.1}', '"eps": "x"}'), 2, "at['eps'] must be a number; got 'x'"),
        (("[claim(net)]", "[]"), 2, "tests returns no claim for THEOREM.net"),
        (("[claim(net)]", "[3]"), 2, "tests must return a list of Claims; got [3]"),
        (("[claim(net)]", "[claims(net)]"), 2, "own.py, line 91: tests fails: NameError"),
        (('{"quick": mf', '{"slow": mf'), 2, "give it a scale: scales={'quick': Scale(…)}"),
        (("# 2. The claim", "NET = 3  # 2. The claim"), 2, "net must be"),
        (("import numpy as np", "import numpyy as np"), 2, "own.py, line 10: it does not run: ModuleNotFoundError"),
        (("SLOPES = sp.Integer(1),", "SLOPES = ("), 2, "it does not run: SyntaxError"),
        (("proof = Derivation(", "proof = Derivatoin("), 2, "derive fails: NameError"),
        (("    return proof", "    return None"), 2, "derive must return a list of Derivations; got None"),
        (("wrong=by_form", "wrong=lambda claim: []"), 2, "my_bound: its theorem knows no wrong version of it, so that nothing shows"),
        (("wrong=by_form", "wrong=None"), 2, "wrong must be a function from a claim to wrong versions of it; got None"),
        (("proof.step(alpha * h,", "proof.step(3 * alpha * h,"), 1, "refused: my_bound, step 2 (by definition of alpha): the sides differ: at"),
        (('"Chevet on', '"Chevy on'), 1, "There is no lemma 'Chevy on bounded sets'; did you mean 'Chevet on bounded sets'?"),
        (('bounded sets", p=p', 'bounded sets", p=sp.S.Half'), 1, "Chevet on bounded sets needs p >= 1, and here it fails: p = 1/2"),
        (("mf.loss_bound(net, p, q)", "mf.loss_bound(net, p, q, 'leading')"), 1, "refused: my_bound, step 11"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_told_where(folder, change, code, message):
    path = written(folder, change)
    result = invoke("check", path)
    assert result.exit_code == code, result.output
    assert message in said(result), result.output


def test_exit_codes_of_a_file(folder):
    """A wrong assumption passes the derivation, and simulation finds it."""
    assumed, half = ("scale = omega**L\n", "scale = omega**L / 4\n"), ("(net, p, q)\n", '(net, p, q).scaled("1/2")\n')
    refuted = invoke("check", written(folder, assumed, half))
    assert refuted.exit_code == 1 and "REFUTED" in refuted.output, refuted.output
    weak = invoke(
        "check",
        written(folder, ("wrong=by_form", "wrong=lambda claim: [claim.scaled(3)]")),
    )
    assert weak.exit_code == 3 and "negative control not refuted" in weak.output, weak.output
    for args in (("own.py", "--p", "2"), ("own.py", "--full"), ("missing.py",), ("T2",)):
        assert invoke("check", *args).exit_code == 2
    assert "--p does not go with a file" in said(invoke("check", "own.py", "--p", "2"))
    assert "'advmf new missing'" in said(invoke("check", "missing.py"))
    assert "--theorem" in said(invoke("check", "T2"))


def test_a_bound_of_ones_own_is_reported_as_its_own(folder):
    """By its name, source, network, derivation and controls: in the terminal, in JSON, in the store and on the page."""
    path = written(folder, ("scale=SCALE", "scale=sp.Rational(1, 2)"))
    result = invoke("check", path, "--store", "own.db", "--json", "own.json")
    assert result.exit_code in (0, 3), result.output
    again = invoke("check", path, "--store", "own.db", "--resume")
    assert again.output.split("my_bound: simulated")[1] == result.output.split("my_bound: simulated")[1]
    refused = invoke("check", path, "--store", "own.db")
    assert refused.exit_code == 2 and "already holds 1 of 1 cases" in said(refused)
    (folder / path).write_text((folder / path).read_text() + "# another file\n")
    assert "holds another run" in said(invoke("check", path, "--store", "own.db", "--resume"))
    names = ["my_bound [half the bound] my_bound p=inf q=2", "my_bound [omega without the shortcut] my_bound p=inf q=2"]
    stored, record = read(folder / "own.db"), read(folder / "own.json")
    assert stored.to_dict()["results"] == record.to_dict()["results"]
    for document in (stored, record):
        (claim,) = document.claims
        assert document.counts == stored.counts and document.seconds == pytest.approx(stored.seconds, abs=0.01)
        assert [*document.names] == names
        assert claim.report.theorem == claim.case == "my_bound" and claim.statement["source"].startswith(
            "my_bound.py, derived there"
        )
        assert r"\frac{1}{2}" in claim.statement["network"]
        assert "lemma" not in claim.statement["network"] and "[1: " in claim.statement["derivation"]
        assert reproduction(document.command, claim).endswith(".py") or not reproduction(document.command, claim)
        page = html(document)
        for text in ("my_bound.py, derived there", "metric domination", "half the bound", "without the shortcut"):
            assert text in page, text
        assert "T2: " not in page.replace("form of T2: ", "")
        assert "half the bound" in markdown(document)
    for text in ("source: my_bound.py", "network: my_bound: Residual(", *(f"refuted: {name}" for name in names)):
        assert text in result.output, text


def test_show_latex_and_mutate_take_a_file(folder):
    path = written(folder)
    shown = invoke("show", path, "--format", "latex")
    assert shown.exit_code == 0 and r"\le \epsilon \beta_{\infty,2} \omega^{L/2}" in shown.output, shown.output
    paper = invoke("latex", path, "-o", "own.tex")
    assert paper.exit_code == 0, paper.output
    text = (folder / "own.tex").read_text()
    assert r"\begin{theorem}[my\_bound" in text and "Derivation: adversarial loss next to a scaled branch" in text
    assert r"\frac{1}{2}\,V^l" in text
    mutated = invoke("mutate", path, "--json", "own.json")
    assert mutated.exit_code == 0, mutated.output
    found = json.loads((folder / "own.json").read_text())
    assert found["theorems"].keys() == {"my_bound"} and found["total"] > 20
    assert any(m["caught"] for m in found["mutants"]) and not any(
        m["caught"] for m in found["mutants"] if m["change"] > 0
    )
    for command in ("show", "latex", "mutate"):
        assert "--p does not go with a file" in said(invoke(command, path, "--p", "2"))
        assert "'advmf new missing'" in said(invoke(command, "missing.py"))
    assert "A file stands alone" in said(invoke("latex", "T2", path))


def test_verdicts_in_a_document_are_about_its_network(folder):
    """Those of another network, or of a bound of somebody's own, are not set, and where there are no others this is an
    error."""
    path = written(folder)
    assert invoke("check", path, "--json", "own.json").exit_code in (0, 3)
    refused = invoke("latex", "T2", "--results", "own.json")
    assert refused.exit_code == 2 and "no verdict on T2 for residual: they are about my_bound my_bound" in said(refused)
    assert invoke("latex", path, "--results", "own.json", "-o", "own.tex").exit_code == 0
    assert "Checks by simulation" in (folder / "own.tex").read_text()


def test_wrong_versions_have_names_of_their_own(folder):
    same = "wrong=lambda claim: [claim.scaled(2), claim.scaled(2)]"
    assert "a name of its own" in said(invoke("check", written(folder, ("wrong=by_form", same))))


def test_a_lemma_may_be_registered_twice_but_not_taken():
    chevet = find_lemma("Chevet")
    again = replace(chevet, case=lambda rng: chevet.case(rng))
    try:
        assert register_lemma(again) is LEMMAS["Chevet"] is again
        with pytest.raises(StepError, match="already a lemma 'Chevet'"):
            register_lemma(replace(chevet, words="something else"))
    finally:
        LEMMAS["Chevet"] = chevet


def sampled(nets=6):
    settings = {"N": 40, "L": 3, "d": 12, "K": 4, "sigma_w": 1.2, "sigma_b": 0.1}
    generator = torch.Generator().manual_seed(0)
    return mf.simulate.sample(mf.vanilla(u=1, v=0), **settings, nets=nets, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("p", [1, 2, "inf"])
def test_the_attack_on_a_loss_finds_what_the_attack_on_its_norm_does(p):
    networks, x = sampled(), torch.ones(12, dtype=torch.float64)
    (trace,) = networks.traces(x)
    norm = lambda output, change: change.norm(dim=-1)  # noqa: E731
    found = attack_loss(trace, norm, eps=0.3, p=float(p), generator=torch.Generator().manual_seed(0))
    moved = networks.forward(x + found.eta)[:, 0]
    torch.testing.assert_close(found.value[:, 0], (moved - networks.forward(x)).norm(dim=-1))
    other = attack(networks, x, eps=0.3, p=p, q=2).value
    torch.testing.assert_close(found.value[:, 0].mean(), other.mean(), rtol=0.05, atol=0)
    assert bool((torch.linalg.vector_norm(found.eta[:, 0], float(p), dim=-1) <= 0.3).all())


def test_the_attack_on_a_linear_network_and_loss_is_exact():
    net = mf.Net(mf.Dense(sigma_b=0))
    networks = mf.simulate.sample(
        net, N=30, L=2, d=9, K=3, nets=4, sigma_w=1.0, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    (trace,) = networks.traces(torch.ones(9, dtype=torch.float64))
    first = lambda output, change: change[..., 0]  # noqa: E731
    found = attack_loss(trace, first, eps=0.5, p=float("inf"), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.value[:, 0], 0.5 * trace.jacobian()[:, 0, 0].abs().sum(-1))


class Bare(Observable):
    """One without a measurement."""


def test_an_observable_without_a_measurement_says_so():
    bound = replace(mf.loss_bound(mf.residual(u=1, v=0), 2, 2), lhs=Expectation(Bare(2)))
    at = {"L": 1, "d": 8, "K": 2, "sigma_w": 1.0, "sigma_b": 0.0, "eps": 0.1, "N": 32}
    with pytest.raises(ArgumentError, match=r"Bare has no measure\(probe\)"):
        mf.check(bound, at=at, nets=2)
    with pytest.raises(ArgumentError, match=r"WeightVarianceSlope\(\) is not measured without p and q"):
        mf.check(replace(bound, lhs=Expectation(mf.observables.WeightVarianceSlope())), at=at, nets=2)
    assert AdversarialLoss(2, 2) != Bare(2)


def own(name, **members):
    return type(name, (Observable,), members)


AT = {"L": 1, "d": 8, "K": 2, "sigma_w": 1.0, "sigma_b": 0.0, "eps": 0.1, "N": 32}


@pytest.mark.parametrize(
    ("tex", "count"),
    [("A", 1), ("A_{{{}}}", 2), ("A_{{{0}}}", 2), ("{}{}", 1), ("A_{x}", 1), ("A_{", 0), ("{0}{2}", 2)],
)
def test_the_places_of_tex_are_those_of_the_arguments(tex, count):
    with pytest.raises(ArgumentError, match=r"^Odd\.tex "):
        own("Odd", tex=tex)(*range(1, 1 + count))


@pytest.mark.parametrize(("tex", "args", "shown"), [
    ("A", (), "A"), (r"A_{{{}}}^{{{}}}", (2, 3), "A_2^3"), ("{1}-{0}-{1}", (2, 3), "3-2-3"), ("", (2,), r"\mathrm{Even}(2)"),
])  # fmt: skip
def test_tex_shows_every_argument(tex, args, shown):
    assert mf.latex(own("Even", tex=tex)(*args)) == shown


@pytest.mark.parametrize(
    "measure",
    [
        lambda self, probe: probe.trace.output[:, :, 0, 0],
        lambda self, probe: probe.trace.output[:, :1, 0, 0],
        lambda self, probe: probe.trace.output.mean(),
        lambda self, probe: 3.0,
        lambda self, probe: probe.trace.output[:, 0, 0, 0].numpy(),
        lambda self, probe: probe.trace.output[:, 0, 0, 0] * 1j,
        lambda self, probe: None,
    ],
)
def test_a_measure_of_another_shape_is_refused(measure):
    bound = replace(mf.loss_bound(mf.residual(u=1, v=0), 2, 2), lhs=Expectation(own("Shapeless", measure=measure)()))
    with pytest.raises(ArgumentError, match=r"^Shapeless\.measure must return a tensor .* of shape \(3,\); got"):
        mf.check(bound, at=AT, nets=3)


def test_a_probability_is_the_mean_of_its_indicator():
    """A claim about a probability is typeset, and checked by counting; the mean of an indicator says the same."""
    event = Probability(mf.observables.Output(0) > 0)
    claim = replace(
        mf.stream_fluctuation(mf.vanilla(1, 0)), name="sign", lhs=event, formula=sp.S.Half, where={}, equations=()
    )
    assert r"\mathbb{P}" in mf.latex(claim)
    positive = own("Positive", measure=lambda self, probe: (probe.trace.output[:, 0, 0, 0] > 0).double())
    half = replace(
        mf.stream_fluctuation(mf.vanilla(1, 0)),
        name="half",
        lhs=Expectation(positive()),
        formula=sp.S.Half,
        where={},
        equations=(),
    )
    counted, mean = mf.check_all([claim, half], at=AT, nets=2000)
    assert counted.verdict == mean.verdict == "SUPPORTED"
    assert counted.estimate == pytest.approx(mean.estimate, rel=1e-12)
    assert mf.check(claim.scaled("1/3"), at=AT, nets=2000).verdict == "REFUTED"
    assert mf.check(half.scaled("3/2"), at=AT, nets=2000).verdict == "REFUTED"


@pytest.mark.parametrize("title", ["My bound", "He and I", "Up to now", "Vi or Ed", "Go on"])
def test_words_of_two_letters_are_no_formulas(title):
    assert rf"\section{{{title}}}" in mf.document([mf.Section(title, [mf.norm_factor(2, 2)])], dimensions=None)
    assert r"$\omega^{L/2}$" in mf.document([mf.Section(f"{title}: omega^(L/2) grows", [])], dimensions=None)
    assert r"$Jx$ and $Wx$" in mf.document([mf.Section(f"{title}: Jx and Wx", [])], dimensions=None)


def test_a_store_keeps_a_control_that_changes_nothing(folder):
    """At a large gain omega - 1 is nearly omega: that control is kept, under a name that says so."""
    path = written(folder, ('"sigma_w": 1.5', '"sigma_w": 12.0'))
    first = invoke("check", path, "--store", "own.db")
    assert "next to no change at this point" in first.output, first.output
    again = invoke("check", path, "--store", "own.db", "--resume")
    assert again.output.split("my_bound: simulated")[1] == first.output.split("my_bound: simulated")[1]
    assert len(read(folder / "own.db").names) == 2
