"""How far the charges of a recipe's defects can shift the levels of a crystal."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from .parts import Part
from .physics import halos
from .physics.defects import CrystalDefect


def is_charged(part: Part) -> bool:
    """Return whether a part is a defect of a crystal that is given a charge."""
    given = issubclass(part.cls, CrystalDefect) and ("charge" in part.drawn or part.constants["charge"] is not None)
    return bool(given)


def peaks_eV(all_parts: Iterable[Part], ends: Callable[[Part, str], Iterable[float]]) -> NDArray[np.float64]:
    """Return the shifts right at the charges of a recipe, at the corners of their keys' ranges, (n_corners,).

    ``ends`` gives the ends of a number's range, or its constant value; 0 for none.
    """
    found = []
    for part in all_parts:
        if not is_charged(part):
            continue
        for charge, permittivity, depth_nm in itertools.product(*(ends(part, name) for name in halos.OF_A_PEAK)):
            given = halos.of_charge(
                {"charge": charge, "permittivity": permittivity or None, "depth_nm": depth_nm or None}
            )
            found.append(halos.peak_eV(**{name: given[name] for name in halos.OF_A_PEAK}))
    return np.array(found)
