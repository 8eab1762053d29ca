"""The feedback loop in time, over the height polynomials that the tip meets, pass after pass.

A pass is one way along a line. ``plane`` is the height of the sample plane at the pixels' ends in nm, (n_passes,
n_pixels + 1). ``heights`` is (scale, offset): the polynomials' variable is s = scale * (z - plane) - offset. ``state``
goes from call to call: command and H in nm, the sum of errors, the last error, the amplifier's signal, the sum and the
number of its values since the last update, the limits in force, the largest |H|, the tip's place and its speed; then
of the last swing of the error the side, the updates since, and how many have followed one another.
"""

import numpy as np
from numpy.typing import NDArray

from .compiled import lean

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
U1 = NDArray[np.uint8]
Pair = tuple[float, float]
Loop = tuple[float, float, float, float, float, float]  # Kp, Ki, Kd, largest move, lowest gap, highest gap
Piezo = tuple[float, float, float, float]  # A, B and C per nm, gain; V and H are in nm
Swing = tuple[float, float, float, float]  # of the tip about its place, and of its speed, over a sub-step
Hearing = tuple[float, bool, float]  # ln of the setpoint, whether the amplifier is linear, ln of the largest current
Stopped = tuple[float, float, int]  # command, sum of errors, limits
Ring = tuple[float, int]  # the error that counts as a swing, the most updates between two; 0: no ringing

STOP, LIMIT, OUTSIDE = 1, 2, 4  # events: physical stop of z; slew or step limit; outside the tabulated heights
RINGING, SATURATED = 32, 64  # the error swings to and fro; the amplifier shows its largest current
SMALL, TINY = 0.35, 1e-4  # x below which ten and three terms of (1 - exp(-x)) / x err by less than 1e-12
STILL = (0.0, 0.0, 0.0, 0.0)  # no swing
N_STATE = 14
LANES = 8  # coefficients of nearly all height polynomials
N_SWINGS = 4  # in a row are ringing
RUN = 128  # sub-steps, at least, whose limits are checked together
PATIENCE = 16  # runs sub-step by sub-step after one that met a limit

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
def _worn(x: float) -> float:
    """Return (1 - exp(-x)) / x."""
    if abs(x) >= SMALL:
        return float(-np.expm1(-x) / x)
    square = x * x
    low = (1.0 - x * (1 / 2)) + square * (1 / 6 - x * (1 / 24))
    middle = (1 / 120 - x * (1 / 720)) + square * (1 / 5040 - x * (1 / 40320))
    return low + (square * square) * (middle + (square * square) * (1 / 362880 - x * (1 / 3628800)))


@inlined
def hysteresis(h: float, dv: float, a: float, b: float, c: float) -> float:
    """Return H after V moved by dv: dH = A dV - B |dV| H - C dV |H|, exact, also through the sign change of H.

    Away from zero dH/dV = A - (B + C) |H|, towards it A + (B - C) |H|. Whether it goes there nobody can foretell, and
    the loop waits for this: both are worked out, and no branch hangs on it.
    """
    lag, size, towards = abs(h), abs(dv), h * dv < 0.0
    near, far = (a + (b - c) * lag) * _worn((b - c) * size), (a - (b + c) * lag) * _worn((b + c) * size)
    end = h + dv * (near if towards else far)
    if towards & (end * dv > 0.0):
        x = lag * (b - c) / a
        left = size - lag / a * (np.log1p(x) / x if x != 0.0 else 1.0)
        end = a * (left if dv > 0.0 else -left) * _worn((b + c) * left)
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
    answer = scale * gain
    move, h, total, last, limits, reach = state[0], state[1], state[2], state[3], int(state[7]), state[8]
    for row in range(polynomials.shape[0]):
        for i in range(polynomials.shape[1]):
            floor = 0.5 * (plane[row, i] + plane[row, i + 1]) - start
            s = (answer * move - (scale * floor + offset)) - answer * h
            error = _over_setpoint(polynomials[row, i], s, noise[row, i] - setpoint)
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
    count, limits, reach, swings = int(state[6]), int(state[7]), state[8], swing != STILL
    commanded, reached, n_sub, fresh = 0.0, 0, polynomials.shape[0], 1.0 - memory
    for n in range(n_sub):
        floor = ground[0] + (n + 0.5) * ground[1]
        tip = _reached(gain * (move - h), state, swing) if swings else gain * (move - h)
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
            reached |= _rings(error, ring, state)
        target, total, limits = _update(move, total, error, last, floor, loop)
        if a > 0.0:
            h = hysteresis(h, target - move, a, b, c)
        reach, move, last, heard, count = max(reach, abs(h)), target, error, 0.0, 0
    state[0], state[1], state[2], state[3], state[4], state[5] = move, h, total, last, signal, heard
    state[6], state[7], state[8] = count, limits, reach
    return commanded / n_sub, reached


@inlined
def _prepare(coefficients: F4, noise: F4, memory: float, setpoint: float, room: F8, driven: F8) -> None:
    """Write the share of coefficients and noise that the amplifier takes on in a sub-step, in double precision."""
    fresh = 1.0 - memory
    for k in range(coefficients.size):
        room[k] = fresh * np.float64(coefficients[k])
    for n in range(noise.size):
        driven[n] = fresh * (np.float64(noise[n]) - setpoint)


@inlined
def _heard(room: F8, k: int, s: float, kept: float) -> float:
    """Return the height polynomial at s of the eight coefficients from k on, and what is kept of the last one."""
    square = s * s
    near = (room[k] + kept + s * room[k + 1]) + square * (room[k + 2] + s * room[k + 3])
    far = (room[k + 4] + s * room[k + 5]) + square * (room[k + 6] + s * room[k + 7])
    return float(near + square * square * far)


@inlined
def _bent(h: float, a: float, b: float, c: float) -> Pair:
    """Return what dV^2 and dV |dV| take from H: half of A - C |H| -+ B H times C sign(H) +- B, up and down."""
    side, lost, bend = np.copysign(c, h), a - c * abs(h), b * h
    return 0.5 * (lost * side - bend * b), 0.5 * (lost * b - bend * side)


@inlined
def _run_calmly(
    room: F8,
    plane: F8,
    memory: float,
    heights: Pair,
    loop: Loop,
    piezo: Piezo,
    start: float,
    state: F8,
    trace: F8,
    n_sub: int,
    topography: F8,
) -> None:
    """Run the loop over some pixels as ``_dwell`` does, with an update a sub-step and without its checks.

    What a step need not wait for is worked out before it. Over a move dV of z, H moves by s dV (1 - r dV / 2),
    s = A - C |H| -+ B H and r = C sign(H) +- B up and down. Below ``TINY`` the second term is 1e-4 of the move: it is
    taken with s and r of the pixel's start, and the tip follows it a sub-step later. That leaves less than 0.01 pm of a
    line (test_scan.py::test_pixels_run_without_checks_are_those_run_with_them). H is in units of s.
    """
    (scale, offset), (kp, ki, kd, _, _, _), (a, b, c, gain) = heights, loop, piezo
    driven, places, signals, moves = trace[0], trace[1], trace[2], trace[3]
    move, total, signal, reached = state[0], state[2], state[4], scale * gain
    signals[0], moves[0] = signal, move
    base, strength = ki * total - kd * state[3] - move, kp + ki + kd
    lag, reach, least, n = reached * state[1], reached * state[8], reached * a, 0
    for i in range(topography.size):
        fall = scale * (plane[i + 1] - plane[i]) / n_sub
        s = (reached * move - lag) - (scale * (plane[i] - start) + 0.5 * fall + offset)
        commanded, late, end = 0.0, 0.0, n + n_sub
        straight, kinked = _bent(lag, least, b, c)
        while n < end:
            signal = _heard(room, n * LANES, s, driven[n] + memory * signal)
            places[n] = s
            dv = base + strength * signal
            if a > 0.0:
                size, width = abs(dv), abs(lag)
                lost, bend, reach = least - c * width, b * lag, max(reach, width)
                pull = reached - lost
                s = (((s - fall) + (late + pull * base)) + (pull * strength) * signal) + bend * size
                late = dv * (dv * straight + size * kinked)
                lag += (dv * lost - size * bend) - late
            else:
                s = ((s - fall) + reached * base) + (reached * strength) * signal
            commanded, total, move, n = commanded + move, total + signal, move + dv, n + 1
            base = ki * total - kd * signal - move
            signals[n], moves[n] = signal, move
        topography[i] = start + commanded / n_sub
    state[0], state[1], state[2], state[3], state[4] = move, lag / reached, total, signal, signal
    state[8] = max(reach, abs(lag)) / reached


@inlined
def _was_calm(
    plane: F8, start: float, memory: float, loop: Loop, piezo: Piezo, ceiling: float, trace: F8, n_steps: int
) -> bool:
    """Return whether a run met no limit, nor moved too far for its series.

    Where the plane is tilted, the stops are taken for the worse end of it.
    """
    places, signals, moves, unruly = trace[1], trace[2], trace[3], 0
    low, high, loudest = plane[0], plane[0], (1.0 - memory) * ceiling
    for i in range(plane.size):
        low, high = min(low, plane[i]), max(high, plane[i])
    low, high, largest = high - start + loop[4], low - start + loop[5], min(loop[3], TINY / (piezo[1] + piezo[2]))
    for n in range(n_steps):
        met = (abs(places[n]) <= 1.0) & (moves[n + 1] >= low) & (moves[n + 1] <= high)
        unruly += 0 if met else 1
    for n in range(n_steps):
        met = (signals[n + 1] - memory * signals[n] <= loudest) & (abs(moves[n + 1] - moves[n]) <= largest)
        unruly += 0 if met else 1
    return unruly == 0


@inlined
def _calm_run(
    polynomials: F4,
    noise: F4,
    plane: F8,
    memory: float,
    heights: Pair,
    loop: Loop,
    piezo: Piezo,
    hearing: Hearing,
    ring: Ring,
    start: float,
    state: F8,
    draft: F8,
    room: F8,
    trace: F8,
    topography: F8,
    events: U1,
) -> bool:
    """Run the loop over some pixels and return whether that met no limit; if it did, it is to be run again by steps.

    ``room``, (n_steps * LANES), and ``trace``, (4, n_steps + 1), are for what goes on, ``draft`` for the state.
    """
    n_steps, n_sub, heard = noise.size, noise.shape[1], noise.reshape(-1)
    _prepare(polynomials.reshape(-1), heard, memory, hearing[0], room, trace[0])
    for k in range(N_STATE):
        draft[k] = state[k]
    _run_calmly(room, plane, memory, heights, loop, piezo, start, draft, trace, n_sub, topography)
    if not _was_calm(plane, start, memory, loop, piezo, hearing[2] - hearing[0], trace, n_steps):
        return False
    for k in range(N_STATE):
        state[k] = draft[k]
    for n in range(n_steps):
        heard[n] = trace[2, n + 1]
    for i in range(events.size):
        reached = 0
        for n in range(n_sub if ring[1] > 0 else 0):
            reached |= _rings(noise[i, n], ring, state)
        events[i] = reached
    return True


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
    draft: F8,
    room: F8,
    trace: F8,
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
    n_sub, wait = noise.shape[2], 0
    plain = timing[0] == 1 and swing == STILL and not hearing[1] and polynomials.shape[3] == LANES
    a_run = (trace.shape[1] - 1) // n_sub if plain else 1
    for row in range(polynomials.shape[0]):
        for first in range(0, polynomials.shape[1], a_run):
            end, calm = min(first + a_run, polynomials.shape[1]), False
            if plain and wait == 0 and state[7] == 0.0:
                pixels = slice(first, end)
                ends, drawn, marks = plane[row, first : end + 1], topography[row, pixels], events[row, pixels]
                run = polynomials[row, pixels], noise[row, pixels], ends, timing[1], heights, loop, piezo, hearing, ring
                calm = _calm_run(*run, start, state, draft, room, trace, drawn, marks)
            wait = 0 if calm else (PATIENCE if wait == 0 else wait - 1)
            for i in range(end if calm else first, end):
                ground = plane[row, i] - start, (plane[row, i + 1] - plane[row, i]) / n_sub
                move, reached = _dwell(
                    *(polynomials[row, i], noise[row, i], ground, timing, heights, loop, piezo, swing),
                    *(hearing, ring, state),
                )
                topography[row, i], events[row, i] = start + move, reached
            if np.isnan(state[4]):
                return False
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
