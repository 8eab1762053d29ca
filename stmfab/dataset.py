"""A store as an xarray Dataset: for those who analyse or train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import store as stores
from .bucket import at
from .errors import StmfabError
from .physics.arrays import JUNCTION

if TYPE_CHECKING:
    import xarray


def open_dataset(path: str | Path) -> xarray.Dataset:
    """Return the samples that have been made, as an xarray Dataset with the drawn parameters as coordinates.

    The coordinate ``sample`` is the sample's index; samples whose shard has no receipt are absent, never filled.
    ``junction`` holds the names of several junctions.

    Raises
    ------
    StmfabError
        If xarray is not installed, or there is no store at this path.
    """
    try:
        import xarray
    except ImportError as error:
        raise StmfabError("stmfab.open needs xarray: pip install 'stmfab[xarray]'") from error
    store = stores.open_store(at(path))
    samples = [np.arange(*store.layout.bounds(shard)) for shard in sorted(stores.made(store))]
    index = np.concatenate([np.empty(0, np.int64), *samples]).astype(np.int64)
    dataset: xarray.Dataset = xarray.open_zarr(stores.zarr_store(store.place))
    if len(index) < store.layout.samples:
        dataset = dataset.isel(sample=index)
    dataset = dataset.assign_coords(sample=("sample", index))
    if JUNCTION in dataset.coords:
        names = dataset[JUNCTION].attrs["flag_meanings"].split()
        dataset = dataset.assign_coords({JUNCTION: (JUNCTION, names, {"long_name": "junction"})})
    return dataset.assign_coords(_coordinates(dataset)) if "param" in dataset else dataset


def _coordinates(dataset: xarray.Dataset) -> dict[str, Any]:
    """Return one coordinate a drawn parameter: its values, choices in words, and its unit."""
    values = dataset["param"].to_numpy()
    coordinates: dict[str, Any] = {}
    for position, column in enumerate(dataset["param"].attrs["columns"]):
        drawn: NDArray[Any] = values[:, position]
        if column.get("categories"):
            drawn = np.array(column["categories"])[drawn.astype(int)]
        coordinates[column["name"]] = ("sample", drawn, {"units": column["unit"]})
    return coordinates
