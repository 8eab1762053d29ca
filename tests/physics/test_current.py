"""The current: vacuum decay, the exact lattice sum, absolute nA, bias windows, mixed tip weights."""

import itertools
import math

import numpy as np
import pytest

from stmfab.physics import crystal, current, greens, junction, structure, tips, tungsten
from stmfab.physics.keys import KeyRangeError
from stmfab.physics.materials import MATERIALS
from stmfab.physics.structure import Window
from tests import second_reading as second

WSE2 = MATERIALS["wse2-s"]
ONE_ATOM = tips.Tip(np.zeros((1, 3)), np.linspace(-3, 3, 241), np.ones((1, 241)))
KAPPA = 10.9


def field_of(strengths_of, *, z_nm=(0.3, 0.7), tip=ONE_ATOM, kappa=KAPPA, mixing=None, grid=current.BASE_GRID):
    """The field over a 5 x 5 window whose site (u, v, s) has the strength C A = strengths_of(u, v, s) in nA."""
    table = current.heights(*z_nm, least_grid=grid)
    mixing = np.full((1, len(tip.positions_nm)), 1 / current.calibration_nA_eV(WSE2)) if mixing is None else mixing
    view = Window(-2, -2, np.ones((5, 5), dtype=bool))
    carried = current.pairs(WSE2, tip, mixing, kappa_per_nm=kappa, table=table)
    whole, _ = structure.sites_reached(view, carried.offsets, carried.used)
    n_v, n_u = whole.cells.shape
    strengths = np.zeros((n_v, n_u, 3, 1), dtype=np.float32)
    for v, u, s in itertools.product(range(n_v), range(n_u), range(3)):
        strengths[v, u, s, 0] = strengths_of(u + whole.u0, v + whole.v0, s)
    current_nA = current.current_in_cells(
        strengths, mixing, carried, table, material=WSE2, view=view, whole=whole, kappa_per_nm=kappa
    )
    return current.field_of_cells(current_nA, table, material=WSE2, view=view, polarity=1)


def lattice_sum(x, y, z, kappa):
    """Sum over a triangular lattice of exp(-2 kappa D), in reciprocal space (PHYSICS F.4)."""
    reciprocal = 2 * math.pi * np.linalg.inv(WSE2.lattice_nm).T
    total = 0.0
    for m, n in itertools.product(range(-8, 9), repeat=2):
        gx, gy = m * reciprocal[0] + n * reciprocal[1]
        q = math.sqrt(4 * kappa**2 + gx**2 + gy**2)
        total = total + (1 + q * z) * np.exp(-q * z) / q**3 * np.cos(gx * x + gy * y)
    return 4 * math.pi * kappa / WSE2.cell_area_nm2 * total


def test_the_lattice_sum_is_the_sum_over_atoms():
    cells = np.array(list(itertools.product(range(-20, 21), repeat=2))) @ WSE2.lattice_nm
    direct = np.exp(-2 * KAPPA * np.sqrt(((cells - (0.1, 0.05)) ** 2).sum(axis=1) + 0.4**2)).sum()
    assert lattice_sum(0.1, 0.05, 0.4, KAPPA) == pytest.approx(direct, rel=1e-9)


def test_field_of_a_perfect_layer_is_the_lattice_sum():
    rng = np.random.default_rng(2)
    x, y, z = rng.uniform(-0.3, 0.3, 300), rng.uniform(-0.3, 0.3, 300), rng.uniform(0.3, 0.7, 300)
    field = field_of(lambda u, v, s: float(s == 0))
    error_nm = (field.log_current(x, y, z) - np.log(lattice_sum(x, y, z, KAPPA))) / (2 * KAPPA)
    assert np.abs(error_nm).max() < 0.5e-4  # 0.05 pm


def test_current_falls_by_exp_minus_two_kappa_d():
    field = field_of(lambda u, v, s: 1.0 if (u, v, s) == (0, 0, 0) else 1e-12)
    z = np.linspace(0.32, 0.68, 19)
    log_current = field.log_current(np.zeros(19), np.zeros(19), z)
    np.testing.assert_allclose(np.diff(log_current), -2 * KAPPA * np.diff(z), rtol=1e-4)  # float32 of ln I
    np.testing.assert_allclose(log_current, -2 * KAPPA * z, atol=1e-4)


@pytest.mark.parametrize(("z", "expected_nA"), [(0.3, 35), (0.4, 5.1), (0.5, 0.71), (0.6, 0.095), (0.7, 0.012)])
def test_absolute_current(z, expected_nA):
    # kappa 10.9, 0.3 V, a layer of Se: C A = G0 V where the densities are the calibration's; the mean over a cell
    # is the lattice sum's first term, (4 pi kappa / Omega) (1 + 2 kappa z) exp(-2 kappa z) / (2 kappa)^3
    field = field_of(lambda u, v, s: second.G0_nA_per_V * 0.3 if s == 0 else 0.0)
    x, y = (np.indices((8, 8)).reshape(2, -1).T / 8 @ WSE2.lattice_nm).T
    assert np.exp(field.log_current(x, y, z)).mean() == pytest.approx(expected_nA, rel=0.04)  # two digits
    assert current.calibration_nA_eV(WSE2) * tips.MEAN_LDOS_per_eV * WSE2.mean_ldos_per_eV == pytest.approx(
        second.G0_nA_per_V, rel=1e-6
    )


def test_two_tip_atoms_add_their_currents():
    apart = np.array([[0.0, 0.0, 0.0], [0.1, -0.05, 0.08]])
    tip = tips.Tip(apart, ONE_ATOM.at_eV, np.ones((2, 241)))
    mixing = np.array([[1.0, 0.3]]) / current.calibration_nA_eV(WSE2)
    field = field_of(lambda u, v, s: float(s == 0), tip=tip, mixing=mixing)
    x, y, z = np.array([0.02, -0.1]), np.array([0.11, 0.03]), np.array([0.4, 0.5])
    both = lattice_sum(x, y, z, KAPPA) + 0.3 * lattice_sum(x + 0.1, y - 0.05, z + 0.08, KAPPA)
    np.testing.assert_allclose(field.log_current(x, y, z), np.log(both), atol=2 * KAPPA * 0.5e-4)


def p_waves(x, y, z, share, kappa=KAPPA, step=1e-6):
    """Current from a wave exp(-kappa D) about the origin: its square, and that of its lateral slopes over kappa."""

    def wave(x, y):
        return np.exp(-kappa * np.sqrt(x**2 + y**2 + z**2))

    slopes = (wave(x + step, y) - wave(x - step, y)) / (2 * step), (wave(x, y + step) - wave(x, y - step)) / (2 * step)
    return (1 - share) * wave(x, y) ** 2 + share * (slopes[0] ** 2 + slopes[1] ** 2) / kappa**2


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_p_waves_pick_the_slope_of_the_sample_wave(share):
    # C. J. Chen, Phys. Rev. Lett. 65, 448 (1990): a p_x tip sees the derivative of the sample's wave along x
    tip = tips.CarbonMonoxide(p_share=share).tip()
    rng = np.random.default_rng(4)
    x, y, z = rng.uniform(-0.3, 0.3, 200), rng.uniform(-0.3, 0.3, 200), rng.uniform(0.3, 0.7, 200)
    single = field_of(lambda u, v, s: 1.0 if (u, v, s) == (0, 0, 0) else 1e-12, tip=tip, grid=40)
    aside = np.hypot(x, y) > 0.05  # over the atom itself a p wave sees nothing at all
    error_nm = single.log_current(x, y, z)[aside] - np.log(p_waves(x, y, z, share))[aside]
    assert np.abs(error_nm).max() / (2 * KAPPA) < 5e-4
    layer = field_of(lambda u, v, s: float(s == 0), tip=tip, grid=crystal.PIT_GRID)
    cells = np.array(list(itertools.product(range(-9, 10), repeat=2))) @ WSE2.lattice_nm
    exact = sum(p_waves(x - cx, y - cy, z, share) for cx, cy in cells)
    error_nm = (layer.log_current(x, y, z) - np.log(exact)) / (2 * KAPPA)
    assert np.abs(error_nm).max() < 1e-4  # 0.1 pm


def test_window_weights():
    # A = int_0^eV rho_tip(E - eV) rho(E) dE with rho the Gaussian-broadened density of known levels
    levels, shares, sigma = (
        np.array([-0.7, -0.21, 0.0, 0.13, 0.45, 2.0]),
        np.array([0.1, 0.3, 0.2, 0.2, 0.15, 0.05]),
        0.1,
    )
    tip = tips.Tungsten(apex="w001-d1-1of4").tip()
    for bias_V in (-0.5, -0.23, 0.31, 0.5):
        energies = greens.contour(min(0, bias_V), max(0, bias_V), sigma)
        weights = current.window_weights(energies, tip, bias_V=bias_V, broadening_eV=sigma)
        g = (shares / (energies[:, None] - levels)).sum(axis=1)
        e = np.linspace(0, bias_V, 4001)
        rho = (shares * np.exp(-((e[:, None] - levels) ** 2) / (2 * sigma**2))).sum(axis=1) / (
            math.sqrt(2 * math.pi) * sigma
        )
        exact = np.abs(np.trapezoid(tip.density(e - bias_V) * rho, e, axis=1))
        np.testing.assert_allclose((g @ weights).imag, exact, rtol=1e-3)  # 4 sigma tails and exp(-pi^2)


def test_mixed_weights():
    tip, kappa = tips.Tungsten(apex="w111-d3-1of6a").tip(), 9.0
    energies = greens.contour(-0.5, 0, 0.1)
    weights = current.window_weights(energies, tip, bias_V=-0.5, broadening_eV=0.1)
    few = current.mixed(weights, tip, kappa_per_nm=kappa)
    assert few.weights.shape[1] < 8 < weights.shape[0] < weights.shape[1]
    share = np.exp(-2 * kappa * tip.positions_nm[:, 2])
    error = np.abs(few.weights @ few.mixing - weights) * share
    assert error.max() < 2 * current.MIXING_ERROR * np.linalg.norm(weights * share)


def test_expected_height_of_a_setpoint():
    at = junction.Junction(bias_V=0.3, kappa_per_nm=KAPPA, current_nA=1.0).expected_height_nm()
    assert second.G0_nA_per_V * 0.3 * math.exp(-2 * KAPPA * at) == pytest.approx(1.0)
    assert junction.Junction(bias_V=0.3, kappa_per_nm=KAPPA, height_nm=0.42).expected_height_nm() == 0.42


def test_junction_needs_one_barrier_and_one_setpoint():
    with pytest.raises(KeyRangeError, match="exactly one"):
        junction.Junction(bias_V=0.3, kappa_per_nm=10, work_function_eV=4.5, height_nm=0.4)
    with pytest.raises(KeyRangeError, match="exactly one"):
        junction.Junction(bias_V=0.3, kappa_per_nm=10)
    assert junction.Junction(bias_V=0.3, work_function_eV=4.5, height_nm=0.4).decay_per_nm == pytest.approx(
        10.87, abs=0.005
    )


def test_near_pairs_leave_out_only_what_cannot_matter():
    table = current.heights(0.3, 0.7)
    tip = tips.Tungsten(apex="w001").tip()
    mixing = np.ones((1, len(tip.positions_nm)))
    carried = current.pairs(WSE2, tip, mixing, kappa_per_nm=KAPPA, table=table)
    kept = {
        (*carried.offsets[c], s, t) for c, s, t in zip(carried.cells, carried.sites, carried.tip_atoms, strict=True)
    }
    nodes = np.array(list(itertools.product(range(8), repeat=2))) / 8 @ WSE2.lattice_nm
    top = table.nodes_nm[-1]
    far = top + math.log(1 / current.NEGLECTED) / (2 * KAPPA)
    for u, v, s, t in itertools.product(range(-5, 6), range(-5, 6), range(3), range(len(tip.positions_nm))):
        site = structure.positions(WSE2, np.array([[u, v]]), np.array([s]))[0]
        offset = np.column_stack([nodes, np.full(64, top)]) + tip.positions_nm[t] - site
        if np.linalg.norm(offset, axis=1).min() < far - 1e-6:
            assert (u, v, s, t) in kept


@pytest.mark.parametrize(("orientation", "name"), [("111", "w111-d3-1of6a"), ("001", "w001-d1-1of4")])
def test_tip_depth(orientation, name):
    # atoms deeper than BEHIND_nm would lift the tip by less than 0.05 pm over a perfect layer, at the smallest kappa
    cluster = tungsten.CLUSTERS[orientation]()
    apex = next(a for a in tungsten.apexes(orientation, cluster) if a.name == name)
    positions = cluster.positions_nm[apex.remaining]
    height = positions[:, 2] - positions[:, 2].min()
    front = positions[height.argmin(), :2]
    for z in (0.3, 0.6):
        share = [
            lattice_sum(*(p[:2] - front), z + h, 9.0) if h < 1.0 else 0.0
            for p, h in zip(positions, height, strict=True)
        ]
        deep = np.array(share)[height > tungsten.BEHIND_nm].sum() / np.sum(share)
        assert deep / (2 * 9.0) < 5e-5
