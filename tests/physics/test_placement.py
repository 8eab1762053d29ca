"""Distances and clusters against the laws of the processes they are."""

import numpy as np
import pytest

from stmfab import streams
from stmfab.physics import placement
from stmfab.physics.materials import MATERIALS

MATERIAL = MATERIALS["mos2"]


def tiles(n):
    tu, tv = np.meshgrid(np.arange(-n, n), np.arange(-n, n))
    return np.stack([tu.ravel(), tv.ravel()], axis=1)


def test_a_distance_leaves_out_the_cells_nearer_than_it():
    a = MATERIAL.lattice_constant_nm
    # shells of the triangular lattice: 6 at a, 6 at sqrt 3 a, 6 at 2 a
    assert [placement.excluded(MATERIAL, r * a) for r in (0.9, 1.0, 1.01, 1.8, 2.1)] == [1, 1, 7, 13, 19]


@pytest.mark.parametrize("share_of_most", [0.2, 0.9])
def test_candidates_thin_out_to_the_density_that_was_asked(share_of_most):
    least_nm, rng = 0.9, np.random.default_rng(0)
    density = share_of_most * placement.most_per_nm2(MATERIAL, least_nm)
    share = placement.candidates_per_cell(MATERIAL, density, least_nm)
    n = 150
    cells = np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2)
    left, inner = 0, 0
    for _ in range(6):
        chosen = cells[rng.random(len(cells)) < share]
        stays = placement.apart(MATERIAL, chosen, rng.random(len(chosen)), min_distance_nm=least_nm)
        core = (chosen >= 10).all(axis=1) & (chosen < n - 10).all(axis=1)  # whose neighbours are all there
        left, inner = left + (stays & core).sum(), inner + (n - 20) ** 2
    expected = density * MATERIAL.cell_area_nm2 * inner
    assert left == pytest.approx(expected, abs=4 * np.sqrt(expected))  # exclusion only narrows a Poisson spread
    with pytest.raises(ArithmeticError, match="do not fit"):
        placement.candidates_per_cell(MATERIAL, 1.2 * placement.most_per_nm2(MATERIAL, least_nm), least_nm)


def test_who_stays_is_nobodys_neighbour_of_lower_order():
    rng = np.random.default_rng(2)
    cells = np.unique(rng.integers(0, 30, (200, 2)), axis=0)
    order = rng.random(len(cells))
    stays = placement.apart(MATERIAL, cells, order, min_distance_nm=1.0)
    points = cells @ MATERIAL.lattice_nm
    away = np.linalg.norm(points[:, None] - points, axis=2)
    expected = [not ((away[i] < 1.0 - 1e-9) & (order < order[i])).any() for i in range(len(cells))]
    assert stays.tolist() == expected
    assert 0 < stays.sum() < len(cells)


def clusters(which, *, density=0.1, n=5.0, radius_nm=1.2, index=0, n_values=1):
    return placement.in_clusters(
        MATERIAL,
        which,
        density_per_nm2=density,
        cluster_n=n,
        radius_nm=radius_nm,
        n_values=n_values,
        parents=lambda words: streams.tile_uniforms(1, index, "parents", which, words),
        members=lambda words: streams.tile_uniforms(1, index, "members", which, words),
    )


def test_clusters_have_the_mean_the_spread_and_the_radius_of_their_law():
    which = tiles(3)
    area = len(which) * placement.PLACES * MATERIAL.cell_area_nm2
    counts, near = [], []
    for index in range(400):
        cells, _ = clusters(which, density=0.02, n=4.0, radius_nm=2.0, index=index)
        counts.append(len(cells))
        points = cells @ MATERIAL.lattice_nm
        away = np.linalg.norm(points[:, None] - points, axis=2)
        near.append((away[np.triu_indices(len(cells), 1)] < 4.4).sum())
    mean, n = 0.02 * area, 4.0
    # Neyman and Scott: variance mean (1 + n); 143 places a cluster: 2 % of the members meet on one of them
    assert np.mean(counts) == pytest.approx(mean, abs=4 * np.sqrt(mean * (1 + n) / 400) + 0.02 * mean)
    assert np.var(counts) / np.mean(counts) == pytest.approx(1 + n, rel=0.25)  # of 400 counts: 7 %, and skewness
    # pairs: n / 2 more a member from its own cluster, all of them nearer than two radii and a cell
    chance = mean * (mean / area) * np.pi * 4.4**2 / 2
    # less 3 % at the edges and 4 % on one place; 400 samples tell 6 %
    assert np.mean(near) == pytest.approx(0.93 * (mean * n / 2 + chance), rel=0.2)


def test_a_larger_window_moves_no_cluster():
    small, large = (clusters(tiles(n), density=0.4) for n in (2, 4))
    values = {tuple(cell): value for cell, value in zip(large[0].tolist(), large[1].tolist(), strict=True)}
    # parents in the small window are the same: so is whoever came from them
    inside = [tuple(cell) for cell in small[0].tolist()]
    assert len(inside) > 20
    assert all(values.get(cell) is not None for cell in inside)
    same = [values[cell] == value for cell, value in zip(inside, small[1].tolist(), strict=True)]
    assert np.mean(same) > 0.9  # but where a member of another tile's cluster is first on a place


def test_a_cell_knows_its_tile_and_its_place_there():
    which = tiles(2)
    cells = np.array([(0, 0), (-1, 13), (-24, -24), (23, 23), (24, 0), (0, -25)])
    tile, place = placement.tile_of(cells, which)
    for cell, at, where in zip(cells[:4], tile, place, strict=False):
        np.testing.assert_array_equal(which[at] * 12 + (where % 12, where // 12), cell)
    assert tile[4:].tolist() == [-1, -1]


def test_the_nearest_cell_is_the_nearest():
    rng = np.random.default_rng(3)
    points = rng.uniform(-2, 2, (200, 2))
    every = np.stack(np.meshgrid(np.arange(-12, 13), np.arange(-12, 13)), axis=-1).reshape(-1, 2)
    away = np.linalg.norm(points[:, None] - every @ MATERIAL.lattice_nm, axis=2)
    np.testing.assert_array_equal(placement.nearest_cells(MATERIAL, points), every[away.argmin(axis=1)])
