"""Shards made one after the other, or by worker processes of one thread each that die with their parent.

Every worker has a pool of its own, so that its death takes one shard with it, and we know which. That shard is tried
again alone, when all others are done, sample by sample; if its worker dies again, it is failed, and its receipt of
failure says at which sample.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import pickle
import re
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import active_children
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, TypeAlias

import joblib
import numpy as np
from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor
from numpy.typing import NDArray

from . import failures, store
from ._threads import ONE_THREAD
from .errors import DiskError, StmfabError
from .layout import Layout
from .place import Folder
from .plan import Plan
from .store import Store

BATCH = 32  # samples simulated in one go: enough to fill the lanes of the kernels, few enough for a lively progress
POLL_s = 0.2  # between two looks at the workers' counters
PR_SET_PDEATHSIG = 1  # linux/prctl.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT_BYTES = 1 << 30, 1 << 25  # that it may keep; the most that older ones allow
Simulate: TypeAlias = Callable[[Plan, int, int], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Failure:
    """A shard that could not be made: the reason in a line, and the traceback if the fault is ours."""

    shard: int
    line: str
    traceback: str
    disk: bool


@dataclass(frozen=True)
class Death:
    """A worker process that died at a shard, which will be tried again: how, and what it could still write down."""

    shard: int
    how: str
    traceback: str


@dataclass(frozen=True)
class Elsewhere:
    """A shard that another run made before this one began it."""

    shard: int


Result: TypeAlias = Failure | Death | Elsewhere | None  # None: made
Results: TypeAlias = Generator[Result, None, None]
Task: TypeAlias = tuple[int, int]  # slot and shard
Engine: TypeAlias = "Callable[[Job, list[int], int, Callable[[], None]], Results]"


@dataclass(frozen=True)
class Ticks:
    """How far each shard is, one number a slot, in a small file that every worker can reach."""

    path: Path

    def set(self, slot: int, samples: int) -> None:
        """Write down that ``samples`` of a slot's shard are done; no lock: a slot has one writer."""
        with self.path.open("r+b") as file:
            file.seek(8 * slot)
            file.write(struct.pack("<q", samples))

    def of(self, slot: int) -> int:
        """Return the samples done in one slot."""
        return int(np.fromfile(self.path, dtype="<i8", count=1, offset=8 * slot)[0])

    def total(self) -> int:
        """Return the samples done in all slots."""
        return int(np.fromfile(self.path, dtype="<i8").sum())


@dataclass(frozen=True)
class Job:
    """All a worker must know, sent to it once."""

    store: Store
    plan: Plan
    simulate: Simulate
    ticks: Ticks


class Passed(Protocol):
    """Tasks given to workers, never two to one at a time."""

    def __call__(self, tasks: Iterable[Task], *, jobs: int, batch: int) -> Iterator[tuple[Task, Result]]:
        """Yield what became of each task."""


Context: TypeAlias = BaseContext | None  # None: loky's own
GiveUp: TypeAlias = Callable[[Job, int, int, Death], Failure]  # of a shard that took a second worker


def cores() -> int:
    """Return the processor cores this process may use: of its affinity and its control group, not of the machine."""
    return int(joblib.cpu_count())


def serial(job: Job, todo: list[int], jobs: int, poll: Callable[[], None]) -> Results:
    """Make shards in this process, one after the other."""
    for slot, shard in enumerate(todo):
        yield make_shard(job, slot, shard, poll)


def loky(job: Job, todo: list[int], jobs: int, poll: Callable[[], None]) -> Results:
    """Make shards in worker processes; yield the results as they come, then those of the shards that took a worker.

    A single worker is a fork of this process on Linux, which takes no time to start: this process waits, and its
    libraries have one thread each. The client of an object store does not survive a fork: there it is this process.
    """
    if jobs == 1 and not isinstance(job.store.place, Folder):
        yield from serial(job, todo, jobs, poll)
        return
    context = multiprocessing.get_context("fork") if jobs == 1 and sys.platform == "linux" else None
    yield from tried_twice(job, todo, jobs, partial(_passed, job, poll=poll, context=context), given_up)


def tried_twice(job: Job, todo: list[int], jobs: int, passed: Passed, give_up: GiveUp) -> Results:
    """Have shards made by ``jobs`` workers at once, then those that took a worker: alone, sample by sample."""
    struck: list[Task] = []
    for task, result in passed(enumerate(todo), jobs=jobs, batch=BATCH):
        if isinstance(result, Death):
            struck.append(task)
            job.ticks.set(task[0], 0)
        yield result
    for task, result in passed(struck, jobs=1, batch=1):
        yield give_up(job, *task, result) if isinstance(result, Death) else result


def given_up(job: Job, slot: int, shard: int, death: Death) -> Failure:
    """Return the failure of a shard that took a second worker, alone and sample by sample; leave its receipt."""
    start, stop = job.store.layout.bounds(shard)
    sample = start + job.ticks.of(slot)
    where = f"at sample {sample}" if sample < stop else "while it wrote the shard"
    return failed(job, slot, shard, line=f"the worker process died twice, {where}: {death.how}", trace=death.traceback)


def make_shard(job: Job, slot: int, shard: int, poll: Callable[[], None], batch: int = BATCH) -> Result:
    """Simulate and write one shard; return the failure, if any, instead of raising it: the others shall go on."""
    try:
        if store.is_made(job.store, shard):
            start, stop = job.store.layout.bounds(shard)
            job.ticks.set(slot, stop - start)
            return Elsewhere(shard)
        begun = monotonic()
        blocks = _simulated(job, slot, shard, poll, batch)
        store.write_shard(job.store, shard, blocks, begun_s=begun)
    except DiskError as error:
        job.ticks.set(slot, 0)
        return Failure(shard, str(error), "", disk=True)
    except Exception as error:
        words = "; ".join([str(error) or repr(error), *getattr(error, "__notes__", [])])
        return failed(job, slot, shard, line=words, trace=_traceback(error))
    return None


def failed(job: Job, slot: int, shard: int, *, line: str, trace: str) -> Failure:
    """Leave the receipt of a failed shard; return the failure."""
    job.ticks.set(slot, 0)
    try:
        failures.write(job.store, shard, line=line, traceback=trace)
    except DiskError as error:
        return Failure(shard, str(error), "", disk=True)
    return Failure(shard, line, trace, disk=False)


def _traceback(error: Exception) -> str:
    """Return the traceback of a fault of ours; the user's mistakes, and numbers that went astray, have none."""
    return "" if isinstance(error, (StmfabError, ArithmeticError)) else "".join(traceback.format_exception(error))


@lru_cache(maxsize=1)  # memory fresh from the system costs more than the copy into it
def _room(layout: Layout) -> dict[str, NDArray[Any]]:
    """Return where the arrays of a shard are collected, shard after shard."""
    return {spec.name: np.empty((layout.shard, *spec.shape), spec.dtype) for spec in layout.arrays}


def _simulated(job: Job, slot: int, shard: int, poll: Callable[[], None], batch: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a shard, simulated ``batch`` samples at a time."""
    start, stop = job.store.layout.bounds(shard)
    blocks = {name: room[: stop - start] for name, room in _room(job.store.layout).items()}
    for first in range(start, stop, batch):
        last = min(first + batch, stop)
        arrays = job.simulate(job.plan, first, last)
        for name, block in blocks.items():
            some = arrays[name]
            if some.dtype != block.dtype or some.shape != (last - first, *block.shape[1:]):
                raise ValueError(f"{name}: simulated {some.dtype}{some.shape}, declared {block.dtype}{block.shape[1:]}")
            block[first - start : last - start] = some
        job.ticks.set(slot, last - start)
        poll()
    return blocks


def _passed(
    job: Job, tasks: Iterable[Task], *, jobs: int, batch: int, poll: Callable[[], None], context: Context
) -> Iterator[tuple[Task, Result]]:
    """Give each task to the next idle worker; yield what became of it. A worker that died is replaced."""
    packed = pickle.dumps(job)
    waiting = iter(tasks)
    running: dict[Future[Result], tuple[_Worker, Task]] = {}
    with _hired(jobs, job.ticks.path.parent, context) as idle:
        while True:
            for worker, task in zip(idle, waiting, strict=False):
                running[worker.begin(packed, task, batch)] = (worker, task)
            if not running:
                return
            done, _ = wait(running, timeout=POLL_s, return_when=FIRST_COMPLETED)
            poll()
            ended = [(*running.pop(future), future) for future in done]
            results = [(task, worker.result(future, task)) for worker, task, future in ended]
            idle = [worker for worker, _, _ in ended]
            yield from results


class _Worker:
    """One process in a pool of its own, and the file to which it writes where it was when it crashed."""

    def __init__(self, crash: Path, context: Context) -> None:
        self.crash = crash
        self.context = context
        self.pool = self._pool()

    def _pool(self) -> ProcessPoolExecutor:
        self.crash.write_bytes(b"")
        life = {"initializer": begin_life, "initargs": (os.getpid(), str(self.crash))}
        return ProcessPoolExecutor(1, context=self.context, env=ONE_THREAD, **life)

    def begin(self, packed: bytes, task: Task, batch: int) -> Future[Result]:
        """Start a shard; the process is spawned at the first."""
        with signals_kept_from_children():
            try:
                future: Future[Result] = self.pool.submit(work, packed, *task, batch)
            except BrokenProcessPool:  # killed while it was idle: no shard is to blame
                self._replace()
                future = self.pool.submit(work, packed, *task, batch)
        return future

    def result(self, future: Future[Result], task: Task) -> Result:
        """Return what became of a shard."""
        try:
            return future.result()
        except BrokenProcessPool as error:
            codes = re.search(r"\{(.+)\}", str(error))  # such as SIGKILL(-9) or EXIT(1)
            death = Death(task[1], codes[1] if codes else "no exit code", self.crash.read_text(errors="replace"))
            self._replace()
            return death

    def _replace(self) -> None:
        self.pool.shutdown(wait=False, kill_workers=True)
        self.pool = self._pool()


@contextlib.contextmanager
def _hired(jobs: int, folder: Path, context: Context) -> Iterator[list[_Worker]]:
    """Give workers that are gone afterwards: at leisure after the last task, at once after an exception."""
    others: set[BaseProcess] = set(active_children())
    crew = [_Worker(folder / f"crash-{number}", context) for number in range(jobs)]
    try:
        yield crew
        with ThreadPoolExecutor(jobs) as doors:  # all at once: a process takes a while to end
            list(doors.map(lambda worker: worker.pool.shutdown(wait=True), crew))
    except BaseException:
        kill_children(others)
        for worker in crew:
            worker.pool.shutdown(wait=False, kill_workers=True)
        raise


def kill_children(others: set[BaseProcess]) -> None:
    """Kill the child processes that have come since there were only ``others``."""
    for child in set(active_children()) - others:
        if child.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)


def begin_life(parent: int, crash: str) -> None:
    """Ask the kernel to kill this worker when its parent goes, however it goes; write down crashes of native code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it went before we could ask
    faulthandler.enable(os.open(crash, os.O_WRONLY | os.O_CREAT))
    keep_memory()


def keep_memory() -> None:
    """Have glibc keep what is freed for the next sample: getting it anew is a tenth of the time of large frames."""
    if hasattr(library := ctypes.CDLL(None), "mallopt"):
        for threshold in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            any(library.mallopt(threshold, kept) for kept in KEPT_BYTES)


def work(packed: bytes, slot: int, shard: int, batch: int) -> Result:
    """Make one shard in a worker."""
    return make_shard(_unpacked(packed), slot, shard, lambda: None, batch)


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Job:
    job: Job = pickle.loads(packed)
    return job


@contextlib.contextmanager
def signals_kept_from_children() -> Iterator[None]:
    """Block SIGINT and SIGTERM while workers are spawned: they inherit it, and only the parent answers Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
