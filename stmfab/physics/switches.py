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

from . import _switches_kernels
from .field import CurrentField, FieldsInTurn
from .units import Floats, Floats32, Ints

Raising: TypeAlias = Callable[[int, Floats32], None]
PIECE = 8  # pixels of a pass that are looked at together


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

    def met(self, x_nm: Floats, y_nm: Floats) -> Ints:
        """Return the pixels of passes that may meet a switch, (n_switches, n_passes, 2): the first, the one after all.

        The pixels' ends are (n_passes, n_pixels + 1); it goes by the extent of the passes' pieces of ``PIECE`` pixels.
        """
        out = np.empty((2, len(self.switches), len(x_nm)), dtype=np.int64)
        _switches_kernels.cross(x_nm, y_nm, self._boxes_nm, PIECE, *out)
        return np.moveaxis(out, 0, -1)

    def changed(self, raising: Sequence[Raising], met: Ints, first: int) -> ChangedField:
        """Return the field while each switch is up for a share of the time: see ``ChangedField``."""
        return ChangedField(self.field, [switch.change for switch in self.switches], raising, met, first)

    @functools.cached_property
    def _boxes_nm(self) -> Floats:
        """Where each switch changes something, (n_switches, 2, 2): the least and the largest x and y."""
        corners = []
        for change in (switch.change for switch in self.switches):
            n_v, n_u = change.coefficients.shape[:2]
            ends = np.array([(0, 0), (n_u - 1, 0), (0, n_v - 1), (n_u - 1, n_v - 1)])
            corners.append(change.origin_nm + ends @ change.steps_nm)
        return np.stack([np.min(corners, axis=1), np.max(corners, axis=1)], axis=1)

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
    """A field at the pixels of some lines, from the ``first`` on, with a share of each change in ln|I|.

    ``raising`` adds the share of some lines, from a line on, to an array (n_lines, 2 n_pixels), there and back; ``met``
    are the pixels that may meet the changes: see ``SwitchingField.met``.
    """

    field: CurrentField
    changes: Sequence[CurrentField]
    raising: Sequence[Raising]
    met: Ints
    first: int

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
        numbers, passes = np.nonzero(self.met[:, :, 1])
        shares: dict[int, Floats32] = {}
        for number, one, (first, end) in zip(
            numbers.tolist(), passes.tolist(), self.met[numbers, passes].tolist(), strict=True
        ):
            if number not in shares:
                shares[number] = np.zeros((len(out) // 2, 2 * out.shape[1]), dtype=np.float32)
                self.raising[number](self.first, shares[number])
            share = shares[number].reshape(out.shape[:2])[one, first:end]
            if share.any():
                ends = slice(first, end + 1)
                added = values_of(self.changes[number], x_nm[one, None, ends], y_nm[one, None, ends])
                _switches_kernels.add_shares(share, added.reshape(len(share), -1), out[one, first:end].reshape(-1))
        return out


Fields: TypeAlias = CurrentField | FieldsInTurn | SwitchingField
"""The field of a sample as the microscope takes it: one for good, or one that changes with the tip or with time."""
