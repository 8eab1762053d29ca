"""Energies in the complex plane, and weights, that make a broadened density of states from Green functions at them."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from .units import Floats

SPACING, SHIFT, BEYOND = 1.25, 2.0, 1.5  # of the energies, in broadenings: 1e-4 of a window's density; see contour
EXACT_SPACING, EXACT_SHIFT, EXACT_BEYOND = 1.1, 2.0, 3.0  # 2.5e-5 of it, also of far levels; see exact_contour
FIT_STEP, FIT_NEAR, FIT_FAR, FIT_TAIL = 1 / 8, 3.0, 100.0, 60  # where their weights are fitted, in broadenings


def contour(low_eV: float, high_eV: float, broadening_eV: float) -> NDArray[np.complex128]:
    """Return the energies x_n + i eta needed for Gaussian-broadened densities on [low, high], shape (n_energies,).

    x_n are the multiples of ``SPACING`` sigma within ``BEYOND`` sigma of the interval, eta = ``SHIFT`` sigma. What they
    leave of a density integrated over a window, 1e-4 of its largest value, is in test_greens.py::test_fitted_weights.
    """
    return _contour(low_eV, high_eV, broadening_eV, spacing=SPACING, shift=SHIFT, beyond=BEYOND)


def _contour(
    low_eV: float, high_eV: float, broadening_eV: float, *, spacing: float, shift: float, beyond: float
) -> NDArray[np.complex128]:
    step = spacing * broadening_eV
    first = math.floor((low_eV - beyond * broadening_eV) / step)
    last = math.ceil((high_eV + beyond * broadening_eV) / step)
    return np.asarray(np.arange(first, last + 1) * step + 1j * shift * broadening_eV, dtype=np.complex128)


def contour_weights(energies_eV: NDArray[np.complex128], at_eV: Floats, broadening_eV: float) -> NDArray[np.complex128]:
    """Return W_n(E) with rho(E) = Im sum_n W_n(E) G(x_n + i eta) for energies of ``contour``, shape (n_energies, n_at).

    G(z) = int rho_0(e) / (z - e) de, so that Im sum_n W_n / (x_n + i eta - e) is to be the normalised Gaussian at e - E
    for every real e: a least-squares fit, for which fewer energies do than for a quadrature along the contour.
    """
    return _fitted_weights(_fit(len(energies_eV), SPACING, SHIFT), energies_eV, at_eV, broadening_eV)


def _fitted_weights(
    fit: tuple[Floats, Floats], energies_eV: NDArray[np.complex128], at_eV: Floats, broadening_eV: float
) -> NDArray[np.complex128]:
    at, back = fit
    middle_eV = (energies_eV[0].real + energies_eV[-1].real) / 2
    offset = (at_eV - middle_eV) / broadening_eV - at[:, None]
    weights, n = back @ (np.exp(-(offset**2) / 2) / math.sqrt(2 * math.pi)), len(energies_eV)
    return np.asarray(weights[:n] + 1j * weights[n:])


def exact_contour(low_eV: float, high_eV: float, broadening_eV: float) -> NDArray[np.complex128]:
    """Return energies x_n + i eta as ``contour`` does, closer and farther from the real axis, (n_energies,).

    What they leave of a window, less than 2.5e-5 of its largest density near by and for far levels alike, is in
    test_greens.py::test_fitted_weights: levels deep in a band reach farther into the vacuum than those at its edge.
    """
    return _contour(low_eV, high_eV, broadening_eV, spacing=EXACT_SPACING, shift=EXACT_SHIFT, beyond=EXACT_BEYOND)


def exact_contour_weights(
    energies_eV: NDArray[np.complex128], at_eV: Floats, broadening_eV: float
) -> NDArray[np.complex128]:
    """Return the weights of ``contour_weights`` for energies of ``exact_contour``, shape (n_energies, n_at)."""
    return _fitted_weights(_fit(len(energies_eV), EXACT_SPACING, EXACT_SHIFT), energies_eV, at_eV, broadening_eV)


@functools.cache
def _fit(n_energies: int, spacing: float, shift: float) -> tuple[Floats, Floats]:
    """Return points e about a contour's middle, (n_points,), and weights W, (2 n_energies, n_points), Re above Im.

    Energies are in broadenings. Column i is the best fit of Im sum_n W_n / (z_n - e) to 1 at e_i and to 0 at all other
    points, far ones too.
    """
    half = (n_energies - 1) / 2 * spacing
    z = np.linspace(-half, half, n_energies) + 1j * shift
    near = np.arange(-half - FIT_NEAR, half + FIT_NEAR + FIT_STEP / 2, FIT_STEP)
    far = half + np.geomspace(FIT_NEAR + FIT_STEP, FIT_FAR, FIT_TAIL)
    g = 1 / (z - np.concatenate([near, far, -far])[:, None])
    return near, np.ascontiguousarray(np.linalg.pinv(np.concatenate([g.imag, g.real], axis=1))[:, : len(near)])
