"""Charged defects: the bands around a charge shift rigidly by its screened potential.

U(r) = -q e^2 / (4 pi eps0 eps) exp(-r / lambda) / sqrt(r^2 + d^2), q in elementary charges, r in the plane: a negative
charge raises the levels. The density of states of an atom is that of the same atom without the charge, at E - U.
Where shifts of one sign overlap the largest counts: others screen it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from .defects import PERMITTIVITY, CrystalDefect, DEPTH_nm, Placed, SCREENING_nm
from .materials import Material
from .units import Bools, Floats, Ints

COULOMB_eV_nm = (
    1e9 * constants.e / (4 * math.pi * constants.epsilon_0)
)  # of two elementary charges, times their distance
LEAST_eV = 5e-4  # a smaller shift is none: 0.1 pm where ln I changes by 4 an eV
STEP, POINTS = 0.25, 4  # broadenings between the tabulated shifts, and the points of a polynomial between them;
# test_halos.py::test_shifts_between_the_tabulated_ones
OF_A_CHARGE = ("charge", "permittivity", "screening_nm", "depth_nm")
OF_A_PEAK = ("charge", "permittivity", "depth_nm")
USUAL = (0.0, PERMITTIVITY, SCREENING_nm, DEPTH_nm)


@dataclass(frozen=True)
class Halos:
    """Charged defects: places (x, y), (n, 2), and their charges, permittivities, screening lengths and depths, (n,)."""

    places_nm: Floats
    charges: Floats
    permittivities: Floats
    screenings_nm: Floats
    depths_nm: Floats

    def shift_eV(self, points_nm: Floats) -> Floats:
        """Return the shift of the levels at points (n_points, 2), in eV, (n_points,)."""
        if not len(self.charges):
            return np.zeros(len(points_nm))
        away2 = ((points_nm[:, None] - self.places_nm) ** 2).sum(axis=2)
        each = -self.charges * COULOMB_eV_nm / self.permittivities / np.sqrt(away2 + self.depths_nm**2)
        each *= np.exp(-np.sqrt(away2) / self.screenings_nm)
        each[np.abs(each) < LEAST_eV] = 0.0
        return np.asarray(each.max(axis=1, initial=0.0) + each.min(axis=1, initial=0.0))

    def levels_eV(self, broadening_eV: float) -> Floats:
        """Return evenly spaced shifts that hold 0 and the peak of each charge, (n_levels,)."""
        if not len(self.charges):
            return np.zeros(1)
        peaks_eV = -self.charges * COULOMB_eV_nm / self.permittivities / self.depths_nm
        return levels_eV(peaks_eV, broadening_eV)


def levels_eV(shift_eV: Floats, broadening_eV: float) -> Floats:
    """Return evenly spaced shifts from the least to the largest of some, 0 among them, (n_levels,)."""
    step_eV = STEP * broadening_eV
    first = math.floor(shift_eV.min(initial=0.0) / step_eV)
    last = math.ceil(shift_eV.max(initial=0.0) / step_eV)
    n_levels = max(last - first + 1, POINTS) if last > first else 1
    return np.asarray((first + np.arange(n_levels)) * step_eV)


NONE = Halos(np.zeros((0, 2)), *np.zeros((4, 0)))


def of_members(material: Material, members: Iterable[tuple[type[CrystalDefect], Placed]]) -> Halos:
    """Return the charged ones of some placed defects."""
    columns: list[Floats] = [np.zeros((0, 6))]
    for kind, placed in members:
        if placed.values.get("charge") is None or not placed.values["charge"].any():
            continue
        places_nm = kind.places_nm(material, placed)[:, :2]
        columns.append(np.column_stack([places_nm, *(placed.values[name] for name in OF_A_CHARGE)]))
    if len(columns) == 1:
        return NONE
    every = np.concatenate(columns)
    return Halos(every[:, :2], *every[:, 2:].T)


def of_charge(given: Mapping[str, float | None]) -> dict[str, float]:
    """Return charge, permittivity, screening length and depth from a defect's keys; what is absent is as usual."""
    own = zip(OF_A_CHARGE, USUAL, strict=True)
    return {name: usual if given.get(name) is None else float(given[name] or 0.0) for name, usual in own}


def peak_eV(*, charge: float, permittivity: float, depth_nm: float) -> float:
    """Return the shift right at a charge."""
    return -charge * float(COULOMB_eV_nm) / permittivity / depth_nm


def reach_nm(*, charge: float, permittivity: float, screening_nm: float) -> float:
    """Return how far from a charge the shift is above ``LEAST_eV``."""
    if not charge:
        return 0.0
    away_nm = 0.0
    scale_nm = abs(charge) * COULOMB_eV_nm / permittivity / LEAST_eV
    while scale_nm * math.exp(-away_nm / screening_nm) > max(away_nm, screening_nm / 100):
        away_nm += screening_nm / 10
    return away_nm


def needed(levels_eV: Floats, shift_eV: Floats) -> slice:
    """Return which of some levels ``between_levels`` takes for some shifts."""
    if len(levels_eV) == 1 or not len(shift_eV):
        return slice(0, len(levels_eV))
    below = _below(levels_eV, shift_eV)
    return slice(int(below.min()), int(below.max()) + POINTS)


def taken(levels_eV: Floats, shift_eV: Floats) -> Bools:
    """Return at which of some shifts ``between_levels`` takes each level, (n_levels, n_places)."""
    above = np.arange(len(levels_eV))[:, None] - _below(levels_eV, shift_eV)
    return np.asarray((above >= 0) & (above < POINTS))


def _below(levels_eV: Floats, shift_eV: Floats) -> Ints:
    """Return the first of the levels that the polynomial at each shift goes through."""
    at = np.floor((shift_eV - levels_eV[0]) / (levels_eV[1] - levels_eV[0])).astype(np.int64)
    return np.asarray(np.clip(at - 1, 0, len(levels_eV) - POINTS))


def between_levels(values: NDArray[Any], levels_eV: Floats, shift_eV: Floats) -> NDArray[Any]:
    """Return values (n_places, ...) at the places' shifts, from those at all levels, (n_levels, n_places, ...).

    By Lagrange's cubic through four neighbouring levels.
    """
    if len(levels_eV) == 1:
        return np.asarray(values[0])
    at = (shift_eV - levels_eV[0]) / (levels_eV[1] - levels_eV[0])
    below = _below(levels_eV, shift_eV)
    t, places, out = at - below, np.arange(len(shift_eV)), np.zeros_like(values[0])
    for node in range(POINTS):
        others = np.delete(np.arange(POINTS), node)
        share = np.prod((t[:, None] - others) / (node - others), axis=1).astype(np.float32)
        out += share.reshape(-1, *(1,) * (values.ndim - 2)) * values[below + node, places]
    return np.asarray(out)
