"""Which pixels are a defect's: the disc of half a lattice constant around it, as the tip passed it.

On the map of the defects, where the store has it, these are the pixels whose true position lies so near a defect, of
those the ones nearest to this one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..parts import material_of
from ..physics.targets import DefectCone
from ..plan import from_tree
from .batch import Batch

NEAR = 0.1  # of the cone map: 1.1 - d / (a / 2) at d = a / 2
SAME_PLACE = 1e-3  # square pixels: a defect of the top layer and one below it share their pixels
Mask = NDArray[np.bool_]


def masks(batch: Batch, row: int) -> Iterator[tuple[int, Mask]]:
    """Yield the row of the table of each defect in view and its pixels, (n_rows, n_cols), at least the nearest one."""
    count, shape = int(batch.arrays["defect_count"][row]), batch.arrays[batch.images[0]].shape[-2:]
    if not count:
        return
    places = np.stack([batch.arrays["defect_row"][row], batch.arrays["defect_col"][row]], axis=-1)[:count]
    places = places.astype(np.float64)
    material = material_of(batch.store.attributes["recipe"])
    assert material is not None
    reach = material.lattice_constant_nm / 2 / batch.pixel_size_nm(row)
    least, _ = cKDTree(places).query(np.moveaxis(np.indices(shape), 0, -1))
    shown = map_of_all(batch)
    near = least <= reach if shown is None else batch.arrays[shown][row] >= NEAR
    for slot in np.flatnonzero(batch.arrays["defect_in_view"][row, :count]):
        yield int(slot), _mask(places[slot], near, least**2, reach)


def instances(batch: Batch, row: int) -> NDArray[np.int32]:
    """Return the defect that each pixel is of, (n_rows, n_cols): 1 + its row of the table; 0 for none."""
    found = np.zeros(batch.arrays[batch.images[0]].shape[-2:], np.int32)
    for slot, mask in masks(batch, row):
        found[mask & (found == 0)] = slot + 1
    return found


def _mask(place: NDArray[np.float64], near: Mask, least: NDArray[np.float64], reach: float) -> Mask:
    """Return the pixels of a defect; ``least`` is the squared distance to the nearest of all."""
    mask: Mask = np.zeros(near.shape, np.bool_)
    low, high = np.floor(place - 2 * reach).astype(int), np.ceil(place + 2 * reach).astype(int) + 1
    box = tuple(slice(max(first, 0), max(last, 0)) for first, last in zip(low, high, strict=True))
    rows, cols = np.mgrid[: near.shape[0], : near.shape[1]][(slice(None), *box)]
    own = (rows - place[0]) ** 2 + (cols - place[1]) ** 2
    mask[box] = near[box] & (own <= least[box] + SAME_PLACE) & (own <= (2 * reach) ** 2)
    if not mask.any():
        mask[tuple(np.clip(np.rint(place).astype(int), 0, np.array(near.shape) - 1))] = True
    return mask


def map_of_all(batch: Batch) -> str | None:
    """Return the name of the map of the defects of all layers, where one is exported."""
    targets = from_tree(batch.store.attributes["recipe"]).targets
    names = (name for name, target in targets.items() if isinstance(target, DefectCone) and target.layer == "all")
    return next((name for name in names if name in batch.arrays), None)
