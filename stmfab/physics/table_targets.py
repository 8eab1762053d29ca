"""Targets that are tables, not images: the units of a surface's rows, and the edges of its terraces.

Their arrays end in a dimension by the name of the target and are padded; ``<name>_count`` tells the filled rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import step_lines, structure, unit_labels
from .arrays import IN_SAMPLE, ON_PATH, ArraySpec, Column
from .defects import Dopant, Substitution
from .guests import Adatom, Antisite
from .keys import check_ranges, key
from .orbital_image import OrbitalImage
from .orbital_scene import Scene
from .orbitals import OrbitalSurface
from .step_lines import StepLines
from .surface_field import Surface
from .targets import LAYERS, Labels, in_view, pixels_of
from .units import Bools, Floats, Ints

PLACE = (*IN_SAMPLE, *ON_PATH)
REGULAR, GONE, CHANGED, ADDED = range(4)
ATOMS: tuple[Column, ...] = (
    *PLACE,
    ("z_nm", "float32", "nm", "height over the plane of the top layer, of the unrelaxed lattice"),
    ("site", "int16", "1", "site, as its position among the material's sites; -1: an adatom"),
    ("layer", "int16", "1", "layer: 0 top, 1 middle, 2 bottom"),
    ("state", "int8", "1", "whether it is the crystal's own, missing, another or changed one, or an adatom"),
)
UNITS: tuple[Column, ...] = (
    *PLACE,
    ("rows_deg", "float32", "deg", "direction of its row, counter-clockwise from the sample's x"),
    ("along", "int32", "1", "its number along its row"),
    ("across", "int32", "1", "number of its row"),
    ("terrace", "int16", "1", "number of its terrace, 0 the lowest"),
    ("state", "int8", "1", "whether it is whole"),
    ("buckling", "int8", "1", "which atom is up, that at larger y (x where rows run along y); -1: none buckles"),
    ("domain", "int8", "1", "domain of the buckling; -1: none buckles"),
)
VERTICES: tuple[Column, ...] = (
    *PLACE,
    ("line", "int16", "1", "number of the line that it is of"),
    ("upper", "int16", "1", "terrace on the left of the edge to the next vertex; -1 at the end of a line"),
    ("lower", "int16", "1", "terrace on its right; -1 at the end of a line"),
    (
        "along_rows",
        "int8",
        "1",
        "how the edge runs to the rows of the upper terrace: S_B across, S_A along; -1: no rows",
    ),
)
ISLAND_VERTICES = 24  # of one, with its crossings of others and of steps
EMPTY: Mapping[str, float | bool] = {"f": math.nan, "b": False}  # what a row without an entry holds, else -1
SLACK = 2  # over the vertices of an edge that crosses the frame once


@dataclass(frozen=True)
class Room:
    """How much there can be in a frame: the largest one of a recipe, as drift and creep may stretch it.

    ``n_steps`` is the most steps there are, ``n_islands`` the most islands in and around it, ``n_atoms`` of a crystal.
    """

    area_nm2: float
    n_steps: int
    n_islands: int
    surface: OrbitalSurface | None
    n_atoms: int = 0

    @property
    def diagonal_nm(self) -> float:
        """The longest straight line in the frame."""
        return math.sqrt(2 * self.area_nm2)


def padded(column: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """Return a column of a table lengthened to so many rows: by NaN, -1 or False."""
    out = np.empty(n_rows, dtype=column.dtype)
    out[: len(column)] = column
    out[len(column) :] = EMPTY.get(column.dtype.kind, -1)
    return out


def _arrays(name: str, columns: Sequence[Column]) -> list[ArraySpec]:
    """Return the arrays of a table without rows yet."""
    count = ArraySpec(f"{name}_count", (), (), "int32", "1", f"filled rows of the table {name}", "label")
    return [
        count,
        *(
            ArraySpec(f"{name}_{own}", (name,), (0,), dtype, unit, meaning, "label")
            for own, dtype, unit, meaning in columns
        ),
    ]


def _rows(columns: Sequence[Column], known: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the number of a table's rows and its columns."""
    return [np.array(len(known["row"])), *(known[own].astype(dtype) for own, dtype, _, _ in columns)]


def _placed(labels: Labels, points_nm: Floats) -> dict[str, NDArray[Any]]:
    """Return the columns that say where points (n, 2) are."""
    row, col = pixels_of(labels.x_nm, labels.y_nm, points_nm).T
    return {"x_nm": points_nm[:, 0], "y_nm": points_nm[:, 1], "row": row, "col": col}


@dataclass(frozen=True)
class UnitTable:
    """The units of the rows in the frame, dimers or cells: where each is, on which terrace, and in which state."""

    of_path: ClassVar[bool] = True
    words: ClassVar[Mapping[str, Sequence[str]]] = {
        "state": unit_labels.STATES,
        "buckling": unit_labels.BUCKLED,
        "domain": unit_labels.DOMAINS,
    }

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return _arrays(name, UNITS)

    def n_rows(self, room: Room) -> int:
        """Return how many rows the table needs at most: all units of the frame, and one more around it."""
        assert room.surface is not None
        width_nm = math.sqrt(room.area_nm2) + 2 * max(room.surface.cells_nm)
        return math.ceil(width_nm**2 / (room.surface.pair * room.surface.lattice.cell_area_nm2))

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the number of rows and the columns."""
        scene = _scene(labels)
        near = _around(labels, scene.middles_nm)
        known = {name: column[near] for name, column in unit_labels.known(scene).items()}
        known |= _placed(labels, scene.middles_nm[near])
        seen = in_view(np.stack([known["row"], known["col"]], axis=1), *labels.x_nm.shape)
        return _rows(UNITS, {name: column[seen] for name, column in known.items()})


def _around(labels: Labels, points_nm: Floats) -> Bools:
    """Return which points (n, 2) lie in the smallest upright rectangle around the pixels, and a pixel more."""
    pitch_nm, near = labels.path.raster.size_nm / labels.path.raster.pixels, np.ones(len(points_nm), dtype=np.bool_)
    for place, pixels in zip(points_nm.T, (labels.x_nm, labels.y_nm), strict=True):
        near &= (place > pixels.min() - pitch_nm) & (place < pixels.max() + pitch_nm)
    return near


@dataclass(frozen=True)
class AtomTable:
    """The atoms of a crystal in the frame, all layers, missing and added ones too: where, which site, and whether."""

    of_path: ClassVar[bool] = True
    words: ClassVar[Mapping[str, Sequence[str]]] = {
        "layer": LAYERS,
        "state": ("regular", "missing", "changed", "added"),
    }

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return _arrays(name, ATOMS)

    def n_rows(self, room: Room) -> int:
        """Return how many rows the table needs at most."""
        return room.n_atoms

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the number of rows and the columns."""
        material, rows = labels.material, _sites_around(labels)
        places_nm, state = structure.positions(material, rows[:, :2], rows[:, 2]), np.full(len(rows), REGULAR)
        number = {row: n for n, row in enumerate(map(tuple, rows.tolist()))}
        added_nm = [np.zeros((0, 3))]
        for kind, placed in labels.members.values():
            own_nm, removed = kind.places_nm(material, placed), kind.perturbation(material, placed).removed
            gone = np.column_stack([removed[:, :2], material.orbital_site[removed[:, 2]]])
            state[[number[row] for row in map(tuple, gone.tolist()) if row in number]] = GONE
            if issubclass(kind, (Dopant, Substitution, Antisite)):
                known = [number.get((u, v, placed.site), -1) for u, v in placed.cells.tolist()]
                there = np.array(known, dtype=np.int64) >= 0
                changed = np.array(known, dtype=np.int64)[there]
                state[changed], places_nm[changed] = CHANGED, own_nm[there]
            elif kind is Adatom:
                added_nm.append(own_nm)
        return _atoms(labels, rows[:, 2], state, places_nm, np.concatenate(added_nm))


def _sites_around(labels: Labels) -> Ints:
    """Return the sites (u, v, site) in and around the frame, (n, 3)."""
    material = labels.material
    room_nm = material.lattice_constant_nm
    ends = [(pixels.min() - room_nm, pixels.max() + room_nm) for pixels in (labels.x_nm, labels.y_nm)]
    cells = structure.around(material, np.array(list(itertools.product(*ends)))).indices
    site = np.repeat(np.arange(len(material.sites)), len(cells))
    return np.column_stack([np.tile(cells, (len(material.sites), 1)), site])


def _atoms(labels: Labels, site: Ints, state: Ints, places_nm: Floats, added_nm: Floats) -> list[NDArray[Any]]:
    """Return the number of rows and the columns of the atoms in the frame: those on sites, then added ones."""
    on_top, every_nm = np.zeros(len(added_nm), dtype=np.int64), np.concatenate([places_nm, added_nm])
    known = {
        "z_nm": every_nm[:, 2],
        "site": np.append(site, on_top - 1),
        "layer": np.append(labels.material.layers[site], on_top),
        "state": np.append(state, on_top + ADDED),
    } | _placed(labels, every_nm)
    seen = in_view(np.stack([known["row"], known["col"]], axis=1), *labels.x_nm.shape)
    return _rows(ATOMS, {name: column[seen] for name, column in known.items()})


@dataclass(frozen=True)
class LedgeLines:
    """The edges of terraces in and around the frame as lines with corners, the upper terrace on their left."""

    of_path: ClassVar[bool] = True
    words: ClassVar[Mapping[str, Sequence[str]]] = {"along_rows": ("across", "along")}

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return _arrays(name, VERTICES)

    def n_rows(self, room: Room) -> int:
        """Return how many rows the table needs at most: an edge has a kink every other cell, a kink two corners."""
        assert room.surface is not None
        corners = 2 + math.ceil(room.diagonal_nm / min(room.surface.cells_nm))
        return max(1, SLACK * corners * room.n_steps + ISLAND_VERTICES * room.n_islands)

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the number of rows and the columns."""
        return _lines(labels, step_lines.on_lattice(_scene(labels), lambda *at: _reached(labels, *at)))


@dataclass(frozen=True)
class FlightLines:
    """The edges of a metal's terraces in and around the frame as lines of points, the upper terrace on their left."""

    of_path: ClassVar[bool] = True
    words: ClassVar[Mapping[str, Sequence[str]]] = {}

    spacing_nm: float = key("distance of the points along the edge's mean course", default=0.2, above=0, fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return _arrays(name, VERTICES[:-1])

    def n_rows(self, room: Room) -> int:
        """Return how many rows the table needs at most."""
        return max(1, SLACK * (2 + math.ceil(room.diagonal_nm / self.spacing_nm)) * room.n_steps)

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the number of rows and the columns."""
        assert isinstance(labels.surface, Surface)
        flight, lines = labels.surface.scene.flight, step_lines.joined([])
        if flight is not None:
            at = labels.x_nm, labels.y_nm
            lines = step_lines.of_flight(flight, *at, lambda *it: _reached(labels, *it), spacing_nm=self.spacing_nm)
        return _lines(labels, lines)[: 1 + len(VERTICES[:-1])]


def _scene(labels: Labels) -> Scene:
    assert isinstance(labels.surface, OrbitalImage)
    return labels.surface.scene


def _reached(labels: Labels, points_nm: Floats, within_nm: Floats) -> Bools:
    """Return which points (n, 2) lie so far from the frame, (n,), or less."""
    pixels = pixels_of(labels.x_nm, labels.y_nm, points_nm)
    margin = within_nm[:, None] * labels.path.raster.pixels / labels.path.raster.size_nm + 0.5
    last = np.array(labels.x_nm.shape) - 1
    return np.asarray(((pixels >= -margin) & (pixels <= last + margin)).all(axis=1))


def _lines(labels: Labels, lines: StepLines) -> list[NDArray[Any]]:
    """Return the number of vertices and the columns of their table."""
    own = {"line": lines.line, "upper": lines.upper, "lower": lines.lower, "along_rows": lines.along_rows}
    return _rows(VERTICES, own | _placed(labels, lines.points_nm))


Table: TypeAlias = AtomTable | UnitTable | LedgeLines | FlightLines

CURVED_TABLES: Mapping[str, type[Table]] = {"step_lines": FlightLines}
LATTICE_TABLES: Mapping[str, type[Table]] = {"dimer_table": UnitTable, "step_lines": LedgeLines}
CRYSTAL_TABLES: Mapping[str, type[Table]] = {"atom_table": AtomTable}
