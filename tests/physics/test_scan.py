"""The scan on analytic fields: the loop, the piezo, noise, limits and where pixels land."""

import dataclasses
import math

import numpy as np
import pytest

from stmfab.physics import _scan_kernels, field, instrument, path, scan, targets
from stmfab.physics import noise as noises
from stmfab.physics import piezo as piezos
from tests import twins

KAPPA_per_nm = 11.0
LOG_SETPOINT = math.log(0.1)
GAP_nm = 0.5  # of the flat field at the setpoint
RINGING = np.uint8(32)  # test_loop.py
DIRECTIONS = [(a, f, s) for a in ("x", "y") for f in (1, -1) for s in (1, -1)]


def surface(height):
    """The field of a surface whose constant-current height is GAP_nm + height(x, y): ln|I| falls by 2 kappa per nm."""

    def log_current(x, y, z):
        return LOG_SETPOINT - 2 * KAPPA_per_nm * (z - GAP_nm - height(x, y))

    return field.tabulated(log_current, window_nm=(-1.5, 1.5, -1.5, 1.5), step_nm=0.04, z_nm=(0.25, 0.75))


def lattice(x, y):
    return 0.03 * np.cos(2 * np.pi * x / 0.3) * np.cos(2 * np.pi * y / 0.3) + 0 * (x + y)


FLAT = surface(lambda x, y: 0.0 * (x + y))
LATTICE = surface(lattice)


def raster(**keys):
    return instrument.Raster(**{"size_nm": 1.6, "pixels": 24, **keys})


def tip_path(frame, machine):
    return path.tip_path(frame, machine, streams=lambda name: np.random.default_rng(list(name.encode())))


def run(world, frame, *, channels=(), start_nm=None, seed=0, log_spread=1.0, ideal_range_nm=0.1, **parts):
    machine = instrument.Instrument(**parts)
    return scan.run(
        world,
        tip_path(frame, machine),
        machine,
        log_setpoint=LOG_SETPOINT,
        kappa_per_nm=KAPPA_per_nm,
        ideal_range_nm=ideal_range_nm,
        log_spread=log_spread,
        streams=lambda name: np.random.default_rng([seed, *name.encode()]),
        channels=channels,
        start_nm=start_nm,
    )


def in_time(image, pixels):
    """The recorded z of a forward x, upward y scan as one line in time, after the settling line."""
    return np.stack([image[0], image[1, :, ::-1]], axis=1).reshape(2 * pixels * pixels)


# The kernels are their plain twins


@pytest.mark.parametrize(
    "keys",
    [
        {"loop_gain": 0.8},
        {"loop_gain": 0.5, "proportional": 0.4, "derivative": 0.2},
        {"loop_gain": 1.9, "step_limit": 0.1},
        {"loop_gain": 0.7, "preamplifier_Hz": 300.0},
        {"update": "continuous", "crossover_Hz": 300.0, "proportional": 1.0, "derivative": 0.5},
        {"update": "continuous", "loop_gain": 0.2, "preamplifier_Hz": 800.0, "slew_nm_per_s": 40.0},
        {"update": "continuous", "crossover_Hz": 100.0, "z_min_nm": 0.49, "z_max_nm": 0.52},
        {"loop_gain": 0.6, "amplifier": "linear"},
        {"update": "continuous", "crossover_Hz": 100.0, "preamplifier_Hz": 900.0, "amplifier": "linear"},
        {"loop_gain": 0.5, "swing": (700.0, 3.0)},
        {"update": "continuous", "crossover_Hz": 60.0, "preamplifier_Hz": 2000.0, "swing": (1500.0, 10.0)},
    ],
)
@pytest.mark.parametrize("tilt", [None, instrument.Tilt(2.0, -1.0)])
def test_scan_is_its_plain_twin(keys, tilt):
    swing = keys.get("swing")
    resonance = None if swing is None else piezos.Resonance(*swing)
    keys = {key: value for key, value in keys.items() if key != "swing"}
    frame = raster(pixels=6, size_nm=1.0, rotation_deg=20.0)
    feedback = instrument.Feedback(**keys)
    piezo = piezos.BoucWen(A=0.6, B=0.9, C=0.4, stroke_nm=0.1, gain=1.5)
    parts = {"feedback": feedback, "z_piezo": piezo, "tilt": tilt, "z_resonance": resonance}
    machine = instrument.Instrument(**parts)
    result = run(LATTICE, frame, channels=["current"], start_nm=0.47, **parts)
    n_sub = path.sub_steps(frame, feedback, resonance)
    per_update = 1 if feedback.update == "continuous" else n_sub
    dt_s = frame.dwell_s / n_sub
    share = feedback.loop_gain or 2 * math.pi * feedback.crossover_Hz * per_update * dt_s
    controller = twins.Controller(
        feedback,
        piezo,
        start_nm=0.47,
        integral_nm=share / (2 * KAPPA_per_nm),
        max_move_nm=min(
            (feedback.step_limit or math.inf) * 0.1, (feedback.slew_nm_per_s or math.inf) * per_update * dt_s
        ),
        steps=20,
    )
    expected = twins.scan(
        LATTICE,
        tip_path(frame, machine),
        controller,
        log_setpoint=LOG_SETPOINT,
        per_update=per_update,
        memory=math.exp(-2 * math.pi * (feedback.preamplifier_Hz or math.inf) * dt_s),
        resonance=resonance,
        linear=feedback.amplifier == "linear",
    )
    topography, current, events = (path.images(values, frame) for values in expected)
    # RK4 of 20 steps through the kink at H = 0: 1e-5 nm; the plane taken at a resting pixel's middle: 1e-5 nm;
    # means and cubics in time: a tenth of the lateral interpolation's 3e-4 nm on this coarse grid, more in ringing
    np.testing.assert_allclose(result.topography_nm, topography, atol=8e-5)
    np.testing.assert_allclose(result.current_nA, current, rtol=2e-3)  # 2 kappa 8e-5 nm
    assert (result.events & ~RINGING == events).mean() > 0.95  # a limit met within 1e-5 nm may be met in the twin only
    if tilt is None:
        np.testing.assert_array_equal(result.events & 4, events & 4)


@pytest.mark.parametrize("opening_percent", [0.0, 2.0, 12.0])
@pytest.mark.parametrize("limits", [{}, {"slew_nm_per_s": 25.0}, {"z_max_nm": 0.515}])
def test_pixels_run_without_checks_are_those_run_with_them(opening_percent, limits):
    """A field of sixteen coefficients, of which eight are zero, is scanned sub-step by sub-step."""
    checked = dataclasses.replace(LATTICE, coefficients=np.pad(LATTICE.coefficients, ((0, 0), (0, 0), (0, 8))))
    parts = {
        "feedback": instrument.Feedback(update="continuous", crossover_Hz=150.0, preamplifier_Hz=2000.0, **limits),
        "z_piezo": piezos.HysteresisLoop(opening_percent=opening_percent).bouc_wen() if opening_percent else None,
        "tilt": instrument.Tilt(1.0, -0.5),
        "noise": {"white": noises.WhiteLogNoise(share=0.05), "line": noises.Vibration(rms_pm=2.0, frequency_Hz=90.0)},
    }
    quick, plain = (run(world, raster(), channels=["current"], **parts) for world in (LATTICE, checked))
    assert (plain.events & 7).any() == bool(limits)
    within_nm = 1e-5 if opening_percent else 1e-7  # of the hysteresis' series
    np.testing.assert_allclose(quick.topography_nm, plain.topography_nm, atol=within_nm, rtol=0)
    np.testing.assert_allclose(quick.current_nA, plain.current_nA, rtol=3 * KAPPA_per_nm * within_nm)
    np.testing.assert_array_equal(quick.events, plain.events)


def test_hysteresis_is_its_plain_twin():
    rng = np.random.default_rng(5)
    for _ in range(200):
        a, b, c = rng.uniform(0, 1, 3)
        h, dv = rng.uniform(-0.5, 0.5), rng.uniform(-1, 1)
        exact = _scan_kernels.hysteresis(h, dv, a, b, c)
        assert exact == pytest.approx(twins.hysteresis(h, dv, a, b, c, steps=2000), abs=1e-6)  # RK4 through the kink


@pytest.mark.parametrize("size", [1e-9, 1e-3, 0.1, 0.3, 0.9])  # of the move: below and above the end of the series
@pytest.mark.parametrize(("h", "rate", "slope"), [(0.2, 1.1, 0.9 - 1.1 * 0.2), (-2.0, -0.3, 0.9 - 0.3 * 2.0)])
def test_hysteresis_of_one_way_is_its_closed_form(size, h, rate, slope):  # away from zero; towards it, but not there
    moved = -slope * np.expm1(-rate * size) / rate
    assert _scan_kernels.hysteresis(h, size, 0.9, 0.4, 0.7) - h == pytest.approx(moved, rel=1e-12, abs=5e-16)


@pytest.mark.parametrize(("wave_per_step", "error"), [(0.1, 2e-6), (0.4, 3e-4)])
def test_the_mean_polynomial_of_a_pixel_is_the_mean_over_its_sub_steps(wave_per_step, error):
    rng = np.random.default_rng(3)
    v, u = np.mgrid[:60, :60] * wave_per_step
    waves = np.stack([np.cos(u + 0.3 * v), np.sin(0.5 * u - v), np.cos(v)], axis=-1)
    world = field.CurrentField(field.padded(waves), np.zeros(2), np.eye(2), 0.0, 1.0)
    for _ in range(200):
        start, step, n_sub = rng.uniform(25, 35, 2), rng.uniform(-0.7, 0.7, 2), int(rng.integers(1, 30))
        mean = world.pixel_means(*np.array([start, start + n_sub * step]).T[:, None], n_sub)[0]
        points = start + (np.arange(n_sub)[:, None] + 0.5) * step
        expected = np.mean([twins.height_polynomial(world, *p) for p in points], axis=0)
        np.testing.assert_allclose(mean[0], expected, atol=error)  # float32 of 1; a sixth of Lagrange's own error


@pytest.mark.parametrize(("wave_per_step", "error"), [(0.1, 3e-6), (0.4, 4e-4)])
@pytest.mark.parametrize("creep", [0.0, 0.02])  # evenly spaced pixels go another way than others
def test_mean_polynomials_of_a_line_are_the_means_over_its_sub_steps(wave_per_step, error, creep):
    rng = np.random.default_rng(4)
    v, u = np.mgrid[:60, :60] * wave_per_step
    waves = np.stack([np.cos(u + 0.3 * v), np.sin(0.5 * u - v), np.cos(v)], axis=-1)
    world = field.CurrentField(field.padded(waves), np.zeros(2), np.eye(2), 0.0, 1.0)
    for step in ((0.95, 0.3), (-0.4, 0.7), (0.02, 0.0)):
        start, n_sub = rng.uniform(28, 30, 2), int(rng.integers(3, 30))
        number = np.arange(25.0)
        ends = start + number[:, None] * step + creep * np.sin(number)[:, None]
        means = world.pixel_means(*ends.T[:, None], n_sub)[0]
        shares = (np.arange(n_sub)[:, None] + 0.5) / n_sub
        for i in range(24):
            points = ends[i] + shares * (ends[i + 1] - ends[i])
            expected = np.mean([twins.height_polynomial(world, *p) for p in points], axis=0)
            np.testing.assert_allclose(means[i], expected, atol=error)


# The loop


@pytest.mark.parametrize("r", [0.1, 0.5, 1.0, 1.5])
def test_integral_loop_shrinks_its_error_by_one_minus_r_an_update(r):
    frame = raster()
    image = run(FLAT, frame, feedback=instrument.Feedback(loop_gain=r), start_nm=GAP_nm + 0.1).topography_nm
    error = in_time(image, frame.pixels) - GAP_nm
    settling = 2 * frame.pixels
    updates = np.arange(settling, settling + 6)
    np.testing.assert_allclose(error[:6], 0.1 * (1 - r) ** updates, rtol=1e-3, atol=1e-7)  # float32 coefficients


@pytest.mark.parametrize(
    ("gains", "stable"),
    [
        ({"loop_gain": 1.98}, True),
        ({"loop_gain": 2.02}, False),
        # 2 kappa g (2 Kp + Ki + 4 Kd) < 2: r (2 p + 1 + 4 d) < 2
        ({"loop_gain": 0.5, "proportional": 1.45}, True),
        ({"loop_gain": 0.5, "proportional": 1.55}, False),
        ({"loop_gain": 0.5, "derivative": 0.73}, True),
        ({"loop_gain": 0.5, "derivative": 0.77}, False),
        # 2 kappa g Kp < 1 with little Ki: r p < 1
        ({"loop_gain": 1e-3, "proportional": 990.0}, True),
        ({"loop_gain": 1e-3, "proportional": 1010.0}, False),
    ],
)
def test_loop_is_stable_within_its_bounds(gains, stable):
    frame = raster(pixels=64)
    limits = {"z_min_nm": 0.3, "z_max_nm": 0.7}
    result = run(FLAT, frame, feedback=instrument.Feedback(**gains, **limits), start_nm=GAP_nm + 1e-3)
    assert (result.loop_radius < 1) == stable
    error = np.abs(in_time(result.topography_nm, 64) - GAP_nm)
    assert (error[-100:].max() < 1e-3) == stable
    assert bool((result.events & ~RINGING).any()) == (not stable)


def test_loop_radius_is_the_decay_of_the_error_with_all_poles():
    frame = raster(pixels=64)
    for keys, updates in (
        ({"loop_gain": 0.02, "proportional": 20.0, "derivative": 5.0, "preamplifier_Hz": 150.0}, 100),
        ({"update": "continuous", "crossover_Hz": 1.0, "preamplifier_Hz": 30.0}, 1000),
    ):
        result = run(FLAT, frame, feedback=instrument.Feedback(**keys), start_nm=GAP_nm + 0.1)
        error = in_time(result.topography_nm, 64) - GAP_nm
        assert error[100] > 1e-4  # far above the rounding of float32 coefficients
        assert error[200] / error[100] == pytest.approx(result.loop_radius**updates, rel=2e-3)  # one slow pole is left


def step_response(**keys):
    """Times (s) and the share left of an initial error of a slow continuous loop."""
    frame = instrument.Raster(size_nm=1.0, pixels=64, dwell_s=1e-3, sub_steps=2)
    feedback = instrument.Feedback(update="continuous", **keys)
    image = run(FLAT, frame, feedback=feedback, start_nm=GAP_nm + 0.1).topography_nm
    error = (in_time(image, 64) - GAP_nm) / 0.1
    return (np.arange(len(error)) + 2 * 64 + 0.5) * frame.dwell_s, error


def test_continuous_integral_loop_rises_in_0_35_over_its_crossover():
    t, error = step_response(crossover_Hz=0.1)
    rise = np.interp(-0.1, -error, t) - np.interp(-0.9, -error, t)
    assert rise == pytest.approx(math.log(9) / (2 * math.pi * 0.1), rel=2e-3)  # sub-steps of 6e-4 rad
    assert rise == pytest.approx(0.35 / 0.1, rel=1e-2)  # the rule of thumb for one pole


@pytest.mark.parametrize(("ratio", "overshoot"), [(2, 0.043), (1, 0.163)])
def test_preamplifier_pole_makes_the_loop_overshoot(ratio, overshoot):
    _, error = step_response(crossover_Hz=0.15, preamplifier_Hz=0.15 * ratio)
    assert -error.min() == pytest.approx(overshoot, abs=0.002)  # exp(-pi d / sqrt(1 - d^2)), d = sqrt(ratio) / 2


@pytest.mark.parametrize("Q", [0.5, 3.0, 40.0])
def test_resonance_swings_as_a_damped_oscillator(Q):
    # from 1 at rest: exp(-w t / 2 Q) (cos w' t + sin w' t / (2 Q w'/w)), w' = w sqrt(1 - 1/(4 Q^2))
    omega, step_s = 2 * math.pi * 800.0, 1.3e-4
    a, b, c, d = piezos.Resonance(800.0, Q).swing(step_s)
    state = np.array([1.0, 0.0])
    damping, root = omega / (2 * Q), omega * np.emath.sqrt(1 - 1 / (4 * Q**2) + 1e-12)
    for n in range(1, 30):
        state = np.array([[a, b], [c, d]]) @ state
        t = n * step_s
        exact = math.exp(-damping * t) * (np.cos(root * t) + damping / root * np.sin(root * t))
        assert state[0] == pytest.approx(np.real(exact), abs=1e-5)


@pytest.mark.parametrize(
    ("crossover_Hz", "Q", "stable"), [(20.0, 10.0, True), (90.0, 10.0, True), (120.0, 10.0, False)]
)
def test_a_loop_rings_beyond_its_crossover_over_Q(crossover_Hz, Q, stable):
    # an integrator over a resonance: |w_i/w * Q| = 1 at the resonance, where the phase is -180 deg: f_i = f / Q
    frame = instrument.Raster(size_nm=1.0, pixels=64, dwell_s=1e-3, sub_steps=80)
    feedback = instrument.Feedback(update="continuous", crossover_Hz=crossover_Hz)
    resonance = piezos.Resonance(1000.0, Q)
    result = run(FLAT, frame, feedback=feedback, z_resonance=resonance, start_nm=GAP_nm + 1e-4)
    error = np.abs(in_time(result.topography_nm, 64) - GAP_nm)
    assert (result.loop_radius < 1) == stable
    assert (error[-64:].max() < 1e-6) == stable


def test_a_linear_amplifier_approaches_more_slowly_than_it_retracts():
    # e = I/I_set - 1: above -1 however far the tip is out, exponential when it is too near; x = 2 kappa (z - z0):
    # dx/dt = -w (1 - exp(-x)) for the log's -w x, so that from x0 > 0 the slope is w at most
    times = {}
    for start_nm in (GAP_nm + 0.1, GAP_nm - 0.1):
        for amplifier in ("log", "linear"):
            feedback = instrument.Feedback(update="continuous", crossover_Hz=0.1, amplifier=amplifier)
            frame = instrument.Raster(size_nm=1.0, pixels=64, dwell_s=1e-3, sub_steps=2)
            image = run(FLAT, frame, feedback=feedback, start_nm=start_nm).topography_nm
            error = np.abs(in_time(image, 64) - GAP_nm)
            times[amplifier, start_nm > GAP_nm] = np.argmax(error < 0.05)
    assert times["log", True] == pytest.approx(times["log", False], abs=2)
    assert times["linear", True] > times["log", True] > times["linear", False]


# The piezo


def test_first_loading_of_hysteresis():
    # H = A/(B+C) (1 - exp(-(B+C) V)) from H = 0; Ikhouane & Rodellar, Systems with Hysteresis (2007)
    v = np.linspace(0, 1, 11)
    h = [_scan_kernels.hysteresis(0.0, x, 1.0, 3.0, 2.0) for x in v]
    np.testing.assert_allclose(h, (1 - np.exp(-5 * v)) / 5, rtol=1e-9)
    np.testing.assert_allclose([_scan_kernels.hysteresis(0.0, -x, 1.0, 3.0, 2.0) for x in v], -np.array(h))


def cycle(a, b, c, half_range, n_cycles, n_steps=4000):
    """V and H over the last of some cycles of V over +-half_range, rising then falling."""
    v = half_range * np.concatenate([np.linspace(-1, 1, n_steps), np.linspace(1, -1, n_steps)[1:]])
    h, last = 0.0, -half_range
    for _ in range(n_cycles):
        loop = []
        for x in v:
            h = _scan_kernels.hysteresis(h, x - last, a, b, c)
            loop.append(h)
            last = x
    return v, np.array(loop)


def test_loop_area_is_the_closed_form():
    # for C = 0: 2 [2 V0 A/B - (A/B + H0)(1 - exp(-2 B V0))/B], H0 = (A/B) tanh(B V0): 0.0455
    a, b, v0 = 0.3, 1.0, 0.5
    v, h = cycle(a, b, 0.0, v0, n_cycles=12)
    area = abs(np.sum((h[1:] + h[:-1]) / 2 * np.diff(v)))
    h0 = a / b * np.tanh(b * v0)
    expected = 2 * (2 * v0 * a / b - (a / b + h0) * (1 - np.exp(-2 * b * v0)) / b)
    assert area == pytest.approx(expected, rel=1e-2)
    assert area == pytest.approx(0.0455, rel=1e-2)


def opening(piezo, half_range):
    """The widest opening of the steady loop in units of V and its travel."""
    n_cycles = math.ceil(8 / ((piezo.B + piezo.C) * half_range))  # the first loading dies out by e^-8 or more
    v, h = cycle(piezo.A, piezo.B, piezo.C, half_range, n_cycles, n_steps=101)
    x = piezo.gain * (v - h)
    n = (len(v) + 1) // 2
    return np.abs(x[:n] - x[n - 1 :][::-1]).max(), np.ptp(x)


@pytest.mark.parametrize("percent", [2.0, 5.0, 10.0, 15.0, 19.0])
def test_loop_opens_by_the_set_percentage_and_travels_its_stroke(percent):
    width, travel = opening(piezos.HysteresisLoop(opening_percent=percent).bouc_wen(), 0.5)
    assert travel == pytest.approx(1.0, rel=1e-4)
    assert 100 * width / travel == pytest.approx(percent, rel=1e-3)


def test_opening_grows_with_the_amplitude():
    piezo = piezos.HysteresisLoop(opening_percent=10.0).bouc_wen()
    share = [np.divide(*opening(piezo, half_range)) for half_range in (0.05, 0.1, 0.25, 0.5)]
    assert np.all(np.diff(share) > 0)
    assert share[0] / share[-1] == pytest.approx(0.1, rel=0.2)  # in proportion to it, as Rayleigh found


def test_hysteresis_of_the_whole_range_makes_forward_and_backward_differ():
    frame = raster(pixels=32)
    loop = instrument.Feedback(loop_gain=0.9)
    plain = run(LATTICE, frame, feedback=loop)
    open_loop = run(LATTICE, frame, feedback=loop, z_piezo=piezos.BoucWen(0.5, 0.9, 0.9))
    assert np.ptp(open_loop.topography_nm) > 1.5 * np.ptp(plain.topography_nm)  # small-signal gain 1 - A = 1/2


# Where pixels land


def bump(x, y):
    return 0.04 * np.exp(-((x - 0.31) ** 2 + (y + 0.22) ** 2) / 0.02)


@pytest.mark.parametrize(("fast_axis", "fast", "slow"), DIRECTIONS)
@pytest.mark.parametrize("angle", [0.0, 30.0, 200.0])
@pytest.mark.parametrize("feedback", [None, instrument.Feedback(update="continuous", crossover_Hz=2000.0)])
def test_a_bump_appears_at_its_pixel(fast_axis, fast, slow, angle, feedback):
    frame = raster(fast_axis=fast_axis, fast_direction=fast, slow_direction=slow, rotation_deg=angle, center_x_nm=0.1)
    image = run(surface(bump), frame, feedback=feedback).topography_nm
    x, y = path.nominal_raster(frame)
    nearest = np.unravel_index(np.hypot(x - 0.31, y + 0.22).argmin(), x.shape)
    for way in range(2):
        found = np.unravel_index(image[way].argmax(), x.shape)
        assert np.abs(np.subtract(found, nearest)).max() <= 1  # half way between two pixels, or the loop's lag


@pytest.mark.parametrize(("fast_axis", "fast", "slow"), DIRECTIONS)
def test_the_loop_lags_along_the_fast_direction_only(fast_axis, fast, slow):
    frame = raster(fast_axis=fast_axis, fast_direction=fast, slow_direction=slow)
    world = surface(lambda x, y: 0.04 * np.exp(-(x**2 + y**2) / 0.05))
    image = run(world, frame, feedback=instrument.Feedback(loop_gain=0.3)).topography_nm - GAP_nm
    axis = 0 if fast_axis == "y" else 1
    grid = np.arange(frame.pixels) - (frame.pixels - 1) / 2
    for way, sign in enumerate((1, -1)):
        along = (image[way].sum(1 - axis) * grid).sum() / image[way].sum()
        across = (image[way].sum(axis) * grid).sum() / image[way].sum()
        assert along * fast * sign > 1.0  # 1/r pixels of lag
        assert abs(across) < 0.1  # what is left of the line before


@pytest.mark.parametrize(("fast_axis", "fast", "slow"), DIRECTIONS)
def test_a_perfect_loop_sees_the_same_scene_whatever_the_scan_direction(fast_axis, fast, slow):
    image = run(LATTICE, raster(fast_axis=fast_axis, fast_direction=fast, slow_direction=slow)).topography_nm
    np.testing.assert_allclose(image, run(LATTICE, raster()).topography_nm, atol=1e-9)


def test_a_flat_terrace_is_its_tilted_plane():
    frame = raster(rotation_deg=40.0)
    tilt = instrument.Tilt(1.0, -2.0)
    x, y = path.nominal_raster(raster())
    plane = np.tan(np.deg2rad(1.0)) * x + np.tan(np.deg2rad(-2.0)) * y
    cos_tilt = tip_path(frame, instrument.Instrument(tilt=tilt)).cos_tilt
    expected = plane + GAP_nm / cos_tilt
    for image in run(FLAT, frame, tilt=tilt).topography_nm:
        np.testing.assert_allclose(image, expected, atol=1e-7)  # float32 coefficients


def test_a_slow_loop_lags_behind_a_tilted_plane_by_its_slope_over_its_gain():
    frame = raster(pixels=64)
    r, slope = 0.5, np.tan(np.deg2rad(2.0))
    image = run(FLAT, frame, feedback=instrument.Feedback(loop_gain=r), tilt=instrument.Tilt(x_deg=2.0)).topography_nm
    pitch = frame.size_nm / 64
    x, _ = path.nominal_raster(raster(pixels=64))
    for way, sign in enumerate((1, -1)):
        error = image[way, 5] - slope * x[5] - GAP_nm / np.cos(np.deg2rad(2.0))
        np.testing.assert_allclose(error[20:44], -sign * slope * pitch / r, rtol=1e-3)  # 1 / cos(tilt) is 6e-4


def test_forward_of_one_direction_is_backward_of_the_other():
    forward = run(LATTICE, raster(pixels=48), feedback=instrument.Feedback(loop_gain=0.6)).topography_nm
    mirrored = run(
        LATTICE, raster(pixels=48, fast_direction=-1), feedback=instrument.Feedback(loop_gain=0.6)
    ).topography_nm
    np.testing.assert_allclose(forward[0, 5:, 20:], mirrored[1, 5:, 20:], atol=1e-7)  # after its turn has died out


# Noise, limits, holes


@pytest.mark.parametrize(
    "feedback",
    [{"loop_gain": 1e-9}, {"update": "continuous", "loop_gain": 1e-9}, {"loop_gain": 1e-9, "preamplifier_Hz": 1e9}],
)
def test_noise_inside_the_loop_is_white_with_the_set_sigma(feedback):
    # a loop that does nothing shows the noise in its current
    noise = {"log": noises.WhiteLogNoise(0.03), "z": noises.WhiteHeightNoise(rms_pm=1.0)}
    frame = raster(pixels=64)
    result = run(
        FLAT, frame, feedback=instrument.Feedback(**feedback), noise=noise, log_spread=0.5, channels=["current"]
    )
    signal = np.log(result.current_nA[0]) - LOG_SETPOINT
    sigma = math.hypot(0.03 * 0.5, 2 * KAPPA_per_nm * 1e-3)
    assert signal.std() == pytest.approx(sigma, rel=0.056)  # 5 / sqrt(2 * 4096)
    for shift in (1, 2, 64):
        assert abs(np.corrcoef(signal.ravel()[shift:], signal.ravel()[:-shift])[0, 1]) < 0.08  # 5 / 64


def test_perfect_loop_records_the_noise_of_the_gap():
    noise = {"z": noises.WhiteHeightNoise(rms_pm=3.0)}
    image = run(FLAT, raster(pixels=64), noise=noise).topography_nm - GAP_nm
    assert image.std() == pytest.approx(3e-3, rel=0.04)  # 5 / sqrt(2 * 8192)
    assert abs(np.corrcoef(image[0].ravel(), image[1].ravel())[0, 1]) < 0.08


def test_a_loop_of_gain_r_turns_white_noise_into_its_closed_form():
    # z_{k+1} = (1 - r) z_k + r n_k / (2 kappa): variance sigma^2 r / (2 - r) / (2 kappa)^2
    noise = {"z": noises.WhiteHeightNoise(rms_pm=2.0)}
    for r in (0.2, 1.0, 1.6):
        image = run(FLAT, raster(pixels=64), feedback=instrument.Feedback(loop_gain=r), noise=noise).topography_nm
        assert image.std() == pytest.approx(2e-3 * math.sqrt(r / (2 - r)), rel=0.12)  # 5 sd with the fewest free values


def test_step_and_slew_limits_are_kept_and_recorded():
    step = surface(lambda x, y: 0.1 * np.tanh(x / 0.02) + 0 * y)
    frame = raster(pixels=64, dwell_s=1e-3)
    for keys, most in (({"step_limit": 0.05}, 0.05 * 0.1), ({"slew_nm_per_s": 4.0}, 4e-3)):
        result = run(step, frame, feedback=instrument.Feedback(loop_gain=1.0, **keys))
        moves = np.diff(result.topography_nm[0], axis=1)
        assert np.abs(moves).max() <= most * (1 + 1e-9)
        limited = result.events[0, :, 1:] & 2 > 0
        np.testing.assert_array_equal(limited, np.abs(moves) > most * (1 - 1e-9))
        assert limited.any()


def test_a_flat_ideal_image_is_no_stroke():
    with pytest.raises(ArithmeticError, match="give stroke_nm"):
        run(
            FLAT,
            raster(),
            feedback=instrument.Feedback(loop_gain=0.5),
            z_piezo=piezos.BoucWen(0.5, 0.3, 0.3),
            ideal_range_nm=0.0,
        )


def test_stops_hold_z_and_are_recorded_and_the_integrator_does_not_wind_up():
    hill = surface(lambda x, y: 0.15 * np.exp(-(x**2) / 0.02) + 0 * y)
    frame = raster(pixels=64)
    image = run(hill, frame, feedback=instrument.Feedback(loop_gain=0.8, z_max_nm=0.55))
    assert image.topography_nm.max() <= 0.55 + 1e-12
    np.testing.assert_array_equal(image.events & 1 > 0, image.topography_nm > 0.55 - 1e-12)
    free = run(hill, frame, feedback=instrument.Feedback(loop_gain=0.8))
    np.testing.assert_allclose(image.topography_nm[:, :, [0, -1]], free.topography_nm[:, :, [0, -1]], atol=1e-6)


def hills(x, y):
    """Bumps at places that no shift of the frame repeats."""
    places = np.random.default_rng(2).uniform(-1.3, 1.3, (40, 2))
    return sum(0.04 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.012) for a, b in places)


def registered(first, second):
    """The shift (x, y) in pixels of what two images show: the peak of their correlation, by a parabola."""
    f, g = (np.fft.fft2((image - image.mean()) * np.outer(*[np.hanning(len(image))] * 2)) for image in (first, second))
    c = np.fft.fftshift(np.fft.ifft2(np.conj(f) * g).real)
    y, x = np.unravel_index(c.argmax(), c.shape)
    return np.array([x, y]) + top(c[y - 1 : y + 2, x - 1 : x + 2]) - np.array(c.shape[::-1]) // 2


def test_drift_is_recovered_by_registering_frames():
    # a frame and the next one, which begins where the drift has led by then: what is seen moves against the drift
    world, pixels = surface(hills), 80
    frame_s = 2 * pixels**2 * 1e-3
    speed = np.array([0.09, -0.05]) / frame_s  # nm/s: five pixels a frame
    drift = instrument.LinearDrift(x_nm_per_min=60 * speed[0], y_nm_per_min=60 * speed[1])
    before = run(world, raster(pixels=pixels, center_x_nm=0.1), drift=drift).topography_nm
    later = raster(pixels=pixels, center_x_nm=0.1 + speed[0] * frame_s, center_y_nm=speed[1] * frame_s)
    after = run(world, later, drift=drift).topography_nm
    for way in range(2):
        coarse = np.round(registered(before[way], after[way])).astype(int)
        back = np.roll(after[way], -coarse[::-1], axis=(0, 1))  # so that the window weighs the same scene
        moved_nm = (coarse + registered(before[way][5:-5, 5:-5], back[5:-5, 5:-5])) * 1.6 / pixels
        np.testing.assert_allclose(-moved_nm / frame_s, speed, atol=0.1 * 1.6 / pixels / frame_s)  # a tenth of a pixel


def test_the_distortion_field_leads_every_bump_back_to_its_place():
    world, pixels = surface(hills), 128
    frame = raster(pixels=pixels, dwell_s=2.5e-4)
    parts = {
        "creep": instrument.FrameCreep(0.1, -0.05, 8.0, 5.0),
        "drift": instrument.RelaxingDrift(x_nm_per_min=0.6, y_nm_per_min=-0.4, time_constant_min=0.05),
        "scanner": instrument.Scanner(x_gain_percent=6.0, skew_deg=4.0),
        "lateral_hysteresis": piezos.LoopLag(15.0, 4.0),
    }
    image = run(world, frame, **parts).topography_nm
    u = path.distortion(tip_path(frame, instrument.Instrument(**parts)))
    ideal, pitch = run(world, frame).topography_nm[0], 1.6 / pixels
    for way in range(2):
        u_x, u_y = u[2 * way] / pitch, u[2 * way + 1] / pitch
        assert np.hypot(u_x, u_y).max() > 5
        peaks = bumps(image[way])
        seen = np.array([(x + at(u_x, x, y), y + at(u_y, x, y)) for x, y in peaks])
        true = np.array(bumps(ideal))
        distance = np.hypot(*(seen[:, None] - true[None]).transpose(2, 0, 1)).min(axis=1)
        inside = (np.abs(seen - (pixels - 1) / 2) < pixels / 2 - 12).all(axis=1)
        assert inside.sum() > 5
        assert distance[inside].max() < 0.1


def bumps(image):
    """The tops (x, y) of an image in pixels, by a parabola along each axis."""
    inner = image[1:-1, 1:-1]
    around = [
        image[1 + j : image.shape[0] - 1 + j, 1 + i : image.shape[1] - 1 + i] for i in (-1, 0, 1) for j in (-1, 0, 1)
    ]
    tops = np.argwhere((inner >= np.max(around, axis=0)) & (inner > image.mean() + 0.02)) + 1
    return [(x + dx, y + dy) for y, x in tops for dx, dy in [top(image[y - 1 : y + 2, x - 1 : x + 2])]]


def top(nine):
    """The top (x, y) of the paraboloid through 3 x 3 pixels, from the middle one."""
    y, x = np.mgrid[-1:2, -1:2].reshape(2, -1)
    terms = np.stack([x**2, x * y, y**2, x, y, np.ones(9)], axis=1)
    a, b, c, d, e, _ = np.linalg.lstsq(terms, nine.ravel(), rcond=None)[0]
    return np.linalg.solve([[2 * a, b], [b, 2 * c]], [-d, -e])


def at(image, x, y):
    """An image between its pixels: bilinear."""
    i, j = int(y), int(x)
    s, t = y - i, x - j
    above = (1 - t) * image[i, j] + t * image[i, j + 1]
    return (1 - s) * above + s * ((1 - t) * image[i + 1, j] + t * image[i + 1, j + 1])


def test_leaving_the_tabulated_heights_is_recorded():
    high = surface(lambda x, y: np.where(x > 0, 0.3, 0.0) + 0 * y)
    result = run(high, raster(), feedback=instrument.Feedback(loop_gain=0.8))
    assert (result.events[0, :, -3:] & 4 > 0).all()
    assert (result.events[0, :, 8:10] & 4 == 0).all()
    np.testing.assert_allclose(result.topography_nm[0, :, -3:], GAP_nm + 0.3, atol=1e-3)  # the straight line goes on


@pytest.mark.parametrize(
    "feedback", [None, instrument.Feedback(loop_gain=0.5), instrument.Feedback(update="continuous", crossover_Hz=100.0)]
)
@pytest.mark.parametrize("center", [1.2, 30.0])
def test_leaving_the_window_is_an_error(feedback, center):
    with pytest.raises(ArithmeticError, match="left the computed window"):
        run(FLAT, raster(center_x_nm=center), feedback=feedback)


@pytest.mark.parametrize(
    "feedback", [instrument.Feedback(loop_gain=0.5), instrument.Feedback(preamplifier_Hz=1e3, loop_gain=0.5)]
)
def test_a_node_that_was_never_computed_is_an_error(feedback):
    holed = surface(lambda x, y: 0.0 * (x + y))
    holed.coefficients[40, 40] = np.nan
    with pytest.raises(ArithmeticError, match="left the computed window"):
        run(holed, raster(), feedback=feedback)


def test_a_diverging_loop_is_finite_and_marked():
    result = run(LATTICE, raster(), feedback=instrument.Feedback(loop_gain=2.5))
    assert np.isfinite(result.topography_nm).all()
    assert result.loop_radius == pytest.approx(1.5)
    assert (result.events & 1).any()


def test_spread_along_the_first_line():
    frame = raster(slow_direction=-1, fast_axis="y", fast_direction=-1)
    x, y = path.nominal_raster(frame)
    expected = np.std(2 * KAPPA_per_nm * lattice(x[:, -1], y[:, -1]))
    assert scan.first_line_spread(LATTICE, frame, height_nm=0.5) == pytest.approx(expected, rel=0.025)
    # 4-point Lagrange on a 40 pm grid weakens a period of 0.3 nm by up to 3/128 (2 pi 40 / 300)^4 = 1.2 % an axis


def test_current_is_not_computed_unless_asked():
    keys = {"feedback": instrument.Feedback(loop_gain=0.5), "noise": {"a": noises.WhiteLogNoise(0.1)}}
    without = run(LATTICE, raster(), **keys)
    asked = run(LATTICE, raster(), channels=["topography", "current_backward"], **keys)
    assert without.current_nA is None
    assert asked.current_nA.shape == asked.topography_nm.shape
    np.testing.assert_array_equal(without.topography_nm, asked.topography_nm)


@pytest.mark.parametrize("loop", [None, "pixel", "continuous"])
def test_another_tip_takes_over_at_a_change(loop):
    # three tips: over a flat sample the second and third stand 20 and 35 pm higher
    frame = raster(pixels=32)
    tips = field.FieldsInTurn([surface(lambda x, y, h=h: h + 0.0 * (x + y)) for h in (0.0, 0.02, 0.035)])
    parts = {"tip_jumps": instrument.TipJumps(per_frame=6.0)}
    if loop is not None:
        gain = {"loop_gain": 1.0} if loop == "pixel" else {"crossover_Hz": 2000.0}
        parts["feedback"] = instrument.Feedback(update=loop, **gain)
    result = run(tips, frame, channels=["current"], **parts)
    numbers = path.images(tip_path(frame, instrument.Instrument(**parts)).tip_numbers[1:], frame)
    assert numbers.max() >= 3
    expected = GAP_nm + np.array([0.0, 0.02, 0.035])[np.minimum(numbers, 2)]
    off = np.abs(result.topography_nm - expected) > 1e-4
    assert off.sum() <= (0 if loop is None else 4 * numbers.max())  # the loop follows within a few pixels
    assert np.unique(np.round(result.topography_nm, 3)).size >= 3
    jumps = (result.events & 8 > 0).sum()
    assert 1 <= jumps <= numbers.max()  # none at all where a later one falls into the same pixel


def test_what_a_tip_picks_up_lifts_it_until_it_drops():
    frame = raster(pixels=48)
    picked = {"a": instrument.PickUp(per_frame=60.0, height_pm=30.0, dwell_s=0.02)}
    picked["b"] = instrument.PickUp(per_frame=40.0, height_pm=-7.0, dwell_s=1e-5)  # a hundredth of a pixel
    machine = instrument.Instrument(pick_ups=picked)
    still, result = run(FLAT, frame), run(FLAT, frame, pick_ups=picked)
    where = tip_path(frame, machine)
    lift = where.floors()
    np.testing.assert_allclose(result.topography_nm, still.topography_nm + lift, atol=1e-7)
    held = path.images(where.held[1:], frame)
    np.testing.assert_array_equal(result.events & 16 > 0, held)
    np.testing.assert_array_equal(lift != 0, held)
    frame_s = 2 * 48**2 * frame.dwell_s
    # 60 stays of 20 ms and 40 of no length: half a pixel more on each side, and both sides of an end are marked
    expected_s = 60 * (0.02 + frame.dwell_s) + 40 * 2 * frame.dwell_s
    assert held.sum() * frame.dwell_s == pytest.approx(expected_s * (1 - expected_s / frame_s / 2), rel=0.35)
    assert (np.abs(lift + 0.0035) < 1e-9).sum() >= 20  # no streak is too short to be seen: half of it in each pixel


def test_telegraph_noise_is_raised_where_the_image_is():
    frame = raster(pixels=48)
    noise = {"t": noises.Telegraph(pm=40.0, up_per_s=8.0, down_per_s=30.0)}
    result, still = run(FLAT, frame, noise=noise), run(FLAT, frame)
    machine = instrument.Instrument(noise=noise)
    streams = {"streams": lambda name: np.random.default_rng([0, *name.encode()])}
    raised = targets.tip_raised(tip_path(frame, machine), machine, **streams)
    moved = np.abs(result.topography_nm[0] - still.topography_nm[0])
    np.testing.assert_array_equal(raised, moved > 0.02)
    assert 0.1 < raised.mean() < 0.4  # 8 / 38


def test_a_longer_tip_is_a_step_in_height_and_marked():
    frame = raster(pixels=32)
    jumps = instrument.TipJumps(per_frame=3.0, height_pm=60.0)
    still, result = run(FLAT, frame), run(FLAT, frame, tip_jumps=jumps)
    machine = instrument.Instrument(tip_jumps=jumps)
    lift = tip_path(frame, machine).floors()
    assert np.ptp(lift) > 0.01
    np.testing.assert_allclose(result.topography_nm, still.topography_nm + lift, atol=1e-7)
    followed = run(FLAT, frame, tip_jumps=jumps, feedback=instrument.Feedback(loop_gain=1.0))
    marked = followed.events & 8 > 0
    assert 1 <= marked.sum() <= 12
    late = np.abs(followed.topography_nm - result.topography_nm) > 1e-4
    assert late.sum() <= 3 * marked.sum()  # the loop follows within two pixels
