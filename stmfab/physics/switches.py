"""What on the sample comes and goes while it is scanned: flickering bonds, adsorbates that the tip drags along.

A switch is a telegraph process in time that adds a change of ln|I| over a patch of the surface. Only the microscope
knows time: the sample world says what changes and how often, the scan when.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .field import CurrentField, FieldsInTurn
from .units import Bools, Floats, Floats32, Ints


@dataclass(frozen=True)
class Switch:
    """Something that comes at one rate and goes at another, and what it adds to ln|I| while it is there.

    ``change`` is tabulated on the heights of the field that it changes, over a patch; beyond, it adds nothing.
    """

    change: CurrentField
    up_per_s: float
    down_per_s: float

    def __post_init__(self) -> None:
        if min(self.up_per_s, self.down_per_s) <= 0:
            raise ValueError("a switch comes and goes at rates above 0")

    @functools.cached_property
    def box_nm(self) -> tuple[float, float, float, float]:
        """The least and largest x, then those of y, of the patch."""
        n_v, n_u = self.change.coefficients.shape[:2]
        ends = np.array([(0, 0), (n_u - 1, 0), (0, n_v - 1), (n_u - 1, n_v - 1)])
        corners_nm = self.change.origin_nm + ends @ self.change.steps_nm
        (left, below), (right, above) = corners_nm.min(axis=0).tolist(), corners_nm.max(axis=0).tolist()
        return left, right, below, above


@dataclass(frozen=True)
class SwitchingField:
    """A field with the switches on its surface; at rest, all of them down, it is ``field``."""

    field: CurrentField
    switches: Sequence[Switch]

    def during(self, tip_numbers: Ints) -> CurrentField:
        """Return the field at rest, however often the tip has changed."""
        return self.field

    def changed(self, shares: Sequence[Floats32]) -> ChangedField:
        """Return the field while each switch is up for a share of the time, each (n_passes, n_pixels)."""
        return ChangedField(self.field, self.switches, shares)

    @property
    def z_mid_nm(self) -> float:
        """Middle of the tabulated heights."""
        return self.field.z_mid_nm

    @property
    def z_half_nm(self) -> float:
        """Half width of the tabulated heights."""
        return self.field.z_half_nm

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients a node, padding included."""
        return self.field.n_coefficients

    @property
    def polarity(self) -> int:
        """Sign of the current."""
        return self.field.polarity


@dataclass(frozen=True)
class ChangedField:
    """A field at some pixels, with a share of each switch's change in ln|I|: shares (n_passes, n_pixels)."""

    field: CurrentField
    switches: Sequence[Switch]
    shares: Sequence[Floats32]

    def pixel_means(self, x_nm: Floats, y_nm: Floats, n_sub: int) -> Floats32:
        """Return each pixel's height polynomial, as ``CurrentField`` does."""
        return np.asarray(self._summed(lambda field, x, y: field.pixel_means(x, y, n_sub), x_nm, y_nm))

    def step_polynomials(self, x_nm: Floats, y_nm: Floats, n_sub: int) -> Floats32:
        """Return the height polynomial of every sub-step, as ``CurrentField`` does."""
        return np.asarray(self._summed(lambda field, x, y: field.step_polynomials(x, y, n_sub), x_nm, y_nm))

    def _summed(
        self, values_of: Callable[[CurrentField, Floats, Floats], Floats32], x_nm: Floats, y_nm: Floats
    ) -> NDArray[Any]:
        """Return the field's values along passes with those of the changes; outside its patch a change adds nothing."""
        out = values_of(self.field, x_nm, y_nm)
        frame = x_nm.min(), x_nm.max(), y_nm.min(), y_nm.max()
        for switch, share in zip(self.switches, self.shares, strict=True):
            if not _meet(frame, switch.box_nm):
                continue
            row, pixel = np.nonzero(_touched(switch, x_nm, y_nm) & (share != 0))
            if len(row):
                ends = row[:, None], pixel[:, None] + (0, 1)
                added = np.nan_to_num(values_of(switch.change, x_nm[ends], y_nm[ends])[:, 0], copy=False, nan=0.0)
                out[row, pixel] += share[row, pixel].reshape(-1, *[1] * (added.ndim - 1)) * added
        return out


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two boxes, each the least and largest x, then those of y, share a point."""
    return one[0] <= other[1] and other[0] <= one[1] and one[2] <= other[3] and other[2] <= one[3]


def _touched(switch: Switch, x_nm: Floats, y_nm: Floats) -> Bools:
    """Return which pixels may touch a switch's patch, (n_passes, n_pixels), by their ends (n_passes, n_pixels + 1)."""
    left, right, below, above = switch.box_nm
    (x0, x1), (y0, y1) = ((ends[:, :-1], ends[:, 1:]) for ends in (x_nm, y_nm))
    beside = (np.maximum(x0, x1) < left) | (np.minimum(x0, x1) > right)
    return np.asarray(~(beside | (np.maximum(y0, y1) < below) | (np.minimum(y0, y1) > above)))


Fields: TypeAlias = CurrentField | FieldsInTurn | SwitchingField
"""The field of a sample as the microscope takes it: one for good, or one that changes with the tip or with time."""
