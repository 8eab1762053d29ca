"""Where the tip is, and what the parts of the microscope do to it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stmfab.physics import _scan_kernels, instrument, keys, path
from stmfab.physics import piezo as piezos

DIRECTIONS = [(a, f, s) for a in ("x", "y") for f in (1, -1) for s in (1, -1)]


def tip_path(raster, **parts):
    return path.tip_path(
        raster,
        instrument.Instrument(**parts),
        streams=lambda name: np.random.default_rng(list(name.encode())),
    )


def raster(**keys):
    return instrument.Raster(**{"size_nm": 2.0, "pixels": 16, "dwell_s": 0.01, **keys})


def times(frame):
    """Time of the pixels' ends since the first recorded pixel, by counting dwells."""
    n = frame.pixels
    line, way, end = np.meshgrid(np.arange(n + 1), [0, 1], np.arange(n + 1), indexing="ij")
    return ((line - 1) * 2 * n + way * n + end) * frame.dwell_s


def moved(bends):
    """How far the tip has gone along x and y, and the floor up, (3, n_times)."""
    return sum(np.multiply.outer(per_law, law) for law, per_law in bends)


@pytest.mark.parametrize(("fast_axis", "fast", "slow"), DIRECTIONS)
@pytest.mark.parametrize("angle", [0.0, 33.0])
def test_pixels_of_a_perfect_raster_are_the_nominal_ones(fast_axis, fast, slow, angle):
    frame = raster(
        fast_axis=fast_axis, fast_direction=fast, slow_direction=slow, rotation_deg=angle, center_x_nm=3, center_y_nm=-7
    )
    x, y = tip_path(frame).pixels()
    nominal_x, nominal_y = path.nominal_raster(frame)
    for way in range(2):
        np.testing.assert_allclose(x[way], nominal_x, atol=1e-12)  # rounding
        np.testing.assert_allclose(y[way], nominal_y, atol=1e-12)


def test_row_zero_is_the_least_y_and_rotation_is_counter_clockwise():
    x, y = path.nominal_raster(raster())
    assert (np.diff(y[:, 0]) > 0).all()
    assert (np.diff(x[0]) > 0).all()
    turned_x, turned_y = path.nominal_raster(raster(rotation_deg=90.0))
    np.testing.assert_allclose(turned_x, -y, atol=1e-12)
    np.testing.assert_allclose(turned_y, x, atol=1e-12)


def test_the_tip_moves_in_time_as_told():
    frame = raster(fast_axis="y", fast_direction=-1, slow_direction=1)
    p = tip_path(frame)
    assert (np.diff(p.y_nm[:, 0]) < 0).all()
    assert (np.diff(p.y_nm[:, 1]) > 0).all()
    np.testing.assert_allclose(p.y_nm[:, 0], p.y_nm[:, 1, ::-1], atol=1e-12)
    np.testing.assert_allclose(p.x_nm[0], p.x_nm[1])  # the settling line is the first line
    assert (np.diff(p.x_nm[1:, 0, 0]) > 0).all()


def test_sub_steps_are_evenly_spaced_within_the_pixels():
    frame = raster()
    p = tip_path(frame)
    x, _ = p.sub_steps()
    pitch = frame.size_nm / frame.pixels
    s, i = np.arange(p.n_sub), np.arange(frame.pixels)
    expected = pitch * (i[:, None] - (frame.pixels - 1) / 2 + (s + 0.5) / p.n_sub - 0.5)
    np.testing.assert_allclose(x[3, 0], expected.ravel(), atol=1e-12)
    np.testing.assert_allclose(x[3, 1], expected.ravel()[::-1], atol=1e-12)


def test_frame_creep_totals_gamma_ln_m():
    frame = raster()
    p = tip_path(frame, creep=instrument.FrameCreep(0.2, -0.1, 10.0, 0.1))
    still = tip_path(frame)
    dx, dy = p.x_nm - still.x_nm, p.y_nm - still.y_nm
    assert dx[-1, 1, -1] == pytest.approx(0.2 * np.log(10))
    assert dy[-1, 1, -1] == pytest.approx(-0.1 * np.log(0.1))
    assert np.abs(dx[0]).max() < 1e-12  # clamped before the first recorded pixel


@given(wait=st.floats(0, 1000), move=st.floats(-1000, 1000), rate=st.floats(0.1, 5))
def test_creep_is_straight_in_log_time_after_a_hundred_onsets(wait, move, rate):
    # local slope gamma t / (t + t0) per decade, within 1 % of gamma for t >= 100 t0
    creep = instrument.LogCreep(x_move_nm=move, y_move_nm=-move, percent_per_decade=rate, onset_s=0.1, wait_s=wait)
    t_s = np.array([10.0, 100.0, 1000.0]) + wait
    x, y, _ = moved(creep.bends(t_s - wait))
    np.testing.assert_allclose(x, -y)
    np.testing.assert_allclose(np.diff(x), move * rate / 100 * np.diff(np.log10(t_s)), rtol=1e-2, atol=1e-9 * abs(move))


def test_creep_of_one_and_a_half_percent_a_decade_is_three_percent_from_a_tenth_to_ten_seconds():
    creep = instrument.LogCreep(x_move_nm=100.0, percent_per_decade=1.5, onset_s=1e-4)
    x, _, _ = moved(creep.bends(np.array([0.1, 10.0])))
    assert x[1] - x[0] == pytest.approx(3.0, rel=1e-3)


def test_drift_moves_by_its_total_over_the_frame():
    frame = raster(rotation_deg=90.0)
    p = tip_path(frame, drift=instrument.FrameDrift(0.4, -0.3))
    still = tip_path(frame)
    t = times(frame) / times(frame)[-1, 1, -1]
    np.testing.assert_allclose(p.x_nm - still.x_nm, 0.3 * t, atol=1e-12)  # the frame's -y is the sample's +x at 90 deg
    np.testing.assert_allclose(p.y_nm - still.y_nm, 0.4 * t, atol=1e-12)


def test_linear_drift_is_a_speed():
    frame = raster(pixels=64)
    p = tip_path(frame, drift=instrument.LinearDrift(x_nm_per_min=2.0))
    still = tip_path(frame)
    np.testing.assert_allclose(p.x_nm - still.x_nm, 2.0 / 60 * times(frame), atol=1e-12)


def test_drift_relaxes_exponentially_to_its_share():
    # v(t) = v (s + (1 - s) exp(-t / tau)), integrated by the trapezoidal rule
    frame = raster(pixels=64, dwell_s=0.01)
    drift = instrument.RelaxingDrift(x_nm_per_min=3.0, y_nm_per_min=-1.0, time_constant_min=0.5, final_share=0.2)
    p, still = tip_path(frame, drift=drift), tip_path(frame)
    t_s = np.linspace(0, 90, 9001)
    speed = 3.0 / 60 * (0.2 + 0.8 * np.exp(-t_s / 30.0))
    moved = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * 0.01)])
    at = times(frame)[1:]
    np.testing.assert_allclose((p.x_nm - still.x_nm)[1:], np.interp(at, t_s, moved), atol=1e-6)
    np.testing.assert_allclose(p.y_nm - still.y_nm, (p.x_nm - still.x_nm) / -3, atol=1e-12)
    steady = instrument.RelaxingDrift(x_nm_per_min=3.0, time_constant_min=0.5, final_share=1.0)
    linear = tip_path(frame, drift=instrument.LinearDrift(x_nm_per_min=3.0))
    np.testing.assert_allclose(tip_path(frame, drift=steady).x_nm, linear.x_nm, atol=1e-12)


def test_drift_in_z_lifts_the_floor():
    frame = raster(pixels=64)
    p = tip_path(frame, drift=instrument.LinearDrift(z_pm_per_min=120.0))
    np.testing.assert_allclose(p.floor_nm, 2e-3 * times(frame), atol=1e-12)
    drift = instrument.RelaxingDrift(z_pm_per_min=120.0, time_constant_min=0.1, final_share=0.0)
    late = tip_path(raster(pixels=64, dwell_s=0.1), drift=drift).floor_nm[-1, 1, -1]
    assert late == pytest.approx(0.12 * 0.1, rel=1e-6)  # v tau


def test_creep_of_z_is_straight_in_log_time():
    # 1.5 % of 100 nm a decade, within 1 % for t >= 100 t0; towards the sample, as the move was
    frame = raster(pixels=100, dwell_s=0.05)
    p = tip_path(frame, z_creep=instrument.ZCreep(move_nm=-100.0, percent_per_decade=1.5, onset_s=0.1, wait_s=0.0))
    t_s, floor = times(frame).ravel(), p.floor_nm.ravel()
    decades = np.interp([10.0, 100.0, 1000.0], t_s, floor)
    np.testing.assert_allclose(np.diff(decades), 1.5, rtol=1e-2)
    waited = tip_path(frame, z_creep=instrument.ZCreep(move_nm=-100.0, wait_s=1000.0)).floor_nm
    assert waited[1, 0, 0] == 0
    assert waited[-1, 1, -1] == pytest.approx(1.5 * math.log10(2001 / 1001), rel=1e-2)


def test_z_creeps_after_the_jumps_that_a_loop_follows():
    creep = instrument.ZCreep(move_nm=0.0, percent_per_decade=2.0, onset_s=0.1, wait_s=0.0)
    t_s = np.array([-5.0, 0.0, 3.0, 13.0, 103.0])
    _, _, nearer = moved(creep.bends(t_s, jump_s=np.array([3.0]), jump_nm=np.array([0.2])))
    np.testing.assert_allclose(-nearer, [0, 0, 0, 0.004 * math.log10(101), 0.004 * math.log10(1001)], atol=1e-12)
    frame, jumps = raster(pixels=32), instrument.TipJumps(per_frame=3.0, height_pm=60.0)
    jumped, both = tip_path(frame, tip_jumps=jumps), tip_path(frame, tip_jumps=jumps, z_creep=creep)
    held = tip_path(frame, tip_jumps=jumps, z_creep=creep, constant_height=instrument.ConstantHeight())
    assert np.abs(both.floor_nm - jumped.floor_nm).max() > 1e-4
    np.testing.assert_array_equal(held.floor_nm, jumped.floor_nm)  # z rests


def test_random_walk_has_the_set_rms_after_a_minute_and_starts_at_zero():
    frame = raster(pixels=2, dwell_s=60 / 8)  # one frame a minute
    walks = [
        path.tip_path(
            frame,
            instrument.Instrument(drift=instrument.LinearDrift(walk_nm_per_sqrt_min=0.5)),
            streams=lambda name, seed=seed: np.random.default_rng(seed),
        )
        for seed in range(2000)
    ]
    still = tip_path(frame)
    ends = np.array([(w.x_nm[-1, 1, -1], w.y_nm[-1, 1, -1]) for w in walks]) - [
        still.x_nm[-1, 1, -1],
        still.y_nm[-1, 1, -1],
    ]
    np.testing.assert_allclose(ends.std(0), 0.5, rtol=0.08)  # 5 sd of the rms of 2000 draws: 5 / sqrt(4000)
    assert abs(np.corrcoef(ends.T)[0, 1]) < 0.12  # 5 / sqrt(2000)
    np.testing.assert_allclose([w.x_nm[1, 0, 0] for w in walks], still.x_nm[1, 0, 0], atol=1e-12)
    joints = np.array([w.x_nm[1:, 0, 0] - w.x_nm[:-1, 1, -1] for w in walks[:5]])
    np.testing.assert_allclose(joints, joints[:1].repeat(5, 0), atol=1e-12)  # continuous from line to line


def test_jitter_offsets_whole_lines_along_its_axes():
    frame = raster(pixels=400, fast_axis="y", sub_steps=1)
    p = tip_path(frame, jitter=instrument.Jitter(fast_nm=0.03, slow_nm=0.01))
    still = tip_path(frame)
    dx, dy = p.x_nm - still.x_nm, p.y_nm - still.y_nm
    assert np.ptp(dx, axis=(1, 2)).max() < 1e-12
    assert np.ptp(dy, axis=(1, 2)).max() < 1e-12
    assert dy[:, 0, 0].std() == pytest.approx(0.03, rel=0.18)  # 5 / sqrt(800)
    assert dx[:, 0, 0].std() == pytest.approx(0.01, rel=0.18)
    assert abs(np.corrcoef(dx[:, 0, 0], dy[:, 0, 0])[0, 1]) < 0.25  # 5 / sqrt(400)


def test_tilted_plane_rises_by_its_tangents_and_stretches_along_its_slope():
    frame = raster(rotation_deg=30.0, center_x_nm=5.0)
    p = tip_path(frame, tilt=instrument.Tilt(x_deg=20.0, y_deg=-10.0))
    flat = path.nominal_raster(raster())  # the frame's own axes
    x, y = p.pixels()
    rise = np.tan(np.deg2rad(20)) * flat[0] - np.tan(np.deg2rad(10)) * flat[1]
    np.testing.assert_allclose(p.floors()[0], rise, atol=1e-12)
    # distances on the plane are those of the three-dimensional points of the plane
    on_plane = np.hypot(x[0] - 5.0, y[0])
    np.testing.assert_allclose(on_plane, np.sqrt(flat[0] ** 2 + flat[1] ** 2 + rise**2), atol=1e-12)
    assert p.cos_tilt == pytest.approx(1 / np.sqrt(1 + np.tan(np.deg2rad(20)) ** 2 + np.tan(np.deg2rad(10)) ** 2))


def test_a_fast_continuous_loop_gets_ten_sub_steps_a_radian():
    fast = instrument.Feedback(update="continuous", crossover_Hz=1000.0)
    assert path.sub_steps(raster(dwell_s=1e-3), fast) == 63  # ceil(2 pi 10 * 1)
    assert path.sub_steps(raster(dwell_s=1e-5), fast) == 10
    assert path.sub_steps(raster(dwell_s=1e-3), instrument.Feedback(crossover_Hz=1000.0)) == 10
    assert path.sub_steps(raster(), None) == 10


@pytest.mark.parametrize(
    ("opening", "shape", "gain"), [(2, 0.083, 0.51), (5, 0.211, 0.53), (10, 0.434, 0.56), (15, 0.698, 0.60)]
)
def test_loop_openings_are_the_tabulated_shapes(opening, shape, gain):
    # integrated apart from this code, to openings of whole per cent or so: 3 % of the shape, 2 digits of the gain
    piezo = piezos.HysteresisLoop(opening_percent=opening).bouc_wen()
    assert pytest.approx(shape, rel=0.03) == piezo.B
    assert piezo.B == piezo.C
    assert 1 / piezo.gain == pytest.approx(gain, abs=0.0075)


def test_stops_the_wrong_way_round_are_refused():
    with pytest.raises(keys.KeyRangeError, match=r"z_max_nm: 0\.3 is not above z_min_nm = 0\.4"):
        instrument.Feedback(loop_gain=0.5, z_min_nm=0.4, z_max_nm=0.3)


def test_a_loop_that_does_not_open_is_a_linear_piezo():
    piezo = piezos.HysteresisLoop(opening_percent=0.0).bouc_wen()
    assert (piezo.B, piezo.C) == (0.0, 0.0)
    assert piezo.gain * (1 - piezo.A) == 1


def test_lateral_lag_is_the_measured_law():
    # k(50 nm) = 0.44 nm between the forward and the backward pass at the middle of a line; PHYSICS F.8
    frame = raster(size_nm=50.0, pixels=100, fast_direction=-1, fast_axis="y", rotation_deg=25.0)
    p = tip_path(frame, lateral_hysteresis=piezos.SineLag())
    forward_x, forward_y, backward_x, backward_y = path.distortion(p)
    assert np.abs(np.stack([forward_x, backward_x])).max() < 1e-12
    mismatch = forward_y - backward_y  # going down: the forward pass is behind, above
    assert mismatch.max() == pytest.approx(0.0087 * 50 + 3.7e-6 * 2500, rel=1e-3)
    assert mismatch.max() == pytest.approx(0.44, abs=0.005)
    np.testing.assert_allclose(mismatch[:, 0], mismatch[::-1, 0], atol=1e-12)
    assert np.abs(mismatch[[0, -1]]).max() < 0.02 * mismatch.max()
    twice = path.distortion(tip_path(frame, lateral_hysteresis=piezos.SineLag(scale=2.0)))
    np.testing.assert_allclose(twice[1], 2 * forward_y, atol=1e-12)


@pytest.mark.parametrize(("opening", "length"), [(10.0, 1000.0), (10.0, 300.0), (3.0, 50.0), (0.0, 50.0)])
def test_lateral_loop_is_the_steady_cycle_of_bouc_wen(opening, length):
    # against the cycle that the z piezo's steps run into, ends calibrated
    loop = piezos.HysteresisLoop(opening_percent=opening, stroke_nm=1000.0).bouc_wen()
    share, width = np.linspace(0, 1, 401), length / 1000.0
    h = 0.0
    for way in (1, -1) * 4000:  # a short line is slow to find its cycle
        h = _scan_kernels.hysteresis(h, way * width, loop.A, loop.B, loop.C)
    rising = np.array([v - _scan_kernels.hysteresis(h, v, loop.A, loop.B, loop.C) + h for v in share * width])
    expected = length * (share - rising / rising[-1])
    lag = piezos.LoopLag(opening_percent=opening, stroke_nm=1000.0).lag_nm(share, length_nm=length)
    np.testing.assert_allclose(lag, expected, atol=1e-7 * length)
    if length == 1000.0:
        assert 2 * lag[200] == pytest.approx(0.10 * length, rel=0.02)  # the opening, at the middle
    assert lag.min() >= -1e-12


def test_scanner_gains_skew_bow_and_crosstalk():
    frame = raster(size_nm=10.0, pixels=20, rotation_deg=0.0)
    p = tip_path(frame, scanner=instrument.Scanner(x_gain_percent=5.0, y_gain_percent=-2.0, skew_deg=3.0))
    x, y = p.pixels()
    along_x = np.array([x[0, 0, -1] - x[0, 0, 0], y[0, 0, -1] - y[0, 0, 0]]) / 9.5
    along_y = np.array([x[0, -1, 0] - x[0, 0, 0], y[0, -1, 0] - y[0, 0, 0]]) / 9.5
    assert np.hypot(*along_x) == pytest.approx(1.05)
    assert np.hypot(*along_y) == pytest.approx(0.98)
    assert np.rad2deg(np.arccos(along_x @ along_y / 1.05 / 0.98)) == pytest.approx(87.0)
    p = tip_path(frame, scanner=instrument.Scanner(bow_radius_um=2.0, z_per_x_percent=1.0, z_per_y_percent=-0.5))
    x, y = path.nominal_raster(frame)
    bow = (x**2 + y**2) / (2 * 2000.0)
    np.testing.assert_allclose(p.floors()[0], bow + 0.01 * x - 0.005 * y, atol=4e-5)  # ends of pixels: (0.5 nm)^2 / 8 R
    np.testing.assert_allclose(p.floors()[0], p.floors()[1], atol=1e-12)


def test_distortion_leads_back_to_the_nominal_raster():
    frame = raster(size_nm=4.0, pixels=16, rotation_deg=70.0, fast_axis="y", center_x_nm=1.0)
    p = tip_path(
        frame,
        creep=instrument.FrameCreep(0.2, -0.1, 5.0, 3.0),
        drift=instrument.LinearDrift(1.0, -2.0, 0.5),
        scanner=instrument.Scanner(x_gain_percent=3.0),
        lateral_hysteresis=piezos.LoopLag(10.0, 20.0),
    )
    forward_x, forward_y, backward_x, backward_y = path.distortion(p)
    turn = np.exp(1j * np.deg2rad(70.0))
    nominal = path.nominal_raster(raster(size_nm=4.0, pixels=16))  # the frame's own axes
    true = p.pixels()
    for way, (u, v) in enumerate([(forward_x, forward_y), (backward_x, backward_y)]):
        moved = 1.0 + turn * (nominal[0] + u + 1j * (nominal[1] + v))
        np.testing.assert_allclose(moved, true[0][way] + 1j * true[1][way], atol=1e-12)
    assert np.abs(forward_x - backward_x).max() > 1e-3


def test_tip_jumps_are_poisson_and_last():
    frame = raster(pixels=100, sub_steps=1)
    still = tip_path(frame)
    p = tip_path(frame, tip_jumps=instrument.TipJumps(per_frame=400.0, height_pm=50.0, lateral_nm=0.2))
    moved = [after - before for after, before in ((p.x_nm, still.x_nm), (p.y_nm, still.y_nm), (p.floor_nm, 0.0))]
    in_time = [m[:, :, :-1].ravel() for m in moved]  # a pixel's end is the next one's start
    steps = np.array([np.diff(m) for m in in_time])
    changed = (np.abs(steps) > 1e-12).any(axis=0)
    np.testing.assert_array_equal(changed, p.jumped.ravel()[:-1])
    assert not p.jumped[0].any()  # none in the settling line
    assert changed.sum() == pytest.approx(400 * (1 - 400 / 4e4), abs=5 * 20)
    for step, rms in zip(steps, (0.2, 0.2, 0.05), strict=True):
        assert step[changed].std() == pytest.approx(rms, rel=0.2)
    assert tip_path(frame, tip_jumps=instrument.TipJumps(per_frame=0.0)).jumped.sum() == 0


@pytest.mark.parametrize(
    ("a", "b", "c"), [(0.3, 0.8, 0.2), (0.3, 0.2, 0.8), (0.5, 0.4, 0.4), (0.4, 0.0, 0.0), (0, 1, 1)]
)
def test_settled_cycle_is_what_the_steps_of_the_scan_run_into(a, b, c):
    piezo, h = piezos.BoucWen(A=a, B=b, C=c, gain=1.3), -0.0 if b + c else -a / 2  # without B and C H never forgets
    for way in (1.0, -1.0) * 200:
        h = _scan_kernels.hysteresis(h, way, a, b, c) if a else 0.0
    share = np.linspace(0, 1, piezos.CYCLE_POINTS)
    rising = np.array([_scan_kernels.hysteresis(h, v, a, b, c) if a else 0.0 for v in share])
    command, tip = piezos.cycle(piezo, stroke_nm=2.0)
    np.testing.assert_allclose(command[: len(share)], 2.0 * (share - 0.5), atol=1e-15)
    np.testing.assert_allclose(tip[: len(share)], 1.3 * 2.0 * (share - 0.5 - rising), atol=1e-12)
    np.testing.assert_allclose(tip[len(share) :], -tip[: len(share)], atol=1e-12)  # the mirror image


@pytest.mark.parametrize("opening", [2.0, 15.0])
def test_drawn_cycle_opens_by_the_opening_of_the_loop(opening):
    command, tip = piezos.cycle(piezos.HysteresisLoop(opening_percent=opening).bouc_wen(), stroke_nm=100.0)
    n = piezos.CYCLE_POINTS
    np.testing.assert_allclose(np.ptp(tip), 100.0, rtol=1e-9)  # calibrated over the full stroke
    gap = np.abs(tip[:n] - tip[n:][::-1])
    assert gap.max() == pytest.approx(opening, rel=1e-3)  # % of 100 nm
    assert abs(command[gap.argmax()]) <= 1.0  # widest in the middle
