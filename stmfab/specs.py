"""The arrays of a dataset: what each channel, target and label is called, its shape, unit and meaning."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .distributions import Poisson
from .parameters import DEFECTS, place_of
from .parts import Part, defect_kinds, keys_of, unit_of
from .physics.arrays import IN_SAMPLE, ON_PATH, ArraySpec, Column
from .physics.defect_targets import Target
from .physics.dimer_defects import Island
from .physics.guests import Adatom
from .physics.materials import Material
from .physics.orbitals import ORBITAL_SURFACES
from .physics.table_targets import Room, Table
from .shifts import is_charged

DEFECT_MARGIN_nm = 0.5  # defects this far outside the frame are listed still: their tails reach in
STRETCH = 1.5  # drift and creep may stretch the frame to this share of its nominal area
OVERFLOW_ODDS = 1e-12  # of a sample with more defects than the table has rows
CHANNEL_MEANINGS: Mapping[str, tuple[str, str]] = {
    "topography": ("nm", "commanded height, forward"),
    "topography_backward": ("nm", "commanded height, backward"),
    "current": ("nA", "tunnelling current, forward"),
    "current_backward": ("nA", "tunnelling current, backward"),
}
DEFECT_COLUMNS: tuple[Column, ...] = (
    ("kind", "int16", "1", "kind, as its position among the kinds of defects"),
    ("name", "int16", "1", "name, as its position among the recipe's defects"),
    ("species", "int16", "1", "species, as its position among those of the recipe's defects"),
    ("site", "int16", "1", "site, as its position among the material's sites"),
    ("layer", "int16", "1", "layer: 0 top, 1 middle, 2 bottom"),
    *IN_SAMPLE,
)
CHARGE_COLUMN = ("charge", "float32", "1", "charge in elementary charges; 0 where none is given")
PLACE_COLUMNS: tuple[Column, ...] = (
    *ON_PATH,
    ("in_view", "bool", "1", "within 0.75 pixel of the frame"),
)
SEEN_COLUMNS: tuple[Column, ...] = (
    ("apparent_height_pm", "float32", "pm", "largest change of height by the defect, signed, without noise"),
    ("visibility", "float32", "1", "the same over the noise of the topography, without its sign"),
    ("appearance", "int8", "1", "bright or dark by that height; hidden where the visibility is below 1"),
    ("apparent_radius_nm", "float32", "nm", "radius of a disc as large as the pixels that change by half of it"),
    ("row_min", "int16", "1", "first row of its instance, -1 without one"),
    ("row_max", "int16", "1", "last row of its instance, -1 without one"),
    ("col_min", "int16", "1", "first column of its instance, -1 without one"),
    ("col_max", "int16", "1", "last column of its instance, -1 without one"),
)


def channel(name: str, pixels: int) -> ArraySpec:
    """Return the array of a recorded channel."""
    unit, meaning = CHANNEL_MEANINGS[name]
    return _image(name, pixels, unit, meaning, "image")


def _image(name: str, pixels: int, unit: str, meaning: str, role: str) -> ArraySpec:
    return ArraySpec(name, ("y", "x"), (pixels, pixels), "float32", unit, meaning, role)


def parameters(n_columns: int) -> list[ArraySpec]:
    """Return the arrays of numbers drawn and derived."""
    return [
        ArraySpec("param", ("parameter",), (n_columns,), "float64", "1", "drawn and derived parameters", "parameter"),
        ArraySpec("pixel_size_nm", (), (), "float64", "nm", "pixel pitch", "parameter"),
    ]


def of_target(name: str, target: Target, pixels: int, room: Room) -> list[ArraySpec]:
    """Return the arrays of a target, tables as long as they must be."""
    found = target.arrays(name, pixels)
    if not isinstance(target, Table):
        return found
    rows = target.n_rows(room)
    return [dataclasses.replace(spec, shape=(rows,)) if spec.dims else spec for spec in found]


def room(all_parts: Iterable[Part], largest: Mapping[str, float], size_nm: float, lattice: Material) -> Room:
    """Return how much the tables of a recipe must hold; ``size_nm`` is the width of the largest frame."""
    area_nm2, steps, islands = STRETCH * size_nm**2, 0, 0
    width_nm = math.sqrt(area_nm2) + 2 * lattice.lattice_constant_nm
    atoms = math.ceil(len(lattice.sites) * width_nm**2 / lattice.cell_area_nm2)
    for part in all_parts:
        if part.path == "sample.steps":
            steps = math.ceil(_most(part, "count", largest))
        if part.cls is Island:
            reach_nm = math.sqrt(area_nm2) + max(_most(part, key, largest) for key in ("length_nm", "width_nm"))
            islands += _nearly_most(reach_nm**2 * _most(part, "density_per_nm2", largest))
        if part.cls is Adatom:
            atoms += _nearly_most(width_nm**2 * _most(part, "density_per_nm2", largest))
    return Room(area_nm2, steps, islands, ORBITAL_SURFACES.get(lattice.name), atoms)


def _most(part: Part, name: str, largest: Mapping[str, float]) -> float:
    """Return the largest value of a number of a part, 0 where it is absent."""
    if name in part.per_defect:
        return part.per_defect[name].ends()[1]
    return float(largest.get(f"{part.path}.{name}", part.constants.get(name) or 0.0))


def defect_table(
    members: list[Part], largest: Mapping[str, float], size_nm: float, along_path: Sequence[str]
) -> list[ArraySpec]:
    """Return the columns of the padded table of defects; none for a recipe without defects.

    Parameters
    ----------
    members : list of Part
        The recipe's defects and corrals.
    largest : mapping
        Upper end of every drawn key by path.
    size_nm : float
        Width of the largest frame.
    along_path : sequence of str
        The junctions, where each has a path of its own.
    """
    slots = _slots(members, largest, size_nm)
    if not slots:
        return []
    keys = (key for member in members for key in keys_of(_listed(member.cls)).values() if key.legal.per_defect)
    values = {key.name: (key.name, "float32", unit_of(key.name), key.meaning) for key in keys}
    if any(is_charged(member) for member in members):
        values["charge"] = CHARGE_COLUMN
    count = ArraySpec("defect_count", (), (), "int32", "1", "filled rows of the table of defects", "label")
    places = [spec.of_each(along_path) for spec in _columns(PLACE_COLUMNS, slots)]
    return [count, *_columns(DEFECT_COLUMNS, slots), *places, *_columns(values.values(), slots)]


def members(all_parts: Iterable[Part]) -> list[Part]:
    """Return the parts that place defects: defects and corrals."""
    return [part for part in all_parts if part.path.startswith((f"{DEFECTS}.", "sample.corrals."))]


def species(all_parts: Iterable[Part], sample_kind: str, lattice: Material) -> dict[str, str]:
    """Return the species of every name of defects, of corrals with their place before it.

    As the recipe says, or as the kind and the site do, or the word of the kind.
    """
    known, found = {kind: word for word, kind in defect_kinds(sample_kind).items()}, {}
    for member in members(all_parts):
        kind, given, own = _listed(member.cls), member.constants.get("species"), None
        if "site" in member.constants:
            own = kind.species_on(lattice, lattice.site_index(member.constants["site"]))
        found[place_of(member.path)[1]] = str(given or own or known[kind])
    return found


def seen_columns(table: list[ArraySpec], junctions: Sequence[str]) -> list[ArraySpec]:
    """Return the columns of a table of defects that say what each junction shows of them; none without a table."""
    slots = next((spec.shape[-1] for spec in table if spec.dims), 0)
    return [spec.of_each(junctions) for spec in _columns(SEEN_COLUMNS, slots)] if slots else []


def _listed(kind: type[Any]) -> type[Any]:
    """Return the kind of the defects that a member of a recipe places."""
    return getattr(kind, "atom", kind)


def _columns(columns: Iterable[Column], slots: int) -> list[ArraySpec]:
    return [
        ArraySpec(f"defect_{name}", ("defect",), (slots,), dtype, unit, meaning, "label")
        for name, dtype, unit, meaning in columns
    ]


def _slots(members: list[Part], largest: Mapping[str, float], size_nm: float) -> int:
    """Return the rows of the table of defects: from the recipe alone, more than a sample will need.

    The Poisson quantile at 1 - ``OVERFLOW_ODDS`` of the largest mean number in the largest frame with its margin, of
    clusters that of their members after that of their number, and the most atoms of every corral.
    """

    def most(name: str) -> list[float]:
        return [_most(member, name, largest) for member in members]

    densities, clusters = most("density_per_nm2"), most("cluster_n")
    area_nm2 = STRETCH * (size_nm + 2 * DEFECT_MARGIN_nm) ** 2
    alone = _nearly_most(area_nm2 * sum(d for d, n in zip(densities, clusters, strict=True) if not n))
    together = [_nearly_most(n * _nearly_most(area_nm2 * d / n)) for d, n in zip(densities, clusters, strict=True) if n]
    return alone + sum(together) + math.ceil(sum(most("n_atoms")))


def _nearly_most(mean: float) -> int:
    """Return what a Poisson number of some mean exceeds with odds of ``OVERFLOW_ODDS`` only."""
    return int(Poisson(mean).ppf(np.array([1 - OVERFLOW_ODDS]))[0])
