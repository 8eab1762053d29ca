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
Four = tuple[float, float, float, float]
Loop = tuple[float, float, float, float, float, float]  # Kp, Ki, Kd, largest move, lowest gap, highest gap
Piezo = tuple[float, float, float, float]  # A, B and C per nm, gain; V and H are in nm

STOP, LIMIT, OUTSIDE = 1, 2, 4  # events: physical stop of z; slew or step limit; outside the tabulated heights
SETTLING = 2  # passes before the first recorded one
SMALL = 1e-2  # |x| below which five terms of (1 - exp(-x)) / x err by less than 1e-12
SEGMENT = 1.5  # grid steps a cubic in time spans: it errs by a tenth of what 4-point Lagrange on the grid does

inlined = numba.njit(cache=True, error_model="numpy", forceinline=True)


@inlined
def _cubics(t: float, step: float) -> tuple[Four, Four, Four, Four]:
    """Return the 4-point Lagrange weights (nodes -1, 0, 1, 2) at t + n step as cubics in n: by power, then by node."""
    square, cube = step * step, step * step * step
    return (
        (
            t * (-1 / 3 + t * (1 / 2 - t * (1 / 6))),
            1.0 + t * (-1 / 2 + t * (-1.0 + t * (1 / 2))),
            t * (1.0 + t * (1 / 2 - t * (1 / 2))),
            t * (t * t - 1.0) * (1 / 6),
        ),
        (
            step * (-1 / 3 + t * (1.0 - t * (1 / 2))),
            step * (-1 / 2 + t * (-2.0 + t * (3 / 2))),
            step * (1.0 + t * (1.0 - t * (3 / 2))),
            step * (-1 / 6 + t * t * (1 / 2)),
        ),
        (
            square * (1 / 2 - t * (1 / 2)),
            square * (t * (3 / 2) - 1.0),
            square * (1 / 2 - t * (3 / 2)),
            square * t * (1 / 2),
        ),
        (cube * (-1 / 6), cube * (1 / 2), cube * (-1 / 2), cube * (1 / 6)),
    )


@inlined
def _mix(a: Four, share_a: float, b: Four, share_b: float) -> Four:
    """Return share_a a + share_b b."""
    return (
        a[0] * share_a + b[0] * share_b,
        a[1] * share_a + b[1] * share_b,
        a[2] * share_a + b[2] * share_b,
        a[3] * share_a + b[3] * share_b,
    )


@inlined
def _add_row(coefficients: F4, v: np.uint64, u: np.uint64, w: Four, out: F8, at: np.uint64) -> None:
    """Add four neighbouring nodes of one grid row, weighted, to the height polynomial out[at].

    The indices are unsigned: numba then leaves out its test for negative ones.
    """
    u1, u2, u3 = u + np.uint64(1), u + np.uint64(2), u + np.uint64(3)
    for k in range(np.uint64(out.shape[1])):
        left = w[0] * coefficients[v, u, k] + w[1] * coefficients[v, u1, k]
        out[at, k] += left + (w[2] * coefficients[v, u2, k] + w[3] * coefficients[v, u3, k])


@inlined
def _in_grid(coefficients: F4, iu: int, iv: int) -> bool:
    """Return whether the 4 x 4 nodes around cell (iu, iv) exist."""
    return iu >= 1 and iv >= 1 and iu + 2 < coefficients.shape[1] and iv + 2 < coefficients.shape[0]


@inlined
def _add_steps(coefficients: F4, u: float, v: float, du: float, dv: float, n: int, out: F8) -> None:
    """Add the height polynomials at n steps (du, dv) from (u, v) on, all in one cell of the grid, to out[0].

    A product of two cubics in the step is summed by power sums; from the middle only the even ones are not zero.
    """
    iu, iv = int(u), int(v)
    square = float(n * n)
    s0 = float(n)
    s2 = s0 * (square - 1.0) * (1 / 12)
    s4 = s2 * (3 * square - 7.0) * (1 / 20)
    s6 = s2 * ((3 * square - 18.0) * square + 31.0) * (1 / 112)
    middle = 0.5 * (n - 1)
    p, q = _cubics(u + middle * du - iu, du), _cubics(v + middle * dv - iv, dv)
    even0, odd0 = _mix(p[0], s0, p[2], s2), _mix(p[1], s2, p[3], s4)
    even1, odd1 = _mix(p[0], s2, p[2], s4), _mix(p[1], s4, p[3], s6)
    row, column = np.uint64(iv - 1), np.uint64(iu - 1)
    for j in range(4):
        w = _mix(_mix(even0, q[0][j], odd0, q[1][j]), 1.0, _mix(even1, q[2][j], odd1, q[3][j]), 1.0)
        _add_row(coefficients, row + np.uint64(j), column, w, out, np.uint64(0))


@inlined
def _steps_in_cell(t: float, step: float, limit: int) -> int:
    """Return how many steps, at most ``limit``, start at t in [0, 1) and stay in the cell."""
    if step == 0.0:
        return limit
    return int(min((limit - 1.0), ((1.0 if step > 0.0 else 0.0) - t) / step)) + 1


@inlined
def _pixel_polynomial(coefficients: F4, u: float, v: float, du: float, dv: float, n_sub: int, out: F8) -> None:
    """Write the mean height polynomial at n_sub steps (du, dv) from (u, v) on, cell after cell, to out[0].

    NaN outside the grid.
    """
    out[0, :] = 0.0
    done = 0
    while done < n_sub:
        if not _in_grid(coefficients, int(u), int(v)):
            out[0, :] = np.nan
            return
        n = _steps_in_cell(v - int(v), dv, _steps_in_cell(u - int(u), du, n_sub - done))
        _add_steps(coefficients, u, v, du, dv, n, out)
        u, v, done = u + n * du, v + n * dv, done + n
    for k in range(out.shape[1]):
        out[0, k] *= 1.0 / n_sub


@inlined
def _point_polynomial(coefficients: F4, u: float, v: float, out: F8, at: int) -> None:
    """Write the height polynomial at one point to out[at]; NaN outside the grid."""
    iu, iv = int(u), int(v)
    if not _in_grid(coefficients, iu, iv):
        out[at, :] = np.nan
        return
    out[at, :] = 0.0
    p, q = _cubics(u - iu, 0.0)[0], _cubics(v - iv, 0.0)[0]
    row, column, index = np.uint64(iv - 1), np.uint64(iu - 1), np.uint64(at)
    for j in range(4):
        w = (p[0] * q[j], p[1] * q[j], p[2] * q[j], p[3] * q[j])
        _add_row(coefficients, row + np.uint64(j), column, w, out, index)


@inlined
def _to_cubic(nodes: F8) -> None:
    """Turn values at -1, -1/2, 1/2, 1 (axis 0) into the monomial coefficients of the cubic through them."""
    for k in range(nodes.shape[1]):
        even_end, even_half = (nodes[3, k] + nodes[0, k]) / 2, (nodes[2, k] + nodes[1, k]) / 2
        odd_end, odd_half = (nodes[3, k] - nodes[0, k]) / 2, (nodes[2, k] - nodes[1, k]) / 2
        nodes[2, k] = (even_end - even_half) * (4 / 3)
        nodes[0, k] = even_end - nodes[2, k]
        nodes[3, k] = (odd_end - 2 * odd_half) * (4 / 3)
        nodes[1, k] = odd_end - nodes[3, k]


@inlined
def _step_polynomials(coefficients: F4, u: float, v: float, du: float, dv: float, nodes: F8, out: F8) -> None:
    """Write the height polynomial of each sub-step of a pixel from (u, v) to (u + du, v + dv), one a row of out.

    Where that is cheaper, they are cubics in time through four points of each short segment of the pixel.
    """
    n_sub, n_heights = out.shape
    n_segments = int(max(abs(du), abs(dv)) / SEGMENT) + 1
    if n_segments < 1 or 4 * n_segments >= n_sub:
        for n in range(n_sub):
            share = (n + 0.5) / n_sub
            _point_polynomial(coefficients, u + share * du, v + share * dv, out, n)
        return
    n = 0
    for segment in range(n_segments):
        for node, place in enumerate((0.0, 0.25, 0.75, 1.0)):
            share = (segment + place) / n_segments
            _point_polynomial(coefficients, u + share * du, v + share * dv, nodes, node)
        _to_cubic(nodes)
        while n < n_sub and (n + 0.5) * n_segments <= (segment + 1) * n_sub:
            x = 2 * ((n + 0.5) * n_segments / n_sub - segment) - 1.0
            for k in range(n_heights):
                out[n, k] = nodes[0, k] + x * (nodes[1, k] + x * (nodes[2, k] + x * nodes[3, k]))
            n += 1


@inlined
def _value(c: F8, at: int, s: float) -> float:
    """Return the height polynomial c[at] at s: a straight line outside [-1, 1].

    Even and odd powers apart: half the waiting of Horner's rule in the loop, where each step waits for the last.
    """
    n = c.shape[1]
    if abs(s) <= 1.0:
        even, odd, square = 0.0, 0.0, s * s
        for k in range((n - 1) // 2, -1, -1):
            even = even * square + c[at, 2 * k]
            odd = odd * square + (c[at, 2 * k + 1] if 2 * k + 1 < n else 0.0)
        return even + s * odd
    edge = 1.0 if s > 0.0 else -1.0
    value, slope = 0.0, 0.0
    for k in range(n - 1, -1, -1):
        slope = slope * edge + value
        value = value * edge + c[at, k]
    return value + slope * (s - edge)


@inlined
def _decay(x: float) -> float:
    """Return (1 - exp(-x)) / x."""
    if abs(x) < SMALL:
        square = x * x
        return (1.0 - x * (1 / 2)) + square * ((1 / 6 - x * (1 / 24)) + square * (1 / 120))
    return float(-np.expm1(-x) / x)


@inlined
def hysteresis(h: float, dv: float, a: float, b: float, c: float) -> float:
    """Return H after V moved by dv: dH = A dV - B |dV| H - C dV |H|, exact, also through the sign change of H."""
    sign = 1.0 if dv >= 0.0 else -1.0
    h, left = sign * h, abs(dv)
    if h < 0.0:  # towards zero: dH = (A - (B - C) H) dV
        end = h + (a - (b - c) * h) * (left * _decay((b - c) * left))
        if end <= 0.0:
            return sign * end
        x = -h * (b - c) / a
        left += h / a * (np.log1p(x) / x if x != 0.0 else 1.0)
        h = 0.0
    return sign * (h + (a - (b + c) * h) * (left * _decay((b + c) * left)))  # from zero: dH = (A - (B + C) H) dV


@inlined
def _update(move: float, total: float, error: float, last: float, floor: float, loop: Loop) -> tuple[float, float, int]:
    """Return the next command, the sum of errors (wound back to what the limits let through), the limits reached.

    The command and its floor, the height of the sample plane, are counted from the start of z.
    """
    kp, ki, kd, max_move, lowest, highest = loop
    target, events = (ki * total - kd * last) + (kp + ki + kd) * error, 0
    total += error
    if abs(target - move) > max_move:
        target, events = move + (max_move if target > move else -max_move), LIMIT
    if target < floor + lowest:
        target, events = floor + lowest, events | STOP
    elif target > floor + highest:
        target, events = floor + highest, events | STOP
    if events != 0 and ki > 0.0:
        total = (target - kp * error - kd * (error - last)) / ki
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
    """Scan with one update of the controller a pixel; return the largest |H| reached (nm), NaN if the window was left.

    z rests within a pixel: the mean of ln|I| over its sub-steps is the mean height polynomial at the tip's mean height.
    The z of the tip itself is written to ``tips``.
    """
    scale, offset = heights
    a, b, c, gain = piezo
    polynomial = np.empty((1, coefficients.shape[2]))
    move, h, total, last, reach, limits = 0.0, 0.0, 0.0, 0.0, 0.0, 0
    for row in range(ends.shape[0]):
        for i in range(ends.shape[1] - 1):
            u, v = ends[row, i, 0], ends[row, i, 1]
            du, dv = (ends[row, i + 1, 0] - u) / n_sub, (ends[row, i + 1, 1] - v) / n_sub
            _pixel_polynomial(coefficients, u + 0.5 * du, v + 0.5 * dv, du, dv, n_sub, polynomial)
            floor = 0.5 * (ends[row, i, 2] + ends[row, i + 1, 2]) - start
            s = gain * (move - h) * scale - (scale * floor + offset)
            error = _value(polynomial, 0, s) + (noise[row, i] - setpoint)
            if row >= SETTLING:
                topography[row - SETTLING, i], tips[row - SETTLING, i] = start + move, start + gain * (move - h)
                events[row - SETTLING, i] = limits | (OUTSIDE if abs(s) > 1.0 else 0)
            if np.isnan(error):
                return np.nan
            target, total, limits = _update(move, total, error, last, floor, loop)
            if a > 0.0:
                h = hysteresis(h, target - move, a, b, c)
            reach, move, last = max(reach, abs(h)), target, error
    return reach


@inlined
def _dwell(
    polynomials: F8,
    noise: F4,
    row: int,
    pixel: int,
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

    ``ground`` is the sample plane at the pixel's start and its rise a sub-step; ``state`` holds command, H, the sum of
    errors, the last error, the amplifier's ln|I|, the sum and number of its values since the last update, the limits
    in force and the largest |H|.
    """
    scale, offset = heights
    per_update, memory = timing
    a, b, c, gain = piezo
    move, h, total, last, log_current, heard = state[0], state[1], state[2], state[3], state[4], state[5]
    count, limits, reach = int(state[6]), int(state[7]), state[8]
    commanded, reached, n_sub = 0.0, 0, polynomials.shape[0]
    for n in range(n_sub):
        floor = ground[0] + (n + 0.5) * ground[1]
        s = gain * scale * (move - h) - (scale * floor + offset)
        log_current = (1.0 - memory) * (_value(polynomials, n, s) + noise[row, pixel, n]) + memory * log_current
        commanded, heard, count = commanded + move, heard + log_current, count + 1
        reached |= limits | (OUTSIDE if abs(s) > 1.0 else 0)
        if currents.size > 0:
            currents[n] = np.exp(log_current)
        if count == per_update:
            error = heard * (1.0 / per_update) - setpoint
            target, total, limits = _update(move, total, error, last, floor, loop)
            if a > 0.0:
                h = hysteresis(h, target - move, a, b, c)
            reach, move, last, heard, count = max(reach, abs(h)), target, error, 0.0, 0
    state[0], state[1], state[2], state[3], state[4], state[5] = move, h, total, last, log_current, heard
    state[6], state[7], state[8] = count, limits, reach
    return commanded / n_sub, reached


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
    """Scan sub-step by sub-step; return the largest |H| reached (nm), NaN if the window was left.

    ``timing`` is (sub-steps an update, share of ln|I| the amplifier keeps from sub-step to sub-step); the controller
    updates on the mean since its last update. Noise is (passes, pixels, sub-steps). Without a place for it the current
    is not computed.
    """
    n_sub, n_heights = noise.shape[2], coefficients.shape[2]
    polynomials, nodes = np.empty((n_sub, n_heights)), np.empty((4, n_heights))
    currents = np.empty(n_sub if current.size > 0 else 0)
    state = np.zeros(9)
    state[4] = setpoint
    for row in range(ends.shape[0]):
        for i in range(ends.shape[1] - 1):
            u, v, plane = ends[row, i, 0], ends[row, i, 1], ends[row, i, 2] - start
            du, dv, rise = ends[row, i + 1, 0] - u, ends[row, i + 1, 1] - v, ends[row, i + 1, 2] - start - plane
            _step_polynomials(coefficients, u, v, du, dv, nodes, polynomials)
            ground = (plane, rise / n_sub)
            move, reached = _dwell(
                polynomials, noise, row, i, ground, timing, heights, loop, piezo, setpoint, state, currents
            )
            if np.isnan(state[4]):
                return np.nan
            if row >= SETTLING:
                topography[row - SETTLING, i], events[row - SETTLING, i] = start + move, reached
                if currents.size > 0:
                    current[row - SETTLING, i] = currents.mean()
    return float(state[8])


@numba.njit(cache=True, error_model="numpy")
def pixel_currents(coefficients: F4, ends: F8, n_sub: int, heights: Pair, tips: F8, noise: F4, current: F8) -> None:
    """Write the mean |I| over the sub-steps of pixels over which the tip rests at the z of ``tips``."""
    scale, offset = heights
    polynomials, nodes = np.empty((n_sub, coefficients.shape[2])), np.empty((4, coefficients.shape[2]))
    for row in range(SETTLING, ends.shape[0]):
        for i in range(ends.shape[1] - 1):
            u, v, plane = ends[row, i, 0], ends[row, i, 1], ends[row, i, 2]
            du, dv, rise = ends[row, i + 1, 0] - u, ends[row, i + 1, 1] - v, ends[row, i + 1, 2] - plane
            _step_polynomials(coefficients, u, v, du, dv, nodes, polynomials)
            total = 0.0
            for n in range(n_sub):
                s = scale * (tips[row - SETTLING, i] - plane - rise * (n + 0.5) / n_sub) - offset
                total += np.exp(_value(polynomials, n, s) + noise[row, i])
            current[row - SETTLING, i] = total / n_sub
