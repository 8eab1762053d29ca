"""Si(001)2x1:H by sp3s* tight binding, half-infinite and slow: what the lobes of ``si001-h`` are held against.

Si: P. Vogl et al., J. Phys. Chem. Solids 44, 365 (1983), as two-centre integrals that fall as d^-2 (Harrison). Si-H:
the integrals of an sp3d5s* set times 0.8, a guess; lengths of the dimer's and the Si-H bonds as recalled. The surface
block (two H, four layers of Si) stands on a principal layer of four layers, decimated: M. P. Lopez Sancho et al.,
J. Phys. F 15, 851 (1985). x runs across the rows of dimers, y along them, z outwards; energies from the top of the
bulk's valence band.
"""

import functools
import itertools
import math

import numpy as np
from scipy import special

from stmfab.physics import greens
from stmfab.physics.greens import GreenTable

CUBE_nm = 0.5431
BOND_nm = math.sqrt(3) / 4 * CUBE_nm
HALF_nm = CUBE_nm / math.sqrt(8)  # half a cell of the 1x1 surface
CELL_nm = np.array([4 * HALF_nm, 2 * HALF_nm])  # of the 2x1 surface, along x and y
LAYER_nm = CUBE_nm / 4
DIMER_nm, SI_H_nm, TILT_deg = 0.240, 0.150, 20.0

ON_SITE_eV = {"Si": (-4.2, 1.715, 1.715, 1.715, 6.685), "H": (0.9998,)}  # s, x, y, z, s*
SS, XX, XY, SP, STAR_P = -8.3, 1.715, 4.575, 5.7292, 5.3749  # the paper's V of Si, in eV
SI_SI_eV = {
    "sss": SS / 4,
    "sps": math.sqrt(3) / 4 * SP,
    "tps": math.sqrt(3) / 4 * STAR_P,  # t: s*
    "pps": (XX + 2 * XY) / 4,
    "ppp": (XX - XY) / 4,
}
H_SHARE = 0.8
H_SI_eV = {name: H_SHARE * value for name, value in {"sss": -3.9997, "sts": -1.6977, "sps": 4.2518}.items()}

STRETCH = 1.15  # of a bond's length: atoms farther apart are no neighbours


def si_si(direction):
    """Two-centre block (5, 5) from one Si to another along a unit vector, at the bulk's bond length."""
    v, out = SI_SI_eV, np.zeros((5, 5))
    out[0, 0] = v["sss"]
    out[0, 1:4], out[1:4, 0] = v["sps"] * direction, -v["sps"] * direction
    out[4, 1:4], out[1:4, 4] = v["tps"] * direction, -v["tps"] * direction
    out[1:4, 1:4] = (v["pps"] - v["ppp"]) * np.outer(direction, direction) + v["ppp"] * np.eye(3)
    return out


def h_si(direction):
    """Two-centre block (1, 5) from an H to its Si."""
    return np.concatenate([[H_SI_eV["sss"]], H_SI_eV["sps"] * direction, [H_SI_eV["sts"]]])[None]


def hopping(one, other, step):
    """Block between two species a step (3,) apart, or None where they are no neighbours."""
    d = np.linalg.norm(step)
    length = BOND_nm if (one, other) == ("Si", "Si") else SI_H_nm
    if d > STRETCH * length or one == other == "H":
        return None
    if (one, other) == ("Si", "Si"):
        return si_si(step / d) * (BOND_nm / d) ** 2
    return h_si(step / d) if one == "H" else h_si(-step / d).T


def bulk_layers(first, n_layers):
    """Atoms of bulk layers ``first`` on, two a cell: layer 0's dangling bonds point along x."""
    atoms = []
    for layer in range(first, first + n_layers):
        x, y = ((-1, 0), (-1, 1), (0, 1), (0, 0))[layer % 4]
        atoms += [("Si", np.array([(x + 2 * i) * HALF_nm, y * HALF_nm, -layer * LAYER_nm])) for i in (0, 1)]
    return atoms


def surface_block():
    """The two H, the dimer, and three more layers: the dimer's atoms move in until they meet, at constant bonds."""
    across = DIMER_nm / 2
    fall = math.sqrt(BOND_nm**2 - HALF_nm**2 - (HALF_nm - across) ** 2)
    tilt = math.radians(TILT_deg)
    dimer = [("Si", np.array([side * across, 0.0, fall - LAYER_nm])) for side in (-1, 1)]
    out = SI_H_nm * np.array([math.sin(tilt), 0.0, math.cos(tilt)])
    hydrogen = [("H", at + out * [side, 1, 1]) for side, (_, at) in zip((-1, 1), dimer, strict=True)]
    return [*hydrogen, *dimer, *bulk_layers(1, 3)]


def hoppings(rows, columns):
    """Blocks (n_rows, n_columns) from the atoms of cell 0 to those of cell (u, v)."""
    blocks = {}
    first_row = np.cumsum([0, *(len(ON_SITE_eV[species]) for species, _ in rows)])
    first_column = np.cumsum([0, *(len(ON_SITE_eV[species]) for species, _ in columns)])
    for u, v in itertools.product((-1, 0, 1), repeat=2):
        block = np.zeros((first_row[-1], first_column[-1]))
        for (i, (one, at)), (j, (other, to)) in itertools.product(enumerate(rows), enumerate(columns)):
            step = to + np.append(CELL_nm * [u, v], 0.0) - at
            here = slice(first_row[i], first_row[i + 1]), slice(first_column[j], first_column[j + 1])
            if np.linalg.norm(step) < BOND_nm / 10:
                block[here] = np.diag(ON_SITE_eV[one])
            elif (found := hopping(one, other, step)) is not None:
                block[here] = found
        if block.any():
            blocks[u, v] = block
    return blocks


@functools.cache
def half_crystal():
    """Hoppings in the surface block, from it to the first principal layer, in a layer, from one to the next."""
    block, layer, below = surface_block(), bulk_layers(4, 4), bulk_layers(8, 4)
    return hoppings(block, block), hoppings(block, layer), hoppings(layer, layer), hoppings(layer, below)


def bloch(blocks, phases):
    """H(k) = sum_R H(R) exp(i k.R) at some phases k.a (n_k, 2) in radians."""
    return sum(np.exp(1j * (phases @ [u, v]))[:, None, None] * block for (u, v), block in blocks.items())


def decimated(z, h, coupling):
    """z - H of the first principal layer of half a crystal, all below folded in; ``coupling`` to the next one."""
    one = z * np.eye(h.shape[-1])
    surface, bulk, down, up = one - h, one - h, coupling, np.conj(np.swapaxes(coupling, -1, -2))
    while np.abs(down).max() * np.abs(up).max() > 1e-14:
        through_down, through_up = np.linalg.solve(bulk, down), np.linalg.solve(bulk, up)
        surface = surface - down @ through_up
        bulk = bulk - down @ through_up - up @ through_down
        down, up = down @ through_down, up @ through_up
    return surface


def surface_green(z, phases):
    """G(k, z) of the surface block, (n_k, n_orbitals, n_orbitals), in 1/eV."""
    own, down, layer, between = (bloch(blocks, phases) for blocks in half_crystal())
    rest = np.linalg.solve(decimated(z, layer, between), np.conj(np.swapaxes(down, -1, -2)))
    return np.linalg.inv(z * np.eye(own.shape[-1]) - own - down @ rest)


def k_phases(n_u, n_v):
    """k.a on an n_v x n_u grid, (n_v n_u, 2), row by row."""
    v, u = np.meshgrid(np.arange(n_v) / n_v, np.arange(n_u) / n_u, indexing="ij")
    return 2 * math.pi * np.column_stack([u.ravel(), v.ravel()])


def green_table(energies, n_u, n_v, reach):
    """The lateral g(R, z) = <0|G|R> of the surface block, as the project's table.

    Only half the grid is solved: H is real in space, so that G(-k) is the transpose of G(k).
    """
    n, cells = len(owners(surface_block())), np.arange(-reach, reach + 1)
    v, u = np.divmod(np.arange(n_u * n_v), n_u)
    partner = -v % n_v * n_u + -u % n_u
    own = np.flatnonzero(np.arange(n_u * n_v) <= partner)
    g = np.empty((len(energies), n, n, len(cells), len(cells)), dtype=np.complex128)
    at_k = np.empty((n_u * n_v, n, n), dtype=np.complex128)
    for index, z in enumerate(energies):
        at_k[own] = surface_green(z, k_phases(n_u, n_v)[own])
        at_k[partner[own]] = np.swapaxes(at_k[own], -1, -2)
        in_space = np.fft.fft2(at_k.reshape(n_v, n_u, n, n), axes=(0, 1)) / (n_u * n_v)
        g[index] = np.moveaxis(in_space[np.ix_(cells % n_v, cells % n_u)], (0, 1), (2, 3))
    return GreenTable(np.asarray(energies, dtype=np.complex128), g)


def owners(atoms):
    """The atom of each orbital."""
    return np.repeat(np.arange(len(atoms)), [len(ON_SITE_eV[species]) for species, _ in atoms])


def window_weights(energies, low_eV, high_eV, broadening_eV, share=np.ones_like):
    """w_n of Im sum_n w_n G(z_n), the states of a window, each with its share (n,) of energies (n,)."""
    nodes, weights = special.roots_legendre(64)
    at = low_eV + (high_eV - low_eV) * (nodes + 1) / 2
    return greens.contour_weights(energies, at, broadening_eV) @ (share(at) * weights) * (high_eV - low_eV) / 2


def log_current(points, lobes, strengths, kappa_per_nm):
    """ln sum_s A_s exp(-2 kappa |d_s|) at points (n, 3)."""
    d = np.linalg.norm(points[:, None] - lobes, axis=2)
    return np.log(np.exp(-2 * kappa_per_nm * d) @ strengths)


def constant_current(xy, start_nm, lobes, strengths, log_setpoint, kappa_per_nm):
    """Heights over points (n, 2) where ln I is the setpoint's: fixed point, each step leaves a tenth of the error."""
    z = np.full(len(xy), start_nm)
    for _ in range(12):
        z += (log_current(np.column_stack([xy, z]), lobes, strengths, kappa_per_nm) - log_setpoint) / (2 * kappa_per_nm)
    return z
