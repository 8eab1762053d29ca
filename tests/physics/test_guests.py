"""Guests of the lattice: their Hamiltonian, their current against plain sums, and how they look in publications."""

import dataclasses
import math

import numpy as np
import pytest

from stmfab.physics import coherent, current, defects, greens, guests, structure, tips
from stmfab.physics.defects import Placed
from stmfab.physics.junction import Junction
from stmfab.physics.materials import MATERIALS
from stmfab.physics.materials.spin import with_spin_orbit
from tests import plain
from tests import second_reading as second
from tests.physics.test_greens import perturbed_dense

GRAPHENE = MATERIALS["graphene"]
# T. O. Wehling et al., Phys. Rev. Lett. 105, 056802 (2010): H on graphene, V = 2t = 5.2 eV, eps = -t/16 = -0.16 eV
HYDROGEN = {"height_nm": 0.11, "onsite_eV": -0.16, "hopping_eV": 5.2}
METAL = {"height_nm": 0.17, "onsite_eV": 0.3, "hopping_eV": 0.5}


def placed(site, values, cells=((0, 0),), **words):
    columns = {name: np.full(len(cells), float(value)) for name, value in values.items()}
    return Placed(np.array(cells), site, columns, words)


def hydrogen(*cells):
    return guests.Adatom, placed(0, HYDROGEN, cells, position="top", orbital="s")


def metal(*cells):
    return guests.Adatom, placed(0, METAL, cells, position="hollow", orbital="s")


def test_guests_among_others_are_the_dense_torus():
    # adatoms, a vacancy under one of their bonds, and two members whose orbitals are numbered one after the other
    members = [metal((1, 1), (4, 2)), hydrogen((3, 4)), (defects.Vacancy, placed(1, {}, ((1, 0),)))]
    change = defects.combined([kind.perturbation(GRAPHENE, own) for kind, own in members], n_orbitals=2)
    z = np.array([-0.6, 0.1, 0.7]) + 0.05j
    table = greens.lattice_green(GRAPHENE, z, n_k=7, reach=3, dtype=np.complex128)
    h, kept, index = perturbed_dense(GRAPHENE, 7, in_torus(change, 7))
    orbitals = np.array([(1, 1, 0), (2, 2, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4)])
    where = [kept.index(index(o)) for o in orbitals]
    assert change.added_orbitals == ("s", "s", "s")
    local = greens.green(greens.GreenTable(z, _folded(table, 7)), in_torus(change, 7), orbitals)
    for e, energy in enumerate(z):
        exact = np.linalg.inv(energy * np.eye(len(kept)) - h[np.ix_(kept, kept)])[np.ix_(where, where)]
        np.testing.assert_allclose(local[e], exact, atol=1e-10 * np.abs(exact).max())


def in_torus(change, n):
    """The change with every lattice orbital's cell taken into an n x n torus."""
    fold = [1, 1, 0]
    clusters = [greens.Cluster(np.where(fold, np.mod(c.orbitals, n), c.orbitals), c.matrix_eV) for c in change.clusters]
    return dataclasses.replace(change, clusters=clusters)


def _folded(table, n):
    """A table of a torus that reaches n - 1 cells: what is farther than half of it comes from the other side."""
    reach = n - 1
    cells = (np.arange(-reach, reach + 1) + n // 2) % n
    return np.ascontiguousarray(table.g[..., cells[:, None], cells[None, :]])


def test_a_guest_is_bound_to_the_nearest_atoms_by_the_projection_of_its_bond():
    kind, own = metal((0, 0))
    change = kind.perturbation(GRAPHENE, own)
    (cluster,) = change.clusters
    centre = kind.places_nm(GRAPHENE, own)[0]
    assert len(cluster.orbitals) == 7  # a hexagon and itself
    atoms = structure.positions(GRAPHENE, cluster.orbitals[1:, :2], cluster.orbitals[1:, 2])
    away_nm = np.linalg.norm(atoms - centre, axis=1)
    np.testing.assert_allclose(away_nm, math.hypot(0.17, 0.246 / math.sqrt(3)), rtol=1e-9)
    np.testing.assert_allclose(np.abs(cluster.matrix_eV[0, 1:]), 0.5 * 0.17 / away_nm, rtol=1e-9)  # sp sigma, p along z
    kind, own = hydrogen((2, 1))
    assert kind.perturbation(GRAPHENE, own).clusters[0].orbitals.tolist() == [[2, 1, 2], [2, 1, 0]]
    antisite = guests.Antisite.perturbation(
        MATERIALS["wse2"], placed(2, {"onsite_eV": 0, "bond_ratio": 1, "rise_nm": 0})
    )
    assert len(antisite.removed) == 5
    assert antisite.added_orbitals == ("pz", "px", "py")
    # Harrison, table 2-1: V_pp = 3.24, -0.81 hbar^2 / m d^2; the trace of a p block is V_sigma + 2 V_pi
    d2 = np.sum(structure.positions(MATERIALS["wse2"], np.zeros((1, 2), int), np.array([2]))[0] ** 2)
    block = antisite.clusters[0].matrix_eV[:3, 3:6]
    assert np.trace(block) == pytest.approx(0.0762 * (3.24 - 2 * 0.81) / d2, rel=1e-6)


def test_guests_are_refused_where_their_hops_are_unknown():
    assert guests.Antisite.sites(GRAPHENE) == []  # one species
    assert guests.Antisite.sites(MATERIALS["mos2"]) == ["S_top", "S_bottom", "Mo"]


@pytest.mark.parametrize(("site", "kets"), [(0, ("dz2", "dxz", "dyz", "dxy", "dx2-y2")), (2, ("pz", "px", "py"))])
def test_an_antisite_with_spin_orbit_coupling_is_a_complex_one_in_real_numbers(site, kets):
    # H = A + iB of one spin as [[A, -B], [B, A]]: A of the antisite without it, B = lambda <L_z> / 2 / i of its species
    values = {"onsite_eV": 0.3, "bond_ratio": 0.8, "rise_nm": 0.1}
    plain, spinful = (guests.Antisite.perturbation(MATERIALS[m], placed(site, values)) for m in ("wse2", "wse2-so"))
    assert spinful.added_orbitals == 2 * plain.added_orbitals
    assert len(spinful.removed) == 2 * len(plain.removed)
    a, n = plain.clusters[0].matrix_eV, len(kets)
    b = np.zeros(a.shape)
    coupling = second.SPIN_ORBIT_eV["W" if site == 0 else "Se"]
    for one, other, m in (("px", "py", 1), ("dxz", "dyz", 1), ("dx2-y2", "dxy", 2)):  # L_z |px> = i |py>
        if one in kets:
            i, j = (plain.added_orbitals.index(name) for name in (one, other))
            b[j, i], b[i, j] = m * coupling / 2, -m * coupling / 2
    complexes = np.linalg.eigvalsh(a + 1j * b)
    np.testing.assert_allclose(np.linalg.eigvalsh(spinful.clusters[0].matrix_eV), np.repeat(complexes, 2), atol=1e-12)
    (cluster,) = spinful.clusters
    own = cluster.orbitals[:, 2] >= 22
    assert own.sum() == 2 * n


def test_guests_without_coupling_carry_the_same_current_in_two_copies():
    # lambda = 0: the two copies are the two spins, each with half the calibration
    without = dataclasses.replace(MATERIALS["wse2"], broadening_eV=0.1)
    junction = Junction(bias_V=-1.5, work_function_eV=4.5, current_nA=0.1)
    x, y = np.meshgrid(np.linspace(-0.3, 0.3, 7), np.linspace(-0.3, 0.3, 7))
    adatom = placed(2, {"height_nm": 0.12, "onsite_eV": 0.0, "hopping_eV": 0.8})
    members = {
        "antisite": (guests.Antisite, placed(0, {"onsite_eV": 0.0, "bond_ratio": 1.0, "rise_nm": 0.1}, ((1, 0),))),
        "adatom": (guests.Adatom, dataclasses.replace(adatom, words={"position": "top", "orbital": "s"})),
    }
    images = [
        plain.image_of_members(material, members, tips.Tungsten(apex="w111").tip(), junction, (x, y))[1].ideal_nm
        for material in (without, with_spin_orbit(without, {}))
    ]
    np.testing.assert_allclose(images[1], images[0], atol=1e-4)  # 0.1 pm


def plain_log_current(scene, tip, junction, points):
    """ln|I / nA|: every orbital within 2.2 nm and every added one, every tip atom, float64, one by one."""
    material, kappa, bias_V = scene.material, junction.decay_per_nm, junction.sample_bias_V
    sigma = material.broadening_eV
    z = second.contour(min(bias_V, 0), max(bias_V, 0), sigma)
    table = greens.lattice_green(material, z, n_k=128, reach=24, dtype=np.complex128)
    nodes, shares = np.polynomial.legendre.leggauss(64)
    at_eV = bias_V * (nodes + 1) / 2
    weights = second.contour_weights(z, at_eV, sigma) @ (tip.density(at_eV - bias_V) * shares * abs(bias_V) / 2).T
    sites, where = plain.atoms(scene, 2.2)
    strengths = (greens.local_green(table, scene.change, sites).T @ weights).imag
    total = [
        (strengths * np.exp(-2 * kappa * np.linalg.norm(p + tip.positions_nm - where[:, None], axis=2))).sum()
        for p in points
    ]
    return np.log(total) + math.log(current.calibration_nA_eV(material))


def test_field_accuracy():
    members = {"h": hydrogen((0, 0)), "m": metal((2, 1)), "hole": (defects.Vacancy, placed(1, {}, ((-2, 1),)))}
    junction = Junction(bias_V=-0.4, work_function_eV=4.5, current_nA=0.1)
    tip = tips.Tungsten(apex="w111-d1-2of3", rotation_deg=20.0).tip()
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 12), np.linspace(-0.5, 0.5, 11))
    scene, imaged, points = plain.image_of_members(GRAPHENE, members, tip, junction, (x, y))
    points = points[::6]
    error_nm = np.abs(imaged.field.log_current(*points.T) - plain_log_current(scene, tip, junction, points))
    assert error_nm.max() / (2 * junction.decay_per_nm) < 1e-4
    assert np.ptp(imaged.ideal_nm) > 0.1  # they show


def plain_coherent_log_current(scene, tip, junction, points):
    """ln|I / nA|: amplitudes of every orbital within 2 nm and of the added ones, the full G in float64."""
    material, bias_V, sigma = scene.material, junction.sample_bias_V, scene.material.broadening_eV
    z = second.contour(min(bias_V, 0), max(bias_V, 0), sigma)
    table = greens.lattice_green(material, z, n_k=64, reach=16, dtype=np.complex128)
    nodes, shares = np.polynomial.legendre.leggauss(64)
    at_eV = bias_V * (nodes + 1) / 2
    densities = tip.density(at_eV - bias_V) * shares * abs(bias_V) / 2
    lattice, every = plain.orbitals(scene, 1.8)
    weights = second.contour_weights(z, at_eV, sigma) @ densities[0]
    a = sum((w * greens.green(table.at(z[n : n + 1]), scene.change, every)[0]).imag for n, w in enumerate(weights))
    total = np.zeros(len(points))
    for way, share in zip(tip.positions_nm, densities.sum(axis=1) / densities[0].sum(), strict=True):
        at_nm, setting = points + way, {"kappa_per_nm": junction.decay_per_nm, "tip": "s"}
        f = coherent.amplitudes(material, lattice, at_nm, **setting)
        places = zip(scene.change.added_orbitals, scene.change.added_nm, strict=True)
        f = np.concatenate([f, [coherent.lobe(name, at_nm - place, **setting) for name, place in places]])
        total += share * (f * (a @ f)).sum(axis=0)
    return np.log(total * current.calibration_nA_eV(material))


def test_coherent_field_accuracy():
    # one-orbital WSe2 with two adatoms on bridges and tops, beside a vacancy
    wse2 = MATERIALS["wse2-s"]
    values = {"height_nm": 0.15, "onsite_eV": -0.2, "hopping_eV": 0.4}
    members = {
        "s": (guests.Adatom, placed(0, values, ((0, 0),), position="top", orbital="s")),
        "pz": (guests.Adatom, placed(0, values | {"onsite_eV": 0.1}, ((1, -1),), position="bridge", orbital="pz")),
        "hole": (defects.Vacancy, placed(0, {}, ((-1, 1),))),
    }
    junction = Junction(bias_V=-0.4, kappa_per_nm=10.9, current_nA=0.1, current="coherent")
    whole = tips.Tungsten(apex="w111", rotation_deg=20.0).tip()
    tip = dataclasses.replace(whole, positions_nm=whole.positions_nm[:4], ldos_per_eV=whole.ldos_per_eV[:4])
    x, y = np.meshgrid(np.linspace(-0.4, 0.5, 8), np.linspace(-0.4, 0.4, 7))
    scene, imaged, points = plain.image_of_members(wse2, members, tip, junction, (x, y))
    exact = plain_coherent_log_current(scene, tip, junction, points)
    error_nm = np.abs(imaged.field.log_current(*points.T) - exact) / (2 * 10.9)
    assert error_nm.max() < 1e-4
    assert np.ptp(imaged.ideal_nm) > 0.08


CALIBRATED = {  # as in the recipes and the README; B of PHYSICS: both bright by 50 to 150 pm, about 1 nm wide
    "metal on chalcogen": (0, {"onsite_eV": 0.0, "bond_ratio": 1.0, "rise_nm": 0.0}),
    "chalcogen on metal": (2, {"onsite_eV": -0.5, "bond_ratio": 0.8, "rise_nm": 0.2}),
}


@pytest.mark.parametrize("name", CALIBRATED)
def test_antisites_are_bright_in_filled_and_in_empty_states(name):
    site, values = CALIBRATED[name]
    material = dataclasses.replace(MATERIALS["wse2"], broadening_eV=0.1)
    for bias_V in (-1.5, 1.5):
        change_pm = 1e3 * (ideal_nm(material, bias_V, guest=placed(site, values)) - ideal_nm(material, bias_V))
        assert 50 < change_pm.max() < 150
        assert change_pm.min() > -20


def ideal_nm(material, bias_V, **members):
    """Constant-current topography around an antisite, or of the bare crystal."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 11), np.linspace(-0.5, 0.5, 11))
    antisites = {name: (guests.Antisite, own) for name, own in members.items()}
    junction = Junction(bias_V=bias_V, work_function_eV=4.5, current_nA=0.1)
    return plain.image_of_members(material, antisites, tips.Tungsten(apex="w111").tip(), junction, (x, y))[1].ideal_nm


def test_a_metal_on_a_chalcogen_site_has_states_in_the_middle_of_the_gap():
    # W. Zhou et al., Nano Lett. 13, 2615 (2013): antisites of a metal have deep levels
    material, (site, values) = MATERIALS["wse2"], CALIBRATED["metal on chalcogen"]
    change = guests.Antisite.perturbation(material, placed(site, values))
    z = np.arange(-0.5, 0.51, 0.1) + 0.1j
    table = greens.lattice_green(material, z, n_k=48, reach=3)
    own = np.column_stack([np.zeros((5, 2), dtype=int), 11 + np.arange(5)])
    spectrum = -greens.local_green(table, change, own).imag.sum(axis=1) / math.pi
    pristine = -table.local[:, 6:].imag.sum(axis=1) / math.pi
    assert spectrum.max() > 3 * pristine.max()
