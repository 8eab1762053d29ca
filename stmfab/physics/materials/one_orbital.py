"""The published one-orbital WSe2: a gapless honeycomb with two Se layers."""

from __future__ import annotations

import itertools
import math

from .material import Material, Site, bonds, triangular_lattice


def wse2_one_orbital() -> Material:
    """Return WSe2 with one s orbital an atom."""
    a_nm, hopping_eV = 0.332, 1.19
    se_top, se_bottom, w = 0, 1, 2
    metal_cells = ((0, 0), (0, -1), (1, -1))  # of the three W nearest to a Se of cell (0, 0)
    links = {(se, w, *cell): hopping_eV for se, cell in itertools.product((se_top, se_bottom), metal_cells)}
    return Material(
        name="wse2-s",
        lattice_nm=triangular_lattice(a_nm),
        sites=(
            Site("Se_top", "Se", "top", (0.0, 0.0, 0.0)),
            Site("Se_bottom", "Se", "bottom", (0.0, 0.0, -a_nm)),
            Site("W", "W", "middle", (0.0, a_nm / math.sqrt(3), -a_nm / 2)),
        ),
        hoppings_eV=bonds(3, links),
        fermi_eV=0.0,
        broadening_eV=0.1,
        mean_ldos_per_eV=0.51,  # Se_top, |E - E_F| <= 0.5 eV; test_greens.py::test_mean_ldos_of_wse2
        source="the published one-orbital model: J. Luzny, Synthetic-STM-Imaging (2025)",
    )
