"""The true vacuum solutions of atomic orbitals, as s and p tips feel them: k_l(kappa d) Y_lm and its derivatives."""

from __future__ import annotations

import numpy as np

from .units import Floats

AT_nm = 0.5  # an s orbital's amplitude is exp(-kappa d) here
TIP_SHAPES = ("s", "pz", "px", "py")


def bessel(order: int, x: Floats) -> Floats:
    """Return the modified spherical Bessel function k_l(x) = e^-x/x (l = 0), e^-x (1/x + 1/x^2) (l = 1), ..., l <= 3.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 10.49.12, without its factor pi/2.
    """
    polynomials = ((1.0,), (1.0, 1.0), (1.0, 3.0, 3.0), (1.0, 6.0, 15.0, 15.0))
    return np.asarray(np.exp(-x) / x * sum(c / x**power for power, c in enumerate(polynomials[order])))


def lobe(orbital: str, ways_nm: Floats, *, kappa_per_nm: float, tip: str = "s") -> Floats:
    """Return an orbital's amplitude at the tip, ``ways_nm`` (..., 3) from the orbital, shape (...).

    f = N k_l(kappa d) Y_lm(d/|d|), one N for all, Y of mean square 1, f_s(0.5 nm) = exp(-0.5 nm kappa). A p tip feels
    the derivative of f along its axis, over kappa.

    References
    ----------
    J. Tersoff and D. R. Hamann, Phys. Rev. B 31, 805 (1985), doi:10.1103/PhysRevB.31.805;
    C. J. Chen, Phys. Rev. B 42, 8841 (1990), doi:10.1103/PhysRevB.42.8841.
    """
    distance_nm = np.linalg.norm(ways_nm, axis=-1)
    order, harmonic, gradient = _solid_harmonic(orbital, ways_nm)
    radial = bessel(order, kappa_per_nm * distance_nm) / distance_nm**order
    scale = kappa_per_nm * AT_nm
    if tip == "s":
        return np.asarray(scale * radial * harmonic)
    axis = "xyz".index(tip[1])
    slope = -bessel(order + 1, kappa_per_nm * distance_nm) / distance_nm ** (order + 1) * ways_nm[..., axis]
    return np.asarray(scale * (slope * harmonic + radial * gradient[axis] / kappa_per_nm))


def _solid_harmonic(orbital: str, ways_nm: Floats) -> tuple[int, Floats, tuple[Floats, Floats, Floats]]:
    """Return l, the solid harmonic d^l Y_lm and its gradient (x, y, z)."""
    x, y, z = np.moveaxis(ways_nm, -1, 0)
    one, none = np.ones_like(x), np.zeros_like(x)
    p, d, e = np.sqrt(3), np.sqrt(15), np.sqrt(5) / 2
    table = {
        "s": (0, one, (none, none, none)),
        "pz": (1, p * z, (none, none, p * one)),
        "px": (1, p * x, (p * one, none, none)),
        "py": (1, p * y, (none, p * one, none)),
        "dz2": (2, e * (2 * z**2 - x**2 - y**2), (-2 * e * x, -2 * e * y, 4 * e * z)),
        "dxz": (2, d * x * z, (d * z, none, d * x)),
        "dyz": (2, d * y * z, (none, d * z, d * y)),
        "dxy": (2, d * x * y, (d * y, d * x, none)),
        "dx2-y2": (2, d / 2 * (x**2 - y**2), (d * x, -d * y, none)),
    }
    return table[orbital]
