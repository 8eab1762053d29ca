"""The 11-orbital monolayers and graphene against published bands, plain readings, and dense diagonalisation."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import constants, linalg, special

from stmfab.physics import greens
from stmfab.physics.greens import Cluster, Perturbation
from stmfab.physics.materials import MATERIALS
from stmfab.physics.materials.graphene import graphene
from tests import second_reading as second
from tests.physics import test_greens
from tests.physics.test_greens import dense_torus, perturbed_dense

N_K = 48  # holds Gamma at (0, 0) and K at (16, 32)
GAMMA, K = (0, 0), (16, 32)


def published(name):
    """The material as published: without the wider gap."""
    return dataclasses.replace(MATERIALS[name], scissor_eV=0.0)


def plain_bands(column, k):
    """Levels at k (1/a), from the second reading, in the paper's own orbitals, bond after bond."""
    t = {name: numbers[column] for name, numbers in second.FANG_eV.items()}
    h = np.diag([t[f"e{n}"] for n in (1, 1, 3, 4, 4, 6, 7, 7, 9, 10, 10)]).astype(complex)
    antisymmetric = ((1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (9, 10), (10, 11))
    first, bond, long = np.zeros((3, 11, 11))
    for name, value in t.items():
        if name[0] == "t":
            row, other = (int(n) - 1 for n in name[3:].split(","))
            {"t1": first, "t5": bond, "t6": long}[name[:2]][row, other] = value
            if name[:2] == "t1":
                first[other, row] = value
                if (row + 1, other + 1) in antisymmetric:
                    first[row, other] = -value
    for turns in range(3):
        angle = turns * 2 * math.pi / 3
        c, s = math.cos(angle), math.sin(angle)
        c2, s2 = math.cos(2 * angle), math.sin(2 * angle)
        d = np.eye(11)
        for one, other in ((0, 1), (3, 4), (9, 10)):
            d[np.ix_([one, other], [one, other])] = [[c, -s], [s, c]]
        d[np.ix_([6, 7], [6, 7])] = [[c2, s2], [-s2, c2]]
        for hop, (x, y) in ((first, (1, 0)), (bond, (0, 1 / math.sqrt(3))), (long, (0, -2 / math.sqrt(3)))):
            phase = np.exp(1j * (k[0] * (c * x - s * y) + k[1] * (s * x + c * y)))
            turned = phase * (d @ hop @ d.T)
            h += turned + turned.conj().T
    return np.linalg.eigvalsh(h)


@pytest.mark.parametrize("column", range(4))
def test_bands_are_those_of_the_published_table(column):
    name = second.FANG_NAMES[column]
    material, n_k = published(name), 9
    levels, _ = greens.bands(material, n_k)
    reciprocal = 2 * math.pi * np.linalg.inv(material.lattice_nm / second.FANG_LATTICE_nm[column])  # columns b1, b2
    for v, u in itertools.product(range(n_k), repeat=2):
        k = reciprocal @ (u / n_k, v / n_k)
        np.testing.assert_allclose(levels[v, u], plain_bands(column, k), atol=1e-10)


@pytest.mark.parametrize("column", range(4))
def test_gaps_of_the_published_model(column):
    levels, _ = greens.bands(published(second.FANG_NAMES[column]), N_K)
    assert levels[K][7] - levels[K][6] == pytest.approx(second.FANG_K_GAP_eV[column], abs=5e-3)
    assert levels[GAMMA][6] - levels[K][6] == pytest.approx(second.FANG_GAMMA_ABOVE_K_eV[column], abs=1e-3)


def test_orbitals_at_the_band_edges_of_wse2():
    # valence band at Gamma 71 % d_z2 and 29 % p_z; at K 80 % d_xy, d_x2-y2 and 20 % p_x, p_y; conduction 87 % d_z2
    material = published("wse2")
    names = [name for site in material.sites for name in site.orbitals]
    _, states = greens.bands(material, N_K)
    for point, band, expected in (
        (GAMMA, 6, {"dz2": 0.71, "pz": 0.29}),
        (K, 6, {"dxy": 0.40, "dx2-y2": 0.40, "px": 0.10, "py": 0.10}),
        (K, 7, {"dz2": 0.87, "px": 0.065, "py": 0.065}),
    ):
        weights = np.abs(states[point][:, band]) ** 2
        found = {name: weights[[n == name for n in names]].sum() for name in expected}
        assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", second.FANG_NAMES)
def test_scissor_opens_the_measured_gap_and_moves_no_filled_band(name):
    material = MATERIALS[name]
    column = second.FANG_NAMES.index(name)
    filled, empty = greens.band_edges(material)
    assert empty - filled == pytest.approx((2.24, 2.22, 2.63, 2.27)[column], abs=1e-3)  # Nat. Commun. 13, 4648, table 1
    assert filled == pytest.approx(-empty, abs=1e-4)  # the Fermi level is mid-gap
    levels, before = greens.bands(material, 12)[0], greens.bands(published(name), 12)[0]
    np.testing.assert_array_equal(levels[..., :7], before[..., :7])
    np.testing.assert_allclose(levels[..., 7:] - before[..., 7:], material.scissor_eV, rtol=1e-12)


def test_top_and_bottom_are_mirror_images():
    # under z -> -z: p_z -> -p_z of the other chalcogen, p_x, p_y -> those of the other, d_xz, d_yz change sign
    mirror = np.zeros((11, 11))
    for top, bottom, sign in ((0, 3, -1), (1, 4, 1), (2, 5, 1)):
        mirror[top, bottom] = mirror[bottom, top] = sign
    mirror[range(6, 11), range(6, 11)] = 1, -1, -1, 1, 1
    for block in MATERIALS["ws2"].hoppings_eV.values():
        np.testing.assert_allclose(mirror @ block @ mirror, block, atol=1e-12)


def levels_at(material, k):
    """Levels at a point of the Brillouin zone, (x, y) per nm."""
    phases = {cell: np.exp(1j * k @ (np.array(cell) @ material.lattice_nm)) for cell in material.hoppings_eV}
    return np.linalg.eigvalsh(sum(phases[cell] * block for cell, block in material.hoppings_eV.items()))


@pytest.mark.parametrize(("first_eV", "second_eV", "third_eV"), [(-2.7, 0.1, 0.0), (-3.2, 0.05, -0.3)])
def test_graphene_velocity_and_crossing(first_eV, second_eV, third_eV):
    material = graphene(first_eV, second_eV, third_eV)
    k_point = 4 * math.pi / (3 * 0.246)  # K on the x axis
    levels = [levels_at(material, np.array([k, 0.0])) for k in (k_point, k_point + 1e-3)]
    assert levels[0] == pytest.approx([material.fermi_eV] * 2, abs=1e-9)
    slope_eV_nm = (levels[1][1] - levels[1][0]) / 2e-3
    assert slope_eV_nm == pytest.approx(math.sqrt(3) / 2 * 0.246 * abs(first_eV - 2 * third_eV), rel=1e-3)
    if third_eV == 0.0:
        velocity = slope_eV_nm * 1e-9 * constants.e / constants.hbar
        assert velocity * 2.7 / abs(first_eV) == pytest.approx(second.GRAPHENE_v_F_m_per_s, rel=2e-3)


def of_shells(values, k):
    """sum_R V(R) exp(i k.R) among the two sites, V by the distance: own, first, second and third neighbours."""
    bond_nm, out = 0.246 / math.sqrt(3), np.zeros((2, 2), dtype=complex)
    sites_nm, lattice_nm = np.array([[0, 0], [0, bond_nm]]), 0.246 * np.array([[1, 0], [0.5, math.sqrt(3) / 2]])
    for cell in itertools.product(range(-2, 3), repeat=2):
        for i, j in itertools.product((0, 1), repeat=2):
            away = np.linalg.norm(cell @ lattice_nm + sites_nm[j] - sites_nm[i]) / bond_nm
            for shell, value in zip((0, 1, math.sqrt(3), 2), values, strict=True):
                out[i, j] += value * np.exp(1j * k @ (cell @ lattice_nm)) * (abs(away - shell) < 1e-6)
    return out


def test_graphene_to_third_neighbours_has_the_levels_of_its_overlapping_orbitals():
    # H psi = E S psi of the published table, point by point of a path through Gamma, K and M and beside it
    material = MATERIALS["graphene-3n"]
    k_point, m_point = np.array([4 * math.pi / (3 * 0.246), 0.0]), np.array([math.pi, math.pi / math.sqrt(3)]) / 0.246
    for k in (*np.linspace(0, 1, 7)[:, None] * k_point, m_point, 0.5 * m_point, np.array([3.0, 5.0])):
        h, s = (of_shells(second.GRAPHENE_FAR[name], k) for name in ("hops_eV", "overlaps"))
        np.testing.assert_allclose(levels_at(material, k), linalg.eigh(h, s, eigvals_only=True), atol=3e-4)


def test_graphene_to_third_neighbours_in_numbers():
    # at Gamma (e + 6 t2 +- 3 (t1 + t3)) / (1 + 6 s2 +- 3 (s1 + s3)); at K (e - 3 t2) / (1 - 3 s2)
    levels = greens.bands(MATERIALS["graphene-3n"], 48)[0] - MATERIALS["graphene-3n"].fermi_eV
    crossing = -0.061 / 0.946
    np.testing.assert_allclose(levels[0, 0] + crossing, [-10.618 / 1.405, 9.182 / 0.811], atol=3e-4)
    np.testing.assert_allclose(levels[16, 32], 0, atol=3e-4)
    # the slope at K: sqrt(3)/2 a |t1 - 2 t3 - E (s1 - 2 s3)| / (1 - 3 s2), in m/s
    k = np.array([4 * math.pi / (3 * 0.246) + 1e-3, 0.0])
    slope_eV_nm = np.ptp(levels_at(MATERIALS["graphene-3n"], k)) / 2e-3
    assert slope_eV_nm == pytest.approx(math.sqrt(3) / 2 * 0.246 * (2.31 + crossing * 0.021) / 0.946, rel=2e-3)
    assert slope_eV_nm * 1e-9 * constants.e / constants.hbar == pytest.approx(0.790e6, rel=2e-3)


def dense_scissored(material, n):
    """H of an n x n torus, its upper states raised, from the Fermi level."""
    h = dense_torus(material, n)
    states = np.linalg.eigh(h)[1]
    above = states[:, material.n_filled * n * n :]
    return h + material.scissor_eV * above @ above.T


def test_t_matrix_of_eleven_orbitals_equals_the_dense_torus(monkeypatch):
    material, n = MATERIALS["wse2"], 7
    z = np.array([-1.31, 0.4, 1.2]) + 0.1j
    table = greens.lattice_green(material, z, n_k=n, reach=3, dtype=np.complex128)
    gone = [(1, 1, 0), (1, 1, 1), (1, 1, 2), (3, 2, 6)]  # a whole top Se, one orbital of a W
    change = Perturbation(
        removed=np.array(gone),
        shifted=np.array([(0, 0, 3), (2, 3, 9), (1, 1, 2)]),
        shift_eV=np.array([0.7, -1.1, 0.4]),
        clusters=[
            Cluster(np.array([(2, 0, 4), (2, 1, 7)]), np.array([[0.0, 0.3], [0.3, 0.0]])),
            Cluster(np.array([(0, 3, 8), (1, 1, 0)]), np.array([[0.2, 0.5], [0.5, 0.0]])),
        ],
    )
    monkeypatch.setattr(test_greens, "dense_torus", dense_scissored)
    h, kept, index = perturbed_dense(material, n, change)
    orbitals = np.array([(u, v, o) for v in range(4) for u in range(4) for o in range(11) if index((u, v, o)) in kept])
    where = [kept.index(index(o)) for o in orbitals]
    g, local = greens.green(table, change, orbitals), greens.local_green(table, change, orbitals)
    for e, energy in enumerate(z):
        exact = np.linalg.inv(energy * np.eye(len(kept)) - h[np.ix_(kept, kept)])[np.ix_(where, where)]
        assert np.abs(g[e] - exact).max() <= 1e-10 * np.abs(exact).max()
        assert np.abs(local[e] - np.diag(exact)).max() <= 1e-10 * np.abs(exact).max()


def test_sum_rule_and_a_vacancy_takes_three_states():
    material, z = MATERIALS["mos2"], np.array([1e5j])
    table = greens.lattice_green(material, z, n_k=8, reach=2, dtype=np.complex128)
    orbitals = np.array([(u, v, o) for u in range(2) for v in range(2) for o in range(11)])
    nothing = np.zeros((0, 3), dtype=np.int64)
    states = [
        (z * greens.local_green(table, Perturbation(removed, nothing, np.zeros(0)), orbitals).sum(axis=1)).real[0]
        for removed in (nothing, np.array([(1, 0, o) for o in range(3)]))
    ]
    np.testing.assert_allclose(states, [44, 41], atol=1e-6)  # moments of some eV over |z|


@pytest.mark.parametrize(
    "name", [*second.FANG_NAMES, *(f"{name}-so" for name in second.FANG_NAMES), "graphene", "graphene-3n"]
)
def test_mean_ldos(name):
    # of a top atom's orbitals: over 1 eV outside each band edge, or for graphene over |E| <= 0.5 eV, A |E|/(2 pi v^2)
    material = MATERIALS[name]
    edges = greens.band_edges(material)
    windows = [(-0.5, 0.5)] if edges is None else [(edges[0] - 1, edges[0]), (edges[1], edges[1] + 1)]
    own = np.flatnonzero(material.orbital_site == 0)
    nodes, shares = special.roots_legendre(40)
    means = []
    for low, high in windows:
        z = greens.contour(low, high, material.broadening_eV)
        local = greens.lattice_green(material, z, n_k=48, reach=0, dtype=np.complex128).local
        weights = greens.contour_weights(z, low + (high - low) * (nodes + 1) / 2, material.broadening_eV) @ shares / 2
        means.append((weights @ local[:, own].sum(axis=1)).imag)
    assert np.mean(means) == pytest.approx(material.mean_ldos_per_eV, abs=0.001)


def test_blunders_of_a_material_are_told():
    material = MATERIALS["mos2"]
    top, bottom, metal = material.sites
    for changes, words in (
        ({"lattice_nm": np.array([[0.3, 0.0], [0.6, 0.0]])}, "mos2: the lattice vectors are parallel"),
        ({"sites": (top, dataclasses.replace(bottom, position_nm=(0.0, 0.0, 0.0)), metal)}, "S_top and S_bottom are 0"),
        ({"sites": (dataclasses.replace(top, layer="upper"), bottom, metal)}, "S_top: unknown 'upper'; legal: top"),
        ({"n_filled": 11}, "11 bands below the gap, of 11"),
        ({"hoppings_eV": {(0, 0): np.full((11, 11), np.nan)}}, "not finite"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(material, **changes)


def test_the_state_of_a_graphene_vacancy():
    # V. M. Pereira et al., Phys. Rev. Lett. 96, 036801 (2006): on the other sublattice only, exp(iK.r)/(x + iy) + its
    # counterpart at K', whose square is (1 - cos((K - K').r - 2 theta)) / r^2: a sqrt3 x sqrt3 pattern that decays
    material = graphene(second_eV=0.0)
    table = greens.lattice_green(material, np.array([0.03j]), n_k=384, reach=30, dtype=np.complex128)
    nothing = np.zeros((0, 3), dtype=np.int64)
    hole = Perturbation(np.array([(0, 0, 1)]), nothing, np.zeros(0))
    cells = np.array(list(itertools.product(range(-14, 15), repeat=2)))
    own, other = (np.column_stack([cells, np.full(len(cells), site)]) for site in (1, 0))
    own = own[(own[:, :2] != 0).any(axis=1)]
    extra = {
        name: -(greens.local_green(table, hole, sites)[0].imag - table.local[0, 0].imag) / math.pi
        for name, sites in (("own", own), ("other", other))
    }
    assert extra["own"].max() < 1e-3 * extra["other"].max()
    x, y = (cells @ material.lattice_nm + material.positions_nm[0, :2] - material.positions_nm[1, :2]).T
    r, theta = np.hypot(x, y), np.arctan2(y, x)
    pattern = 1 - np.cos(8 * math.pi / (3 * 0.246) * x - 2 * theta)
    ring = (r > 0.8) & (r < 2.4)
    assert np.corrcoef((extra["other"] * r**2)[ring], pattern[ring])[0, 1] > 0.95
    rings = ((0.5, 0.8), (0.8, 1.2), (1.2, 1.7), (1.7, 2.3))
    means = [(extra["other"] * r**2)[(r > low) & (r < high)].mean() for low, high in rings]
    np.testing.assert_allclose(means, means[0], rtol=0.1)  # a ring holds few atoms
