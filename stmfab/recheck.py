"""Samples of a store made once more, from the recipe that the store holds, and held against what it holds of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import layout, provenance, recipe, report, sample, store
from .errors import DamagedError, RecipeError, StmfabError, StoreError
from .physics.arrays import ArraySpec
from .plan import Plan
from .store import Store
from .streams import Floats

BATCH = 32  # samples held in memory at a time
OTHER_BITS = 1e-5  # relative: what machines of different identity keys agree to


@dataclass(frozen=True)
class Difference:
    """An array of a sample that is not what the recipe makes: ``largest`` is by how much, None where no number says."""

    sample: int
    array: str
    largest: float | None
    what: str

    def __str__(self) -> str:
        """Return the difference as one line."""
        return (
            f"sample {self.sample}: {self.array}: {self.what}" if self.array else f"sample {self.sample}: {self.what}"
        )


@dataclass(frozen=True)
class Recheck:
    """What a recheck found: the samples by the rule each was held to, and the differences."""

    by_bytes: tuple[int, ...]
    within: tuple[int, ...]
    differences: tuple[Difference, ...]


def stored_plan(dataset: Store) -> Plan:
    """Return the plan of the recipe that a store holds, read as if it came from a file.

    Raises
    ------
    DamagedError
        If the recipe is not the one its sha256 was taken of, or cannot be read by this version.
    """
    kept, sha256 = dataset.attributes["recipe"], dataset.attributes["recipe_sha256"]
    if provenance.recipe_sha256(kept) != sha256:
        raise DamagedError(f"{dataset}: the recipe is not the one its sha256 was taken of")
    try:
        plan = recipe.stored(kept, f"{dataset}: recipe")
    except RecipeError as error:
        raise DamagedError(f"{dataset}: this version cannot read the recipe: {error}") from error
    if provenance.recipe_sha256(plan.tree) != sha256:
        raise StoreError(f"{dataset}: this version of stmfab reads another recipe from it: use the one that made it")
    return plan


def chosen(dataset: Store, n_samples: int, seed: int) -> list[int]:
    """Return the indices of some of the samples that have been made, at random but the same for the same seed.

    Raises
    ------
    IncompleteError
        If none has been made.
    """
    made = report.Made(dataset)
    return sorted(random.Random(seed).sample(made, min(n_samples, len(made))))


def recheck(dataset: Store, samples: Iterable[int]) -> Recheck:
    """Return how some samples of a store differ from what its recipe makes on this machine.

    A shard made under this machine's identity key is held to every bit, another one to ``OTHER_BITS``.

    Raises
    ------
    DamagedError
        If the recipe, a receipt or a file of the store cannot be read.
    StoreError
        If it is of an older format: its samples had other bytes.
    """
    if dataset.attributes["format"] != layout.FORMAT:
        older = dataset.attributes["format"]
        raise StoreError(f"{dataset}: a store of format {older}: only the stmfab that made it makes its samples again")
    plan, here = stored_plan(dataset), provenance.identity()["key"]
    by_bytes: list[int] = []
    within: list[int] = []
    found: list[Difference] = []
    rest = iter(samples)
    while batch := list(islice(rest, BATCH)):
        same = {index: _receipt_identity(dataset, index) == here for index in batch}
        by_bytes += [index for index in batch if same[index]]
        within += [index for index in batch if not same[index]]
        tolerances = {index: 0.0 if same[index] else OTHER_BITS for index in batch}
        found += sorted(_differences(dataset, plan, tolerances), key=lambda difference: difference.sample)
    return Recheck(tuple(by_bytes), tuple(within), tuple(found))


def _receipt_identity(dataset: Store, index: int) -> str:
    return store.receipt_of(dataset, index // dataset.layout.shard).identity


def _differences(dataset: Store, plan: Plan, tolerances: Mapping[int, float]) -> Iterator[Difference]:
    """Yield the differences of some samples, each held to a tolerance of its own: array by array, read in one go."""
    made = {}
    for index in tolerances:
        try:
            made[index] = sample.simulate(plan, index, index + 1)
        except (ArithmeticError, StmfabError) as error:
            yield Difference(index, "", None, f"the recipe makes no such sample: {error}")
    for spec in dataset.layout.arrays:
        rows = store.read_each(dataset, spec.name, list(made))
        for (index, arrays), there in zip(made.items(), rows, strict=True):
            yield from _difference(spec, there, arrays.get(spec.name), sample=index, tolerance=tolerances[index])


def _difference(
    spec: ArraySpec, there: NDArray[Any], made: NDArray[Any] | None, *, sample: int, tolerance: float
) -> Iterator[Difference]:
    if made is None or (made.dtype, made.shape) != (there.dtype, there.shape):
        yield Difference(sample, spec.name, None, "the recipe makes no such array")
        return
    wrong = compared(there, made, allowed=tolerance * _scale(spec, made) if tolerance else None)
    if wrong is not None:
        yield Difference(sample, spec.name, *wrong)


def _scale(spec: ArraySpec, made: NDArray[Any]) -> Floats:
    """Return what a relative difference is relative to: each parameter by itself, an image's largest magnitude."""
    sizes = np.abs(np.nan_to_num(made.astype(np.float64), nan=0.0))
    return sizes if spec.role == "parameter" else np.full(sizes.shape, sizes.max(initial=0.0))


def compared(there: NDArray[Any], made: NDArray[Any], *, allowed: Floats | None) -> tuple[float | None, str] | None:
    """Return the largest absolute difference of two arrays and words for it; None where they are equal.

    ``allowed`` is what each element may differ by, in the shape of the arrays; None asks for equal bytes.

    >>> compared(np.array([1.0, 2.0]), np.array([1.0, 2.5]), allowed=None)
    (0.5, 'differs by up to 0.5')
    >>> compared(np.array([1.0, 2.0]), np.array([1.0, 2.5]), allowed=np.array([0.0, 0.6]))
    """
    if made.tobytes() == there.tobytes():
        return None
    ours, theirs = made.astype(np.float64), there.astype(np.float64)
    finite = np.isfinite(ours)
    if not np.array_equal(finite, np.isfinite(theirs)) or not np.array_equal(ours[~finite], theirs[~finite], True):
        return None, "differs in where it has no numbers"
    apart = np.abs(ours[finite] - theirs[finite])
    if allowed is not None and (apart <= allowed[finite]).all():
        return None
    largest = float(apart.max(initial=0.0))
    return largest, f"differs by up to {largest:.3g}" if largest else "differs in the bits of a zero or a NaN"
