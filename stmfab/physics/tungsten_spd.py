"""Tungsten apexes with s, p and d orbitals: densities of states of a whole cluster, whatever atoms it lost.

The Green function of the pristine cluster is found once, by Chebyshev polynomials; atoms are taken away exactly.
Pure and slow (some minutes for all apexes): ``tips`` reads the table that ``tests/make_tips.py`` wrote with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import greens, tungsten
from .tungsten import Apex, ApexTable, Cluster
from .units import Bools, Complexes, Floats, Floats32, Ints

N_ORBITALS = 9  # s; x, y, z; xy, yz, zx, x2 - y2, 3z2 - r2: real harmonics along the cubic axes
ONSITE_eV = np.array([1.850, *[7.458] * 3, *[1.520] * 3, *[0.894] * 2])  # s, p, t2g, eg
# Two-centre integrals ss0 sp0 sd0, pp0 pp1, pd0 pd1, dd0 dd1 dd2 (sigma 0, pi 1, delta 2) to the first and second
# neighbours: Andersen's TB-LMTO for bcc W, as in the parameter file of LCAO_Spin_Dynamics
FIRST_eV = (-1.214, 1.449, -1.353, 1.739, -0.265, -1.676, 0.469, -1.704, 0.821, -0.084)
SECOND_eV = (-0.416, 0.540, -0.572, 0.685, -0.037, -0.738, 0.074, -0.781, 0.160, -0.009)
FERMI_eV = 0.56  # holds six electrons an atom; test_tungsten_spd.py::test_bulk_bands
BAND_eV = (-10.6, 12.4)  # holds the bulk band, and so, by interlacing, the levels of any cluster
BROADENING_eV = tungsten.BROADENING_eV
N_MOMENTS = 1000  # of a Green function 2 sigma above the axis: the rest is below exp(-N eta / half band) = 1e-7
BATCH = 100  # polynomials summed up at a time
LANES, ATOMS = 64, 32  # vectors and atoms that go through a product at a time: they stay near the processor
PARITY = np.array([1, -1, -1, -1, 1, 1, 1, 1, 1])
PAIRS_ALONG_Z = (  # orbitals of the lower and the upper atom, and their integral
    *((0, 0, 0), (0, 3, 1), (0, 8, 2), (3, 3, 3), (1, 1, 4), (2, 2, 4), (3, 8, 5), (1, 6, 6), (2, 5, 6)),
    *((8, 8, 7), (5, 5, 8), (6, 6, 8), (4, 4, 9), (7, 7, 9)),
)
STEPS = np.array(  # to the first and the second neighbours, then to the atom itself, in units of a/2
    [
        *itertools.product((-1, 1), repeat=3),
        *(sign * 2 * axis for axis in np.eye(3, dtype=np.int64) for sign in (-1, 1)),
        (0, 0, 0),
    ]
)
N_FIRST = 8


def hopping(step: Ints, integrals_eV: Sequence[float]) -> Floats:
    """Return the Slater-Koster block <atom at 0| H |atom at step>, shape (N_ORBITALS, N_ORBITALS), in eV.

    Along z each integral joins two orbitals; the block is turned from there.

    References
    ----------
    Slater & Koster, Phys. Rev. 94, 1498 (1954), doi:10.1103/PhysRev.94.1498.
    """
    z = step / np.linalg.norm(step)
    x = np.cross(np.eye(3)[np.abs(z).argmin()], z)
    x /= np.linalg.norm(x)
    turn = _turned_orbitals(np.array([x, np.cross(z, x), z]).T)
    along_z = np.zeros((N_ORBITALS, N_ORBITALS))
    for lower, upper, which in PAIRS_ALONG_Z:
        along_z[lower, upper] = integrals_eV[which]
        along_z[upper, lower] = integrals_eV[which] * PARITY[lower] * PARITY[upper]
    return np.asarray(turn @ along_z @ turn.T)


def _turned_orbitals(rotation: Floats) -> Floats:
    """Return the matrix that a rotation of space is for the nine orbitals: d orbitals turn as traceless tensors."""
    x, y, z = np.eye(3)
    mixed = [np.outer(a, b) + np.outer(b, a) for a, b in ((x, y), (y, z), (z, x))]
    axial = [np.outer(x, x) - np.outer(y, y), 2 * np.outer(z, z) - np.outer(x, x) - np.outer(y, y)]
    tensors = np.array([tensor / np.linalg.norm(tensor) for tensor in (*mixed, *axial)])
    out = np.eye(N_ORBITALS)
    out[1:4, 1:4] = rotation
    out[4:, 4:] = np.einsum("aij,ik,bkl,jl->ab", tensors, rotation, tensors, rotation)
    return out


def blocks() -> Floats:
    """Return the blocks of the Hamiltonian over ``STEPS``, shape (n_steps, N_ORBITALS, N_ORBITALS), in eV."""
    neighbours = [hopping(step, FIRST_eV if i < N_FIRST else SECOND_eV) for i, step in enumerate(STEPS[:-1])]
    return np.array([*neighbours, np.diag(ONSITE_eV)])


def neighbours(half_steps: Ints) -> Ints:
    """Return the atom at each of ``STEPS`` from each atom, (n_atoms, n_steps); n_atoms where there is none."""
    index = {tuple(place): i for i, place in enumerate(half_steps.tolist())}
    reached = half_steps[:, None, :] + STEPS
    flat = [index.get(tuple(place), len(index)) for place in reached.reshape(-1, 3).tolist()]
    return np.array(flat).reshape(len(half_steps), len(STEPS))


def polynomials(near: Ints, atoms: Ints, n: int) -> Iterator[Floats32]:
    """Yield T_k(H) of the scaled Hamiltonian on the orbitals of atoms, k < n, (n_atoms + 1, N_ORBITALS, n_vectors).

    The last row stands for the missing neighbours: zero. An array is overwritten two steps later.
    """
    middle, half = sum(BAND_eV) / 2, (BAND_eV[1] - BAND_eV[0]) / 2
    scaled = blocks() / half
    scaled[-1] -= np.eye(N_ORBITALS) * middle / half
    weights = scaled.transpose(1, 0, 2).reshape(N_ORBITALS, -1).astype(np.float32)
    now = np.zeros((len(near) + 1, N_ORBITALS, N_ORBITALS * len(atoms)), dtype=np.float32)
    number, orbital = np.divmod(np.arange(N_ORBITALS * len(atoms)), N_ORBITALS)
    now[atoms[number], orbital, np.arange(len(number))] = 1
    before = np.zeros_like(now)
    for k in range(n):
        yield now
        _step(weights, near, now, before, factor=1 if k == 0 else 2)
        before, now = now, before


def _step(weights: Floats32, near: Ints, now: Floats32, before: Floats32, *, factor: int) -> None:
    """Replace T_k-1 by factor H T_k - T_k-1."""
    for start in range(0, len(near), ATOMS):
        atoms = slice(start, min(start + ATOMS, len(near)))
        around = now[near[atoms]].reshape(atoms.stop - start, -1, now.shape[2])
        before[atoms] *= -1
        before[atoms] += factor * (weights @ around)


def green_coefficients(energies_eV: NDArray[np.complex128]) -> Complexes:
    """Return c_k(z) of (z - H)^-1 = sum_k c_k(z) T_k(H scaled), shape (n_energies, N_MOMENTS), Im z > 0.

    References
    ----------
    Weisse et al., Rev. Mod. Phys. 78, 275 (2006), doi:10.1103/RevModPhys.78.275, Eq. 137.
    """
    middle, half = sum(BAND_eV) / 2, (BAND_eV[1] - BAND_eV[0]) / 2
    z = (energies_eV[:, None] - middle) / half
    k = np.arange(N_MOMENTS)
    return np.asarray(-1j / half * (2 - (k == 0)) * np.exp(-1j * k * np.arccos(z)) / np.sqrt(1 - z**2))


def green_columns(near: Ints, rows: Ints, columns: Ints, energies_eV: NDArray[np.complex128]) -> Complexes:
    """Return G(z) between the orbitals of atoms, shape (n_energies, N_ORBITALS n_rows, N_ORBITALS n_columns)."""
    coefficients = green_coefficients(energies_eV)
    out = np.zeros((len(energies_eV), N_ORBITALS * len(rows), N_ORBITALS * len(columns)), dtype=np.complex128)
    for first in range(0, len(columns), LANES // N_ORBITALS):
        few = columns[first : first + LANES // N_ORBITALS]
        part = out[:, :, N_ORBITALS * first : N_ORBITALS * (first + len(few))]
        kept: list[Floats32] = []
        for k, vectors in enumerate(polynomials(near, few, N_MOMENTS)):
            kept.append(vectors[rows].reshape(-1, vectors.shape[2]))
            if len(kept) == BATCH:
                batch, some = np.array(kept), coefficients[:, k + 1 - BATCH : k + 1]
                part.real += np.tensordot(some.real.astype(np.float32), batch, 1)
                part.imag += np.tensordot(some.imag.astype(np.float32), batch, 1)
                kept = []
    return out


def green_traces(near: Ints, atoms: Ints, energies_eV: NDArray[np.complex128]) -> Complexes:
    """Return the trace of G(z) over the orbitals of each atom, shape (n_energies, n_atoms).

    <T_2k> = 2 <T_k|T_k> - <T_0>, <T_2k+1> = 2 <T_k|T_k+1> - <T_1>.
    """
    n_half = N_MOMENTS // 2
    products = np.empty((n_half, 2, len(atoms)))
    for first in range(0, len(atoms), LANES // N_ORBITALS):
        few = slice(first, first + LANES // N_ORBITALS)
        last: Floats32 | None = None
        for k, vectors in enumerate(polynomials(near, atoms[few], n_half + 1)):
            if last is not None:
                products[k - 1, 1, few] = _traces(last, vectors)
            if k < n_half:
                products[k, 0, few] = _traces(vectors, vectors)
            last = vectors
    return np.asarray(green_coefficients(energies_eV) @ (2 * products - products[0]).reshape(N_MOMENTS, -1))


def _traces(one: Floats32, other: Floats32) -> Floats:
    """Return the sums over an atom's vectors of their products, shape (n_atoms,)."""
    products = np.einsum("aov,aov->v", one, other)
    return np.asarray(products.reshape(-1, N_ORBITALS).sum(axis=1, dtype=np.float64))


@dataclass(frozen=True)
class Front:
    """The Green function of a pristine cluster around its apex, G(z) at ``energies_eV``.

    Attributes
    ----------
    atoms : int array of shape (n_atoms,)
        Atoms of the cluster that carry current in some state of the tip; the first ``n_loose`` may be lost.
    between : array of shape (n_energies, N_ORBITALS n_atoms, N_ORBITALS n_loose)
        G between the orbitals of all these atoms and those of the loose ones.
    traces : array of shape (n_energies, n_atoms)
        G of each atom, the sum over its orbitals.
    """

    energies_eV: NDArray[np.complex128]
    atoms: Ints
    n_loose: int
    between: Complexes
    traces: Complexes

    def traces_without(self, lost: Bools) -> Complexes:
        """Return the traces, (n_energies, n_atoms), after some loose atoms are taken away: exact.

        G' = G - G_L (G_LL)^-1 G_L^T: no orbital of what is lost is reached any more.
        """
        if not lost.any():
            return self.traces
        orbitals = np.flatnonzero(np.repeat(lost, N_ORBITALS))
        to_lost = self.between[:, :, orbitals]
        there = np.linalg.solve(to_lost[:, orbitals], to_lost.transpose(0, 2, 1))
        change = np.einsum("eol,elo->eo", to_lost, there)
        return np.asarray(self.traces - change.reshape(len(change), -1, N_ORBITALS).sum(axis=2))


def front(cluster: Cluster, states: Sequence[Apex], at_eV: Floats) -> Front:
    """Return the Green function of a cluster that all its dulling states need, at energies around the Fermi level."""
    remaining = np.array([apex.remaining for apex in states])
    loose = np.flatnonzero(~remaining.all(axis=0))
    lowest = max(cluster.positions_nm[apex.remaining, 2].min() for apex in states)
    held = np.flatnonzero(remaining.all(axis=0) & (cluster.positions_nm[:, 2] < lowest + tungsten.BEHIND_nm + 1e-9))
    atoms = np.concatenate([loose, held])
    low, high = FERMI_eV + at_eV[0], FERMI_eV + at_eV[-1]
    energies_eV = greens.contour(low, high, BROADENING_eV)
    near = neighbours(tungsten.half_steps(cluster.positions_nm))
    first, orbit = _orbits(cluster.positions_nm, atoms)
    return Front(
        energies_eV,
        atoms,
        len(loose),
        green_columns(near, atoms, loose, energies_eV),
        green_traces(near, atoms[first], energies_eV)[:, orbit],
    )


def _orbits(positions_nm: Floats, atoms: Ints) -> tuple[Ints, Ints]:
    """Return one atom of each kind, and each atom's kind: atoms with the same distances to all others are of a kind."""
    distances = np.linalg.norm(positions_nm[atoms, None, :] - positions_nm, axis=2)
    _, first, orbit = np.unique(np.sort(distances, axis=1).round(6), axis=0, return_index=True, return_inverse=True)
    return first, orbit


def apex_tables(cluster: Cluster, states: Sequence[Apex], at_eV: Floats) -> Iterator[ApexTable]:
    """Yield each dulling state's carrying atoms, and their densities of states per spin from the Fermi level."""
    whole = front(cluster, states, at_eV)
    weights = greens.contour_weights(whole.energies_eV, FERMI_eV + at_eV, BROADENING_eV)
    for apex in states:
        carrying, positions_nm = tungsten.carrying(apex, cluster)
        number = np.searchsorted(whole.atoms, carrying, sorter=whole.atoms.argsort())
        chosen = whole.atoms.argsort()[number]
        traces = whole.traces_without(~apex.remaining[whole.atoms[: whole.n_loose]])
        yield ApexTable(apex.name, apex.n_front, positions_nm, (traces[:, chosen].T @ weights).imag)
