"""Interpolation of a current field at points, and its inversion for the height at a given current."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]

MAX_NEWTON = 60
SETTLED = 1e-9  # of the half width of the heights, 2e-10 nm


@numba.njit(cache=True, error_model="numpy")
def _weights(t: float, w: F8) -> None:
    """Write the 4-point Lagrange weights at nodes -1, 0, 1, 2 for a point t in [0, 1) into w."""
    w[0] = -t * (t - 1.0) * (t - 2.0) / 6.0
    w[1] = (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0
    w[2] = -(t + 1.0) * t * (t - 2.0) / 2.0
    w[3] = (t + 1.0) * t * (t - 1.0) / 6.0


@numba.njit(cache=True, error_model="numpy")
def interpolate(coefficients: F4, grid: F8) -> F8:
    """Return the height polynomials at fractional grid points (u, v); NaN outside the grid."""
    n_v, n_u, n_k = coefficients.shape
    out = np.empty((grid.shape[0], n_k))
    wu, wv = np.empty(4), np.empty(4)
    for p in range(grid.shape[0]):
        iu, iv = int(np.floor(grid[p, 0])), int(np.floor(grid[p, 1]))
        if iu < 1 or iv < 1 or iu + 2 >= n_u or iv + 2 >= n_v:
            out[p, :] = np.nan
            continue
        _weights(grid[p, 0] - iu, wu)
        _weights(grid[p, 1] - iv, wv)
        out[p, :] = 0.0
        w0, w1, w2, w3 = wu
        for j in range(4):
            row = coefficients[iv - 1 + j, iu - 1 : iu + 3]
            for k in range(n_k):
                left = w0 * row[0, k] + w1 * row[1, k]
                out[p, k] += wv[j] * (left + (w2 * row[2, k] + w3 * row[3, k]))
    return out


@numba.njit(cache=True, error_model="numpy")
def _value_slope(c: F8, s: float) -> tuple[float, float]:
    """Return value and slope of one height polynomial at s: a straight line outside [-1, 1]."""
    edge = min(max(s, -1.0), 1.0)
    value, slope = 0.0, 0.0
    for k in range(c.shape[0] - 1, -1, -1):
        slope = slope * edge + value
        value = value * edge + c[k]
    return value + slope * (s - edge), slope


@numba.njit(cache=True, error_model="numpy")
def evaluate(polynomials: F8, s: F8) -> F8:
    """Return the polynomials' values at s."""
    out = np.empty(s.shape[0])
    for p in range(s.shape[0]):
        out[p], _ = _value_slope(polynomials[p], s[p])
    return out


@numba.njit(cache=True, error_model="numpy")
def invert(polynomials: F8, level: float) -> F8:
    """Return s at which each polynomial has the value ``level`` (Newton), NaN where it does not settle."""
    out = np.empty(polynomials.shape[0])
    for p in range(polynomials.shape[0]):
        s, settled = 0.0, False
        for _ in range(MAX_NEWTON):
            value, slope = _value_slope(polynomials[p], s)
            step = (level - value) / slope
            s += step
            if abs(step) < SETTLED:
                settled = True
                break
        out[p] = s if settled else np.nan
    return out
