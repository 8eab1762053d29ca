"""Tables that take seconds to make: how the physics asks for them. Where they are kept is not its business."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .materials import Material

Tables: TypeAlias = Mapping[str, NDArray[Any]]
Facts: TypeAlias = Mapping[str, Any]  # plain values: numbers, words, lists and mappings of them


class Keep(Protocol):
    """Whoever keeps tables: gives those made before, or has them made."""

    def __call__(self, name: str, of: Facts, make: Callable[[], Tables]) -> Tables:
        """Return what ``make`` gives; ``of`` is all that it depends on beside the code."""

    def __hash__(self) -> int:
        """Return a hash, for tables that a process remembers by who keeps them."""


def made_anew(name: str, of: Facts, make: Callable[[], Tables]) -> Tables:
    """Return tables that nobody keeps."""
    return make()


def facts_of(material: Material) -> Facts:
    """Return what a material's Green functions depend on, to the last bit of every number."""
    cells = sorted(material.hoppings_eV)
    blocks = np.array([material.hoppings_eV[cell] for cell in cells], dtype=np.float64)
    return {
        "lattice_nm": _exact(material.lattice_nm),
        "sites": [[_exact(np.array(site.position_nm)), list(site.orbitals)] for site in material.sites],
        "cells": [list(cell) for cell in cells],
        "hoppings_eV": hashlib.sha256(blocks.tobytes()).hexdigest(),
        "levels_eV": _exact(np.array([material.fermi_eV, material.broadening_eV, material.scissor_eV])),
        "n_filled": material.n_filled,
    }


def _exact(numbers: NDArray[np.float64]) -> list[str]:
    """Return numbers as words that say every bit."""
    return [float(number).hex() for number in np.ravel(numbers)]
