"""The same numbers wherever they are computed; workers that die; clusters that are not there."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cloudpickle
import dask
import distributed
import pytest
import torch

from advmf.errors import ArgumentError, WorkerError
from advmf.progress import Lines
from advmf.verify import runs, suite, workers
from advmf.verify.runs import run
from advmf.verify.sequential import looks
from advmf.verify.statistics import Design
from advmf.verify.store import Store, read
from advmf.verify.workers import compute, default_workers, one_thread, processes

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files


@dataclass(frozen=True)
class Deed:
    """A job that squares a number, or kills its worker: always, or the first time."""

    number: int
    kills: str = ""
    """Where to note a first death; "always" for no mercy."""

    @property
    def name(self):
        return f"deed {self.number}"

    def perform(self, progress=None):
        if self.kills == "always" or (self.kills and not os.path.exists(self.kills)):
            if self.kills != "always":
                open(self.kills, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.number < 0:
            raise ArgumentError("a negative number")
        if progress:
            progress(1.0, "done")
        return self.number**2


DEEDS = [Deed(number) for number in range(6)]


@pytest.fixture
def light(monkeypatch):
    """Workers of jobs that need no network: they import neither torch nor SymPy, and start in a tenth of the time."""
    monkeypatch.setattr(workers, "JOBS", "advmf.errors")


def test_every_job_is_done_once_and_progress_adds_up(light):
    shares = []
    for count in (1, 2):
        found = sorted(compute(DEEDS, workers=count, progress=lambda share, what: shares.append(share)))
        assert found == [(i, i * i) for i in range(6)]
        assert sum(shares) == 6 * count


def test_a_worker_that_dies_once_is_replaced(light, tmp_path):
    deeds = [*DEEDS, Deed(7, str(tmp_path / "died"))]
    assert sorted(r for _, r in compute(deeds, workers=2)) == [0, 1, 4, 9, 16, 25, 49]


def test_processes_that_start_ahead_do_the_jobs_and_are_replaced_as_others(light, tmp_path):
    with processes(2, ahead=True) as pool:
        deeds = [*DEEDS, Deed(7, str(tmp_path / "died"))]
        assert sorted(r for _, r in compute(deeds, workers=2, pool=pool)) == [0, 1, 4, 9, 16, 25, 49]


def test_processes_that_start_ahead_have_imported_what_jobs_need():
    with processes(1, ahead=True) as pool:
        first = pool()
        assert first.submit(lambda: "advmf.verify.runs" in sys.modules).result()
        assert pool() is not first


def test_a_worker_that_grows_stays(light):
    """Loky would start another one after 300 MB, which it looks at once a second."""

    def grown():
        import time

        sys.grown = [*getattr(sys, "grown", []), b"x" * (200 << 20)]
        time.sleep(1.1)
        return os.getpid()

    with processes(1) as start:
        pool = start()
        assert len({pool.submit(grown).result() for _ in range(4)}) == 1


def test_a_job_that_always_kills_its_worker_is_given_up_and_no_other(light):
    *others, (number, error) = compute([Deed(7, "always"), *DEEDS], workers=2)
    assert number == 0 and isinstance(error, WorkerError) and "died at each of 3 attempts at deed 7" in str(error)
    assert sorted(r for _, r in others) == [0, 1, 4, 9, 16, 25]


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_a_job_stops_the_run(light, count):
    with pytest.raises(ArgumentError, match="a negative number"):
        list(compute([Deed(-1), *DEEDS], workers=count))


def test_one_thread_is_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_workers_fit_the_cores_and_the_memory(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(workers.os, "sysconf", lambda name: {"SC_PHYS_PAGES": 2**22, "SC_PAGE_SIZE": 4096}[name])
    assert default_workers(2**32) == 4  # 16 GiB in all
    assert default_workers(2**20) == 64
    assert default_workers(2**40) == 1
    assert default_workers(2**20, "cuda:0") == 1


def f_suite():
    """A suite of five cases, one of them about matrices, of a second in all."""
    small = replace(
        suite.QUICK,
        scales={
            "F1": suite.Scale(L=2, d=16, K=2, widths=(16, 32, 64), nets=(200, 200, 200)),
            "T2": suite.Scale(L=2, d=16, K=4, widths=(16, 32, 64, 512), nets=(20, 20, 20, 4)),
            "T5": suite.Scale(L=2, d=16, K=4, widths=(16, 32, 64), nets=(50, 50, 50), at={"sigma_b": 0.0}),
            "beta": suite.MatrixScale(d=40, K=4, samples=40),
        },
    )
    chosen = suite.cases(["F1", "T2", "T5"], ["vanilla_growing", "residual"], ["relu"], [("2", "1")], small)
    return [*chosen, *suite.cases(["beta"], pairs=[("2", "2"), ("1", "3")], profile=small)]


def numbers(outcomes):
    """Every number, to the last bit, but the seconds."""
    ordered = sorted(outcomes, key=lambda outcome: outcome.position)
    return [replace(r, seconds=0.0) for outcome in ordered for r in (*outcome.reports, *outcome.controls)]


@pytest.fixture(scope="module")
def alone():
    return numbers(run(f_suite()))


class Log(list):
    """The lines of a log that gets one whenever progress is reported, by a clock that goes a minute each time."""

    def __init__(self, cases):
        self.advance = Lines(cases, "cases", self.append, clock=itertools.count(0, 60).__next__).advance

    def ends(self):
        """Whether every case was counted, one at a time, and the last line says that nothing is left."""
        done = [int(re.match(r"advmf: (\d+) of 7 cases", line)[1]) for line in self]
        return sorted(set(done) - {0}) == list(range(1, 8)) and done == sorted(done) and "100 %" in self[-1]


def test_numbers_are_the_same_on_one_worker_and_on_two(alone):
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # which must not matter
    try:
        again = numbers(run(f_suite(), progress=(log := Log(7)).advance))
    finally:
        torch.set_num_threads(before)
    assert again == alone and log.ends()
    assert numbers(run(f_suite(), workers=2, progress=(log := Log(7)).advance)) == alone and log.ends()
    assert numbers(run(f_suite(), seed=1)) != alone


@pytest.fixture
def handed(monkeypatch):
    """What is kept of unfinished cases, where workers hand in every width."""
    found = []
    keep = Store.keep
    monkeypatch.setattr(runs, "PATIENCE", 0.0)
    monkeypatch.setattr(Store, "keep", lambda store, *args: [found.append(args), keep(store, *args)])
    return found


def test_what_workers_hand_in_is_gone_on_from(alone, handed, tmp_path):
    """In steps of a width, with the same numbers."""
    path = tmp_path / "run.db"
    assert numbers(run(f_suite(), workers=2, store=path, progress=(log := Log(7)).advance)) == alone and log.ends()
    ladders = [list(parts) for position, parts in handed if position == 0]
    names = ["N=16/0:200", "N=32/0:200", "N=64/0:200"]
    assert ladders == [names[:1], names[:2], names]
    assert {position for position, _ in handed} == set(range(6))  # the seventh is about matrices
    assert read(path).complete and not read(path).parts


def test_what_workers_hand_in_of_checks_that_may_stop_early_is_gone_on_from(handed, tmp_path):
    """Pilots first, and then in steps of a width up to a look."""
    options = {"sequential": True, "nets": "pilot", "design": Design(effect=0.5, effect_fourth=3.0)}
    chosen, path = [case for case in f_suite() if case.theorem in ("F1", "beta")], tmp_path / "run.db"
    expected = sorted(run(chosen, **options), key=lambda outcome: outcome.position)
    assert numbers(run(chosen, workers=2, store=path, **options)) == numbers(expected)
    longest = [max((list(parts) for position, parts in handed if position == k), key=len) for k in range(3)]
    for outcome, names in zip(expected[:2], longest):
        stops = [report.settings["sequential"] for report in (*outcome.reports, *outcome.controls)]
        ladder = dict(zip((16, 32, 64), stops[0]["declared"]))
        seen = looks(ladder.values(), True)[: max(stop["stopped"] for stop in stops)]
        assert names == ["pilot", *(f"N={N}/0:{look.count(nets)}" for look in seen for N, nets in ladder.items())]
    assert len(longest[0]) > 4, "no second look was taken"
    assert longest[2] == ["pilot"]  # of what is about matrices
    assert read(path).complete and not read(path).parts


@pytest.fixture
def cluster(request):
    """A cluster of two workers, or of as many as the test asks for: each takes seconds to start."""
    # Without a port of its own, two clusters at once would both want that of dask's page.
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with distributed.LocalCluster(n_workers=getattr(request, "param", 2), **options) as local:
        yield local


one_worker = pytest.mark.parametrize("cluster", [1], indirect=True, ids=["alone"])


def test_a_cluster_gives_the_same_numbers_though_a_worker_is_killed(cluster, alone, handed, tmp_path):
    path = tmp_path / "run.db"
    found = []
    victims, log = [nanny.pid for nanny in cluster.workers.values()], Log(7)
    for outcome in run(
        f_suite(), store=path, backend="dask", scheduler=cluster.scheduler_address, progress=log.advance
    ):
        if not found:
            os.kill(victims[0], signal.SIGKILL)
        found.append(outcome)
    assert numbers(found) == alone and log.ends() and handed
    assert read(path).complete


@one_worker
def test_a_worker_that_leaves_after_its_result_has_come_loses_nothing(cluster, monkeypatch):
    """dask marks the result as lost then, though it is here already."""
    get = distributed.Future._result

    async def left(self, raiseit=True):
        result = await get(self, raiseit)
        self._state.lose()
        return result

    monkeypatch.setattr(distributed.Future, "_result", left)
    assert sorted(compute(DEEDS, backend="dask", scheduler=cluster.scheduler_address)) == [(i, i * i) for i in range(6)]


@one_worker
def test_a_lost_scheduler_keeps_what_was_finished(cluster, alone, tmp_path):
    path = tmp_path / "run.db"
    going = run(f_suite(), store=path, backend="dask", scheduler=cluster.scheduler_address)
    next(going)
    with ThreadPoolExecutor(1) as other:
        closing = other.submit(cluster.close)
        with pytest.raises(WorkerError, match="scheduler was lost"):
            list(going)
        closing.result()
    assert read(path).finished
    assert numbers(run(f_suite(), store=path, resume=True)) == alone


def test_a_scheduler_that_does_not_answer_is_an_error_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "REACH", 1)
    path = tmp_path / "run.db"
    going = run(f_suite(), store=path)
    next(going)
    going.close()
    started = time.monotonic()
    with pytest.raises(WorkerError, match=r"No scheduler answers at tcp://127\.0\.0\.1:9 within 1 s"):
        list(run(f_suite(), store=path, resume=True, backend="dask", scheduler="tcp://127.0.0.1:9"))
    assert time.monotonic() - started < 30
    assert len(read(path).finished) == 1


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificates")
def test_a_cluster_behind_certificates(tmp_path, monkeypatch):
    """As docs/runs.md has it: nobody else is let in, and a client without certificates is told what is missing."""
    key, cert = (str(tmp_path / name) for name in ("key.pem", "cert.pem"))
    subject = ["-days", "2", "-subj", "/CN=advmf", "-keyout", key, "-out", cert]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, capture_output=True
    )
    own = {
        f"tls_{role}_{kind}": path
        for role in ("scheduler", "worker", "client")
        for kind, path in (("cert", cert), ("key", key))
    }
    security = distributed.Security(tls_ca_file=cert, require_encryption=True, **own)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with distributed.LocalCluster(**options, security=security) as local:
        address = local.scheduler_address
        assert address.startswith("tls://")
        with pytest.raises(ArgumentError, match="names none: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE"):
            list(compute(DEEDS, backend="dask", scheduler=address))
        monkeypatch.setattr(workers, "REACH", 2)
        with pytest.raises(WorkerError, match="No scheduler answers"):
            list(compute(DEEDS, backend="dask", scheduler=address.replace("tls://", "tcp://")))
        given = {"ca-file": cert, "client.cert": cert, "client.key": key}
        with dask.config.set({f"distributed.comm.tls.{name}": value for name, value in given.items()}):
            assert sorted(compute(DEEDS, backend="dask", scheduler=address)) == [(i, i * i) for i in range(6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "dask"}, "needs the address of a scheduler"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "needs the address of a scheduler"),
        ({"backend": "slurm"}, "backend is one of loky, dask"),
    ],
)
def test_bad_requests(options, message):
    with pytest.raises(ArgumentError, match=message):
        list(compute(DEEDS, **options))
