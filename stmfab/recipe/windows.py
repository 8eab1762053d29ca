"""Rules about the energies that carry current: gaps, and what a coherent current asks of a junction and a material."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from .. import shifts
from ..distributions import Choice, Constant
from ..parts import Part
from ..physics import coherent, greens, halos
from ..physics.materials import Material
from ..plan import junction_parts
from .checking import Report

HOLE_KAPPA_per_nm, HOLE_z_nm, LEAST_SHARE = 10.9, 0.5, 0.2  # where holes are looked for; the least legal share

Ends = Mapping[str, tuple[float, float]]


def check_gap(all_parts: list[Part], material: Material, ends: Ends, report: Report) -> None:
    """Report a bias whose window of energies can lie in the gap of the material: no state carries current there."""
    edges = greens.band_edges(material)
    if edges is not None:
        for part in junction_parts(all_parts):
            _check_window(part, material, edges, ends, report)


def _check_window(part: Part, material: Material, edges: tuple[float, float], ends: Ends, report: Report) -> None:
    """Report a junction whose window of energies can lie between the edges of two bands."""
    names = ("bias_V", "polarity", "fermi_eV")
    if any(report.hidden(part.key_path(name)) for name in names):
        return
    (low, high), signs, levels = (ends_of(part, name, ends) for name in names)
    biases = {low, high} | ({0.0} if low < 0 < high else set())
    for bias_V, sign, fermi_eV in itertools.product(sorted(biases, key=abs), signs, levels):
        least, most = sorted((fermi_eV, fermi_eV + sign * bias_V))
        if edges[0] <= least and most <= edges[1]:
            legal = f"a bias below {edges[0] - fermi_eV:.3g} or above {edges[1] - fermi_eV:.3g} V"
            gap = f"lies in the gap of {material.name}, {edges[0]:.3g} to {edges[1]:.3g} eV"
            found = f"at {sign * bias_V:g} V the window from {least:.3g} to {most:.3g} eV {gap}"
            report.fault_at(part.key_path("bias_V"), f"{found}; legal: {legal}")
            return


def check_charges(all_parts: list[Part], material: Material, ends: Ends, report: Report) -> None:
    """Report a charge whose shift of the levels can take a window of energies into the gap."""
    edges = greens.band_edges(material)
    charged = [part for part in all_parts if part.path.startswith("sample.defects.") and shifts.is_charged(part)]
    if edges is None:
        return
    for part in charged:
        if any(report.hidden(part.key_path(name)) for name in halos.OF_A_CHARGE):
            continue
        for shift_eV in shifts.peaks_eV([part], lambda part, name: ends_of(part, name, ends)):
            for junction in junction_parts(all_parts):
                _check_shift(part, junction, float(shift_eV), edges, ends, report)


def _check_shift(
    part: Part, junction: Part, shift_eV: float, edges: tuple[float, float], ends: Ends, report: Report
) -> None:
    """Report a charge that shifts the levels so far that a junction's window lies between the edges of two bands."""
    path = part.key_path("charge")
    names = ("bias_V", "polarity", "fermi_eV")
    if report.hidden(path) or any(report.hidden(junction.key_path(name)) for name in names):
        return
    biases, signs, levels = (ends_of(junction, name, ends) for name in names)
    for bias_V, sign, fermi_eV in itertools.product(sorted(biases, key=abs), signs, levels):
        least, most = sorted((fermi_eV - shift_eV, fermi_eV - shift_eV + sign * bias_V))
        if edges[0] <= least and most <= edges[1]:
            found = f"shifts the levels at it by {shift_eV:.3g} eV: at {sign * bias_V:g} V none carries current"
            legal = "a bias farther from the gap, or a smaller charge, a larger depth_nm or permittivity"
            report.fault_at(path, f"{found}; legal: {legal}")
            return


def check_coherent(all_parts: list[Part], report: Report) -> None:
    """Report decay constants drawn from a range under a coherent current, whose tables belong to one value each."""
    for part in junction_parts(all_parts):
        trapezoid = ("tip_work_function_eV", "bias_V") if part.constants.get("barrier") == "trapezoid" else ()
        names = ("kappa_per_nm", "work_function_eV", *trapezoid)
        for name in names if part.constants.get("current") == "coherent" else ():
            drawn = part.drawn.get(name)
            options = drawn.distribution.options if drawn and isinstance(drawn.distribution, Choice) else ()
            if drawn and not (options and all(isinstance(option, Constant) for option in options)):
                report.fault_at(drawn.path, "drawn from a range; legal with current: coherent: a number, a choice")


def check_holes(all_parts: list[Part], material: Material, ends: Ends, report: Report) -> None:
    """Report a coherent current through a gapless material whose states leave a point of the cell without any."""
    for part in junction_parts(all_parts):
        names = ("bias_V", "polarity", "fermi_eV")
        if part.constants.get("current") != "coherent" or any(report.hidden(part.key_path(name)) for name in names):
            continue
        (low, high), signs, (fermi_eV, _) = (ends_of(part, name, ends) for name in names)
        bias_V = signs[0] * min(low, high, key=abs)
        window_eV = min(fermi_eV, fermi_eV + bias_V), max(fermi_eV, fermi_eV + bias_V)
        share = coherent.darkest_share(material, window_eV, kappa_per_nm=HOLE_KAPPA_per_nm, z_nm=HOLE_z_nm)
        if share < LEAST_SHARE:
            found = f"at {bias_V:g} V the states of {material.name} leave {share:.1g} of their current over a point"
            report.fault_at(part.key_path("current"), f"{found} of the cell; legal: incoherent")


def ends_of(part: Part, name: str, ends: Ends) -> tuple[float, float]:
    """Return the ends of a number, or its constant value twice; 0 for none."""
    constant = float(part.constants.get(name) or 0.0)
    return ends.get(part.key_path(name), (constant, constant))
