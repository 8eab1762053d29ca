"""Where defects are placed: counts, exclusion, and that nothing else moves them."""

import numpy as np
import pytest

from stmfab import streams
from stmfab.physics import defects, structure
from stmfab.physics.materials import MATERIALS
from stmfab.physics.structure import TILE_CELLS

PLACES = TILE_CELLS**2


def tiles(n):
    return np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2)


def place(which, *, mean=3.0, taken=None, path="a", n_values=1, seed=5):
    taken = np.zeros((len(which), PLACES), dtype=bool) if taken is None else taken
    return defects.place(
        taken,
        tiles=which,
        mean_per_tile=mean,
        n_values=n_values,
        uniforms=lambda n: streams.tile_uniforms(seed, 0, path, which, n),
    )


def test_counts_are_poisson():
    # sum over n tiles is Poisson with n x mean; index of dispersion of tiles ~ chi2(n - 1)/(n - 1), sd sqrt(2/n)
    which = tiles(50)
    cells, _ = place(which)
    counts = np.bincount((cells // TILE_CELLS) @ np.array([1, 50]), minlength=len(which))
    assert abs(counts.sum() - 3 * 2500) < 4 * np.sqrt(3 * 2500)
    assert abs(counts.var() / counts.mean() - 1) < 4 * np.sqrt(2 / 2500)


def test_poisson_counts_invert_the_distribution_function():
    # P(0) = exp(-m), P(<= 1) = exp(-m)(1 + m)
    p0, p1 = np.exp(-1.5), np.exp(-1.5) * 2.5
    uniforms = np.array([p0 * (1 - 1e-9), p0 * (1 + 1e-9), p1 * (1 - 1e-9), p1 * (1 + 1e-9)])
    assert defects.poisson_counts(uniforms, 1.5).tolist() == [0, 1, 1, 2]


def test_sites_are_uniform_and_taken_once():
    which = tiles(60)
    cells, _ = place(which)
    assert len(np.unique(cells, axis=0)) == len(cells)
    n = np.bincount((cells % TILE_CELLS) @ np.array([1, TILE_CELLS]), minlength=PLACES)
    chi2 = ((n - n.mean()) ** 2).sum() / n.mean()
    assert abs(chi2 - (PLACES - 1)) < 5 * np.sqrt(2 * (PLACES - 1))


def test_a_larger_window_moves_no_defect():
    few, many = tiles(3), tiles(8)
    inside = [tuple(row) for row in np.column_stack(place(few)).round(12).tolist()]
    assert set(inside) <= {tuple(row) for row in np.column_stack(place(many)).round(12).tolist()}


def test_another_member_only_takes_sites():
    which = tiles(6)
    alone = {tuple(c) for c in place(which, path="b")[0].tolist()}
    taken = np.zeros((len(which), PLACES), dtype=bool)
    first = {tuple(c) for c in place(which, mean=20.0, taken=taken)[0].tolist()}
    second = {tuple(c) for c in place(which, path="b", taken=taken)[0].tolist()}
    assert not first & second
    assert len(second) == len(alone)
    assert alone - first <= second  # who was not pushed off its site stays
    assert alone & first  # the test saw a conflict


def test_a_crowded_tile_fills_its_last_place_and_no_more():
    which = np.array([(0, 0)])
    cells, _ = defects.place(
        np.zeros((1, PLACES), dtype=bool),
        tiles=which,
        mean_per_tile=PLACES,
        n_values=0,
        uniforms=lambda n: np.concatenate([[[0.5]], np.random.default_rng(1).uniform(size=(1, n))[:, 1:]], axis=1),
    )
    assert len(np.unique(cells, axis=0)) == PLACES  # the median of a Poisson of mean 144
    with pytest.raises(ArithmeticError, match="do not fit"):
        place(which, mean=2.0 * PLACES)


def test_kinds_change_the_orbitals_of_their_site():
    material = MATERIALS["wse2-s"]
    orbitals = defects.site_orbitals(material, np.array([(3, 4), (5, 6)]), 2)
    assert orbitals.tolist() == [[[3, 4, 2]], [[5, 6, 2]]]
    placed = defects.Placed(np.array([[3, 4], [5, 6]]), 2, {"onsite_eV": np.array([0.25, 0.0])})
    vacancy = defects.Vacancy.perturbation(material, placed)
    dopant = defects.Dopant.perturbation(material, placed)
    both = defects.combined([vacancy, dopant], n_orbitals=3)
    assert both.removed.tolist() == [[3, 4, 2], [5, 6, 2]]
    assert both.shifted.tolist() == [[3, 4, 2]]  # a shift of zero is no shift
    assert both.shift_eV.tolist() == [0.25]


def test_a_divacancy_takes_both_atoms_of_its_column():
    material = MATERIALS["mos2"]
    placed = defects.Placed(np.array([[3, 4]]), material.site_index("S_bottom"), {})
    removed = defects.Divacancy.perturbation(material, placed).removed
    assert {tuple(row) for row in removed.tolist()} == {(3, 4, orbital) for orbital in range(6)}
    assert defects.Divacancy.sites(material) == ["S_top", "S_bottom"]
    assert defects.Divacancy.sites(MATERIALS["graphene"]) == []


@pytest.mark.parametrize(
    ("name", "site", "directions_deg", "away_nm"),
    [
        ("wse2", 0, np.arange(0, 360, 60), 0.33155),
        ("wse2-so", 2, np.arange(0, 360, 60), 0.33155),
        ("graphene", 0, np.array([90, 210, 330]), 0.142),
        ("graphene", 1, np.array([30, 150, 270]), 0.142),
    ],
)
def test_a_lateral_divacancy_is_two_vacancies_side_by_side(name, site, directions_deg, away_nm):
    # its place is half-way; a direction 20 degrees off an atom's is that atom's
    material, n = MATERIALS[name], len(directions_deg)
    cells = np.column_stack([np.arange(n), -np.arange(n)])
    placed = defects.Placed(cells, site, {"direction_deg": directions_deg + 20.0})
    change = defects.LateralDivacancy.perturbation(material, placed)
    assert not len(change.shifted)
    gone = np.unique(np.column_stack([change.removed[:, :2], material.orbital_site[change.removed[:, 2]]]), axis=0)
    first, middles_nm = (kind.places_nm(material, placed) for kind in (defects.Vacancy, defects.LateralDivacancy))
    ways_nm = 2 * (middles_nm - first)
    np.testing.assert_allclose(np.hypot(*ways_nm[:, :2].T), away_nm, rtol=2e-3)  # graphene's is 0.14203
    angle_deg = np.degrees(np.arctan2(ways_nm[:, 1], ways_nm[:, 0]))
    np.testing.assert_allclose((angle_deg - directions_deg + 180) % 360, 180, atol=1e-6)
    assert (ways_nm[:, 2] == 0).all()
    atoms_nm = structure.positions(material, gone[:, :2], gone[:, 2])
    expected = np.unique(np.concatenate([first, first + ways_nm]).round(6), axis=0)
    np.testing.assert_allclose(np.unique(atoms_nm.round(6), axis=0), expected, atol=2e-6)
    same = [np.flatnonzero(material.orbital_site == kind) for kind in gone[:, 2]]
    assert len(np.unique(change.removed, axis=0)) == sum(map(len, same))  # every orbital of theirs


@pytest.mark.parametrize(("name", "site", "n_near"), [("mos2", 0, 15), ("mos2", 2, 18), ("graphene", 1, 3)])
def test_a_substitution_changes_its_energies_and_bonds_to_the_nearest_atoms(name, site, n_near):
    material = MATERIALS[name]
    values = {
        key: np.array([value]) for key, value in (("onsite_eV", -0.7), ("bond_ratio", 1.5), ("neighbour_eV", 0.2))
    }
    change = defects.Substitution.perturbation(material, defects.Placed(np.array([[5, -2]]), site, values))
    (cluster,) = change.clusters
    n_own = material.sites[site].n_orbitals
    assert len(cluster.orbitals) == n_own + n_near
    np.testing.assert_allclose(np.diag(cluster.matrix_eV), [-0.7] * n_own + [0.2] * n_near)
    for i, (u, v, orbital) in enumerate(cluster.orbitals[n_own:].tolist()):
        hop = material.hoppings_eV[u - 5, v + 2][cluster.orbitals[:n_own, 2], orbital]
        np.testing.assert_allclose(cluster.matrix_eV[:n_own, n_own + i], 0.5 * hop)
    np.testing.assert_array_equal(cluster.matrix_eV, cluster.matrix_eV.T)
