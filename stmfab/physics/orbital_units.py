"""The units of a surface: the cells that are looked at, the units that share a terrace, defects on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .orbitals import OrbitalSurface
from .site_edits import Edit
from .structure import Window
from .units import Bools, Floats, Ints

MARGIN_nm = 3.0  # units so far outside the window are part of the scene: a vacancy's, a contaminant's


@dataclass(frozen=True)
class Box:
    """A rectangle of cells, (u0, v0) the first; even numbers all, so that it holds whole units."""

    u0: int
    v0: int
    n_u: int
    n_v: int

    def __contains__(self, cell: tuple[int, int]) -> bool:
        """Return whether a cell (u, v) lies in it."""
        return 0 <= cell[0] - self.u0 < self.n_u and 0 <= cell[1] - self.v0 < self.n_v

    @property
    def axes(self) -> tuple[Ints, Ints]:
        """Its columns u and its rows v."""
        return self.u0 + np.arange(self.n_u), self.v0 + np.arange(self.n_v)

    def inside(self, cells: Ints, margin: int = 0) -> Bools:
        """Return which cells (n, 2) lie in it or within a margin of cells around."""
        low, high = np.array([self.u0, self.v0]) - margin, np.array([self.u0 + self.n_u, self.v0 + self.n_v]) + margin
        return np.asarray(((cells >= low) & (cells < high)).all(axis=1))


def box(surface: OrbitalSurface, view: Window, margin_nm: float = MARGIN_nm) -> Box:
    """Return the cells within a margin of a window's."""
    (along, up), (n_v, n_u) = surface.cells_nm, view.cells.shape
    left, below = (math.ceil(margin_nm / width_nm) for width_nm in (along, up))
    u0, v0 = (view.u0 - left) // 2 * 2, (view.v0 - below) // 2 * 2
    return Box(u0, v0, -(-(view.u0 + n_u + left - u0) // 2) * 2, -(-(view.v0 + n_v + below - v0) // 2) * 2)


@dataclass(frozen=True)
class Units:
    """The units of a scene, arrays (n_units,): their first cell (u, v), the axis of their row, their terrace.

    ``number[v - v0, u - u0]`` is that of the unit that a cell of the box belongs to; -1: to none.
    """

    u: Ints
    v: Ints
    axis: Ints
    level: Ints
    number: Ints


def units(surface: OrbitalSurface, levels: Ints, region: Box) -> Units:
    """Return the units there are: those whose cells share a terrace."""
    turned = levels % 2 if surface.turns else np.zeros_like(levels)
    found: list[tuple[Ints, Ints, Ints]] = []
    number = np.full(levels.shape, -1, dtype=np.int64)
    for axis in (0, 1) if surface.turns else (0,):
        if surface.pair == 1:
            whole = np.ones(levels.shape, dtype=np.bool_)
        else:
            first, second = (levels[i::2] for i in (0, 1)) if axis == 0 else (levels[:, i::2] for i in (0, 1))
            whole = np.zeros(levels.shape, dtype=np.bool_)
            (whole[0::2] if axis == 0 else whole[:, 0::2])[:] = first == second
        v, u = np.nonzero(whole & (turned == axis))
        numbers = sum(len(part[0]) for part in found) + np.arange(len(u))
        for second_cell in range(surface.pair):
            number[v + second_cell * (axis == 0), u + second_cell * (axis == 1)] = numbers
        found.append((u, v, np.full(len(u), axis)))
    u, v, axes = (np.concatenate(column) for column in zip(*found, strict=True))
    return Units(u + region.u0, v + region.v0, axes, levels[v, u], number)


@dataclass(frozen=True)
class Sited:
    """A defect on its unit: its edit, heights in filled and empty states, charge, and its frame.

    ``place_nm`` is its unit's middle; ``along`` and ``across``, each (x, y), are the edit's directions.
    """

    edit: Edit
    heights_pm: tuple[float, float]
    charge: float
    level: int
    axis: int
    cell: tuple[int, int]
    signs: tuple[int, int]
    place_nm: tuple[float, float]
    rates_per_s: tuple[float, float] | None = None  # of coming and of going; None: it stays

    def point_nm(self, along_nm: float, across_nm: float) -> tuple[float, float]:
        """Return the place of a point of its frame."""
        steps = along_nm * self.signs[0], across_nm * self.signs[1]
        right, up = steps if self.axis == 0 else steps[::-1]
        return self.place_nm[0] + right, self.place_nm[1] + up

    @property
    def probe_nm(self) -> tuple[float, float]:
        """Return where it stands its height."""
        return self.point_nm(*self.edit.probe_nm)


def points_nm(sited: Sequence[Sited], points: Floats) -> Floats:
    """Return the places of points, rows (along, across), of the frames of some defects, (n_sited, n_points, 2)."""
    steps = points * np.array([each.signs for each in sited])[:, None]
    turned = np.array([each.axis for each in sited]) == 1
    steps[turned] = steps[turned, :, ::-1]
    return np.asarray(np.array([each.place_nm for each in sited])[:, None] + steps)


def middle_nm(surface: OrbitalSurface, u: int, v: int, axis: int) -> tuple[float, float]:
    """Return the middle of the unit whose first cell is (u, v)."""
    aside = (surface.pair - 1) / 2
    return (u + aside * (axis == 1)) * surface.cells_nm[0], (v + aside * (axis == 0)) * surface.cells_nm[1]


def units_at(
    surface: OrbitalSurface, there: Units, region: Box, sited: Sequence[Sited], owners: Ints, offsets: Ints
) -> Ints:
    """Return the numbers of the units so many units along and across, (n, 2), from those of the n owners, (n,).

    Owners are positions among ``sited``. -1 where there is no unit, or on another terrace.
    """
    if not len(owners):
        return np.zeros(0, dtype=np.int64)
    own = np.array([(*each.signs, *each.cell, each.axis, each.level) for each in sited], dtype=np.int64)[owners]
    signs, cell, axis, level = own[:, :2], own[:, 2:4], own[:, 4], own[:, 5]
    steps = offsets * signs * [1, surface.pair]
    steps[axis == 1] = steps[axis == 1, ::-1]
    cells = cell + steps - [region.u0, region.v0]
    inside = ((cells >= 0) & (cells < [region.n_u, region.n_v])).all(axis=1)
    out = np.full(len(owners), -1, dtype=np.int64)
    out[inside] = there.number[cells[inside, 1], cells[inside, 0]]
    elsewhere = there.level[out] != level
    out[elsewhere] = -1
    return out
