"""What tests hold the package against: constants typed a second time from the literature, and slow plain formulas."""

import math

import numpy as np

WSE2_S = {"a_nm": 0.332, "hopping_eV": 1.19, "broadening_eV": 0.1}  # the published one-orbital model (Luzny 2025)
TUNGSTEN = {"a_nm": 0.3165, "first_eV": 2.5, "second_eV": 2.0}  # the same model's tip
TUNGSTEN_SPD_eV = {  # Andersen's TB-LMTO two-centre W (LCAO_Spin_Dynamics): s, p, t2g, eg, then the bonds
    "onsite": {"s": 1.85, "p": 7.458, "t2g": 1.52, "eg": 0.894},
    "first": {"sss": -1.214, "sps": 1.449, "pps": 1.739, "ppp": -0.265, "sds": -1.353, "pds": -1.676, "pdp": 0.469}
    | {"dds": -1.704, "ddp": 0.821, "ddd": -0.084},
    "second": {"sss": -0.416, "sps": 0.54, "pps": 0.685, "ppp": -0.037, "sds": -0.572, "pds": -0.738, "pdp": 0.074}
    | {"dds": -0.781, "ddp": 0.16, "ddd": -0.009},
}
G0_nA_per_V = 77480.917  # 2 e^2/h, CODATA 2018
KAPPA_PER_SQRT_eV = 5.1232  # sqrt(2 m_e 1 eV)/hbar in 1/nm


def contour(low_eV, high_eV, sigma_eV):
    """Energies x_n + i pi sigma / 2, multiples of sigma to 4 sigma beyond [low, high]."""
    n = np.arange(math.floor(low_eV / sigma_eV) - 4, math.ceil(high_eV / sigma_eV) + 5)
    return n * sigma_eV + 0.5j * math.pi * sigma_eV


def contour_weights(z, at_eV, sigma_eV):
    """W_n(E) of rho(E) = Im sum_n W_n G(z_n): the trapezoidal rule along the shifted contour; exp(-pi^2) = 5e-5 off."""
    gauss = np.exp(-((at_eV - z[:, None]) ** 2) / (2 * sigma_eV**2)) / (math.sqrt(2 * math.pi) * sigma_eV)
    return -(sigma_eV / math.pi) * gauss


# (111) faces: neighbours nm, bottom of the band eV, mass, width at the bottom eV (Reinert et al. 2001; Echenique et al.
# 2004), half the Fermi wavelength and the height of a step in nm
METALS_111 = {
    "cu-111": (0.2556, -0.435, 0.412, 0.024, 1.45, 0.209),
    "ag-111": (0.2889, -0.063, 0.397, 0.006, 3.88, 0.236),
    "au-111": (0.2884, -0.487, 0.255, 0.018, 1.74, 0.2355),
}


def wave_number(mass, bottom_eV, at_eV, width_eV):
    """k = sqrt(2 m (E - E_0 + i Gamma / 2)) / hbar in 1/nm; hbar^2 / 2 m_e = 0.0380998 eV nm^2."""
    return np.sqrt(mass * (at_eV - bottom_eV + 0.5j * np.asarray(width_eV)) / 0.0380998)
