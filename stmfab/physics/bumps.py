"""Physisorbed blobs: the field of a scene raised by smooth bumps, so that a constant current follows them exactly.

ln I'(x, y, z) = ln I(x, y, z - h(x, y)), h(r) = height exp(-4 ln 2 r^2 / fwhm^2).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .current import Heights
from .defects import CrystalDefect, Placed
from .field import CurrentField, chebyshev_nodes, values_to_monomials
from .materials import Material
from .units import Floats

LEAST_nm = 1e-6  # a lower bump is none
WIDTHS = 2.3  # so many full widths from its middle a bump of 1 nm is below LEAST_nm


@dataclass(frozen=True)
class Bumps:
    """Bumps: places (x, y), (n, 2), heights and full widths at half of it, (n,)."""

    places_nm: Floats
    heights_nm: Floats
    fwhm_nm: Floats

    def height_nm(self, points_nm: Floats) -> Floats:
        """Return how high they stand together at points (n_points, 2), (n_points,)."""
        out = np.zeros(len(points_nm))
        for place, height, fwhm in zip(self.places_nm, self.heights_nm, self.fwhm_nm, strict=True):
            away2 = ((points_nm - place) ** 2).sum(axis=1)
            out += height * np.exp(-4 * math.log(2) * away2 / fwhm**2)
        return out


NONE = Bumps(np.zeros((0, 2)), np.zeros(0), np.zeros(0))


def of_members(material: Material, members: Iterable[tuple[type[CrystalDefect], Placed]]) -> Bumps:
    """Return the bumps among some placed defects."""
    columns: list[Floats] = [np.zeros((0, 4))]
    for kind, placed in members:
        if "fwhm_nm" in placed.values:
            places_nm = kind.places_nm(material, placed)[:, :2]
            columns.append(np.column_stack([places_nm, placed.values["height_pm"] / 1e3, placed.values["fwhm_nm"]]))
    if len(columns) == 1:
        return NONE
    x, y, heights_nm, fwhm_nm = np.concatenate(columns).T
    return Bumps(np.column_stack([x, y]), heights_nm, fwhm_nm)


def raised(field: CurrentField, bumps: Bumps, table: Heights) -> CurrentField:
    """Return a field on a table of heights raised by bumps: straight lines beyond the table, as in the field itself."""
    if not len(bumps.heights_nm):
        return field
    n_v, n_u = field.coefficients.shape[:2]
    v, u = np.indices((n_v, n_u)).reshape(2, -1)
    height_nm = bumps.height_nm(field.origin_nm + np.column_stack([u, v]) @ field.steps_nm)
    higher = np.flatnonzero(height_nm > LEAST_nm)
    n = table.n_heights
    s = chebyshev_nodes(n) - height_nm[higher, None] / field.z_half_nm
    before = field.coefficients.reshape(n_v * n_u, -1)[higher, :n].astype(np.float64)
    edge, values, slope = np.clip(s, -1, 1), np.zeros_like(s), np.zeros_like(s)
    for column in before.T[::-1, :, None]:  # Horner, the derivative beside
        slope = slope * edge + values
        values = values * edge + column
    values += slope * (s - edge)
    coefficients = field.coefficients.copy()
    flat = coefficients.reshape(n_v * n_u, -1)
    flat[higher, :n] = values @ values_to_monomials(n).T
    return dataclasses.replace(field, coefficients=coefficients)
