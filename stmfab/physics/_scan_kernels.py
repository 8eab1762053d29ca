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
Stopped = tuple[float, float, int]  # command, sum of errors, limits
Swings = tuple[float, float, float]  # side of the last, updates since, how many have followed one another
Ring = tuple[float, int]  # the error that counts as a swing, the most updates between two; 0: no ringing

STOP, LIMIT, OUTSIDE = 1, 2, 4  # events: physical stop of z; slew or step limit; outside the tabulated heights
RINGING, SATURATED = 32, 64  # the error swings to and fro; the amplifier shows its largest current
SMALL, TINY = 1e-2, 1e-4  # x below which five and three terms of (1 - exp(-x)) / x err by less than 1e-12
STILL = (0.0, 0.0, 0.0, 0.0)  # no swing
N_STATE = 14
LANES = 8  # coefficients of nearly all height polynomials
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
def _limited(target: float, total: float, error: float, last: float, move: float, floor: float, loop: Loop) -> Stopped:
    """Return the command that the limits let through, the sum of errors wound back to it, the limits reached."""
    kp, ki, kd, max_move, lowest, highest = loop
    events = 0
    if abs(target - move) > max_move:
        target, events = move + (max_move if target > move else -max_move), LIMIT
    if target < floor + lowest:
        target, events = floor + lowest, events | STOP
    elif target > floor + highest:
        target, events = floor + highest, events | STOP
    if events != 0 and ki > 0.0:
        total = (target - kp * error - kd * (error - last)) / ki
    return target, total, events


@inlined
def _update(move: float, total: float, error: float, last: float, floor: float, loop: Loop) -> Stopped:
    """Return the next command, the sum of errors (wound back to what the limits let through), the limits reached.

    The command and its floor, the height of the sample plane, are counted from the start of z. The limits are rarely
    reached: they are apart, so that no step waits for them.
    """
    kp, ki, kd, max_move, lowest, highest = loop
    target = (ki * total - kd * last) + (kp + ki + kd) * error
    total += error
    if abs(target - move) > max_move or target < floor + lowest or target > floor + highest:
        return _limited(target, total, error, last, move, floor, loop)
    return target, total, 0


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
def _swung(error: float, ring: Ring, swings: Swings) -> Swings:
    """Return the swings with the next error of the loop: see ``loop.Ringing``. Most errors are no swing."""
    side, since, count = swings
    since += 1.0
    if abs(error) > ring[0] and error * side <= 0.0:
        side, count, since = (1.0 if error > 0.0 else -1.0), (count if since <= ring[1] else 0.0) + 1.0, 0.0
    return side, since, count


@inlined
def _over_setpoint(c: F4, s: float, noise: float) -> float:
    """Return the height polynomial at s, less the setpoint: ``noise`` is less it already; see ``_value``.

    Eight coefficients, nearly always, wait for three multiplications: pairs, pairs of pairs, their sum.
    """
    if c.shape[0] == LANES and abs(s) <= 1.0:
        square = s * s
        low = ((c[0] + noise) + s * c[1]) + square * (c[2] + s * c[3])
        high = (c[4] + s * c[5]) + square * (c[6] + s * c[7])
        return float(low + square * square * high)
    return _value(c, s) + noise


@inlined
def _reached(place: float, state: F8, swing: Swing) -> float:
    """Return where the tip is that swings about its place, and go on with its swing."""
    away, speed = state[9] - place, state[10]
    state[9], state[10] = place + swing[0] * away + swing[1] * speed, swing[2] * away + swing[3] * speed
    return float(state[9])


@inlined
def _amplified(over: float, hearing: Hearing) -> tuple[float, int]:
    """Return what the amplifier makes of ln|I| over the setpoint, I / I_set - 1 if it is linear, and whether it can."""
    setpoint, linear, ceiling = hearing
    events = 0
    if over > ceiling - setpoint:
        over, events = ceiling - setpoint, SATURATED
    return (float(np.expm1(over)) if linear else over), events


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
) -> tuple[float, int]:
    """Run the loop over the sub-steps of one pixel; return its mean command and its events.

    ``ground`` is the sample plane at the pixel's start and its rise a sub-step. What the amplifier gives, over the
    setpoint, takes the place of the noise. Each step waits for the one before: what need not wait is worked out aside.
    """
    (scale, offset), (per_update, memory) = heights, timing
    a, b, c, gain = piezo
    move, h, total, last, signal, heard = state[0], state[1], state[2], state[3], state[4], state[5]
    count, limits, reach, moves = int(state[6]), int(state[7]), state[8], swing != STILL
    swings = state[11], state[12], state[13]
    commanded, reached, n_sub, fresh = 0.0, 0, polynomials.shape[0], 1.0 - memory
    for n in range(n_sub):
        floor = ground[0] + (n + 0.5) * ground[1]
        tip = _reached(gain * (move - h), state, swing) if moves else gain * (move - h)
        s = scale * tip - (scale * floor + offset)
        over, cut = _amplified(_over_setpoint(polynomials[n], s, noise[n] - hearing[0]), hearing)
        signal = memory * signal + fresh * over
        noise[n] = signal
        commanded, heard, count = commanded + move, heard + signal, count + 1
        reached |= limits | cut | (OUTSIDE if abs(s) > 1.0 else 0)
        if count < per_update:
            continue
        error = signal if per_update == 1 else heard * (1.0 / per_update)
        if ring[1] > 0:
            swings = _swung(error, ring, swings)
            reached |= RINGING if swings[2] >= N_SWINGS and swings[1] <= ring[1] else 0
        target, total, limits = _update(move, total, error, last, floor, loop)
        if a > 0.0:
            h = hysteresis(h, target - move, a, b, c)
        reach, move, last, heard, count = max(reach, abs(h)), target, error, 0.0, 0
    state[0], state[1], state[2], state[3], state[4], state[5] = move, h, total, last, signal, heard
    state[6], state[7], state[8] = count, limits, reach
    state[11], state[12], state[13] = swings
    return commanded / n_sub, reached


@inlined
def _follow(
    polynomials: F4,
    noise: F4,
    ground: Pair,
    memory: float,
    heights: Pair,
    loop: Loop,
    gain: float,
    hearing: Hearing,
    ring: Ring,
    state: F8,
) -> tuple[float, int]:
    """Do what ``_dwell`` does for a loop on ln|I| with an update a sub-step and a tip that goes where it is told.

    The next s is s(rest) + slope over: of all sums only the polynomial and this one wait for each other.
    """
    scale, offset = heights
    kp, ki, kd, max_move, lowest, highest = loop
    move, total, last, signal, limits = state[0], state[2], state[3], state[4], int(state[7])
    n_sub, fresh, commanded, reached = polynomials.shape[0], 1.0 - memory, 0.0, 0
    swings = state[11], state[12], state[13]
    share, lever, most = kp + ki + kd, scale * gain, hearing[2] - hearing[0]
    below, rise, answer = scale * (ground[0] + 0.5 * ground[1]) + offset, scale * ground[1], share * fresh
    s, steep = lever * move - below, lever * answer
    for n in range(n_sub):
        floor, rest = ground[0] + (n + 0.5) * ground[1], (ki * total - kd * last) + (share * memory) * signal
        ahead = lever * rest - (below + (n + 1) * rise)
        over = _over_setpoint(polynomials[n], s, noise[n] - hearing[0])
        if over > most:
            over, reached = most, reached | SATURATED
        reached |= limits | (OUTSIDE if abs(s) > 1.0 else 0)
        commanded, s, target = commanded + move, ahead + steep * over, rest + answer * over
        signal = memory * signal + fresh * over
        if ring[1] > 0:
            swings = _swung(signal, ring, swings)
            reached |= RINGING if swings[2] >= N_SWINGS and swings[1] <= ring[1] else 0
        noise[n], total, limits = signal, total + signal, 0
        if abs(target - move) > max_move or target < floor + lowest or target > floor + highest:
            target, total, limits = _limited(target, total, signal, last, move, floor, loop)
            s = lever * target - (below + (n + 1) * rise)
        move, last = target, signal
    state[0], state[2], state[3], state[4], state[7] = move, total, last, signal, limits
    state[11], state[12], state[13] = swings
    return commanded / n_sub, reached


@inlined
def _exponentials(x: F4) -> None:
    """Turn numbers into their exponentials, 1e-8 wrong: exp(x / 16) by its series, squared four times."""
    far = False
    for n in range(x.size):
        far |= abs(x[n]) > 8.0
    if far:
        for n in range(x.size):
            x[n] = np.exp(np.float64(x[n]))
        return
    for n in range(x.size):
        t = x[n] * (1 / 16)
        tail = 1 / 24 + t * (1 / 120 + t * (1 / 720 + t * (1 / 5040 + t * (1 / 40320 + t * (1 / 362880)))))
        power = 1.0 + t * (1.0 + t * (1 / 2 + t * (1 / 6 + t * tail)))
        power *= power
        power *= power
        power *= power
        x[n] = power * power


@inlined
def _mean_currents(signals: F4, setpoint: float, linear: bool, out: F8) -> None:
    """Write the mean |I| a pixel of what an amplifier gives, over the setpoint, (n_pixels, n_sub); uses that up."""
    if not linear:
        _exponentials(signals.reshape(-1))
    size = np.exp(setpoint) / signals.shape[1]
    for i in range(out.size):
        total = 0.0
        for n in range(signals.shape[1]):
            total += signals[i, n]
        out[i] = size * (total + signals.shape[1]) if linear else size * total


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
    follows = timing[0] == 1 and piezo[0] == 0.0 and swing == STILL and not hearing[1]
    for row in range(polynomials.shape[0]):
        for i in range(polynomials.shape[1]):
            ground = plane[row, i] - start, (plane[row, i + 1] - plane[row, i]) / n_sub
            if follows:
                move, reached = _follow(
                    *(polynomials[row, i], noise[row, i], ground, timing[1], heights, loop, piezo[3]),
                    *(hearing, ring, state),
                )
            else:
                move, reached = _dwell(
                    *(polynomials[row, i], noise[row, i], ground, timing, heights, loop, piezo, swing),
                    *(hearing, ring, state),
                )
            if np.isnan(state[4]):
                return False
            topography[row, i], events[row, i] = start + move, reached
        if current.size > 0:
            _mean_currents(noise[row], hearing[0], hearing[1], current[row])
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
