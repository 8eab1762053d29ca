"""Signals of a power density against the integral of the density and its cosine transform."""

import numpy as np
import pytest

from stmfab.physics import spectrum

STEP_s = 1e-3


def drawn(density, n, count, memory_s=0.0):
    """Some signals of at least n points, cut to n, (count, n)."""
    rng = np.random.default_rng(8)
    some = [spectrum.stationary(density, n, step_s=STEP_s, memory_s=memory_s, rng=rng)[:n] for _ in range(count)]
    return np.array(some)


def test_the_variance_is_the_integral_of_the_density():
    flat = drawn(lambda f_Hz: np.full_like(f_Hz, 3e-3), 1 << 16, 4)
    assert flat.var() == pytest.approx(3e-3 * 500, rel=0.015)  # up to 500 Hz: 5 sqrt(2 / 2^18)


@pytest.mark.parametrize("memory_s", [0.0, 0.3])
def test_a_signal_of_one_over_f_is_that_of_twice_the_length_cut_in_half(memory_s):
    # R(t) = int S cos(2 pi f t) df over waves of twice the period; one of a period alone would end as it began
    n, count = 1500, 3000
    signal = drawn(lambda f_Hz: 1 / f_Hz, n, count, memory_s)
    spare_s = max(spectrum.SPARE * n * STEP_s, spectrum.MEMORIES * memory_s)
    f_Hz = np.arange(1, 4 * n) / (2 * (n * STEP_s + spare_s))
    f_Hz = f_Hz[f_Hz < 0.5 / STEP_s]
    for lag in (1, 10, 100, 700, n - 1):
        expected = (np.cos(2 * np.pi * f_Hz * lag * STEP_s) / f_Hz).sum() * f_Hz[0]
        found = (signal[:, :1] * signal[:, lag : lag + 1]).mean()
        assert found == pytest.approx(expected, abs=5 * signal.var() / np.sqrt(count))


def test_no_place_in_a_signal_is_louder_than_another():
    # 3000 signals: 5 sigma of a variance are 5 sqrt(2 / 3000)
    signal = drawn(lambda f_Hz: 1 / f_Hz, 600, 3000)
    np.testing.assert_allclose(signal.var(axis=0) / signal.var(), 1.0, atol=5 * np.sqrt(2 / 3000) + 0.02)
