"""Noise against its definitions: densities, slopes, lines and rates measured from the signal in time."""

import math

import numpy as np
import pytest
from scipy import signal, special, stats

from stmfab.physics import noise, white

KAPPA_per_nm = 10.9
LOG_PER_PM = 2 * KAPPA_per_nm * 1e-3
TONE = noise.Tone(KAPPA_per_nm, setpoint_nA=0.1, log_spread=0.5)


def streams(name):
    return np.random.default_rng(list(name.encode()))


def heard_pm(sources, clock):
    """The coloured noise as a height of the gap, in time."""
    return coloured(sources, clock).ravel() / LOG_PER_PM


def coloured(sources, clock, lines_at_once=3):
    """The coloured noise on ln|I|, (n_lines, n_samples), some lines at a time."""
    out = np.zeros((clock.n_lines, clock.n_samples), np.float32)
    for add in noise.coloured(sources, clock, TONE, streams):
        for first in range(0, clock.n_lines, lines_at_once):
            add(first, out[first : first + lines_at_once])
    return out


def density(pm, clock, pieces=16):
    """Frequencies and one-sided power density (pm^2/Hz)."""
    f, power = signal.welch(pm, 1 / clock.step_s, nperseg=len(pm) // pieces, detrend="constant")
    return f[2:], power[2:]


def test_current_noise_floor():
    # sqrt(2 e I + 4 k T / R): 5.66 and 4.04 fA/sqrt(Hz) at 100 pA and 1 GOhm, 295 K; PHYSICS F.10
    floor_fA = 1e15 * math.sqrt(noise.AmplifierNoise().density_A2_per_Hz(0.1))
    assert floor_fA == pytest.approx(math.hypot(5.66, 4.04), rel=2e-3)
    assert 1e15 * math.sqrt(noise.AmplifierNoise(temperature_K=0).density_A2_per_Hz(1.0)) == pytest.approx(
        17.9, rel=1e-2
    )
    extra = noise.AmplifierNoise(extra_fA_per_sqrt_Hz=3.0).density_A2_per_Hz(0.1)
    assert 1e15 * math.sqrt(extra) == pytest.approx(math.sqrt(5.66**2 + 4.04**2 + 9), rel=2e-3)


def test_a_pixel_of_white_current_noise():
    # a mean over T has the variance S / (2 T); relative to 100 pA
    sources = {"amplifier": noise.AmplifierNoise(), "gap": noise.WhiteHeightNoise(rms_pm=2.0)}
    relative = 6.954e-15 / 0.1e-9 / math.sqrt(2 * 1e-3)
    sigma = noise.white_log_sigma(sources, TONE, pixel_s=1e-3)
    assert sigma == pytest.approx(math.hypot(relative, 2.0 * LOG_PER_PM), rel=2e-3)
    assert noise.coloured(sources, noise.Clock(3, 8, 1e-3), TONE, streams) == []


def test_white_noise_of_sub_steps_is_white_and_nearly_gaussian():
    # the sum of four uniform numbers: kurtosis -1.2 / 4; a mean over ten, which is what is seen, -0.03
    out = np.zeros((400, 1000), np.float32)
    white.fill_white(out, 0.3, white.white_state(np.random.default_rng(4)))
    assert out.std() == pytest.approx(0.3, rel=0.006)  # 5 / sqrt(2 * 400 000)
    assert abs(out.mean()) < 5 * 0.3 / math.sqrt(out.size)
    assert (out**4).mean() / 0.3**4 - 3 == pytest.approx(-0.3, abs=0.05)
    flat = out.ravel()
    assert all(abs(np.corrcoef(flat[lag:], flat[:-lag])[0, 1]) < 5 / math.sqrt(out.size) for lag in (1, 2, 1000))


def test_noise_of_pixels_is_gaussian_to_its_tails():
    out = np.zeros((2000, 1001), np.float32)
    white.fill_gaussian(out, 0.3, white.white_state(np.random.default_rng(4)))
    flat = out.ravel() / 0.3
    n = flat.size
    assert np.isfinite(flat).all()
    moments = [(flat.astype(float) ** k).mean() for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=5 * math.sqrt(96 / n))  # the fourth's variance; more is safe
    assert stats.kstest(flat, "norm").statistic < 2 / math.sqrt(n)  # 1 - 7e-4
    for limit in (2, 3, 4):
        expected = n * 2 * special.ndtr(-limit)
        assert np.count_nonzero(abs(flat) > limit) == pytest.approx(expected, abs=5 * math.sqrt(expected))
    for lag in (1, 16, 32, 48):  # lanes, and the two of a pair
        for power in (1, 2):
            assert abs(np.corrcoef(flat[lag:] ** power, flat[:-lag] ** power)[0, 1]) < 5 / math.sqrt(n)


def test_white_noise_is_the_bytes_of_xoshiro128():
    # Blackman and Vigna's generator, in integers without bounds: sixteen side by side, a sample the bytes of a word
    def word(s):
        left = lambda x, k: ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF  # noqa: E731
        result = (left((s[0] + s[3]) & 0xFFFFFFFF, 7) + s[0]) & 0xFFFFFFFF
        shifted = (s[1] << 9) & 0xFFFFFFFF
        s[2], s[3] = s[2] ^ s[0], s[3] ^ s[1]
        s[1], s[0] = s[1] ^ s[2], s[0] ^ s[3]
        s[2], s[3] = s[2] ^ shifted, left(s[3], 11)
        return result

    state = white.white_state(np.random.default_rng(7))
    twins = [[int(word) for word in lane] for lane in state.T]
    out = np.zeros(1000, np.float32)
    white.fill_white(out, math.sqrt((256**2 - 1) / 3), state)
    expected = [sum(word(twins[i % 16]).to_bytes(4, "little")) - 510 for i in range(1000)]
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("step_s", [1e-4, 1e-3])
def test_flicker_falls_as_one_over_f_to_its_corner(step_s):
    clock = noise.Clock(1, 1 << 19, step_s)
    f, power = density(heard_pm({"f": noise.FlickerNoise(pm_per_sqrt_Hz=3.0, corner_Hz=200.0)}, clock), clock)
    band = (f > 1) & (f < 50)
    assert np.polyfit(np.log(f[band]), np.log(power[band]), 1)[0] == pytest.approx(-1, abs=0.1)
    band = (f > 10) & (f < 50)
    assert math.sqrt((power * f * (1 + (f / 200) ** 2))[band].mean()) == pytest.approx(3.0, rel=0.08)
    if step_s < 1e-3:
        above = (f > 400) & (f < 700)  # 1 / f / (1 + (f / corner)^2): a quarter to an eleventh of 9 / f
        assert np.median(power[above] * f[above] * (1 + (f[above] / 200) ** 2)) == pytest.approx(9.0, rel=0.2)


def test_a_vibration_is_a_line_of_its_rms_and_width():
    clock = noise.Clock(1, 1 << 18, 5e-4)
    pm = heard_pm({"v": noise.Vibration(rms_pm=4.0, frequency_Hz=80.0, Q=20.0)}, clock)
    f, power = density(pm, clock, pieces=64)
    assert pm.std() == pytest.approx(4.0, rel=0.08)
    assert f[np.argmax(power)] == pytest.approx(80, abs=1.5)
    assert np.ptp(f[power > power.max() / 2]) == pytest.approx(80 / 20, abs=2.0)


def test_what_is_faster_than_the_converter_comes_back_weaker():
    # the mean over 1 ms of an oscillation at 1.3 kHz keeps |sinc(1.3)| = 0.198 of it, at 300 Hz
    clock = noise.Clock(1, 1 << 17, 1e-3)
    pm = heard_pm({"v": noise.Vibration(rms_pm=5.0, frequency_Hz=1300.0, Q=200.0)}, clock)
    f, power = density(pm, clock)
    assert pm.std() == pytest.approx(5 * abs(np.sinc(1.3)), rel=0.1)
    assert f[np.argmax(power)] == pytest.approx(300, abs=8)


def test_hum_is_one_oscillation_through_all_lines():
    clock = noise.Clock(40, 200, 7.3e-4)
    pm = heard_pm({"h": noise.Hum(pm=2.0, frequency_Hz=50.0, harmonics=3, falloff=1.0)}, clock)
    t = (np.arange(clock.size) + 0.5) * clock.step_s
    waves = [wave(2 * math.pi * 50 * n * t) for n in (1, 2, 3) for wave in (np.sin, np.cos)]
    found, rest, *_ = np.linalg.lstsq(np.array(waves).T, pm, rcond=None)
    assert math.sqrt(rest[0] / clock.size) < 1e-5  # float32 of numbers of 3 pm
    for n in (1, 2, 3):
        seen = 2.0 / n * np.sinc(50 * n * clock.step_s)  # the mean over a sample
        assert math.hypot(*found[2 * n - 2 : 2 * n]) == pytest.approx(seen, rel=1e-6)


def test_line_offsets_hold_for_a_line_and_remember_the_last():
    clock = noise.Clock(4096, 6, 1e-3)
    lines = coloured({"o": noise.LineOffsets(rms_pm=5.0)}, clock) / LOG_PER_PM
    assert np.ptp(lines, axis=1).max() == 0
    assert np.diff(lines[:, 0]).std() / math.sqrt(2) == pytest.approx(5.0, rel=0.06)
    f, power = signal.welch(lines[:, 0], nperseg=512)
    band = (f > 0.01) & (f < 0.3)
    assert np.polyfit(np.log(f[band]), np.log(power[band]), 1)[0] == pytest.approx(-1, abs=0.15)
    alone = coloured({"o": noise.LineOffsets(rms_pm=5.0, exponent=0.0)}, clock)[:, 0]
    assert abs(np.corrcoef(alone[1:], alone[:-1])[0, 1]) < 5 / 64


def test_telegraph_noise_has_two_states_left_at_their_rates():
    clock = noise.Clock(100, 1000, 1e-3)
    pm = heard_pm({"t": noise.Telegraph(pm=30.0, up_per_s=4.0, down_per_s=12.0)}, clock)
    assert pm.min() == pytest.approx(-30.0)  # a higher gap: less current
    assert pm.max() == pytest.approx(0.0, abs=1e-5)
    between = (pm > -29.99) & (pm < -0.01)
    switches = 2 / (1 / 4 + 1 / 12) * clock.end_s  # two a cycle of 1/4 s + 1/12 s: 600
    assert between.sum() == pytest.approx(switches, abs=5 * math.sqrt(switches))
    assert -pm.mean() / 30 == pytest.approx(4 / 16, abs=5 * 0.25 * math.sqrt(2 / 300))
    x = pm - pm.mean()
    lag = 40  # correlation exp(-(4 + 12) t)
    assert (x[lag:] * x[:-lag]).mean() / x.var() == pytest.approx(math.exp(-16 * 0.04), abs=0.12)


def test_a_source_moves_no_other():
    clock = noise.Clock(10, 50, 1e-3)
    hum, offsets = {"h": noise.Hum(pm=2.0)}, {"o": noise.LineOffsets(rms_pm=1.0)}
    both = coloured(hum | offsets, clock)
    apart = [coloured(one, clock) for one in (hum, offsets)]
    np.testing.assert_allclose(both, apart[0] + apart[1], atol=1e-7)  # float32


def test_spectra_add_up():
    clock = noise.Clock(1, 1 << 16, 1e-3)
    sources = {"a": noise.FlickerNoise(pm_per_sqrt_Hz=1.0, corner_Hz=50.0), "b": noise.Vibration(2.0, 120.0)}
    total = heard_pm(sources, clock).var()
    flicker = math.log(50 * 2 * clock.end_s)  # int of 1/f/(1 + (f/50)^2) from 1/(2 T): ln(corner 2 T)
    assert total == pytest.approx(4.0 + flicker, rel=0.15)


def test_telegraph_stays_are_drawn_as_one_by_one():
    clock, source = noise.Clock(9, 50, 1e-3), noise.Telegraph(pm=1.0, up_per_s=70.0, down_per_s=30.0)
    rng, at, edges = np.random.default_rng(3), 0.0, [0.0]
    up = first = bool(rng.random() < 0.7)
    while at < clock.end_s:
        at += rng.exponential(1 / (30.0 if up else 70.0))
        edges.append(at)
        up = not up
    fine = (np.arange(450 * 200) + 0.5) / 200 * 1e-3
    state = (np.searchsorted(edges, fine) % 2 == 1) == first
    got = source.raised(clock, np.random.default_rng(3))
    # a sample's share from 200 points in it: two flips are each 1/400 off at most
    np.testing.assert_allclose(got.ravel(), state.reshape(450, 200).mean(axis=1), atol=0.02)
