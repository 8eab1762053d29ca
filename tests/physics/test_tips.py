"""Tungsten apexes: geometry, densities of states, the shipped table."""

import itertools

import numpy as np
import pytest

from stmfab.physics import tips, tungsten
from tests import second_reading as second

E = np.linspace(-3.0, 3.0, 241)


def layers(orientation, n):
    depth = np.round(tungsten.CLUSTERS[orientation]().positions_nm[:, 2], 6)
    values, counts = np.unique(depth, return_counts=True)
    return values[:n], counts[:n].tolist()


def test_front_layers():
    # a cube on its corner: planes a/(2 sqrt 3) = 0.0914 nm apart, those that a corner cuts; a pyramid: n x n
    depth, counts = layers("111", 4)
    assert counts == [1, 3, 1, 6]
    np.testing.assert_allclose(depth, second.TUNGSTEN["a_nm"] / 12**0.5 * np.array([0, 2, 3, 4]), atol=1e-6)
    depth, counts = layers("001", 3)
    assert counts == [1, 4, 9]
    np.testing.assert_allclose(depth, second.TUNGSTEN["a_nm"] / 2 * np.arange(3), atol=1e-6)


def test_hopping_to_eight_first_and_six_second_neighbours():
    cluster = tungsten.cube_on_corner()
    h = tungsten.hamiltonian(cluster.positions_nm)
    inner = np.argmin(np.linalg.norm(cluster.positions_nm - cluster.positions_nm.mean(axis=0), axis=1))
    row = h[[inner], :].tocoo()
    distance = np.linalg.norm(cluster.positions_nm[row.coords[1]] - cluster.positions_nm[inner], axis=1)
    a = second.TUNGSTEN["a_nm"]
    first, next_ = np.isclose(distance, a * 3**0.5 / 2), np.isclose(distance, a)
    assert (first.sum(), next_.sum(), len(distance)) == (8, 6, 14)
    assert set(row.data[first]) == {second.TUNGSTEN["first_eV"]}
    assert set(row.data[next_]) == {second.TUNGSTEN["second_eV"]}
    assert abs(h - h.T).max() == 0


def test_kernel_polynomials_equal_diagonalisation():
    positions = tungsten.pyramid().positions_nm[:204]  # eight layers
    h = tungsten.hamiltonian(positions)
    levels, states = np.linalg.eigh(h.toarray())
    sigma = tungsten.BROADENING_eV
    gauss = np.exp(-((E - levels[:, None]) ** 2) / (2 * sigma**2)) / ((2 * np.pi) ** 0.5 * sigma)
    atoms = np.array([0, 3, 100])
    exact = states[atoms] ** 2 @ gauss
    np.testing.assert_allclose(tungsten.local_densities(h, atoms, E), exact, atol=1e-6)  # truncation of the series


def test_each_atom_holds_one_state():
    h = tungsten.hamiltonian(tungsten.pyramid().positions_nm[:204])
    everywhere = np.linspace(*tungsten.BAND_eV, 4001)
    rho = tungsten.local_densities(h, np.array([0, 7]), everywhere)
    np.testing.assert_allclose(np.trapezoid(rho, everywhere, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("orientation", "count"), [("111", 1 + 3 + 1 + 19 + 2), ("001", 1 + 5 + 2)])
def test_every_partly_emptied_layer_once(orientation, count):
    # Burnside: of 64 subsets of six atoms under C3v 20 differ, of 16 of four under C4v 6; the empty one is no tip; then
    # two blunt states, whose next layers are whole
    cluster = tungsten.CLUSTERS[orientation]()
    apexes = list(tungsten.apexes(orientation, cluster))
    assert len(apexes) == count
    front = {a.name: _front_distances(a, cluster) for a in apexes}
    for one, other in itertools.combinations(apexes, 2):
        if one.n_front == other.n_front and (one.remaining.sum() == other.remaining.sum()):
            assert not np.allclose(front[one.name], front[other.name]), (one.name, other.name)


def _front_distances(apex, cluster):
    """Sorted distances of front atoms to each other and to the rest: differ for states no symmetry maps."""
    positions = cluster.positions_nm[apex.remaining]
    front = np.argsort(positions[:, 2], kind="stable")[: apex.n_front]
    to_axis = np.linalg.norm(positions[front, :2], axis=1)
    mutual = np.linalg.norm(positions[front][:, None] - positions[front][None], axis=2)
    nearest = np.sort(np.linalg.norm(positions[front][:, None] - positions[None], axis=2), axis=1)[:, :9].sum(axis=1)
    mean = np.sort(np.linalg.norm(positions[front].mean(axis=0) - positions, axis=1))[:40]
    return np.concatenate([np.sort(to_axis), np.sort(mutual.ravel()), np.sort(nearest), mean])


def test_the_shipped_table_is_what_the_code_makes():
    table = tips._table()
    assert tuple(table) == tips.APEXES
    for orientation in ("111", "001"):
        cluster = tungsten.CLUSTERS[orientation]()
        apex = list(tungsten.apexes(orientation, cluster))[1]
        made = tungsten.apex_table(apex, cluster, E)
        n_front, tip = table[apex.name]
        assert n_front == made.n_front
        np.testing.assert_allclose(tip.positions_nm, made.positions_nm, atol=1e-9)
        np.testing.assert_allclose(tip.ldos_per_eV, made.ldos_per_eV, atol=2e-7)  # shipped to seven decimals


def test_one_atom_apexes_are_those_with_one_front_atom():
    assert tuple(name for name, (n_front, _) in tips._table().items() if n_front == 1) == tips.ONE_ATOM_APEXES
    for name in tips.ONE_ATOM_APEXES:
        heights = np.sort(tips._table()[name][1].positions_nm[:, 2])
        assert heights[0] == 0
        assert heights[1] > 0.09  # the next atom stands a plane higher


def test_blunt_tips_end_in_whole_layers():
    front = {name: tips._table()[name][0] for name in ("w111-d4", "w111-d5", "w001-d2", "w001-d3")}
    assert front == {"w111-d4": 3, "w111-d5": 10, "w001-d2": 9, "w001-d3": 16}
    for name, n_front in front.items():
        assert (np.abs(tips.Tungsten(apex=name, model="spd").tip().positions_nm[:, 2]) < 1e-9).sum() == n_front


def test_the_spd_model_changes_densities_only():
    for name in tips.APEXES:
        one, other = tips.Tungsten(apex=name).tip(), tips.Tungsten(apex=name, model="spd").tip()
        np.testing.assert_array_equal(one.positions_nm, other.positions_nm)
        np.testing.assert_array_equal(one.at_eV, other.at_eV)
        assert other.ldos_per_eV.min() > 0
        assert np.ptp(other.ldos_per_eV[0]) > 0.05


@pytest.mark.parametrize("front", [1, 3, 6, 10])
def test_platinum_iridium_is_close_packed(front):
    tip = tips.PlatinumIridium(front_atoms=front, rotation_deg=17.0).tip()
    side = (1, 3, 6, 10).index(front) + 1
    assert len(tip.positions_nm) == sum(n * (n + 1) // 2 for n in (side, side + 1, side + 2))
    np.testing.assert_allclose(tip.positions_nm[:front].mean(axis=0), 0, atol=1e-12)
    assert (tip.positions_nm[front:, 2] > 0.2).all()
    distances = np.linalg.norm(tip.positions_nm[:, None] - tip.positions_nm, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest_nm = (0.8 * 0.3924 + 0.2 * 0.3839) / 2**0.5  # fcc: a / sqrt(2); Vegard's law
    np.testing.assert_allclose(distances.min(axis=1), nearest_nm, rtol=1e-3)
    touching = np.isclose(distances, distances.min(), rtol=1e-6).sum(axis=1)
    assert touching[:front].max() <= 9  # six in the layer, three behind
    corner = np.linalg.norm(tip.positions_nm[:front, :2], axis=1).argmax()
    assert touching[corner] == (3 if front == 1 else 5)


def test_apexes_of_unlike_kinds_are_joined():
    co = tips.ExtraCarbonMonoxide(p_share=0.7, x_nm=0.4, y_nm=0.1, shorter_pm=20.0)
    both = tips.joined([tips.Tungsten(apex="w001").tip(), co.tip()])
    n = len(both.positions_nm) - 1
    np.testing.assert_allclose(both.positions_nm[n], [0.4, 0.1, 0.02])
    np.testing.assert_array_equal(both.p_shares, [0.0] * n + [0.7])
    assert tips.joined([tips.Tungsten().tip(), tips.Tungsten().tip()]).p_shares is None


def test_mean_ldos():
    near = np.abs(E) <= 0.5
    means = [tips._table()[name][1].ldos_per_eV[0, near].mean() for name in ("w111", "w001")]
    assert np.mean(means) == pytest.approx(tips.MEAN_LDOS_per_eV, abs=0.001)  # given to two digits


def test_density_is_interpolated_and_bounded():
    tip = tips.Tungsten(apex="w001").tip()
    np.testing.assert_allclose(tip.density(tip.at_eV[40:50]), tip.ldos_per_eV[:, 40:50], rtol=1e-9)
    halves = (tip.at_eV[40:50] + tip.at_eV[41:51]) / 2
    cluster = tungsten.pyramid()
    h = tungsten.hamiltonian(cluster.positions_nm)
    exact = tungsten.local_densities(h, np.array([0]), halves)
    np.testing.assert_allclose(tip.density(halves)[0], exact[0], atol=1e-4)  # step sigma/4, 4 points: (1/4)^4 rho/40
    with pytest.raises(ValueError, match="tabulated"):
        tip.density(np.array([3.2]))


def test_a_turned_tip_keeps_its_distances_and_leans_the_right_way():
    upright, turned = tips.Tungsten().tip(), tips.Tungsten(rotation_deg=90, tilt_x_deg=10).tip()
    np.testing.assert_allclose(
        np.linalg.norm(upright.positions_nm, axis=1), np.linalg.norm(turned.positions_nm, axis=1), atol=1e-12
    )
    rotated = tips.Tungsten(rotation_deg=90).tip().positions_nm
    np.testing.assert_allclose(rotated[:, 0], -upright.positions_nm[:, 1], atol=1e-12)  # counter-clockwise from above
    behind = np.flatnonzero(np.linalg.norm(upright.positions_nm[:, :2], axis=1) < 1e-9)[1]
    assert turned.positions_nm[behind, 1] < 0  # tilted about x by +10 deg: what is up moves towards -y
