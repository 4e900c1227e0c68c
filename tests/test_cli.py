"""The command line as a user meets it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from advmf import cli
from advmf.errors import ArgumentError
from advmf.nets import PRESETS
from advmf.theorems import THEOREMS
from advmf.verify import runs, suite
from advmf.verify.verdict import Verdict

FAST = suite.Profile(
    "fast",
    data="digits",
    scales={
        "T1": suite.Scale(L=2, d=16, K=8, widths=(16, 32, 64, 128), nets=(500,) * 4),
        "T2": suite.Scale(L=2, d=16, K=4, widths=(16, 64, 256, 512), nets=(160,) * 4, directions=1, steps=3),
        "T3": suite.Scale(2, 16, 8, (32, 64, 128, 256), (400,) * 4, 1, 2, at={"sigma_b": 0.0, "eps": 0.02}),
        "T5": suite.Scale(L=2, d=16, K=8, widths=(16, 32, 64, 128), nets=(3000,) * 4, at={"sigma_b": 0.0}),
        "F1": suite.Scale(L=2, d=16, K=2, widths=(16, 32, 64, 128), nets=(1500,) * 4),
        "F2": suite.Scale(L=1, d=16, K=4, widths=(64, 128, 256, 512), nets=(1500, 1500, 800, 400)),
        "beta": suite.MatrixScale(d=40, K=4, samples=400),
        "T6.d": suite.MatrixScale(d=1, K=2, samples=64, along="d", ladder=(200, 800, 3200)),
        "T6.K": suite.MatrixScale(d=2, K=1, samples=64, along="K", ladder=(200, 800, 3200)),
    },
)


def advmf(*args, **env):
    return subprocess.run(
        [sys.executable, "-m", "advmf.cli", *args],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **env},
    )


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(suite, "QUICK", FAST)
    return lambda *args: CliRunner().invoke(cli.main, here(args), catch_exceptions=False)


def here(args):
    """A check without worker processes: each would take seconds to import what it needs."""
    return [*args, "--workers", "1"] if args[0] == "check" and "--workers" not in args else args


def test_check_writes_what_it_says(fast, tmp_path):
    path = tmp_path / "out.json"
    result = fast(
        "check",
        "--theorem",
        "T2",
        "--net",
        "residual",
        "--activation",
        "relu",
        "--p",
        "inf",
        "--q",
        "2",
        "--seed",
        "1",
        "--json",
        str(path),
    )
    assert result.exit_code == 0, result.output
    assert "T2: attack/bound" in result.output
    assert "negative controls refuted: 2 of 2" in result.output
    record = json.loads(path.read_text())
    assert set(record) == {"format", "version", "seed", "command", "results", "summary"}
    assert record["seed"] == 1
    (row,) = record["results"]
    assert {"theorem", "net", "p", "q", "verdict", "estimate", "stderr", "predicted", "ratio", "at", "seconds"} <= set(
        row
    )
    assert (row["theorem"], row["net"], row["p"], row["q"], row["verdict"]) == (
        "T2",
        "residual",
        "inf",
        "2",
        "NOT_REFUTED",
    )
    assert record["summary"]["NOT_REFUTED"] == 1
    assert record["summary"]["complete"] is True
    assert "\x1b" not in result.output


def test_all_theorems_and_a_pair_of_ones_own(fast):
    """What is asked for is in the tables; of so few networks no verdict is asked."""
    result = fast("check", "--net", "vanilla", "--activation", "abs", "--p", "3", "--q", "1.5", "--networks", "12")
    assert "T1: simulated/predicted" in result.output
    assert "3,3/2" in result.output
    assert "F1: simulated/predicted" in result.output


@pytest.mark.parametrize("name", [*THEOREMS, *map(str.lower, THEOREMS)])
def test_every_theorem_that_is_shown_is_checked_or_says_why_not(name):
    known = {each.lower(): each for each in THEOREMS}[name.lower()]
    if THEOREMS[known].unchecked:
        with pytest.raises(ArgumentError, match=f"^{known} is not checked: .*'advmf show {known}'"):
            suite.cases([name])
    else:
        assert {case.theorem for case in suite.cases([name])} == (
            {part.name for part in THEOREMS[known].parts} or {known}
        )


def test_exit_codes(fast, monkeypatch):
    assert (
        fast(
            "check",
            "--theorem",
            "T2",
            "--net",
            "residual",
            "--activation",
            "relu",
            "--p",
            "2",
            "--q",
            "2",
            "--networks",
            "3",
        ).exit_code
        == 3
    )
    honest = THEOREMS["beta"]
    low = replace(honest, tests=lambda net, pairs: [c.scaled("1/3") for c in honest.tests(net, pairs)])
    monkeypatch.setitem(THEOREMS, "beta", low)
    result = fast("check", "--theorem", "beta", "--p", "2", "--q", "2")
    assert result.exit_code == 1
    assert "REFUTED" in result.output


def test_a_missed_control_is_no_success(fast, monkeypatch):
    monkeypatch.setattr(runs, "controls", lambda claim: [claim.scaled(3)])
    result = fast("check", "--theorem", "beta", "--p", "2", "--q", "1")
    assert result.exit_code == 3
    assert "negative control not refuted" in result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["check", "--theorem", "T9"], "choose from T1, T2, T3"),
        (["check", "--theorem", "t22"], "Did you mean T2"),
        (["check", "--theorem", "T4"], "T4 is not checked: it is about the course of training"),
        (["mutate", "--theorem", "t4"], "'advmf show T4' gives its formula"),
        (["check", "--net", "resnet"], "choose from vanilla"),
        (["check", "--net", "vanila"], "Did you mean vanilla or"),
        (["check", "--activation", "leakyrelu"], "Did you mean relu or leaky_relu?"),
        (["check", "--resume"], "give it with store= (--store FILE)"),
        (["check", "--backend", "dask"], "needs the address of a scheduler"),
        (["check", "--workers", "0"], "0 is not in the range"),
        (["check", "--theorem", "F1", "--device", "gpu"], "there is no device 'gpu'"),
        (["check", "--p", "0.5"], "p must be a number in [1, oo]"),
        (["check", "--at", "L"], "NAME=VALUE"),
        (["check", "--at", "sigma_w=-1"], "sigma_w"),
        (["check", "--data", "nonsense"], "digits, mnist, fashion-mnist"),
        (["check", "--seed", "x"], "not a valid integer"),
        (["show", "T9"], "choose from T1, T2, T3"),
        (["show", "T2", "--q", "abc"], "q must be a number"),
        (["show", "F1", "--net", "plain_residual"], "F1 says nothing of plain_residual"),
        (["check", "--theorem", "F2", "--net", "preactivation"], "F2 says nothing of preactivation"),
        (
            ["check", "--theorem", "T1", "--net", "vanilla", "--activation", "relu", "--memory", "0.00001"],
            "the budget is memory=",
        ),
        (["check", "--sampler", "sparse"], "'sparse' is not one of"),
        (["nonsense"], "No such command"),
    ],
)
def test_usage_errors(fast, args, message):
    result = CliRunner().invoke(cli.main, here(args))
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_show_and_list():
    runner = CliRunner()
    plain = runner.invoke(cli.main, ["show", "T2", "--net", "vanilla", "--activation", "relu"]).output
    assert "beta*eps*omega**(L/2)" in plain
    assert "heuristic" not in plain
    sharper = ["show", "T2", "--net", "vanilla", "--p", "2", "--q", "2", "--route", "spectral"]
    assert "heuristic" in runner.invoke(cli.main, sharper).output
    latex = runner.invoke(cli.main, ["show", "T2", "--net", "vanilla", "--p", "2", "--q", "2", "--latex"]).output
    assert r"\mathcal{L}" in latex
    rhs = runner.invoke(
        cli.main, ["show", "T2", "--net", "vanilla", "--activation", "relu", "--route", "leading", "--sympy"]
    ).output
    assert rhs.strip() == "eps*(sigma_w**2/2)**(L/2)*(sqrt(K)/sqrt(d) + 1)"
    assert runner.invoke(cli.main, ["show", "T1"]).output.count("source") == 3
    listing = runner.invoke(cli.main, ["list"]).output
    assert "c_off" in runner.invoke(cli.main, ["show", "F2", "--net", "vanilla"]).output
    for word in ("T1", "F2", "plain_residual", "leaky_relu", "sigma_w", "(1, inf)"):
        assert word in listing


def test_help_is_instant_and_loads_nothing_heavy():
    """The time itself is measured in benchmarks/; here: that neither SymPy nor torch is loaded."""
    probe = (
        "import sys; from advmf.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'sympy', 'torch', 'numpy', 'rich'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert advmf("--version").stdout.startswith("advmf, version")


def test_the_module_is_the_command():
    """Where no command is on the path, as after ``pip install --user``."""

    def python(*words):
        return subprocess.run([sys.executable, "-m", "advmf", *words], capture_output=True, text=True)

    assert python("--version").stdout == advmf("--version").stdout
    wrong = python("chek")
    assert wrong.returncode == 2 and wrong.stderr.startswith("Usage: python -m advmf") and "check" in wrong.stderr


def test_an_interrupted_check_keeps_what_it_has(tmp_path):
    path = tmp_path / "out.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "advmf.cli", "check", "--theorem", "T2", "--activation", "relu", "--p", "2", "--q", "2",
         "--networks", "4", "--json", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    record = json.loads(path.read_text())
    assert record["results"]
    if process.returncode == 130:  # stopped before the last network
        assert record["summary"]["complete"] is False
        assert "interrupted" in err
    else:
        assert record["summary"]["complete"] is True


def test_reports_of_a_suite_agree_with_their_claims(fast):
    (outcome,) = runs.run(suite.cases(["T2"], ["plain_residual"], ["relu"], [("2", "2")], FAST))
    assert outcome.reports[0].verdict is Verdict.NOT_REFUTED
    assert [c.theorem for c in outcome.controls] == ["T2 [half the bound across x]", "T2 [omega without the shortcut]"]


def invoke(*args):
    return CliRunner().invoke(cli.main, args, catch_exceptions=False)


@pytest.mark.parametrize("axes", ["L,N", "sigma_w_sq,L"])
def test_phase_prints_and_draws(axes, tmp_path):
    path = tmp_path / "phase.png"
    result = invoke("phase", "--axes", axes, "--at", "d=20", "--plot", str(path))
    assert result.exit_code == 0, result.output
    assert f"vanilla relu, (p, q) = (2, 2), over {axes.split(',')[0]} = " in result.output.splitlines()[0]
    assert "start in the band; they leave it at t = " in result.output
    assert result.output.count("\n") == 3
    assert path.read_bytes().startswith(b"\x89PNG")


def test_phase_says_that_a_shortcut_never_leaves_the_band():
    result = invoke("phase", "--net", "residual", "--axes", "sigma_w_sq,L", "--p", "inf", "--q", "1")
    assert result.exit_code == 0, result.output
    assert result.output.strip().endswith("start in the band; some never do")


NARROW = ("--N", "32", "--N", "64", "--networks", "2", "--steps", "2")


POINT = ("--at", "L=2", "--at", "d=16", "--at", "K=3")


def test_train_prints_a_row_for_each_time_and_draws(tmp_path):
    path, table = tmp_path / "train.png", tmp_path / "train.csv"
    result = invoke(
        "train", *NARROW, *POINT, "--plot", str(path), "--csv", str(table)
    )  # the dimensions, too, can be set
    assert result.exit_code == 0, result.output
    above = result.output.split("measured")[0]
    rows = [line.split() for line in above.splitlines() if "±" in line]
    assert [row[0] for row in rows] == ["32", "32", "64", "64"]
    for first, second in (rows[:2], rows[2:]):
        assert float(second[1]) == pytest.approx(2 * float(first[1]), rel=0.01)
        assert 0 > float(first[2]) > float(second[2])
    for width in (32, 64):
        assert f"N={width}: within 10 % of T3 until N t = " in result.output
    assert path.read_bytes().startswith(b"\x89PNG")
    kept = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["N"] for row in kept] == ["32", "32", "64", "64"]
    assert float(kept[3]["change"]) == pytest.approx(float(rows[3][2]), rel=0.01)
    assert not kept[0]["loss_D2"], "there is no course of training for ReLU"
    plain = invoke("train", *NARROW, *POINT, "--csv", "-")
    assert plain.stdout == table.read_text()
    assert invoke("train", *NARROW, *POINT, "--seed", "1").stdout != invoke("train", *NARROW, *POINT).stdout


def test_train_shows_each_claim_beside_what_is_measured(tmp_path):
    args = ("train", "--activation", "linear", "--at", "sigma_w=1", *NARROW, *POINT, "--until", "40", "--size", "one")
    result = invoke(*args, "--plot", str(tmp_path / "train.svg"))
    assert result.exit_code == 0, result.output
    for claim in ("T3.decay", "D1", "T5", "D2.life", "D2.end"):
        assert sum(line.split()[-1:] == [claim] for line in result.output.splitlines()) == 2, claim
    times = [line.split()[1] for line in result.output.split("measured")[0].splitlines() if "±" in line]
    assert times == ["20", "40", "20", "40"]
    several = invoke(*args[:-2], "--images", "3")
    assert several.exit_code == 0 and "D2.life" not in several.output, "D1 and D2 are about one image"


def test_train_keeps_what_is_finished_and_goes_on(tmp_path, monkeypatch):
    from advmf.experiments import training_curve as module

    table, store = tmp_path / "train.csv", tmp_path / "store"
    args = ("train", *NARROW, *POINT, "--csv", str(table))
    whole = invoke(*args)
    expected, curve = table.read_text(), module.training_curve

    def interrupted(*given, N, progress, **options):
        def step(done, total):
            progress(done, total)
            if N == 64:
                raise KeyboardInterrupt

        return curve(*given, N=N, progress=step, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "training_curve", interrupted)
        result = invoke(*args, "--store", str(store))
    assert result.exit_code == 130
    assert f"interrupted: 1 of 2 widths finished; go on with --store {store} --resume" in result.stderr
    assert table.read_text() == "".join(expected.splitlines(keepends=True)[:3])
    again = invoke(*args, "--store", str(store), "--resume")
    assert again.exit_code == 0 and again.stdout == whole.stdout
    assert table.read_text() == expected
    other = invoke(*args, "--store", str(store), "--resume", "--seed", "1")
    assert other.exit_code == 2 and "is of another run" in other.output


BAD = [
    (("--net", "resnet"), "choose from vanilla"),
    (("--activation", "swish"), "choose from relu"),
    (("--p", "0.5"), "p must be a number in [1, oo]"),
    (("--q", "abc"), "q must be a number"),
    (("--at", "eps"), "NAME=VALUE"),
    (("--at", "eps=-1"), "eps"),
    (("--at", "sigma_w=-1"), "sigma_w"),
    (("--at", "nonsense=1"), "nonsense"),
    (("--at", "N=100"), "N"),
    (("--plot", "out.txt"), "must end in one of"),
    (("--plot", "no/such/folder/out.png"), "no folder"),
]


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        *((command, *bad) for command in ("phase", "train") for bad in BAD),
        ("phase", ("--axes", "L,K"), "'L,K' is not one of"),
        ("phase", ("--at", "L=3"), "runs along an axis"),
        ("phase", ("--over", "eps=1:2"), "--over sets the range of an axis, L or N"),
        ("phase", ("--over", "L=8:2"), "--over takes NAME=LOW:HIGH"),
        ("phase", ("--size", "two"), "--size is the width of a figure"),
        ("phase", ("--size", "wide", "--plot", "/dev/null/a.pdf"), "cannot"),
        ("phase", ("--axes", "sigma_w_sq,L", "--at", "sigma_w_sq=3"), "runs along an axis"),
        ("phase", ("--axes", "sigma_w_sq,L", "--at", "sigma_w=-1"), "sigma_w is a standard deviation"),
        ("train", ("--N", "2"), "2 is not in the range"),
        ("train", ("--networks", "1"), "1 is not in the range"),
        ("train", ("--steps", "0"), "0 is not in the range"),
        ("train", ("--data", "nope"), "'nope' is neither"),
        ("train", ("--at", "L=2.5"), "L must be an integer"),
        ("train", ("--at", "x_sq=4"), "nothing here uses 'x_sq'"),
        ("train", ("--images", "0"), "0 is not in the range"),
        ("train", ("--images", "100000"), "images asks for 100000 images, and"),
        ("train", ("--until", "0"), "0.0 is not in the range"),
        ("train", ("--size", "one"), "give its file with --plot"),
        ("train", ("--resume",), "--resume needs --store"),
    ],
)
def test_bad_input_of_phase_and_train_is_one_line_before_any_work(command, args, message, monkeypatch):
    monkeypatch.setattr("advmf.experiments.training_curve.train", lambda *_, **__: pytest.fail("work had started"))
    monkeypatch.setattr("advmf.experiments.phase.PhaseDiagram.plot", lambda *_: pytest.fail("a figure was drawn"))
    result = CliRunner().invoke(cli.main, [command, *args])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert message in line and result.output.endswith(line + "\n")


@pytest.mark.parametrize("net", PRESETS)
def test_every_statement_can_be_shown_of_every_net(net):
    """Or says in a line why not."""
    refused = set()
    for theorem in THEOREMS:
        plain, latex = (invoke("show", theorem, "--net", net, *form) for form in ((), ("--latex",)))
        assert plain.exit_code == latex.exit_code
        if plain.exit_code:
            assert plain.exit_code == 2 and f"{theorem} says nothing of {net}" in plain.output
            refused.add(theorem)
            continue
        lines = plain.output.splitlines()
        heads = [line for line in lines if not line.startswith("  ")]
        sources = [line for line in lines if line.startswith("  source      ")]
        expected = {
            "T3": 4 if net.startswith("conv") else 5,
            "T6": 2 if net in ("plain_residual", "pyramid") else 4,
        }.get(theorem, len(heads))
        assert len(heads) == len(sources) == expected > 0
        assert all(line.removeprefix("  source").strip() for line in sources)
        assert latex.output.strip().count("\n") + 1 >= len(heads)
        assert "BETA" not in latex.output and "Expectation" not in latex.output and "**" not in latex.output
    without_omega, by_share = {"T3", "T4", "T6", "F1", "F2", "D1", "D2"}, {"T3", "T4", "F1", "F2"}
    silent = {
        "conv": {"F1", "F2"},
        "conv_residual": {"F1", "F2"},
        "plain_residual": {*by_share, "D1", "D2"},
        "pyramid": by_share,
        "preactivation": {"F1", "F2"},
    }
    assert refused == {**silent, "pre_norm": without_omega, "post_norm": without_omega}.get(net, set())
