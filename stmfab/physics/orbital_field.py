"""The sample world of surfaces of local orbitals: from units in rows and what is on them to the current at a setpoint.

I(r) = G_0 |V| sum_j a_j sum_s A_s exp(-2 kappa_s |d_sj|) over the tip's atoms j and the lobes s, z from the top layer
of the lowest terrace.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from . import _orbital_field_kernels, tips
from .field import CurrentField, chebyshev_nodes, values_to_monomials
from .junction import Junction
from .orbital_figures import Apex, Figures, Group, Rectangle, Tables
from .orbital_lobes import Seen
from .orbital_scene import Scene
from .orbital_units import middle_nm
from .orbitals import EMPTY, FILLED
from .structure import Window
from .terraces import EDGE_nm
from .tips import Tip
from .units import Bools, CONDUCTANCE_QUANTUM_nA_per_V, Floats, Floats32, Ints

NM_PER_PM = 1e-3
N_HEIGHTS = _orbital_field_kernels.N_HEIGHTS
BELOW_nm, ABOVE_nm = 0.33, 0.3  # the heights of a table around the expected gap, and over the highest defect
LEAST_GAP_nm = 0.18
UNFELT = 1e-3  # tip atoms with a smaller share of the current add to the others
ENERGIES = 9  # of the tip's density of states over the bias window
TALL_nm = 0.2  # steps that are: lobes beside them are tabulated at the heights over the next lower terrace, too
SAME_PLACE = 1e-6  # of a node's width
LEVEL_nm = _orbital_field_kernels.LEVEL_nm
STRIP_NUMBERS = 1 << 18  # of currents at a time: 1 MiB stays near the processor


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
        nominal = self.scene.surface.nominal(self.junction.sample_bias_V)
        return Seen(self.scene, state, self.kappa_per_nm, nominal)

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

    @property
    def _base(self) -> Floats:
        """ln|I / nA| at the tabulated heights where the current over exp(-2 kappa height) is 1."""
        contact = CONDUCTANCE_QUANTUM_nA_per_V * abs(self.junction.bias_V)
        return np.asarray(math.log(contact) - 2 * self.kappa_per_nm * self.heights_nm)

    def current(self) -> CurrentField:
        """Return the field of ln|I / nA|."""
        n_v, n_u = self.grid.shape
        out = np.empty((n_v, n_u, N_HEIGHTS), dtype=np.float32)
        columns, rows = self.grid.per_cell
        n_cells = max(1, STRIP_NUMBERS // (rows * n_u * N_HEIGHTS))
        scratch = np.empty((3, n_cells * rows, n_u * N_HEIGHTS), dtype=np.float32)
        for cells in range(0, n_v // rows, n_cells):
            nodes = slice(cells * rows, min(n_v, (cells + n_cells) * rows)), slice(0, n_u)
            current = self._summed(self.figures.reaching(nodes), nodes, scratch)
            computed = self.grid.view.cells[cells : cells + n_cells]
            self._write(current, self._base, computed, (columns, rows), nodes, out[nodes[0]])
        return self._field(out, nodes=self.whole)

    @property
    def whole(self) -> Rectangle:
        """The rows and columns of all nodes."""
        n_v, n_u = self.grid.shape
        return slice(0, n_v), slice(0, n_u)

    def tabulated(self, current: Floats32, known: Bools, nodes: Rectangle) -> CurrentField:
        """Return the field of ln(current), (n_v, n_u * N_HEIGHTS), at the heights over the reference on some nodes.

        Nodes that are not ``known``, (n_v, n_u), are left empty. The current is used up.
        """
        out = np.empty((*known.shape, N_HEIGHTS), dtype=np.float32)
        self._write(current, np.zeros(N_HEIGHTS), known, (1, 1), nodes, out)
        return self._field(out, nodes=nodes)

    @functools.cached_property
    def _heights(self) -> tuple[float, float, float]:
        """Middle and half width of all tabulated heights, and the half width over that of one terrace."""
        low, high = float(self.reference_nm.min()), float(self.reference_nm.max())
        own_middle_nm, own_nm = self.range_nm
        half_nm = (high - low) / 2 + own_nm
        return (low + high) / 2 + own_middle_nm, half_nm, half_nm / own_nm

    def _field(self, coefficients: Floats32, *, nodes: Rectangle) -> CurrentField:
        """Return the field of polynomials on some nodes."""
        middle_nm, half_nm, _ = self._heights
        polarity = 1 if self.junction.sample_bias_V > 0 else -1
        steps_nm = self.grid.steps_nm
        origin_nm = self.grid.origin_nm + np.array([nodes[1].start, nodes[0].start]) * steps_nm
        return CurrentField(coefficients, origin_nm, np.diag(steps_nm), middle_nm, half_nm, polarity)

    def _write(
        self,
        current: Floats32,
        base: Floats,
        computed: Bools,
        per_cell: tuple[int, int],
        nodes: Rectangle,
        out: Floats32,
    ) -> None:
        """Write the polynomials of ln(current) + base to out, given on some nodes at the heights over the reference."""
        middle_nm, _, scale = self._heights
        own_middle_nm, own_nm = self.range_nm
        first, rise = (middle_nm - own_middle_nm) / own_nm, -1 / own_nm
        reference_nm, levels_nm, step_nm = self.reference_nm[nodes], self._levels_nm, self.scene.surface.step_nm
        to_monomials = values_to_monomials(N_HEIGHTS)
        _orbital_field_kernels.logarithms(current, computed, per_cell)
        ends = np.rint((np.array([reference_nm.min(), reference_nm.max()]) - levels_nm[0]) / step_nm).astype(np.int64)
        for level_nm in levels_nm[ends[0] : ends[1] + 1].tolist():
            matrix = _shift(first + rise * level_nm, scale) @ to_monomials
            made = current.reshape(-1, N_HEIGHTS) @ matrix.T.astype(np.float32)
            made += (matrix @ base).astype(np.float32)
            _orbital_field_kernels.take(made.reshape(out.shape), reference_nm, level_nm, out)
        if reference_nm.min() < reference_nm.max():
            made_of = np.ascontiguousarray(to_monomials.T), to_monomials @ base
            _orbital_field_kernels.between_terraces(
                current, reference_nm, (levels_nm[0], step_nm), *made_of, (first, rise, scale), out
            )

    @functools.cached_property
    def _levels_nm(self) -> Floats:
        """Heights of the terraces, from the lowest on."""
        levels = np.arange(self.scene.levels.min(), self.scene.levels.max() + 1)
        return np.asarray(levels * self.scene.surface.step_nm)

    @functools.cached_property
    def figures(self) -> Figures:
        """All that stays."""
        return self.gathered([*self._unit_groups(), *self.added_groups(self.seen.added(self.height_nm))])

    def current_of(self, figures: Figures, nodes: Rectangle) -> Floats32:
        """Return the current over exp(-2 kappa height) of figures on some nodes, (n_v, n_u * N_HEIGHTS).

        At the heights over the reference; 0 where no lobe reaches.
        """
        rows, columns = nodes
        shape = 3, rows.stop - rows.start, (columns.stop - columns.start) * N_HEIGHTS
        return self._summed(figures.reaching(nodes), nodes, np.empty(shape, dtype=np.float32))

    def current_in(self, field: CurrentField, nodes: Rectangle) -> Floats32:
        """Return what ``current_of`` does, (n_v, n_u, N_HEIGHTS), of a field of this maker; NaN where it has holes."""
        coefficients = field.coefficients[nodes]
        above_nm = self.reference_nm[nodes][..., None] + self.heights_nm
        s = ((above_nm - field.z_mid_nm) / field.z_half_nm).astype(np.float32)
        log = np.zeros_like(s)
        for k in range(N_HEIGHTS - 1, -1, -1):
            log *= s
            log += coefficients[..., k, None]
        return np.asarray(np.exp(log - self._base.astype(np.float32)))

    def _summed(self, figures: Figures, nodes: Rectangle, scratch: Floats32) -> Floats32:
        """Return ``current_of`` figures in the first third of the scratch, (3, n_v or more, n_u * N_HEIGHTS)."""
        reference_nm, step_nm, n = self.reference_nm[nodes], self.scene.surface.step_nm, nodes[0].stop - nodes[0].start
        total, current, lower = scratch[0, :n], scratch[1, :n], scratch[2, :n]
        total[:] = 0
        heights = (self.range_nm[1], self.kappa_per_nm), chebyshev_nodes(N_HEIGHTS), values_to_monomials(N_HEIGHTS)
        for level in np.unique(figures.level):
            own, seen = figures.level == level, lower[:0]
            if figures.below[own].any():
                seen = lower
                self._add(figures, own & figures.below, nodes, lower)
                own &= ~figures.below
            self._add(figures, own, nodes, current)
            terrace = float(level) * step_nm, step_nm
            _orbital_field_kernels.add_terrace(current, seen, reference_nm, terrace, *heights, total)
        return total

    @staticmethod
    def _add(figures: Figures, which: Bools, nodes: Rectangle, out: Floats32) -> None:
        """Write the current of some figures on some nodes to out."""
        out[:] = 0
        at = figures.column[which] - nodes[1].start, figures.row[which] - nodes[0].start
        known = figures.strength[which], figures.which[which], figures.tables, figures.shapes
        _orbital_field_kernels.add_figures(*at, *known, out)

    @functools.cached_property
    def tables(self) -> Tables:
        """What the apexes see of lobes at the heights over a terrace."""
        drop_nm = self.scene.surface.step_nm if np.ptp(self.scene.levels) else 0.0
        return Tables(self.kappa_per_nm, self.height_nm, drop_nm, self.heights_nm, self.grid.steps_nm, self.atoms)

    def gathered(self, groups: Sequence[Group]) -> Figures:
        """Return the figures of groups under every apex, beside tall steps also seen from below."""
        below = [self._seen_from_below(group) for group in groups] if self.tables.drop_nm > TALL_nm else []
        return self.tables.figures([*groups, *below])

    def _seen_from_below(self, group: Group) -> Group:
        """Return those figures of a group that the next lower terrace feels, seen from there."""
        (n_v, n_u), (columns, rows), region = self._lowest_felt.shape, self.grid.per_cell, self.scene.region
        u = np.clip(group.column // columns + self.grid.view.u0 - region.u0, 0, n_u - 1)
        v = np.clip(group.row // rows + self.grid.view.v0 - region.v0, 0, n_v - 1)
        return group.from_below(self._lowest_felt[v, u] < group.level)

    @functools.cached_property
    def _lowest_felt(self) -> Ints:
        """The lowest terrace that feels the lobes of a cell of the scene's region."""
        size = 1 + 2 * np.ceil(self._reach_nm / np.array(self.grid.cells_nm[::-1])).astype(np.int64)
        return np.asarray(ndimage.minimum_filter(self.scene.levels, size))

    @property
    def _reach_nm(self) -> float:
        """How far aside a lobe of the clean surface is felt, with room for the atoms of the tip."""
        return self.tables.reach_nm(float(self.seen.clean.max()), 0.0, 1.0) + _spread_nm(self.tip)

    def nodes_of(self, figures: Figures) -> Rectangle:
        """Return the rows and columns of nodes that figures reach; empty where they are off the grid."""
        low = np.stack([figures.row, figures.column], axis=1)
        corners = np.array([low.min(axis=0), (low + figures.shapes[figures.which, 1:]).max(axis=0)])
        (first, left), (last, right) = np.clip(corners, 0, self.grid.shape).tolist()
        return slice(first, last), slice(left, right)

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
        near = _near(scene, self.grid, self._reach_nm)
        whole = np.ones(len(units.u), dtype=np.bool_)
        whole[scene.edits.unit] = False
        for axis, state in itertools.product((0, 1), range(len(scene.surface.states))):
            own = near & (units.axis == axis) & (scene.states == state)
            lobes = self.figure(axis, state)
            yield self.group(lobes, np.flatnonzero(own & whole), np.exp(seen.local))
            edited = np.flatnonzero(own & ~whole)
            for number, lobe in enumerate(lobes):
                yield self.group(lobe[None], edited, seen.strengths[:, number] / lobe[4])

    def figure(self, axis: int, state: int) -> Floats:
        """Return the lobes of a clean unit, rows (x, y, z, kappa ratio, strength), x and y from its first cell."""
        surface, seen = self.scene.surface, self.seen
        out = np.ones((len(surface.states[state]), 5))
        for row, lobe, strength in zip(out, surface.states[state], seen.clean[state], strict=True):
            aside = np.array([lobe.along_nm, lobe.across(seen.split_nm)])
            row[:2] = middle_nm(surface, 0, 0, axis) + (aside if axis == 0 else aside[::-1])
            row[2], row[4] = lobe.z_nm, strength
        return out

    def group(self, lobes: Floats, units: Ints, strengths: Floats) -> Group:
        """Return a group of some units."""
        there, (columns, rows) = self.scene.units, self.grid.per_cell
        units = units[strengths[units] > 0]
        column, row = (there.u[units] - self.grid.view.u0) * columns, (there.v[units] - self.grid.view.v0) * rows
        return Group(lobes, there.level[units], column, row, strengths[units].astype(np.float32))

    def added_groups(self, table: Floats) -> Iterator[Group]:
        """Yield lobes that defects add, rows of ``Seen.added``, those at alike places between nodes together."""
        nodes = (table[:, 1:3] - self.grid.origin_nm) / self.grid.steps_nm
        whole = np.floor(nodes + SAME_PLACE).astype(np.int64)
        shares = np.round((nodes - whole) / SAME_PLACE) * SAME_PLACE * self.grid.steps_nm
        kinds: dict[tuple[float, ...], list[int]] = {}
        for number, kind in enumerate(np.column_stack([shares, table[:, 3:5]]).tolist()):
            kinds.setdefault(tuple(kind), []).append(number)
        levels, strengths = table[:, 0].astype(np.int64), table[:, 5].astype(np.float32)
        for kind, own in kinds.items():
            yield Group(np.array([[*kind, 1.0]]), levels[own], whole[own, 0], whole[own, 1], strengths[own])


def _shift(start: float, scale: float) -> Floats:
    """Return the matrix from the coefficients of polynomials p(s) to those of p(start + scale s)."""
    orders = range(N_HEIGHTS)
    return np.array(
        [[math.comb(k, m) * start ** (k - m) * scale**m if m <= k else 0.0 for k in orders] for m in orders]
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
