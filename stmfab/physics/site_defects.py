"""Defects of surfaces of units in rows, each an edit of sites: lobes scaled or removed, lobes added, charge, swelling.

An edit is written in the frame of its unit: along the row, across it towards the side of the site that it sits on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from .keys import check_ranges, key
from .materials import Material
from .orbitals import SECOND, TOP
from .units import Floats

SILICON = ("si001-h",)
HALF_nm = 0.12  # dangling bonds and hydrides sit so far from the middle of their dimer
ROW_nm = 0.768
DIMER_nm = 0.384


@dataclass(frozen=True)
class Scaled:
    """Lobes of the unit so many units along and across that carry another share; ``side`` 0: both sides."""

    along: int
    across: int = 0
    side: int = 0
    layer: int = TOP
    filled: float = 0.0
    empty: float = 0.0


@dataclass(frozen=True)
class Added:
    """A lobe that is not the surface's, ``z_nm`` over the top layer; it stands so much lower than its defect."""

    along_nm: float = 0.0
    across_nm: float = 0.0
    z_nm: float = 0.0
    below_filled_pm: float = 0.0
    below_empty_pm: float = 0.0
    kappa_ratio: float = 1.0


@dataclass(frozen=True)
class Edit:
    """What a defect changes; the added lobes together stand the defect's height over the terrace at ``probe_nm``.

    ``swell_nm``, if not 0, is the standard deviation of a swelling of that height instead.
    """

    scaled: tuple[Scaled, ...] = ()
    added: tuple[Added, ...] = ()
    probe_nm: tuple[float, float] = (0.0, 0.0)
    swell_nm: float = 0.0
    footprint: tuple[tuple[int, int], ...] = field(default=())  # units it takes, so many along and across


def _gone(*units: tuple[int, int], side: int = 0) -> tuple[Scaled, ...]:
    """Return that the top lobes of units are missing."""
    return tuple(Scaled(along, across, side) for along, across in units)


def _rim(*units: tuple[int, int], factor: float) -> tuple[Scaled, ...]:
    """Return that the top lobes of units are dimmer or brighter."""
    return tuple(Scaled(along, across, filled=factor, empty=factor) for along, across in units)


OWN = ((0, 0),)
AROUND = ((-1, 0), (1, 0), (0, 1), (0, -1), (-2, 0), (2, 0))


@dataclass(frozen=True)
class SiteDefect:
    """A defect of known heights over the terrace at the setpoint, in filled and in empty states."""

    surfaces: ClassVar[tuple[str, ...]] = SILICON
    edit: ClassVar[Edit] = Edit()
    reach_nm: ClassVar[float] = 0.5  # its pixels lie so far around its place
    random: ClassVar[bool] = False  # whether each one has a shape of its own
    density_per_nm2: float = key(
        "mean number per area; the count is Poisson, less those that lie on another", at_least=0
    )
    site: str = key("site of the material", default="unit", fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    @classmethod
    def sites(cls, material: Material) -> list[str]:
        """Return the sites it can take."""
        return ["unit"] if material.name in cls.surfaces else []

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them; ``rng`` where each one has a shape of its own."""
        return cls.edit


def _height(filled: bool, pm: float) -> float:
    meaning = f"height over the terrace at the setpoint, {'filled' if filled else 'empty'} states"
    height: float = key(meaning, default=pm, above=-200, at_most=1000, per_defect=True)
    return height


@dataclass(frozen=True)
class DanglingBond(SiteDefect):
    """One hydrogen missing: a bright spot off the middle of its row, in a dark ring; a halo where it is charged."""

    height_filled_pm: float = _height(True, 104.0)
    height_empty_pm: float = _height(False, 74.0)
    charge: float = key("its charge in electron charges, -1 on n-type silicon", default=0.0, per_defect=True)
    edit: ClassVar[Edit] = Edit(
        (*_gone(*OWN, side=1), *_rim(*AROUND[:4], factor=0.72)),
        (Added(0.0, HALF_nm, 0.02),),
        (0.0, HALF_nm),
        footprint=OWN,
    )


@dataclass(frozen=True)
class DanglingBondPair(SiteDefect):
    """Both hydrogens of a dimer missing: a larger bright oval; a node between them in empty states."""

    height_filled_pm: float = _height(True, 164.0)
    height_empty_pm: float = _height(False, 192.0)
    edit: ClassVar[Edit] = Edit(
        (*_gone(*OWN), *_rim(*AROUND[:4], factor=0.65)),
        (Added(0.0, -0.15, 0.05), Added(0.0, 0.15, 0.05)),
        footprint=OWN,
    )


@dataclass(frozen=True)
class InterRowPair(SiteDefect):
    """A hydrogen missing on either side of the trench between two rows."""

    height_filled_pm: float = _height(True, 125.0)
    height_empty_pm: float = _height(False, 130.0)
    edit: ClassVar[Edit] = Edit(
        (Scaled(0, 0, 1), Scaled(0, 1, -1), *_rim((-1, 0), (1, 0), (-1, 1), (1, 1), factor=0.72)),
        (Added(0.0, HALF_nm, 0.02), Added(0.0, ROW_nm - HALF_nm, 0.02)),
        (0.0, HALF_nm),
        footprint=((0, 0), (0, 1)),
    )


@dataclass(frozen=True)
class Dihydride(SiteDefect):
    """A dimer broken by two more hydrogens: a dark, split slot across the row."""

    height_filled_pm: float = _height(True, -35.0)
    height_empty_pm: float = _height(False, -46.0)
    edit: ClassVar[Edit] = Edit(
        _gone(*OWN),
        (Added(0.0, -0.2, -0.01), Added(0.0, 0.2, -0.01)),
        footprint=OWN,
    )


@dataclass(frozen=True)
class Siloxane(SiteDefect):
    """An oxygen in a dimer: darker, one half more than the other."""

    height_filled_pm: float = _height(True, -22.0)
    height_empty_pm: float = _height(False, -33.0)
    edit: ClassVar[Edit] = Edit(
        _gone(*OWN),
        (Added(0.0, -0.1, 0.0), Added(0.0, 0.17, -0.02, 40.0, 55.0)),
        footprint=OWN,
    )


@dataclass(frozen=True)
class CDefect(SiteDefect):
    """H and OH of a water molecule on halves of two adjacent dimers: a dark pair, bright in empty states."""

    height_filled_pm: float = _height(True, -55.0)
    height_empty_pm: float = _height(False, 86.0)
    edit: ClassVar[Edit] = Edit(
        _gone((0, 0), (1, 0), side=1),
        (Added(0.0, 0.16, -0.01), Added(DIMER_nm, 0.16, -0.01, 10.0, 25.0)),
        (DIMER_nm / 2, 0.16),
        footprint=((0, 0), (1, 0)),
    )


@dataclass(frozen=True)
class ArsineA(SiteDefect):
    """AsH2 and H on the two halves of a dimer (As A): off the middle, much brighter in empty states."""

    height_filled_pm: float = _height(True, 79.0)
    height_empty_pm: float = _height(False, 151.0)
    edit: ClassVar[Edit] = Edit(
        (*_gone(*OWN), *_rim((-1, 0), (1, 0), factor=0.85)),
        (Added(0.0, 0.15, 0.09), Added(0.0, -0.14, 0.0, 75.0, 150.0)),
        (0.0, 0.15),
        footprint=OWN,
    )


@dataclass(frozen=True)
class ArsineB(SiteDefect):
    """AsH between two dimers of a row, and its hydrogens (As B): over the row's middle, bright in filled states."""

    height_filled_pm: float = _height(True, 107.0)
    height_empty_pm: float = _height(False, 16.0)
    edit: ClassVar[Edit] = Edit(
        (*_gone((0, 0), (1, 0)), *_rim((-1, 0), (2, 0), factor=0.85)),
        (
            Added(DIMER_nm / 2, 0.0, 0.07),
            Added(0.0, 0.18, 0.0, 90.0, 20.0),
            Added(0.0, -0.18, 0.0, 90.0, 20.0),
            Added(DIMER_nm, 0.18, 0.0, 90.0, 20.0),
            Added(DIMER_nm, -0.18, 0.0, 90.0, 20.0),
        ),
        (DIMER_nm / 2, 0.0),
        footprint=((0, 0), (1, 0)),
    )


@dataclass(frozen=True)
class Dopant(SiteDefect):
    """A donor under the surface: a wide, low swelling, no site's own."""

    height_filled_pm: float = _height(True, 20.0)
    height_empty_pm: float = _height(False, 35.0)
    width_nm: float = key("its standard deviation", default=0.9, at_least=0.3, at_most=5, per_defect=True)
    reach_nm: ClassVar[float] = 1.2
    random: ClassVar[bool] = True

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them."""
        return Edit(swell_nm=values["width_nm"])


@dataclass(frozen=True)
class Vacancy(SiteDefect):
    """Missing dimers of one row (DV1, DV2, ...): their depth follows from the neighbours and the second layer.

    Inside, the second layer shows unevenly and half a dimer may be left; the row's ends are brighter and bent.
    """

    length: int = key("dimers missing", default=1, at_least=1, at_most=40, per_defect=True)
    half_filled: float = key(
        "chance that half of a dimer is left, of each inside", default=0.1, at_least=0, at_most=1, per_defect=True
    )
    relief: float = key(
        "spread of the second layer's strength inside, of its logarithm",
        default=0.6,
        at_least=0,
        at_most=3,
        per_defect=True,
    )
    rim: float = key(
        "brightness of the row's ends, over that of others", default=1.3, at_least=0, at_most=5, per_defect=True
    )
    floor: float = key(
        "strength of the second layer inside, over that outside", default=0.45, at_least=0, at_most=20, per_defect=True
    )
    random: ClassVar[bool] = True
    pattern: ClassVar[tuple[int, ...]] = ()

    @classmethod
    def missing(cls, length: int) -> list[int]:
        """Return which units along the row are missing."""
        return list(range(-((length - 1) // 2), length - (length - 1) // 2))

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them."""
        assert rng is not None
        missing = cls.missing(round(values["length"]))
        scaled: list[Scaled] = []
        for unit in missing:
            left = rng.random() < values["half_filled"] and len(missing) > 1
            side, kept = (-1, 1)[int(rng.random() < 0.5)], float(rng.uniform(0.4, 0.9)) if left else 0.0
            scaled += [Scaled(unit, 0, side, TOP, kept, kept), Scaled(unit, 0, -side)]
            for half in (-1, 1):
                shows = values["floor"] * math.exp(values["relief"] * rng.standard_normal())
                scaled.append(Scaled(unit, 0, half, SECOND, shows, shows))
        for end, step in ((missing[0] - 1, -1), (missing[-1] + 1, 1)):
            bent = float(rng.uniform(0.0, 0.35)) * (-1, 1)[int(rng.random() < 0.5)]
            scaled += [_one(end, half, values["rim"] * (1 + half * bent)) for half in (-1, 1)]
            scaled += [_one(end + step, half, math.sqrt(values["rim"])) for half in (-1, 1)]
        inside = range(missing[0], missing[-1] + 1)
        scaled += [_one(unit, half, 1.25) for unit in inside if unit not in missing for half in (-1, 1)]
        return Edit(tuple(scaled), footprint=tuple((unit, 0) for unit in inside))


def _one(unit: int, side: int, factor: float) -> Scaled:
    return Scaled(unit, 0, side, TOP, factor, factor)


@dataclass(frozen=True)
class SplitVacancy(Vacancy):
    """A dimer missing, one left, two missing (1+2-DV): the dimer split off is brighter, its neighbours too."""

    length: int = key("dimers missing in the longer gap", default=2, at_least=1, at_most=10, per_defect=True)

    @classmethod
    def missing(cls, length: int) -> list[int]:
        """Return which units along the row are missing."""
        return [-1, *range(1, 1 + length)]


@dataclass(frozen=True)
class Contaminant(SiteDefect):
    """An unresolved adsorbate: some lobes under one or a few domes."""

    height_filled_pm: float = _height(True, 300.0)
    height_empty_pm: float = _height(False, 300.0)
    radius_nm: float = key("radius of the whole", default=0.5, at_least=0.1, at_most=2.5, per_defect=True)
    reach_nm: ClassVar[float] = 0.9
    random: ClassVar[bool] = True

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them."""
        assert rng is not None
        radius_nm = values["radius_nm"]
        domes = _within(radius_nm * 0.7, int(rng.integers(1, 4)), rng)
        lower_pm = np.append(0.0, rng.uniform(20, 140, len(domes) - 1))
        added = []
        for (x, y), low_pm in zip(domes, lower_pm, strict=True):
            n_lobes = int(rng.integers(2, 4 + math.ceil(14 * radius_nm**2)))
            for right, up in _within(radius_nm * 0.6, n_lobes, rng):
                fall_pm = low_pm + 60 * math.hypot(right, up) / radius_nm + 40 * rng.random()
                place = (_on_grid(x + right), _on_grid(y + up))
                added.append(Added(*place, CONTAMINANT_z_nm, fall_pm, fall_pm + 20 * rng.standard_normal()))
        highest = min(added, key=lambda lobe: lobe.below_filled_pm)
        return Edit(added=tuple(added), probe_nm=(highest.along_nm, highest.across_nm))


CONTAMINANT_z_nm = 0.15  # its lobes sit low and are strong, so that the tip never comes near one
GRID_nm = DIMER_nm / 12  # their places, so that many share a table


def _within(radius_nm: float, count: int, rng: np.random.Generator) -> Floats:
    """Return points in a disc, shape (count, 2)."""
    away, turn = radius_nm * np.sqrt(rng.random(count)), 2 * math.pi * rng.random(count)
    return np.stack([away * np.cos(turn), away * np.sin(turn)], axis=1)


def _on_grid(place_nm: float) -> float:
    return round(place_nm / GRID_nm) * GRID_nm


@dataclass(frozen=True)
class Island(SiteDefect):
    """A rectangle one step lower: a vacancy island, in which the rows are turned."""

    length_nm: float = key("extent along x", default=3.0, at_least=0.5, at_most=40, per_defect=True)
    width_nm: float = key("extent along y", default=3.0, at_least=0.5, at_most=40, per_defect=True)


SITE_DEFECTS: Mapping[str, type[SiteDefect]] = {
    "dangling_bond": DanglingBond,
    "db_pair": DanglingBondPair,
    "db_pair_rows": InterRowPair,
    "dihydride": Dihydride,
    "vacancy": Vacancy,
    "split_vacancy": SplitVacancy,
    "siloxane": Siloxane,
    "c_defect": CDefect,
    "as_a": ArsineA,
    "as_b": ArsineB,
    "dopant": Dopant,
    "contaminant": Contaminant,
    "island": Island,
}
