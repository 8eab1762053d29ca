"""Kernels that stand in for functions of numpy are held against these."""

import numpy as np
import pytest

from stmfab.physics import _instrument_kernels, structure

RNG = np.random.default_rng(20261122)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 4095, 4096])
@pytest.mark.parametrize("kind", ["normal", "steps", "outlier", "two"])
def test_median(n, kind):
    values = {
        "normal": RNG.standard_normal(n),
        "steps": RNG.integers(0, 3, n).astype(float),
        "outlier": np.append(RNG.standard_normal(n - 1), 1e12),
        "two": np.where(np.arange(n) % 2, -1.0, 1.0),
    }[kind]
    assert structure.median(values) == np.median(values)


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
def test_median_of_what_is_no_number_is_none(fault):
    assert np.isnan(structure.median(np.array([1.0, fault, 2.0])))


@pytest.mark.parametrize("rate", [0.0, 1e-7, 0.3, 10.0, 1e9, -0.0099])
def test_efolds(rate):
    t = np.concatenate([RNG.uniform(-5, 100, 2000), RNG.uniform(0, 1e-3, 100)])
    out = np.empty_like(t)
    _instrument_kernels.efolds(t, 0.3, rate, out)
    exact = np.log1p(rate * np.maximum(t.astype(np.longdouble) - np.longdouble(0.3), 0))
    conditioned = np.abs(rate * t) / np.minimum(1, 1 + rate * np.maximum(t, 0)) + 1  # of 1 + rate t in 64 bits
    assert (np.abs(out - exact) < 4e-16 * (conditioned + np.abs(exact))).all()


def test_efolds_of_what_has_no_logarithm_is_none():
    out = np.empty(3)
    _instrument_kernels.efolds(np.array([0.0, 1.0, 200.0]), 0.0, -0.01, out)
    np.testing.assert_array_equal(np.isnan(out), [False, False, True])


@pytest.mark.parametrize(("start", "rate"), [(-300.0, 10.0), (-3.0, 10.0), (0.0, 1e4), (2.0, 0.1), (-1.0, 1e-7)])
def test_crept(start, rate):
    t = np.sort(RNG.uniform(-1, 4, (7, 514)), axis=1)  # rows of a twentieth and more of the time since the start
    out = np.empty_like(t)
    _instrument_kernels.crept(t, start, rate, 0.25, out)
    exact = np.log1p(rate * np.maximum(t.astype(np.longdouble) - np.longdouble(start), 0)) - 0.25
    assert (np.abs(out - exact) < 4e-15 * (1 + np.abs(exact))).all()


@pytest.mark.parametrize("tau", [2.0, 30.0, 600.0])
def test_relaxed_in_order(tau):
    t = np.sort(RNG.uniform(-1, 4, (7, 514)), axis=1)
    out = np.empty_like(t)
    _instrument_kernels.relaxed(t, tau, 3.0, out)
    assert (np.abs(out + 3 * np.expm1(-t / tau)) < 3e-14).all()


@pytest.mark.parametrize("tau", [0.5, 10.0, 600.0, 1e6])
def test_relaxed(tau):
    t = np.concatenate([[0.0], RNG.uniform(-5, 300, 2000), RNG.uniform(0, 1e-3, 100)])
    out = np.empty_like(t)
    _instrument_kernels.relaxed(t[None], tau, 3.0, out[None])
    exact = -3 * np.expm1(-t / tau)
    assert (np.abs(out - exact) < 1e-14 * (3 + np.abs(exact))).all()
    assert out[0] == 0
