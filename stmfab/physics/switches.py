"""What on the sample comes and goes while it is scanned: flickering bonds, adsorbates that the tip drags along.

A switch is a telegraph process in time that adds a change of ln|I| over a patch of the surface. Only the microscope
knows time: the sample world says what changes and how often, the scan when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .field import CurrentField, FieldsInTurn
from .units import Floats, Floats32, Ints


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
        return ChangedField(self.field, [switch.change for switch in self.switches], shares)

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
    """A field at some pixels, with a share of each change in ln|I|: shares (n_passes, n_pixels)."""

    field: CurrentField
    changes: Sequence[CurrentField]
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
        for change, share in zip(self.changes, self.shares, strict=True):
            passes = share.any(axis=1)
            if passes.any():
                added = np.nan_to_num(values_of(change, x_nm[passes], y_nm[passes]), copy=False, nan=0.0)
                weights = share[passes].reshape(*share[passes].shape, *[1] * (added.ndim - 2))
                out[passes] += weights * added
        return out


Fields: TypeAlias = CurrentField | FieldsInTurn | SwitchingField
"""The field of a sample as the microscope takes it: one for good, or one that changes with the tip or with time."""
