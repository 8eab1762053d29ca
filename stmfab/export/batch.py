"""Some samples of one shard and one split, as the writers of every format are given them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import report
from ..physics.arrays import ArraySpec
from ..physics.defect_targets import Target
from ..plan import from_tree
from ..store import Store


@dataclass(frozen=True)
class Batch:
    """Samples of a shard that are of one split.

    Attributes
    ----------
    store : Store
    split, shard : str, int
    indices : int array of shape (n_samples,)
        The samples' indices.
    images : tuple of str
        Those of the arrays that are exported as images.
    arrays : mapping of str to array
        Every exported array with a leading sample axis: images, labels, parameters; of several junctions one each.
    """

    store: Store
    split: str
    shard: int
    indices: NDArray[np.int64]
    images: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def stem(self) -> str:
        """Return the beginning of the names of files that hold the whole batch."""
        return f"{self.split}-{self.shard:05d}-of-{self.store.layout.n_shards:05d}"

    @functools.cached_property
    def specs(self) -> dict[str, ArraySpec]:
        """Return what each exported array is, by its name."""
        every = {name: spec for whole in self.store.layout.arrays for name, spec in whole.apart().items()}
        return {name: every[name] for name in self.arrays}

    def unit(self, name: str) -> str:
        """Return the unit of an array."""
        return self.specs[name].unit

    def attributes(self, name: str) -> Mapping[str, Any]:
        """Return what the store says of an array."""
        found: Mapping[str, Any] = self.store.metadata[name.partition(".")[0]]["attributes"]
        return found

    def pixel_size_nm(self, row: int) -> float:
        """Return the pixel pitch of a sample."""
        return float(self.arrays["pixel_size_nm"][row])

    @functools.cached_property
    def _targets(self) -> Mapping[str, Target]:
        return from_tree(self.store.attributes["recipe"]).targets

    def target_of(self, kind: type[Target]) -> Target | None:
        """Return the first target of a kind that the store has."""
        return next((target for target in self._targets.values() if isinstance(target, kind)), None)

    def map_of(self, kind: type[Target], **keys: Any) -> str | None:
        """Return the name of the first map that is exported of a kind of target with some values of its keys."""
        known = {name.partition(".")[0] for name in self.arrays}
        wanted = (name for name, target in self._targets.items() if isinstance(target, kind) and name in known)
        return next((name for name in wanted if keys.items() <= vars(self._targets[name]).items()), None)

    def parameters(self, row: int) -> dict[str, Any]:
        """Return the drawn and derived numbers of a sample by their names, choices in words."""
        pairs = zip(report.columns(self.store), self.arrays["param"][row], strict=True)
        return {column["name"]: _in_words(column.get("categories"), number) for column, number in pairs}

    def defects(self, row: int) -> list[dict[str, Any]]:
        """Return the filled rows of a sample's table of defects, codes in words; none where the store has no table."""
        return self._rows(row, {name.removeprefix("defect_"): name for name in self.table})

    def tables(self, row: int) -> dict[str, list[dict[str, Any]]]:
        """Return the filled rows of a sample's other tables by their names, of several junctions one each."""
        found: dict[str, dict[str, str]] = {}
        for name in self.columns:
            whole, dot, junction = name.partition(".")
            table = self.specs[name].dims[0]
            if name not in self.table:
                found.setdefault(table + dot + junction, {})[whole.removeprefix(f"{table}_")] = name
        return {table: self._rows(row, names) for table, names in found.items()}

    def _rows(self, row: int, names: Mapping[str, str]) -> list[dict[str, Any]]:
        columns = (self.column(row, name) for name in names.values())
        return [dict(zip(names, own, strict=True)) for own in zip(*columns, strict=True)]

    def column(self, row: int, name: str) -> list[Any]:
        """Return the filled rows of a column of a table, codes in words."""
        table, (_, dot, junction) = self.specs[name].dims[0], name.partition(".")
        own = f"{table}_count{dot}{junction}"
        count = int(self.arrays[own if own in self.arrays else f"{table}_count"][row])
        words = self.attributes(name).get("categories")
        return [_in_words(words, value) for value in self.arrays[name][row, :count]]

    @property
    def table(self) -> list[str]:
        """Return the columns of the table of defects."""
        return [name for name, spec in self.specs.items() if spec.dims == ("defect",)]

    @property
    def columns(self) -> list[str]:
        """Return the columns of all tables."""
        return [name for name, spec in self.specs.items() if len(spec.dims) == 1 and spec.role == "label"]


def _in_words(words: list[str] | None, value: Any) -> Any:
    """Return a stored value as JSON has it: a code as its word, one without a word or a number that is none as None."""
    if words:
        return words[int(value)] if value >= 0 else None
    plain = value.item()
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain


Read: TypeAlias = Callable[[str], bytes]  # how a file that was exported is read again, by its name


class Writer:
    """A format: how a batch becomes files, and what is written when all batches are there."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what decides the bytes beside the store."""
        return {}

    def used(self, store: Store, images: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the chosen images that are read; an error of the user where the format cannot be made."""
        return images

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the files of a batch by their names in the folder of the export: always the same bytes."""
        raise NotImplementedError

    def joined(self, batches: Iterable[Batch], read: Read) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Yield the files that join those of all batches, each in pieces; ``batches`` come without their images."""
        yield from ()

    def told(self, read: Read) -> list[str]:
        """Return what the user should know of a finished export, a line each."""
        return []
