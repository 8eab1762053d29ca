"""Materials as data, by the name a recipe gives: ``MATERIALS``."""

from __future__ import annotations

from collections.abc import Mapping

from .graphene import graphene, graphene_to_third_neighbours
from .material import LAYERS, ORBITALS, Material, Site, bonds, triangular_lattice
from .one_orbital import wse2_one_orbital
from .tmd import NAMES, monolayer, monolayer_with_spin

__all__ = ["LAYERS", "MATERIALS", "ORBITALS", "Material", "Site", "bonds", "triangular_lattice"]

MATERIALS: Mapping[str, Material] = {
    material.name: material
    for material in (
        wse2_one_orbital(),
        *(monolayer(name) for name in NAMES),
        *(monolayer_with_spin(name) for name in NAMES),
        graphene(),
        graphene_to_third_neighbours(),
    )
}
