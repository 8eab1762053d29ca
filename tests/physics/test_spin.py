"""Spin-orbit coupling against H with its spins written out, and the three-band models as a second opinion of bands."""

import dataclasses
import math

import numpy as np
import pytest

from stmfab.physics import greens
from stmfab.physics.greens import Perturbation
from stmfab.physics.materials import MATERIALS
from tests import second_reading as second

N_K = 48
GAMMA, K = (0, 0), (16, 32)
LEVI_CIVITA = np.zeros((3, 3, 3))
for one, two, three in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    LEVI_CIVITA[one, two, three], LEVI_CIVITA[one, three, two] = 1, -1
PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
X, Y, Z = np.eye(3)
TENSORS = {  # real d orbitals as symmetric tensors without trace, all of one norm
    "dxy": np.outer(X, Y) + np.outer(Y, X),
    "dxz": np.outer(X, Z) + np.outer(Z, X),
    "dyz": np.outer(Y, Z) + np.outer(Z, Y),
    "dx2-y2": np.outer(X, X) - np.outer(Y, Y),
    "dz2": (2 * np.outer(Z, Z) - np.outer(X, X) - np.outer(Y, Y)) / math.sqrt(3),
}
VECTORS = {"px": X, "py": Y, "pz": Z}


def angular_momentum(material, axis):
    """lambda L of every atom: the rotation of vectors and tensors."""
    names = [name for site in material.sites for name in site.orbitals]
    species = [site.species for site in material.sites for _ in site.orbitals]
    turn = -1j * LEVI_CIVITA[axis]
    out = np.zeros((len(names), len(names)), complex)
    for i, bra in enumerate(names):
        for j, ket in enumerate(names):
            if material.orbital_site[i] == material.orbital_site[j]:
                if bra in VECTORS:
                    element = VECTORS[bra] @ turn @ VECTORS[ket]
                else:
                    element = (TENSORS[bra] * (turn @ TENSORS[ket] + TENSORS[ket] @ turn.T)).sum() / 2
                out[i, j] = second.SPIN_ORBIT_eV[species[i]] * element
    return out


def spinful_levels(material, point, axes):
    h = np.kron(np.eye(2), greens.bloch_hamiltonian(material, N_K)[point])
    return np.linalg.eigvalsh(h + sum(np.kron(PAULI[axis] / 2, angular_momentum(material, axis)) for axis in axes))


@pytest.mark.parametrize("name", second.FANG_NAMES)
def test_both_spins_are_the_two_copies(name):
    plain = dataclasses.replace(MATERIALS[name], scissor_eV=0.0)
    levels = greens.bands(dataclasses.replace(MATERIALS[f"{name}-so"], scissor_eV=0.0), N_K)[0]
    for point in (GAMMA, K, (7, 12)):
        np.testing.assert_allclose(levels[point], spinful_levels(plain, point, [2]), atol=1e-10)
    # what flips spins moves the edges at K, and in the selenide of tungsten the top at Gamma, by no more than this
    full = spinful_levels(plain, K, [0, 1, 2])
    np.testing.assert_allclose(levels[K][[12, 13]], full[[12, 13]], atol=0.016)
    split = full[13] - full[12]
    assert split == pytest.approx(second.K_SPLITTING_eV[second.FANG_NAMES.index(name)], rel=0.08)  # first principles


@pytest.mark.parametrize("name", second.FANG_NAMES)
def test_gap_and_edges_with_spin(name):
    plain, spinful = MATERIALS[name], MATERIALS[f"{name}-so"]
    filled, empty = greens.band_edges(spinful)
    without = greens.band_edges(plain)
    assert empty - filled == pytest.approx(without[1] - without[0], abs=1e-3)
    assert filled == pytest.approx(-empty, abs=1e-4)


def test_a_vacancy_takes_both_spins():
    material, z = MATERIALS["wse2-so"], np.array([1e5j])
    table = greens.lattice_green(material, z, n_k=6, reach=1, dtype=np.complex128)
    orbitals, nothing = np.array([(0, 0, o) for o in range(22)]), np.zeros((0, 3), dtype=np.int64)
    gone = Perturbation(np.array([(0, 0, o) for o in range(6)]), nothing, np.zeros(0))
    assert (z * greens.local_green(table, gone, orbitals).sum(axis=1)).real[0] == pytest.approx(16, abs=1e-6)


def three_bands(name, order):
    """H(k) of Liu et al. (GGA) at K without spin, its levels and the weight of d_xy, d_x2-y2 times L_z."""
    t = second.LIU_eV[order][name]
    first = np.array([[t["t0"], t["t1"], t["t2"]], [-t["t1"], t["t11"], t["t12"]], [t["t2"], -t["t12"], t["t22"]]])
    shells = [((1.0, 0.0), first)]
    if order == "TNN":
        r = math.sqrt(3)
        shells += [
            (
                (1.5, -r / 2),
                np.array(
                    [
                        [t["r0"], t["r1"], -t["r1"] / r],
                        [t["r2"], t["r11"], t["r12"]],
                        [-t["r2"] / r, t["r12"], t["r11"] + 2 * t["r12"] / r],
                    ]
                ),
            ),
            (
                (2.0, 0.0),
                np.array([[t["u0"], t["u1"], t["u2"]], [-t["u1"], t["u11"], t["u12"]], [t["u2"], -t["u12"], t["u22"]]]),
            ),
        ]
    k, h = np.array([4 * math.pi / 3, 0.0]), np.diag([t["e1"], t["e2"], t["e2"]]).astype(complex)
    for way, hop in shells:
        for turns in range(3):
            angle = turns * 2 * math.pi / 3
            c, s, c2, s2 = math.cos(angle), math.sin(angle), math.cos(2 * angle), math.sin(2 * angle)
            d = np.array([[1, 0, 0], [0, c2, s2], [0, -s2, c2]])
            term = d @ hop @ d.T * np.exp(1j * k @ np.array([[c, -s], [s, c]]) @ way)
            h += term + term.conj().T
    return h


@pytest.mark.parametrize("order", ["NN", "TNN"])
@pytest.mark.parametrize("name", second.FANG_NAMES)
def test_three_band_models(name, order):
    h = three_bands(name, order)
    levels = np.linalg.eigvalsh(h)
    assert levels[1] - levels[0] == pytest.approx(second.LIU_K_GAP_eV[order][name], abs=2e-3)
    if order == "NN":
        momentum = np.array([[0, 0, 0], [0, 0, 2j], [0, -2j, 0]]) * second.LIU_eV["NN"][name]["lambda"] / 2
        up, down = (np.linalg.eigvalsh(h + sign * momentum)[0] for sign in (1, -1))
        assert abs(up - down) == pytest.approx(second.LIU_K_SPLITTING_eV[name], abs=1e-3)
