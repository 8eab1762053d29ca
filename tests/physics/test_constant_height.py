"""The scan at constant height on analytic fields: the current is the closed form of the gap."""

import math

import numpy as np
import pytest
from scipy import constants

from stmfab.physics import constant_height, field, instrument, path
from stmfab.physics import noise as noises

KAPPA_per_nm, GAP_nm, SETPOINT_nA = 11.0, 0.5, 0.1


def corrugation(x, y):
    return 0.03 * np.cos(2 * np.pi * x / 0.5) * np.cos(2 * np.pi * y / 0.7)


def log_current(x, y, z):
    return math.log(SETPOINT_nA) - 2 * KAPPA_per_nm * (z - GAP_nm - corrugation(x, y))


WORLD = field.tabulated(log_current, window_nm=(-1.5, 1.5, -1.5, 1.5), step_nm=0.02, z_nm=(0.25, 0.75))


def scanned(held, **parts):
    frame = instrument.Raster(size_nm=1.6, pixels=32, dwell_s=1e-3)
    machine = instrument.Instrument(constant_height=held, **parts)
    tip = path.tip_path(frame, machine, streams=lambda name: np.random.default_rng(list(name.encode())))
    made = constant_height.run(
        WORLD,
        tip,
        machine,
        held=held,
        height_nm=GAP_nm,
        log_setpoint=math.log(SETPOINT_nA),
        kappa_per_nm=KAPPA_per_nm,
        ideal_range_nm=0.1,
        log_spread=1.0,
        streams=lambda name: np.random.default_rng(list(name.encode())),
        channels=["current"],
    )
    return tip, made


def over_sub_steps(tip, lift_nm, rise_nm=0.0):
    """The mean current of each pixel, forward and backward, from the closed form."""
    x, y = tip.sub_steps()
    current = np.exp(log_current(x, y, GAP_nm + lift_nm - rise_nm))[1:]
    means = current.reshape(*current.shape[:2], tip.raster.pixels, tip.n_sub).mean(-1)
    return path.images(means, tip.raster)


@pytest.mark.parametrize("lift_pm", [-80.0, 0.0, 120.0])
def test_the_current_is_that_of_the_gap(lift_pm):
    tip, made = scanned(instrument.ConstantHeight(lift_pm=lift_pm))
    np.testing.assert_allclose(made.current_nA, over_sub_steps(tip, 1e-3 * lift_pm), rtol=2e-3)  # a 20 pm grid
    assert np.ptp(made.topography_nm) == 0
    assert made.topography_nm[0, 0, 0] == pytest.approx(GAP_nm + 1e-3 * lift_pm)
    assert not made.events.any()
    assert made.loop_radius == 0


def test_drift_creep_and_tilt_stay_in_the_gap():
    parts = {"drift": instrument.LinearDrift(z_pm_per_min=900.0), "tilt": instrument.Tilt(x_deg=1.0)}
    tip, made = scanned(instrument.ConstantHeight(), **parts)
    t_s = np.arange(32 * 64).reshape(32, 2, 32) * 1e-3 + 0.5e-3
    x, _ = path.nominal_raster(tip.raster)
    rise = path.images(0.9 / 60 * t_s, tip.raster) + math.tan(math.radians(1.0)) * x
    expected = over_sub_steps(tip, 0.0) * np.exp(2 * KAPPA_per_nm * rise)
    # the mean of a product over a pixel of 50 pm, in which the slope changes the current by 1.9 %
    np.testing.assert_allclose(made.current_nA, expected, rtol=5e-3)
    assert rise.max() > 0.04
    creep = instrument.ZCreep(move_nm=-100.0, percent_per_decade=1.5, onset_s=0.1, wait_s=0.0)
    tip, made = scanned(instrument.ConstantHeight(), z_creep=creep)
    rise = path.images(1.5 * np.log10(1 + t_s / 0.1), tip.raster)  # towards the sample by 1.5 nm a decade
    held = made.current_nA[rise < 0.1]
    np.testing.assert_allclose(
        held, (over_sub_steps(tip, 0.0) * np.exp(2 * KAPPA_per_nm * rise))[rise < 0.1], rtol=2e-2
    )


@pytest.mark.parametrize("lift_pm", [0.0, 200.0])
def test_the_amplifier_adds_its_noise_to_the_current_itself(lift_pm):
    # sigma^2 = (2 e I + 4 k T / R) / (2 T) with the pixel's own I: 200 pm out shot noise is a ninth, Johnson's the same
    amplifier = noises.AmplifierNoise(resistor_GOhm=1.0, temperature_K=295.0)
    _, quiet = scanned(instrument.ConstantHeight(lift_pm=lift_pm))
    _, loud = scanned(instrument.ConstantHeight(lift_pm=lift_pm), noise={"a": amplifier})
    johnson = 4 * constants.k * 295.0 / 1e9
    sigma_nA = 1e9 * np.sqrt((2 * constants.e * 1e-9 * quiet.current_nA + johnson) / 2e-3)
    drawn = (loud.current_nA - quiet.current_nA) / sigma_nA
    assert drawn.std() == pytest.approx(1.0, rel=5 / math.sqrt(2 * drawn.size))
    assert abs(drawn.mean()) < 5 / math.sqrt(drawn.size)


def test_a_current_above_the_range_is_cut_and_marked():
    tip, made = scanned(instrument.ConstantHeight(range_nA=0.12))
    free = over_sub_steps(tip, 0.0)
    assert made.current_nA.max() <= 0.12 * (1 + 1e-6)
    full, below = free > 0.125, free < 0.115  # beyond what changes within a pixel
    assert full.sum() > 100
    assert (made.events[full] & 64 > 0).all()
    assert (made.events[below] & 64 == 0).all()
    np.testing.assert_allclose(made.current_nA[full], 0.12, rtol=1e-3)
