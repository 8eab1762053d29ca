"""From a plan to a full store: shards handed to workers, resumed after anything, shared out over the parts of a job.

One shard is one task is one receipt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from . import provenance, receipts, sample, scratch, store, tables, upkeep, verify, workers
from ._signals import interruptible, raise_again
from ._threads import one_thread
from .bucket import Place
from .errors import DiskError, NotKeptError, StmfabError, StoreError
from .place import Folder
from .plan import Plan
from .progress import Progress, Silent
from .store import Store
from .verify import Fault
from .workers import Death, Elsewhere, Engine, Failure, Job, Result, Simulate, Ticks

LISTED = 8  # shards named in a note


@dataclass(frozen=True)
class Outcome:
    """What a run did: samples made now, how long it took, what failed, and which shards the store still lacks.

    ``damaged`` is what a glance at a store without missing shards found: a file gone, or of another length.
    """

    store: Store
    made: int
    seconds: float
    jobs: int
    failures: tuple[Failure, ...]
    missing: tuple[int, ...]
    damaged: tuple[Fault, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Tally:
    """The shards of a run that were not simply made."""

    failures: list[Failure] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    elsewhere: list[Elsewhere] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count what became of a shard.

        Raises
        ------
        DiskError
            If the disk refused it: it would refuse the others too.
        """
        match result:
            case Failure(disk=True):
                raise DiskError(result.line)
            case Failure():
                self.failures.append(result)
            case Death():
                self.deaths.append(result)
            case Elsewhere():
                self.elsewhere.append(result)

    @property
    def not_made(self) -> list[int]:
        """Return the shards that this run did not make in the end."""
        return [failure.shard for failure in self.failures] + [other.shard for other in self.elsewhere]


def generate(
    plan: Plan,
    place: Place,
    *,
    jobs: int | None = None,
    part: tuple[int, int] = (0, 1),
    repair: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
    engine: Engine | None = None,
    prepare: Callable[[Plan], Mapping[str, NDArray[Any]] | None] = sample.prepare,
    simulate: Simulate = sample.simulate,
) -> Outcome:
    """Make what a store still lacks of a plan, or of part ``k`` of ``n`` of it; return what was done.

    The samples do not depend on ``jobs``, on ``part``, on ``engine`` (None: this process, or workers of this machine),
    or on how often this was killed before. ``repair`` reads all that is there and makes damaged shards again;
    ``strict`` wants the arithmetic of the machine that began the store.

    Raises
    ------
    StoreError
        If the place holds another recipe, a store of another version, or something that is not a store; if ``strict``
        and this machine computes with other last bits.
    DiskError
        If the disk refuses, or clearly has no room.
    DamagedError
        If a receipt is damaged, or ``repair`` cannot mend the metadata.
    NotKeptError
        If the recipe keeps no draw of its first sample; no store is begun then.
    """
    if plan.keep and not place.exists():
        _prepared(plan, prepare)
    dataset = store.create(place, plan)
    notes = list(_machine_notes(dataset))
    if strict and notes:
        raise StoreError(f"{dataset}: {notes[0]}")
    mine = range(part[0], dataset.layout.n_shards, part[1])
    if repair:
        notes += _repair_notes(upkeep.repair(dataset, plan, mine))
    made = store.made(dataset)
    todo = _own_order(shard for shard in mine if shard not in made)
    upkeep.sweep(dataset, mine if repair else todo)
    jobs = max(1, min(jobs or workers.cores(), len(todo)))
    begun = time.monotonic()
    tally = Tally()
    if todo:
        with interruptible(), one_thread(), tables.for_workers(), _ticks(len(todo)) as ticks:
            first = _prepared(plan, prepare)
            upkeep.check_room(dataset, todo, first)
            begun = time.monotonic()
            job = Job(dataset, plan, simulate, ticks)
            engine = engine or (workers.serial if jobs == 1 else workers.loky)
            total = _samples(dataset, mine)
            tally = _run(job, todo, engine=engine, jobs=jobs, total=total, progress=progress or Silent())
    seconds = time.monotonic() - begun
    missing = verify.missing_shards(dataset)
    damaged = [] if missing else verify.glance(dataset)
    if not missing and not damaged and (todo or "statistics" not in dataset.attributes):
        store.finalise(dataset)
    return Outcome(
        store=dataset,
        made=_samples(dataset, todo) - _samples(dataset, tally.not_made),
        seconds=seconds,
        jobs=jobs,
        failures=tuple(tally.failures),
        missing=tuple(missing),
        damaged=tuple(damaged),
        notes=(*notes, *_death_notes(tally.deaths)),
    )


def _own_order(shards: Iterable[int]) -> list[int]:
    """Return shards in an order of this run's own, so that two runs on one store seldom make the same one at once."""
    who = f"{provenance.host()} {os.getpid()}"
    return sorted(shards, key=lambda shard: provenance.sha256(f"{who} {shard}".encode()))


def _prepared(plan: Plan, prepare: Callable[[Plan], Mapping[str, NDArray[Any]] | None]) -> Any:
    """Return the first sample's arrays; None if it fails, which is reported with its shard.

    Raises
    ------
    NotKeptError
        If the recipe keeps none of its draws: the dataset could never be whole.
    """
    try:
        return prepare(plan)
    except NotKeptError:
        raise
    except Exception:
        return None


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
    with scratch.folder("check") as folder:
        outcome = generate(dataclasses.replace(plan, samples=samples), Folder(folder / "check.zarr"), jobs=1)
        if outcome.failures:
            raise StmfabError(outcome.failures[0].traceback or outcome.failures[0].line)
        found = [store.receipt_of(outcome.store, shard) for shard in store.made(outcome.store)]
        receipt_bytes = outcome.store.place.size(receipts.name(0)) or 0
    total = sum(record.bytes for receipt in found for record in receipt.arrays.values())
    return Measure(total / samples, outcome.seconds / samples, len(found[0].arrays), receipt_bytes)


def _samples(dataset: Store, shards: Iterable[int]) -> int:
    bounds = (dataset.layout.bounds(shard) for shard in shards)
    return sum(stop - start for start, stop in bounds)


def _machine_notes(dataset: Store) -> Iterator[str]:
    """Yield what the user should know about a store shared with other machines."""
    ours, theirs = provenance.identity(), dataset.attributes["identity"]
    if ours["key"] != theirs["key"]:
        other = [
            f"{part} {theirs.get(part)} there, {ours[part]} here" for part in ours if theirs.get(part) != ours[part]
        ]
        yield "this machine computes with other last bits (1e-5 relative) than the store's creator: " + "; ".join(other)


def _repair_notes(damaged: list[int]) -> Iterator[str]:
    if damaged:
        yield f"{len(damaged)} damaged shards are made again: {_listed(damaged)}"


def _death_notes(deaths: list[Death]) -> Iterator[str]:
    if deaths:
        ways = ", ".join(sorted({death.how for death in deaths}))
        shards = _listed([death.shard for death in deaths])
        yield f"{len(deaths)} worker processes died ({ways}); the shards they were at were tried again alone: {shards}"


def _listed(shards: list[int]) -> str:
    more = f" and {len(shards) - LISTED} more" if len(shards) > LISTED else ""
    return ", ".join(map(str, shards[:LISTED])) + more


def _run(job: Job, todo: list[int], *, engine: Engine, jobs: int, total: int, progress: Progress) -> Tally:
    """Make the shards of ``todo``; return what became of those not simply made. A disk that refuses ends the run."""
    there = total - _samples(job.store, todo)
    tally = Tally()

    def poll() -> None:
        raise_again()
        progress.show(there + job.ticks.total())

    progress.start(there, total)
    try:
        with contextlib.closing(engine(job, todo, jobs, poll)) as results:
            for result in results:
                tally.add(result)
        progress.show(there + job.ticks.total())
    finally:
        progress.close()
    return tally


@contextlib.contextmanager
def _ticks(slots: int) -> Iterator[Ticks]:
    with scratch.folder("run") as folder:
        path = folder / "progress"
        path.write_bytes(bytes(8 * slots))
        yield Ticks(path)
