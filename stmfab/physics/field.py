"""The narrow waist between sample and microscope: ln|I| on a lattice-commensurate grid, to be evaluated anywhere."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _field_kernels
from .units import Floats, Floats32, Ints

LANES = _field_kernels.LANES


@dataclass(frozen=True)
class CurrentField:
    """The tunnelling current of one junction in the sample frame.

    At each node of an oblique lateral grid, ln|I / nA| is a polynomial in s = (z - z_mid) / z_half. Between nodes:
    4-point Lagrange interpolation along each grid direction. Outside |s| <= 1: the straight line through the edge with
    the edge's slope. A node that was never computed holds NaN, so that leaving the window cannot pass in silence.

    Attributes
    ----------
    coefficients : array of shape (n_v, n_u, n_coefficients), float32
        Monomial coefficients of the polynomial in s, with zeros up to a multiple of ``LANES``: see ``padded``.
    origin_nm : array of shape (2,)
        Position (x, y) of node (0, 0).
    steps_nm : array of shape (2, 2)
        Rows: the grid's step vectors along u and v.
    z_mid_nm, z_half_nm : float
        Middle and half width of the tabulated heights.
    polarity : int
        Sign of the current.
    """

    coefficients: Floats32
    origin_nm: Floats
    steps_nm: Floats
    z_mid_nm: float
    z_half_nm: float
    polarity: int = 1

    def __post_init__(self) -> None:
        if self.n_coefficients % LANES:
            raise ValueError(f"a field takes its coefficients by {LANES}: pad them with zeros")

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients a node, padding included."""
        return int(self.coefficients.shape[2])

    @functools.cached_property
    def _grid(self) -> _field_kernels.Grid:
        """The way from nm to grid coordinates, as the kernels take it."""
        (x, y), ((u_x, u_y), (v_x, v_y)) = self.origin_nm.tolist(), self.steps_nm.tolist()
        area = u_x * v_y - u_y * v_x
        return x, y, v_y / area, -v_x / area, -u_y / area, u_x / area

    def during(self, tip_numbers: Ints) -> CurrentField:
        """Return the field of the tip at pixels where it has changed so often: this one, whatever its changes."""
        return self

    def over(self, x_nm: Floats, y_nm: Floats) -> FieldLines:
        """Return the field on the vertical lines over points, x and y of the same shape."""
        polynomials = np.empty((np.size(x_nm), self.n_coefficients), dtype=np.float32)
        _field_kernels.interpolate(
            self.coefficients,
            np.ravel(x_nm),
            np.ravel(y_nm),
            self._grid,
            polynomials,
        )
        return FieldLines(polynomials, np.shape(x_nm), self.z_mid_nm, self.z_half_nm)

    def pixel_means(self, x_nm: Floats, y_nm: Floats, n_sub: int) -> Floats32:
        """Return each pixel's height polynomial, the mean over its sub-steps, (n_passes, n_pixels, n_coefficients).

        ``x_nm`` and ``y_nm``, (n_passes, n_pixels + 1), are the pixels' ends; between them the tip moves straight.
        """
        out = np.empty((len(x_nm), x_nm.shape[1] - 1, self.n_coefficients), dtype=np.float32)
        room = np.empty((2, x_nm.shape[1])), np.empty(out.shape[1:], dtype=np.float32)
        _field_kernels.pixel_means(self.coefficients, x_nm, y_nm, self._grid, n_sub, *room, out)
        return out

    def step_polynomials(self, x_nm: Floats, y_nm: Floats, n_sub: int) -> Floats32:
        """Return the height polynomial of every sub-step, (n_passes, n_pixels, n_sub, n_coefficients)."""
        out = np.empty((len(x_nm), x_nm.shape[1] - 1, n_sub, self.n_coefficients), dtype=np.float32)
        nodes = np.empty((8, self.n_coefficients), dtype=np.float32)
        _field_kernels.step_polynomials(self.coefficients, x_nm, y_nm, self._grid, nodes, out)
        return out

    def log_current(self, x_nm: Floats, y_nm: Floats, z_nm: Floats | float) -> Floats:
        """Return ln|I / nA| at points (x, y, z), in the shape of x."""
        return self.over(x_nm, y_nm).log_current(z_nm)

    def current(self, x_nm: Floats, y_nm: Floats, z_nm: Floats) -> Floats:
        """Return |I| in nA at points (x, y, z), in the shape of x."""
        return np.asarray(np.exp(self.log_current(x_nm, y_nm, z_nm)))

    def heights(self, x_nm: Floats, y_nm: Floats, log_current: float) -> Floats:
        """Return the heights z (nm) at which ln|I / nA| has a given value, in the shape of x.

        Raises
        ------
        ArithmeticError
            If a point is outside the window, or the field does not fall with height.
        """
        return self.over(x_nm, y_nm).heights(log_current)


@dataclass(frozen=True)
class FieldsInTurn:
    """The fields of a tip that becomes another at its changes, all on the same heights; the last one stays."""

    fields: Sequence[CurrentField]

    def during(self, tip_numbers: Ints) -> SwitchedField:
        """Return the field of the tip at pixels where it has changed so often."""
        return SwitchedField(self.fields, np.minimum(tip_numbers, len(self.fields) - 1))

    @property
    def z_mid_nm(self) -> float:
        """Middle of the tabulated heights."""
        return self.fields[0].z_mid_nm

    @property
    def z_half_nm(self) -> float:
        """Half width of the tabulated heights."""
        return self.fields[0].z_half_nm

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients a node, padding included."""
        return self.fields[0].n_coefficients

    @property
    def polarity(self) -> int:
        """Sign of the current."""
        return self.fields[0].polarity


@dataclass(frozen=True)
class SwitchedField:
    """The field at some pixels, at each that of its tip: ``which`` of the fields, in the shape of the pixels."""

    fields: Sequence[CurrentField]
    which: Ints

    def pixel_means(self, x_nm: Floats, y_nm: Floats, n_sub: int) -> Floats32:
        """Return each pixel's height polynomial, as ``CurrentField`` does."""
        return np.asarray(self._chosen(lambda field: field.pixel_means(x_nm, y_nm, n_sub)))

    def step_polynomials(self, x_nm: Floats, y_nm: Floats, n_sub: int) -> Floats32:
        """Return the height polynomial of every sub-step, as ``CurrentField`` does."""
        return np.asarray(self._chosen(lambda field: field.step_polynomials(x_nm, y_nm, n_sub)))

    def heights(self, x_nm: Floats, y_nm: Floats, log_current: float) -> Floats:
        """Return the heights z (nm) at which ln|I / nA| has a given value, in the shape of x."""
        return np.asarray(self._chosen(lambda field: field.heights(x_nm, y_nm, log_current)))

    def _chosen(self, values_of: Callable[[CurrentField], NDArray[Any]]) -> NDArray[Any]:
        """Return the values of each pixel's own field."""
        first, *others = np.unique(self.which)
        out = values_of(self.fields[first])
        for other in others:
            there = self.which == other
            out[there] = values_of(self.fields[other])[there]
        return out


@dataclass(frozen=True)
class FieldLines:
    """A current field on vertical lines over some points of any ``shape``."""

    polynomials: Floats32  # (n_points, n_coefficients)
    shape: tuple[int, ...]
    z_mid_nm: float
    z_half_nm: float

    def log_current(self, z_nm: Floats | float) -> Floats:
        """Return ln|I / nA| at a height, or one a line."""
        s = (np.asarray(z_nm, dtype=float) - self.z_mid_nm) / self.z_half_nm
        if s.ndim:
            places = np.broadcast_to(s, self.shape).ravel()
            return np.asarray(_field_kernels.evaluate(self.polynomials, places)).reshape(self.shape)
        out, edge, powers = np.empty(self.shape), min(max(float(s), -1.0), 1.0), np.arange(self.polynomials.shape[1])
        slopes = powers * edge ** np.maximum(powers - 1, 0)  # beyond the tabulated heights the line goes on straight
        _field_kernels.weigh(self.polynomials, edge**powers + slopes * (s - edge), out.reshape(-1))
        return out

    def heights(self, log_current: float) -> Floats:
        """Return the heights z (nm) at which ln|I / nA| has a given value: Newton's iteration.

        Raises
        ------
        ArithmeticError
            If the iteration does not settle, as on a field that does not fall with height.
        """
        s = np.asarray(_field_kernels.invert(self.polynomials, log_current)).reshape(self.shape)
        if math.isnan(s.sum()):
            raise ArithmeticError("constant-current height not found: the field has holes or does not fall with z")
        return self.z_mid_nm + self.z_half_nm * s


def n_padded(n_heights: int) -> int:
    """Return the number of coefficients that a node of ``n_heights`` heights takes."""
    return -(-n_heights // LANES) * LANES


def padded(coefficients: Floats) -> Floats32:
    """Return coefficients (n_v, n_u, n_heights) as a field takes them: float32, zeros up to a multiple of ``LANES``."""
    out = np.zeros((*coefficients.shape[:2], n_padded(coefficients.shape[2])), dtype=np.float32)
    out[..., : coefficients.shape[2]] = coefficients
    return out


def tabulated(
    log_current: Callable[[Floats, Floats, Floats], Floats],
    *,
    window_nm: tuple[float, float, float, float],
    step_nm: float,
    z_nm: tuple[float, float],
    n_heights: int = 5,
) -> CurrentField:
    """Return the field of an analytic ln|I / nA|(x, y, z) on a square grid over (x_min, x_max, y_min, y_max).

    The sample worlds other than crystals, and the tests of the microscope, come in here.
    """
    x_min, x_max, y_min, y_max = window_nm
    x = np.arange(x_min - 2 * step_nm, x_max + 3 * step_nm, step_nm)
    y = np.arange(y_min - 2 * step_nm, y_max + 3 * step_nm, step_nm)
    z_mid, z_half = (z_nm[0] + z_nm[1]) / 2, (z_nm[1] - z_nm[0]) / 2
    z = z_mid + z_half * chebyshev_nodes(n_heights)
    values = log_current(x[None, :, None], y[:, None, None], z[None, None, :])
    shape = (len(y), len(x), n_heights)
    coefficients = np.broadcast_to(values, shape) @ values_to_monomials(n_heights).T
    return CurrentField(padded(coefficients), np.array([x[0], y[0]]), np.diag([step_nm, step_nm]), z_mid, z_half)


@functools.cache
def chebyshev_nodes(n_heights: int) -> Floats:
    """Return the Chebyshev nodes of the first kind on [-1, 1], ascending, shape (n_heights,)."""
    return np.asarray(-np.cos(np.pi * (np.arange(n_heights) + 0.5) / n_heights))


@functools.cache
def values_to_monomials(n_heights: int) -> Floats:
    """Return the matrix from values at the Chebyshev nodes to monomial coefficients, shape (n_heights, n_heights)."""
    return np.asarray(np.linalg.inv(np.vander(chebyshev_nodes(n_heights), increasing=True)))
