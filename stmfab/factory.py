"""From a plan to a full store: shards handed to workers, resumed after anything, shared out over the parts of a job.

One shard is one task is one receipt. Workers are processes of one thread each that die with their parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import pickle
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from multiprocessing import active_children
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import numpy as np
from joblib import cpu_count
from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor
from numpy.typing import NDArray

from . import provenance, receipts, sample, store, verify
from ._threads import ONE_THREAD, one_thread
from .errors import DiskError, IncompleteError, StmfabError
from .place import Folder
from .plan import Plan
from .progress import Progress, Silent
from .store import Store

BATCH = 32  # samples simulated in one go: enough to fill the lanes of the kernels, few enough for a lively progress
POLL_s = 0.2  # between two looks at the workers' counters
PR_SET_PDEATHSIG = 1  # linux/prctl.h
Simulate: TypeAlias = Callable[[Plan, int, int], Mapping[str, NDArray[Any]]]


class Terminated(SystemExit):
    """SIGTERM, on its way out: 143 is what a shell reports for it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@dataclass(frozen=True)
class Failure:
    """A shard that could not be made: the reason in a line, and the traceback if the fault is ours."""

    shard: int
    line: str
    traceback: str
    disk: bool


@dataclass(frozen=True)
class Outcome:
    """What a run did: samples made now, how long it took, what failed, and which shards the store still lacks."""

    store: Store
    made: int
    seconds: float
    jobs: int
    failures: tuple[Failure, ...]
    missing: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Ticks:
    """How far each shard is, one number a slot, in a small file that every worker can reach."""

    path: Path

    def set(self, slot: int, samples: int) -> None:
        """Write down that ``samples`` of a slot's shard are done; no lock: a slot has one writer."""
        with self.path.open("r+b") as file:
            file.seek(8 * slot)
            file.write(struct.pack("<q", samples))

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


def generate(
    plan: Plan,
    place: Folder,
    *,
    jobs: int | None = None,
    part: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
    prepare: Callable[[Plan], object] = sample.prepare,
    simulate: Simulate = sample.simulate,
) -> Outcome:
    """Make what a store still lacks of a plan, or of part ``k`` of ``n`` of it; return what was done.

    The samples do not depend on ``jobs``, on ``part``, or on how often this was killed before.

    Raises
    ------
    StoreError
        If the place holds another recipe, or something that is not a store.
    DiskError
        If the disk refuses.
    IncompleteError
        If a worker process died.
    """
    dataset = store.create(place, plan)
    mine = range(part[0], dataset.layout.n_shards, part[1])
    made = store.made(dataset)
    todo = [shard for shard in mine if shard not in made]
    jobs = max(1, min(jobs or cpu_count(), len(todo)))
    begun = time.monotonic()
    failures: list[Failure] = []
    if todo:
        with _sigterm_raises(), one_thread(), _ticks(len(todo)) as ticks:
            with contextlib.suppress(Exception):  # a sample that fails is reported with its shard
                prepare(plan)
            begun = time.monotonic()
            job = Job(dataset, plan, simulate, ticks)
            failures = _run(job, todo, jobs=jobs, total=_samples(dataset, mine), progress=progress or Silent())
    seconds = time.monotonic() - begun
    missing = verify.missing_shards(dataset)
    if not missing and (todo or "statistics" not in dataset.attributes):
        store.finalise(dataset)
    fresh = _samples(dataset, todo) - _samples(dataset, [failure.shard for failure in failures])
    return Outcome(dataset, fresh, seconds, jobs, tuple(failures), tuple(missing), tuple(_notes(dataset)))


@dataclass(frozen=True)
class Measure:
    """What one sample takes on this machine, its writing included, and what one shard is on disk."""

    bytes_per_sample: float
    seconds_per_sample: float
    files_per_shard: int
    receipt_bytes: int


def measure(plan: Plan, samples: int) -> Measure:
    """Return what a sample of a plan takes, from a small dataset that is made and thrown away."""
    sample.prepare(plan)
    with tempfile.TemporaryDirectory(prefix="stmfab-check-") as folder:
        outcome = generate(dataclasses.replace(plan, samples=samples), Folder(Path(folder) / "check.zarr"), jobs=1)
        if outcome.failures:
            raise StmfabError(outcome.failures[0].traceback or outcome.failures[0].line)
        found = [store.receipt_of(outcome.store, shard) for shard in store.made(outcome.store)]
        receipt_bytes = outcome.store.place.size(receipts.name(0)) or 0
    total = sum(record.bytes for receipt in found for record in receipt.arrays.values())
    return Measure(total / samples, outcome.seconds / samples, len(found[0].arrays), receipt_bytes)


def _samples(dataset: Store, shards: range | list[int]) -> int:
    bounds = (dataset.layout.bounds(shard) for shard in shards)
    return sum(stop - start for start, stop in bounds)


def _notes(dataset: Store) -> Iterator[str]:
    """Yield what the user should know about a store shared with other machines."""
    ours, theirs = provenance.identity(), dataset.attributes["identity"]
    if ours["key"] != theirs["key"]:
        other = [
            f"{part} {theirs.get(part)} there, {ours[part]} here" for part in ours if theirs.get(part) != ours[part]
        ]
        yield "this machine computes with other last bits (1e-5 relative) than the store's creator: " + "; ".join(other)


def _run(job: Job, todo: list[int], *, jobs: int, total: int, progress: Progress) -> list[Failure]:
    """Make the shards of ``todo``; return those that failed. A disk that refuses ends the run at once."""
    there = total - _samples(job.store, todo)
    engine = _serial if jobs == 1 else _loky
    failures = []
    progress.start(there, total)
    try:
        for failure in engine(job, todo, jobs, lambda: progress.show(there + job.ticks.total())):
            if failure is not None and failure.disk:
                raise DiskError(failure.line)
            failures += [failure] if failure is not None else []
        progress.show(there + job.ticks.total())
    finally:
        progress.close()
    return failures


def _serial(job: Job, todo: list[int], jobs: int, poll: Callable[[], None]) -> Iterator[Failure | None]:
    """Make shards in this process, one after the other."""
    for slot, shard in enumerate(todo):
        yield make_shard(job, slot, shard, poll)


def _loky(job: Job, todo: list[int], jobs: int, poll: Callable[[], None]) -> Iterator[Failure | None]:
    """Make shards in worker processes; yield the outcomes as they come."""
    packed = pickle.dumps(job)
    with _pool(jobs) as pool, _death_is_incomplete(job.store):
        with _signals_kept_from_children():  # workers are spawned at the first submission
            tasks = ((slot, shard) for slot, shard in enumerate(todo))
            running = {pool.submit(_work, packed, *task) for task in islice(tasks, 2 * jobs)}
        while running:
            done: set[Future[Failure | None]]
            done, running = wait(running, timeout=POLL_s, return_when=FIRST_COMPLETED)
            poll()
            yield from (future.result() for future in done)
            running |= {pool.submit(_work, packed, *task) for task in islice(tasks, len(done))}


def _work(packed: bytes, slot: int, shard: int) -> Failure | None:
    """Make one shard in a worker."""
    return make_shard(_unpacked(packed), slot, shard, lambda: None)


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Job:
    job: Job = pickle.loads(packed)
    return job


def make_shard(job: Job, slot: int, shard: int, poll: Callable[[], None]) -> Failure | None:
    """Simulate and write one shard; return the failure, if any, instead of raising it: the others shall go on."""
    try:
        begun = time.monotonic()
        blocks = _simulated(job, slot, shard, poll)
        store.write_shard(job.store, shard, blocks, begun_s=begun)
    except Exception as error:
        job.ticks.set(slot, 0)
        words = "; ".join([str(error) or repr(error), *getattr(error, "__notes__", [])])
        return Failure(shard, words, _traceback(error), isinstance(error, DiskError))
    return None


def _traceback(error: Exception) -> str:
    """Return the traceback of a fault of ours; the user's mistakes, and numbers that went astray, have none."""
    return "" if isinstance(error, (StmfabError, ArithmeticError)) else "".join(traceback.format_exception(error))


def _simulated(job: Job, slot: int, shard: int, poll: Callable[[], None]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a shard, simulated batch by batch."""
    start, stop = job.store.layout.bounds(shard)
    blocks = {spec.name: np.empty((stop - start, *spec.shape), spec.dtype) for spec in job.store.layout.arrays}
    for first in range(start, stop, BATCH):
        last = min(first + BATCH, stop)
        arrays = job.simulate(job.plan, first, last)
        for name, block in blocks.items():
            batch = arrays[name]
            if batch.dtype != block.dtype or batch.shape != (last - first, *block.shape[1:]):
                raise ValueError(
                    f"{name}: simulated {batch.dtype}{batch.shape}, declared {block.dtype}{block.shape[1:]}"
                )
            block[first - start : last - start] = batch
        job.ticks.set(slot, last - start)
        poll()
    return blocks


@contextlib.contextmanager
def _ticks(slots: int) -> Iterator[Ticks]:
    with tempfile.NamedTemporaryFile(prefix="stmfab-progress-") as file:
        file.write(bytes(8 * slots))
        file.flush()
        yield Ticks(Path(file.name))


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of workers that is gone afterwards: at leisure after the last task, at once after an exception."""
    others = set(active_children())
    pool = ProcessPoolExecutor(jobs, env=ONE_THREAD, initializer=_die_with_parent, initargs=(os.getpid(),))
    try:
        yield pool
    except BaseException:
        for worker in set(active_children()) - others:
            if worker.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
        pool.shutdown(wait=False, kill_workers=True)
        raise
    pool.shutdown(wait=True)


@contextlib.contextmanager
def _death_is_incomplete(dataset: Store) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise IncompleteError(
            f"{dataset}: a worker process died (killed? out of memory?); the same command goes on from here"
        ) from error


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this worker when its parent goes, however it goes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it went before we could ask


@contextlib.contextmanager
def _signals_kept_from_children() -> Iterator[None]:
    """Block SIGINT and SIGTERM while workers are spawned: they inherit it, and only the parent answers Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that workers and temporary files are cleared away before we go."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a batch system may tell us, and our parent may pass it on
    raise Terminated
