"""Defects of surfaces of dimers, Si(001):H and Ge(001)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .keys import key
from .orbitals import SECOND, TOP
from .site_edits import (
    AROUND,
    DIMERS,
    GERMANIUM,
    OWN,
    Added,
    DIMER_nm,
    Edit,
    HALF_nm,
    ROW_nm,
    Scaled,
    SiteDefect,
    gone,
    height_key,
    rim,
)


@dataclass(frozen=True)
class DanglingBond(SiteDefect):
    """One hydrogen missing: a bright spot off the middle of its row, in a dark ring; a halo where it is charged."""

    height_filled_pm: float = height_key(True, 104.0)
    height_empty_pm: float = height_key(False, 74.0)
    charge: float = key("its charge in electron charges, -1 on n-type silicon", default=0.0, per_defect=True)
    edit: ClassVar[Edit] = Edit(
        (*gone(*OWN, side=1), *rim(*AROUND[:4], factor=0.72)),
        (Added(0.0, HALF_nm, 0.02),),
        (0.0, HALF_nm),
        footprint=OWN,
        low_bias_pm=(24.0, 0.0),  # its state lies in the gap: +128 pm at -1.2 V by the sp3s* referee
    )


@dataclass(frozen=True)
class DanglingBondPair(SiteDefect):
    """Both hydrogens of a dimer missing: a larger bright oval; a node between them in empty states."""

    height_filled_pm: float = height_key(True, 164.0)
    height_empty_pm: float = height_key(False, 192.0)
    edit: ClassVar[Edit] = Edit(
        (*gone(*OWN), *rim(*AROUND[:4], factor=0.65)),
        (Added(0.0, -0.15, 0.05), Added(0.0, 0.15, 0.05)),
        footprint=OWN,
        low_bias_pm=(24.0, 0.0),  # as of one: a prior
    )


@dataclass(frozen=True)
class InterRowPair(SiteDefect):
    """A hydrogen missing on either side of the trench between two rows."""

    height_filled_pm: float = height_key(True, 125.0)
    height_empty_pm: float = height_key(False, 130.0)
    edit: ClassVar[Edit] = Edit(
        (Scaled(0, 0, 1), Scaled(0, 1, -1), *rim((-1, 0), (1, 0), (-1, 1), (1, 1), factor=0.72)),
        (Added(0.0, HALF_nm, 0.02), Added(0.0, ROW_nm - HALF_nm, 0.02)),
        (0.0, HALF_nm),
        footprint=((0, 0), (0, 1)),
        low_bias_pm=(24.0, 0.0),  # as of one: a prior
    )


@dataclass(frozen=True)
class Dihydride(SiteDefect):
    """A dimer broken by two more hydrogens: a dark, split slot across the row."""

    height_filled_pm: float = height_key(True, -35.0)
    height_empty_pm: float = height_key(False, -46.0)
    edit: ClassVar[Edit] = Edit(
        (*gone(*OWN), *rim((-1, 0), (1, 0), factor=0.75)),
        (Added(0.0, -0.2, -0.01), Added(0.0, 0.2, -0.01)),
        footprint=OWN,
    )


@dataclass(frozen=True)
class Siloxane(SiteDefect):
    """An oxygen in a dimer: darker, one half more than the other."""

    height_filled_pm: float = height_key(True, -22.0)
    height_empty_pm: float = height_key(False, -33.0)
    edit: ClassVar[Edit] = Edit(
        gone(*OWN),
        (Added(0.0, -0.1, 0.0), Added(0.0, 0.17, -0.02, 40.0, 55.0)),
        footprint=OWN,
    )


@dataclass(frozen=True)
class CDefect(SiteDefect):
    """H and OH of a water molecule on halves of two adjacent dimers: a dark pair, bright in empty states."""

    surfaces: ClassVar[tuple[str, ...]] = DIMERS
    height_filled_pm: float = height_key(True, -55.0)
    height_empty_pm: float = height_key(False, 86.0)
    edit: ClassVar[Edit] = Edit(
        (
            *gone((0, 0), (1, 0), side=1),
            *(Scaled(unit, 0, -1, TOP, 0.3, 0.3) for unit in (0, 1)),
            *rim((-1, 0), (2, 0), (0, 1), (1, 1), factor=0.75),
        ),
        (Added(0.0, 0.16, -0.01), Added(DIMER_nm, 0.16, -0.01, 10.0, 25.0)),
        (DIMER_nm / 2, 0.16),
        footprint=((0, 0), (1, 0)),
    )


@dataclass(frozen=True)
class ArsineA(SiteDefect):
    """AsH2 and H on the two halves of a dimer (As A): off the middle, much brighter in empty states."""

    surfaces: ClassVar[tuple[str, ...]] = DIMERS
    height_filled_pm: float = height_key(True, 79.0)
    height_empty_pm: float = height_key(False, 151.0)
    edit: ClassVar[Edit] = Edit(
        (*gone(*OWN), *rim((-1, 0), (1, 0), factor=0.85)),
        (Added(0.0, 0.15, 0.09), Added(0.0, -0.14, 0.0, 75.0, 150.0)),
        (0.0, 0.15),
        footprint=OWN,
    )


@dataclass(frozen=True)
class ArsineB(SiteDefect):
    """AsH between two dimers of a row, and its hydrogens (As B): over the row's middle, bright in filled states."""

    surfaces: ClassVar[tuple[str, ...]] = DIMERS
    height_filled_pm: float = height_key(True, 107.0)
    height_empty_pm: float = height_key(False, 16.0)
    edit: ClassVar[Edit] = Edit(
        (*gone((0, 0), (1, 0)), *rim((-1, 0), (2, 0), factor=0.85)),
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

    height_filled_pm: float = height_key(True, 20.0)
    height_empty_pm: float = height_key(False, 35.0)
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

    Inside, the second layer shows unevenly and half a dimer may be left; the ends of rows are brighter and bent. A gap
    may branch into the rows beside it.
    """

    surfaces: ClassVar[tuple[str, ...]] = DIMERS
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
    branches: float = key(
        "mean number of dimers missing beside them, in the rows next to theirs",
        default=0.0,
        at_least=0,
        at_most=20,
        per_defect=True,
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
        scaled = _gap(missing, 0, values, rng)
        inside = [(unit, 0) for unit in range(missing[0], missing[-1] + 1)]
        for across, units in _beside(missing, values["branches"], rng).items():
            scaled += _gap(units, across, values, rng)
            inside += [(unit, across) for unit in range(units[0], units[-1] + 1)]
        return Edit(tuple(scaled), footprint=tuple(inside))


SIDEWAYS = 0.5  # share of the dimers beside a gap that lie in yet another row, not farther along one (a prior)
FARTHEST_ROW = 2  # from the first: a pit stays within ``orbital_units.MARGIN_nm``


def _beside(missing: Sequence[int], mean: float, rng: np.random.Generator) -> dict[int, list[int]]:
    """Return which units of other rows are missing beside those of row 0: each is next to one that is missing."""
    gone = [(unit, 0) for unit in missing]
    for _ in range(int(rng.poisson(mean)) if mean > 0 else 0):
        along, across = gone[int(rng.integers(len(gone)))]
        step = (-1, 1)[int(rng.random() < 0.5)]
        at = (along, across + step) if across == 0 or rng.random() < SIDEWAYS else (along + step, across)
        if 0 < abs(at[1]) <= FARTHEST_ROW and at not in gone:
            gone.append(at)
    rows = sorted({across for _, across in gone} - {0})
    return {row: sorted(along for along, across in gone if across == row) for row in rows}


def _gap(missing: Sequence[int], across: int, values: Mapping[str, float], rng: np.random.Generator) -> list[Scaled]:
    """Return what is left of units of one row that are missing, and what becomes of those beside them."""
    scaled: list[Scaled] = []
    for unit in missing:
        left = rng.random() < values["half_filled"] and len(missing) > 1
        side, kept = (-1, 1)[int(rng.random() < 0.5)], float(rng.uniform(0.4, 0.9)) if left else 0.0
        scaled += [Scaled(unit, across, side, TOP, kept, kept), Scaled(unit, across, -side)]
        for half in (-1, 1):
            shows = values["floor"] * math.exp(values["relief"] * rng.standard_normal())
            scaled.append(Scaled(unit, across, half, SECOND, shows, shows))
    for end, step in ((missing[0] - 1, -1), (missing[-1] + 1, 1)):
        bent = float(rng.uniform(0.0, 0.35)) * (-1, 1)[int(rng.random() < 0.5)]
        scaled += [_one((end, across), half, values["rim"] * (1 + half * bent)) for half in (-1, 1)]
        scaled += [_one((end + step, across), half, math.sqrt(values["rim"])) for half in (-1, 1)]
    between = sorted(set(range(missing[0], missing[-1] + 1)).difference(missing))
    return scaled + [_one((unit, across), half, 1.25) for unit in between for half in (-1, 1)]


def _one(unit: tuple[int, int], side: int, factor: float) -> Scaled:
    return Scaled(*unit, side, TOP, factor, factor)


@dataclass(frozen=True)
class SplitVacancy(Vacancy):
    """A dimer missing, one left, two missing (1+2-DV): the dimer split off is brighter, its neighbours too."""

    length: int = key("dimers missing in the longer gap", default=2, at_least=1, at_most=10, per_defect=True)

    @classmethod
    def missing(cls, length: int) -> list[int]:
        """Return which units along the row are missing."""
        return [-1, *range(1, 1 + length)]


@dataclass(frozen=True)
class Island(SiteDefect):
    """A rectangle one step lower: a vacancy island, in which the rows are turned."""

    surfaces: ClassVar[tuple[str, ...]] = DIMERS
    length_nm: float = key("extent along x", default=3.0, at_least=0.5, at_most=40, per_defect=True)
    width_nm: float = key("extent along y", default=3.0, at_least=0.5, at_most=40, per_defect=True)


@dataclass(frozen=True)
class Hemihydride(SiteDefect):
    """One hydrogen on a dimer of Ge(001): the atom with it is dark, its partner has a dangling bond."""

    surfaces: ClassVar[tuple[str, ...]] = (GERMANIUM,)
    height_filled_pm: float = height_key(True, 55.0)
    height_empty_pm: float = height_key(False, 25.0)
    edit: ClassVar[Edit] = Edit(
        (*gone(*OWN), *rim((-1, 0), (1, 0), factor=0.9)),
        (Added(0.0, 0.14, 0.03), Added(0.0, -0.16, -0.02, 130.0, 70.0)),
        (0.0, 0.14),
        footprint=OWN,
    )


@dataclass(frozen=True)
class Flicker(SiteDefect):
    """A piece of a row of buckled dimers that flips to the other phase and back while it is scanned (a phason)."""

    surfaces: ClassVar[tuple[str, ...]] = (GERMANIUM,)
    length: int = key("dimers that flip together", default=6, at_least=1, at_most=100, per_defect=True)
    up_per_s: float = key("rate at which they flip", default=10.0, above=0, per_defect=True)
    down_per_s: float = key("rate at which they flip back", default=10.0, above=0, per_defect=True)

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them."""
        return Edit(flipped=tuple((unit, 0) for unit in range(round(values["length"]))))


@dataclass(frozen=True)
class DimerAdatom(SiteDefect):
    """An atom of the surface's kind in the trench between two rows."""

    surfaces: ClassVar[tuple[str, ...]] = (GERMANIUM,)
    height_filled_pm: float = height_key(True, 150.0)
    height_empty_pm: float = height_key(False, 120.0)
    edit: ClassVar[Edit] = Edit(
        rim((0, 0), (0, 1), (1, 0), (1, 1), factor=0.7),
        (Added(DIMER_nm / 2, ROW_nm / 2, 0.1),),
        (DIMER_nm / 2, ROW_nm / 2),
        footprint=((0, 0), (0, 1)),
    )
