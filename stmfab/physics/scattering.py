"""Standing waves of a two-dimensional electron gas around point scatterers: multiple scattering to all orders.

An s wave of albedo alpha and phase delta scatters with s = (alpha exp(2 i delta) - 1) / 2; alpha = 0 is a black dot.
With h_i = H_0(k |r - r_i|) and H_ij = H_0(k r_ij), i != j,

    d rho / rho_0 = Re h^T (s^-1 - H)^-1 h.

References
----------
M. F. Crommie, C. P. Lutz, D. M. Eigler, Science 262, 218 (1993), doi:10.1126/science.262.5131.218.
E. J. Heller, M. F. Crommie, C. P. Lutz, D. M. Eigler, Nature 369, 464 (1994), doi:10.1038/369464a0.
G. A. Fiete, E. J. Heller, Rev. Mod. Phys. 75, 933 (2003), doi:10.1103/RevModPhys.75.933.
"""

from __future__ import annotations

import bisect
import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from . import _scattering_kernels
from .units import Bools, Complexes, Floats, Floats32

STEP_nm, STEP_PHASE = 0.04, 0.08  # of the table of waves, k times it: 4-point Lagrange errs by 1e-6
EDGE_STEP_nm, EDGE_NODES = 0.02, 1024  # of the waves at edges: straight lines between; tables in steps of so many nodes
TABLES = 8  # that are remembered: a junction's terraces ask for the same ones, and so does a hand that moves
CORE_nm = 0.4  # nearer than an atom's radius the wave of a point is cut off smoothly
BLOCK = 24  # nodes along the side of a block that one list of scatterers serves


@dataclass(frozen=True)
class Waves:
    """The energies that carry a current: complex wave numbers in 1/nm and shares, each (n_energies,)."""

    numbers_per_nm: NDArray[np.complex128]
    shares: Floats

    def _facts(self) -> bytes:
        return self.numbers_per_nm.tobytes() + self.shares.tobytes()

    def __hash__(self) -> int:
        """Return a hash, for tables that are remembered."""
        return hash(self._facts())

    def __eq__(self, other: object) -> bool:
        """Return whether other waves are the same to the last bit."""
        return isinstance(other, Waves) and self._facts() == other._facts()

    @property
    def undisturbed(self) -> float:
        """Mean density of the undisturbed electrons over its value far above the bottom of the band.

        1 - (2 / pi) arg k, from G_0 = -(i m / 2 hbar^2) H_0(k r): a step at the bottom, as wide as the line.
        """
        return float(self.shares @ (1 - 2 / np.pi * np.angle(self.numbers_per_nm)))

    @property
    def step_nm(self) -> float:
        """Step of a table of waves over the distance."""
        return min(STEP_nm, STEP_PHASE / float(np.abs(self.numbers_per_nm).max()))

    def hankel(self, distances_nm: Floats) -> NDArray[np.complex128]:
        """Return H_0(k r) at distances, shape (n_distances, n_energies)."""
        return np.asarray(special.hankel1(0, distances_nm[:, None] * self.numbers_per_nm))


@dataclass(frozen=True)
class Scatterers:
    """Point scatterers: positions (n, 2) in nm, and s = (alpha exp(2 i delta) - 1) / 2, shape (n,)."""

    points_nm: Floats
    strengths: NDArray[np.complex128]

    def kept(self, chosen: Bools) -> Scatterers:
        """Return some of the scatterers."""
        return Scatterers(self.points_nm[chosen], self.strengths[chosen])


def strengths(albedo: Floats, phase_deg: Floats) -> NDArray[np.complex128]:
    """Return s of scatterers from albedo and phase, each (n,)."""
    return np.asarray((albedo * np.exp(2j * np.radians(phase_deg)) - 1) / 2)


def softened(distances_nm: Floats) -> Floats:
    """Return distances that do not fall to zero in the core: even and smooth in r, r itself from ``CORE_nm`` on."""
    t = np.minimum(distances_nm / CORE_nm, 1.0)
    return np.where(distances_nm < CORE_nm, CORE_nm * (3 / 8 + 3 / 4 * t**2 - t**4 / 8), distances_nm)


def reach_nm(waves: Waves, *, error: float) -> float:
    """Return the distance beyond which a scatterer changes the density by less than ``error`` of it."""
    low, high = 1, 1
    while _changes(waves, high) > error:
        low, high = high + 1, 2 * high
    return float(bisect.bisect_left(range(low, high), True, key=lambda r: _changes(waves, r) <= error) + low)


def _changes(waves: Waves, r_nm: float) -> float:
    """Return by how much of itself a scatterer changes the density at a distance, at most."""
    k = waves.numbers_per_nm
    return float(np.max(np.exp(-2 * k.imag * r_nm) / (math.pi * np.abs(k) * r_nm)))


def t_matrix(waves: Waves, scatterers: Scatterers, table: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return (s^-1 - H)^-1 = (1 - s H)^-1 s, shape (n_energies, n, n)."""
    n, s = len(scatterers.strengths), scatterers.strengths
    bounces = np.empty((len(waves.shares), n, n), dtype=np.complex128)
    _scattering_kernels.between(*_columns(scatterers.points_nm), table, waves.step_nm, bounces)
    return np.asarray(np.linalg.inv(np.eye(n) - s[:, None] * bounces) * s)


def wave_table(waves: Waves, longest_nm: float) -> NDArray[np.complex128]:
    """Return H_0 at -STEP, 0, STEP ... beyond the longest distance, cut off in the core, (n_distances, n_energies)."""
    return _outgoing(waves, math.ceil(longest_nm / waves.step_nm) + 3)


@functools.lru_cache(maxsize=TABLES)
def _outgoing(waves: Waves, n: int) -> NDArray[np.complex128]:
    return waves.hankel(softened(np.abs(np.arange(-1, n) * waves.step_nm)))


@dataclass(frozen=True)
class Response:
    """What scatterers do to the density of electrons; a node hears those within the reach, block by block.

    ``table`` holds the waves over the distance, in steps, (n_energies, n_distances), ``forms`` the T-matrix with the
    energies' shares, which every pair of scatterers is in.
    """

    points_nm: Floats
    reach_nm: float
    step_nm: float
    table: NDArray[np.complex64]
    forms: Floats32

    def change(self, x_nm: Floats, y_nm: Floats) -> Floats:
        """Return the mean of d rho / rho_0 over the energies at nodes, shape (n_y, n_x) as x and y."""
        change = np.zeros(x_nm.shape)
        for i in range(0, x_nm.shape[0], BLOCK):
            for j in range(0, x_nm.shape[1], BLOCK):
                block = slice(i, i + BLOCK), slice(j, j + BLOCK)
                x, y = x_nm[block].ravel(), y_nm[block].ravel()
                near = _near(x, y, self.points_nm, self.reach_nm)
                if near.any():
                    heard = np.empty((len(self.forms), x.size, 2 * int(near.sum())), dtype=np.float32)
                    at = _columns(self.points_nm[near])
                    _scattering_kernels.waves(x, y, *at, self.table, self.step_nm, self.reach_nm, heard)
                    forms = self.forms if near.all() else _among(self.forms, near)
                    change[block] = _summed(heard, forms).reshape(x_nm[block].shape)
        return change

    def change_at(self, points_nm: Floats) -> Floats:
        """Return the same at points (n, 2), shape (n,)."""
        n_rows = -(-len(points_nm) // BLOCK)
        x, y = (np.resize(column, (n_rows, BLOCK)) for column in points_nm.T)
        return self.change(x, y).ravel()[: len(points_nm)]


def response(waves: Waves, scatterers: Scatterers, *, reach_nm: float, within_nm: float = math.inf) -> Response:
    """Return the response of scatterers; none is farther than ``within_nm`` from a node that asks."""
    points_nm = scatterers.points_nm
    across_nm = float(np.hypot(*np.ptp(points_nm, axis=0))) if len(points_nm) else 0.0
    table = wave_table(waves, max(across_nm, min(reach_nm, within_nm)))
    forms = _real(t_matrix(waves, scatterers, table) * waves.shares[:, None, None])
    return Response(points_nm, reach_nm, waves.step_nm, np.ascontiguousarray(table.T, dtype=np.complex64), forms)


def _real(matrix: Complexes) -> Floats32:
    """Return forms (n_energies, 2 n, 2 n) of real and imaginary parts, one after the other: Re h^T M h of them."""
    return np.asarray(np.block([[matrix.real, -matrix.imag], [-matrix.imag, -matrix.real]]), dtype=np.float32)


def _among(forms: Floats32, chosen: Bools) -> Floats32:
    """Return the forms of some of the scatterers."""
    both = np.flatnonzero(np.tile(chosen, 2))
    return forms[:, both[:, None], both]


def _summed(heard: Floats32, forms: Floats32) -> Floats:
    """Return the sum over the energies of forms of waves, (n_energies, n_points, 2 n), shape (n_points,)."""
    return np.asarray(np.einsum("eps,eps->p", heard @ forms, heard), dtype=np.float64)


def _near(x: Floats, y: Floats, points_nm: Floats, reach_nm: float) -> Bools:
    """Return which points lie within the reach of the circle around some nodes."""
    middle = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    radius = float(np.hypot(x - middle[0], y - middle[1]).max())
    return np.asarray(np.hypot(*(points_nm - middle).T) < reach_nm + radius)


def _columns(points_nm: Floats) -> tuple[Floats, Floats]:
    """Return x and y of points (n, 2)."""
    return np.ascontiguousarray(points_nm[:, 0]), np.ascontiguousarray(points_nm[:, 1])


def self_change(waves: Waves, scatterers: Scatterers) -> Floats:
    """Return the mean of d rho / rho_0 over the energies that each scatterer alone makes where it sits, shape (n,)."""
    squared = waves.hankel(softened(np.zeros(1)))[0] ** 2 @ waves.shares
    return np.asarray((scatterers.strengths * squared).real)


def edge_change(distances_nm: Floats, waves: Waves) -> Floats:
    """Return the mean of d rho / rho_0 = -Re H_0(2 k x) over the energies, x from an edge that reflects all."""
    n = math.ceil(2 * float(np.max(distances_nm, initial=0.0)) / EDGE_STEP_nm) + 2
    at_nm, heard = _reflected(waves, EDGE_NODES * math.ceil(n / EDGE_NODES))
    return np.asarray(-np.interp(2 * distances_nm, at_nm, heard))


@functools.lru_cache(maxsize=TABLES)
def _reflected(waves: Waves, n: int) -> tuple[Floats, Floats]:
    """Return n distances from 0 on, and the mean of Re H_0 over the energies there."""
    at_nm = EDGE_STEP_nm * np.arange(n, dtype=np.float64)
    return at_nm, np.asarray(waves.hankel(np.maximum(at_nm, EDGE_STEP_nm**2)).real @ waves.shares)
