"""Materials against their published constants, and what is refused."""

import dataclasses
import itertools

import numpy as np
import pytest

from stmfab.physics import materials, units
from tests import second_reading as second

WSE2 = materials.MATERIALS["wse2-s"]


def test_wse2_is_as_published():
    a = second.WSE2_S["a_nm"]
    np.testing.assert_allclose(np.linalg.norm(WSE2.lattice_nm, axis=1), a, rtol=1e-12)
    assert WSE2.lattice_nm[0] @ WSE2.lattice_nm[1] == pytest.approx(a**2 / 2, rel=1e-12)
    np.testing.assert_allclose(WSE2.positions_nm, [(0, 0, 0), (0, 0, -a), (0, a / 3**0.5, -a / 2)], atol=1e-12)
    assert WSE2.broadening_eV == second.WSE2_S["broadening_eV"]
    assert WSE2.cell_area_nm2 == pytest.approx(1 / 10.48, rel=1e-3)  # 10.5 Se a layer and nm^2


def test_each_se_hops_to_its_three_nearest_w():
    positions = WSE2.positions_nm
    cells = list(itertools.product(range(-2, 3), repeat=2))
    for se in (0, 1):
        bonds = {c: WSE2.hoppings_eV[c][se, 2] for c in cells if c in WSE2.hoppings_eV and WSE2.hoppings_eV[c][se, 2]}
        distance = {
            c: np.linalg.norm(positions[2, :2] + np.array(c) @ WSE2.lattice_nm - positions[se, :2]) for c in cells
        }
        assert set(bonds) == set(sorted(distance, key=distance.get)[:3])
        assert set(bonds.values()) == {second.WSE2_S["hopping_eV"]}


def test_a_hamiltonian_that_is_not_symmetric_is_refused():
    blocks = dict(WSE2.hoppings_eV)
    blocks[1, 0] = np.eye(3)
    with pytest.raises(ValueError, match="not the transpose"):
        dataclasses.replace(WSE2, hoppings_eV=blocks)
    with pytest.raises(ValueError, match="shape"):
        dataclasses.replace(WSE2, hoppings_eV={(0, 0): np.eye(2)})


def test_units():
    assert units.CONDUCTANCE_QUANTUM_nA_per_V == pytest.approx(second.G0_nA_per_V, rel=1e-6)
    assert units.decay_constant(1.0) == pytest.approx(second.KAPPA_PER_SQRT_eV, rel=1e-4)
