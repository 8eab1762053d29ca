"""The field of dI/dV at a bias: linear where a current's is a logarithm, for in a gap it is zero but at defects.

Incoherently C sum_ij rho_tip,j(E_F) rho_i(E_F + eV) exp(-2 kappa d), coherently C sum_j rho_j(E_F) f(r + t_j)^T
rho(E_F + eV) f(r + t_j); kappa that of the bias under a trapezoid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import bumps, coherent
from .bumps import Bumps
from .current import Heights
from .field import CurrentField, n_padded, values_to_monomials
from .heard import Atoms
from .materials import Material
from .structure import Window
from .units import Floats, Floats32

LEAST = float(np.finfo(np.float32).tiny)  # the scale of a height at which nothing is carried


@dataclass(frozen=True)
class ConductanceField:
    """dI/dV in nA/V: at each height a scale, whose logarithm is a polynomial, times ratios on the grid of a field.

    Attributes
    ----------
    ratios : CurrentField
        dI/dV over the scale of its height, in place of a logarithm.
    log_scale : array of shape (n_heights,)
        Monomial coefficients of ln(scale), the largest |dI/dV| at a height in nA/V, in the field's s.
    bumps : Bumps
        What raises the tip: the field under it is that of the lower height.
    """

    ratios: CurrentField
    log_scale: Floats
    bumps: Bumps

    def current(self, x_nm: Floats, y_nm: Floats, z_nm: Floats) -> Floats:
        """Return dI/dV in nA/V at points (x, y, z), in the shape of x."""
        over = np.column_stack([np.ravel(x_nm), np.ravel(y_nm)])
        z_nm = z_nm - self.bumps.height_nm(over).reshape(np.shape(x_nm))
        return self.scale(z_nm.ravel()).reshape(z_nm.shape) * self.ratios.log_current(x_nm, y_nm, z_nm)

    def scale(self, z_nm: Floats) -> Floats:
        """Return the scale in nA/V at heights (n,)."""
        s = (z_nm - self.ratios.z_mid_nm) / self.ratios.z_half_nm
        return np.asarray(np.exp(self.log_scale @ coherent.straight_beyond(s, len(self.log_scale))))


def of_cells(
    values: Floats32, table: Heights, *, material: Material, view: Window, raised: Bumps = bumps.NONE
) -> ConductanceField:
    """Return the field of values in the cells of a window, (n_cells, n_heights * n_grid**2), of any sign."""
    g, n, to_monomials = table.n_grid, table.n_heights, values_to_monomials(table.n_heights)
    by_height = values.reshape(-1, n, g * g)
    scale = np.maximum(np.abs(by_height).max(axis=(0, 2)).astype(np.float64), LEAST)
    ratios = CurrentField(
        _laid_out(by_height, to_monomials / scale, view, g),
        np.array([view.u0, view.v0]) @ material.lattice_nm,
        material.lattice_nm / g,
        table.z_mid_nm,
        table.z_half_nm,
    )
    return ConductanceField(ratios, to_monomials @ np.log(scale), raised)


def _laid_out(by_height: Floats32, to_monomials: Floats, view: Window, n_grid: int) -> Floats32:
    """Return height polynomials on the grid, NaN in cells that are not the window's, from values at heights."""
    (n_v, n_u), n = view.cells.shape, len(to_monomials)
    out = np.full((n_v, n_grid, n_u, n_grid, n_padded(n)), np.nan, dtype=np.float32)
    ends = np.cumsum(view.cells.sum(axis=1))
    for row, (own, marked) in enumerate(zip(np.split(by_height, ends[:-1]), view.cells, strict=True)):
        powers = np.zeros((len(own), n_grid, n_grid, n_padded(n)), dtype=np.float32)
        powers[..., :n] = np.tensordot(own, to_monomials, axes=(1, 1)).reshape(-1, n_grid, n_grid, n)
        out[row][:, marked] = powers.swapaxes(0, 1)
    return out.reshape(n_v * n_grid, n_u * n_grid, -1)


def summed(front: ConductanceField, whole: Window, atoms: Atoms, table: Heights, *, view: Window) -> Floats32:
    """Return the sum over a tip of the field of its front atom, (n_cells, n_points), as ``coherent.summed`` does."""
    total = np.zeros((len(view.indices), table.n_heights, table.n_grid**2), dtype=np.float32)
    for ratios, above_nm, share in coherent.shifted(front.ratios, whole, atoms, table, view=view):
        total += ratios * (share * front.scale(table.nodes_nm + above_nm)).astype(np.float32)[:, None]
    return total.reshape(len(total), -1)
