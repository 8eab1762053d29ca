"""The barrier between sample and tip: one decay constant, or a trapezoid whose decay depends on energy and bias.

Under a trapezoid each energy of the window has a decay constant of its own, ``units.trapezoid_decay``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import units
from .junction import Junction
from .units import Floats

FARTHEST_nm = 0.4  # between a path and the middle of the tabulated heights, where its current counts
NODE_ERROR = 3e-4  # of the current; test_barrier.py::test_currents_of_all_energies_add


@dataclass(frozen=True)
class Node:
    """A decay constant, and what each energy (from the Fermi level, at a bias) weighs in the current that has it."""

    kappa_per_nm: float
    weigh: Callable[[Floats], Floats]


def nodes(junction: Junction, z_nm: float) -> list[Node]:
    """Return a few decay constants whose currents add up to that of all energies in a window, at gaps around ``z_nm``.

    exp(-2 kappa D) = exp(-2 kappa z) exp(-2 kappa (D - z)): the second factor by Lagrange's polynomial in kappa on
    Chebyshev nodes, as many as make its error ``NODE_ERROR`` at |D - z| = ``FARTHEST_nm``. One for a constant barrier.
    """
    if junction.barrier != "trapezoid":
        return [Node(junction.decay_per_nm, np.ones_like)]
    window_eV = np.array([0.0, junction.sample_bias_V])
    ends = _kappa(junction, window_eV, junction.sample_bias_V)
    middle, half = ends.mean(), abs(np.ptp(ends)) / 2
    reached, n = 2 * half * FARTHEST_nm, 1
    while reached**n / (2 ** (n - 1) * math.factorial(n)) > NODE_ERROR:
        n += 1
    at = middle + half * np.cos(math.pi * (np.arange(n) + 0.5) / n)

    def weight(k: int) -> Callable[[Floats], Floats]:
        others = np.delete(at, k)

        def weigh(energies_eV: Floats) -> Floats:
            kappa = _kappa(junction, energies_eV, junction.sample_bias_V)
            share = np.prod((kappa[:, None] - others) / (at[k] - others), axis=1)
            return np.asarray(share * np.exp(-2 * (kappa - at[k]) * z_nm))

        return weigh

    return [Node(float(kappa), weight(k)) for k, kappa in enumerate(at)]


def of_bias(junction: Junction, bias_V: float) -> float:
    """Return kappa of the electrons at the tip's Fermi level at some bias: those that dI/dV tells of."""
    if junction.barrier != "trapezoid":
        return junction.decay_per_nm
    return float(_kappa(junction, np.array([bias_V]), bias_V)[0])


def _kappa(junction: Junction, energies_eV: Floats, bias_V: float) -> Floats:
    assert junction.work_function_eV is not None  # Junction
    assert junction.tip_work_function_eV is not None
    ends = {"sample_eV": junction.work_function_eV, "tip_eV": junction.tip_work_function_eV}
    return units.trapezoid_decay(energies_eV, bias_V=bias_V, **ends)
