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
class LooseAdsorbate(Contaminant):
    """An adsorbate that comes and goes while it is scanned: streaks along the fast axis."""

    up_per_s: float = key("rate at which it comes", default=5.0, above=0, per_defect=True)
    down_per_s: float = key("rate at which it goes", default=20.0, above=0, per_defect=True)


CELL_TI_nm, BRIDGE_nm = 0.2959, 0.3249  # along a row of TiO2(110); from the row of Ti to that of bridging O
BETWEEN = (CELL_TI_nm / 2, BRIDGE_nm)
HIDDEN_pm = 1000.0  # a lobe that does not show in these states


CLUSTER_STEPS, CLUSTER_pm = 4, 15.0  # how unevenly a charge is shared: Ti stand lower by so many steps (priors)


@functools.cache
def _charged(lower_pm: tuple[float, ...]) -> Edit:
    """Return a vacancy whose charge stands so much lower on the six Ti around: the next four, then the nearest two."""
    places = ((-0.5, 0.0), (-0.5, 0.65), (1.5, 0.0), (1.5, 0.65), (0.5, 0.0), (0.5, 0.65))
    on_ti = (
        Added(along * CELL_TI_nm, across, -0.02, low_pm, HIDDEN_pm)
        for (along, across), low_pm in zip(places, lower_pm, strict=True)
    )
    return Edit((Scaled(0, 0, 0, SECOND),), (Added(*BETWEEN, 0.0, HIDDEN_pm, 0.0), *on_ti), BETWEEN, footprint=OWN)


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
    edit: ClassVar[Edit] = _charged((0.0, 0.0, 0.0, 0.0, 40.0, 40.0))
    random: ClassVar[bool] = True

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them."""
        assert rng is not None
        steps = rng.integers(CLUSTER_STEPS, size=6) + np.array([0, 0, 0, 0, 1, 1])
        return _charged(tuple(((steps - steps.min()) * CLUSTER_pm).tolist()))


def _hydroxyl(along_nm: float) -> tuple[Added, ...]:
    """Return a bridging hydroxyl: spread across its row, fading slower than the surface."""
    return tuple(
        Added(along_nm, BRIDGE_nm + aside, 0.02, 0.0 if aside == 0 else 25.0, 0.0 if aside == 0 else 25.0, 0.97)
        for aside in (-0.1, 0.0, 0.1)
    )


@dataclass(frozen=True)
class Hydroxyl(SiteDefect):
    """A bridging hydroxyl: as a vacancy, brighter."""

    surfaces: ClassVar[tuple[str, ...]] = (RUTILE,)
    cell_nm: ClassVar[float | None] = CELL_TI_nm
    height_filled_pm: float = height_key(True, 35.0)
    height_empty_pm: float = height_key(False, 65.0)
    edit: ClassVar[Edit] = Edit((Scaled(0, 0, 0, SECOND),), _hydroxyl(CELL_TI_nm / 2), BETWEEN, footprint=OWN)


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
