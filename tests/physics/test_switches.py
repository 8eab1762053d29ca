"""What comes and goes on a surface: where, how high and for what share of the time, on analytic fields."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from stmfab.physics import constant_height, field, instrument, path, scan, switches

KAPPA_per_nm, GAP_nm, BUMP_nm = 11.0, 0.5, 0.08
LOG_SETPOINT = math.log(0.1)
TABLE = {"step_nm": 0.04, "z_nm": (0.25, 0.75)}


def flat(x, y, z):
    return LOG_SETPOINT - 2 * KAPPA_per_nm * (z - GAP_nm) + 0 * (x + y)


def raised(x, y, z):
    """A bump of the constant-current height, 0 from 0.35 nm on: 2 kappa h(r)."""
    r = np.hypot(x, y)
    return 2 * KAPPA_per_nm * BUMP_nm * np.where(r < 0.35, np.cos(np.pi * r / 0.7) ** 2, 0.0) + 0 * z


FIELD = field.tabulated(flat, window_nm=(-1.5, 1.5, -1.5, 1.5), **TABLE)
CHANGE = field.tabulated(raised, window_nm=(-0.5, 0.5, -0.5, 0.5), **TABLE)


def scanned(fields, *, pixels=48, dwell_s=1e-3, channels=(), run=scan.run, seed=0, **parts):
    frame = instrument.Raster(size_nm=1.6, pixels=pixels, dwell_s=dwell_s)
    machine = instrument.Instrument(**parts)
    where = path.tip_path(frame, machine, streams=lambda name: np.random.default_rng(0))
    recorded = run(
        fields,
        where,
        machine,
        log_setpoint=LOG_SETPOINT,
        kappa_per_nm=KAPPA_per_nm,
        ideal_range_nm=0.1,
        log_spread=1.0,
        streams=lambda name: np.random.default_rng([seed, *name.encode()]),
        channels=channels,
    )
    return where, recorded


@pytest.mark.parametrize("update", ["pixel", "continuous"])
def test_a_slow_switch_shows_its_bump_on_whole_lines(update):
    # far slower than a line, far faster than the frame: streaks of the bump's full height where it is up
    gain = {"loop_gain": 1.0} if update == "pixel" else {"crossover_Hz": 2000.0}
    feedback = instrument.Feedback(update=update, **gain)
    world = switches.SwitchingField(FIELD, [switches.Switch(CHANGE, 1.5, 1.5)])
    where, recorded = scanned(world, pixels=96, feedback=feedback)
    (x, _), (y, _) = where.pixels()
    height = np.where(np.hypot(x, y) < 0.35, BUMP_nm * np.cos(np.pi * np.hypot(x, y) / 0.7) ** 2, 0.0)
    shown = recorded.topography_nm[0] - GAP_nm
    assert np.abs(shown[np.hypot(x, y) > 0.42]).max() < 1e-4
    near = np.flatnonzero(height.max(axis=1) > 0.04)
    share = np.array([shown[row] @ height[row] / (height[row] @ height[row]) for row in near])
    up, down = np.abs(share - 1) < 0.15, np.abs(share) < 0.02  # the loop lags by a pixel of the bump's flank
    assert up.sum() + down.sum() >= len(near) - 6  # the rest saw it come or go
    assert up.any()
    assert down.any()


def test_a_fast_switch_shows_the_mean_of_ln_I():
    # a thousand times a pixel: rho ln|I| = up / (up + down) of the change
    world = switches.SwitchingField(FIELD, [switches.Switch(CHANGE, 1e6, 3e6)])
    where, recorded = scanned(world, feedback=instrument.Feedback(update="pixel", loop_gain=1.0))
    (x, _), (y, _) = where.pixels()
    height = np.where(np.hypot(x, y) < 0.35, BUMP_nm * np.cos(np.pi * np.hypot(x, y) / 0.7) ** 2, 0.0)
    at = np.roll(height, 1, axis=1)  # one update a pixel: the image is a pixel late
    high = at > 0.02
    assert ((recorded.topography_nm[0] - GAP_nm)[high] / at[high]).mean() == pytest.approx(0.25, abs=0.01)


def test_switches_are_shares_of_the_time():
    world = switches.SwitchingField(FIELD, [switches.Switch(CHANGE, 30.0, 10.0)] * 2)
    where, _ = scanned(world, feedback=instrument.Feedback(loop_gain=1.0))
    adding = scan._raised(world, where, lambda name: np.random.default_rng(list(name.encode())))
    shares = np.zeros((len(adding), 49, 2 * 48), np.float32)
    for add, out in zip(adding, shares, strict=True):
        add(0, out)
    shares = shares.reshape(len(adding), 2 * 49, 48)
    assert len(shares) == 2
    assert not np.array_equal(*shares)
    for share in shares:  # 4.6 s of a process that forgets in 1/40 s: deviation sqrt(0.75 * 0.25 * 2 / (40 * 4.6))
        assert share.shape == (2 * 49, 48)
        assert share.mean() == pytest.approx(0.75, abs=5 * math.sqrt(0.75 * 0.25 * 2 / (40 * 4.6)))


def test_at_constant_height_the_current_switches():
    held = instrument.ConstantHeight()

    def run(*args, **words):
        return constant_height.run(*args, held=held, height_nm=GAP_nm, **words)

    world = switches.SwitchingField(FIELD, [switches.Switch(CHANGE, 2.0, 2.0)])
    _, recorded = scanned(world, channels=("current",), run=run, constant_height=held)
    current = np.abs(recorded.current_nA[0])
    assert current.max() == pytest.approx(0.1 * math.exp(2 * KAPPA_per_nm * BUMP_nm), rel=0.1)
    assert np.median(current) == pytest.approx(0.1, rel=1e-3)


def test_a_switch_that_never_changes_is_no_switch():
    with pytest.raises(ValueError, match="rates above 0"):
        switches.Switch(CHANGE, 0.0, 1.0)


def added(share, first, out):
    """Add the share of some lines."""
    out += share[first : first + len(out)]


@pytest.mark.parametrize("turn_deg", [0, 37])
def test_switches_add_where_they_are_what_they_add_everywhere(turn_deg):
    # three patches, there and back along lines at an angle: as if every change were looked up at every pixel
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    changes = [dataclasses.replace(CHANGE, origin_nm=CHANGE.origin_nm + shift) for shift in (-0.8, 0.0, 0.55)]
    world = switches.SwitchingField(FIELD, [switches.Switch(change, 1.0, 1.0) for change in changes])
    along, across = np.linspace(-0.9, 0.9, 41), np.repeat(np.linspace(-0.6, 0.6, 6), 2)
    ends = np.array([along[:: 1 - 2 * (n % 2)] for n in range(12)])
    x, y = ends * cos - across[:, None] * sin, ends * sin + across[:, None] * cos
    shares = np.random.default_rng(0).random((3, 6, 80)).astype(np.float32)
    raising = [functools.partial(added, share) for share in shares]
    for name, shape in (("pixel_means", (12, 40, 1)), ("step_polynomials", (12, 40, 1, 1))):
        want = getattr(FIELD, name)(x, y, 4)
        for change, share in zip(changes, shares, strict=True):
            want = want + share.reshape(shape) * np.nan_to_num(getattr(change, name)(x, y, 4))
        got = getattr(world.changed(raising, world.met(x, y), 0), name)(x, y, 4)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)  # single precision
