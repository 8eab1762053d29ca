"""Tungsten with nine orbitals an atom: bonds, bulk bands, and the densities of states of dulled clusters."""

import itertools

import numpy as np
import pytest
from scipy import optimize, special

from stmfab.physics import tips, tungsten, tungsten_spd
from tests import second_reading as second

ONSITE, FIRST, SECOND = (second.TUNGSTEN_SPD_eV[name] for name in ("onsite", "first", "second"))
ORDER = ("sss", "sps", "sds", "pps", "ppp", "pds", "pdp", "dds", "ddp", "ddd")
SIGMA = 0.1


def test_constants_are_those_of_the_second_reading():
    assert tungsten_spd.FIRST_eV == tuple(FIRST[name] for name in ORDER)
    assert tungsten_spd.SECOND_eV == tuple(SECOND[name] for name in ORDER)
    onsite = [ONSITE["s"], *[ONSITE["p"]] * 3, *[ONSITE["t2g"]] * 3, *[ONSITE["eg"]] * 2]
    assert tungsten_spd.ONSITE_eV.tolist() == onsite


def test_bonds_are_those_of_the_slater_koster_table():
    step = np.array([0.3, -0.5, 0.8])
    l, m, n = step / np.linalg.norm(step)  # noqa: E741
    v = FIRST
    s, x, y, z, xy, yz, _, x2y2, z2 = range(9)
    root = 3**0.5
    table = {  # J. C. Slater and G. F. Koster, Phys. Rev. 94, 1498 (1954), table I
        (s, s): v["sss"],
        (s, x): l * v["sps"],
        (x, s): -l * v["sps"],
        (x, x): l**2 * v["pps"] + (1 - l**2) * v["ppp"],
        (x, y): l * m * (v["pps"] - v["ppp"]),
        (s, xy): root * l * m * v["sds"],
        (s, x2y2): root / 2 * (l**2 - m**2) * v["sds"],
        (z2, s): (n**2 - (l**2 + m**2) / 2) * v["sds"],
        (x, xy): root * l**2 * m * v["pds"] + m * (1 - 2 * l**2) * v["pdp"],
        (x, yz): l * m * n * (root * v["pds"] - 2 * v["pdp"]),
        (x, x2y2): root / 2 * l * (l**2 - m**2) * v["pds"] + l * (1 - l**2 + m**2) * v["pdp"],
        (z2, z): -n * (n**2 - (l**2 + m**2) / 2) * v["pds"] - root * n * (l**2 + m**2) * v["pdp"],
        (xy, xy): 3 * l**2 * m**2 * v["dds"]
        + (l**2 + m**2 - 4 * l**2 * m**2) * v["ddp"]
        + (n**2 + l**2 * m**2) * v["ddd"],
        (xy, yz): 3 * l * m**2 * n * v["dds"] + l * n * (1 - 4 * m**2) * v["ddp"] + l * n * (m**2 - 1) * v["ddd"],
        (x2y2, z2): root / 2 * (l**2 - m**2) * (n**2 - (l**2 + m**2) / 2) * v["dds"]
        + root * n**2 * (m**2 - l**2) * v["ddp"]
        + root / 4 * (1 + n**2) * (l**2 - m**2) * v["ddd"],
        (z2, z2): (n**2 - (l**2 + m**2) / 2) ** 2 * v["dds"]
        + 3 * n**2 * (l**2 + m**2) * v["ddp"]
        + 3 / 4 * (l**2 + m**2) ** 2 * v["ddd"],
    }
    block = tungsten_spd.hopping(step, tungsten_spd.FIRST_eV)
    for (row, column), expected in table.items():
        assert block[row, column] == pytest.approx(expected, abs=1e-12), (row, column)
    np.testing.assert_allclose(tungsten_spd.hopping(-step, tungsten_spd.FIRST_eV), block.T, atol=1e-12)


def bands(k_per_half_a):
    """Levels at wave vectors in units of 2/a, (n_k, 9)."""
    phases = np.exp(1j * k_per_half_a @ tungsten_spd.STEPS.T)
    return np.linalg.eigvalsh(np.tensordot(phases, tungsten_spd.blocks(), 1))


def test_bulk_bands():
    # six electrons fill up to 0.56 eV, 0.32 states /eV and atom there (both spins), from an independent run on the same
    # integrals; the bottom is the s state at Gamma, which p and d states cannot reach: E_s + 8 ss1 + 6 ss2
    n = 28
    wedge = np.array([(i, j, k) for i in range(n) for j in range(i + 1) for k in range(j + 1)])
    share = np.array([len(set(itertools.permutations(point))) for point in wedge.tolist()])
    share = share / share.sum()
    levels = bands((wedge + 0.5) * np.pi / n)  # an eighth of the cube of edge 4 pi / a, which holds four zones

    def electrons(fermi_eV):
        return share @ special.erfc((levels - fermi_eV) / (2**0.5 * SIGMA)).sum(axis=1)

    fermi_eV = optimize.brentq(lambda e: electrons(e) - 6, -2, 2)
    assert fermi_eV == pytest.approx(tungsten_spd.FERMI_eV, abs=0.01)
    gauss = np.exp(-((levels - fermi_eV) ** 2) / (2 * SIGMA**2)) / ((2 * np.pi) ** 0.5 * SIGMA)
    assert 2 * share @ gauss.sum(axis=1) == pytest.approx(0.32, abs=0.01)
    bottom = bands(np.zeros((1, 3)))[0, 0]
    assert bottom == pytest.approx(ONSITE["s"] + 8 * FIRST["sss"] + 6 * SECOND["sss"], abs=1e-12)
    assert tungsten_spd.BAND_eV[0] < bottom
    assert levels.max() < tungsten_spd.BAND_eV[1] - 0.3


def test_polynomials_of_a_periodic_crystal_are_its_sum_over_wave_vectors():
    n = 4  # cubes along each axis, periodic
    cubes = np.array(list(itertools.product(range(n), repeat=3)))
    places = np.concatenate([2 * cubes, 2 * cubes + 1])
    index = {tuple(place): i for i, place in enumerate(places.tolist())}
    reached = (places[:, None] + tungsten_spd.STEPS) % (2 * n)
    near = np.array([index[tuple(place)] for place in reached.reshape(-1, 3).tolist()]).reshape(len(places), -1)
    energies = np.array([-3.0, 0.56, 2.2]) + 0.2j
    found = tungsten_spd.green_traces(near, np.array([0, 77]), energies)
    levels = bands(np.array(list(itertools.product(range(2 * n), repeat=3))) * np.pi / n)
    exact = (1 / (energies[:, None, None] - levels)).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(found, np.column_stack([exact, exact]), rtol=1e-4)  # 500 steps in single precision


SMALL = tungsten.Cluster(tungsten.pyramid().positions_nm[:30])  # four layers
STATES = {apex.name: apex for apex in tungsten.apexes("001", SMALL)}


def exact_densities(apex, at_eV):
    """Densities of the carrying atoms of a dulled cluster: the matrix of what is left, its levels, each a Gaussian."""
    near = tungsten_spd.neighbours(tungsten.half_steps(SMALL.positions_nm[apex.remaining]))
    n = len(near)
    matrix = np.zeros((n + 1, 9, n + 1, 9))
    for i, row in enumerate(near):
        for block, j in zip(tungsten_spd.blocks(), row, strict=True):
            matrix[i, :, j, :] = block
    levels, states = np.linalg.eigh(matrix[:n, :, :n].reshape(9 * n, 9 * n))
    carrying = np.cumsum(apex.remaining)[tungsten.carrying(apex, SMALL)[0]] - 1
    weights = (states.reshape(n, 9, -1) ** 2).sum(axis=1)[carrying]
    energies = at_eV + tungsten_spd.FERMI_eV - levels[:, None]
    return weights @ np.exp(-(energies**2) / (2 * SIGMA**2)) / ((2 * np.pi) ** 0.5 * SIGMA)


def test_dulled_clusters_equal_diagonalisation():
    at_eV = np.linspace(-3.0, 3.0, 61)
    chosen = [STATES[name] for name in ("w001", "w001-d1-2of4b", "w001-d2")]
    for apex, table in zip(chosen, tungsten_spd.apex_tables(SMALL, chosen, at_eV), strict=True):
        exact = exact_densities(apex, at_eV)
        assert table.n_front == {"w001": 1, "w001-d1-2of4b": 2, "w001-d2": 9}[apex.name]
        np.testing.assert_allclose(
            table.ldos_per_eV, exact, atol=4e-4 * exact.max()
        )  # contour 1.5e-4; its cut at 4 sigma


def test_the_shipped_densities_are_those_of_the_whole_cluster():
    table = tips._spd_table()
    assert tuple(table) == tips.APEXES
    cluster = tungsten.pyramid()
    pristine = next(tungsten.apexes("001", cluster))
    few = tungsten.Apex(pristine.name, pristine.orientation, pristine.remaining, pristine.n_front)
    near = tungsten_spd.neighbours(tungsten.half_steps(cluster.positions_nm))
    at_eV = np.linspace(-0.5, 0.5, 41)
    energies = tungsten_spd.greens.contour(tungsten_spd.FERMI_eV - 0.5, tungsten_spd.FERMI_eV + 0.5, SIGMA)
    weights = tungsten_spd.greens.contour_weights(energies, tungsten_spd.FERMI_eV + at_eV, SIGMA)
    made = (tungsten_spd.green_traces(near, np.array([0]), energies).T @ weights).imag
    shipped = table[few.name][1].density(at_eV)[0] * tips.SPD_MEAN_LDOS_per_eV / tips.MEAN_LDOS_per_eV
    np.testing.assert_allclose(shipped, made[0], atol=1e-3)  # shipped in steps of 1e-4; the contour's 1.5e-4 of 1.7


def test_mean_density_near_the_fermi_level():
    near = np.abs(tips.AT_eV) <= 0.5
    means = [tips._spd_table()[name][1].ldos_per_eV[0, near].mean() for name in ("w111", "w001")]
    assert np.mean(means) == pytest.approx(tips.MEAN_LDOS_per_eV, rel=0.01)  # on the calibration's scale
