"""Levelling against images whose planes and lines are known."""

import numpy as np
import pytest

from stmfab.physics import instrument, levelling, path, targets

RNG = np.random.default_rng(3)
Y, X = np.mgrid[:30, :50]


def test_a_plane_goes_and_what_is_no_plane_stays():
    rough = levelling.less_plane(RNG.standard_normal((30, 50)))
    np.testing.assert_allclose(levelling.less_plane(rough + 0.3 * X - 2 * Y + 7), rough, atol=1e-12)


def test_lines_lose_their_medians_and_parabolas():
    image = RNG.standard_normal((30, 50))
    found = levelling.less_medians(image + RNG.standard_normal((30, 1)) * 40)
    np.testing.assert_allclose(np.median(found, axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(found, levelling.less_medians(image), atol=1e-12)
    bowed = image + RNG.standard_normal((30, 1)) + RNG.standard_normal((30, 1)) * X + 0.01 * X**2
    np.testing.assert_allclose(levelling.less_parabolas(bowed), levelling.less_parabolas(image), atol=1e-9)
    plane = levelling.LEVELLINGS["plane_and_lines"](image + 3 * X + Y + 5 * (Y % 2))
    np.testing.assert_allclose(np.median(plane, axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("fast_axis", ["x", "y"])
def test_lines_are_scan_lines(fast_axis):
    frame = instrument.Raster(size_nm=1.0, pixels=30, fast_axis=fast_axis)
    tip = path.tip_path(frame, instrument.Instrument(), streams=lambda name: np.random.default_rng(0))
    shape = (30, 1) if fast_axis == "x" else (1, 30)
    flat = RNG.standard_normal((30, 30))
    image = np.stack([flat, -flat]) + RNG.standard_normal(shape)
    known = targets.Labels(None, None, 0.0, tip, None, None, None, None, image, None, None, None)
    for way, sign in (("forward", 1), ("backward", -1)):
        (found,) = targets.Levelled(by="lines", way=way).render(known)
        axis = 1 if fast_axis == "x" else 0
        np.testing.assert_allclose(found, sign * flat - np.median(sign * flat, axis=axis, keepdims=True), atol=1e-12)
