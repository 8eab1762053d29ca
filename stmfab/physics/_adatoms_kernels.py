"""The current through atoms that the lattice has not."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]


@kernel(fastmath={"contract"})
def add_current(
    cells: F8,
    node_x: F4,
    node_y: F4,
    z: F4,
    atoms: F8,
    tip: F8,
    shares: F8,
    p_shares: F4,
    kappa: float,
    farthest: float,
    out: F4,
) -> None:
    """Add shares[atom, t] exp(-2 kappa D) to out[cell], over heights and nodes, nodes fastest.

    Times 1 - p + p (rho / D)^2, p the tip atom's share of p waves, rho the lateral part of D. ``cells`` are the cells'
    corners (x, y) that each atom reaches, ``atoms`` and ``tip`` positions (x, y, z). Pairs that are ``farthest`` apart
    or more, over all of a cell, are left out.
    """
    n_nodes = node_x.shape[0]
    middle_x, middle_y = node_x.mean(), node_y.mean()
    radius = np.sqrt(((node_x - middle_x) ** 2 + (node_y - middle_y) ** 2).max())
    for c in range(cells.shape[0]):
        for a in range(atoms.shape[0]):
            for t in range(tip.shape[0]):
                right = np.float32(atoms[a, 0] - tip[t, 0] - cells[c, 0])
                up = np.float32(atoms[a, 1] - tip[t, 1] - cells[c, 1])
                share, p = np.float32(shares[a, t]), p_shares[t]
                beside = max(0.0, np.sqrt((right - middle_x) ** 2 + (up - middle_y) ** 2) - radius)
                if beside**2 + (z[0] - np.float32(atoms[a, 2] - tip[t, 2])) ** 2 > farthest**2:
                    continue
                for h in range(z.shape[0]):
                    vertical2 = (z[h] - np.float32(atoms[a, 2] - tip[t, 2])) ** 2
                    for g in range(n_nodes):
                        away2 = (node_x[g] - right) ** 2 + (node_y[g] - up) ** 2 + vertical2
                        lobe = np.float32(1) - p * vertical2 / away2
                        out[c, h * n_nodes + g] += share * lobe * np.exp(np.float32(-2 * kappa) * np.sqrt(away2))
