"""The atoms of a tip that a coherent current hears, and the cells under them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import structure
from .materials import Material
from .structure import Window
from .units import Floats

SILENT = 1e-4  # a tip atom whose current is below this share of the front atom's


@dataclass(frozen=True)
class Atoms:
    """The tip's atoms that carry current: where they are from the front atom, (n, 3), and their shares, (n,)."""

    ways_nm: Floats
    shares: Floats

    @property
    def depth_nm(self) -> float:
        """How far behind the front atom the last one is."""
        return float(self.ways_nm[:, 2].max())


def heard_atoms(positions_nm: Floats, shares: Floats, *, kappa_per_nm: float) -> Atoms:
    """Return a tip's atoms (n_tip, 3) with c_j exp(-2 kappa height) above ``SILENT``."""
    ways_nm = positions_nm - positions_nm[0]
    kept = np.abs(shares) * np.exp(-2 * kappa_per_nm * ways_nm[:, 2]) > SILENT * abs(shares[0])
    return Atoms(ways_nm[kept], shares[kept])


def window_under(material: Material, view: Window, atoms: Atoms) -> Window:
    """Return the cells that hold every point of a window, and its neighbours, shifted to every atom."""
    places = np.floor(atoms.ways_nm[:, :2] @ material.to_cells).astype(np.int64)
    around = np.array([(u, v) for v in range(-1, 3) for u in range(-1, 3)])
    offsets = np.unique((places[:, None] + around).reshape(-1, 2), axis=0)
    return structure.sites_reached(view, offsets, np.ones((len(offsets), 1), dtype=np.bool_))[0]
