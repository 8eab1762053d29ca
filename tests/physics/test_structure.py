"""Windows, tiles and positions against plain enumeration."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stmfab.physics import materials, structure

WSE2 = materials.MATERIALS["wse2-s"]
N_GRID = 8


@settings(deadline=None)  # a shared machine pauses
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=2, max_size=8))
def test_a_window_holds_every_node_that_interpolation_on_the_lines_needs(points):
    x, y = (np.array([[p[i] for p in points]]) for i in (0, 1))
    view = structure.window(WSE2, [(x, y)], n_grid=N_GRID)
    held = {tuple(cell) for cell in view.indices.tolist()}
    inverse = np.linalg.inv(WSE2.lattice_nm)
    for i, share in itertools.product(range(len(points) - 1), np.linspace(0, 1, 101)):
        point = np.array([x[0, i] + share * (x[0, i + 1] - x[0, i]), y[0, i] + share * (y[0, i + 1] - y[0, i])])
        node = np.floor(point @ inverse * N_GRID).astype(int)
        for du, dv in itertools.product(range(-1, 3), repeat=2):
            assert ((node[0] + du) // N_GRID, (node[1] + dv) // N_GRID) in held


def test_a_window_is_not_much_larger_than_its_frame():
    # a 2 nm frame: 4 nm^2 is 42 cells; a rim of one cell all round adds at most its circumference, 2 x 8 nm / 0.29 nm
    line = np.linspace(-1, 1, 64)
    x, y = np.meshgrid(line, line)
    assert 42 < len(structure.window(WSE2, [(x, y)], n_grid=N_GRID).indices) < 42 + 28 + 10


def test_reached_sites_are_sums_of_sets():
    view = structure.Window(3, -2, np.array([[True, False, True], [False, True, False]]))
    offsets = np.array([(0, 0), (-2, 1), (4, -3), (9, 9)])
    used = np.array([[True, False], [False, True], [True, True], [False, False]])  # (9, 9) leads nowhere
    whole, rows = structure.sites_reached(view, offsets, used)
    every = set()
    for site in range(2):
        ways = offsets[used[:, site]].tolist()
        expected = {(u + du, v + dv) for u, v in view.indices.tolist() for du, dv in ways}
        found = [(u, v) for u, v, s in rows.tolist() if s == site]
        assert len(found) == len(expected)
        assert set(found) == expected
        every |= expected
    assert {(u, v) for u, v in whole.indices.tolist()} == every


def test_tiles_cover_everything_within_the_margin():
    view = structure.Window(-5, 7, np.ones((3, 4), dtype=bool))
    tiles = {tuple(t) for t in structure.tiles(WSE2, view, margin_nm=2.0).tolist()}
    inside = view.indices @ WSE2.lattice_nm
    for u, v in itertools.product(range(-30, 30), repeat=2):
        if np.linalg.norm(np.array([u, v]) @ WSE2.lattice_nm - inside, axis=1).min() <= 2.0:
            assert (u // structure.TILE_CELLS, v // structure.TILE_CELLS) in tiles


def test_cells_within_a_radius():
    every = np.array(list(itertools.product(range(-12, 13), repeat=2)))
    expected = every[np.linalg.norm(every @ WSE2.lattice_nm, axis=1) <= 1.3]
    found = structure.cells_within(WSE2, 1.3)
    assert {tuple(c) for c in found.tolist()} == {tuple(c) for c in expected.tolist()}


def test_positions_add_cell_and_site():
    cells, sites = np.array([(1, 2), (-3, 0)]), np.array([2, 1])
    a = 0.332
    expected = [(a + 2 * a / 2, 2 * a * 3**0.5 / 2 + a / 3**0.5, -a / 2), (-3 * a, 0, -a)]
    np.testing.assert_allclose(structure.positions(WSE2, cells, sites), expected, atol=1e-12)


def test_points_near_a_window_are_those_near_one_of_its_cells():
    rng = np.random.default_rng(5)
    view = structure.Window(-4, 7, rng.random((9, 13)) < 0.2)
    points = rng.uniform(-4, 4, (400, 2)) + np.array([2, 11]) @ WSE2.lattice_nm
    distance = rng.uniform(0.05, 2.0, 400)
    away = np.linalg.norm(points[:, None] - view.indices @ WSE2.lattice_nm, axis=2).min(axis=1)
    found = structure.near_window(WSE2, points, view, distance_nm=distance)
    np.testing.assert_array_equal(found, away <= distance)
    assert 0.2 < found.mean() < 0.9


def test_the_widest_block_spans_its_places_and_what_it_feels():
    rng = np.random.default_rng(6)
    block, places, changed = rng.integers(0, 4, 60), rng.integers(-30, 30, (60, 3)), rng.integers(-40, 40, (50, 3))
    felt = rng.random((4, 50)) < 0.1
    felt[2] = False
    places[block == 2] *= 100  # feels nothing: does not count
    spans = [np.ptp(np.concatenate([places[block == b], changed[felt[b]]])[:, :2], axis=0).max() for b in (0, 1, 3)]
    assert structure.widest_block(block, places, felt, changed) == max(spans)
