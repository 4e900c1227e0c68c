"""Runs that survive: what is finished is kept, whatever happens, and the rest comes out as if nothing had."""

import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import advmf as mf
from advmf.errors import ArgumentError, StoreError
from advmf.simulate.ensemble import MEMORY
from advmf.verify import suite
from advmf.verify.report import Finding, Report, Verdict
from advmf.verify.runs import run
from advmf.verify.statistics import Rung
from advmf.verify.store import canonical, key, read

SUITE = ("--theorem", "F1", "--activation", "relu", "--activation", "leaky_relu", "--networks", "14000")
"""Four cases of a second or so, on real images."""


def same(**options):
    """The same run in this process."""
    wanted = {"nets": 14000, "device": "cpu", "sampler": "auto", "memory": MEMORY, "data": None}
    return list(run(suite.cases(["F1"]), **wanted, **options))


TINY = replace(
    suite.QUICK, scales={"F1": suite.Scale(L=2, d=16, K=2, widths=(8, 16), nets=(40, 40))}, matrices={}, name="tiny"
)


def tiny(**options):
    return run(suite.cases(["F1"], ["vanilla"], profile=TINY), **options)


def advmf(*args, **popen):
    return subprocess.Popen(
        [sys.executable, "-m", "advmf.cli", "check", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen,
    )  # fmt: skip


def numbers(path):
    """All that a run found out, without the time it took."""
    return [(record.key, record.control, replace(record.report, seconds=0.0)) for record in read(path).records]


def wait_for_a_case(path, process):
    """Until one case is finished, and not all."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists():
            try:
                if found := read(path).finished:
                    return found
            except StoreError:  # not yet set up
                pass
        time.sleep(0.02)
    pytest.fail(f"no case was finished: {process.communicate()}")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    path = tmp_path_factory.mktemp("unbroken") / "run.db"
    same(store=path)
    assert read(path).complete
    return numbers(path)


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_run_that_was_ended_goes_on_where_it_was(end, code, unbroken, tmp_path):
    path = tmp_path / "run.db"
    process = advmf(*SUITE, "--store", str(path), "--workers", "1")
    before = wait_for_a_case(path, process)
    if end is signal.SIGKILL:  # while it lives, no other run may write
        with pytest.raises(StoreError, match=rf"Another run \(process {process.pid}\) is writing"):
            same(store=path, resume=True)
    process.send_signal(end)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    if end is not signal.SIGKILL:
        assert re.search(r"interrupted: \d of 4 cases finished; go on with --store .*run.db --resume", err)
    kept = read(path)
    assert before <= kept.finished and not kept.complete
    same(store=path, resume=True)
    assert numbers(path) == unbroken
    times = {record.key: record.report.seconds for record in read(path).records}
    assert all(times[record.key] == record.report.seconds for record in kept.records)  # taken over, not computed again


def workers_of(process):
    """The worker processes of a run: children that import torch; the first child may be a helper."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                with open(f"/proc/{entry}/cmdline") as file:
                    command = file.read()
            except OSError:
                continue
            if parent == process.pid and "popen_loky_posix" in command:
                found.append(int(entry))
    return found


def alive(pids):
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="worker processes are found in /proc")
def test_a_dead_worker_costs_time_and_a_dead_coordinator_takes_its_workers_along(unbroken, tmp_path):
    path = tmp_path / "run.db"
    process = advmf(*SUITE, "--store", str(path), "--workers", "2")
    deadline = time.monotonic() + 120
    while len(first := workers_of(process)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(first[0], signal.SIGKILL)
    wait_for_a_case(path, process)
    second = workers_of(process)
    assert second and not set(first) & set(second)  # a new pool
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while alive(second) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(second)
    assert not read(path).complete
    same(store=path, resume=True)
    assert numbers(path) == unbroken


def test_a_full_disk_keeps_what_was_finished(unbroken, tmp_path):
    path = tmp_path / "run.db"

    def small():  # no file may grow beyond this: some cases fit, and not all
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))

    process = advmf(*SUITE, "--store", str(path), "--workers", "1", preexec_fn=small)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "cannot be written" in err and "make room, and go on with --resume" in " ".join(err.split())
    kept = read(path)
    assert kept.finished and not kept.complete
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
    with pytest.raises(StoreError, match=r"already holds 1 of 2 cases of this run\. Add --resume"):
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
    with pytest.raises(ArgumentError, match="give it with --store"):
        list(tiny(resume=True))
    with pytest.raises(StoreError, match="There is no results file"):
        read(tmp_path / "none.db")
    with pytest.raises(StoreError, match="cannot be locked"):
        list(tiny(store=tmp_path / "no" / "folder" / "run.db"))
