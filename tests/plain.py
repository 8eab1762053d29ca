"""What plain sums over atoms share: a scene under a tip, and its orbitals one by one."""

import dataclasses

import numpy as np

from stmfab.physics import coherent, crystal, greens, structure, tips


def image(material, scene_of, tip, junction, raster_nm):
    """The scene, its field, and the ideal image's points (x, y, z), shape (n_points, 3)."""
    scene, imaged = crystal.image(scene_of, material, tip, junction, lines_nm=[raster_nm], raster_nm=raster_nm)
    x, y = raster_nm
    return scene, imaged, np.column_stack([x.ravel(), y.ravel(), imaged.ideal_nm.ravel()])


def image_of_members(material, members, tip, junction, raster_nm):
    """The same of a scene with given defects."""
    return image(material, lambda view: crystal.scene_under(material, members, view), tip, junction, raster_nm)


def orbitals(scene, within_nm):
    """Orbitals (u, v, orbital): those of the cells around the origin but the removed ones, then the added ones."""
    material, cells = scene.material, structure.cells_within(scene.material, within_nm)
    every = np.concatenate([np.column_stack([cells, np.full(len(cells), o)]) for o in range(material.n_orbitals)])
    gone = {tuple(row) for row in scene.change.removed.tolist()}
    kept = np.array([row for row in every.tolist() if tuple(row) not in gone])
    n_added = len(scene.change.added_eV)
    added = np.column_stack([np.zeros((n_added, 2), dtype=int), material.n_orbitals + np.arange(n_added)])
    return kept, np.concatenate([kept, added])


def atoms(scene, within_nm):
    """The orbitals of sites with one each, and where they are in nm, (n, 3)."""
    kept, every = orbitals(scene, within_nm)
    own_nm = structure.positions(scene.material, kept[:, :2], kept[:, 2])
    return every, np.concatenate([own_nm, scene.change.added_nm.reshape(-1, 3)])


def front_atoms(n, **keys):
    """The tip w111 with its front atoms alone."""
    tip = tips.Tungsten(apex="w111", rotation_deg=20.0).tip()
    return dataclasses.replace(tip, positions_nm=tip.positions_nm[:n], ldos_per_eV=tip.ldos_per_eV[:n], **keys)


def amplitudes_squared(scene, tip, points, energies_eV, parts, shares, *, reach_nm=2.4, n_k=128):
    """sum_j c_j f^T Im(sum_n w_n G_n) f at points, float64, for every orbital within some nm.

    ``parts`` are pairs of a decay constant and the weights w of energies that have it; ``shares`` are the c_j.
    """
    material = scene.material
    every = orbitals(scene, reach_nm)[0]
    table = greens.lattice_green(material, energies_eV, n_k=n_k, reach=20, dtype=np.complex128)
    total, g = np.zeros(len(points)), greens.green(table, scene.change, every)
    for kappa, weights in parts:
        a = np.tensordot(weights, g, axes=1).imag
        for way, share in zip(tip.positions_nm - tip.positions_nm[0], shares, strict=True):
            f = coherent.amplitudes(material, every, points + way, kappa_per_nm=kappa, tip=tip.shape)
            total += share * (f * (a @ f)).sum(axis=0)
    return total
