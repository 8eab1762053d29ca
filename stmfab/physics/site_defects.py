"""Defects of surfaces of units in rows: those of oxides, contaminants of all, and the table of every kind."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .dimer_defects import (
    ArsineA,
    ArsineB,
    CDefect,
    DanglingBond,
    DanglingBondPair,
    Dihydride,
    DimerAdatom,
    Dopant,
    Flicker,
    Hemihydride,
    InterRowPair,
    Island,
    Siloxane,
    SplitVacancy,
    Vacancy,
)
from .keys import key
from .orbitals import SECOND
from .site_edits import DIMERS, OWN, RUTILE, Added, DIMER_nm, Edit, Scaled, SiteDefect, gone, height_key, rim
from .units import Floats


@dataclass(frozen=True)
class Contaminant(SiteDefect):
    """An unresolved adsorbate: some lobes under one or a few domes."""

    surfaces: ClassVar[tuple[str, ...]] = (*DIMERS, RUTILE)
    cell_nm: ClassVar[float | None] = None
    height_filled_pm: float = height_key(True, 300.0)
    height_empty_pm: float = height_key(False, 300.0)
    radius_nm: float = key("radius of the whole", default=0.5, at_least=0.1, at_most=2.5, per_defect=True)
    mobile: ClassVar[bool] = True
    reach_nm: ClassVar[float] = 0.9
    random: ClassVar[bool] = True

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them."""
        assert rng is not None
        sizes_nm = values["radius_nm"] * rng.uniform(*DOME_SIZES, int(rng.integers(2, MOST_DOMES + 1)))
        middles_nm, lower_pm = _chain(sizes_nm, rng), rng.uniform(*DOME_LOWER_pm, len(sizes_nm))
        lower_pm[0] = 0.0
        counts = rng.integers(2, 3 + np.ceil(LOBES_per_nm2 * sizes_nm**2).astype(np.int64))
        dome = np.repeat(np.arange(len(sizes_nm)), counts)
        aside_nm = sizes_nm[dome, None] * _within(1.0, len(dome), rng)
        fall_pm = lower_pm[dome] + 50 * np.hypot(*aside_nm.T) / sizes_nm[dome] + 40 * rng.random(len(dome))
        empty_pm = fall_pm + 20 * rng.standard_normal(len(dome))
        places_nm = middles_nm[dome] + aside_nm
        farthest_nm = float(np.hypot(*places_nm.T).max())
        places_nm *= min(1.0, EXTENT * values["radius_nm"] / farthest_nm)
        places_nm = np.round(places_nm / GRID_nm) * GRID_nm
        rows = np.column_stack([places_nm, np.full(len(dome), CONTAMINANT_z_nm), fall_pm, empty_pm]).tolist()
        highest = int(fall_pm.argmin())
        return Edit(added=tuple(Added(*row) for row in rows), probe_nm=(rows[highest][0], rows[highest][1]))


CONTAMINANT_z_nm = 0.15  # its lobes sit low and are strong, so that the tip never comes near one
GRID_nm = DIMER_nm / 12  # their places, so that many share a table
MOST_DOMES, DOME_SIZES, DOME_LOWER_pm = 6, (0.15, 0.45), (0.0, 160.0)  # sizes over the whole's radius (priors)
LOBES_per_nm2, EXTENT, STRAY_deg = 14, 1.7, 45.0  # no lobe farther out than so many radii; domes stray from a line


def _chain(sizes_nm: Floats, rng: np.random.Generator) -> Floats:
    """Return the middles of domes that overlap, each joined to one of those before it, roughly along a line, (n, 2)."""
    line = 2 * math.pi * rng.random()
    out = np.zeros((len(sizes_nm), 2))
    for n in range(1, len(sizes_nm)):
        other = int(rng.integers(n))
        turn = line + math.radians(STRAY_deg) * rng.standard_normal() + math.pi * int(rng.integers(2))
        away_nm = 1.5 * (sizes_nm[n] + sizes_nm[other])
        out[n] = out[other] + away_nm * np.array([math.cos(turn), math.sin(turn)])
    return out


def _within(radius_nm: float, count: int, rng: np.random.Generator) -> Floats:
    """Return points in a disc, shape (count, 2)."""
    away, turn = radius_nm * np.sqrt(rng.random(count)), 2 * math.pi * rng.random(count)
    return np.stack([away * np.cos(turn), away * np.sin(turn)], axis=1)


@dataclass(frozen=True)
class LooseAdsorbate(Contaminant):
    """An adsorbate that comes and goes while it is scanned: streaks along the fast axis."""

    up_per_s: float = key("rate at which it comes", default=5.0, above=0, per_defect=True)
    down_per_s: float = key("rate at which it goes", default=20.0, above=0, per_defect=True)


CELL_TI_nm, BRIDGE_nm = 0.2959, 0.3249  # along a row of TiO2(110); from the row of Ti to that of bridging O
BETWEEN = (CELL_TI_nm / 2, BRIDGE_nm)
HIDDEN_pm = 1000.0  # a lobe that does not show in these states


CLUSTER_STEPS, CLUSTER_pm = 4, 15.0  # how unevenly a charge is shared: Ti stand lower by so many steps (priors)


Six = tuple[float, float, float, float, float, float]
EVEN: Six = (0.0, 0.0, 0.0, 0.0, 40.0, 40.0)


@functools.cache
def _charged(lower_pm: Six, empty: tuple[Added, ...]) -> Edit:
    """Return what is missing on a bridging row and left two electrons or one on the Ti around, seen in filled states.

    The charge stands so much lower on the six Ti: the next four, then the nearest two; ``empty`` shows in empty states.
    """
    places = ((-0.5, 0.0), (-0.5, 0.65), (1.5, 0.0), (1.5, 0.65), (0.5, 0.0), (0.5, 0.65))
    on_ti = (
        Added(along * CELL_TI_nm, across, -0.02, low_pm, HIDDEN_pm)
        for (along, across), low_pm in zip(places, lower_pm, strict=True)
    )
    hidden = (lobe._replace(below_filled_pm=HIDDEN_pm) for lobe in empty)
    return Edit((Scaled(0, 0, 0, SECOND),), (*hidden, *on_ti), BETWEEN, footprint=OWN)


def _unevenly(rng: np.random.Generator | None) -> Six:
    """Return how much lower a charge stands on each of the six Ti around."""
    assert rng is not None
    steps = rng.integers(CLUSTER_STEPS, size=6) + np.array([0, 0, 0, 0, 1, 1])
    one, two, three, four, five, six = ((steps - steps.min()) * CLUSTER_pm).tolist()
    return one, two, three, four, five, six


@dataclass(frozen=True)
class OxygenVacancy(SiteDefect):
    """A bridging oxygen missing: bright between two rows in empty states; in filled its charge shows on Ti around.

    Where the charge sits differs from one to the next: it hops between Ti, and the tip sees its mean (Yim et al., Phys.
    Rev. Lett. 117, 116402 (2016)).
    """

    surfaces: ClassVar[tuple[str, ...]] = (RUTILE,)
    cell_nm: ClassVar[float | None] = CELL_TI_nm
    height_filled_pm: float = height_key(True, 30.0)
    height_empty_pm: float = height_key(False, 40.0)
    edit: ClassVar[Edit] = _charged(EVEN, (Added(*BETWEEN),))
    random: ClassVar[bool] = True

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them."""
        return _charged(_unevenly(rng), (Added(*BETWEEN),))


def _hydroxyl(along_nm: float) -> tuple[Added, ...]:
    """Return a bridging hydroxyl: spread across its row, fading slower than the surface."""
    return tuple(
        Added(along_nm, BRIDGE_nm + aside, 0.02, 0.0 if aside == 0 else 25.0, 0.0 if aside == 0 else 25.0, 0.97)
        for aside in (-0.1, 0.0, 0.1)
    )


@dataclass(frozen=True)
class Hydroxyl(SiteDefect):
    """A bridging hydroxyl: in empty states as a vacancy, brighter; in filled ones its electron shows on Ti around.

    The same Ti as a vacancy's, in scans and in density functionals: Minato et al., J. Chem. Phys. 130, 124502 (2009).
    """

    surfaces: ClassVar[tuple[str, ...]] = (RUTILE,)
    cell_nm: ClassVar[float | None] = CELL_TI_nm
    height_filled_pm: float = height_key(True, 35.0)
    height_empty_pm: float = height_key(False, 65.0)
    edit: ClassVar[Edit] = _charged(EVEN, _hydroxyl(CELL_TI_nm / 2))
    random: ClassVar[bool] = True

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them."""
        return _charged(_unevenly(rng), _hydroxyl(CELL_TI_nm / 2))


@dataclass(frozen=True)
class HydroxylPair(SiteDefect):
    """Two bridging hydroxyls side by side: a bright oval along the row."""

    surfaces: ClassVar[tuple[str, ...]] = (RUTILE,)
    cell_nm: ClassVar[float | None] = CELL_TI_nm
    height_filled_pm: float = height_key(True, 50.0)
    height_empty_pm: float = height_key(False, 100.0)
    edit: ClassVar[Edit] = Edit(
        (Scaled(0, 0, 0, SECOND), Scaled(1, 0, 0, SECOND)),
        (*_hydroxyl(CELL_TI_nm / 2), *_hydroxyl(CELL_TI_nm * 3 / 2)),
        (CELL_TI_nm, BRIDGE_nm),
        footprint=((0, 0), (1, 0)),
    )


@dataclass(frozen=True)
class OxygenAdatom(SiteDefect):
    """An oxygen on a five-fold Ti: bright on the row, the Ti beside it dimmer."""

    surfaces: ClassVar[tuple[str, ...]] = (RUTILE,)
    cell_nm: ClassVar[float | None] = CELL_TI_nm
    height_filled_pm: float = height_key(True, 60.0)
    height_empty_pm: float = height_key(False, 75.0)
    edit: ClassVar[Edit] = Edit(
        (*gone(*OWN), *rim((-1, 0), (1, 0), factor=0.7)), (Added(0.0, 0.0, 0.08),), footprint=OWN
    )


@dataclass(frozen=True)
class Strand(SiteDefect):
    """A strand of the (1x2) reconstruction: a high, double line over a row, with bright ends."""

    surfaces: ClassVar[tuple[str, ...]] = (RUTILE,)
    cell_nm: ClassVar[float | None] = None
    height_filled_pm: float = height_key(True, 150.0)
    height_empty_pm: float = height_key(False, 150.0)
    length: int = key("its cells along the row", default=12, at_least=2, at_most=200, per_defect=True)
    random: ClassVar[bool] = True

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them."""
        assert rng is not None
        cells = range(round(values["length"]))
        lower_pm = np.where(np.isin(cells, (0, len(cells) - 1)), -40.0, 15 * rng.standard_normal(len(cells)))
        added = [
            Added(cell * CELL_TI_nm, aside, 0.1, float(low_pm), float(low_pm))
            for cell, low_pm in zip(cells, lower_pm, strict=True)
            for aside in (-0.16, 0.16)
        ]
        middle_nm = (len(cells) // 2) * CELL_TI_nm
        return Edit(
            gone(*((cell, 0) for cell in cells)),
            tuple(added),
            (middle_nm, 0.16),
            0.0,
            tuple((cell, 0) for cell in cells),
        )


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
    "loose_adsorbate": LooseAdsorbate,
    "island": Island,
    "hemihydride": Hemihydride,
    "adatom": DimerAdatom,
    "flicker": Flicker,
    "o_vacancy": OxygenVacancy,
    "hydroxyl": Hydroxyl,
    "hydroxyl_pair": HydroxylPair,
    "o_adatom": OxygenAdatom,
    "strand": Strand,
}
