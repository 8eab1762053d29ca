"""The feedback loop in time, over the height polynomials that the tip meets, pass after pass.

A pass is one way along a line. ``plane`` is the height of the sample plane at the pixels' ends in nm, (n_passes,
n_pixels + 1). ``heights`` is (scale, offset): the polynomials' variable is s = scale * (z - plane) - offset. ``state``
goes from call to call: command and H in nm, the sum of errors, the last error, the amplifier's signal, the sum and the
number of its values since the last update, the limits in force, the largest |H|, the tip's place and its speed; then
of the last swing of the error the side, the updates since, and how many have followed one another.
"""

import functools

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
U1 = NDArray[np.uint8]
Pair = tuple[float, float]
Loop = tuple[float, float, float, float, float, float]  # Kp, Ki, Kd, largest move, lowest gap, highest gap
Piezo = tuple[float, float, float, float]  # A, B and C per nm, gain; V and H are in nm
Swing = tuple[float, float, float, float]  # of the tip about its place, and of its speed, over a sub-step
Hearing = tuple[float, bool, float]  # ln of the setpoint, whether the amplifier is linear, ln of the largest current
Ring = tuple[float, int]  # the error that counts as a swing, the most updates between two; 0: no ringing

STOP, LIMIT, OUTSIDE = 1, 2, 4  # events: physical stop of z; slew or step limit; outside the tabulated heights
RINGING, SATURATED = 32, 64  # the error swings to and fro; the amplifier shows its largest current
SMALL, TINY = 1e-2, 1e-4  # x below which five and three terms of (1 - exp(-x)) / x err by less than 1e-12
N_STATE = 14
N_SWINGS = 4  # in a row are ringing

lean = functools.partial(numba.njit, cache=True, error_model="numpy", _nrt=False)  # see _field_kernels
inlined = lean(forceinline=True, fastmath={"contract"})


@inlined
def _value(c: F4, s: float) -> float:
    """Return the height polynomial at s: a straight line outside [-1, 1].

    Even and odd powers apart: half the waiting of Horner's rule in the loop, where each step waits for the last.
    """
    n = c.shape[0]
    if abs(s) <= 1.0:
        even, odd, square = 0.0, 0.0, s * s
        for k in range(n // 2 - 1, -1, -1):
            even = even * square + c[2 * k]
            odd = odd * square + c[2 * k + 1]
        return even + s * odd
    edge = 1.0 if s > 0.0 else -1.0
    value, slope = 0.0, 0.0
    for k in range(n - 1, -1, -1):
        slope = slope * edge + value
        value = value * edge + c[k]
    return value + slope * (s - edge)


@inlined
def _worn(rate: float, dv: float) -> float:
    """Return (1 - exp(-rate |dv|)) / rate with the sign of dv."""
    x = rate * abs(dv)
    if abs(x) < SMALL:
        square = x * x
        return dv * ((1.0 - x * (1 / 2)) + square * ((1 / 6 - x * (1 / 24)) + square * (1 / 120)))
    return float(np.copysign(-np.expm1(-x) / rate, dv))


@inlined
def hysteresis(h: float, dv: float, a: float, b: float, c: float) -> float:
    """Return H after V moved by dv: dH = A dV - B |dV| H - C dV |H|, exact, also through the sign change of H.

    Away from zero dH/dV = A - (B + C) |H|, towards it A + (B - C) |H|. Small moves, nearly all, take three terms of the
    exponential, and both ways at once: the loop waits for this.
    """
    size, lag, towards = abs(dv), abs(h), h * dv < 0.0
    if size * (b + c) < TINY:
        square = dv * size
        nearer = h + (a + (b - c) * lag) * (dv - square * ((b - c) / 2 - size * ((b - c) ** 2 / 6)))
        farther = h + (a - (b + c) * lag) * (dv - square * ((b + c) / 2 - size * ((b + c) ** 2 / 6)))
        end = nearer if towards else farther
    elif towards:
        end = h + (a + (b - c) * lag) * _worn(b - c, dv)
    else:
        end = h + (a - (b + c) * lag) * _worn(b + c, dv)
    if towards & (end * dv > 0.0):
        x = lag * (b - c) / a
        left = size - lag / a * (np.log1p(x) / x if x != 0.0 else 1.0)
        end = a * _worn(b + c, left if dv > 0.0 else -left)
    return end


@inlined
def _heard(log_current: float, setpoint: float, linear: bool) -> float:
    """Return what the controller compares with ln(I_set): ln|I|, or on a linear amplifier I / I_set - 1 above it."""
    return float(setpoint + np.expm1(log_current - setpoint)) if linear else log_current


@inlined
def _current(signal: float, setpoint: float, linear: bool) -> float:
    """Return |I| of an amplifier's signal."""
    return float(np.exp(setpoint) * (1.0 + signal - setpoint)) if linear else float(np.exp(signal))


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


@lean(fastmath={"contract"})
def scan_pixels(
    polynomials: F4,
    plane: F8,
    heights: Pair,
    loop: Loop,
    piezo: Piezo,
    setpoint: float,
    start: float,
    noise: F4,
    state: F8,
    topography: F8,
    tips: F8,
    events: U1,
) -> bool:
    """Scan passes with one update of the controller a pixel; return whether the tip stayed in the window.

    z rests within a pixel: the mean of ln|I| over its sub-steps is the mean height polynomial at the tip's mean height.
    The z of the tip itself is written to ``tips``.
    """
    scale, offset = heights
    a, b, c, gain = piezo
    move, h, total, last, limits, reach = state[0], state[1], state[2], state[3], int(state[7]), state[8]
    for row in range(polynomials.shape[0]):
        for i in range(polynomials.shape[1]):
            floor = 0.5 * (plane[row, i] + plane[row, i + 1]) - start
            s = gain * (move - h) * scale - (scale * floor + offset)
            error = _value(polynomials[row, i], s) + (noise[row, i] - setpoint)
            topography[row, i], tips[row, i] = start + move, start + gain * (move - h)
            events[row, i] = limits | (OUTSIDE if abs(s) > 1.0 else 0)
            if np.isnan(error):
                return False
            target, total, limits = _update(move, total, error, last, floor, loop)
            if a > 0.0:
                h = hysteresis(h, target - move, a, b, c)
            reach, move, last = max(reach, abs(h)), target, error
    state[0], state[1], state[2], state[3], state[7], state[8] = move, h, total, last, limits, reach
    return True


@inlined
def _rings(error: float, ring: Ring, state: F8) -> int:
    """Return RINGING where the error swings to and fro: see ``loop.Ringing``."""
    state[12] += 1.0
    if state[12] > ring[1]:
        state[13] = 0.0
    side = 1.0 if error > 0.0 else -1.0
    if abs(error) > ring[0] and side != state[11]:
        state[11], state[12], state[13] = side, 0.0, state[13] + 1.0
    return RINGING if state[13] >= N_SWINGS else 0


@inlined
def _dwell(
    polynomials: F4,
    noise: F4,
    ground: Pair,
    timing: tuple[int, float],
    heights: Pair,
    loop: Loop,
    piezo: Piezo,
    swing: Swing,
    hearing: Hearing,
    ring: Ring,
    state: F8,
    with_current: bool,
) -> tuple[float, int, float]:
    """Run the loop over the sub-steps of one pixel; return its mean command, its events and its mean |I|, if asked for.

    ``ground`` is the sample plane at the pixel's start and its rise a sub-step.
    """
    scale, offset = heights
    (per_update, memory), (setpoint, linear, ceiling) = timing, hearing
    a, b, c, gain = piezo
    move, h, total, last, signal, heard = state[0], state[1], state[2], state[3], state[4], state[5]
    count, limits, reach, tip, speed = int(state[6]), int(state[7]), state[8], state[9], state[10]
    commanded, reached, passed, n_sub = 0.0, 0, 0.0, polynomials.shape[0]
    for n in range(n_sub):
        floor = ground[0] + (n + 0.5) * ground[1]
        place = gain * (move - h)
        away = tip - place
        tip, speed = place + swing[0] * away + swing[1] * speed, swing[2] * away + swing[3] * speed
        s = scale * (tip - floor) - offset
        log_current = _value(polynomials[n], s) + noise[n]
        if log_current > ceiling:
            log_current, reached = ceiling, reached | SATURATED
        signal = (1.0 - memory) * _heard(log_current, setpoint, linear) + memory * signal
        commanded, heard, count = commanded + move, heard + signal, count + 1
        reached |= limits | (OUTSIDE if abs(s) > 1.0 else 0)
        if with_current:
            passed += _current(signal, setpoint, linear)
        if count == per_update:
            error = heard * (1.0 / per_update) - setpoint
            if ring[1] > 0:
                reached |= _rings(error, ring, state)
            target, total, limits = _update(move, total, error, last, floor, loop)
            if a > 0.0:
                h = hysteresis(h, target - move, a, b, c)
            reach, move, last, heard, count = max(reach, abs(h)), target, error, 0.0, 0
    state[0], state[1], state[2], state[3], state[4], state[5] = move, h, total, last, signal, heard
    state[6], state[7], state[8], state[9], state[10] = count, limits, reach, tip, speed
    return commanded / n_sub, reached, passed / n_sub


@lean(fastmath={"contract"})
def scan_steps(
    polynomials: F4,
    plane: F8,
    timing: tuple[int, float],
    heights: Pair,
    loop: Loop,
    piezo: Piezo,
    swing: Swing,
    hearing: Hearing,
    ring: Ring,
    start: float,
    noise: F4,
    state: F8,
    topography: F8,
    current: F8,
    events: U1,
) -> bool:
    """Scan passes sub-step by sub-step; return whether the tip stayed in the window.

    ``timing`` is (sub-steps an update, share of ln|I| the amplifier keeps from sub-step to sub-step); the controller
    updates on the mean since its last update. Noise is (passes, pixels, sub-steps). ``swing`` is what is left, after a
    sub-step, of the tip's distance from its place and of its speed: zeros without a resonance. Without a place for it
    the current is not computed.
    """
    n_sub = noise.shape[2]
    for row in range(polynomials.shape[0]):
        for i in range(polynomials.shape[1]):
            ground = plane[row, i] - start, (plane[row, i + 1] - plane[row, i]) / n_sub
            move, reached, passed = _dwell(
                *(polynomials[row, i], noise[row, i], ground, timing, heights, loop, piezo, swing),
                *(hearing, ring, state, current.size > 0),
            )
            if np.isnan(state[4]):
                return False
            topography[row, i], events[row, i] = start + move, reached
            if current.size > 0:
                current[row, i] = passed
    return True


@lean(fastmath={"contract"})
def pixel_currents(polynomials: F4, plane: F8, heights: Pair, tips: F8, noise: F4, current: F8) -> None:
    """Write the mean |I| over the sub-steps of pixels over which the tip rests at the z of ``tips``."""
    scale, offset = heights
    n_sub = polynomials.shape[2]
    for row in range(polynomials.shape[0]):
        for i in range(polynomials.shape[1]):
            rise = (plane[row, i + 1] - plane[row, i]) / n_sub
            total = 0.0
            for n in range(n_sub):
                s = scale * (tips[row, i] - plane[row, i] - rise * (n + 0.5)) - offset
                total += np.exp(_value(polynomials[row, i, n], s) + noise[row, i])
            current[row, i] = total / n_sub
