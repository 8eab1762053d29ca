"""The coherent current of a crystal's scene to the front atom of a tip, through each node of the barrier.

A node has a decay constant, and with it vacuum tables of its own: the current of each is a form in amplitudes of its
energies, and they add up before their logarithm is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import barrier, coherent, coherent_guests, current, greens, halos
from .current import Heights
from .green_tables import vacuum
from .greens import GreenTable, Perturbation
from .halos import Halos
from .junction import Junction
from .materials import Material
from .tables import Keep
from .tips import Tip
from .units import Floats32, Ints


@dataclass(frozen=True)
class Sample:
    """A material, what is changed in it, and the shifts of its levels."""

    material: Material
    change: Perturbation
    halo: Halos


@dataclass(frozen=True)
class Part:
    """What has one decay constant and one shape of the tip: the weights of energies, (n_levels, n_energies)."""

    kappa_per_nm: float
    shape: str
    energies_eV: NDArray[np.complex128]
    weights: NDArray[np.complex128]


def of_window(sample: Sample, tip: Tip, junction: Junction, z_nm: float) -> list[Part]:
    """Return the parts of the current at gaps around ``z_nm``: one a node of the barrier and wave of the tip."""
    sigma_eV = sample.material.broadening_eV
    (low_eV, high_eV), levels_eV = junction.window_eV, sample.halo.levels_eV(sigma_eV)
    energies_eV = greens.exact_contour(low_eV - levels_eV[-1], high_eV - levels_eV[0], sigma_eV)
    found = []
    for node in barrier.nodes(junction, z_nm):
        weights = [
            current.window_weights(
                energies_eV,
                tip,
                bias_V=junction.sample_bias_V,
                broadening_eV=sigma_eV,
                fermi_eV=(junction.fermi_eV or 0.0) - level,
                of_contour=greens.exact_contour_weights,
                weigh=node.weigh,
            )[:, 0]
            for level in levels_eV
        ]
        found += [Part(node.kappa_per_nm, shape, energies_eV, share * np.array(weights)) for shape, share in tip.waves]
    return found


def of_bias(sample: Sample, tip: Tip, junction: Junction, bias_V: float) -> list[Part]:
    """Return what dI/dV at a bias tells of: the spectral matrix at one energy, through each wave of the tip."""
    sigma_eV, at_eV = sample.material.broadening_eV, bias_V + (junction.fermi_eV or 0.0)
    levels_eV = sample.halo.levels_eV(sigma_eV)
    energies_eV = greens.exact_contour(at_eV - levels_eV[-1], at_eV - levels_eV[0], sigma_eV)
    weights = greens.exact_contour_weights(energies_eV, at_eV - levels_eV, sigma_eV).T
    kappa = barrier.of_bias(junction, bias_V)
    return [Part(kappa, shape, energies_eV, share * weights) for shape, share in tip.waves]


def intensities(
    sample: Sample,
    green: GreenTable,
    parts: Sequence[Part],
    table: Heights,
    cells: Ints,
    energies: tuple[int, int],
    *,
    keep: Keep,
) -> Floats32:
    """Return J of a tip's front atom at the points of cells (u, v), (n_cells, n_points).

    ``energies`` are the ends, in broadenings, of the windows that the tables serve.
    """
    first, *others = (
        _intensities(sample, green.at(part.energies_eV), part, table, cells, energies, keep=keep) for part in parts
    )
    for other in others:
        first += other
    return first


def _intensities(
    sample: Sample,
    green: GreenTable,
    part: Part,
    table: Heights,
    cells: Ints,
    energies: tuple[int, int],
    *,
    keep: Keep,
) -> Floats32:
    """Return J of the energies of one part."""
    material, change, halo = sample.material, sample.change, sample.halo
    levels_eV = halo.levels_eV(material.broadening_eV)
    of_guests = halos.between_levels(
        np.repeat(part.weights[:, None], len(change.added_eV), axis=1), levels_eV, halo.shift_eV(change.added_nm[:, :2])
    )
    return coherent.intensities(
        vacuum(material, energies, table, part.kappa_per_nm, part.shape, keep),
        green,
        change,
        part.weights,
        cells,
        material=material,
        levels_eV=levels_eV,
        shift_eV=halo.shift_eV((cells + 0.5) @ material.lattice_nm),
        guests=coherent_guests.guests(
            material,
            green,
            change,
            of_guests,
            points_nm=coherent.points_of_cell(material, table),
            kappa_per_nm=part.kappa_per_nm,
            tip=part.shape,
        ),
    )
