"""The coherent current of a crystal's scene to the front atom of a tip, through each node of the barrier.

A node has a decay constant, and with it vacuum tables of its own: the current of each is a form in amplitudes of its
energies, and they add up before their logarithm is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    """A material, what is changed in it, the shifts of its levels, and its Green functions."""

    material: Material
    change: Perturbation
    halo: Halos
    green: GreenTable


def intensities(
    sample: Sample, tip: Tip, junction: Junction, table: Heights, cells: Ints, energies: tuple[int, int], *, keep: Keep
) -> Floats32:
    """Return J of the front atom at the points of cells (u, v), (n_cells, n_points).

    ``energies`` are the ends, in broadenings, of the windows that the tables serve.
    """
    first, *others = (
        _of_node(sample, tip, junction, node, table, cells, energies, keep=keep)
        for node in barrier.nodes(junction, table.z_mid_nm)
    )
    for other in others:
        first += other
    return first


def _of_node(
    sample: Sample,
    tip: Tip,
    junction: Junction,
    node: barrier.Node,
    table: Heights,
    cells: Ints,
    energies: tuple[int, int],
    *,
    keep: Keep,
) -> Floats32:
    """Return J of the energies of one node."""
    material, change, halo, sigma_eV = sample.material, sample.change, sample.halo, sample.material.broadening_eV
    (low_eV, high_eV), levels_eV = junction.window_eV, halo.levels_eV(sigma_eV)
    energies_eV = greens.exact_contour(low_eV - levels_eV[-1], high_eV - levels_eV[0], sigma_eV)
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
    by_level, green = np.array(weights), sample.green.at(energies_eV)
    of_guests = halos.between_levels(
        np.repeat(by_level[:, None], len(change.added_eV), axis=1), levels_eV, halo.shift_eV(change.added_nm[:, :2])
    )
    kappa = node.kappa_per_nm
    return coherent.intensities(
        vacuum(material, energies, table, kappa, tip.shape, keep),
        green,
        change,
        by_level,
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
            kappa_per_nm=kappa,
            tip=tip.shape,
        ),
    )
