"""No argument is ignored in silence: what has no effect is refused, with the names that are near."""

import pytest
from click.testing import CliRunner

from advmf import cli
from advmf.errors import ArgumentError
from advmf.theorems import THEOREMS
from advmf.verify import suite
from advmf.verify.catalogue import CHECKED
from advmf.verify.sources import matrices


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("--theorem", "beta", "--at", "k=3", "--at", "D=5"),
            "nothing here uses 'D'; what is used is K, d. Did you mean d?",
        ),
        (("--theorem", "beta", "--at", "k=3"), "Did you mean K?"),
        (("--theorem", "beta", "--at", "L=3"), "nothing here uses 'L'"),
        (("--theorem", "T6.d", "--at", "d=3"), "nothing here uses 'd'"),
        (("--theorem", "T6.K", "--at", "K=3"), "nothing here uses 'K'"),
        (("--theorem", "T2", "--at", "sigmaw=1"), "Did you mean sigma_w"),
        (("--theorem", "T2", "--at", "u=1"), "nothing here uses 'u'"),
        (("--theorem", "T2", "--at", "N=100"), "nothing here uses 'N'"),
        (("--theorem", "T1", "--at", "eps=1"), "nothing here uses 'eps'"),
        (("--at", "epsilon=1"), "Did you mean eps"),
        (("--at", "L=3", "--at", "L=4"), "--at gives L twice"),
        (("--theorem", "beta", "--at", "d=2.5"), "2.5"),
        (("--theorem", "beta", "--networks", "3"), "--networks has no effect here"),
        (("--theorem", "beta", "--data", "mnist"), "--data has no effect here"),
        (("--theorem", "T6.K", "--sampler", "dense"), "--sampler has no effect here"),
        (("--theorem", "T6.K", "--widths", "limit"), "--widths has no effect here"),
        (("--theorem", "T2", "--theorem", "F1", "--widths", "limit"), "F1 is about SecondMoment"),
        (("--theorem", "T2", "--theorem", "beta", "--net", "vanilla"), "beta says nothing of vanilla"),
        (("--theorem", "T2", "--theorem", "F2", "--net", "preactivation"), "F2 says nothing of preactivation"),
    ],
)
def test_check(args, message, monkeypatch):
    if message != "2.5":
        monkeypatch.setattr(suite, "checked", lambda *_, **__: pytest.fail("work had started"))
    monkeypatch.setattr(matrices, "gaussian_norms", lambda *_, **__: pytest.fail("work had started"))
    result = CliRunner().invoke(cli.main, ["check", "--workers", "1", *args])
    assert result.exit_code == 2 and message in " ".join(result.output.split()), result.output


@pytest.mark.parametrize("command", ["phase", "train"])
@pytest.mark.parametrize(
    ("at", "message"), [("sigmaw=1", "Did you mean sigma_w"), ("x_sq=1", "nothing here uses"), ("EPS=1", "eps")]
)
def test_explore(command, at, message):
    result = CliRunner().invoke(cli.main, [command, "--at", at])
    assert result.exit_code == 2 and message in " ".join(result.output.split()), result.output


TRAINING = [
    (("--resume",), "--resume needs --store"),
    (("--store", "a.txt"), "is a file"),
    (("--csv", "no/a.csv"), "There is no folder 'no'"),
    (("--size", "two"), "give its file with --plot"),
    (("--plot", "a.docx"), "must end in one of"),
    (("--plot", "a.pdf", "--size", "10"), "from 40 to 500"),
    (("--until", "0"), "--until"),
    (("--until", "inf"), "--until is a time N t, a positive finite number; got inf"),
    (("--until", "nan"), "--until is a time N t, a positive finite number; got nan"),
    (("--images", "100000"), "images asks for 100000 images"),
    (("--data", "nowhere"), "nowhere"),
    (("--N", "2"), "--N"),
    (("--at", "L=0"), "Nothing to train"),
    (("--at", "eps=-1"), "eps must be positive"),
    (("--p", "0.5"), "p must be a number"),
    (("--net", "no"), "There is no net 'no'"),
]
EXPLORING = [
    ((), "--output"),
    (("-o", "a.txt"), "must end in .html"),
    (("-o", "no/a.html"), "There is no folder 'no'"),
    (("-o", "a.html", "--net", "no"), "There is no network 'no'"),
    (("-o", "a.html", "--activation", "no"), "There is no activation 'no'"),
    (("-o", "a.html", "--store", "gone.db"), "gone.db cannot be read"),
    (("-o", "a.html", "--store", "a.txt"), "holds no results of advmf"),
]
PHASES = [
    (("--over", "x=1:2"), "--over sets the range of an axis, L or N"),
    (("--over", "L"), "--over takes NAME=LOW:HIGH"),
    (("--over", "L=0:2"), "L = 0 is outside its domain"),
    (("--at", "L=3"), "cannot be set by --at"),
    (("--csv", "no/a.csv"), "There is no folder 'no'"),
    (("--size", "two"), "give its file with --plot"),
]


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [(name, *row) for name, rows in (("train", TRAINING), ("explore", EXPLORING), ("phase", PHASES)) for row in rows],
)
def test_wrong_arguments_are_refused_before_any_work(command, args, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    for work in ("simulate.training.follow", "report.explorer.Data.preset", "experiments.phase.PhaseDiagram"):
        monkeypatch.setattr(f"advmf.{work}", lambda *_, **__: pytest.fail("work had started"))
    result = CliRunner().invoke(cli.main, [command, *args])
    assert result.exit_code == 2 and message in " ".join(result.output.split()), result.output


@pytest.mark.parametrize("theorem", CHECKED)
def test_every_value_that_a_case_uses_can_be_set_and_no_other(theorem):
    net = () if THEOREMS[theorem].matrices else ("vanilla",)
    for case in suite.cases([theorem], net, ["relu"] if net else (), [(2, 2)]):
        for name in case.uses:
            value = 3.0
            (other, *_) = suite.cases([theorem], net, [case.activation] if net else (), [(2, 2)], at={name: value})
            assert other.at[name] == value
        for name in {"L", "d", "K", "sigma_w", "sigma_b", "eps", "x_sq", "u", "v", "N", "m", "nonsense"} - case.uses:
            with pytest.raises(ArgumentError, match=f"nothing here uses '{name}'"):
                suite.cases([theorem], net, at={name: 3.0})
