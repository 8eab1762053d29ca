"""A surface of units in rows with what is on it: terraces, units, defects as edits, and the labels that follow."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import ndimage, special

from . import _orbital_scene_kernels
from .defects import Placed
from .dimer_defects import Island
from .ledges import Edges
from .materials import Material
from .orbital_units import Box, Sited, Units, middle_nm, units, units_at
from .orbitals import TOP, Buckling, Orbitals, OrbitalSurface
from .site_edits import Edit, SiteDefect
from .surface_state import mark_nearest
from .units import Bools, Floats, Ints

TRUNCATED = 3.0  # standard deviations of a smoothing
STEP_CLASS_nm = 0.45
RIM_CELLS = 1  # an edge of a terrace is as wide
PIN_CELLS = 4  # an edge that an adsorbate pins is so far ahead there
Members = Mapping[str, tuple[type[SiteDefect], Placed]]
Shapes: TypeAlias = MutableMapping[tuple[str, int, int], Edit]  # of the defects that are drawn, by name and cell (u, v)


@dataclass(frozen=True)
class Buckled:
    """Buckled dimers: noise of variance 1 on the cells of the box that decides domains, and another for the phase.

    ``turned`` are those two where rows run along y; None: the same.
    """

    buckling: Buckling
    domains: Floats
    phase: Floats
    turned: tuple[Floats, Floats] | None = None

    def domains_of(self, there: Units, region: Box) -> Ints:
        """Return the domains of units, (n_units,): 0 flips, 1 p(2x2), 2 c(4x2)."""
        level = special.ndtr(self._of_units(0, there, region))
        ordered = level < self.buckling.c4x2 + self.buckling.p2x2
        return np.asarray(np.where(level < self.buckling.c4x2, 2, ordered), dtype=np.int64)

    def states(self, there: Units, region: Box, domain: Ints) -> Ints:
        """Return the states of units in domains, (n_units,): 0 flips, 1 and 2 have the one or the other atom up."""
        along, row = np.where(there.axis == 0, [there.u, there.v // 2], [there.v, there.u // 2])
        up = (along + row * (domain == 2) + (self._of_units(1, there, region) > 0)) % 2
        return np.asarray(np.where(domain > 0, 1 + up, 0), dtype=np.int64)

    def _of_units(self, number: int, there: Units, region: Box) -> Floats:
        """Return the noise of domains (0) or phases (1) of units, (n_units,)."""
        at = there.v - region.v0, there.u - region.u0
        own = (self.domains, self.phase)[number][at]
        return own if self.turned is None else np.where(there.axis == 0, own, self.turned[number][at])


@dataclass(frozen=True)
class Edits:
    """What defects do to lobes of units, arrays (n_edits,): unit, layer, side (0: both), factors of what they carry.

    ``owner`` is the position of the defect among those of the scene.
    """

    owner: Ints
    unit: Ints
    layer: Ints
    side: Ints
    filled: Floats
    empty: Floats


@dataclass(frozen=True)
class Scene:
    """A surface with what is on it: everything about the sample that does not depend on tip and junction.

    ``members`` maps the recipe's names to kinds and placed defects, ``sited`` holds the same, member after member;
    ``strength`` is the logarithm of each unit's strength, over the box; ``states`` and
    ``domains`` are those of the units, (n_units,).
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
    domains: Ints

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

    @property
    def lowest(self) -> int:
        """The terrace that is counted as 0: the lowest without vacancy islands, or with them if there are no steps."""
        return min(0, int(self.levels.min()))

    @functools.cached_property
    def edits(self) -> Edits:
        """What the defects do to the units' lobes."""
        numbers = np.repeat(np.arange(len(self.sited)), [len(each.edit.scaled) for each in self.sited])
        table = np.concatenate([np.zeros((0, 6)), *(each.edit.scaled_table for each in self.sited)])
        offsets, layer = table[:, :2].astype(np.int64), table[:, 3].astype(np.int64)
        side = table[:, 2].astype(np.int64) * np.array([each.signs[1] for each in self.sited], dtype=np.int64)[numbers]
        unit = units_at(self.surface, self.units, self.region, self.sited, numbers, offsets)
        there = unit >= 0
        return Edits(numbers[there], unit[there], layer[there], side[there], table[there, 4], table[there, 5])

    @functools.cached_property
    def whole(self) -> Bools:
        """Which units are as on the clean surface, none of their top lobes gone, (n_units,)."""
        out = np.ones(len(self.units.u), dtype=np.bool_)
        gone = (self.edits.layer == TOP) & (self.edits.filled == 0)
        out[self.edits.unit[gone]] = False
        return out

    def heat_map(self, x_nm: Floats, y_nm: Floats, shown: Bools, *, sigma_nm: float) -> Floats:
        """Return the heat of the units shown at points (n_rows, n_cols): 1 on one, a Gaussian around it."""
        (along, up), out = self.surface.cells_nm, np.empty(x_nm.shape)
        cells = np.array([(self.region.u0 * along, along), (self.region.v0 * up, up)])
        known = self.units.number, self.middles_nm, shown
        _orbital_scene_kernels.heat(x_nm, y_nm, cells, *known, sigma_nm, out)
        return out

    def pristine(self) -> Scene:
        """Return the same terraces without their defects."""
        return dataclasses.replace(self, members={}, sited=())

    def terrace(self, x_nm: Floats, y_nm: Floats) -> Ints:
        """Return the number of the terrace at points, 0 on the lowest without vacancy islands."""
        u, v = self._cells(x_nm, y_nm)
        return np.asarray(self.levels[v, u] - self.lowest)

    def _cells(self, x_nm: Floats, y_nm: Floats) -> tuple[Ints, Ints]:
        """Return the cells of points, as columns and rows of the box."""
        along, up = self.surface.cells_nm
        u = np.floor(x_nm / along + 0.5).astype(np.int64) - self.region.u0
        v = np.floor(y_nm / up + 0.5).astype(np.int64) - self.region.v0
        return u, v

    def class_map(self, x_nm: Floats, y_nm: Floats, classes: Ints, n_classes: int) -> Ints:
        """Return the class at points: 0 terrace, 1 + that of a defect within its reach, then step edges."""
        out = np.zeros(x_nm.shape, dtype=np.int64)
        size = [1 + 2 * max(1, round(STEP_CLASS_nm / width_nm)) for width_nm in self.surface.cells_nm[::-1]]
        near = ndimage.maximum_filter(self.levels, size) != ndimage.minimum_filter(self.levels, size)
        u, v = self._cells(x_nm, y_nm)
        out[near[v, u]] = n_classes + 1
        kinds = [kind for kind, placed in self.members.values() for _ in range(len(placed.cells))]
        reach_nm = np.array([_reach_nm(kind, each) for kind, each in zip(kinds, self.sited, strict=True)])
        mark_nearest(x_nm, y_nm, np.ascontiguousarray(self.places_nm[:, :2]), reach_nm, classes + 1, out)
        return out


def _reach_nm(kind: type[SiteDefect], each: Sited) -> float:
    """Return how far around its place a defect's pixels lie."""
    return kind.reach_nm + 0.25 * max(0, len(each.edit.footprint) - 1)


def smoothed(white: Floats, cells_nm: tuple[float, float], lengths_nm: tuple[float, float]) -> Floats:
    """Return white noise of variance 1 on cells as noise of variance 1 that is correlated over lengths along x and y.

    exp(-r^2 / 2 length^2); cells nearer to the rim than ``smoothing_margin_nm`` are wrong.
    """
    both = zip(lengths_nm[::-1], cells_nm[::-1], strict=True)
    sigma = [length_nm / math.sqrt(2) / width_nm for length_nm, width_nm in both]
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
    buckled: Buckled | None,
    rng_of: Callable[[str, int, int], np.random.Generator],
    shapes: Shapes | None = None,
) -> Scene:
    """Return a surface with its steps and the defects that fit: on whole units, and on no other's.

    Parameters
    ----------
    members : mapping of names to kinds and placed defects
        A defect's cell is the site that it takes.
    buckled : Buckled or None
        Of a surface whose units have several states.
    rng_of : callable
        (member's name, u, v) -> the generator of the shape of the defect there.
    shapes : mapping, optional
        Shapes that another window of the same sample has drawn; those drawn now are added.
    """
    drawn: Shapes = {} if shapes is None else shapes

    def edit_of(name: str, u: int, v: int, kind: type[SiteDefect], values: Mapping[str, float]) -> Edit:
        if not kind.random:
            return kind.shaped(values, None)
        if (name, u, v) not in drawn:
            drawn[name, u, v] = kind.shaped(values, rng_of(name, u, v))
        return drawn[name, u, v]

    levels, sites = _terraces(surface, edges, region, members)
    there = units(surface, levels, region)
    rims = ndimage.minimum_filter(levels, 1 + 2 * RIM_CELLS) < levels
    found = {
        name: _sited(surface, there, levels, region, kind, placed, sites[name], functools.partial(edit_of, name))
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
    states = domains = np.zeros(len(there.u), dtype=np.int64)
    if buckled is not None:
        domains = buckled.domains_of(there, region)
        states = buckled.states(there, region, domains)
    rimmed = strength + edges.rim * rims
    return Scene(surface, look, region, levels, there, out, tuple(sited), rimmed, states, domains)


def _terraces(surface: OrbitalSurface, edges: Edges, region: Box, members: Members) -> tuple[Ints, dict[str, Ints]]:
    """Return the terraces of the cells of a box, (n_v, n_u), and the cells on which each member's defects sit."""
    levels = edges.levels(*region.axes)
    for kind, placed in members.values():
        if kind is Island:
            levels = _lowered(levels, region, surface, placed)
    sites = {name: placed.cells for name, (_, placed) in members.items()}
    if edges.capture_nm > 0:
        mobile = [name for name, (kind, _) in members.items() if kind.mobile]
        moved = {name: _at_edges(levels, region, surface, sites[name], edges.capture_nm) for name in mobile}
        for name, cells in moved.items():
            levels = _pinned(levels, region, cells[(cells != sites[name]).any(axis=1)])
        sites |= moved
    return levels, sites


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


def _at_edges(levels: Ints, region: Box, surface: OrbitalSurface, cells: Ints, capture_nm: float) -> Ints:
    """Return cells (n, 2), those so near to an edge moved to the nearest cell of the upper terrace there."""
    out, edge = cells.copy(), ndimage.minimum_filter(levels, 1 + 2 * RIM_CELLS) < levels
    inside = np.flatnonzero(region.inside(cells))
    if not edge.any() or not len(inside):
        return out
    away_nm, nearest = ndimage.distance_transform_edt(~edge, surface.cells_nm[::-1], return_indices=True)
    column, row = (cells[inside] - [region.u0, region.v0]).T
    near = away_nm[row, column] <= capture_nm
    v, u = nearest[:, row[near], column[near]]
    out[inside[near]] = np.stack([u + region.u0, v + region.v0], axis=1)
    return out


def _pinned(levels: Ints, region: Box, cells: Ints) -> Ints:
    """Return terraces that reach farther down where adsorbates in cells pin their edges: diamonds of whole dimers."""
    out = levels.copy()
    reach = range(-PIN_CELLS, PIN_CELLS + 1, 2)
    for u, v in cells.tolist():
        upper = levels[v - region.v0, u - region.u0]
        for right, up in ((i, j) for i in reach for j in reach if abs(i) + abs(j) <= PIN_CELLS):
            row, column = max(0, v // 2 * 2 + up - region.v0), max(0, u // 2 * 2 + right - region.u0)
            dimers = out[row : row + 2, column : column + 2]
            dimers[dimers == upper - 1] = upper
    return out


def _sited(
    surface: OrbitalSurface,
    there: Units,
    levels: Ints,
    region: Box,
    kind: type[SiteDefect],
    placed: Placed,
    sites: Ints,
    edit_of: Callable[[int, int, type[SiteDefect], Mapping[str, float]], Edit],
) -> list[Sited | None]:
    """Return a member's defects on their units, None for one whose site is outside or belongs to no unit.

    ``sites``, (n, 2), are the cells that they sit on: their own, but for those that have moved.
    """
    out: list[Sited | None] = [None] * len(placed.cells)
    inside = np.flatnonzero(region.inside(sites))
    cells, own_cells = sites[inside], placed.cells[inside].tolist()
    at = cells[:, 1] - region.v0, cells[:, 0] - region.u0
    columns = [column[inside].tolist() for column in placed.values.values()]
    rows = zip(own_cells, cells.tolist(), there.number[at].tolist(), levels[at].tolist(), *columns, strict=True)
    for number, ((own_u, own_v), (u, v), own, level, *numbers) in zip(inside.tolist(), rows, strict=True):
        values, axis = dict(zip(placed.values, numbers, strict=True)), surface.axis(level)
        edit = edit_of(own_u, own_v, kind, values)
        ratio = 1.0 if kind.cell_nm is None else surface.spacing_nm(axis)[0] / kind.cell_nm
        edit = edit if ratio == 1 else edit.stretched(ratio)
        if own >= 0 or not edit.footprint:
            cell = (int(there.u[own]), int(there.v[own])) if own >= 0 else (u, v)
            out[number] = _on_unit(surface, edit, values, level, axis, (u, v), cell, own >= 0)
    return out


def _on_unit(
    surface: OrbitalSurface,
    edit: Edit,
    values: Mapping[str, float],
    level: int,
    axis: int,
    site: tuple[int, int],
    cell: tuple[int, int],
    on_unit: bool,
) -> Sited:
    """Return a defect on a site of its unit, whose first cell is known, or on a site without a unit."""
    along, across = site if axis == 0 else site[::-1]
    signs = (1 if along // 2 % 2 == 0 else -1, 1 if across % 2 else -1)
    own_nm = site[0] * surface.cells_nm[0], site[1] * surface.cells_nm[1]
    return Sited(
        edit=edit,
        heights_pm=(values.get("height_filled_pm", 0.0), values.get("height_empty_pm", 0.0)),
        charge=values.get("charge", 0.0),
        level=level,
        axis=axis,
        cell=cell,
        signs=signs if surface.pair == 2 else (signs[0], 1 if along // 4 % 2 == 0 else -1),
        rates_per_s=(values["up_per_s"], values["down_per_s"]) if "up_per_s" in values else None,
        place_nm=middle_nm(surface, *cell, axis) if on_unit else own_nm,
    )


def _without_overlap(found: Sequence[Sited | None], surface: OrbitalSurface, there: Units, region: Box) -> Bools:
    """Return which defects are there: all their units exist, and no earlier defect asks for one of them.

    Whether the earlier one is there does not matter, so that what is far away decides nothing.
    """
    kept: Bools = np.array([each is not None for each in found], dtype=np.bool_)
    here = [each for each in found if each is not None]
    owners = np.repeat(np.arange(len(here)), [len(each.edit.footprint) for each in here])
    if not len(owners):
        return kept
    numbers = np.flatnonzero(kept)[owners]
    offsets = np.concatenate([each.edit.footprint_table for each in here])
    asked = units_at(surface, there, region, here, owners, offsets)
    first = np.full(len(there.u) + 1, len(found))
    np.minimum.at(first, asked, numbers)
    kept[numbers[(asked < 0) | (first[asked] < numbers)]] = False
    return kept
