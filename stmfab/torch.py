"""Datasets as PyTorch takes them: a store by sample or by shard, or a recipe whose samples are made as they are needed.

``Dataset`` is map-style, for what fits into memory or needs no haste; ``Shards`` reads whole shards in shuffled order;
``Stream`` simulates. Each item is (inputs, targets): float32 of shape (n_names, n_rows, n_cols), in the store's units,
or of shape (n_names,) where the names are those of parameters. An image of several junctions is as many channels;
``topography.filled`` is that of one. Under a ``DataLoader`` all three work with any number of
workers, by fork or by spawn, and no sample comes twice or is lost.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _threads, coded, report, sample, splits, streams
from . import store as stores
from .bucket import at
from .errors import StmfabError, did_you_mean
from .layout import apart
from .loaded import BATCH, Recipe, load
from .physics.arrays import ArraySpec
from .store import Store

try:
    import torch
    from torch.utils import data
except ImportError as error:
    raise StmfabError("stmfab.torch needs PyTorch: pip install 'stmfab[torch]'") from error

_threads.give_back(torch.get_num_threads, torch.set_num_threads)

MOST_WORKERS = 1024  # that share a stream
Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Chosen:
    """Some images, or some parameters, of each sample as one tensor: (value - offset) / scale, name by name."""

    names: tuple[str, ...]
    units: Mapping[str, str]
    specs: tuple[ArraySpec, ...]  # of the images
    columns: tuple[int, ...] | None  # of ``param``; None for images
    offsets: tuple[float, ...]
    scales: tuple[float, ...]

    @property
    def arrays(self) -> tuple[str, ...]:
        """Return the arrays that are read."""
        return tuple(spec.name for spec in self.specs) if self.columns is None else ("param",)

    def of(self, arrays: Mapping[str, NDArray[Any]]) -> torch.Tensor:
        """Return the tensor (n_samples, n_names, ...) of some samples."""
        if self.columns is None:
            images = apart(self.specs, arrays)
            values = np.stack([images[name] for name in self.names], axis=1)
        else:
            values = arrays["param"][:, self.columns]
        ends = (len(self.names),) + (1,) * (values.ndim - 2)
        scaled = (values - np.reshape(self.offsets, ends)) / np.reshape(self.scales, ends)
        return torch.from_numpy(scaled.astype(np.float32))


def chosen(
    names: Sequence[str],
    specs: Sequence[ArraySpec],
    columns: Sequence[Mapping[str, Any]],
    statistics: Mapping[str, tuple[float, float]],
) -> Chosen:
    """Return what some names choose; ``statistics`` holds the mean and deviation of those to be standardised.

    Raises
    ------
    StmfabError
        If there is no such image or parameter, or both kinds are asked for at once.
    """
    whole = {spec.name: tuple(spec.apart()) for spec in specs if spec.is_image}
    names = [one for name in names for one in whole.get(name, (name,))]
    images = {one: spec.unit for spec in specs if spec.is_image for one in spec.apart()}
    drawn = {column["name"]: column["unit"] for column in columns}
    if not names:
        raise StmfabError("no input or target is named")
    for name in names:
        if name not in images | drawn:
            raise StmfabError(f"{name!r}: no such image or parameter{did_you_mean(name, [*whole, *images, *drawn])}")
    kinds = {name in images for name in names}
    if len(kinds) > 1:
        raise StmfabError(f"{', '.join(names)}: images and parameters do not fit into one tensor")
    scaling = [statistics.get(name, statistics.get(_array_of(name), (0.0, 1.0))) for name in names]
    return Chosen(
        names=tuple(names),
        units={name: (images | drawn)[name] for name in names},
        specs=tuple(spec for spec in specs if spec.is_image and {*spec.apart()} & {*names}),
        columns=None if kinds == {True} else tuple(list(drawn).index(name) for name in names),
        offsets=tuple(mean for mean, _ in scaling),
        scales=tuple(deviation for _, deviation in scaling),
    )


def _array_of(image: str) -> str:
    """Return the name of the array that holds an image, of several junctions or one."""
    return image.partition(".")[0]


def _statistics(store: Store, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the mean and deviation that a store states for each of some images.

    Raises
    ------
    StmfabError
        If it states none: it is not complete, there is no such image, or the image never varies.
    """
    found: dict[str, dict[str, float]] = store.attributes.get("statistics", {})
    if names and not found:
        raise StmfabError(f"{store}: has no channel means yet; they are written when it is complete")
    out = {}
    for name in names:
        known = found.get(_array_of(name))
        if known is None or not store.layout.array(_array_of(name)).is_image:
            raise StmfabError(f"{store}: {name!r}: no such image to standardise{did_you_mean(name, found)}")
        if not known["deviation"]:
            raise StmfabError(f"{store}: {name} never varies: it cannot be standardised")
        out[name] = (known["mean"], known["deviation"])
    return out


@dataclass(frozen=True)
class View:
    """What of a store is asked for: which samples, and which inputs and targets of each."""

    store: Store
    inputs: Chosen
    targets: Chosen
    split: str | None

    @functools.cached_property
    def shards(self) -> list[NDArray[np.int64]]:
        """Return the sample indices of each shard that has been made and has any."""
        made = (np.arange(*self.store.layout.bounds(shard)) for shard in sorted(stores.made(self.store)))
        return [found for indices in made if len(found := splits.members(indices, self.split))]

    def of(self, arrays: Mapping[str, NDArray[Any]]) -> Pair:
        """Return inputs and targets of some samples."""
        return self.inputs.of(arrays), self.targets.of(arrays)

    def shard(self, indices: NDArray[np.int64]) -> Pair:
        """Return inputs and targets of some samples of one shard, which is read whole."""
        start, stop = int(indices[0]), int(indices[-1]) + 1
        return self.of({name: stores.read(self.store, name, start, stop)[indices - start] for name in self._arrays})

    def samples(self, indices: Sequence[int]) -> Pair:
        """Return inputs and targets of some samples, wherever they are."""
        return self.of({name: np.concatenate(stores.read_each(self.store, name, indices)) for name in self._arrays})

    @property
    def _arrays(self) -> set[str]:
        return {*self.inputs.arrays, *self.targets.arrays}


def _view(
    path: str | Path,
    inputs: Sequence[str],
    targets: Sequence[str] | None,
    split: str | None,
    standardise: Sequence[str],
) -> View:
    store = stores.open_store(at(path))
    scales = _statistics(store, standardise)
    specs, columns = store.layout.arrays, report.columns(store)
    targets = _all_targets(specs) if targets is None else targets
    return View(store, chosen(inputs, specs, columns, scales), chosen(targets, specs, columns, scales), split)


def _all_targets(specs: Sequence[ArraySpec]) -> list[str]:
    return [spec.name for spec in specs if spec.role == "target"]


class Dataset(data.Dataset[Pair]):
    """The samples of a store, one by one: ``dataset[i]`` is (inputs, targets) of sample ``dataset.indices[i]``.

    A sample's chunk is decoded for it alone (32 samples at 64 x 64): for a set that fits into memory ask ``in_memory``,
    for a larger one use ``Shards``.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        inputs: Sequence[str] = ("topography",),
        targets: Sequence[str] | None = None,
        split: str | None = None,
        standardise: Sequence[str] = (),
        in_memory: bool = False,
    ) -> None:
        """Open a store.

        Parameters
        ----------
        store : str or Path
            A folder, or s3://BUCKET/NAME. Samples not made yet are absent.
        inputs, targets : sequences of str
            Images by their names, or parameters by theirs; ``targets`` None: every target of the store.
        split : str, optional
            train, val or test, as the store states them; None: all samples.
        standardise : sequence of str
            Images to be given as (value - mean) / deviation, by the store's statistics; all else keeps its unit.
        in_memory : bool
            Read everything now.

        Raises
        ------
        StmfabError
            If a name is not in the store, or what is asked is not there.
        """
        self.view = _view(store, inputs, targets, split, standardise)
        self.indices = np.concatenate([np.empty(0, np.int64), *self.view.shards])
        self.units = {**self.view.inputs.units, **self.view.targets.units}
        self.held = self._read() if in_memory and len(self) else None

    def _read(self) -> Pair:
        inputs, targets = zip(*map(self.view.shard, self.view.shards), strict=True)
        return torch.cat(inputs), torch.cat(targets)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.indices)

    def __getitem__(self, place: int) -> Pair:
        """Return inputs and targets of the sample at a place."""
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return self.__getitems__([place])[0]

    def __getitems__(self, places: list[int]) -> list[Pair]:
        """Return inputs and targets of the samples at some places: what a ``DataLoader`` asks for a batch."""
        if self.held is not None:
            return [(self.held[0][place], self.held[1][place]) for place in places]
        inputs, targets = self.view.samples([int(self.indices[place]) for place in places])
        return list(zip(inputs, targets, strict=True))


class Shards(data.IterableDataset[Pair]):
    """The samples of a store in an order that ``seed`` and the epoch shuffle: shards, and the samples within each.

    Workers of a ``DataLoader`` take shards in turn; ``part`` (k, n) leaves all but every n-th shard to other processes.
    The order within a worker depends on seed, epoch and the number of workers only. Give the ``DataLoader`` no shuffle.
    """

    def __init__(
        self,
        store: str | Path,
        *,
        inputs: Sequence[str] = ("topography",),
        targets: Sequence[str] | None = None,
        split: str | None = None,
        standardise: Sequence[str] = (),
        seed: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Open a store; parameters and errors as of ``Dataset``."""
        self.view = _view(store, inputs, targets, split, standardise)
        self.units = {**self.view.inputs.units, **self.view.targets.units}
        self.seed, self.part = seed, part
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers see it change

    @property
    def n_samples(self) -> int:
        """Return the number of samples of one epoch, over all parts and workers."""
        return sum(map(len, self.view.shards))

    def set_epoch(self, epoch: int) -> None:
        """Shuffle the next pass as that of another epoch."""
        self.epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Pair]:
        """Yield inputs and targets of this worker's samples."""
        epoch, (k, n_parts) = int(self.epoch), self.part
        order = streams.stream(self.seed, epoch, "torch.shards").permutation(len(self.view.shards))[k::n_parts]
        worker, n_workers = _worker()
        for place in order[worker::n_workers]:
            indices = self.view.shards[place]
            inputs, targets = self.view.shard(indices)
            rng = streams.stream(self.seed, epoch, f"torch.samples {indices[0]}")
            for row in rng.permutation(len(indices)):
                yield inputs[row], targets[row]


class Stream(data.IterableDataset[Pair]):
    """The samples of a recipe, simulated one after the other without end; none comes twice.

    Sample indices are taken in blocks, in turn by the workers of a ``DataLoader``. Only those of ``split`` are made, so
    that what a store of the same recipe tests on is never trained on. A pass is endless: an epoch is as many batches as
    you take; another pass over the same object goes on behind the last.
    """

    def __init__(
        self,
        recipe: str | Path | Recipe,
        *,
        inputs: Sequence[str] = ("topography",),
        targets: Sequence[str] | None = None,
        split: str | None = "train",
        start: int = 0,
    ) -> None:
        """Make ready to simulate a recipe, a file, a built-in one's name, or a loaded one, from index ``start`` on.

        Raises
        ------
        RecipeError
            With every fault of the recipe.
        StmfabError
            If a name is none of the recipe's.
        """
        self.plan = recipe.plan if isinstance(recipe, Recipe) else load(str(recipe)).plan
        specs, columns = self.plan.arrays, coded.columns(self.plan)
        self.inputs = chosen(inputs, specs, columns, {})
        self.targets = chosen(_all_targets(specs) if targets is None else targets, specs, columns, {})
        self.units = {**self.inputs.units, **self.targets.units}
        self.split, self.start = split, start
        splits.members(np.empty(0, np.int64), split)
        self.cursor = Cursor()
        sample.prepare(self.plan)

    def __iter__(self) -> Iterator[Pair]:
        """Yield inputs and targets of this worker's samples, for ever."""
        worker, n_workers = _worker()
        return self._from(self.cursor.begin(worker) + worker, n_workers)

    def _from(self, block: int, step: int) -> Iterator[Pair]:
        while True:
            self.cursor.claim(block + 1)
            for first, stop in _runs(splits.members(self._block(block), self.split)):
                arrays = sample.simulate(self.plan, first, stop)
                yield from zip(self.inputs.of(arrays), self.targets.of(arrays), strict=True)
            block += step

    def _block(self, block: int) -> NDArray[np.int64]:
        return self.start + np.arange(block * BATCH, (block + 1) * BATCH)


class Cursor:
    """Where the passes over a stream begin, in memory that all workers share.

    The first of the workers to begin a pass sets its start behind every block claimed so far; the others of that pass,
    which the loader's seed names, take the same.
    """

    def __init__(self) -> None:
        self.words = torch.zeros(3 + MOST_WORKERS, dtype=torch.int64).share_memory_()
        # the pass, its first block, the block behind all claimed, who has begun
        self.lock = torch.multiprocessing.get_context("spawn").Lock()

    def begin(self, worker: int) -> int:
        """Return the first block of the pass that a worker begins."""
        known = data.get_worker_info()
        name = 0 if known is None else known.seed - known.id
        with self.lock:
            if int(self.words[0]) != name or self.words[3 + worker]:
                self.words[0], self.words[1] = name, self.words[2].clone()
                self.words[3:] = 0
            self.words[3 + worker] = 1
            return int(self.words[1])

    def claim(self, stop: int) -> None:
        """Let no later pass begin before a block."""
        with self.lock:
            self.words[2] = max(int(self.words[2]), stop)


def _worker() -> tuple[int, int]:
    """Return the number of this worker of a ``DataLoader``, and how many there are."""
    known = data.get_worker_info()
    return (0, 1) if known is None else (known.id, known.num_workers)


def _runs(indices: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the first index of each run of neighbours, and the one behind its last."""
    for run in np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1):
        if len(run):
            yield int(run[0]), int(run[-1]) + 1
