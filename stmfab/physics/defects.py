"""Defects: kinds of change to a perfect crystal, and where they are placed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import special

from .greens import Perturbation
from .keys import check_ranges, key
from .materials import Material
from .structure import TILE_CELLS
from .units import Floats, Ints

FIRST_CANDIDATES = 16  # candidates drawn a tile beyond the count, before more are asked for


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
    """Return Poisson counts by inversion of the distribution function, shape of ``uniforms``."""
    largest = int(mean + 12 * np.sqrt(mean) + 20)  # P(count > largest) < 1e-20
    return np.searchsorted(special.pdtr(np.arange(largest), mean), uniforms)


def place(
    taken: set[tuple[int, int, int]],
    *,
    tiles: Ints,
    site: int,
    mean_per_tile: float,
    n_values: int,
    uniforms: Callable[[int], Floats],
) -> tuple[Ints, Floats]:
    """Return the cells (n_defects, 2) of one member's defects and their uniform numbers (n_defects, n_values).

    In every fixed tile a Poisson number of defects; each takes the tile's next candidate cell whose site is free, so
    that another member, or a larger window, moves nothing else. ``taken`` holds (u, v, site) and grows.

    Parameters
    ----------
    tiles : int array of shape (n_tiles, 2)
    uniforms : callable
        n_words -> numbers in (0, 1) of each tile, shape (n_tiles, n_words): the count's, then for each candidate one
        for its cell and ``n_values`` more. More words must not change the first ones.

    Raises
    ------
    ArithmeticError
        If a tile has fewer free sites than defects.
    """
    stride = 1 + n_values
    counts = poisson_counts(uniforms(1)[:, 0], mean_per_tile)
    n_candidates = FIRST_CANDIDATES + 2 * int(counts.max(initial=0))
    words = uniforms(1 + stride * n_candidates)
    cells, values = [], []
    for index, (tile, count) in enumerate(zip(tiles, counts.tolist(), strict=True)):
        if count > TILE_CELLS**2:
            raise ArithmeticError(f"{count} defects do not fit the {TILE_CELLS**2} sites of a tile")
        found = _next_free(taken, words[index, 1::stride], origin=tile * TILE_CELLS, site=site, count=count)
        while len(found) < count:
            words = uniforms(1 + stride * 2 * words.shape[1])
            found = _next_free(taken, words[index, 1::stride], origin=tile * TILE_CELLS, site=site, count=count)
        for candidate, cell in found:
            taken.add((*cell, site))
            cells.append(cell)
            values.append(words[index, 2 + stride * candidate : 1 + stride * (candidate + 1)])
    n = len(cells)
    return np.array(cells, dtype=np.int64).reshape(n, 2), np.array(values).reshape(n, n_values)


def _next_free(
    taken: set[tuple[int, int, int]], words: Floats, *, origin: Ints, site: int, count: int
) -> list[tuple[int, tuple[int, int]]]:
    """Return up to ``count`` (candidate number, cell) whose site is free and was not named before."""
    found: list[tuple[int, tuple[int, int]]] = []
    named = set()
    u0, v0 = origin.tolist()
    places = (words * TILE_CELLS**2).astype(np.int64).tolist() if count else []
    for candidate, place_in_tile in enumerate(places):
        if len(found) == count:
            break
        cell = (u0 + place_in_tile % TILE_CELLS, v0 + place_in_tile // TILE_CELLS)
        if cell not in named and (*cell, site) not in taken:
            named.add(cell)
            found.append((candidate, cell))
    return found


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
