"""stmfab: a factory for labelled, synthetic scanning-tunnelling-microscope datasets.

``stmfab.load(recipe)`` is a recipe whose samples are made on the spot; ``stmfab.open(store)`` reads a finished dataset
as an xarray Dataset. The command line (``stmfab --help``) does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from . import _threads as _threads  # before numpy

if TYPE_CHECKING:
    import xarray

    from .loaded import Recipe


def load(
    recipe: str | Path,
    *,
    overrides: Mapping[str, object] | None = None,
    seed: int | None = None,
    samples: int | None = None,
) -> Recipe:
    """Return a recipe, a file's or a built-in one by its name: ``.sample(i)``, ``.samples(start, stop)``.

    Raises
    ------
    RecipeError
        With every fault of the recipe, each with its place and what is legal.
    """
    from . import loaded

    return loaded.load(str(recipe), overrides=overrides, seed=seed, samples=samples)


def open(store: str | Path) -> xarray.Dataset:  # noqa: A001  (stmfab.open, as in gzip.open)
    """Return a dataset as an xarray Dataset: images and targets with units, parameters as coordinates.

    Raises
    ------
    StmfabError
        If the place is not a store, or the optional xarray is not installed.
    """
    from .dataset import open_dataset

    return open_dataset(store)
