"""What the atoms of a tip see of figures of lobes, tabulated around each at all heights on the nodes of a field."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from . import _orbital_figures_kernels
from .units import Bools, Floats, Floats32, Ints

FADED = 1e-5  # of the clean current: where a lobe ends
FALL_STEP_nm2 = 0.01  # of a table of lobes over the square of the distance aside

Rectangle: TypeAlias = tuple[slice, slice]  # rows and columns of nodes
Apex: TypeAlias = tuple[tuple[float, float], Floats]  # where it is, and its atoms, rows x, y, z, strength, from there
Rows: TypeAlias = tuple[tuple[float, ...], ...]
UNDER = np.array([[0.0, 0.0, 0.0, 1.0]])  # an apex as one atom


@dataclass(frozen=True)
class Group:
    """Figures of lobes that are alike, arrays (n,): the terrace, column and row of the node, and strength of each.

    ``lobes``, rows (x, y, z, kappa ratio, strength), are a figure's, x and y from its node, z from the terrace. Figures
    that are seen from ``below`` are tabulated at the heights over the next lower terrace.
    """

    lobes: Floats
    level: Ints
    column: Ints
    row: Ints
    strength: Floats32
    below: bool = False

    def from_below(self, which: Bools) -> Group:
        """Return some of the figures, (n,), seen from the next lower terrace."""
        level, column, row, strength = self.level[which], self.column[which], self.row[which], self.strength[which]
        return Group(self.lobes, level, column, row, strength, below=True)


@dataclass(frozen=True)
class Figures:
    """The figures of some groups under every apex, arrays (n_figures,), ordered by their first rows.

    A figure's table starts at ``column`` and ``row`` of the nodes; ``which`` numbers the rows of ``shapes``: where a
    table starts in ``tables``, its rows and columns of nodes. Tables of those seen from ``below`` are at the heights
    over the next lower terrace.
    """

    level: Ints
    below: Bools
    column: Ints
    row: Ints
    strength: Floats32
    which: Ints
    tables: Floats32
    shapes: Ints

    def reaching(self, nodes: Rectangle) -> Figures:
        """Return those that reach into some nodes."""
        rows, columns = nodes
        first, last = np.searchsorted(self.row, [rows.start - self.shapes[:, 1].max(initial=0), rows.stop])
        part = slice(int(first), int(last))
        own = self.shapes[self.which[part]]
        after = (self.row[part] + own[:, 1] > rows.start) & (self.column[part] + own[:, 2] > columns.start)
        there = np.flatnonzero(after & (self.column[part] < columns.stop)) + part.start
        return Figures(
            self.level[there],
            self.below[there],
            self.column[there],
            self.row[there],
            self.strength[there],
            self.which[there],
            self.tables,
            self.shapes,
        )


@dataclass(frozen=True)
class Tables:
    """Makes tables of lobes under the apexes of a tip: at heights (n_heights,) over a terrace, on nodes along x and y.

    ``height_nm`` is the expected gap, ``drop_nm`` how far below a terrace the next one is that hears its lobes too.
    """

    kappa_per_nm: float
    height_nm: float
    drop_nm: float
    heights_nm: Floats
    steps_nm: Floats
    atoms: Sequence[Apex]

    def figures(self, groups: Sequence[Group]) -> Figures:
        """Return the figures of groups under every apex."""
        made = [
            (group, *self._known_tables(_rows(group.lobes), _ceiling(group.strength), number, group.below))
            for group in groups
            if len(group.row)
            for number in self._numbers
        ]
        lengths = [len(group.row) for group, _, _ in made]
        shapes = np.array([table.shape[:2] for _, _, table in made], dtype=np.int64).reshape(-1, 2)
        starts = np.cumsum(np.append(0, [table.size for _, _, table in made]))[:-1]
        row = _joined([group.row + place[1] for group, place, _ in made])
        order = np.argsort(row, kind="stable")
        return Figures(
            level=_joined([group.level for group, _, _ in made])[order],
            below=np.repeat([group.below for group, _, _ in made], lengths).astype(np.bool_)[order],
            column=_joined([group.column + place[0] for group, place, _ in made])[order],
            row=row[order],
            strength=np.concatenate([np.zeros(0, np.float32), *(group.strength for group, _, _ in made)])[order],
            which=np.repeat(np.arange(len(made)), lengths)[order],
            tables=np.concatenate([np.zeros(0, np.float32), *(table.ravel() for _, _, table in made)]),
            shapes=np.column_stack([starts, shapes]).astype(np.int64),
        )

    @property
    def _numbers(self) -> range:
        return range(len(self.atoms))

    @functools.cached_property
    def _known_tables(self) -> Callable[[Rows, float, int, bool], tuple[tuple[int, int], Floats32]]:
        return functools.lru_cache(maxsize=None)(self._table)

    def _table(self, figure: Rows, most: float, number: int, below: bool) -> tuple[tuple[int, int], Floats32]:
        """Return the table of a figure of lobes under one apex, (n_rows, n_columns, n_heights), and where it starts.

        It reaches as far as one ``most`` times as strong is felt, from below by any atom of the apex.
        """
        (place, atoms), lobes = self.atoms[number], np.array(figure)
        at = lobes[:, :2] - np.array(place)
        feel = atoms if below else UNDER
        reach_nm = np.array(
            [
                max(self.reach_nm(most * strength * share, z - up, ratio) for _, _, z, ratio, strength in figure)
                for _, _, up, share in feel.tolist()
            ]
        )
        low_nm = (at.min(axis=0) - feel[:, :2] - reach_nm[:, None]).min(axis=0)
        high_nm = (at.max(axis=0) - feel[:, :2] + reach_nm[:, None]).max(axis=0)
        start = np.floor(low_nm / self.steps_nm)
        n_u, n_v = (np.ceil(high_nm / self.steps_nm) - start + 1).astype(np.int64).tolist()
        table = np.empty((n_v, n_u, len(self.heights_nm)), dtype=np.float32)
        farthest_nm = math.hypot(n_u * self.steps_nm[0], n_v * self.steps_nm[1])
        which, falls = self._known_falls(number, math.ceil(farthest_nm), _rows(lobes[:, 2:4]), below)
        firsts = (start * self.steps_nm - at)[:, None] + atoms[:, :2]
        shares = np.outer(lobes[:, 4], atoms[:, 3]).ravel()
        _orbital_figures_kernels.fill(which, falls, FALL_STEP_nm2, firsts.reshape(-1, 2), shares, self.steps_nm, table)
        return (int(start[0]), int(start[1])), table

    @functools.cached_property
    def _known_falls(self) -> Callable[[int, int, Rows, bool], tuple[Ints, Floats32]]:
        return functools.lru_cache(maxsize=None)(self._falls)

    def _falls(self, number: int, farthest_nm: int, lobes: Rows, below: bool) -> tuple[Ints, Floats32]:
        """Return exp(-2 kappa_s |d|) over exp(-2 kappa height) at squares of distances aside, (n_falls, n, n_heights).

        Of lobes of (z, kappa ratio) under each atom of an apex; before it, which of them each of the pairs takes.
        """
        kappa, atoms = self.kappa_per_nm, self.atoms[number][1]
        beyond_nm = farthest_nm + float(np.hypot(atoms[:, 0], atoms[:, 1]).max())
        aside_nm2 = FALL_STEP_nm2 * np.arange(math.ceil(beyond_nm**2 / FALL_STEP_nm2) + 4)
        pairs = np.repeat(np.array(lobes), len(atoms), axis=0)
        pairs[:, 0] = np.tile(atoms[:, 2], len(lobes)) - pairs[:, 0] - (self.drop_nm if below else 0.0)
        unlike, which = np.unique(pairs.round(9), axis=0, return_inverse=True)
        above_nm, ratio = unlike.T[:, :, None, None]
        away_nm = np.sqrt(aside_nm2[:, None] + (self.heights_nm + above_nm) ** 2)
        falls = np.exp((2 * kappa * (self.heights_nm - ratio * away_nm)).astype(np.float32))
        return which.ravel(), falls

    def reach_nm(self, most: float, z_nm: float, ratio: float) -> float:
        """Return how far aside a lobe so strong is still felt at the expected gap."""
        gap_nm = max(0.0, self.height_nm - z_nm - self.drop_nm)
        away_nm = (math.log(max(1.0, most / FADED)) / (2 * self.kappa_per_nm) + self.height_nm) / ratio
        return math.sqrt(max(0.0, away_nm**2 - gap_nm**2)) + float(self.steps_nm.max())


def _ceiling(strengths: Floats32) -> float:
    """Return a power of two that no strength exceeds."""
    return float(np.exp2(np.ceil(np.log2(strengths.max()))))


def _rows(table: Floats) -> Rows:
    """Return a table as a key of what is known."""
    return tuple(map(tuple, table.tolist()))


def _joined(parts: Sequence[Ints]) -> Ints:
    """Return whole numbers one after the other."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
