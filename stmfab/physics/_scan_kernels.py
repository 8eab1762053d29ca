"""The scan in time: the field's height polynomials along the path, and the feedback loop over them, line after line.

A pass is one way along a line; passes 0 and 1 are the settling line and are not recorded. The end of a pixel is
(u, v, plane): the field's grid coordinates and the height of the sample plane in nm. ``heights`` is (scale, offset):
the polynomials' variable is s = scale * (z - plane) - offset.
"""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
U1 = NDArray[np.uint8]
Pair = tuple[float, float]
Loop = tuple[float, float, float, float, float, float]  # Kp, Ki, Kd, largest move, lowest gap, highest gap
Piezo = tuple[float, float, float, float, float]  # A, B, C, stroke, gain

STOP, LIMIT, OUTSIDE = 1, 2, 4  # events: physical stop of z; slew or step limit; outside the tabulated heights
SETTLING = 2  # passes before the first recorded one
SMALL = 1e-2  # |x| below which five terms of (1 - exp(-x)) / x err by less than 1e-12


@numba.njit(cache=True, error_model="numpy")
def _taylor(t: float, step: float, out: F8) -> None:
    """Write the 4-point Lagrange weights (nodes -1, 0, 1, 2) as cubics in n at t + n step: out[4 * power + node]."""
    out[0] = t * (-1 / 3 + t * (1 / 2 - t / 6))
    out[1] = 1.0 + t * (-1 / 2 + t * (-1.0 + t / 2))
    out[2] = t * (1.0 + t * (1 / 2 - t / 2))
    out[3] = t * (t * t - 1.0) / 6
    out[4] = step * (-1 / 3 + t * (1.0 - t / 2))
    out[5] = step * (-1 / 2 + t * (-2.0 + t * (3 / 2)))
    out[6] = step * (1.0 + t * (1.0 - t * (3 / 2)))
    out[7] = step * (-1 / 6 + t * t / 2)
    square = step * step
    out[8] = square * (1.0 - t) / 2
    out[9] = square * (3 * t / 2 - 1.0)
    out[10] = square * (1.0 - 3 * t) / 2
    out[11] = square * t / 2
    cube = square * step
    out[12], out[13], out[14], out[15] = -cube / 6, cube / 2, -cube / 2, cube / 6


@numba.njit(cache=True, error_model="numpy")
def _add_mean_weights(n: int, p: F8, q: F8, weights: F8) -> None:
    """Add the sum over n equal steps of products of two sets of cubics (p along u, q along v): weights[4 * v + u].

    With the steps counted from their middle only the even power sums S0, S2, S4, S6 are not zero.
    """
    m = float(n * n)
    s0 = float(n)
    s2 = s0 * (m - 1.0) / 12
    s4 = s2 * (3 * m - 7.0) / 20
    s6 = s2 * ((3 * m - 18.0) * m + 31.0) / 112
    for i in range(4):
        r0, r1 = p[i] * s0 + p[8 + i] * s2, p[4 + i] * s2 + p[12 + i] * s4
        r2, r3 = p[i] * s2 + p[8 + i] * s4, p[4 + i] * s4 + p[12 + i] * s6
        for j in range(4):
            weights[4 * j + i] = q[j] * r0 + q[4 + j] * r1 + q[8 + j] * r2 + q[12 + j] * r3


@numba.njit(cache=True, error_model="numpy")
def _gather(coefficients: F4, iu: int, iv: int, weights: F8, out: F8) -> None:
    """Add the 16 nodes around cell (iu, iv), weighted, to one height polynomial; NaN outside the grid."""
    n_v, n_u, n_k = coefficients.shape
    if iu < 1 or iv < 1 or iu + 2 >= n_u or iv + 2 >= n_v:
        out[:] = np.nan
        return
    u, v = np.uint64(iu - 1), np.uint64(iv - 1)  # unsigned: numba then leaves out its test for negative indices
    for k in range(np.uint64(n_k)):
        total = 0.0
        for j in range(np.uint64(4)):
            for i in range(np.uint64(4)):
                total += weights[np.uint64(4) * j + i] * coefficients[v + j, u + i, k]
        out[k] += total


@numba.njit(cache=True, error_model="numpy")
def _steps_in_cell(t: float, step: float, limit: int) -> int:
    """Return how many steps, at most ``limit``, start at t in [0, 1) and stay in the cell."""
    if step > 0.0:
        return min(limit, int((1.0 - t) / step) + 1)
    if step < 0.0:
        return min(limit, int(-t / step) + 1)
    return limit


@numba.njit(cache=True, error_model="numpy")
def _pixel_polynomial(
    coefficients: F4, u: float, v: float, du: float, dv: float, n_sub: int, work: F8, out: F8
) -> None:
    """Write the mean height polynomial over the sub-steps (u + n du, v + n dv) of a pixel, cell after cell."""
    out[:] = 0.0
    p, q, weights = work[:16], work[16:32], work[32:]
    done = 0
    while done < n_sub:
        iu, iv = int(u), int(v)
        n = _steps_in_cell(v - iv, dv, _steps_in_cell(u - iu, du, n_sub - done))
        middle = 0.5 * (n - 1)
        _taylor(u + middle * du - iu, du, p)
        _taylor(v + middle * dv - iv, dv, q)
        _add_mean_weights(n, p, q, weights)
        _gather(coefficients, iu, iv, weights, out)
        u, v, done = u + n * du, v + n * dv, done + n
    for k in range(out.shape[0]):
        out[k] /= n_sub


@numba.njit(cache=True, error_model="numpy")
def mean_polynomial(coefficients: F4, u: float, v: float, du: float, dv: float, n_sub: int) -> F8:
    """Return the mean height polynomial over points (u + n du, v + n dv), n < n_sub."""
    out = np.empty(coefficients.shape[2])
    _pixel_polynomial(coefficients, u, v, du, dv, n_sub, np.empty(48), out)
    return out


@numba.njit(cache=True, error_model="numpy")
def _step_polynomials(coefficients: F4, first: F8, last: F8, work: F8, out: F8) -> None:
    """Write the height polynomial of each sub-step of a pixel between its ends, shape (n_sub, n_heights)."""
    n_sub = out.shape[0]
    p, q, weights = work[:16], work[16:32], work[32:]
    out[:] = 0.0
    for n in range(n_sub):
        share = (n + 0.5) / n_sub
        u, v = first[0] + share * (last[0] - first[0]), first[1] + share * (last[1] - first[1])
        iu, iv = int(u), int(v)
        _taylor(u - iu, 0.0, p)
        _taylor(v - iv, 0.0, q)
        for j in range(4):
            for i in range(4):
                weights[4 * j + i] = q[j] * p[i]
        _gather(coefficients, iu, iv, weights, out[n])


@numba.njit(cache=True, error_model="numpy")
def _value(c: F8, s: float) -> float:
    """Return one height polynomial at s: a straight line outside [-1, 1]."""
    edge = min(max(s, -1.0), 1.0)
    value, slope = 0.0, 0.0
    for k in range(c.shape[0] - 1, -1, -1):
        slope = slope * edge + value
        value = value * edge + c[k]
    return float(value + slope * (s - edge))


@numba.njit(cache=True, error_model="numpy")
def _decay(x: float) -> float:
    """Return (1 - exp(-x)) / x."""
    if abs(x) < SMALL:
        return 1.0 - x * (1 / 2 - x * (1 / 6 - x * (1 / 24 - x / 120)))
    return float(-np.expm1(-x) / x)


@numba.njit(cache=True, error_model="numpy")
def hysteresis(h: float, dv: float, a: float, b: float, c: float) -> float:
    """Return H after V moved by dv: dH = A dV - B |dV| H - C dV |H|, exact, also through the sign change of H."""
    sign = 1.0 if dv >= 0.0 else -1.0
    h, left = sign * h, abs(dv)
    if h < 0.0:  # towards zero: dH = (A - (B - C) H) dV
        end = h + (a - (b - c) * h) * left * _decay((b - c) * left)
        if end <= 0.0:
            return sign * end
        x = -h * (b - c) / a
        left += h / a * (np.log1p(x) / x if x != 0.0 else 1.0)
        h = 0.0
    return sign * (h + (a - (b + c) * h) * left * _decay((b + c) * left))  # away from zero: dH = (A - (B + C) H) dV


@numba.njit(cache=True, error_model="numpy")
def _command(z: float, target: float, max_move: float, lowest: float, highest: float) -> tuple[float, int]:
    """Return the command that the limits let through, and the limits reached."""
    events = 0
    if abs(target - z) > max_move:
        target, events = z + (max_move if target > z else -max_move), LIMIT
    if target < lowest:
        target, events = lowest, events | STOP
    elif target > highest:
        target, events = highest, events | STOP
    return target, events


@numba.njit(cache=True, error_model="numpy")
def _update(
    z: float, start: float, total: float, error: float, last: float, plane: float, loop: Loop
) -> tuple[float, float, int]:
    """Return the next command, the sum of errors (wound back to what the limits let through), the limits reached."""
    kp, ki, kd, max_move, lowest, highest = loop
    total += error
    rest = kp * error + kd * (error - last)
    target, events = _command(z, start + rest + ki * total, max_move, plane + lowest, plane + highest)
    if events != 0 and ki > 0.0:
        total = (target - start - rest) / ki
    return target, total, events


@numba.njit(cache=True, error_model="numpy")
def scan_pixels(
    coefficients: F4,
    ends: F8,
    n_sub: int,
    heights: Pair,
    loop: Loop,
    piezo: Piezo,
    setpoint: float,
    start: float,
    noise: F4,
    topography: F8,
    tips: F8,
    events: U1,
) -> float:
    """Scan with one update of the controller a pixel; return the largest |H| reached, NaN if the window was left.

    z rests within a pixel: the mean of ln|I| over its sub-steps is the mean height polynomial at the tip's mean height.
    The z of the tip itself is written to ``tips``.
    """
    scale, offset = heights
    a, b, c, stroke, gain = piezo
    polynomial, work = np.empty(coefficients.shape[2]), np.empty(48)
    z, h, total, last, widest, reached = start, 0.0, 0.0, 0.0, 0.0, 0
    for row in range(ends.shape[0]):
        for i in range(ends.shape[1] - 1):
            u, v = ends[row, i, 0], ends[row, i, 1]
            du, dv = (ends[row, i + 1, 0] - u) / n_sub, (ends[row, i + 1, 1] - v) / n_sub
            _pixel_polynomial(coefficients, u + 0.5 * du, v + 0.5 * dv, du, dv, n_sub, work, polynomial)
            plane = 0.5 * (ends[row, i, 2] + ends[row, i + 1, 2])
            tip = start + gain * (z - start - stroke * h)
            s = scale * (tip - plane) - offset
            error = _value(polynomial, s) + noise[row, i] - setpoint
            if row >= SETTLING:
                topography[row - SETTLING, i], tips[row - SETTLING, i] = z, tip
                events[row - SETTLING, i] = reached | (OUTSIDE if abs(s) > 1.0 else 0)
            if np.isnan(error):
                return np.nan
            target, total, reached = _update(z, start, total, error, last, plane, loop)
            h = hysteresis(h, (target - z) / stroke, a, b, c)
            widest, z, last = max(widest, abs(h)), target, error
    return widest


@numba.njit(cache=True, error_model="numpy")
def _dwell(
    polynomials: F8,
    noise: F4,
    ground: Pair,
    timing: tuple[int, float],
    heights: Pair,
    loop: Loop,
    piezo: Piezo,
    setpoint: float,
    state: F8,
    currents: F8,
) -> tuple[float, int]:
    """Run the loop over the sub-steps of one pixel; return its mean command and its events.

    ``ground`` is the sample plane at the pixel's start and its rise a sub-step; ``state`` holds z, H, the sum of
    errors, the last error, the amplifier's ln|I|, the sum and number of its values since the last update, the limits
    in force, the largest |H| and the start of z.
    """
    scale, offset = heights
    per_update, memory = timing
    a, b, c, stroke, gain = piezo
    z, h, total, last, log_current, heard, count = (
        state[0],
        state[1],
        state[2],
        state[3],
        state[4],
        state[5],
        int(state[6]),
    )
    limited, widest, start = int(state[7]), state[8], state[9]
    z_sum, reached = 0.0, 0
    for n in range(noise.shape[0]):
        plane = ground[0] + (n + 0.5) * ground[1]
        s = scale * (start + gain * (z - start - stroke * h) - plane) - offset
        signal = _value(polynomials[n], s) + noise[n]
        log_current = signal + memory * (log_current - signal)
        z_sum, heard, count = z_sum + z, heard + log_current, count + 1
        reached |= limited | (OUTSIDE if abs(s) > 1.0 else 0)
        if currents.size > 0:
            currents[n] = np.exp(log_current)
        if count == per_update:
            error = heard / per_update - setpoint
            target, total, limited = _update(z, start, total, error, last, plane, loop)
            h = hysteresis(h, (target - z) / stroke, a, b, c)
            widest, z, last, heard, count = max(widest, abs(h)), target, error, 0.0, 0
    state[0], state[1], state[2], state[3], state[4], state[5], state[6] = z, h, total, last, log_current, heard, count
    state[7], state[8] = limited, widest
    return z_sum / noise.shape[0], reached


@numba.njit(cache=True, error_model="numpy")
def scan_steps(
    coefficients: F4,
    ends: F8,
    timing: tuple[int, float],
    heights: Pair,
    loop: Loop,
    piezo: Piezo,
    setpoint: float,
    start: float,
    noise: F4,
    topography: F8,
    current: F8,
    events: U1,
) -> float:
    """Scan sub-step by sub-step; return the largest |H| reached, NaN if the window was left.

    ``timing`` is (sub-steps an update, share of ln|I| the amplifier keeps from sub-step to sub-step); the controller
    updates on the mean since its last update. Noise is (passes, pixels, sub-steps). Without a place for it the current
    is not computed.
    """
    n_sub = noise.shape[2]
    polynomials, work = np.empty((n_sub, coefficients.shape[2])), np.empty(48)
    currents = np.empty(n_sub if current.size > 0 else 0)
    state = np.zeros(10)
    state[0], state[4], state[9] = start, setpoint, start
    for row in range(ends.shape[0]):
        for i in range(ends.shape[1] - 1):
            _step_polynomials(coefficients, ends[row, i], ends[row, i + 1], work, polynomials)
            ground = (ends[row, i, 2], (ends[row, i + 1, 2] - ends[row, i, 2]) / n_sub)
            z, reached = _dwell(
                polynomials, noise[row, i], ground, timing, heights, loop, piezo, setpoint, state, currents
            )
            if np.isnan(state[4]):
                return np.nan
            if row >= SETTLING:
                topography[row - SETTLING, i], events[row - SETTLING, i] = z, reached
                if currents.size > 0:
                    current[row - SETTLING, i] = currents.mean()
    return float(state[8])


@numba.njit(cache=True, error_model="numpy")
def pixel_currents(coefficients: F4, ends: F8, n_sub: int, heights: Pair, tips: F8, noise: F4, current: F8) -> None:
    """Write the mean |I| over the sub-steps of pixels over which the tip rests at the z of ``tips``."""
    scale, offset = heights
    polynomials, work = np.empty((n_sub, coefficients.shape[2])), np.empty(48)
    for row in range(ends.shape[0] - SETTLING):
        for i in range(ends.shape[1] - 1):
            _step_polynomials(coefficients, ends[row + SETTLING, i], ends[row + SETTLING, i + 1], work, polynomials)
            plane, rise = ends[row + SETTLING, i, 2], ends[row + SETTLING, i + 1, 2] - ends[row + SETTLING, i, 2]
            total = 0.0
            for n in range(n_sub):
                s = scale * (tips[row, i] - plane - rise * (n + 0.5) / n_sub) - offset
                total += np.exp(_value(polynomials[n], s) + noise[row + SETTLING, i])
            current[row, i] = total / n_sub
