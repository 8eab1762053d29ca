"""What defects show of themselves, against figures whose height and area are known in closed form."""

import numpy as np
import pytest

from stmfab.physics import instances
from stmfab.physics.field import tabulated

KAPPA, FRAME_nm, N = 10.9, 6.0, 240
PIXEL_nm = FRAME_nm / N


def frame():
    at = (np.arange(N) + 0.5) * PIXEL_nm - FRAME_nm / 2
    return np.meshgrid(at, at)


def rendered(*bumps):
    """Constant-current heights over Gaussian bumps (x, y, height, sigma), all in nm."""

    def log_current(x, y, z):
        return -2 * KAPPA * (z - sum(h * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) for a, b, h, s in bumps))

    reach = FRAME_nm / 2
    field = tabulated(log_current, window_nm=(-reach, reach, -reach, reach), step_nm=0.03, z_nm=(0.2, 1.0))
    return field.heights(*frame(), -2 * KAPPA * 0.6)


def seen(change_nm, sites, *, threshold_nm=0.01, window_nm=1.5, noise_nm=2e-3, others=()):
    return instances.seen(
        change_nm,
        *frame(),
        np.array(sites, dtype=float).reshape(-1, 3),
        others_nm=np.array(others, dtype=float).reshape(-1, 3),
        noise_nm=noise_nm,
        threshold_nm=threshold_nm,
        window_nm=window_nm,
    )


@pytest.mark.parametrize("height_nm", [0.08, -0.05])
def test_a_bump_has_its_height_and_the_area_of_its_contour(height_nm):
    sigma_nm = 0.35
    background = (0.0, 0.9, 0.03, 1.1)  # in both renders: it is no defect's
    change_nm = rendered((0.2, -0.3, height_nm, sigma_nm), background) - rendered(background)
    found = seen(change_nm, [(0.2, -0.3, 0.0)])
    assert found.heights_nm[0] == pytest.approx(height_nm, rel=2e-3)  # half a pixel off the top: 1 - 2e-3
    assert found.visibility[0] == pytest.approx(abs(height_nm) / 2e-3, rel=2e-3)
    # |h| exp(-r^2 / 2 s^2) = t at r^2 = 2 s^2 ln(|h| / t)
    radius2 = 2 * sigma_nm**2 * np.log(abs(height_nm) / 0.01)
    assert (found.mask == 1).sum() * PIXEL_nm**2 == pytest.approx(np.pi * radius2, rel=0.01)  # pixels on the contour
    width = 2 * np.sqrt(radius2) / PIXEL_nm
    first_row, last_row, first_col, last_col = found.boxes[0]
    assert (last_row - first_row + 1, last_col - first_col + 1) == (pytest.approx(width, abs=1.1),) * 2
    assert (first_row + last_row) / 2 == pytest.approx((-0.3 + FRAME_nm / 2) / PIXEL_nm - 0.5, abs=1)
    assert (first_col + last_col) / 2 == pytest.approx((0.2 + FRAME_nm / 2) / PIXEL_nm - 0.5, abs=1)


def test_every_pixel_is_the_nearest_defects_in_space():
    rng = np.random.default_rng(0)
    sites = np.column_stack([rng.uniform(-3, 3, (12, 2)), rng.choice([0.0, -0.33], 12)])
    found = seen(np.full((N, N), 0.05), sites)
    x, y = frame()
    points = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    owner = np.linalg.norm(points[:, None] - sites, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(found.mask.ravel(), owner + 1)
    for row, box in enumerate(found.boxes):
        rows, cols = np.nonzero(found.mask == row + 1)
        assert box.tolist() == [rows.min(), rows.max(), cols.min(), cols.max()]


def test_under_another_defect_nothing_is_the_lower_ones_own():
    found = seen(np.full((N, N), 0.05), [(0.0, 0.0, -0.33), (0.0, 0.0, 0.0)])
    assert found.heights_nm.tolist() == [0.0, 0.05]
    assert found.visibility[0] == 0
    assert found.boxes[0].tolist() == [-1, -1, -1, -1]
    assert (found.mask == 2).all()


def test_what_an_unlisted_defect_changes_is_nobodys():
    change_nm = rendered((-1.5, 0, 0.06, 0.3), (1.5, 0, 0.06, 0.3)) - rendered()
    found = seen(change_nm, [(-1.5, 0.0, 0.0)], others=[(1.5, 0.0, 0.0)])
    x, _ = frame()
    assert (found.mask[x < 0] == 1).any()
    assert not found.mask[x > 0].any()


def test_the_height_is_taken_from_the_window_and_the_mask_from_everywhere():
    change_nm = rendered((0, 0, 0.02, 0.3), (2.0, 0, 0.08, 0.3)) - rendered()
    found = seen(change_nm, [(0.0, 0.0, 0.0)], window_nm=1.0)
    assert found.heights_nm[0] == pytest.approx(0.02, rel=2e-3)
    assert found.boxes[0, 3] > (2.0 + FRAME_nm / 2) / PIXEL_nm


def test_each_defects_own_change_tells_overlapping_ones_apart():
    both = [(-0.15, 0.0, 0.06, 0.3), (0.35, 0.1, -0.012, 0.2)]
    changes = [rendered(*both) - rendered(both[1]), rendered(*both) - rendered(both[0])]
    sites = np.array([(-0.15, 0.0, 0.0), (0.35, 0.1, -0.3)])
    limits = {"noise_nm": 2e-3, "threshold_nm": 0.004, "window_nm": 1.5}
    found = instances.seen_each(iter(changes), *frame(), sites, **limits)
    np.testing.assert_allclose(found.heights_nm, [0.06, -0.012], rtol=5e-3)  # half a pixel off the top
    np.testing.assert_allclose(found.visibility, [30, 6], rtol=5e-3)
    sizes = np.abs(changes)
    expected = np.where(sizes.max(axis=0) > 0.004, sizes.argmax(axis=0) + 1, 0)
    np.testing.assert_array_equal(found.mask, expected)
    # one pair of renders takes the strong one's tail for the weak one's height
    at_once = seen(rendered(*both) - rendered(), sites, threshold_nm=0.004)
    assert at_once.heights_nm[1] > 0


def test_no_defect_marks_nothing():
    found = seen(np.full((N, N), 0.05), [])
    assert not found.mask.any()
    assert found.heights_nm.shape == (0,)
    with pytest.raises(OverflowError, match="32766"):
        seen(np.zeros((N, N)), np.zeros((32767, 3)))


def test_noise_is_counted_once_each_line_is_put_level():
    rng = np.random.default_rng(1)
    quiet, white = rng.normal(size=(256, 256)), 0.3 * rng.normal(size=(256, 256))
    for axis, along in (("x", 1), ("y", 0)):
        steps = 5 * rng.normal(size=256)
        recorded = quiet + white + np.expand_dims(steps, along)
        # 256 ** 2 numbers: 0.3 % of statistics; the medians take 0.2 % more
        assert instances.noise_nm(recorded, quiet, axis) == pytest.approx(0.3, rel=0.012)
