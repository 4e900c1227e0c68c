"""Jobs on one process, on workers of the same machine (joblib's loky), or on a dask cluster. The numbers are the same;
they come in the order in which jobs finish.

Every job computes with one thread, wherever it runs. The last digits of a sum that is shared among threads depend on
the number of threads.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from advmf.errors import ArgumentError, WorkerError
from advmf.progress import Progress

BACKENDS = ("loky", "dask")
JOBS = "advmf.verify.runs"
"""The module of the jobs, with all that they need."""
DEATHS = 3
"""Give up on a job after this many worker deaths."""
REACH = 10
"""Seconds to wait for a scheduler."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""Settings of the C library for large arrays: it keeps their memory for the next ones of the same size. Giving the
memory back and asking for it again would take a tenth of the time. Other C libraries ignore these settings."""

FORMULAS = {"SYMPY_CACHE_SIZE": "20000"}
"""SymPy remembers this many results of each function, for 1,000 by default: formulas of a case and its wrong versions
have most in common."""
GARBAGE = 10_000
"""Python looks for garbage once in this many new objects, for 700 by default. Formulas are many small objects that
stay."""

LEAK, GROWTH = "_MAX_MEMORY_LEAK_SIZE", 8 << 30
"""Loky takes a worker that has grown by 300 MB for one that leaks, and starts another in its place. The growth is that
of networks, formulas and the memory that is kept for the next ones. A new worker would import and derive all of it
again."""


class Job(Protocol):
    """What a worker does: a picklable value with a name."""

    @property
    def name(self) -> str: ...

    def perform(self, progress: Progress | None = None) -> Any:
        """Compute. On a worker a job may return Unfinished. In this process ``keep``, if there is one, is a second
        argument, and gets the finished parts of the job."""


@dataclass(frozen=True)
class Unfinished:
    """What a worker returns of a long job: the finished parts, and the job that goes on from there."""

    parts: Mapping[str, Any]
    rest: Job


Pool = Callable[[], Executor]
"""Gives a new pool of processes, and ends the one before."""
Keep = Callable[[int, Mapping[str, Any]], None]
"""Called with the number of a job, and with its finished parts."""


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for the linear algebra under NumPy."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def default_workers(memory: int, device: str = "cpu") -> int:
    """The default number of workers: one for each core, as far as the machine's memory has ``memory`` bytes for the
    networks of each. On devices that are no CPU it is one for each device.

    >>> default_workers(2**60)
    1
    """
    if device != "cpu":
        import torch

        return max(1, torch.cuda.device_count()) if device == "cuda" else 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return cores
    return max(1, min(cores, total // memory))


def compute(
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    backend: str = "loky",
    scheduler: str | None = None,
    progress: Progress | None = None,
    keep: Keep | None = None,
    pool: Pool | None = None,
) -> Generator[tuple[int, Any]]:
    """The number and the result of each job, as they finish. One worker means this process. Else jobs run on
    ``workers`` processes, or on the workers of the dask cluster at ``scheduler``. ``pool`` gives the processes if they
    were started before (:func:`processes`).

    ``keep`` gets the finished parts of jobs that hand them in before they are done. A job whose worker dies is done
    again from there, alone. A job that loses three workers is given up: its result is a WorkerError, which comes when
    all others are done. Raises ArgumentError for options that do not go together. Raises WorkerError where the
    scheduler cannot be reached or is lost.
    """
    if backend not in BACKENDS:
        raise ArgumentError(f"backend is one of {', '.join(BACKENDS)}; got {backend!r}.")
    if (backend == "dask") != bool(scheduler):
        raise ArgumentError(
            "The dask backend needs the address of a scheduler, and no other takes one: --backend dask --scheduler tcp://HOST:8786."
        )
    if backend == "dask":
        with _cluster(str(scheduler), len(jobs)) as pool:
            yield from _spread(jobs, lambda: pool, len(jobs), progress, keep)
    elif (workers := min(workers, len(jobs))) > 1:
        with nullcontext(pool) if pool else processes(workers) as start:
            yield from _spread(jobs, start, workers, progress, keep)
    else:
        for number, job in enumerate(jobs):
            if progress:
                progress(0.0, job.name)
            own = () if keep is None else (partial(keep, number),)
            yield number, job.perform(progress, *own)


def _perform(job: Job) -> Any:
    return job.perform()


def _spread(
    jobs: Sequence[Job], start: Callable[[], Executor], room: int, progress: Progress | None, keep: Keep | None
) -> Iterator[tuple[int, Any]]:
    jobs = list(jobs)
    waiting, flying = deque(range(len(jobs))), dict[Future[Any], int]()
    deaths: Counter[int] = Counter()
    lost: list[int] = []

    def landed(number: int, result: Any) -> Iterator[tuple[int, Any]]:
        if isinstance(result, Unfinished):
            jobs[number] = result.rest
            waiting.appendleft(number)
            if keep:
                keep(number, result.parts)
            return
        if progress:
            progress(1.0, f"{jobs[number].name} finished")
        yield number, result

    pool = start()
    while waiting or flying:
        try:
            # Jobs that were under way when a worker died come last, and each runs alone. So no other job is blamed for
            # their deaths.
            while waiting and len(flying) < room and not (flying and deaths[waiting[0]]):
                future = pool.submit(_perform, jobs[waiting[0]])
                flying[future] = waiting.popleft()
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                result = _result(future)
                number = flying.pop(future)
                if result is None:
                    lost.append(number)
                    continue
                yield from landed(number, result)
        except BrokenExecutor:
            for future, number in flying.items():
                if future.done() and future.exception() is None:
                    yield from landed(number, future.result())
                    continue
                deaths[number] += 1
                (lost if deaths[number] >= DEATHS else waiting).append(number)
            flying.clear()
            pool = start()
    for number in lost:
        error = WorkerError(
            f"The worker died at each of {DEATHS} attempts at {jobs[number].name}, most often for want of memory. Give fewer "
            "workers (--workers) or less memory (--memory), and go on with resume=True (--resume)."
        )
        yield from landed(number, error)


def _result(future: Future[Any]) -> Any:
    """The result of a job. None for a job that dask gave up, after as many deaths of its workers as the cluster
    allows."""
    try:
        return future.result()
    except CancelledError:
        raise WorkerError(
            "The scheduler was lost, and with it the cases under way. What was finished is kept: go on with resume=True (--resume)."
        ) from None
    except Exception as error:
        if type(error).__name__ == "KilledWorker":
            return None
        raise


@contextmanager
def processes(workers: int, ahead: bool = False) -> Iterator[Pool]:
    """A function that gives a new pool of ``workers`` processes, and ends the one before. With ``ahead`` the first pool
    starts at once: its processes import what jobs need while this one does something else."""
    from joblib.externals.loky import ProcessPoolExecutor

    pools: list[Any] = []

    def end() -> None:
        while pools:
            pools.pop().shutdown(wait=True, kill_workers=True)

    def start() -> Executor:
        # loky renews workers that have grown, and says so each time.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)
        end()
        pools.append(
            ProcessPoolExecutor(
                workers, env={**ONE_THREAD, **MEMORY, **FORMULAS}, initializer=_attend, initargs=(os.getpid(), JOBS)
            )
        )
        return pools[0]

    def given() -> Executor:
        nonlocal ahead
        if ahead:
            ahead = False
            return pools[0]
        return start()

    try:
        if ahead:
            start().submit(_ready)
        yield given
    finally:
        end()


def _ready() -> None:
    """A job that starts all processes of a pool."""


def _attend(coordinator: int, jobs: str) -> None:
    """A worker leaves interrupts to the coordinator, and does not outlive it. It imports the module of its jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == coordinator:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    process_executor = import_module("joblib.externals.loky.process_executor")
    if hasattr(process_executor, LEAK):
        setattr(process_executor, LEAK, GROWTH)
    import_module(jobs)
    gc.set_threshold(GARBAGE)
    gc.freeze()  # what was imported stays


class _ThroughDask(ThreadPoolExecutor):
    """A thread for each job waits for its result. dask's own executor would take a result for an error when the worker
    leaves the cluster just after the result has come."""

    def __init__(self, client: Any, room: int) -> None:
        super().__init__(room, thread_name_prefix="dask-result")
        self._client = client

    def submit(self, perform: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(self._result, self._client.submit(perform, *args, pure=False, **kwargs))

    def _result(self, future: Any) -> Any:
        try:
            return future.result()
        except Exception:
            if self._client.status == "running":
                raise
            raise CancelledError from None


@contextmanager
def _cluster(scheduler: str, room: int) -> Iterator[Executor]:
    try:
        from distributed import Client, Security
    except ImportError:
        raise ArgumentError("The dask backend needs dask: pip install 'advmf[dask]'.") from None
    if scheduler.startswith("tls:") and Security().get_connection_args("client")["ssl_context"] is None:
        raise ArgumentError(
            f"The scheduler at {scheduler} asks for certificates, and dask's configuration names none: set "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE and DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and __KEY, as docs/runs.md shows."
        )
    try:
        client = Client(scheduler, timeout=REACH, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise WorkerError(
            f"No scheduler answers at {scheduler} within {REACH} s ({error or 'no answer'}). Start one with 'dask scheduler', "
            "and give the address that it prints."
        ) from None
    with _ThroughDask(client, room) as pool:
        try:
            yield pool
        finally:
            client.close()  # which gives up what is under way: the threads of the pool end
