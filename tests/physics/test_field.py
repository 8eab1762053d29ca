"""The current field: exact for cubics, straight outside its heights, never silent outside its window."""

import numpy as np
import pytest

from stmfab.physics import field
from tests import twins

WINDOW = (-1.0, 1.0, -0.8, 0.7)


def cubic(x, y, z):
    """ln I, cubic in x and y, quartic in z: what 4-point Lagrange and five nodes hold exactly."""
    return 1.0 - 20 * z + 2 * z**2 - z**4 + 0.3 * x**3 - x * y**2 + 0.5 * x * y * z + 0.1 * y**3 * z**2


def made(**keywords):
    return field.tabulated(cubic, window_nm=WINDOW, step_nm=0.05, z_nm=(0.3, 0.7), **keywords)


def points(n=200, seed=3):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, n), rng.uniform(-0.8, 0.7, n), rng.uniform(0.3, 0.7, n)


def test_cubics_are_exact():
    x, y, z = points()
    np.testing.assert_allclose(made().log_current(x, y, z), cubic(x, y, z), atol=1e-5)  # float32 of a value of 10


def test_interpolation_error_is_of_fourth_order():
    def wave(x, y, z):
        return np.cos(7 * x + 3 * y) - 20 * z

    x, y, z = points()
    errors = [
        np.abs(
            field.tabulated(wave, window_nm=WINDOW, step_nm=step, z_nm=(0.3, 0.7)).log_current(x, y, z) - wave(x, y, z)
        ).max()
        for step in (0.1, 0.05)
    ]
    assert 11 < errors[0] / errors[1] < 19  # 2^4, the points are not the worst ones


def test_heights_invert_the_field():
    x, y, _ = points()
    for level in (-9.0, -7.0):
        at = made().heights(x, y, level)
        np.testing.assert_allclose(cubic(x, y, at), level, atol=1e-5)


@pytest.mark.parametrize(("beyond", "edge"), [(0.25, 0.3), (0.1, 0.3), (0.8, 0.7), (1.5, 0.7)])
def test_outside_the_heights_a_straight_line_with_the_edge_slope(beyond, edge):
    x, y = np.array([0.2]), np.array([-0.3])
    slope = (cubic(x, y, edge + 1e-6) - cubic(x, y, edge - 1e-6)) / 2e-6
    straight = cubic(x, y, edge) + slope * (beyond - edge)
    np.testing.assert_allclose(made().log_current(x, y, beyond), straight, rtol=1e-4)  # float32 coefficients
    np.testing.assert_allclose(made().heights(x, y, float(straight[0])), beyond, atol=1e-4)


def test_outside_the_window_is_nan_and_an_error():
    assert np.isnan(made().log_current(np.array([3.0]), np.array([0.0]), 0.5)).all()
    with pytest.raises(ArithmeticError, match="holes"):
        made().heights(np.array([3.0]), np.array([0.0]), -9.0)


def test_a_current_that_does_not_fall_is_an_error():
    rising = field.tabulated(lambda x, y, z: 0 * x * y * z, window_nm=WINDOW, step_nm=0.1, z_nm=(0.3, 0.7))
    with pytest.raises(ArithmeticError, match="does not fall"):
        rising.heights(np.array([0.0]), np.array([0.0]), -9.0)


def test_nodes_and_monomials():
    nodes = field.chebyshev_nodes(6)
    np.testing.assert_allclose(np.cos(6 * np.arccos(nodes)), 0, atol=1e-12)  # zeros of T_6
    np.testing.assert_allclose(field.values_to_monomials(6) @ nodes**3, np.eye(6)[3], atol=1e-12)


@pytest.mark.parametrize("n_heights", [4, 5, 6, 8, 9])
def test_interpolation_is_its_plain_twin(n_heights):
    world = made(n_heights=n_heights)
    x, y, _ = points(20)
    expected = [twins.height_polynomial(world, *point) for point in zip(x, y, strict=True)]
    np.testing.assert_allclose(world.over(x, y).polynomials, expected, atol=1e-5)  # float32 of values of 10


def test_coefficients_that_are_not_padded_are_an_error():
    with pytest.raises(ValueError, match="pad them"):
        field.CurrentField(np.zeros((9, 9, 5), np.float32), np.zeros(2), np.eye(2), 0.0, 1.0)
