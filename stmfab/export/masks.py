"""Which pixels are a defect's: its own instance, where the store has instances; one that shows nowhere has none.

Elsewhere it is the disc of half a lattice constant around it: on the map of the defects, where the store has it, the
pixels whose true position lies so near a defect, of those the ones nearest to this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..parts import material_of
from ..physics.defect_targets import Instances
from ..physics.targets import DefectCone
from .batch import Batch

NEAR = 0.1  # of the cone map: 1.1 - d / (a / 2) at d = a / 2
SAME_PLACE = 1e-3  # square pixels: a defect of the top layer and one below it share their pixels
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class View:
    """A picture of a sample: through its only junction, or through one of several; ``number`` is its id."""

    batch: Batch
    row: int
    image: str
    number: int

    @property
    def file(self) -> str:
        """Return the name of its file."""
        index = int(self.batch.indices[self.row])
        _, dot, junction = self.image.partition(".")
        return f"{self.batch.split}/{index:09d}{dot}{junction}.png"

    @property
    def shape(self) -> tuple[int, int]:
        """Return its rows and columns."""
        n_rows, n_cols = self.batch.arrays[self.image].shape[1:]
        return n_rows, n_cols

    def own(self, name: str) -> str:
        """Return the name of that array of a label which goes with the picture: its junction's, where each has one."""
        own = name + self.image.removeprefix(self.image.partition(".")[0])
        return own if own in self.batch.arrays else name

    def of(self, name: str) -> NDArray[Any]:
        """Return an array of the sample, that of the view's junction where each has its own."""
        found: NDArray[Any] = self.batch.arrays[self.own(name)][self.row]
        return found

    def own_of(self, defect: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is known of a defect, of several junctions what this one shows."""
        _, dot, junction = self.image.partition(".")
        return {
            name.partition(".")[0]: value
            for name, value in defect.items()
            if "." not in name or name.endswith(f"{dot}{junction}")
        }


def views(batch: Batch, row: int) -> list[View]:
    """Return the pictures of a sample: the first channel through every junction."""
    first = batch.images[0].partition(".")[0]
    names = [name for name in batch.images if name.partition(".")[0] == first]
    number = int(batch.indices[row]) * len(names)
    return [View(batch, row, name, number + place) for place, name in enumerate(names)]


def masks(view: View) -> Iterator[tuple[int, Mask]]:
    """Yield the row of the table of each defect that is shown and its pixels, (n_rows, n_cols)."""
    shown = view.batch.map_of(Instances)
    if shown is None:
        yield from _discs(view)
        return
    owner = view.of(shown)
    for number in np.unique(owner[owner > 0]).tolist():
        yield number - 1, owner == number


def _discs(view: View) -> Iterator[tuple[int, Mask]]:
    """Yield the row of the table of each defect in view and its pixels, at least the nearest one."""
    count = int(view.of("defect_count"))
    if not count:
        return
    places = np.stack([view.of("defect_row"), view.of("defect_col")], axis=-1)[:count].astype(np.float64)
    material = material_of(view.batch.store.attributes["recipe"])
    assert material is not None
    reach = material.lattice_constant_nm / 2 / view.batch.pixel_size_nm(view.row)
    least, _ = cKDTree(places).query(np.moveaxis(np.indices(view.shape), 0, -1))
    shown = view.batch.map_of(DefectCone, layer="all")
    near = least <= reach if shown is None else view.of(shown) >= NEAR
    for slot in np.flatnonzero(view.of("defect_in_view")[:count]):
        yield int(slot), _mask(places[slot], near, least**2, reach)


def instances(view: View) -> NDArray[np.int32]:
    """Return the defect that each pixel is of, (n_rows, n_cols): 1 + its row of the table; 0 for none."""
    found = np.zeros(view.shape, np.int32)
    for slot, mask in masks(view):
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
