"""Edges of terraces as lines: from corner to corner of a lattice's cells, or from point to point along smooth edges.

Whoever goes along a line has the upper terrace on the left, x to the right and y upwards.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .orbital_scene import Scene
from .terraces import Flight
from .units import Bools, Floats, Ints

NONE = -1  # of the last vertex of a line, from which no edge goes on; where there are no rows
Reached = Callable[[Floats, Floats], Bools]  # which points (n, 2) lie so far, (n,) nm, or less from the frame


@dataclass(frozen=True)
class StepLines:
    """The vertices of lines, one line after the other.

    Attributes
    ----------
    points_nm : array of shape (n_vertices, 2)
        Where they are, sample frame.
    line : int array of shape (n_vertices,)
        Number of the line, from 0.
    upper, lower : int arrays of shape (n_vertices,)
        The terraces on the left and on the right of the edge to the next vertex.
    along_rows : int array of shape (n_vertices,)
        1 where that edge runs along the rows of the upper terrace, 0 across them.
    """

    points_nm: Floats
    line: Ints
    upper: Ints
    lower: Ints
    along_rows: Ints


def joined(lines: Sequence[tuple[Floats, Ints]]) -> StepLines:
    """Return lines from the vertices of each, (n, 2), and what is known of their edges, (n - 1, 3)."""
    lengths = [len(points) for points, _ in lines]
    none = np.full((1, 3), NONE, dtype=np.int64)
    points = np.concatenate([np.zeros((0, 2)), *(points for points, _ in lines)])
    known = np.concatenate([none[:0], *(np.concatenate([edges, none]) for _, edges in lines)])
    return StepLines(points, np.repeat(np.arange(len(lines)), lengths), *known.T)


def on_lattice(scene: Scene, reached: Reached) -> StepLines:
    """Return the edges between cells of a scene on different terraces, those near the frame."""
    starts, ways, levels = _unit_edges(scene.levels)
    cells_nm = np.array(scene.surface.cells_nm)
    origin_nm = (np.array([scene.region.u0, scene.region.v0]) - 0.5) * cells_nm
    near = reached(origin_nm + (starts + ways / 2) * cells_nm, np.full(len(starts), cells_nm.max()))
    starts, ways, levels = starts[near], ways[near], levels[near]
    found = []
    for chain in _chains(starts, ways, levels):
        turns = np.flatnonzero(np.append(True, (ways[chain[1:]] != ways[chain[:-1]]).any(axis=1)))
        corners = chain[turns]
        nodes = np.concatenate([starts[corners], (starts + ways)[chain[-1:]]])
        upper = levels[corners, 0]
        along_rows = (ways[corners, 1] != 0) == [scene.surface.axis(int(level)) == 1 for level in upper]
        numbers = levels[corners] - scene.lowest
        found.append((origin_nm + nodes * cells_nm, np.column_stack([numbers, along_rows])))
    return joined(found)


def _unit_edges(levels: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the sides between cells on different terraces: where each begins, how it goes, the terraces beside it.

    Corners of cells count as (column, row), each array is (n, 2); the terraces are the one on the left, the upper, and
    the one on the right.
    """
    found = []
    for first, second, corner, way in (
        (levels[:, :-1], levels[:, 1:], (1, 0), (0, 1)),
        (levels[1:], levels[:-1], (0, 1), (1, 0)),
    ):
        row, column = np.nonzero(first != second)
        sides = np.stack([first[row, column], second[row, column]], axis=1)
        down = sides[:, :1] < sides[:, 1:]  # the upper terrace would be on the right: the other way round
        starts = np.stack([column, row], axis=1) + corner + np.array(way) * down
        found.append((starts, np.where(down, -1, 1) * way, np.sort(sides, axis=1)[:, ::-1]))
    starts, ways, levels = (np.concatenate(part) for part in zip(*found, strict=True))
    return starts, ways, levels


def _chains(starts: Ints, ways: Ints, levels: Ints) -> list[Ints]:
    """Return the edges of every line in their order; a closed line begins at a corner.

    A line goes on as long as the same two terraces lie beside it; where four edges meet it turns left.
    """
    after = _successors(starts, ways, levels)
    before = np.full(len(after), NONE)
    before[after[after >= 0]] = np.flatnonzero(after >= 0)
    straight = before >= 0
    straight[straight] = (ways[before[straight]] == ways[straight]).all(axis=1)
    left, found = np.ones(len(after), dtype=np.bool_), []
    for first in [*np.flatnonzero(before < 0).tolist(), *np.flatnonzero(~straight).tolist()]:
        chain, edge = [], first
        while edge >= 0 and left[edge]:
            left[edge] = False
            chain.append(edge)
            edge = int(after[edge])
        found += [np.array(chain)] if chain else []
    return found


def _successors(starts: Ints, ways: Ints, levels: Ints) -> Ints:
    """Return the edge that comes after each, (n_edges,), ``NONE`` after the last of a line."""
    leaving: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for edge, key in enumerate(np.concatenate([starts, levels], axis=1).tolist()):
        leaving[tuple(key)].append(edge)
    out = np.full(len(starts), NONE)
    for edge, key in enumerate(np.concatenate([starts + ways, levels], axis=1).tolist()):
        options = leaving[tuple(key)]
        if options:
            out[edge] = max(options, key=lambda option: _left_turn(ways[edge], ways[option]))
    return out


def _left_turn(before: Ints, after: Ints) -> int:
    """Return 1 for a turn to the left, 0 for none, -1 for one to the right."""
    return int(before[0] * after[1] - before[1] * after[0])


def of_flight(flight: Flight, x_nm: Floats, y_nm: Floats, reached: Reached, *, spacing_nm: float) -> StepLines:
    """Return the edges of a flight near a frame of pixels (n_rows, n_cols), a vertex every so far on their way."""
    angle = math.radians(flight.steps.direction_deg)
    down, course = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    along = x_nm * course[0] + y_nm * course[1]
    first, last = math.floor(along.min() / spacing_nm) - 2, math.ceil(along.max() / spacing_nm) + 2
    along_nm = np.arange(first, last + 1) * spacing_nm
    found = []
    for number, (place_nm, curve) in enumerate(zip(flight.places_nm, flight.curves, strict=True)):
        points = np.outer(place_nm + curve.at(along_nm)[0], down) + np.outer(along_nm, course)
        middles, lengths = (points[1:] + points[:-1]) / 2, np.linalg.norm(np.diff(points, axis=0), axis=1)
        others = np.delete(flight.distances(*middles.T), number, axis=0)
        lower = np.count_nonzero(others < 0, axis=0)
        edges = np.column_stack([lower + 1, lower, np.full(len(lower), NONE)])
        near = np.flatnonzero(reached(middles, lengths))
        for run in np.split(near, np.flatnonzero(np.diff(near) > 1) + 1) if len(near) else ():
            found.append((points[run[0] : run[-1] + 2], edges[run]))
    return joined(found)
