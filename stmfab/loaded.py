"""A recipe in Python: its samples one by one, or some at a time, the same bytes that a store would hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from . import recipe, sample
from .plan import Plan

BATCH = 32


@dataclass(frozen=True)
class Recipe:
    """A checked recipe; ``plan`` is what it means."""

    plan: Plan

    def __len__(self) -> int:
        """Return the number of samples the recipe asks for."""
        return self.plan.samples

    def sample(self, index: int) -> dict[str, NDArray[Any]]:
        """Return every array of one sample; any index from 0 on, also beyond the recipe's number of samples."""
        return {name: array[0] for name, array in self.samples(index, index + 1).items()}

    def samples(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Return every array of samples start..stop-1, with a leading sample axis.

        Raises
        ------
        ValueError
            If the range is empty or starts below 0.
        """
        if not 0 <= start < stop:
            raise ValueError(f"samples {start}..{stop}: the first is 0, and one sample is the least")
        return sample.simulate(self.plan, start, stop)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the samples of the recipe in order."""
        for start in range(0, len(self), BATCH):
            batch = self.samples(start, min(start + BATCH, len(self)))
            for row in range(len(batch["param"])):
                yield {name: array[row] for name, array in batch.items()}


def load(
    name_or_path: str,
    *,
    overrides: Mapping[str, object] | None = None,
    seed: int | None = None,
    samples: int | None = None,
) -> Recipe:
    """Return a recipe: a built-in one by its name or a YAML file, with keys overridden as by ``--set``.

    Raises
    ------
    RecipeError
        With every fault of the recipe, each with its place and what is legal.

    Examples
    --------
    >>> import stmfab
    >>> recipe = stmfab.load("wse2-demo", overrides={"scan.pixels": 32})
    >>> recipe.sample(7)["topography"].shape
    (32, 32)
    """
    settings = [f"{key}={value}" for key, value in (overrides or {}).items()]
    return Recipe(recipe.load(name_or_path, settings, seed=seed, samples=samples))
