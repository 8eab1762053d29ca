"""Physical constants and conversions, all in nm, eV, V, nA, s (CODATA through scipy.constants)."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import constants

Floats: TypeAlias = NDArray[np.float64]
Floats32: TypeAlias = NDArray[np.float32]
Complexes: TypeAlias = NDArray[np.complexfloating[Any, Any]]  # 64 or 128 bits
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

NM_PER_M = 1e9
NA_PER_A = 1e9
CONDUCTANCE_QUANTUM_nA_per_V = NA_PER_A * constants.value("conductance quantum")  # 2 e^2 / h, both spins
ELEMENTARY_CHARGE_C = constants.e


def decay_constant(work_function_eV: float) -> float:
    """Return the vacuum decay constant kappa in 1/nm.

    kappa = sqrt(2 m phi) / hbar = 5.123 sqrt(phi / eV) per nm.

    References
    ----------
    C. J. Chen, Introduction to Scanning Tunneling Microscopy, 3rd ed. (2021), eq. 1.7,
    doi:10.1093/oso/9780198856559.001.0001.

    Examples
    --------
    >>> round(decay_constant(4.5), 2)
    10.87
    """
    wave_number_per_m = math.sqrt(2 * constants.m_e * work_function_eV * constants.e) / constants.hbar
    return float(wave_number_per_m / NM_PER_M)


def trapezoid_decay(energies_eV: Floats, *, sample_eV: float, tip_eV: float, bias_V: float) -> Floats:
    """Return kappa in 1/nm at energies from the sample's Fermi level, (n_energies,), under a trapezoidal barrier.

    The barrier falls from phi_1 = phi_s - E at the sample to phi_2 = phi_t + eV - E at the tip, V the sample bias.
    WKB: a current falls as exp(-2 kappa D), kappa the mean of sqrt(2 m phi(x)) / hbar over the gap,

        kappa = 2/3 sqrt(2 m) / hbar (phi_1^3/2 - phi_2^3/2) / (phi_1 - phi_2) = 2/3 .. (a^2 + a b + b^2) / (a + b)

    with a = sqrt(phi_1), b = sqrt(phi_2).

    Raises
    ------
    ValueError
        If an energy is above an end of the barrier.

    References
    ----------
    J. G. Simmons, J. Appl. Phys. 34, 1793 (1963), doi:10.1063/1.1702682.
    """
    first, second = sample_eV - energies_eV, tip_eV + bias_V - energies_eV
    if min(first.min(), second.min()) <= 0:
        raise ValueError("an energy above an end of the barrier")
    a, b = np.sqrt(first), np.sqrt(second)
    return np.asarray(decay_constant(1.0) * 2 / 3 * (a * a + a * b + b * b) / (a + b))
