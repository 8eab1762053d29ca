"""A surface of units in rows with what is on it: terraces, units, defects as edits, and the labels that follow."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .defects import Placed
from .ledges import Edges
from .materials import Material
from .orbitals import Orbitals, OrbitalSurface
from .site_defects import SITE_DEFECTS, Edit, Island, SiteDefect
from .structure import Window
from .surface_state import mark_nearest
from .units import Bools, Floats, Ints

MARGIN_nm = 3.0  # units so far outside the window are part of the scene: a vacancy's, a contaminant's
TRUNCATED = 3.0  # standard deviations of a smoothing
STEP_CLASS_nm = 0.45
RIM_CELLS = 1  # an edge of a terrace is as wide
Members = Mapping[str, tuple[type[SiteDefect], Placed]]


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

    def point_nm(self, along_nm: float, across_nm: float) -> tuple[float, float]:
        """Return the place of a point of its frame."""
        steps = along_nm * self.signs[0], across_nm * self.signs[1]
        right, up = steps if self.axis == 0 else steps[::-1]
        return self.place_nm[0] + right, self.place_nm[1] + up

    @property
    def probe_nm(self) -> tuple[float, float]:
        """Return where it stands its height."""
        return self.point_nm(*self.edit.probe_nm)


@dataclass(frozen=True)
class Scene:
    """A surface with what is on it: everything about the sample that does not depend on tip and junction.

    ``members`` maps the recipe's names to kinds and placed defects, ``sited`` holds the same, member after member;
    ``strength`` is the logarithm of each unit's strength, over the box; ``states`` those of the units, (n_units,).
    """

    surface: OrbitalSurface
    look: Orbitals
    region: Box
    levels: Ints
    units: Units
    members: Members
    sited: tuple[Sited, ...]
    strength: Floats
    states: Ints

    @property
    def material(self) -> Material:
        """The lattice."""
        return self.surface.lattice

    @functools.cached_property
    def places_nm(self) -> Floats:
        """Positions of the defects, member after member, shape (n, 3)."""
        rows = [(*each.probe_nm, each.level * self.surface.step_nm) for each in self.sited]
        return np.array(rows).reshape(-1, 3)

    @functools.cached_property
    def middles_nm(self) -> Floats:
        """Middles of the units, shape (n_units, 2)."""
        cells = np.stack([self.units.u, self.units.v], axis=1).astype(np.float64)
        aside = (self.surface.pair - 1) / 2
        cells[self.units.axis == 1, 0] += aside
        cells[self.units.axis == 0, 1] += aside
        return cells * self.surface.cells_nm

    @functools.cached_property
    def classes(self) -> Ints:
        """The kind of each defect, its position among ``SITE_DEFECTS``, shape (n,)."""
        known = list(SITE_DEFECTS.values())
        kinds = [known.index(kind) for kind, placed in self.members.values() for _ in range(len(placed.cells))]
        return np.array(kinds, dtype=np.int64)

    def pristine(self) -> Scene:
        """Return the same terraces without their defects."""
        return dataclasses.replace(self, members={}, sited=())

    def terrace(self, x_nm: Floats, y_nm: Floats) -> Ints:
        """Return the number of the terrace at points, 0 on the lowest without vacancy islands."""
        u, v = self._cells(x_nm, y_nm)
        return np.asarray(self.levels[v, u] - min(0, int(self.levels.min())))

    def _cells(self, x_nm: Floats, y_nm: Floats) -> tuple[Ints, Ints]:
        """Return the cells of points, as columns and rows of the box."""
        along, up = self.surface.cells_nm
        u = np.floor(x_nm / along + 0.5).astype(np.int64) - self.region.u0
        v = np.floor(y_nm / up + 0.5).astype(np.int64) - self.region.v0
        return u, v

    def class_map(self, x_nm: Floats, y_nm: Floats) -> Ints:
        """Return the class at points: 0 terrace, 1 + kind within a defect's reach, then step edges."""
        out = np.zeros(x_nm.shape, dtype=np.int64)
        spread = round(STEP_CLASS_nm / min(self.surface.cells_nm))
        near = ndimage.maximum_filter(self.levels, 2 * spread + 1) != ndimage.minimum_filter(
            self.levels, 2 * spread + 1
        )
        u, v = self._cells(x_nm, y_nm)
        out[near[v, u]] = len(SITE_DEFECTS) + 1
        known = list(SITE_DEFECTS.values())
        reach_nm = np.array(
            [_reach_nm(known[number], each) for number, each in zip(self.classes, self.sited, strict=True)]
        )
        mark_nearest(x_nm, y_nm, self.places_nm[:, :2].copy(), reach_nm, self.classes + 1, out)
        return out


def _reach_nm(kind: type[SiteDefect], each: Sited) -> float:
    """Return how far around its place a defect's pixels lie."""
    return kind.reach_nm + 0.25 * max(0, len(each.edit.footprint) - 1)


def smoothed(white: Floats, cells_nm: tuple[float, float], length_nm: float) -> Floats:
    """Return white noise of variance 1 on cells as noise of variance 1 that is correlated over a length.

    exp(-r^2 / 2 length^2); cells nearer to the rim than ``smoothing_margin_nm`` are wrong.
    """
    sigma = [length_nm / math.sqrt(2) / width_nm for width_nm in cells_nm[::-1]]
    out = white
    for axis, width in enumerate(sigma):
        reach = math.ceil(TRUNCATED * width)
        weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * width**2))
        out = ndimage.correlate1d(out, weights / np.linalg.norm(weights), axis=axis, mode="constant")
    return np.asarray(out)


def smoothing_margin_nm(length_nm: float) -> float:
    """Return how far from a cell its correlated noise is drawn."""
    return TRUNCATED * length_nm / math.sqrt(2) + 1.0


def scene(
    surface: OrbitalSurface,
    look: Orbitals,
    edges: Edges,
    region: Box,
    *,
    members: Members,
    strength: Floats,
    rng_of: Callable[[str, int, int], np.random.Generator],
) -> Scene:
    """Return a surface with its steps and the defects that fit: on whole units, and on no other's.

    Parameters
    ----------
    members : mapping of names to kinds and placed defects
        A defect's cell is the site that it takes.
    rng_of : callable
        (member's name, u, v) -> the generator of the shape of the defect there.
    """
    levels = edges.levels(*region.axes)
    for kind, placed in members.values():
        if kind is Island:
            levels = _lowered(levels, region, surface, placed)
    there = units(surface, levels, region)
    rims = ndimage.minimum_filter(levels, 1 + 2 * RIM_CELLS) < levels
    found: dict[str, list[Sited | None]] = {
        name: [_sited(surface, there, levels, region, kind, name, placed, i, rng_of) for i in range(len(placed.cells))]
        for name, (kind, placed) in members.items()
    }
    kept = _without_overlap([each for row in found.values() for each in row], surface, there, region)
    out, sited, first = {}, [], 0
    for name, row in found.items():
        chosen = kept[first : first + len(row)]
        kind, placed = members[name]
        out[name] = (kind, placed.kept(chosen))
        sited += [each for each, fits in zip(row, chosen, strict=True) if fits and each is not None]
        first += len(row)
    states = np.zeros(len(there.u), dtype=np.int64)
    return Scene(surface, look, region, levels, there, out, tuple(sited), strength + edges.rim * rims, states)


def _lowered(levels: Ints, region: Box, surface: OrbitalSurface, placed: Placed) -> Ints:
    """Return terraces with rectangles one step lower, their sides whole dimers."""
    out, (along, up) = levels.copy(), surface.cells_nm
    for (u, v), length, width in zip(placed.cells, placed.values["length_nm"], placed.values["width_nm"], strict=True):
        half_u, half_v = max(1, round(length / along / 4)), max(1, round(width / up / 4))
        first = (u // 2 - half_u) * 2 - region.u0, (v // 2 - half_v) * 2 - region.v0
        columns = slice(max(0, first[0]), max(0, first[0] + 4 * half_u))
        rows = slice(max(0, first[1]), max(0, first[1] + 4 * half_v))
        out[rows, columns] = np.minimum(out[rows, columns], levels[rows, columns] - 1)
    return out


def _sited(
    surface: OrbitalSurface,
    there: Units,
    levels: Ints,
    region: Box,
    kind: type[SiteDefect],
    name: str,
    placed: Placed,
    number: int,
    rng_of: Callable[[str, int, int], np.random.Generator],
) -> Sited | None:
    """Return a defect on its unit, or None where its cell is outside or belongs to no unit."""
    u, v = placed.cells[number].tolist()
    if (u, v) not in region:
        return None
    own, level = int(there.number[v - region.v0, u - region.u0]), int(levels[v - region.v0, u - region.u0])
    axis = surface.axis(level)
    values = {key: float(column[number]) for key, column in placed.values.items()}
    edit = kind.shaped(values, rng_of(name, u, v) if kind.random else None)
    if own < 0 and edit.footprint:
        return None
    along, across = (u, v) if axis == 0 else (v, u)
    cell = (int(there.u[own]), int(there.v[own])) if own >= 0 else (u, v)
    signs = (1 if along // 2 % 2 == 0 else -1, 1 if across % 2 else -1)
    return Sited(
        edit=edit,
        heights_pm=(values.get("height_filled_pm", 0.0), values.get("height_empty_pm", 0.0)),
        charge=values.get("charge", 0.0),
        level=level,
        axis=axis,
        cell=cell,
        signs=signs if surface.pair == 2 else (signs[0], 1 if along // 4 % 2 == 0 else -1),
        place_nm=middle_nm(surface, cell[0], cell[1], axis)
        if own >= 0
        else (u * surface.cells_nm[0], v * surface.cells_nm[1]),
    )


def middle_nm(surface: OrbitalSurface, u: int, v: int, axis: int) -> tuple[float, float]:
    """Return the middle of the unit whose first cell is (u, v)."""
    aside = (surface.pair - 1) / 2
    return (u + aside * (axis == 1)) * surface.cells_nm[0], (v + aside * (axis == 0)) * surface.cells_nm[1]


def unit_at(surface: OrbitalSurface, there: Units, region: Box, each: Sited, along: int, across: int) -> int:
    """Return the number of the unit so many units along and across from a defect's own; -1 where there is none."""
    steps = along * each.signs[0], across * each.signs[1] * surface.pair
    u, v = np.add(each.cell, steps if each.axis == 0 else steps[::-1]).tolist()
    if (u, v) not in region:
        return -1
    number = int(there.number[v - region.v0, u - region.u0])
    return number if number >= 0 and there.level[number] == each.level else -1


def _without_overlap(found: Sequence[Sited | None], surface: OrbitalSurface, there: Units, region: Box) -> Bools:
    """Return which defects are there: all their units exist, and no earlier defect asks for one of them.

    Whether the earlier one is there does not matter, so that what is far away decides nothing.
    """
    kept: Bools = np.array([each is not None for each in found], dtype=np.bool_)
    taken: dict[int, int] = {}
    for number, each in enumerate(found):
        if each is None:
            continue
        own = [unit_at(surface, there, region, each, *offset) for offset in each.edit.footprint]
        kept[number] = all(unit >= 0 and unit not in taken for unit in own)
        taken |= dict.fromkeys((unit for unit in own if unit not in taken), number)
    return kept
