"""Defects: kinds of change to a perfect crystal, and where they are placed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from . import _defects_kernels
from .greens import Perturbation
from .keys import check_ranges, key
from .materials import Material
from .structure import TILE_CELLS
from .units import Bools, Floats, Ints

FIRST_CANDIDATES = 12  # candidates drawn a tile, before more are asked for


@dataclass(frozen=True)
class Vacancy:
    """A missing atom: its orbitals are removed from the Hamiltonian, exactly."""

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    @staticmethod
    def perturbation(orbitals: Ints, values: Mapping[str, Floats]) -> Perturbation:
        """Return the change of the Hamiltonian for defects whose atoms hold ``orbitals`` (n_defects, n, 3)."""
        return Perturbation(orbitals.reshape(-1, 3), np.zeros((0, 3), dtype=np.int64), np.zeros(0))


@dataclass(frozen=True)
class Dopant:
    """A foreign atom on a lattice site: the on-site energy of its orbitals is shifted."""

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    onsite_eV: float = key("shift of the on-site energy", per_defect=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    @staticmethod
    def perturbation(orbitals: Ints, values: Mapping[str, Floats]) -> Perturbation:
        """Return the change of the Hamiltonian for defects whose atoms hold ``orbitals`` (n_defects, n, 3)."""
        shift_eV = np.repeat(values["onsite_eV"], orbitals.shape[1])
        used = shift_eV != 0
        return Perturbation(np.zeros((0, 3), dtype=np.int64), orbitals.reshape(-1, 3)[used], shift_eV[used])


Defect: TypeAlias = Vacancy | Dopant

DEFECTS: Mapping[str, type[Defect]] = {"vacancy": Vacancy, "dopant": Dopant}


@dataclass(frozen=True)
class Placed:
    """Defects of one member of a recipe: cells (u, v), shape (n_defects, 2), site index, values, each (n_defects,)."""

    cells: Ints
    site: int
    values: Mapping[str, Floats]

    def kept(self, chosen: np.typing.NDArray[np.bool_]) -> Placed:
        """Return some of the defects, ``chosen`` of shape (n_defects,)."""
        return Placed(self.cells[chosen], self.site, {name: column[chosen] for name, column in self.values.items()})


def poisson_counts(uniforms: Floats, mean: float) -> Ints:
    """Return Poisson counts by inversion of the distribution function, shape (n,) as ``uniforms``; mean below 700."""
    return np.asarray(_defects_kernels.poisson(uniforms, mean))


def place(
    taken: Bools, *, tiles: Ints, mean_per_tile: float, n_values: int, uniforms: Callable[[int], Floats]
) -> tuple[Ints, Floats]:
    """Return the cells (n_defects, 2) of one member's defects and their uniform numbers (n_defects, n_values).

    In every fixed tile a Poisson number of defects; each takes the tile's next candidate place that is free, so that
    another member, or a larger window, moves nothing else.

    Parameters
    ----------
    taken : array of shape (n_tiles, TILE_CELLS**2)
        Which places of the member's site are occupied; the defects' places are marked.
    tiles : int array of shape (n_tiles, 2)
    uniforms : callable
        n_words -> numbers in (0, 1) of each tile, shape (n_tiles, n_words): the count's, then for each candidate one
        for its place and ``n_values`` more. More words must not change the first ones.

    Raises
    ------
    ArithmeticError
        If a tile has fewer free places than defects.
    """
    stride, n_candidates = 1 + n_values, FIRST_CANDIDATES
    words = uniforms(1 + stride * n_candidates)
    counts = poisson_counts(words[:, 0], mean_per_tile)
    if _defects_kernels.crowded(counts, taken):
        raise ArithmeticError(f"{counts.max()} defects do not fit the {TILE_CELLS**2} places of a tile")
    cells, values = np.empty((counts.sum(), 2), dtype=np.int64), np.empty((counts.sum(), n_values))
    while not _defects_kernels.seat(words, counts, tiles, TILE_CELLS, taken, cells, values):
        n_candidates *= 2
        words = uniforms(1 + stride * n_candidates)
    return cells, values


def site_orbitals(material: Material, cells: Ints, site: int) -> Ints:
    """Return the orbitals (u, v, orbital) of one site in several cells, shape (n_cells, n_orbitals_of_site, 3)."""
    own = np.flatnonzero(material.orbital_site == site)
    out = np.empty((len(cells), len(own), 3), dtype=np.int64)
    out[:, :, :2] = cells[:, None, :]
    out[:, :, 2] = own
    return out


def combined(changes: list[Perturbation]) -> Perturbation:
    """Return several changes of the Hamiltonian as one; without any, the perfect crystal."""
    nothing = Perturbation(np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3), dtype=np.int64), np.zeros(0))
    every = [nothing, *changes]
    return Perturbation(
        np.concatenate([change.removed for change in every]),
        np.concatenate([change.shifted for change in every]),
        np.concatenate([change.shift_eV for change in every]),
        [cluster for change in every for cluster in change.clusters],
        np.concatenate([change.added_eV for change in every]),
    )
