"""The (111) faces of noble metals: lattice, steps, and the free-electron band of their surface state.

E(k) = E_0 + hbar^2 k^2 / 2 m. A finite lifetime makes k complex, k = sqrt(2 m (E - E_0 + i Gamma / 2)) / hbar, so that
standing waves fade with distance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .materials import Material, Site, triangular_lattice
from .units import Floats, decay_constant

FREE_ELECTRON_per_nm = decay_constant(1.0)  # sqrt(2 m_e 1 eV) / hbar
BULK_LIFETIME_fs_eV2 = (
    263.0  # of electrons above E_F, times r_s^(-5/2) / E^2: Quinn and Ferrell, Phys. Rev. 112, 812 (1958)
)
HBAR_eV_fs = 0.6582


@dataclass(frozen=True, eq=False)
class Metal:
    """A (111) face and its surface state.

    Attributes
    ----------
    lattice : Material
        Sites of the top layer: its atoms, and the hollows above the second (hcp) and the third layer (fcc).
    bottom_eV, mass : float
        Bottom of the band from the Fermi level, and effective mass in electron masses.
    linewidth_eV, phonon_eV : float
        Full width at the bottom of the band, and the part of it that phonons make, at any energy.
    density_radius : float
        r_s of the metal's electrons: sets the lifetime above the Fermi level.
    """

    lattice: Material
    bottom_eV: float
    mass: float
    linewidth_eV: float
    phonon_eV: float
    density_radius: float

    @property
    def step_nm(self) -> float:
        """Height of a step of one atom: sqrt(2/3) of the distance of neighbours."""
        return math.sqrt(2 / 3) * self.lattice.lattice_constant_nm

    def linewidth(self, energies_eV: Floats) -> Floats:
        """Return Gamma(E) in eV, the full width: phonons, and electrons as E^2 on either side of the Fermi level."""
        hole_per_eV = (self.linewidth_eV - self.phonon_eV) / self.bottom_eV**2
        electron_per_eV = HBAR_eV_fs / (BULK_LIFETIME_fs_eV2 * self.density_radius**-2.5)
        return np.asarray(
            self.phonon_eV
            + np.where(
                energies_eV < 0,
                hole_per_eV * np.maximum(energies_eV, self.bottom_eV) ** 2,
                electron_per_eV * energies_eV**2,
            )
        )

    def wave_numbers(self, energies_eV: Floats) -> NDArray[np.complex128]:
        """Return the complex wave numbers k(E) in 1/nm, shape (n_energies,); their imaginary part is positive."""
        above_eV = energies_eV - self.bottom_eV + 0.5j * self.linewidth(energies_eV)
        return np.asarray(FREE_ELECTRON_per_nm * np.sqrt(self.mass * above_eV))


def _face(name: str, species: str, neighbour_nm: float, source: str) -> Material:
    """Return a (111) face: the top layer's sites, the hollows at the depth of the atoms beneath."""
    layer_nm, hollow_nm = math.sqrt(2 / 3) * neighbour_nm, neighbour_nm / math.sqrt(3)
    return Material(
        name=name,
        lattice_nm=triangular_lattice(neighbour_nm),
        sites=(
            Site("top", species, "top", (0.0, 0.0, 0.0)),
            Site("hcp", species, "top", (neighbour_nm / 2, hollow_nm / 2, -layer_nm)),
            Site("fcc", species, "top", (0.0, hollow_nm, -2 * layer_nm)),
        ),
        hoppings_eV={},
        fermi_eV=0.0,
        broadening_eV=0.0,
        mean_ldos_per_eV=1.0,
        source=source,
    )


_BANDS = (
    "F. Reinert et al., Phys. Rev. B 63, 115415 (2001); widths: P. M. Echenique et al., Surf. Sci. Rep. 52, 219 (2004)"
)

METALS: Mapping[str, Metal] = {
    metal.lattice.name: metal
    for metal in (
        Metal(_face("cu-111", "Cu", 0.2556, _BANDS), -0.435, 0.412, 0.024, 0.008, 2.67),
        Metal(_face("ag-111", "Ag", 0.2889, _BANDS), -0.063, 0.397, 0.006, 0.004, 3.02),
        Metal(_face("au-111", "Au", 0.2884, _BANDS), -0.487, 0.255, 0.018, 0.004, 3.01),
    )
}
