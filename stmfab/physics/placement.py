"""Defects of one name that lie in clusters, or keep a distance.

Both are local rules over numbers of fixed tiles and of lattice places: neither a larger window nor another member of
the recipe moves a defect, but for a place that is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from . import _placement_kernels, structure
from .defects import poisson_counts
from .materials import Material
from .structure import TILE_CELLS
from .units import Bools, Floats, Ints

ROUNDING_nm = 1e-9  # two defects at the least distance keep it
PLACES = TILE_CELLS**2
MOST_PACKED = 0.9  # of the density at which no exclusion leaves more


def excluded(material: Material, min_distance_nm: float) -> int:
    """Return how many cells a defect keeps free of others, its own with them."""
    cells = structure.cells_within(material, min_distance_nm)
    return int((np.linalg.norm(cells @ material.lattice_nm, axis=1) < min_distance_nm - ROUNDING_nm).sum())


def most_per_nm2(material: Material, min_distance_nm: float) -> float:
    """Return the largest density that defects which keep a distance are placed at."""
    return MOST_PACKED / (excluded(material, min_distance_nm) * material.cell_area_nm2)


def candidates_per_cell(material: Material, density_per_nm2: float, min_distance_nm: float) -> float:
    """Return the share of cells that are candidates, so that a density is left when exclusion has done its work.

    A candidate at order t stays if none of its n - 1 neighbours is a candidate of a lower one: with a share p of
    candidates p int_0^1 (1 - p t)^(n - 1) dt = (1 - (1 - p)^n) / n are left.

    Raises
    ------
    ArithmeticError
        If the density is above ``most_per_nm2``.

    References
    ----------
    B. Matern, Spatial Variation (1960): the hard-core process of type II, here on a lattice.
    """
    if density_per_nm2 > most_per_nm2(material, min_distance_nm):
        raise ArithmeticError(f"{density_per_nm2:g} defects per nm^2 do not fit {min_distance_nm:g} nm apart")
    n = excluded(material, min_distance_nm)
    return float(-np.expm1(np.log1p(-density_per_nm2 * material.cell_area_nm2 * n) / n))


def apart(material: Material, cells: Ints, order: Floats, *, min_distance_nm: float) -> Bools:
    """Return which candidates, (n, 2), stay: those that no one of a lower order is nearer to than a distance."""
    least_nm = min_distance_nm - ROUNDING_nm
    return np.asarray(_placement_kernels.apart(cells @ material.lattice_nm, order, least_nm))


def tile_of(cells: Ints, tiles: Ints) -> tuple[Ints, Ints]:
    """Return the position of each cell's tile among ``tiles``, a rectangle's rows, or -1, and its place there."""
    at, local = np.divmod(cells, TILE_CELLS)
    first, n_u = tiles[0], int((tiles[:, 1] == tiles[0, 1]).sum())
    column, row = (at - first).T
    inside = (column >= 0) & (column < n_u) & (row >= 0) & (row < len(tiles) // n_u)
    return np.where(inside, row * n_u + column, -1), local[:, 1] * TILE_CELLS + local[:, 0]


def in_clusters(
    material: Material,
    tiles: Ints,
    *,
    density_per_nm2: float,
    cluster_n: float,
    radius_nm: float,
    n_values: int,
    parents: Callable[[int], Floats],
    members: Callable[[int], Floats],
) -> tuple[Ints, Floats]:
    """Return the cells (n_defects, 2) of clustered defects and their uniform numbers (n_defects, n_values).

    Poisson parents, a Poisson number of members each, evenly over a disc, every one on the nearest cell; two meant for
    one cell are one (J. Neyman and E. Scott, J. R. Stat. Soc. B 20, 1 (1958)).

    Parameters
    ----------
    parents, members : callable
        n_words -> numbers in (0, 1) of each tile, (n_tiles, n_words). More words must not change the first ones.
    """
    mean = density_per_nm2 / cluster_n * material.cell_area_nm2 * PLACES
    n_parents = poisson_counts(parents(1)[:, 0], mean)
    words = parents(1 + 3 * int(n_parents.max(initial=0)))[:, 1:].reshape(len(tiles), -1, 3)
    there = np.arange(words.shape[1]) < n_parents[:, None]
    tile, (at, number) = np.nonzero(there)[0], np.split(words[there], [2], axis=1)
    sizes = poisson_counts(number[:, 0], cluster_n)
    own = np.repeat(np.arange(len(tile)), sizes)
    of_tile = tile[own]
    turn = np.arange(len(own)) - np.searchsorted(of_tile, of_tile)
    stride = 2 + n_values
    drawn = members(stride * (int(turn.max(initial=-1)) + 1)).reshape(len(tiles), -1, stride)[of_tile, turn]
    away_nm, angle = radius_nm * np.sqrt(drawn[:, 0]), 2 * math.pi * drawn[:, 1]
    middles_nm = (TILE_CELLS * (tiles[of_tile] + at[own])) @ material.lattice_nm
    points_nm = middles_nm + away_nm[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    cells = nearest_cells(material, points_nm)
    first = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    return cells[first], drawn[first, 2:]


def nearest_cells(material: Material, points_nm: Floats) -> Ints:
    """Return the cells (u, v) whose origins are nearest to points (n, 2)."""
    around = np.array([(u, v) for u in (-1, 0, 1) for v in (-1, 0, 1)])
    near: Ints = np.round(points_nm @ material.to_cells).astype(np.int64)[:, None] + around
    away_nm = np.linalg.norm(near @ material.lattice_nm - points_nm[:, None], axis=2)
    return np.asarray(near[np.arange(len(near)), away_nm.argmin(axis=1)])
