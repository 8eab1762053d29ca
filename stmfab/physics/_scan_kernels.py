"""The scan in time: the field's height polynomials along the path, and the feedback loop over them, line after line.

A pass is one way along a line; passes 0 and 1 are the settling line and are not recorded. The end of a pixel is
(u, v, plane): the field's grid coordinates and the height of the sample plane in nm. ``heights`` is (scale, offset):
the polynomials' variable is s = scale * (z - plane) - offset.
"""

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
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

# node by node: the 4-point Lagrange weights (nodes -1, 0, 1, 2) are CUBIC_0 + t CUBIC_1 + t^2 CUBIC_2 + t^3 CUBIC_3
ZERO = (0.0, 0.0, 0.0, 0.0)
CUBIC_0 = (0.0, 1.0, 0.0, 0.0)
CUBIC_1 = (-1 / 3, -1 / 2, 1.0, -1 / 6)
CUBIC_2 = (1 / 2, -1.0, 1 / 2, 0.0)
CUBIC_3 = (-1 / 6, 1 / 2, -1 / 2, 1 / 6)
ir = cast(Any, cgutils).ir  # llvmlite, as numba sees it
LANES = ir.VectorType(ir.DoubleType(), 4)
FOUR = cast(Any, types).UniTuple(types.float64, 4)
declared: Any = cgutils.get_or_insert_function  # by name in the module that is compiled
MULTIPLY_ADD = ir.FunctionType(LANES, [LANES, LANES, LANES])

inlined = numba.njit(cache=True, error_model="numpy", forceinline=True)


def _to_lanes(builder: Any, four: Any) -> Any:
    """Return a tuple of four numbers as one vector."""
    lanes = ir.Constant(LANES, ir.Undefined)
    for k in range(4):
        lanes = builder.insert_element(lanes, builder.extract_value(four, k), ir.IntType(32)(k))
    return lanes


def _from_lanes(builder: Any, lanes: Any) -> Any:
    """Return one vector as a tuple of four numbers."""
    four = ir.Constant(ir.ArrayType(ir.DoubleType(), 4), ir.Undefined)
    for k in range(4):
        four = builder.insert_value(four, builder.extract_element(lanes, ir.IntType(32)(k)), k)
    return four


def _plus_code(_typing: Any, a: Any, _share: Any, _b: Any) -> Any:
    """Return the types and the code of ``_plus``."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        a, share, b = args
        shares = ir.Constant(LANES, ir.Undefined)
        for k in range(4):
            shares = builder.insert_element(shares, share, ir.IntType(32)(k))
        multiply_add = declared(builder.module, MULTIPLY_ADD, "llvm.fmuladd.v4f64")
        return _from_lanes(builder, builder.call(multiply_add, [shares, _to_lanes(builder, b), _to_lanes(builder, a)]))

    return a(a, types.float64, a), generate


def _four_code(_typing: Any, coefficients: Any, _at: Any) -> Any:
    """Return the types and the code of ``_four``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        numbers = ir.VectorType(ir.FloatType(), 4)
        place = builder.bitcast(builder.gep(data, [args[1]]), numbers.as_pointer())
        return _from_lanes(builder, builder.fpext(builder.load(place, align=4), LANES))

    return FOUR(coefficients, types.intp), generate


# a + share b, and four numbers of an array in memory order: four lanes at once, which numba does not find by itself
_plus: Callable[[Four, float, Four], Four] = cast(Any, intrinsic)(_plus_code)
_four: Callable[[F4, int], Four] = cast(Any, intrinsic)(_four_code)


@inlined
def _scaled(share: float, a: Four) -> Four:
    """Return share a."""
    return _plus(ZERO, share, a)


@inlined
def _lagrange(t: float) -> Four:
    """Return the 4-point Lagrange weights at t."""
    return _plus(CUBIC_0, t, _plus(CUBIC_1, t, _plus(CUBIC_2, t, CUBIC_3)))


@inlined
def _cubics(t: float, step: float) -> tuple[Four, Four, Four, Four]:
    """Return the 4-point Lagrange weights at t + n step as cubics in n: by power, then by node."""
    square = step * step
    return (
        _lagrange(t),
        _scaled(step, _plus(CUBIC_1, t, _plus(_scaled(2.0, CUBIC_2), 3.0 * t, CUBIC_3))),
        _scaled(square, _plus(CUBIC_2, 3.0 * t, CUBIC_3)),
        _scaled(square * step, CUBIC_3),
    )


@inlined
def _row(coefficients: F4, at: int, step: int, w: Four) -> Four:
    """Return four heights of four neighbouring nodes, the first from number ``at`` on, weighted."""
    left = _plus(_scaled(w[0], _four(coefficients, at)), w[1], _four(coefficients, at + step))
    right = _plus(_scaled(w[2], _four(coefficients, at + 2 * step)), w[3], _four(coefficients, at + 3 * step))
    return _plus(left, 1.0, right)


@inlined
def _add_nodes(coefficients: F4, iu: int, iv: int, rows: tuple[Four, Four, Four, Four], out: F8, at: int) -> None:
    """Add the 4 x 4 nodes around cell (iu, iv), weighted row by row, to the height polynomial out[at].

    Four heights at a time; where their number is no multiple of four, the last four overlap the ones before.
    """
    n = coefficients.shape[2]
    width = coefficients.shape[1] * n
    first = (iv - 1) * width + (iu - 1) * n
    place = out[at]
    for done in range(0, n, 4):
        start = min(done, n - 4)
        k = first + start
        below = _plus(_row(coefficients, k, n, rows[0]), 1.0, _row(coefficients, k + width, n, rows[1]))
        k += 2 * width
        above = _plus(_row(coefficients, k, n, rows[2]), 1.0, _row(coefficients, k + width, n, rows[3]))
        both = _plus(below, 1.0, above)
        if start == done:
            place[start] += both[0]
        if start + 1 >= done:
            place[start + 1] += both[1]
        if start + 2 >= done:
            place[start + 2] += both[2]
        place[start + 3] += both[3]


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
    even0, odd0 = _plus(_scaled(s0, p[0]), s2, p[2]), _plus(_scaled(s2, p[1]), s4, p[3])
    even1, odd1 = _plus(_scaled(s2, p[0]), s4, p[2]), _plus(_scaled(s4, p[1]), s6, p[3])
    rows = (
        _plus(_plus(_plus(_scaled(q[0][0], even0), q[1][0], odd0), q[2][0], even1), q[3][0], odd1),
        _plus(_plus(_plus(_scaled(q[0][1], even0), q[1][1], odd0), q[2][1], even1), q[3][1], odd1),
        _plus(_plus(_plus(_scaled(q[0][2], even0), q[1][2], odd0), q[2][2], even1), q[3][2], odd1),
        _plus(_plus(_plus(_scaled(q[0][3], even0), q[1][3], odd0), q[2][3], even1), q[3][3], odd1),
    )
    _add_nodes(coefficients, iu, iv, rows, out, 0)


@inlined
def _steps_in_cell(t: float, edge: float, per_step: float, limit: int) -> int:
    """Return how many steps of length 1 / per_step, at most ``limit``, start at t in [0, 1) and stay in the cell."""
    return int(min(limit - 1.0, (edge - t) * per_step)) + 1


@inlined
def _pixel_polynomial(coefficients: F4, u: float, v: float, du: float, dv: float, n_sub: int, out: F8) -> None:
    """Write the mean height polynomial at n_sub steps (du, dv) from (u, v) on, cell after cell, to out[0].

    NaN outside the grid.
    """
    out[0, :] = 0.0
    done = 0
    edge_u, edge_v = 1.0 if du >= 0.0 else 0.0, 1.0 if dv >= 0.0 else 0.0
    per_u, per_v = 1.0 / du, 1.0 / dv  # a tip at rest: infinitely many steps in the cell
    if du == 0.0:
        per_u = np.inf
    if dv == 0.0:
        per_v = np.inf
    while done < n_sub:
        iu, iv = int(u), int(v)
        if not _in_grid(coefficients, iu, iv):
            out[0, :] = np.nan
            return
        n = _steps_in_cell(v - iv, edge_v, per_v, _steps_in_cell(u - iu, edge_u, per_u, n_sub - done))
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
    p, q = _lagrange(u - iu), _lagrange(v - iv)
    rows = (_scaled(q[0], p), _scaled(q[1], p), _scaled(q[2], p), _scaled(q[3], p))
    _add_nodes(coefficients, iu, iv, rows, out, at)


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
