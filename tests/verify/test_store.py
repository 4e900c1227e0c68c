"""Runs that survive: what is finished is kept, whatever happens, and the rest comes out as if nothing had."""

import json
import os
import re
import resource
import runpy
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.errors import ArgumentError, StoreError
from advmf.simulate.ensemble import MEMORY
from advmf.verify import pilot, store, suite
from advmf.verify.records import canonical, key
from advmf.verify.runs import run
from advmf.verify.statistics import Design, Rung
from advmf.verify.store import read
from advmf.verify.verdict import Finding, Report, Verdict

HERE = Path(__file__).parent
HELD = runpy.run_path(str(HERE / "held.py"))
SMALL, label = HELD["SMALL"], HELD["label"]


def small():
    """The four cases of a suite of a second."""
    return suite.cases(["F1"], profile=SMALL)


NAMES = [label(case) for case in small()]


def same(**options):
    """The run of 'advmf check --theorem F1' on them, in this process."""
    wanted = {"nets": None, "device": "cpu", "sampler": "auto", "memory": MEMORY, "data": None}
    return list(run(small(), **wanted, **options))


def tiny(**options):
    return run(suite.cases(["F1"], ["vanilla_growing"], profile=SMALL), **options)


class HeldRun:
    """'advmf check' in a process of its own, each case of which waits to be let go (held.py)."""

    def __init__(self, folder, *args):
        self.path, self.folder = folder / "run.db", folder / "held"
        self.folder.mkdir()
        paths = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "HELD": str(self.folder), "PYTHONPATH": paths}
        command = ["check", "--theorem", "F1", "--store", str(self.path), *args]
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import held; held.main()", *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def let_go(self, position):
        (self.folder / f"{NAMES[position]}.go").touch()

    def begun(self, position):
        """The processes that have begun a case."""
        names = (path.name.rpartition(".") for path in self.folder.iterdir())
        return {int(pid) for name, _, pid in names if name == NAMES[position] and pid != "go"}

    def finished(self):
        """What the store holds of a run that has begun to compute."""
        return read(self.path).finished

    def until(self, condition):
        """Wait for what must come while the run lives, however slow the machine; what does not come within minutes
        never will."""
        deadline = time.monotonic() + 300
        while not (found := condition()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                pytest.fail(f"the run ended, or hangs: {self.process.communicate()}")
            time.sleep(0.01)
        return found


@pytest.fixture
def held(tmp_path):
    """A function that starts a held run; the run is over when the test is."""
    started = []

    def start(*args):
        started.append(HeldRun(tmp_path, *args))
        return started[0]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


def numbers(path):
    """All that a run found out, without the time it took."""
    return [(record.key, record.control, replace(record.report, seconds=0.0)) for record in read(path).records]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    path = tmp_path_factory.mktemp("unbroken") / "run.db"
    same(store=path)
    assert read(path).complete
    return numbers(path)


def test_a_case_that_finishes_while_a_file_is_read_is_in_it_whole_or_not_at_all(unbroken, tmp_path, monkeypatch):
    path, connect = tmp_path / "run.db", store._connect
    going = run(small(), nets=None, device="cpu", sampler="auto", memory=MEMORY, data=None, store=path)
    next(going)

    class Late:
        """A connection for reading; the next case finishes between two of its questions."""

        def __init__(self, db):
            self.db = db

        def __getattr__(self, name):
            return getattr(self.db, name)

        def execute(self, sql, *args):
            found = self.db.execute(sql, *args)
            if "GROUP BY" in sql:
                found = found.fetchall()
                next(going)
            return found

    with monkeypatch.context() as patched:
        patched.setattr(store, "_connect", lambda path, reading=False: Late(connect(path, reading)))
        assert len(read(path).finished) == 1
    assert len(read(path).finished) == 2
    list(going)
    assert sorted(numbers(path), key=repr) == sorted(unbroken, key=repr)


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_run_that_was_ended_goes_on_where_it_was(end, code, unbroken, held):
    """It is ended while it computes its second case."""
    going = held("--workers", "1")
    going.let_go(0)
    assert going.until(lambda: going.begun(1)) == {going.process.pid}
    assert going.finished() == {0}
    if end is signal.SIGKILL:  # while it lives, no other run may write
        with pytest.raises(StoreError, match=rf"Another run \(process {going.process.pid}\) is writing"):
            same(store=going.path, resume=True)
    going.process.send_signal(end)
    _, err = going.process.communicate()
    assert going.process.returncode == code
    if end is not signal.SIGKILL:
        assert re.search(r"interrupted: 1 of 6 cases finished; go on with --store .*run.db --resume", err)
    kept = read(going.path)
    assert kept.finished == {0} and not kept.complete
    same(store=going.path, resume=True)
    assert numbers(going.path) == unbroken
    times = {record.key: record.report.seconds for record in read(going.path).records}
    assert all(times[record.key] == record.report.seconds for record in kept.records)  # taken over, not computed again


def test_a_case_that_was_under_way_goes_on_at_the_width_where_it_was(tmp_path):
    """In every step: widths that are finished are neither simulated nor lost, and the numbers are those of an unbroken
    run."""
    profile = replace(SMALL, scales={"F1": suite.Scale(L=2, d=16, K=2, widths=(8, 16, 32), nets=(40, 30, 20))})
    path, whole = tmp_path / "run.db", tmp_path / "whole.db"

    def going(path, **options):
        return list(
            run(suite.cases(["F1"], ["vanilla_growing"], ["relu"], profile=profile), store=path, resume=True, **options)
        )

    def broken_off(N):
        """What was simulated until the chunk of a width came."""
        told = []

        def stop(share, what):
            told.append(what)
            if what == f"N={N}":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            going(path, progress=stop)
        assert not read(path).finished
        return [what for what in told if what.startswith("N=")], sorted(read(path).parts.get(0, {}))

    assert broken_off(8) == (["N=8"], [])
    assert broken_off(16) == (["N=8", "N=16"], ["N=8/0:40"])
    assert broken_off(32) == (["N=16", "N=32"], ["N=16/0:30", "N=8/0:40"])
    shares = []
    going(path, progress=lambda share, what: shares.append(share))
    assert sum(shares) == pytest.approx(1)
    going(whole)
    assert numbers(path) == numbers(whole) and read(path).complete and not read(path).parts


def test_a_case_that_may_stop_early_goes_on_at_the_look_where_it_was(tmp_path, monkeypatch):
    """Broken off in the second width that it simulates, again and again: its pilots run once, and no width twice but
    the one under way."""
    profile = replace(SMALL, scales={"F1": suite.Scale(L=2, d=16, K=2, widths=(8, 16, 32), nets=(40, 30, 20))})
    path, whole, grown = tmp_path / "run.db", tmp_path / "whole.db", []
    grow = pilot._grown
    monkeypatch.setattr(pilot, "_grown", lambda *args: [grown.append(args), grow(*args)][1])

    def going(path, **options):
        wanted = {"nets": "pilot", "sequential": True, "design": Design(effect=0.5, effect_fourth=2.0)}
        chosen = suite.cases(["F1"], ["vanilla_growing"], ["relu"], profile=profile)
        return list(run(chosen, store=path, resume=True, **wanted, **options))

    going(whole)
    stopped = max(record.report.settings["sequential"]["stopped"] for record in read(whole).records)
    assert stopped > 1
    for breaks in range(3 * stopped - 1):
        simulated = set()

        def stop(share, what, simulated=simulated):
            simulated |= {what} if what.startswith("N=") else set()
            if len(simulated) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            going(path, progress=stop)
        assert len(read(path).parts[0]) == breaks + 2  # the pilots, and one width more each time
    shares = []
    going(path, progress=lambda share, what: shares.append(share))
    assert sum(shares) == pytest.approx(1)
    assert len(grown) == 2 and numbers(path) == numbers(whole) and read(path).complete and not read(path).parts


def alive(pid):
    """Whether a process runs; one that has ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="whether a process runs is read in /proc")
def test_a_dead_worker_costs_time_and_a_dead_coordinator_takes_its_workers_along(unbroken, held):
    going = held("--workers", "2")
    first = going.until(lambda: going.begun(0)) | going.until(lambda: going.begun(1))
    assert len(first) == 2 and going.process.pid not in first
    os.kill(min(first), signal.SIGKILL)
    second = going.until(lambda: going.begun(2)) | going.until(lambda: going.begun(3))  # which are not to blame
    assert len(second) == 2 and not first & second  # a new pool
    going.let_go(2)
    going.until(lambda: going.finished() == {2})
    assert all(map(alive, second))
    going.process.kill()
    going.process.communicate()
    deadline = time.monotonic() + 300
    while any(map(alive, second)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert going.finished() == {2}
    same(store=going.path, resume=True)
    assert numbers(going.path) == unbroken


class Filling(suite.Case):
    """A case with which the disk becomes full, if it is the second: no file may grow beyond those in the folder."""

    folder: ClassVar[Path]

    def check(self, mutants, options):
        if label(self) == NAMES[1]:
            sizes = [path.stat().st_size for path in self.folder.iterdir()]
            resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return super().check(mutants, options)


def test_a_full_disk_keeps_what_was_finished(unbroken, monkeypatch, tmp_path):
    path = tmp_path / "run.db"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    filling = [Filling(*(getattr(case, field.name) for field in fields(case))) for case in small()]
    monkeypatch.setattr(suite, "cases", lambda *_, **__: filling)
    monkeypatch.setattr(Filling, "folder", tmp_path, raising=False)
    words = ["check", "--theorem", "F1", "--workers", "1", "--store", str(path)]
    try:
        result = CliRunner().invoke(cli.main, words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 2
    assert "cannot be written" in result.output and "make room, and go on with resume=True (--resume)" in result.output
    kept = read(path)
    assert kept.finished == {0} and not kept.complete
    monkeypatch.undo()
    same(store=path, resume=True)
    assert numbers(path) == unbroken


def test_reports_come_back_equal(tmp_path):
    path = tmp_path / "run.db"
    outcomes = list(tiny(store=path, command="advmf check"))
    found = read(path)
    assert found.complete and found.command == "advmf check"
    for outcome in outcomes:
        own = [r for r in found.records if r.position == outcome.position]
        assert tuple(r.report for r in own if not r.control) == outcome.reports
        assert tuple(r.report for r in own if r.control) == outcome.controls
        assert own[0].claim["latex"].startswith("\\mathbb{E}") and own[0].claim["source"]
    again = list(tiny(store=path, resume=True))
    assert [(o.position, o.reports, o.controls) for o in again] == [
        (o.position, o.reports, o.controls) for o in outcomes
    ]
    origin = found.records[0].report.settings
    assert {"advmf", "torch", "sympy", "numpy", "scipy", "mpmath"} <= set(origin["versions"])
    assert {"python", "system", "processor", "git"} <= set(origin["environment"])
    assert (origin["dtype"], origin["device"], origin["threads"]) == ("float32", "cpu", 1)
    assert len(origin["data_sha256"]) == 64


def test_numbers_that_are_not_finite_come_back():
    rungs = (Rung(10, 5, 1 / 3, 0.1), Rung(20, 1, 0.5, float("inf")))
    finding = Finding("slope", Verdict.UNDERPOWERED, float("nan"), float("inf"), 0.5, float("nan"), float("inf"), rungs)
    report = Report("T6", "matrix", "1", "inf", (finding,), {"d": 1}, 0, 0.123456789, {"ladder": [1, 2]})
    back = Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False)))
    assert repr(back) == repr(report)  # NaN equals itself in no other way


def test_a_key_is_that_of_the_claim_and_of_all_its_numbers_depend_on():
    claim = mf.loss_bound(mf.vanilla(1, 0), 2, 2)
    own = key(canonical(claim), {"seed": 0})
    assert own == key(canonical(mf.loss_bound(mf.vanilla(1, 0), 2, 2)), {"seed": 0})
    others = [claim.scaled(2), mf.loss_bound(mf.vanilla(1, 0), 2, 1), mf.loss_bound(mf.vanilla(1, 0.5), 2, 2)]
    assert own not in [key(canonical(other), {"seed": 0}) for other in others]
    assert own != key(canonical(claim), {"seed": 1})


def foreign(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE someones (work TEXT)")
    db.close()


def damaged(path, change):
    list(tiny(store=path))
    content = bytearray(path.read_bytes())
    path.write_bytes(change(content))


def flip(content):
    """One bit of a number in the middle of a report."""
    at = content.index(b'"estimate": ', len(content) // 2) + len(b'"estimate": 0.')
    content[at] ^= 1
    return content


def overwrite(content):
    content[8192:16384] = os.urandom(8192)
    return content


def newer(content):
    content[60:64] = (99).to_bytes(4, "big")
    return content


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("results\n" * 100), "nor any SQLite file"),
        (foreign, "database of another program"),
        (lambda path: damaged(path, lambda content: content[:20_000]), "cannot be read as a results file"),
        (lambda path: damaged(path, overwrite), "cannot be read as a results file"),
        (lambda path: damaged(path, flip), "is not what was written"),
        (lambda path: damaged(path, newer), "has format 99"),
        (lambda path: list(tiny(store=path, seed=1)), "seed is 1 there and 0 here"),
        (lambda path: list(tiny(store=path, nets=50)), '"nets": 50'),
    ],
)
def test_a_file_that_is_not_this_runs_is_refused_and_left_as_it_is(make, message, resume, tmp_path):
    path = tmp_path / "run.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message):
        list(tiny(store=path, resume=resume))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.db"]


def test_a_file_of_this_run_is_taken_over_only_when_asked(tmp_path):
    path = tmp_path / "run.db"
    stopped = tiny(store=path)
    next(stopped)
    with pytest.raises(StoreError, match=f"Another run \\(process {os.getpid()}\\)"):
        list(tiny(store=path, resume=True))
    stopped.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"already holds 1 of 2 cases of this run\. Add resume=True"):
        list(tiny(store=path))
    assert path.read_bytes() == before
    assert len(list(tiny(store=path, resume=True))) == 2
    with pytest.raises(StoreError, match="already holds 2 of 2"):
        list(tiny(store=path))


@pytest.mark.parametrize("left", ["nothing", "empty", "no tables"])
def test_a_start_that_was_killed_leaves_a_file_that_can_be_used(left, tmp_path):
    path = tmp_path / "run.db"
    if left == "empty":
        path.touch()
    elif left == "no tables":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 0")
            db.execute("VACUUM")
        db.close()
        with pytest.raises(StoreError, match="is empty"):
            read(path)
    assert len(list(tiny(store=path, resume=True))) == 2
    assert read(path).complete


def test_bad_requests(tmp_path):
    with pytest.raises(ArgumentError, match=r"give it with store= \(--store FILE\)"):
        list(tiny(resume=True))
    with pytest.raises(StoreError, match="There is no results file"):
        read(tmp_path / "none.db")
    with pytest.raises(StoreError, match="cannot be locked"):
        list(tiny(store=tmp_path / "no" / "folder" / "run.db"))
