"""Shards made by a dask cluster: one of this machine, started for the run, or one that is there already.

Workers that die are replaced and dask hands their shards to others, where the pool of ``factory`` gives up.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import multiprocessing
import os
import pickle
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import active_children, resource_tracker
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from . import factory
from ._threads import one_thread
from .errors import IncompleteError, StmfabError
from .factory import Engine, Failure, Job, POLL_s, Ticks
from .place import Folder

if TYPE_CHECKING:
    import distributed

CONNECT_s = 5  # to a scheduler that should be there
CLOSE_s = 1  # for the last words to a cluster
DEATHS = 2  # of a shard's workers, before it is put aside
DEATHS_OF_ALL = 10  # workers, and one more each, while not a single shard is done

Task: TypeAlias = tuple[int, int]  # a slot of the ticks, and its shard
Future: TypeAlias = "distributed.Future[Any]"
_turn = threading.Lock()


def engine(scheduler: str | None) -> Engine:
    """Return the engine over the cluster at a scheduler's address; None starts one on this machine.

    Raises
    ------
    StmfabError
        If dask is not installed.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise StmfabError("--backend dask needs dask: pip install 'stmfab[dask]'") from error
    return partial(_there, scheduler) if scheduler else _here


def _there(address: str, job: Job, todo: list[int], jobs: int, poll: Callable[[], None]) -> Iterator[Failure | None]:
    """Make shards on the cluster of an address; yield the outcomes as they come.

    A shard whose workers die is put aside and made at the end, alone: one that shared their queue is not to blame.
    """
    packed = pickle.dumps(_portable(job))
    aside = []
    with _client(address) as client:
        submit = partial(client.submit, _work, packed, pure=False)
        width = 2 * max(jobs, sum(client.nthreads().values()))
        for task, future in _completed(submit, enumerate(todo), width=width, poll=poll):
            if _killed(future):
                aside.append(task)
            else:
                yield _outcome(job, task, future)
        for task, future in _completed(submit, aside, width=1, poll=poll):
            yield _outcome(job, task, future)


def _here(job: Job, todo: list[int], jobs: int, poll: Callable[[], None]) -> Iterator[Failure | None]:
    """Make shards on a cluster of this machine; yield the outcomes as they come."""
    with _crew(jobs) as crew:

        def look() -> None:
            crew.fill()
            poll()

        for outcome in _there(crew.address, job, todo, jobs, look):
            crew.deaths = 0
            yield outcome


def _portable(job: Job) -> Job:
    """Return a job that means the same on other machines: an absolute folder, and no file of ticks."""
    place = job.store.place
    place = Folder(place.root.absolute()) if isinstance(place, Folder) else place
    return dataclasses.replace(job, store=dataclasses.replace(job.store, place=place), ticks=Ticks(Path(os.devnull)))


def _work(packed: bytes, slot: int, shard: int) -> Failure | None:
    """Make one shard in a worker; one at a time, for the threads of BLAS belong to the whole process."""
    with _turn, one_thread():
        return factory.work(packed, slot, shard)


def _completed(
    submit: Callable[..., Future], tasks: Iterable[Task], *, width: int, poll: Callable[[], None]
) -> Iterator[tuple[Task, Future]]:
    """Yield tasks as they end, with ``width`` of them on their way."""
    done: queue.SimpleQueue[Task] = queue.SimpleQueue()
    left = iter(tasks)
    running: dict[Task, Future] = {}

    def start(count: int) -> None:
        for task in islice(left, count):
            running[task] = submit(*task)
            running[task].add_done_callback(lambda _, task=task: done.put(task))

    start(width)
    while running:
        poll()
        try:
            task = done.get(timeout=POLL_s)
        except queue.Empty:
            continue
        future = running.pop(task)
        start(1)
        yield task, future


def _killed(future: Future) -> bool:
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _outcome(job: Job, task: Task, future: Future) -> Failure | None:
    """Return what became of a shard, and count its samples.

    Raises
    ------
    IncompleteError
        If the cluster is gone.
    """
    slot, shard = task
    if _killed(future):
        return Failure(shard, "its workers died again and again (killed? out of memory?)", "", disk=False)
    if future.status == "error":
        return Failure(shard, str(future.exception()), _traceback(future), disk=False)
    if future.status != "finished":
        raise IncompleteError(f"{job.store}: the dask cluster is gone; the same command goes on from here")
    failure: Failure | None = future.result()
    if failure is None:
        start, stop = job.store.layout.bounds(shard)
        job.ticks.set(slot, stop - start)
    return failure


def _traceback(future: Future) -> str:
    import traceback

    return "".join(traceback.format_exception(future.exception()))


@contextlib.contextmanager
def _client(address: str) -> Iterator[distributed.Client]:
    """Give a connection to a cluster.

    Raises
    ------
    StmfabError
        If there is none at the address.
    """
    import distributed

    try:
        with factory.signals_kept_from_children():  # interrupted halfway, it could not be closed
            client = distributed.Client(address, timeout=CONNECT_s, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StmfabError(f"--scheduler {address}: no dask scheduler answers there") from error
    try:
        yield client
    finally:
        client.close(timeout=CLOSE_s)


@dataclass
class Crew:
    """The worker processes of a cluster of this machine, of one thread each."""

    address: str
    folder: str
    jobs: int
    members: list[SpawnProcess] = dataclasses.field(default_factory=list)
    deaths: int = 0  # since a shard was last done

    def fill(self) -> None:
        """Start workers in place of those that are not there.

        Raises
        ------
        IncompleteError
            If they die and nothing gets done.
        """
        alive = [member for member in self.members if member.is_alive()]
        self.deaths += len(self.members) - len(alive)
        if self.deaths > DEATHS_OF_ALL + self.jobs:
            raise IncompleteError("the workers die faster than they work (killed? out of memory?)")
        with factory.signals_kept_from_children():
            new = [self._member() for _ in range(self.jobs - len(alive))]
        self.members = alive + new

    def _member(self) -> SpawnProcess:
        arguments = (self.address, self.folder, os.getpid())
        member = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments, daemon=True)
        member.start()
        return member


def _serve(address: str, folder: str, parent: int) -> None:
    """Be a worker until the scheduler or the parent process is gone."""
    factory.die_with_parent(parent)
    import distributed

    async def work() -> None:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        async with distributed.Worker(
            address, nthreads=1, memory_limit=0, dashboard=False, local_directory=folder
        ) as worker:
            await worker.finished()

    asyncio.run(work())


@contextlib.contextmanager
def _crew(jobs: int) -> Iterator[Crew]:
    """Give a scheduler and workers that are gone afterwards, at once."""
    import distributed

    others: set[BaseProcess] = set(active_children())
    resource_tracker.ensure_running()  # or its start would let the signals through that are kept from the workers
    with tempfile.TemporaryDirectory(prefix="stmfab-dask-", ignore_cleanup_errors=True) as folder:
        with factory.signals_kept_from_children():
            cluster = distributed.LocalCluster(
                n_workers=0,
                processes=True,
                host="127.0.0.1",
                silence_logs=logging.CRITICAL,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0", "allowed_failures": DEATHS - 1},
            )
        try:
            yield Crew(cluster.scheduler_address, folder, jobs)
        finally:
            factory.kill_children(others)
            with contextlib.suppress(Exception):  # of a cluster without workers nothing is wanted any more
                cluster.close(timeout=CLOSE_s)
