"""The coherent current, and dI/dV, over a window of cells: that of the front atom first, then the sum over the tip."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from . import coherent, coherent_scene, conductance, current, greens, structure
from .coherent_scene import Part, Sample
from .current import Heights
from .field import CurrentField
from .green_tables import green_table, in_steps
from .junction import Junction
from .structure import Window
from .tables import Keep
from .tips import Tip
from .units import Floats32

Energies = tuple[int, int]  # the ends of the windows that the tables serve, in broadenings


def of_current(
    sample: Sample, tip: Tip, junction: Junction, table: Heights, *, view: Window, energies: Energies, keep: Keep
) -> CurrentField:
    """Return the field of the current over a window of cells."""
    material, bias_V = sample.material, junction.sample_bias_V
    shares = current.window_shares(tip, bias_V=bias_V, broadening_eV=material.broadening_eV)
    shares = shares * current.calibration_nA_eV(material)
    atoms = coherent.heard_atoms(tip.positions_nm, shares, kappa_per_nm=junction.decay_per_nm)
    alone, whole = coherent.stepped(table, atoms.depth_nm), coherent.window_under(material, view, atoms)
    parts = coherent_scene.of_window(sample, tip, junction, alone.z_mid_nm)
    found = _of_front_atom(sample, parts, alone, whole, energies, keep=keep)
    polarity = 1 if bias_V > 0 else -1
    field = current.field_of_cells(found, alone, material=material, view=whole, polarity=polarity)
    total = coherent.summed(field, whole, atoms, table, view=view)
    return current.field_of_cells(total, table, material=material, view=view, polarity=polarity)


def conductance_in_cells(
    sample: Sample,
    tip: Tip,
    junction: Junction,
    bias_V: float,
    table: Heights,
    *,
    view: Window,
    energies: Energies,
    keep: Keep,
) -> Floats32:
    """Return dI/dV at a bias in the cells of a window, nA/V, (n_cells, n_heights * n_grid**2)."""
    material, parts = sample.material, coherent_scene.of_bias(sample, tip, junction, bias_V)
    shares = tip.density(np.zeros(1))[:, 0] * current.calibration_nA_eV(material)
    atoms = coherent.heard_atoms(tip.positions_nm, shares, kappa_per_nm=parts[0].kappa_per_nm)
    alone, whole = coherent.stepped(table, atoms.depth_nm), coherent.window_under(material, view, atoms)
    energies = _that_hold(sample, bias_V + (junction.fermi_eV or 0.0), energies)
    found = _of_front_atom(sample, parts, alone, whole, energies, keep=keep)
    front = conductance.of_cells(found, alone, material=material, view=whole)
    return conductance.summed(front, whole, atoms, table, view=view)


def _of_front_atom(
    sample: Sample, parts: Sequence[Part], table: Heights, whole: Window, energies: Energies, *, keep: Keep
) -> Floats32:
    """Return J of the front atom in the cells of a window, (n_cells, n_points)."""
    reach = in_steps(structure.span(whole, greens.changed_orbitals(sample.change)))
    green = green_table(sample.material, *energies, reach, exact=True, keep=keep)
    return coherent_scene.intensities(sample, green, parts, table, whole.indices, energies, keep=keep)


def _that_hold(sample: Sample, at_eV: float, energies: Energies) -> Energies:
    """Return the ends of windows that hold an energy at all shifts of the levels: those given, where they do."""
    sigma_eV = sample.material.broadening_eV
    levels_eV = sample.halo.levels_eV(sigma_eV)
    low, high = math.floor((at_eV - levels_eV[-1]) / sigma_eV), math.ceil((at_eV - levels_eV[0]) / sigma_eV)
    return energies if energies[0] <= low and high <= energies[1] else (low, high)
