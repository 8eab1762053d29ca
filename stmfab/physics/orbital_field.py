"""The sample world of surfaces of local orbitals: from units in rows and what is on them to the current at a setpoint.

I(r) = G_0 |V| sum_j a_j sum_s A_s exp(-2 kappa_s |d_sj|) over the tip's atoms j and the lobes s, z from the top layer
of the lowest terrace.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import ndimage

from . import _orbital_field_kernels, tips
from .field import CurrentField, chebyshev_nodes, values_to_monomials
from .junction import Junction
from .orbital_lobes import Seen
from .orbital_scene import Scene
from .orbital_units import middle_nm
from .orbitals import EMPTY, FILLED
from .structure import Window
from .terraces import EDGE_nm
from .tips import Tip
from .units import Bools, CONDUCTANCE_QUANTUM_nA_per_V, Floats, Floats32, Ints

NM_PER_PM = 1e-3
N_HEIGHTS = 8
BELOW_nm, ABOVE_nm = 0.33, 0.3  # the heights of a table around the expected gap, and over the highest defect
LEAST_GAP_nm = 0.18
FADED = 1e-5  # of the clean current: where a lobe ends
FALL_STEP_nm2 = 0.01  # of a table of lobes over the square of the distance aside
UNFELT = 1e-3  # tip atoms with a smaller share of the current add to the others
ENERGIES = 9  # of the tip's density of states over the bias window
SAME_PLACE = 1e-6  # of a node's width
LEVEL_nm = 1e-7  # a terrace is as high as its reference there

Rectangle: TypeAlias = tuple[slice, slice]  # rows and columns of nodes
Apex: TypeAlias = tuple[tuple[float, float], Floats]  # where it is, and its atoms, rows x, y, z, strength, from there


@dataclass(frozen=True)
class Group:
    """Figures of lobes that are alike, arrays (n,): the terrace, column and row of the node, and strength of each.

    ``lobes``, rows (x, y, z, kappa ratio, strength), are a figure's, x and y from its node, z from the terrace.
    """

    lobes: Floats
    level: Ints
    column: Ints
    row: Ints
    strength: Floats32


@dataclass(frozen=True)
class Grid:
    """Nodes that divide the cells of a window evenly: so many a cell along x and along y."""

    view: Window
    per_cell: tuple[int, int]
    cells_nm: tuple[float, float]

    @property
    def steps_nm(self) -> Floats:
        """Distance of nodes along x and y."""
        return np.array(self.cells_nm) / self.per_cell

    @property
    def origin_nm(self) -> Floats:
        """Position of the first node."""
        return np.array([self.view.u0, self.view.v0]) * self.cells_nm

    @property
    def shape(self) -> tuple[int, int]:
        """Number of nodes along y and x."""
        n_v, n_u = self.view.cells.shape
        return n_v * self.per_cell[1], n_u * self.per_cell[0]


@dataclass(frozen=True)
class Maker:
    """Makes the field of a scene at one junction."""

    scene: Scene
    tip: Tip
    junction: Junction
    grid: Grid

    @property
    def kappa_per_nm(self) -> float:
        """Decay constant of the clean surface."""
        return self.junction.decay_per_nm

    @functools.cached_property
    def seen(self) -> Seen:
        """The scene at this junction."""
        state = EMPTY if self.junction.sample_bias_V > 0 else FILLED
        return Seen(self.scene, state, self.kappa_per_nm)

    @functools.cached_property
    def atoms(self) -> list[Apex]:
        """The apexes of the tip that are felt."""
        return _atoms(self.tip, self.junction.sample_bias_V, self.kappa_per_nm)

    @functools.cached_property
    def height_nm(self) -> float:
        """The expected gap at the setpoint."""
        if self.junction.current_nA is None:
            return self.junction.expected_height_nm()
        contact = CONDUCTANCE_QUANTUM_nA_per_V * abs(self.junction.bias_V)
        own = max(float(np.exp(-2 * self.kappa_per_nm * apex[:, 2]) @ apex[:, 3]) for _, apex in self.atoms)
        return self.seen.gap_nm(self.junction.current_nA / (contact * own))

    @functools.cached_property
    def range_nm(self) -> tuple[float, float]:
        """Middle and half width of the tabulated heights over a terrace."""
        highest_pm = max((each.heights_pm[self.seen.state] for each in self.scene.sited), default=0.0)
        low_nm = max(self.height_nm - BELOW_nm, LEAST_GAP_nm)
        high_nm = self.height_nm + max(0.0, highest_pm * NM_PER_PM) + ABOVE_nm
        return (low_nm + high_nm) / 2, (high_nm - low_nm) / 2

    @functools.cached_property
    def heights_nm(self) -> Floats:
        """The tabulated heights over a terrace, shape (N_HEIGHTS,)."""
        middle_nm, half_nm = self.range_nm
        return middle_nm + half_nm * chebyshev_nodes(N_HEIGHTS)

    @functools.cached_property
    def reference_nm(self) -> Floats:
        """Height of the surface at the nodes: terraces, smoothed."""
        scene, grid = self.scene, self.grid
        n_v, n_u = grid.shape
        u, v = (
            np.floor((first * per + np.arange(n)) / per + 0.5).astype(np.int64) - low
            for first, per, n, low in zip(
                (grid.view.u0, grid.view.v0),
                grid.per_cell,
                (n_u, n_v),
                (scene.region.u0, scene.region.v0),
                strict=True,
            )
        )
        levels = scene.levels[np.ix_(v, u)]
        if levels.min() == levels.max():
            return np.full(grid.shape, float(levels[0, 0]) * scene.surface.step_nm)
        sigma = EDGE_nm / grid.steps_nm[::-1]
        return np.asarray(ndimage.gaussian_filter(levels * scene.surface.step_nm, sigma, mode="nearest"))

    def current(self) -> CurrentField:
        """Return the field of ln|I / nA|."""
        contact = CONDUCTANCE_QUANTUM_nA_per_V * abs(self.junction.bias_V)
        base = math.log(contact) - 2 * self.kappa_per_nm * self.heights_nm
        return self.tabulated(self.summed, base, self.grid.view.cells, self.whole)

    @property
    def whole(self) -> Rectangle:
        """The rows and columns of all nodes."""
        n_v, n_u = self.grid.shape
        return slice(0, n_v), slice(0, n_u)

    def tabulated(self, current: Floats, base: Floats, computed: Bools, nodes: Rectangle) -> CurrentField:
        """Return the field of ln(current) + base, given at the heights over the reference, on some nodes.

        Cells that are not ``computed`` are left empty; they divide the nodes evenly.
        """
        low, high = float(self.reference_nm.min()), float(self.reference_nm.max())
        own_middle_nm, own_nm = self.range_nm
        middle_nm, reach_nm = (low + high) / 2 + own_middle_nm, (high - low) / 2 + own_nm
        start = (middle_nm - self.reference_nm[nodes] - own_middle_nm) / own_nm
        out, to_monomials = np.empty(current.shape, dtype=np.float32), values_to_monomials(N_HEIGHTS)
        scale = reach_nm / own_nm
        _orbital_field_kernels.to_polynomials(current, to_monomials @ base, computed, to_monomials, start, scale, out)
        polarity = 1 if self.junction.sample_bias_V > 0 else -1
        steps_nm = self.grid.steps_nm
        origin_nm = self.grid.origin_nm + np.array([nodes[1].start, nodes[0].start]) * steps_nm
        return CurrentField(out, origin_nm, np.diag(steps_nm), middle_nm, reach_nm, polarity)

    @functools.cached_property
    def summed(self) -> Floats:
        """The current over exp(-2 kappa height) of all that stays, as ``current_of`` gives it."""
        return self.current_of([*self._unit_groups(), *self.added_groups(self.seen.added(self.height_nm))], self.whole)

    def current_of(self, groups: Sequence[Group], nodes: Rectangle) -> Floats:
        """Return the current over exp(-2 kappa height) of groups, (n_v, n_u, n_heights), on some nodes.

        At the heights over the reference; 0 where no lobe reaches.
        """
        tables = [[self._table(group, apex) for apex in self.atoms] for group in groups]
        reference_nm = self.reference_nm[nodes]
        total = np.zeros((*reference_nm.shape, N_HEIGHTS))
        heights = self.range_nm[1], self.kappa_per_nm, chebyshev_nodes(N_HEIGHTS), values_to_monomials(N_HEIGHTS)
        current = np.empty((total.shape[0], total.shape[1] * N_HEIGHTS), dtype=np.float32)
        for level in np.unique(np.concatenate([group.level for group in groups])):
            current[:] = 0
            for group, own in zip(groups, tables, strict=True):
                here = group.level == level
                column, row = group.column[here] - nodes[1].start, group.row[here] - nodes[0].start
                for (first, below), table in own:
                    at = column + first, row + below
                    _orbital_field_kernels.add_lobes(*at, group.strength[here], table, N_HEIGHTS, current)
            above_nm = reference_nm - level * self.scene.surface.step_nm
            above_nm[np.abs(above_nm) < LEVEL_nm] = 0.0
            _orbital_field_kernels.add_terrace(current.reshape(total.shape), above_nm, *heights, total)
        return total

    def nodes_of(self, groups: Sequence[Group]) -> Rectangle:
        """Return the rows and columns of nodes that groups reach; empty where they are off the grid."""
        corners = []
        for group, apex in itertools.product(groups, self.atoms):
            (column, row), table = self._table(group, apex)
            size = len(table), table.shape[1] // N_HEIGHTS
            corners += [(group.row.min() + row, group.column.min() + column)]
            corners += [(group.row.max() + row + size[0], group.column.max() + column + size[1])]
        low, high = np.clip([np.min(corners, axis=0), np.max(corners, axis=0)], 0, self.grid.shape).tolist()
        return slice(low[0], high[0]), slice(low[1], high[1])

    @functools.cached_property
    def _known_falls(self) -> Callable[[float, float, float, float], Floats]:
        return functools.lru_cache(maxsize=None)(self._falls)

    def _table(self, group: Group, apex: Apex) -> tuple[tuple[int, int], Floats32]:
        """Return the table of a group under one apex, (n_rows, n_columns * n_heights), and where it starts."""
        place, atoms = apex
        steps_nm, most = self.grid.steps_nm, float(group.strength.max(initial=0.0))
        at = group.lobes[:, :2] - np.array(place)
        reach_nm = max(self._reach_nm(most * strength, z, ratio) for _, _, z, ratio, strength in group.lobes)
        start = np.floor((at.min(axis=0) - reach_nm) / steps_nm)
        n_u, n_v = (np.ceil((at.max(axis=0) + reach_nm) / steps_nm) - start + 1).astype(np.int64).tolist()
        table = np.zeros((n_v, n_u, N_HEIGHTS))
        farthest_nm = math.hypot(*([n_u, n_v] * steps_nm)) + float(np.hypot(atoms[:, 0], atoms[:, 1]).max())
        for (x, y), (_, _, z_nm, ratio, own) in zip(at, group.lobes, strict=True):
            first = start * steps_nm - [x, y]
            for right, up, above, strength in atoms:
                fall = own * strength * self._known_falls(z_nm, ratio, above, math.ceil(farthest_nm))
                _orbital_field_kernels.add_falls(fall, FALL_STEP_nm2, np.array([right, up]), first, steps_nm, table)
        return (int(start[0]), int(start[1])), table.reshape(n_v, -1).astype(np.float32)

    def _falls(self, z_nm: float, ratio: float, atom_z_nm: float, farthest_nm: float) -> Floats:
        """Return exp(-2 kappa_s |d|) over exp(-2 kappa height) at squares of distances aside, (n, n_heights)."""
        kappa = self.kappa_per_nm
        aside_nm2 = FALL_STEP_nm2 * np.arange(math.ceil(farthest_nm**2 / FALL_STEP_nm2) + 4)
        away_nm = np.sqrt(aside_nm2[:, None] + (self.heights_nm + atom_z_nm - z_nm) ** 2)
        return np.asarray(np.exp(2 * kappa * (self.heights_nm - ratio * away_nm)))

    def _reach_nm(self, most: float, z_nm: float, ratio: float) -> float:
        """Return how far aside a lobe so strong is still felt at the expected gap."""
        kappa, gap_nm = self.kappa_per_nm, self.height_nm - z_nm
        away_nm = (math.log(max(1.0, most / FADED)) / (2 * kappa) + self.height_nm) / ratio
        return math.sqrt(max(0.0, away_nm**2 - gap_nm**2)) + float(self.grid.steps_nm.max())

    def over_reference(self, x_nm: Floats, y_nm: Floats) -> Floats:
        """Return the height of the surface at points, in the shape of x."""
        u, v = (
            (at - first) / step
            for at, first, step in zip((x_nm, y_nm), self.grid.origin_nm, self.grid.steps_nm, strict=True)
        )
        return np.asarray(ndimage.map_coordinates(self.reference_nm, [v, u], order=1, mode="nearest"))

    def _unit_groups(self) -> Iterator[Group]:
        """Yield the lobes of units: those that no defect edits as figures, of the others each lobe."""
        scene, seen, units = self.scene, self.seen, self.scene.units
        near = _near(scene, self.grid, self._reach_nm(float(seen.clean.max()), 0.0, 1.0) + _spread_nm(self.tip))
        whole = np.ones(len(units.u), dtype=np.bool_)
        whole[scene.edits.unit] = False
        for axis, state in itertools.product((0, 1), range(len(scene.surface.states))):
            own = near & (units.axis == axis) & (scene.states == state)
            lobes = self._figure(axis, state)
            yield self._group(lobes, np.flatnonzero(own & whole), np.exp(seen.local))
            edited = np.flatnonzero(own & ~whole)
            for number, lobe in enumerate(lobes):
                yield self._group(lobe[None], edited, seen.strengths[:, number] / lobe[4])

    def _figure(self, axis: int, state: int) -> Floats:
        """Return the lobes of a clean unit, rows (x, y, z, kappa ratio, strength), x and y from its first cell."""
        surface, seen = self.scene.surface, self.seen
        out = np.ones((len(surface.states[state]), 5))
        for row, lobe, strength in zip(out, surface.states[state], seen.clean[state], strict=True):
            aside = np.array([lobe.along_nm, lobe.across(seen.split_nm)])
            row[:2] = middle_nm(surface, 0, 0, axis) + (aside if axis == 0 else aside[::-1])
            row[2], row[4] = lobe.z_nm, strength
        return out

    def _group(self, lobes: Floats, units: Ints, strengths: Floats) -> Group:
        """Return a group of some units."""
        there, (columns, rows) = self.scene.units, self.grid.per_cell
        units = units[strengths[units] > 0]
        column, row = (there.u[units] - self.grid.view.u0) * columns, (there.v[units] - self.grid.view.v0) * rows
        return Group(lobes, there.level[units], column, row, strengths[units].astype(np.float32))

    def added_groups(self, table: Floats) -> Iterator[Group]:
        """Yield lobes that defects add, rows of ``Seen.added``, those at alike places between nodes together."""
        nodes = (table[:, 1:3] - self.grid.origin_nm) / self.grid.steps_nm
        whole = np.floor(nodes + SAME_PLACE).astype(np.int64)
        shares = np.round((nodes - whole) / SAME_PLACE) * SAME_PLACE
        kinds, which = np.unique(np.column_stack([shares, table[:, 3:5]]), axis=0, return_inverse=True)
        for number, (right, up, z_nm, ratio) in enumerate(kinds):
            own = which.ravel() == number
            lobes = np.array([[*([right, up] * self.grid.steps_nm), z_nm, ratio, 1.0]])
            yield Group(
                lobes, table[own, 0].astype(np.int64), whole[own, 0], whole[own, 1], table[own, 5].astype(np.float32)
            )


def _spread_nm(tip: Tip) -> float:
    """Return how far the tip's apexes are from its axis at most, with some room."""
    return max(math.hypot(*apex) for apex in tip.apexes_nm) + 0.4


def _near(scene: Scene, grid: Grid, reach_nm: float) -> Bools:
    """Return which units reach the cells of the window, (n_units,)."""
    along, up = grid.cells_nm
    size = 2 * math.ceil(reach_nm / up) + 3, 2 * math.ceil(reach_nm / along) + 3
    n_v, n_u = grid.view.cells.shape
    wide = np.zeros((scene.region.n_v, scene.region.n_u), dtype=np.uint8)
    v, u = grid.view.v0 - scene.region.v0, grid.view.u0 - scene.region.u0
    wide[v : v + n_v, u : u + n_u] = grid.view.cells
    near = ndimage.maximum_filter(wide, size) > 0
    return np.asarray(near[scene.units.v - scene.region.v0, scene.units.u - scene.region.u0])


def _atoms(tip: Tip, bias_V: float, kappa_per_nm: float) -> list[Apex]:
    """Return the apexes of a tip that are felt: where each is, and its atoms, rows x, y, z, strength, from there."""
    energies_eV = np.linspace(min(0.0, -bias_V), max(0.0, -bias_V), ENERGIES)
    strengths = tip.density(energies_eV).mean(axis=1) / tips.MEAN_LDOS_per_eV
    shares = strengths * np.exp(-2 * kappa_per_nm * tip.positions_nm[:, 2])
    felt = shares > UNFELT * shares.max()
    whole = shares.sum() / shares[felt].sum()
    atoms = np.column_stack([tip.positions_nm[felt], whole * strengths[felt]])
    apexes = np.array(tip.apexes_nm)
    nearest = np.linalg.norm(atoms[:, None, :2] - apexes, axis=2).argmin(axis=1)
    return [
        ((float(x), float(y)), atoms[nearest == number] - [x, y, 0.0, 0.0])
        for number, (x, y) in enumerate(apexes)
        if (nearest == number).any()
    ]
