"""The lattice Green function and the T-matrix against closed forms, sum rules and dense diagonalisation."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import special

from stmfab.physics import greens, materials
from stmfab.physics.greens import Cluster, Perturbation

A_NM = 0.332


def chain_material(hopping_eV=-1.0):
    """One s orbital a cell, coupled along u only: a stack of independent chains."""
    return dataclasses.replace(
        materials.MATERIALS["wse2-s"],
        name="chain",
        sites=(materials.Site("X", "X", "top", (0.0, 0.0, 0.0)),),
        hoppings_eV=materials.bonds(1, {(0, 0, 1, 0): hopping_eV}),
    )


def three_band_material():
    """WSe2, three d orbitals on one site: Liu et al., PRB 88, 085433 (2013), GGA nearest neighbours."""
    e1, e2, t0, t1, t2, t11, t12, t22 = 0.943, 2.179, -0.207, 0.457, 0.486, 0.263, 0.329, 0.034
    along_x = np.array([[t0, t1, t2], [-t1, t11, t12], [t2, -t12, t22]])
    c, s = math.cos(2 * math.pi / 3), math.sin(2 * math.pi / 3)
    turn = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    blocks = {(0, 0): np.diag([e1, e2, e2])}
    # a1 = (1, 0); C3 a1 = (-1/2, sqrt3/2) = a2 - a1; C3^2 a1 = -a2
    for power, (u, v) in enumerate([(1, 0), (-1, 1), (0, -1)]):
        d = np.linalg.matrix_power(turn, power)
        blocks[u, v] = d @ along_x @ d.T
        blocks[-u, -v] = blocks[u, v].T.copy()
    return dataclasses.replace(
        materials.MATERIALS["wse2-s"],
        name="liu3",
        lattice_nm=materials.triangular_lattice(0.3325),
        sites=(materials.Site("W", "W", "top", (0.0, 0.0, 0.0), ("dz2", "dxy", "dx2-y2")),),
        hoppings_eV=blocks,
    )


def dense_torus(material, n):
    """H of an n x n torus, index ((v n) + u) n_orbitals + orbital."""
    m = material.n_orbitals
    h = np.zeros((n, n, m, n, n, m))
    for (du, dv), block in material.hoppings_eV.items():
        for v, u in itertools.product(range(n), range(n)):
            h[v, u, :, (v + dv) % n, (u + du) % n, :] += block
    return h.reshape(n * n * m, n * n * m) - material.fermi_eV * np.eye(n * n * m)


def perturbed_dense(material, n, perturbation):
    """H of the torus with the perturbation, added orbitals at the end, and the list of kept indices."""
    m = material.n_orbitals
    n_lattice, n_added = n * n * m, len(perturbation.added_eV)
    h = np.zeros((n_lattice + n_added,) * 2)
    h[:n_lattice, :n_lattice] = dense_torus(material, n)
    h[n_lattice:, n_lattice:] = np.diag(perturbation.added_eV)

    def index(orbital):
        u, v, o = orbital
        return n_lattice + o - m if o >= m else (v * n + u) * m + o

    for orbital, shift in zip(perturbation.shifted, perturbation.shift_eV, strict=True):
        h[index(orbital), index(orbital)] += shift
    for cluster in perturbation.clusters:
        where = [index(o) for o in cluster.orbitals]
        h[np.ix_(where, where)] += cluster.matrix_eV
    gone = {index(o) for o in perturbation.removed}
    return h, [i for i in range(len(h)) if i not in gone], index


def mixed_defects(material, n_added):
    """Two vacancies, a shifted orbital (one of them also on a vacancy), a changed bond, an adatom on two sites."""
    m = material.n_orbitals
    bond = np.array([[0.0, 0.3], [0.3, 0.0]])
    adatom = np.array([[0.2, 0.0, 0.7], [0.0, 0.0, -0.4], [0.7, -0.4, 0.0]])
    return Perturbation(
        removed=np.array([(2, 3, 0), (5, 4, m - 1)]),
        shifted=np.array([(3, 3, 0), (1, 2, m - 1), (2, 3, 0)]),
        shift_eV=np.array([0.4, -1.3, 0.7]),
        clusters=[
            Cluster(np.array([(4, 4, 0), (4, 5, m - 1)]), bond),
            Cluster(np.array([(6, 2, 0), (6, 3, m - 1), (0, 0, m)]), adatom),
            Cluster(np.array([(2, 3, 0), (2, 2, m - 1)]), bond),  # a bond to the vacancy: only noise, must be dropped
        ][: 3 if n_added else 1],
        added_eV=np.array([0.35])[:n_added],
    )


@pytest.mark.parametrize("material", [materials.MATERIALS["wse2-s"], three_band_material()], ids=["wse2-s", "liu3"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.complex128, 1e-12), (np.complex64, 1e-5)])
def test_t_matrix_equals_dense_torus(material, dtype, tolerance):
    n = 15  # odd, so that differences within a 8 x 8 patch stay inside the table
    z = np.array([-0.31, 0.02, 0.5]) + 0.157j
    table = greens.lattice_green(material, z, n_k=n, reach=7, dtype=dtype)
    for n_added in (0, 1):
        change = mixed_defects(material, n_added)
        h, kept, index = perturbed_dense(material, n, change)
        m = material.n_orbitals
        lattice = np.array([(u, v, o) for v in range(7) for u in range(7) for o in range(m)])
        added = np.array([(0, 0, m + i) for i in range(n_added)], dtype=np.int64).reshape(-1, 3)
        orbitals = np.concatenate([lattice, added])
        orbitals = np.array([o for o in orbitals if index(o) in set(kept)])
        where = [kept.index(index(o)) for o in orbitals]
        g = greens.green(table, change, orbitals)
        local = greens.local_green(table, change, orbitals)
        for e, energy in enumerate(z):
            exact = np.linalg.inv(energy * np.eye(len(kept)) - h[np.ix_(kept, kept)])[np.ix_(where, where)]
            scale = np.abs(exact).max()
            assert np.abs(g[e] - exact).max() <= tolerance * max(scale, 1)
            assert np.abs(local[e] - np.diag(exact)).max() <= tolerance * max(scale, 1)


def test_removed_orbitals_hold_no_states():
    material = materials.MATERIALS["wse2-s"]
    z = np.array([0.0, 0.2]) + 0.157j
    table = greens.lattice_green(material, z, n_k=64, reach=10, dtype=np.complex128)
    change = mixed_defects(material, 1)
    assert np.abs(greens.local_green(table, change, change.removed)).max() < 1e-14


def test_chain_ldos_is_the_closed_form():
    # G_00 of an infinite chain: 1/sqrt(z^2 - 4 t^2), rho = 1/(pi sqrt(4 t^2 - E^2)); Economou, ch. 5
    z = np.array([-1.5, 0.0, 0.7]) + 0.157j
    table = greens.lattice_green(chain_material(), z, n_k=512, reach=0, dtype=np.complex128)
    exact = 1 / (np.sqrt(z - 2) * np.sqrt(z + 2))
    np.testing.assert_allclose(table.g[:, 0, 0, 0, 0], exact, rtol=1e-12)


def honeycomb(hopping_eV=-2.7):
    links = {(0, 1, 0, 0): hopping_eV, (0, 1, -1, 0): hopping_eV, (0, 1, 0, -1): hopping_eV}
    sites = tuple(materials.Site(n, "C", "top", (0.0, y, 0.0)) for n, y in (("A", 0.0), ("B", 0.142)))
    return dataclasses.replace(
        materials.MATERIALS["wse2-s"], name="graphene", sites=sites, hoppings_eV=materials.bonds(2, links)
    )


def test_honeycomb_bands():
    # edges +-3 t at Gamma, zero at K; Castro Neto et al., Rev. Mod. Phys. 81, 109 (2009)
    levels = np.linalg.eigvalsh(greens.bloch_hamiltonian(honeycomb(), 6))
    np.testing.assert_allclose(levels[0, 0], [-8.1, 8.1], rtol=1e-12)
    assert np.abs(levels).min() < 1e-12  # K = (1/3, 2/3) lies on a 6 x 6 grid


@pytest.mark.parametrize("sigma", [0.05, 0.1])
def test_broadened_ldos_is_the_gaussian_convolution(sigma):
    # the shifted contour against the sum over the torus' own levels
    material, n = three_band_material(), 9
    h = dense_torus(material, n)
    levels, states = np.linalg.eigh(h)
    at = np.linspace(-0.4, 0.4, 9)
    gauss = np.exp(-((at[:, None] - levels) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    exact = gauss @ (states[:3] ** 2).T  # orbitals of cell 0
    z = greens.contour(-0.4, 0.4, sigma)
    table = greens.lattice_green(material, z, n_k=n, reach=0, dtype=np.complex128)
    g = np.diagonal(table.g[:, :, :, 0, 0], axis1=1, axis2=2)
    rho = (greens.contour_weights(z, at, sigma).T @ g).imag
    np.testing.assert_allclose(rho, exact, atol=2e-3)  # 4 sigma of window: tails of 3e-5 / sigma, and exp(-pi^2) = 5e-5


@pytest.mark.parametrize(
    ("contour", "contour_weights", "error"),
    [
        (greens.contour, greens.contour_weights, 1.5e-4),
        (greens.exact_contour, greens.exact_contour_weights, 2.5e-5),
    ],
)
@pytest.mark.parametrize("bias_V", [-0.5, -0.23, 0.2, 0.31, 1.0, 2.0])
def test_fitted_weights(bias_V, contour, contour_weights, error):
    # levels broadened by sigma, integrated over a bias window: (erf((V - e)/s) + erf(e/s))/2, s = sqrt(2) sigma
    sigma, (low, high) = 0.1, sorted((0.0, bias_V))
    z = contour(low, high, sigma)
    nodes, shares = special.roots_legendre(64)
    at = low + (high - low) * (nodes + 1) / 2
    weights = contour_weights(z, at, sigma) @ shares * (high - low) / 2
    levels = np.concatenate([np.linspace(low - 1, high + 1, 2001), np.linspace(-10, 10, 501)])
    terms = weights[:, None] / (z[:, None] - levels)
    width = math.sqrt(2) * sigma
    exact = (special.erf((high - levels) / width) - special.erf((low - levels) / width)) / 2
    assert np.abs(terms.imag.sum(axis=0) - exact).max() < error * exact.max()
    assert np.abs(terms).sum(axis=0).max() < 2.3 * exact.max()  # float32 loses no digit to terms that cancel


def test_ldos_sum_rule_and_a_vacancy_takes_one_state():
    # integral of rho over all energies is 1 an orbital: G ~ 1/z at large |z|
    material = materials.MATERIALS["wse2-s"]
    z = np.array([4000.0j])
    table = greens.lattice_green(material, z, n_k=16, reach=5, dtype=np.complex128)
    orbitals = np.array([(u, v, o) for u in range(3) for v in range(3) for o in range(3)])
    none = Perturbation(np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3), dtype=np.int64), np.zeros(0))
    hole = dataclasses.replace(none, removed=np.array([(1, 1, 0)]))
    states = [(z * greens.local_green(table, p, orbitals).sum(axis=1)).real[0] for p in (none, hole)]
    np.testing.assert_allclose(states, [27, 26], atol=1e-5)  # second moment / z^2 = 3 t^2 / 1.6e7


def test_mean_ldos_of_wse2():
    material = materials.MATERIALS["wse2-s"]
    z = greens.contour(-0.5, 0.5, material.broadening_eV)
    table = greens.lattice_green(material, z, n_k=128, reach=0, dtype=np.complex128)
    nodes, weights = special.roots_legendre(40)
    rho = (greens.contour_weights(z, 0.5 * nodes, material.broadening_eV).T @ table.g[:, 0, 0, 0, 0]).imag
    assert 0.5 * weights @ rho == pytest.approx(material.mean_ldos_per_eV, abs=0.005)  # given to two digits


def test_k_grid_is_converged():
    material = materials.MATERIALS["wse2-s"]
    z = greens.contour(-0.5, 0.5, 0.1)
    n_k = greens.converged_n_k(material, z, reach=20)
    coarse = greens.lattice_green(material, z, n_k=n_k, reach=20, dtype=np.complex128).g
    fine = greens.lattice_green(material, z, n_k=4 * n_k, reach=20, dtype=np.complex128).g
    assert np.abs(coarse - fine).max() / np.abs(fine).max() < 1e-5


def test_a_wide_window_gets_a_grid_that_holds_its_table():
    material = materials.MATERIALS["wse2-s"]
    z = greens.contour(-0.1, 0.1, 0.1)[:1]
    for reach in (127, 128, 168):  # 168: a frame of 30 nm
        n_k = greens.converged_n_k(material, z, reach=reach)
        assert greens.lattice_green(material, z, n_k=n_k, reach=reach).g.shape[-2:] == (2 * reach + 1, 2 * reach + 1)
