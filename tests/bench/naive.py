"""The same samples the plain way, in one run: ``python -m tests.bench.naive``.

Three ways in which such images are made elsewhere, each against the same part of this program, in processor time: the
local densities by diagonalising the window's dense Hamiltonian; the current by a sum over atoms at every time step; and
samples one call at a time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import stmfab  # noqa: F401  (pins every thread pool before numpy is imported)

import numpy as np  # isort: skip

from stmfab import plan, recipe, sample, scenes  # isort: skip
from stmfab.physics import crystal, current, greens, structure  # isort: skip
from stmfab.physics.materials import MATERIALS  # isort: skip
from stmfab.physics.path import nominal_raster  # isort: skip

SAMPLES, STEPS, REACH_nm, BATCH = 4, 400, 1.5, 64


def took_s(work: Callable[..., object], *given) -> float:
    """Return the least processor time of a few runs of ``work(*given)``."""
    times = []
    for _ in range(3):
        begun = time.process_time()
        work(*given)
        times.append(time.process_time() - begun)
    return min(times)


def dense_densities(material, change, cells, broadening_eV):
    """Return the broadened local densities (n_energies, n_orbitals) of a finite piece of a crystal, by ``eigh``."""
    n = material.n_orbitals
    where = {tuple(cell): number for number, cell in enumerate(cells.tolist())}
    h = np.zeros((len(cells) * n, len(cells) * n))
    for (du, dv), block in material.hoppings_eV.items():
        for (u, v), i in where.items():
            j = where.get((u + du, v + dv))
            if j is not None:
                h[i * n : (i + 1) * n, j * n : (j + 1) * n] = block
    gone = [where[u, v] * n + o for u, v, o in change.removed.tolist() if (u, v) in where]
    h = np.delete(np.delete(h, gone, 0), gone, 1)
    levels, states = np.linalg.eigh(h)
    at_eV = np.linspace(-0.5, 0.5, 200)
    peaks = np.exp(-(((at_eV[:, None] - levels) / broadening_eV) ** 2) / 2) / (broadening_eV * np.sqrt(2 * np.pi))
    return peaks @ (states**2).T


def plain_current(points, sites_nm, strengths, tip, kappa):
    """Return I at points (x, y, z), one after the other: a sum over the sites within reach and all tip atoms."""
    out = np.empty(len(points))
    for number, point in enumerate(points):
        near = ((sites_nm[:, :2] - point[:2]) ** 2).sum(axis=1) < REACH_nm**2
        ways = point + tip.positions_nm - sites_nm[near][:, None]
        out[number] = (strengths[near] * np.exp(-2 * kappa * np.linalg.norm(ways, axis=2))).sum()
    return out


def main() -> None:
    """Print the ratios, and the same as JSON."""
    made, material = recipe.load("wse2-defects"), MATERIALS["wse2-s"]
    drawn = plan.draw(made, 0, SAMPLES)
    sample.simulate(made, 0, BATCH)
    rows: dict[str, list[tuple[float, float]]] = {"dense": [], "steps": [], "alone": []}
    for index in range(SAMPLES):
        of = plan.parameters(made, drawn, index)
        junction, tip = of.junction, of.tip.tip()
        raster = nominal_raster(of.raster)
        view = structure.window(material, [raster], n_grid=8)
        scene = scenes.scene(made.seed, of, view)
        around = structure.cells_within(material, REACH_nm)
        cells = np.unique((view.indices[:, None] + around).reshape(-1, 2), axis=0)
        sites = np.concatenate([np.column_stack([cells, np.full(len(cells), s)]) for s in range(3)])
        energies = greens.contour(*junction.window_eV, material.broadening_eV)
        table = crystal.green_table(material, -5, 5, 48).at(energies)
        weights = current.window_weights(
            energies, tip, bias_V=junction.sample_bias_V, broadening_eV=material.broadening_eV
        )
        strengths = (greens.local_green(table, scene.change, sites).T @ weights).imag
        dense = took_s(dense_densities, material, scene.change, cells, material.broadening_eV)
        rows["dense"].append((dense, took_s(greens.local_green, table, scene.change, sites)))
        steps = 2 * (of.raster.pixels + 1) * of.raster.pixels * of.raster.sub_steps
        points = np.column_stack([np.resize(r, STEPS) for r in raster] + [np.full(STEPS, 0.45)])
        where = structure.positions(material, sites[:, :2], sites[:, 2])
        plain = took_s(plain_current, points, where, strengths, tip, junction.decay_per_nm) * steps / STEPS
        rows["steps"].append((plain, took_s(sample.simulate, made, index, index + 1)))
    one_by_one = took_s(lambda: [sample.simulate(made, i, i + 1) for i in range(BATCH)])
    rows["alone"].append((one_by_one, took_s(sample.simulate, made, 0, BATCH)))
    words = {
        "dense": "local densities: dense diagonalisation over T-matrix",
        "steps": f"current: sums over atoms at every time step ({STEPS} timed) over a whole sample of ours",
        "alone": "samples one call at a time over side by side",
    }
    for name, pairs in rows.items():
        theirs, ours = np.sum(pairs, axis=0) / len(pairs)
        print(f"{words[name]}: {1e3 * theirs:.1f} ms / {1e3 * ours:.2f} ms = {theirs / ours:.1f}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
