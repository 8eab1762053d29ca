"""The tables that a dataset's crystals share: lattice Green functions, and what they let through to a tip."""

from __future__ import annotations

import functools
import math

from . import coherent, greens, tables
from .current import Heights
from .greens import GreenTable
from .materials import Material
from .tables import Keep, Tables

REACH_STEP = 24  # cells: Green tables come in these sizes, so that a few serve every sample


def in_steps(cells: int) -> int:
    """Return the reach of the smallest Green table that reaches some cells far."""
    return REACH_STEP * max(1, math.ceil(cells / REACH_STEP))


@functools.lru_cache(maxsize=8)
def green_table(
    material: Material, low: int, high: int, reach: int, *, exact: bool = False, keep: Keep = tables.made_anew
) -> GreenTable:
    """Return the lattice Green function for windows of energy from ``low`` to ``high`` broadenings."""
    broadening_eV = material.broadening_eV
    contour = greens.exact_contour if exact else greens.contour
    energies = contour(low * broadening_eV, high * broadening_eV, broadening_eV)

    def made() -> Tables:
        n_k = greens.converged_n_k(material, energies, reach=reach)
        return {"g": greens.lattice_green(material, energies, n_k=n_k, reach=reach).g}

    of = {"material": tables.facts_of(material), "broadenings": [low, high], "reach": reach, "exact": exact}
    return GreenTable(energies, keep("green", of, made)["g"])


@functools.lru_cache(maxsize=8)
def vacuum(
    material: Material, energies: tuple[int, int], table: Heights, kappa_per_nm: float, shape: str, keep: Keep
) -> coherent.Vacuum:
    """Return what reaches a tip, for windows of energy in broadenings."""
    reach = in_steps(coherent.reach(material, table))
    made = functools.partial(green_table, material, *energies, reach, exact=True, keep=keep)
    heights = [table.z_mid_nm.hex(), table.z_half_nm.hex(), table.n_heights, table.n_grid]
    of = {"material": tables.facts_of(material), "broadenings": energies, "heights": heights}
    of |= {"kappa_per_nm": kappa_per_nm.hex(), "shape": shape}
    return coherent.Vacuum(
        **keep(
            "vacuum", of, lambda: vars(coherent.vacuum(material, made(), table, kappa_per_nm=kappa_per_nm, tip=shape))
        )
    )
