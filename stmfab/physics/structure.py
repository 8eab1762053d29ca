"""The crystal under the window: which cells are looked at, tiles, and where sites are."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import _structure_kernels
from .materials import Material
from .units import Bools, Floats, Ints

TILE_CELLS = 12  # side of the fixed tiles in which defects are drawn, about 4 nm; part of the streams' definition
STENCIL = (-1, 2)  # first and last node of the 4-point interpolation, relative to a point's node


@dataclass(frozen=True)
class Window:
    """The lattice cells of a scene: cell (u, v) is looked at where ``cells[v - v0, u - u0]`` is true."""

    u0: int
    v0: int
    cells: Bools

    @functools.cached_property
    def indices(self) -> Ints:
        """Cells (u, v) that are looked at, shape (n_cells, 2), row by row."""
        v, u = np.nonzero(self.cells)
        return np.stack([u + self.u0, v + self.v0], axis=1)


def window(material: Material, lines_nm: Sequence[tuple[Floats, Floats]], *, n_grid: int) -> Window:
    """Return the cells whose grid nodes are needed to interpolate anywhere along straight lines.

    Parameters
    ----------
    lines_nm : sequence of (x, y)
        Arrays of shape (n_lines, n_points) in the sample frame: the tip goes straight from point to point of a line.
    n_grid : int
        Grid nodes a cell along each lattice vector.
    """
    low_x, high_x, low_y, high_y = zip(*(_structure_kernels.extent(x, y) for x, y in lines_nm), strict=True)
    corners = itertools.product((min(low_x), max(high_x)), (min(low_y), max(high_y)))
    bounds = np.array(list(corners)) @ material.to_cells
    low = np.floor(bounds.min(axis=0)).astype(np.int64) - 2
    high = np.floor(bounds.max(axis=0)).astype(np.int64) + 2
    cells = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), dtype=np.bool_)
    for x, y in lines_nm:
        _structure_kernels.mark_cells(x, y, material.to_cells, n_grid, low, cells)
    first_v, end_v, first_u, end_u = _structure_kernels.marked_part(cells)
    trimmed = np.ascontiguousarray(cells[first_v:end_v, first_u:end_u])
    return Window(int(low[0]) + first_u, int(low[1]) + first_v, trimmed)


def around(material: Material, points_nm: Floats) -> Window:
    """Return the least parallelogram of cells that holds some points (n_points, 2)."""
    cells = np.floor(points_nm @ material.to_cells).astype(np.int64)
    u0, v0 = cells.min(axis=0).tolist()
    n_u, n_v = (np.ptp(cells, axis=0) + 1).tolist()
    return Window(u0, v0, np.ones((n_v, n_u), dtype=np.bool_))


def sites_reached(view: Window, offsets: Ints, used: Bools) -> tuple[Window, Ints]:
    """Return the cells with a site that a window's cells reach, and rows (u, v, site) of those sites.

    A cell reaches site s of the cell ``offsets[o]``, (n_offsets, 2), further if ``used[o, s]``, (n_offsets, n_sites).
    """
    corner, reached = _structure_kernels.reach(view.cells, offsets, used)
    corner += (view.u0, view.v0)
    sites, some = _structure_kernels.rows_of(reached, corner)
    return Window(int(corner[0]), int(corner[1]), some), sites


def tiles(material: Material, view: Window, *, margin_nm: float) -> Ints:
    """Return the fixed tiles (tu, tv) within ``margin_nm`` of a window's bounding parallelogram, shape (n_tiles, 2)."""
    a1, a2 = material.lattice_nm
    area = material.cell_area_nm2  # over the length of one vector: the spacing of the rows of cells along the other
    margin_u, margin_v = (math.ceil(margin_nm * math.hypot(*vector) / area) for vector in (a2, a1))
    n_v, n_u = view.cells.shape
    tu = np.arange((view.u0 - margin_u) // TILE_CELLS, (view.u0 + n_u - 1 + margin_u) // TILE_CELLS + 1)
    tv = np.arange((view.v0 - margin_v) // TILE_CELLS, (view.v0 + n_v - 1 + margin_v) // TILE_CELLS + 1)
    out = np.empty((len(tv), len(tu), 2), dtype=np.int64)
    out[..., 0], out[..., 1] = tu, tv[:, None]
    return out.reshape(-1, 2)


def positions(material: Material, cells: Ints, sites: Ints | int) -> Floats:
    """Return the positions (x, y, z) in nm of sites, (n,) or the same, in cells (n, 2), shape (n, 3)."""
    points = np.empty((len(cells), 3))
    points[:] = material.positions_nm[sites]
    points[:, :2] += cells @ material.lattice_nm
    return points


def near(points_nm: Floats, centres_nm: Floats, *, distance_nm: float) -> Bools:
    """Return which points (n_points, 2) lie within a distance of any centre (n_centres, 2), shape (n_points,)."""
    return np.asarray(_structure_kernels.near(points_nm, centres_nm, distance_nm))


def near_window(material: Material, points_nm: Floats, view: Window, *, distance_nm: Floats) -> Bools:
    """Return which points (n_points, 2) lie each within its distance of the origin of a cell that is looked at."""
    from_corner_nm = points_nm - np.array([view.u0, view.v0]) @ material.lattice_nm
    at = material.lattice_nm, material.to_cells, view.cells
    return np.asarray(_structure_kernels.near_marked(from_corner_nm, distance_nm, *at))


def widest_block(block: Ints, places: Ints, felt: Bools, changed: Ints) -> int:
    """Return the most cells from any change that a block feels to any other, or to a place of the block's own.

    ``block`` and ``felt`` are those of ``blocks``; places and changes are rows (u, v, orbital).
    """
    return int(_structure_kernels.widest_block(block, places, felt, changed))


def blocks(
    cells_nm: Floats,
    places_nm: Floats,
    changed_nm: Floats,
    *,
    reach_nm: float,
    few: int,
    smallest_nm: float,
    largest_nm: float,
) -> tuple[Ints, Bools]:
    """Return the block of each place, (n_places,), and which changes each block of cells feels, (n_blocks, n_changed).

    All positions are (x, y). The cells are halved across their longer side until its sides are at most ``largest_nm``
    and at most ``few`` changes are within ``reach_nm`` of a block's cells, or its sides are below ``smallest_nm``; a
    place goes with the half on its side.
    """
    limits = reach_nm, few, smallest_nm, largest_nm
    block, felt = _structure_kernels.blocks(cells_nm, places_nm, changed_nm, *limits)
    return block, felt


def median(values: Floats) -> float:
    """Return the median of numbers (n,); NaN if one of them is not finite."""
    return float(_structure_kernels.median(values))


def cells_within(material: Material, radius_nm: float) -> Ints:
    """Return the cell offsets (u, v) whose origins lie within a radius, shape (n, 2)."""
    a1, a2 = material.lattice_nm
    reach = math.ceil(radius_nm * max(np.linalg.norm(a1), np.linalg.norm(a2)) / material.cell_area_nm2)
    u, v = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    offsets = np.stack([u.ravel(), v.ravel()], axis=1)
    inside = np.linalg.norm(offsets @ material.lattice_nm, axis=1) <= radius_nm
    return np.asarray(offsets[inside])


def span(whole: Window, changed: Ints) -> int:
    """Return the cells from any changed orbital to any other, or to any cell of a window."""
    n_v, n_u = whole.cells.shape
    corners = np.array([(whole.u0, whole.v0), (whole.u0 + n_u - 1, whole.v0 + n_v - 1)])
    return int(np.ptp(np.concatenate([corners, changed[:, :2]]), axis=0).max())
