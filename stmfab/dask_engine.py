"""Shards made by a dask cluster: one of this machine, started for the run, or one that is there already.

A worker has one shard at a time, which dask hands to no other. As in ``workers``, a shard whose worker dies is tried
again alone, when all others are done, sample by sample.
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
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, resource_tracker
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from . import scratch, workers
from ._threads import one_thread
from .errors import IncompleteError, StmfabError
from .place import Folder
from .workers import Death, Elsewhere, Engine, Failure, Job, POLL_s, Result, Results, Task, Ticks

if TYPE_CHECKING:
    import distributed

CONNECT_s = 5  # to a scheduler that should be there
CLOSE_s = 1  # for the last words to a cluster
DEATHS = 10  # of workers, and one more each, while not a single shard is done
LOST = "dask lost it"  # how a worker died, where no more is known

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


def n_workers(scheduler: str) -> int:
    """Return the number of workers of a cluster at this moment, at least one.

    Raises
    ------
    StmfabError
        If there is none at the address.
    """
    with _client(scheduler) as client:
        return max(1, len(client.nthreads()))


def _there(address: str, job: Job, todo: list[int], jobs: int, poll: Callable[[], None]) -> Results:
    """Make shards on the cluster of an address; yield the results as they come."""
    with _client(address) as client:
        passed = partial(_passed, client, job, _portable(job), poll=poll, died=_lost)
        yield from workers.tried_twice(job, todo, jobs, passed, _given_up)


def _here(job: Job, todo: list[int], jobs: int, poll: Callable[[], None]) -> Results:
    """Make shards on a cluster of this machine; yield the results as they come."""
    with _crew(jobs) as crew, _client(crew.address) as client:

        def look() -> None:
            crew.fill()
            poll()

        passed = partial(_passed, client, job, job, poll=look, died=crew.died)
        for result in workers.tried_twice(job, todo, jobs, passed, workers.given_up):
            if not isinstance(result, Death):
                crew.deaths = 0
            yield result


def _portable(job: Job) -> Job:
    """Return a job that means the same on other machines: an absolute folder, and no file of ticks."""
    place = job.store.place
    place = Folder(place.root.absolute()) if isinstance(place, Folder) else place
    return dataclasses.replace(job, store=dataclasses.replace(job.store, place=place), ticks=Ticks(Path(os.devnull)))


def _lost(shard: int, address: str) -> Death:
    """Return the death of a worker that may have run anywhere."""
    return Death(shard, LOST, "")


def _given_up(job: Job, slot: int, shard: int, death: Death) -> Failure:
    """Return the failure of a shard that took a second worker, who could not tell how far it was."""
    return workers.failed(job, slot, shard, line=f"the worker process died twice: {death.how}", trace="")


def _work(packed: bytes, slot: int, shard: int, batch: int) -> Result:
    """Make one shard in a worker; one at a time, for the threads of BLAS belong to the whole process."""
    with _turn, one_thread():
        return workers.work(packed, slot, shard, batch)


def _passed(
    client: distributed.Client,
    job: Job,
    sent: Job,
    tasks: Iterable[Task],
    *,
    jobs: int,
    batch: int,
    poll: Callable[[], None],
    died: Callable[[int, str], Death],
) -> Iterator[tuple[Task, Result]]:
    """Give each task to the next idle worker of a cluster, to ``jobs`` at most; yield what became of it.

    ``sent`` is the job as the workers get it, ``died`` tells how the worker of a shard at an address did.

    Raises
    ------
    IncompleteError
        If the cluster is gone, or cannot do such work.
    """
    packed = pickle.dumps(sent)
    waiting = iter(tasks)
    running: dict[str, tuple[Task, Future]] = {}
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()
    while True:
        poll()
        there = _workers(client, job)
        idle = sorted(there - running.keys())[: jobs - len(running)]
        for address, task in zip(idle, waiting, strict=False):
            future = client.submit(_work, packed, *task, batch, workers=[address], pure=False)
            future.add_done_callback(lambda _: ended.put(None))
            running[address] = (task, future)
        over = [address for address, (_, future) in running.items() if future.done() or address not in there]
        for address in over:
            task, future = running.pop(address)
            yield task, _result(job, task, future, partial(died, task[1], address))
        if not over:
            if there and not running:
                return
            with contextlib.suppress(queue.Empty):
                ended.get(timeout=POLL_s)


def _workers(client: distributed.Client, job: Job) -> set[str]:
    """Return the addresses of a cluster's workers.

    Raises
    ------
    IncompleteError
        If the cluster is gone.
    """
    try:
        return set(client.nthreads())
    except (OSError, AttributeError) as error:  # the latter from a client that has closed itself
        raise IncompleteError(f"{job.store}: the dask cluster is gone; the same command goes on from here") from error


def _result(job: Job, task: Task, future: Future, lost: Callable[[], Death]) -> Result:
    """Return what became of a shard whose work is over or whose worker is gone; count its samples.

    Raises
    ------
    IncompleteError
        If the cluster cannot do such work.
    """
    from distributed import KilledWorker

    slot, shard = task
    if future.status == "finished":
        with contextlib.suppress(OSError, CancelledError):  # the worker may go before it has told its result
            result: Result = future.result(timeout=CONNECT_s)
            if result is None or isinstance(result, Elsewhere):
                start, stop = job.store.layout.bounds(shard)
                job.ticks.set(slot, stop - start)
            return result
    elif future.status == "error" and not isinstance(error := future.exception(), KilledWorker):
        raise IncompleteError(f"{job.store}: a dask worker cannot make shards: {error!r}") from error
    return lost()


@contextlib.contextmanager
def _client(address: str) -> Iterator[distributed.Client]:
    """Give a connection to a cluster.

    Raises
    ------
    StmfabError
        If there is none at the address.
    """
    import distributed

    _silence()
    try:
        asyncio.run(_answer(address))  # a client that found nobody says so again when it is collected
        with workers.signals_kept_from_children():  # interrupted halfway, it could not be closed
            client = distributed.Client(address, timeout=CONNECT_s, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StmfabError(f"--scheduler {address}: no dask scheduler answers there") from error
    try:
        yield client
    finally:
        with contextlib.suppress(OSError):
            client.close(timeout=CLOSE_s)


def _silence() -> None:
    """Keep to ourselves what dask says of deaths and lost connections: we say it in a line."""
    for name in ("distributed", "distributed.client"):  # the second has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)


async def _answer(address: str) -> None:
    """Wait until a scheduler answers at an address.

    Raises
    ------
    OSError
        If none does.
    ValueError
        If it is no address.
    """
    from distributed.comm.core import connect
    from distributed.security import Security

    comm = await connect(address, timeout=CONNECT_s, **Security().get_connection_args("client"))
    await comm.close()


@dataclass
class Crew:
    """The worker processes of a cluster of this machine, of one thread each."""

    address: str
    folder: Path
    jobs: int
    members: list[SpawnProcess] = dataclasses.field(default_factory=list)
    buried: list[SpawnProcess] = dataclasses.field(default_factory=list)
    deaths: int = 0  # since a shard was last done

    def died(self, shard: int, address: str) -> Death:
        """Return how the worker at an address died, at which shard it was, and what it could still write down."""
        for member in (*self.members, *self.buried):
            found = self.folder / f"{member.pid}.address"
            if found.exists() and found.read_text() == address:
                member.join(CLOSE_s)
                trace = (self.folder / f"{member.pid}.crash").read_text(errors="replace")
                return Death(shard, _ending(member.exitcode), trace)
        return _lost(shard, address)

    def fill(self) -> None:
        """Start workers in place of those that are not there.

        Raises
        ------
        IncompleteError
            If they die and nothing gets done.
        """
        alive = [member for member in self.members if member.is_alive()]
        dead = [member for member in self.members if member not in alive]
        self.deaths += len(dead)
        self.buried += dead
        if self.deaths > DEATHS + self.jobs:
            raise IncompleteError("the workers die faster than they work (killed? out of memory?)")
        with workers.signals_kept_from_children():
            new = [self._member() for _ in range(self.jobs - len(alive))]
        self.members = alive + new

    def _member(self) -> SpawnProcess:
        arguments = (self.address, self.folder, os.getpid())
        member = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments, daemon=True)
        member.start()
        return member


def _ending(code: int | None) -> str:
    """Return how a process ended, such as SIGKILL(-9) or EXIT(1)."""
    if code is None:
        return LOST
    return f"{signal.Signals(-code).name if code < 0 else 'EXIT'}({code})"


def _serve(address: str, folder: Path, parent: int) -> None:
    """Be a worker until the scheduler or the parent process is gone."""
    workers.begin_life(parent, str(folder / f"{os.getpid()}.crash"))  # first: without a parent, the folder goes too
    import distributed

    async def work() -> None:
        _silence()
        async with distributed.Worker(
            address, nthreads=1, memory_limit=0, dashboard=False, local_directory=str(folder)
        ) as worker:
            (folder / f"{os.getpid()}.address").write_text(worker.address)
            await worker.finished()

    asyncio.run(work())


@contextlib.contextmanager
def _crew(jobs: int) -> Iterator[Crew]:
    """Give a scheduler and workers that are gone afterwards, at once."""
    import distributed

    others: set[BaseProcess] = set(active_children())
    resource_tracker.ensure_running()  # or its start would let the signals through that are kept from the workers
    with scratch.folder("dask") as folder:
        with workers.signals_kept_from_children():
            cluster = distributed.LocalCluster(
                n_workers=0,
                processes=True,
                host="127.0.0.1",
                silence_logs=logging.CRITICAL,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            )
        try:
            yield Crew(cluster.scheduler_address, folder, jobs)
        finally:
            workers.kill_children(others)
            with contextlib.suppress(Exception):  # of a cluster without workers nothing is wanted any more
                cluster.close(timeout=CLOSE_s)
