"""The poles of the linearised loop, and what is called ringing."""

import math

import numpy as np
import pytest

from stmfab.physics import field, instrument, loop, path, scan

KAPPA_per_nm, GAP_nm = 11.0, 0.5
LOG_SETPOINT = math.log(0.1)


def surface(height):
    def log_current(x, y, z):
        return LOG_SETPOINT - 2 * KAPPA_per_nm * (z - GAP_nm - height(x, y))

    return field.tabulated(log_current, window_nm=(-1.5, 1.5, -1.5, 1.5), step_nm=0.04, z_nm=(0.25, 0.75))


FLAT = surface(lambda x, y: 0.0 * (x + y))
ATOMS = surface(lambda x, y: 0.03 * np.cos(2 * np.pi * x / 0.3) * np.cos(2 * np.pi * y / 0.3))


def in_time(world, *, jumps=None, **keys):
    """The height and the events of all pixels in time, forward and backward."""
    frame = instrument.Raster(size_nm=2.0, pixels=100, dwell_s=1e-3)
    machine = instrument.Instrument(feedback=instrument.Feedback(**keys), tip_jumps=jumps)
    tip = path.tip_path(frame, machine, streams=lambda name: np.random.default_rng(7))
    made = scan.run(
        world,
        tip,
        machine,
        log_setpoint=LOG_SETPOINT,
        kappa_per_nm=KAPPA_per_nm,
        ideal_range_nm=0.1,
        log_spread=1.0,
        streams=lambda name: np.random.default_rng(0),
    )
    return (np.stack([v[0], v[1, :, ::-1]], axis=1).ravel() for v in (made.topography_nm, made.events))


JUMPS = instrument.TipJumps(per_frame=12.0, height_pm=100.0)  # 2.2 in ln|I|


def test_poles_of_an_integral_loop_behind_an_amplifier_are_those_in_continuous_time():
    # s^2 + w_c s + w_i w_c = 0; z = exp(s dt) up to the step of the integrator: half a per cent of a radian here
    w_c, w_i, dt = 2 * math.pi * 1000.0, 2 * math.pi * 2000.0, 1e-6
    gains = loop.Gains(0.0, w_i * dt / (2 * KAPPA_per_nm), 0.0)
    found = loop.poles(gains, loop.Timing(1, math.exp(-w_c * dt)), log_slope_per_nm=2 * KAPPA_per_nm)
    expected = np.roots([1.0, w_c, w_c * w_i])
    slow = np.log(found[np.argsort(np.abs(found - 1))[:2]]) / dt
    np.testing.assert_allclose(np.sort(slow.imag), np.sort(expected.imag), rtol=2e-2)
    # half a period after an error exp(-pi / sqrt(4 w_i / w_c - 1)) = 30.5 % of it is on the other side: it rings
    half = math.pi / expected.imag.max() / dt
    assert loop.ringing(found, 0.0).window == pytest.approx(1.5 * half, rel=2e-2)
    gains = loop.Gains(0.0, w_i * dt / (4 * KAPPA_per_nm), 0.0)  # w_i = w_c: 16.3 %, an overshoot
    quiet = loop.poles(gains, loop.Timing(1, math.exp(-w_c * dt)), log_slope_per_nm=2 * KAPPA_per_nm)
    assert loop.ringing(quiet, 0.0).window == 0


@pytest.mark.parametrize(("r", "rings"), [(0.5, False), (1.0, False), (1.15, False), (1.5, True), (1.9, True)])
def test_a_loop_of_gain_r_rings_as_long_as_its_error_swings(r, rings):
    # after a jump the error is (1 - r)^n of it: beyond 0.05 for ln(0.05 / jump) / ln|1 - r| updates, from the 4th on
    heights, events = in_time(FLAT, jumps=JUMPS, loop_gain=r)
    marked = events & 32 > 0
    assert marked.any() == rings
    if not rings:
        return
    at = np.flatnonzero(events & 8)
    alone = np.flatnonzero(np.diff(at, append=events.size) > 100)
    for start in at[alone]:
        settled = np.median(heights[start + 60 : start + 90])
        error = 2 * KAPPA_per_nm * np.abs(heights[start + 1 : start + 60] - settled)
        swings = np.flatnonzero(error > 0.05)
        found = np.flatnonzero(marked[start : start + 60])
        if swings.size > 8:
            assert found.size == pytest.approx(swings.size - 3, abs=3)  # a jump falls between two updates
    assert marked.mean() < 0.1


def test_what_a_slow_loop_misses_of_the_atoms_is_no_ringing():
    for keys in (
        {"loop_gain": 0.1},
        {"update": "continuous", "crossover_Hz": 20.0, "preamplifier_Hz": 1000.0},
        {"update": "continuous", "crossover_Hz": 20.0},
    ):
        _, events = in_time(ATOMS, **keys)
        assert not (events & 32).any()


def test_a_fast_loop_behind_a_slow_amplifier_rings_after_a_jump():
    for ratio, rings in ((0.25, False), (20.0, True)):
        feedback = {"update": "continuous", "crossover_Hz": 100.0 * ratio, "preamplifier_Hz": 100.0}
        _, events = in_time(FLAT, jumps=JUMPS, **feedback)
        marked = np.flatnonzero(events & 32)
        assert bool(marked.size) == rings
        jumps = np.flatnonzero(events & 8)
        # exp(-w_c t / 2) of a jump of 10 at most is below 0.05 after 17 ms
        assert all((0 <= pixel - jumps[jumps <= pixel].max() <= 20) for pixel in marked)
