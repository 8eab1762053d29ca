"""The current of what stands on a surface: lobes under the atoms of a tip."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
N_HEIGHTS = 7  # a constant: the compiler unrolls it
FALL_STEP_nm2 = 0.01  # of a table of lobes over the square of the distance aside


@kernel()
def _lobe(right: float, up: float, above: float, heights: F8, depth: float, atoms: F8, kappa: float, out: F8) -> None:
    """Write sum strength exp(-2 kappa (|d| - depth - height)) over the tip's atoms at some heights to out."""
    out[:] = 0
    for a in range(atoms.shape[0]):
        aside = (right + atoms[a, 0]) ** 2 + (up + atoms[a, 1]) ** 2
        for k in range(heights.size):
            away = np.sqrt(aside + (above + atoms[a, 2] + heights[k]) ** 2)
            out[k] += atoms[a, 3] * np.exp(-2 * kappa * (away - depth - heights[k]))


@kernel(forceinline=True)
def _add(lobe: F8, amplitude: float, dip: float, most: float, out: F8) -> None:
    """Add a bump to the current at a node, or multiply by a dip."""
    for k in range(N_HEIGHTS):
        if dip > 0:
            out[k] *= 1 + amplitude * min(1.0, lobe[k] / most)
        else:
            out[k] += amplitude * lobe[k]


@kernel()
def add_lobes(
    x: F8, y: F8, floor: F8, heights: F8, lobes: F8, middles: F8, half: int, atoms: F8, kappa: float, out: F8
) -> None:
    """Add the lobes of bumps to the current over exp(-2 kappa height), out (n_y, n_x, n_heights); multiply by dips.

    Nodes x, y and the surface's height ``floor`` there, (n_y, n_x); ``heights`` above it. A row of ``lobes`` is x, y,
    height of the surface there, depth beneath it, amplitude A, and whether it is a dip; bumps come first. A row of
    ``atoms``, of the tip, is x, y, z, strength. A bump adds A L with L of ``_lobe``, a dip multiplies by 1 + A L over L
    right above it, so that dips never cut the current below zero. A lobe is felt within ``half`` nodes of its
    ``middles`` (column, row).
    """
    n_y, n_x = x.shape
    lobe, most = np.empty(heights.size), np.sum(atoms[:, 3] * np.exp(-2 * kappa * atoms[:, 2]))
    for s in range(lobes.shape[0]):
        column, row = int(middles[s, 0]), int(middles[s, 1])
        for i in range(max(0, row - half), min(n_y, row + half + 2)):
            for j in range(max(0, column - half), min(n_x, column + half + 2)):
                at = x[i, j] - lobes[s, 0], y[i, j] - lobes[s, 1], floor[i, j] - lobes[s, 2] + lobes[s, 3]
                _lobe(*at, heights, lobes[s, 3], atoms, kappa, lobe)
                _add(lobe, lobes[s, 4], lobes[s, 5], most, out[i, j])


@kernel(forceinline=True)
def _fill(heights: F8, depth: float, atoms: F8, kappa: float, falls: F8) -> None:
    """Write exp(-2 kappa (|d| - depth - height)) under each atom at squares of distances aside to ``falls``."""
    for a in range(falls.shape[0]):
        if a > 0 and atoms[a, 2] == atoms[a - 1, 2]:
            falls[a] = falls[a - 1]
            continue
        for n in range(falls.shape[1]):
            for k in range(heights.size):
                away = np.sqrt(n * FALL_STEP_nm2 + (depth + atoms[a, 2] + heights[k]) ** 2)
                falls[a, n, k] = np.exp(-2 * kappa * (away - depth - heights[k]))


@kernel(fastmath={"contract"})
def add_lobes_on_plane(
    x: F8, y: F8, heights: F8, lobes: F8, middles: F8, half: int, atoms: F8, kappa: float, falls: F8, out: F8
) -> None:
    """Do what ``add_lobes`` does over a surface of one height: by tables over the square of the distance aside.

    ``falls``, (n_atoms, n, n_heights), is room for them; cubic between. Lobes of one depth follow one another, as do
    atoms of one height.
    """
    n_y, n_x = x.shape
    lobe, most = np.empty(heights.size), np.sum(atoms[:, 3] * np.exp(-2 * kappa * atoms[:, 2]))
    for s in range(lobes.shape[0]):
        if s == 0 or lobes[s, 3] != lobes[s - 1, 3]:
            _fill(heights, lobes[s, 3], atoms, kappa, falls)
        column, row = int(middles[s, 0]), int(middles[s, 1])
        for i in range(max(0, row - half), min(n_y, row + half + 2)):
            for j in range(max(0, column - half), min(n_x, column + half + 2)):
                lobe[:] = 0.0
                for p in range(atoms.shape[0]):
                    right, up = x[i, j] - lobes[s, 0] + atoms[p, 0], y[i, j] - lobes[s, 1] + atoms[p, 1]
                    place = (right * right + up * up) * (1 / FALL_STEP_nm2)
                    n = max(1, min(int(place), falls.shape[1] - 3))
                    t, share = min(place - n, 2.0), atoms[p, 3]
                    a, b = -share * t * (t - 1) * (t - 2) / 6, share * (t + 1) * (t - 1) * (t - 2) / 2
                    c, d = -share * (t + 1) * t * (t - 2) / 2, share * (t + 1) * t * (t - 1) / 6
                    for k in range(N_HEIGHTS):
                        four = a * falls[p, n - 1, k] + b * falls[p, n, k]
                        lobe[k] += four + (c * falls[p, n + 1, k] + d * falls[p, n + 2, k])
                _add(lobe, lobes[s, 4], lobes[s, 5], most, out[i, j])


@kernel(fastmath={"contract"})
def add_shifted(plane: F8, places: I8, weights: F8, out: F8) -> None:
    """Add weights times the plane from places (row, column) of it on, (n, 2), to out (n_y, n_x)."""
    for i in range(out.shape[0]):
        for s in range(weights.size):
            row, first, weight = plane[places[s, 0] + i], places[s, 1], weights[s]
            for j in range(out.shape[1]):
                out[i, j] += weight * row[first + j]


@kernel(fastmath={"contract"})
def to_polynomials(current: F8, to_monomials: F8, base: F8) -> None:
    """Turn the current at some heights, (n_y, n_x, n_heights), into the polynomials of its logarithm, ``base`` added.

    Where it is the same at all heights, nearly everywhere but under lobes, one logarithm is enough.
    """
    logs = np.empty(N_HEIGHTS)
    for i in range(current.shape[0]):
        for j in range(current.shape[1]):
            same = True
            for k in range(1, N_HEIGHTS):
                same &= current[i, j, k] == current[i, j, 0]
            if same:
                level = np.log(current[i, j, 0])
                current[i, j] = base
                current[i, j, 0] += level
                continue
            for k in range(N_HEIGHTS):
                logs[k] = np.log(current[i, j, k])
            for m in range(N_HEIGHTS):
                total = base[m]
                for k in range(N_HEIGHTS):
                    total += to_monomials[m, k] * logs[k]
                current[i, j, m] = total
