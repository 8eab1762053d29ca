"""The statistics of images against images whose numbers are known."""

import math

import numpy as np
import pytest

from stmfab import recipe, sample, statistics

N, PIXEL_nm = 256, 0.05
RNG = np.random.default_rng(7)


def field(exponent_fast=0.0, n=N):
    """Independent lines with the spectrum f^-a along them, in nm."""
    f = np.fft.rfftfreq(4 * n)
    power = np.zeros(len(f))
    power[1:] = f[1:] ** -exponent_fast
    waves = np.sqrt(power) * (RNG.standard_normal((n, len(f))) + 1j * RNG.standard_normal((n, len(f))))
    return np.fft.irfft(waves)[:, :n]


def of(image, backward=None, axis="x"):
    return statistics.of_image(image, backward, fast_axis=axis, pixel_nm=PIXEL_nm)


def test_white_noise():
    image = 2e-3 * RNG.standard_normal((N, N))
    found = of(image)
    assert found["rms"] == pytest.approx(2.0, rel=0.02)
    assert found["white/rms"] == pytest.approx(1.0, rel=0.03)
    assert found["slow/fast"] == pytest.approx(1.0, rel=0.1)
    for name in ("fast exponent", "slow exponent", "fast kurtosis", "slow kurtosis"):
        assert found[name] == pytest.approx(0.0, abs=0.1)
    assert found["streaks"] == 0
    # medians of lines of 2 sqrt(2) pm differences: sqrt(pi/2) / sqrt(N) of it
    assert found["offset"] == pytest.approx(2.0 * math.sqrt(math.pi / 2 / N), rel=0.3)


def test_a_plane_is_its_tilt_and_nothing_else():
    y, x = np.mgrid[:N, :N] * PIXEL_nm
    image = 1e-3 * RNG.standard_normal((N, N))
    tilted = of(image + math.tan(math.radians(3.0)) * x - math.tan(math.radians(4.0)) * y)
    assert tilted["tilt"] == pytest.approx(math.degrees(math.hypot(math.radians(3), math.radians(4))), rel=2e-3)
    assert tilted["rms"] == pytest.approx(of(image)["rms"], rel=1e-6)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0])
def test_exponent_along_the_lines(exponent):
    assert of(field(exponent))["fast exponent"] == pytest.approx(exponent, abs=0.15)
    assert of(field(exponent).T, axis="y")["fast exponent"] == pytest.approx(exponent, abs=0.15)


def test_line_offsets():
    image = 1e-3 * RNG.standard_normal((N, N)) + 5e-3 * RNG.standard_normal((N, 1))
    found = of(image)
    assert found["offset"] == pytest.approx(5.0, rel=0.15)  # independent lines: the step is sqrt(2) larger
    assert found["rms"] == pytest.approx(1.0, rel=0.02)
    assert found["slow/fast"] > 20


def test_backward_image_moved_and_with_noise_of_its_own():
    smooth = field(3.0)
    smooth *= 50e-3 / smooth.std()
    back = np.array([np.interp(np.arange(N) + 4.3, np.arange(N), line) for line in smooth])  # 4.3 pixels to the left
    found = of(smooth, back)
    assert found["F-B shift"] == pytest.approx(100 * 4.3 / N, abs=0.1)
    assert found["F-B/rms"] < 0.05
    rough = of(smooth + 3e-3 * RNG.standard_normal((N, N)), smooth + 3e-3 * RNG.standard_normal((N, N)))
    assert rough["F-B"] == pytest.approx(3.0, rel=0.05)
    assert "F-B" not in of(smooth)


def test_streaks_are_runs_that_leave_both_neighbours():
    image = 1e-3 * RNG.standard_normal((N, N))
    image[40, 50:80] += 0.05
    image[90, 20:24] -= 0.05  # too short
    image[120:, :] += 0.05  # a step, no streak
    assert of(image)["streaks"] == pytest.approx(100 * 30 / N**2, rel=0.05)


def test_summary_leaves_out_what_is_not_a_number():
    flat = of(np.zeros((64, 64)))
    assert math.isnan(flat["offset/rms"])
    rows = [{"a": float(n)} for n in range(11)] + [{"a": math.nan}]
    assert statistics.summary(rows)["a"] == (5.0, 1.0, 9.0)


@pytest.mark.parametrize("seed", [20250728, 7])
def test_patches_of_the_realistic_set_look_like_real_ones(seed):
    # real 64 x 64 patches of WSe2 at 0.049 nm a pixel with a defect: p10..p90, README: Realism; of the exponents, of
    # which only the medians 2.3 and 1.0 of patches are known, the bands of all real scans, the lower one opened to 1.0
    overrides = ["scan.pixels=64", "scan.size_nm=3.136", "channels=[topography]", "targets=null"]
    made = recipe.load("wse2-realistic", seed=seed, overrides=overrides)
    images = sample.simulate(made, 0, 64)
    names = [column.name for column in made.record_columns]
    axes = images["param"][:, names.index("scan.fast_axis")].astype(int)
    seen = [images["defect_in_view"][i, :n].any() for i, n in enumerate(images["defect_count"])]
    rows = [
        statistics.of_image(images["topography"][i], None, fast_axis="xy"[axes[i]], pixel_nm=0.049)
        for i in np.flatnonzero(seen)
    ]
    assert len(rows) > 40
    found = {name: median for name, (median, _, _) in statistics.summary(rows).items()}
    real = {
        "offset/rms": (0.20, 0.70),
        "slow/fast": (1.9, 10),
        "fast exponent": (1.6, 4.6),
        "slow exponent": (1.0, 3.6),
        "white/rms": (0.047, 0.13),
    }
    outside = {name: found[name] for name, (low, high) in real.items() if not low < found[name] < high}
    assert outside == {}
