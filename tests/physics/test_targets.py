"""Targets against their definitions, point by point."""

import itertools

import numpy as np
import pytest

from stmfab.physics import targets
from stmfab.physics.materials import MATERIALS
from stmfab.physics.targets import Labels

WSE2 = MATERIALS["wse2-s"]
A = WSE2.lattice_constant_nm


def labels(x, y, defects=(), layers=()):
    empty = np.zeros(x.shape)
    sites = np.array(defects, dtype=float).reshape(-1, 3)
    return Labels(
        WSE2,
        None,
        0.0,
        None,
        x,
        y,
        empty,
        empty.astype(np.uint8),
        np.stack([empty, empty]),
        sites,
        np.array(layers, dtype=np.int64),
        lambda: empty > 0,
    )


def frame(n=24, size_nm=2.0, angle=0.3):
    at = (np.arange(n) - (n - 1) / 2) * size_nm / n
    x, y = np.meshgrid(at, at)
    return np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y


def test_lattice_cone_is_the_distance_to_the_nearest_site_in_space():
    x, y = frame()
    (image,) = targets.LatticeCone().render(labels(x, y))
    cells = np.array(list(itertools.product(range(-8, 9), repeat=2))) @ WSE2.lattice_nm
    sites = np.concatenate([np.column_stack([cells + p[:2], np.full(len(cells), p[2])]) for p in WSE2.positions_nm])
    points = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    d = np.linalg.norm(points[:, None] - sites[None], axis=2).min(axis=1).reshape(x.shape)
    np.testing.assert_allclose(image, np.clip(1.1 - d / (A / 2), 0, 1), atol=1e-12)
    assert image.max() == 1


def test_defect_cone_takes_the_distance_in_the_plane_and_its_layer():
    x, y = frame()
    sites = [(0.0, 0.0, 0.0), (A, 0.0, -A)]
    for layer, shown in (("all", sites), ("top", sites[:1]), ("bottom", sites[1:]), ("middle", [])):
        (image,) = targets.DefectCone(layer=layer).render(labels(x, y, sites, [0, 2]))
        d = np.min([np.hypot(x - s[0], y - s[1]) for s in shown] or [np.full(x.shape, 9.0)], axis=0)
        np.testing.assert_allclose(image, np.clip(1.1 - d / (A / 2), 0, 1), atol=1e-12)


def test_a_flat_top_of_a_twentieth_and_nothing_beyond():
    # h = 1 within 0.05 a, 0 beyond 0.55 a
    x = np.array([[0.0, 0.0499, 0.0501, 0.549, 0.551]]) * A
    (image,) = targets.DefectCone().render(labels(x, 0 * x, [(0, 0, 0)], [0]))
    assert (image[0, :2] == 1).all()
    assert image[0, 2] < 1
    assert image[0, 3] > 0
    assert image[0, 4] == 0


def test_points_are_found_at_the_pixels_where_the_path_passes_them():
    x, y = frame(48, 3.0)
    x, y = x + 0.1 * y**2 + 0.2, y - 0.05 * x * y  # a smooth distortion
    rng = np.random.default_rng(4)
    pixels = rng.uniform(0, 47, (40, 2))
    low = np.floor(pixels).astype(int).clip(0, 46)
    t = pixels - low

    def at(image):
        i, j = low.T
        upper = image[i, j] * (1 - t[:, 1]) + image[i, j + 1] * t[:, 1]
        lower = image[i + 1, j] * (1 - t[:, 1]) + image[i + 1, j + 1] * t[:, 1]
        return upper * (1 - t[:, 0]) + lower * t[:, 0]

    found = targets.pixels_of(x, y, np.column_stack([at(x), at(y)]))
    np.testing.assert_allclose(found, pixels, atol=1e-3)


def test_jittered_lines_move_a_point_by_no_more_than_their_jitter():
    x, y = frame(48, 3.0, angle=0.0)
    rng = np.random.default_rng(5)
    shaken = x + rng.normal(0, 0.02, (48, 1))
    points = np.column_stack([x[5:40:7, 5:40:7].ravel(), y[5:40:7, 5:40:7].ravel()])
    found = targets.pixels_of(shaken, y, points)
    exact = targets.pixels_of(x, y, points)
    assert np.abs(found - exact).max() < 4 * 0.02 / (3.0 / 48) + 0.5  # four sigma in pixels, and a line's pitch
    np.testing.assert_allclose(
        exact, np.stack(np.meshgrid(range(5, 40, 7), range(5, 40, 7)), -1).reshape(-1, 2)[:, ::-1], atol=1e-6
    )


def test_outside_the_frame_the_path_goes_straight_on():
    x, y = frame(32, 2.0, angle=0.0)
    found = targets.pixels_of(x, y, np.array([(1.25, -1.5, 0.0)]))
    np.testing.assert_allclose(found, [[(-1.5 + 1) * 16 - 0.5, (1.25 + 1) * 16 - 0.5]], atol=1e-9)


@pytest.mark.parametrize(
    ("pixel", "seen"), [((-0.7, 3), True), ((-0.8, 3), False), ((3, 31.7), True), ((3, 31.8), False)]
)
def test_in_view(pixel, seen):
    assert targets.in_view(np.array([pixel]), 32, 32).tolist() == [seen]


def test_declared_arrays_are_what_is_drawn():
    x, y = frame()
    known = labels(x, y, [(0, 0, 0)], [0])
    for name, kind in targets.TARGETS.items():
        if name not in ("clean", "distortion", "tip_state", "levelled"):  # need a field, a path; see test_sample.py
            specs, images = kind().arrays(name, 24), kind().render(known)
            assert [spec.shape for spec in specs] == [image.shape for image in images]
