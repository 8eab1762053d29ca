"""Tungsten apex clusters and the local density of states of their atoms, by the kernel polynomial method.

Pure and slow (a minute for all apexes): ``tips`` reads the table that ``tests/make_tips.py`` wrote with this module.
"""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.fft import dct

from .units import Bools, Floats, Ints

A_NM = 0.3165  # bcc tungsten
FIRST_HOPPING_eV, SECOND_HOPPING_eV = 2.5, 2.0  # to 8 first and 6 second neighbours; the published one-orbital model
CUBE_NM = 4.0  # edge of the (111) cube
PYRAMID_NM = 3.0  # height of the (001) pyramid, 6 nm wide at its base
BAND_eV = (-12.5, 32.5)  # holds the spectrum of any cluster of this model: bulk band [-12, 32] and a margin
BROADENING_eV = 0.1
N_MOMENTS = 1400  # the Gaussian's coefficients fall below 1e-8 here
BEHIND_nm = 0.6  # atoms this far behind the front still carry current; test_current.py::test_tip_depth
DULLED_LAYERS = {"111": 4, "001": 2}  # front layers 0 .. n - 1 are tabulated, whole and in parts,
BLUNT_LAYERS = {"111": 6, "001": 4}  # and up to here whole: 3 and 10, 9 and 16 front atoms


@dataclass(frozen=True)
class Cluster:
    """A tip's atoms, ``positions_nm`` of shape (n_atoms, 3): z is the depth behind the apex, 0 at the pristine apex."""

    positions_nm: Floats


@dataclass(frozen=True)
class Apex:
    """A dulling state: its name, and which atoms of the cluster remain."""

    name: str
    orientation: str
    remaining: Bools
    n_front: int


def cube_on_corner() -> Cluster:
    """Return the (111) tip: a cube of bcc tungsten standing on a corner."""
    points = np.concatenate([_grid(0.0, CUBE_NM / A_NM), _grid(0.5, CUBE_NM / A_NM)])
    x_axis = np.array([1.0, -1.0, 0.0]) / math.sqrt(2)
    z_axis = np.array([1.0, 1.0, 1.0]) / math.sqrt(3)
    return Cluster(A_NM * points @ np.array([x_axis, np.cross(z_axis, x_axis), z_axis]).T)


def _grid(first: float, last: float) -> Floats:
    """Return the points (i, j, k) with coordinates first, first + 1, ... up to ``last``, shape (n, 3)."""
    line = np.arange(first, last)
    return np.array(list(itertools.product(line, line, line)))


def pyramid() -> Cluster:
    """Return the (001) tip: a square pyramid, layer n (depth n a/2) being (n + 1) x (n + 1) atoms."""
    layers = []
    for n in range(math.floor(PYRAMID_NM / (A_NM / 2)) + 1):
        line = np.arange(n + 1) - n / 2
        layers += [(x, y, n / 2) for x in line for y in line]
    return Cluster(A_NM * np.array(layers))


CLUSTERS = {"111": cube_on_corner, "001": pyramid}
POINT_GROUP_ORDER = {"111": 3, "001": 4}  # rotations of the apex about its axis; with mirrors


def apexes(orientation: str, cluster: Cluster) -> Iterator[Apex]:
    """Yield every dulling state: n whole layers gone, and any part of the next; equivalent parts once.

    ``w111`` is the pristine tip, ``w111-d2`` lacks two layers, ``w111-d1-2of3`` lacks one layer and one of the three
    atoms of the next; letters tell inequivalent choices apart. Blunter tips, ``w111-d5``, keep the next layer whole.
    """
    depth = np.round(cluster.positions_nm[:, 2], 6)
    for removed, front_depth in enumerate(np.unique(depth)[: BLUNT_LAYERS[orientation]]):
        front = np.flatnonzero(depth == front_depth)
        prefix = f"w{orientation}" + (f"-d{removed}" if removed else "")
        for n_front in range(1 if removed < DULLED_LAYERS[orientation] else len(front), len(front) + 1):
            choices = _inequivalent(cluster.positions_nm[front, :2], n_front, POINT_GROUP_ORDER[orientation])
            for letter, kept in zip(string.ascii_lowercase[: len(choices)], choices, strict=True):
                part = "" if n_front == len(front) else f"-{n_front}of{len(front)}"
                remaining = depth > front_depth
                remaining[front[kept]] = True
                yield Apex(prefix + part + (letter if len(choices) > 1 else ""), orientation, remaining, n_front)


def _inequivalent(points: Floats, n_kept: int, order: int) -> list[list[int]]:
    """Return the subsets of points that no rotation by 2 pi / order or mirror maps onto each other."""
    images = _point_group_images(points, order)
    seen: set[tuple[int, ...]] = set()
    chosen = []
    for subset in itertools.combinations(range(len(points)), n_kept):
        if subset not in seen:
            chosen.append(list(subset))
            seen |= {tuple(sorted(int(image[i]) for i in subset)) for image in images}
    return chosen


def _point_group_images(points: Floats, order: int) -> list[Ints]:
    """Return the permutations of points under the rotations and mirrors that map the set onto itself."""
    images = []
    for turn, mirror in itertools.product(range(order), (False, True)):
        angle = 2 * math.pi * turn / order
        c, s = math.cos(angle), math.sin(angle)
        moved = points @ np.array([[c, -s], [s, c]]).T
        for axis in range(2 * order) if mirror else [None]:
            candidate = moved if axis is None else _mirrored(moved, math.pi * axis / (2 * order))
            distance = np.linalg.norm(points[None, :, :] - candidate[:, None, :], axis=2)
            if (distance.min(axis=1) < 1e-6).all():
                images.append(distance.argmin(axis=1))
    return images


def _mirrored(points: Floats, angle: float) -> Floats:
    """Return points mirrored at the line through the origin at ``angle`` (radians)."""
    c, s = math.cos(2 * angle), math.sin(2 * angle)
    return np.asarray(points @ np.array([[c, s], [s, -c]]).T)


def hamiltonian(positions_nm: Floats) -> sparse.csr_array:
    """Return the one-orbital Hamiltonian of a cluster in eV: hopping to first and second bcc neighbours."""
    index = {tuple(key): i for i, key in enumerate(half_steps(positions_nm).tolist())}
    first = list(itertools.product((-1, 1), repeat=3))
    second = [tuple(2 * sign * (axis == i) for i in range(3)) for axis in range(3) for sign in (-1, 1)]
    rows, columns, values = [], [], []
    for (x, y, z), i in index.items():
        for steps, hopping in ((first, FIRST_HOPPING_eV), (second, SECOND_HOPPING_eV)):
            for dx, dy, dz in steps:
                j = index.get((x + dx, y + dy, z + dz))
                if j is not None:
                    rows.append(i)
                    columns.append(j)
                    values.append(hopping)
    return sparse.csr_array((values, (rows, columns)), shape=(len(index), len(index)))


def half_steps(positions_nm: Floats) -> Ints:
    """Return positions as integers in units of a/2 along the cubic axes, whatever the cluster's orientation."""
    difference = positions_nm - positions_nm[0]
    cubic = difference @ _cubic_axes(difference).T / (A_NM / 2)
    steps = np.round(cubic)
    if np.abs(steps - cubic).max() > 1e-6:
        raise ValueError("positions are not on a bcc lattice")
    return np.asarray(steps, dtype=np.int64)


def _cubic_axes(difference: Floats) -> Floats:
    """Return the cube axes of a cluster: its own frame for (001), the corner's three edges for (111)."""
    if np.abs(difference[:, 2] / (A_NM / 2) - np.round(difference[:, 2] / (A_NM / 2))).max() < 1e-6:
        return np.eye(3)
    x_axis = np.array([1.0, -1.0, 0.0]) / math.sqrt(2)
    z_axis = np.array([1.0, 1.0, 1.0]) / math.sqrt(3)
    return np.array([x_axis, np.cross(z_axis, x_axis), z_axis]).T


def local_densities(h_eV: sparse.csr_array, atoms: Ints, at_eV: Floats) -> Floats:
    """Return the Gaussian-broadened density of states on atoms, shape (n_atoms, n_at), in 1/eV and per spin.

    rho_i(E) = <i| g_sigma(E - H) |i> = sum_n c_n(E) mu_n, mu_n = <i| T_n(H) |i>, c_n the Chebyshev coefficients of the
    Gaussian: exact to the truncation, no kernel needed.

    References
    ----------
    Weisse et al., Rev. Mod. Phys. 78, 275 (2006), doi:10.1103/RevModPhys.78.275.
    """
    middle, half = sum(BAND_eV) / 2, (BAND_eV[1] - BAND_eV[0]) / 2
    scaled = (h_eV - middle * sparse.eye_array(h_eV.shape[0], format="csr")) / half
    return np.asarray(_moments(sparse.csr_array(scaled), atoms) @ _gaussian_coefficients(middle, half, at_eV))


def _moments(scaled: sparse.csr_array, atoms: Ints) -> Floats:
    """Return <i| T_n |i>, n < N_MOMENTS, shape (n_atoms, N_MOMENTS); T_2n and T_2n+1 by the product rule."""
    start = np.zeros((scaled.shape[0], len(atoms)))
    start[atoms, np.arange(len(atoms))] = 1
    before, now = start, scaled @ start
    moments = np.empty((N_MOMENTS, len(atoms)))
    moments[0], moments[1] = 1, now[atoms, np.arange(len(atoms))]
    for n in range(1, N_MOMENTS // 2):
        moments[2 * n] = 2 * (now * now).sum(axis=0) - moments[0]
        before, now = now, 2 * (scaled @ now) - before
        moments[2 * n + 1] = 2 * (now * before).sum(axis=0) - moments[1]
    return moments.T


def _gaussian_coefficients(middle: float, half: float, at_eV: Floats) -> Floats:
    """Return the Chebyshev coefficients of x -> g_sigma(E - middle - half x), shape (N_MOMENTS, n_at)."""
    n_nodes = 2 * N_MOMENTS
    nodes_eV = middle + half * np.cos(np.pi * (np.arange(n_nodes) + 0.5) / n_nodes)
    gauss = np.exp(-((at_eV[:, None] - nodes_eV) ** 2) / (2 * BROADENING_eV**2))
    coefficients = dct(gauss / (math.sqrt(2 * math.pi) * BROADENING_eV), type=2, axis=1) / n_nodes
    coefficients[:, 0] /= 2
    return np.asarray(coefficients[:, :N_MOMENTS].T)


@dataclass(frozen=True)
class ApexTable:
    """The atoms that carry current, of one dulling state.

    Attributes
    ----------
    positions_nm : array of shape (n_atoms, 3)
        z is the height above the front atoms; x and y are relative to the front atoms' centroid.
    ldos_per_eV : array of shape (n_atoms, n_at)
        Local density of states per spin.
    """

    name: str
    n_front: int
    positions_nm: Floats
    ldos_per_eV: Floats


def carrying(apex: Apex, cluster: Cluster) -> tuple[Ints, Floats]:
    """Return the atoms of a dulled tip within ``BEHIND_nm`` of its front, front atoms first, and where they are."""
    depth = np.where(apex.remaining, cluster.positions_nm[:, 2], np.inf)
    height = depth - depth.min()
    atoms = np.flatnonzero(height <= BEHIND_nm)
    atoms = atoms[np.argsort(height[atoms], kind="stable")]
    centroid = np.append(cluster.positions_nm[atoms[: apex.n_front], :2].mean(axis=0), depth.min())
    return atoms, cluster.positions_nm[atoms] - centroid


def apex_table(apex: Apex, cluster: Cluster, at_eV: Floats) -> ApexTable:
    """Return the carrying atoms of a dulled tip, and their densities of states."""
    atoms, positions_nm = carrying(apex, cluster)
    among_remaining = np.cumsum(apex.remaining)[atoms] - 1
    densities = local_densities(hamiltonian(cluster.positions_nm[apex.remaining]), among_remaining, at_eV)
    return ApexTable(apex.name, apex.n_front, positions_nm, densities)
