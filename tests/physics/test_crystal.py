"""The crystal's current field against plain sums over atoms, and the images' symmetry and polarity."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from stmfab import plan, recipe, scenes
from stmfab.physics import crystal, current, defects, greens, structure, tips
from stmfab.physics.defects import Dopant, Placed, Vacancy
from stmfab.physics.junction import Junction
from stmfab.physics.materials import MATERIALS, Material, Site, bonds, triangular_lattice
from stmfab.physics.path import nominal_raster
from tests import plain
from tests import second_reading as second

WSE2 = MATERIALS["wse2-s"]
FAR_nm = 2.3  # lateral reach of the plain sum
TABLE_64 = greens.lattice_green(WSE2, second.contour(-0.5, 0.5, 0.1), n_k=256, reach=64, dtype=np.complex128)


def plain_log_current(scene, drawn, points, at_V=None):
    """ln|I / nA| at points (x, y, z): every site within ``FAR_nm`` and every tip atom, float64, one by one.

    With a bias, ln(dI/dV / (nA/V)) there: the tip's density at its Fermi level times the sample's at the bias.
    """
    bias_V, kappa, tip = drawn.junction.sample_bias_V, drawn.junction.decay_per_nm, drawn.tip.tip()
    view = structure.window(WSE2, [(points[None, :, 0], points[None, :, 1])], n_grid=8)
    around = structure.cells_within(WSE2, FAR_nm)
    cells = np.unique((view.indices[:, None] + around).reshape(-1, 2), axis=0)
    sites = np.concatenate([np.column_stack([cells, np.full(len(cells), s)]) for s in range(3)])
    gone = {tuple(o) for o in scene.change.removed.tolist()}
    sites = np.array([site for site in sites.tolist() if tuple(site) not in gone])
    nodes, shares = np.polynomial.legendre.leggauss(64)
    at_eV = bias_V * (nodes + 1) / 2
    densities = tip.density(at_eV - bias_V) * shares * abs(bias_V) / 2
    if at_V is not None:
        at_eV, densities = np.array([at_V]), tip.density(np.zeros(1))
    weights = second.contour_weights(TABLE_64.energies_eV, at_eV, 0.1) @ densities.T
    strengths = (greens.local_green(TABLE_64, scene.change, sites).T @ weights).imag
    where = structure.positions(WSE2, sites[:, :2], sites[:, 2])
    total = [
        (strengths * np.exp(-2 * kappa * np.linalg.norm(p + tip.positions_nm - where[:, None], axis=2))).sum()
        for p in points
    ]
    return np.log(total) + math.log(current.calibration_nA_eV(WSE2))


def drawn_and_imaged(published, index, **raster):
    """The parameters of a sample of a recipe, its scene and field, and the points of its ideal image."""
    drawn = plan.parameters(published, plan.draw(published, index, index + 1), index)
    raster_nm = nominal_raster(dataclasses.replace(drawn.raster, **raster))
    scene_of = functools.partial(scenes.scene, published.seed, drawn)
    return drawn, *plain.image(WSE2, scene_of, drawn.tip.tip(), drawn.junction, raster_nm)


@pytest.mark.parametrize("index", [*range(8), 5009])  # 5009: deep in a cluster of vacancies
def test_field_accuracy(index, monkeypatch):
    # the whole sample world of the published set, against plain sums over a scene with defects to 4 nm away
    published = recipe.load("wse2-defects")
    drawn, scene, imaged, every = drawn_and_imaged(published, index)
    lowest = np.argsort(imaged.ideal_nm.ravel())[:200:8]  # next to and over vacancies
    points = every[np.concatenate([lowest, np.random.default_rng(index).integers(0, len(every), 25)])]
    monkeypatch.setattr(crystal, "DEFECT_REACH_nm", 4.0)
    larger = scenes.scene(published.seed, drawn, structure.window(WSE2, [nominal_raster(drawn.raster)], n_grid=8))
    assert len(larger.change.removed) > len(scene.change.removed)
    exact = plain_log_current(larger, drawn, points)
    error_nm = np.abs(imaged.field.log_current(*points.T) - exact) / (2 * drawn.junction.decay_per_nm)
    assert error_nm.max() < 1e-4  # 0.1 pm


@pytest.mark.parametrize("at_V", [-0.4, 0.0, 0.3])
def test_conductance_is_the_product_of_the_densities_at_a_bias(at_V):
    drawn, scene, imaged, every = drawn_and_imaged(recipe.load("wse2-defects"), 3)
    points = every[np.random.default_rng(0).integers(0, len(every), 25)]
    exact = plain_log_current(scene, drawn, points, at_V)
    found = np.log(imaged.conductance(at_V).current(*points.T))
    # 0.1 pm of height, and 0.3 %: defects farther than 2 nm, which an integral over energies hides better
    np.testing.assert_allclose(found, exact, atol=2 * drawn.junction.decay_per_nm * 1e-4 + 3e-3)


@pytest.mark.parametrize("size_nm", [10, 30])
def test_field_accuracy_of_large_frames(size_nm):
    # block by block, a Green table smaller than the frame: against plain sums with the defects to 4 nm of each point
    keys = [f"sample.defects.{name}.density_per_nm2=0.2" for name in ("top_vacancy", "bottom_vacancy", "top_dopant")]
    large = recipe.load("wse2-realistic", overrides=[f"scan.size_nm={size_nm}", *keys, "extra_apexes=null"])
    drawn, scene, imaged, every = drawn_and_imaged(large, 3, pixels=96)
    assert scene.change.size > 0.5 * size_nm**2
    for point in every[np.random.default_rng(1).integers(0, len(every), 5)][:, None]:
        near = {
            name: (kind, placed.kept(np.hypot(*(placed.cells @ WSE2.lattice_nm - point[0, :2]).T) < 4.0))
            for name, (kind, placed) in scene.members.items()
        }
        exact = plain_log_current(crystal.Scene(WSE2, near), drawn, point)
        error_nm = np.abs(imaged.field.log_current(*point.T) - exact) / (2 * drawn.junction.decay_per_nm)
        assert error_nm.max() < 1e-4  # 0.1 pm


def line(n=97, half_nm=0.9):
    at = np.linspace(-half_nm, half_nm, n)
    return np.meshgrid(at, at)


def ideal(members, *, bias_V=0.4, polarity=-1, height_nm=0.45, grid=None, log_setpoint=None, tip=None):
    """Heights over a grid of a scene with given defects."""
    x, y = line() if grid is None else grid
    junction = Junction(bias_V=bias_V, polarity=polarity, kappa_per_nm=10, height_nm=height_nm)
    _, imaged = crystal.image(
        lambda view: crystal.scene_under(WSE2, members, view),
        WSE2,
        tip or tips.Tungsten(apex="w001").tip(),
        junction,
        lines_nm=[(x, y)],
        raster_nm=(x, y),
    )
    level = imaged.log_setpoint if log_setpoint is None else log_setpoint
    return imaged.field.heights(x, y, level), imaged


def one(kind, site, **values):
    return {"a": (kind, Placed(np.array([[0, 0]]), site, {k: np.array([v]) for k, v in values.items()}))}


def test_a_perfect_crystal_has_the_lattice_periods_and_threefold_axes():
    x, y = line()
    z, imaged = ideal({}, tip=tips.Tip(np.zeros((1, 3)), np.linspace(-3, 3, 241), np.ones((1, 241))))
    inner = np.hypot(x, y) < 0.25
    for a in WSE2.lattice_nm:
        shifted = imaged.field.heights(x[inner] + a[0], y[inner] + a[1], imaged.log_setpoint)
        np.testing.assert_allclose(shifted, z[inner], atol=1e-4)
    c, s = math.cos(2 * math.pi / 3), math.sin(2 * math.pi / 3)
    turned = imaged.field.heights(c * x[inner] - s * y[inner], s * x[inner] + c * y[inner], imaged.log_setpoint)
    np.testing.assert_allclose(turned, z[inner], atol=1e-4)
    assert np.hypot(x, y)[np.unravel_index(z.argmax(), z.shape)] % 0.332 < 0.02  # bright on the Se of the top layer


def test_bias_sign():
    # a dopant at +0.3 eV lifts the flat state of its column to +0.15 eV: bright in empty (V > 0), dark in filled states
    for polarity, sign in ((1, 1), (-1, -1)):
        perfect, imaged = ideal({}, polarity=polarity)
        doped, _ = ideal(one(Dopant, 0, onsite_eV=0.3), polarity=polarity, log_setpoint=imaged.log_setpoint)
        centre = (doped - perfect)[48, 48]
        assert sign * centre > 0.01
        assert imaged.field.polarity == polarity


def test_a_bottom_vacancy_takes_the_flat_state_of_the_atom_above():
    # (Se_top - Se_bottom)/sqrt2 touches no W: a level at 0 that holds half of each atom; without its partner it is gone
    z = greens.contour(-0.1, 0.1, 0.1)
    table = greens.lattice_green(WSE2, z, n_k=128, reach=6)
    at = np.array([0.0])
    rho = []
    for removed in ([(9, 9, 0)], [(0, 0, 1)]):
        change = greens.Perturbation(np.array(removed), np.zeros((0, 3), dtype=np.int64), np.zeros(0))
        g = greens.local_green(table, change, np.array([[0, 0, 0]])) if removed[0][0] == 0 else table.g[:, 0, 0, 6:7, 6]
        rho.append((greens.contour_weights(z, at, 0.1).T @ g).imag.item())
    flat = 0.5 / (math.sqrt(2 * math.pi) * 0.1)
    assert rho[0] > flat
    assert rho[1] < 0.2 * flat
    # so that the pit of a bottom vacancy is nearly as deep as that of a top one
    perfect, imaged = ideal({})
    depths = [(ideal(one(Vacancy, s), log_setpoint=imaged.log_setpoint)[0] - perfect)[48, 48] for s in (0, 1)]
    assert depths[0] < depths[1] < 0.7 * depths[0] < 0


def test_setpoint_current_is_met_and_height_is_the_median():
    x, y = line()
    junction = Junction(bias_V=0.3, polarity=1, kappa_per_nm=10, current_nA=0.05)
    _, by_current = crystal.image(
        lambda view: crystal.scene_under(WSE2, one(Vacancy, 0), view),
        WSE2,
        tips.Tungsten().tip(),
        junction,
        lines_nm=[(x, y)],
        raster_nm=(x, y),
    )
    np.testing.assert_allclose(np.exp(by_current.field.log_current(x, y, by_current.ideal_nm)), 0.05, rtol=1e-5)
    _, by_height = ideal(one(Vacancy, 0), height_nm=0.5)
    over = by_height.field.log_current(x, y, 0.5)
    assert np.median(over) == pytest.approx(by_height.log_setpoint, abs=1e-6)


def test_defect_reach():
    # what lies beyond DEFECT_REACH_nm moves the image by less than 0.02 pm: dense shells just outside it
    x, y = np.meshgrid(np.linspace(-0.3, 0.3, 25), np.linspace(-0.3, 0.3, 25))
    perfect, imaged = ideal({}, grid=(x, y))
    cells = structure.cells_within(WSE2, 4.0)
    outside = cells[~structure.near(cells @ WSE2.lattice_nm, _window_cells(x, y), distance_nm=crystal.DEFECT_REACH_nm)]
    chosen = np.random.default_rng(0).choice(len(outside), size=len(outside) // 40, replace=False)  # 0.26 /nm^2
    members = {"far": (Vacancy, Placed(outside[chosen], 0, {}))}
    junction = Junction(bias_V=0.4, polarity=-1, kappa_per_nm=10, height_nm=0.45)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crystal, "DEFECT_REACH_nm", 5.0)
        _, felt = crystal.image(
            lambda view: crystal.scene_under(WSE2, members, view),
            WSE2,
            tips.Tungsten(apex="w001").tip(),
            junction,
            lines_nm=[(x, y)],
            raster_nm=(x, y),
        )
    assert np.abs(felt.field.heights(x, y, imaged.log_setpoint) - perfect).max() < 2e-5
    assert defects.combined([], n_orbitals=3).removed.shape == (0, 3)


def _window_cells(x, y):
    return structure.window(WSE2, [(x, y)], n_grid=8).indices @ WSE2.lattice_nm


def test_blocks_change_nothing_visible(monkeypatch):
    x, y = np.meshgrid(np.linspace(-2.5, 2.5, 40), np.linspace(-2.5, 2.5, 40))
    cells = structure.cells_within(WSE2, 5.0)
    chosen = np.random.default_rng(1).choice(len(cells), size=40, replace=False)
    members = {"many": (Vacancy, Placed(cells[chosen], 0, {}))}
    whole, imaged = ideal(members, grid=(x, y))
    monkeypatch.setattr(crystal, "FEW_DEFECTS", 5)
    split, _ = ideal(members, grid=(x, y), log_setpoint=imaged.log_setpoint)
    assert 0 < np.abs(split - whole).max() < 3e-5  # blocks were made, and err by less than 0.03 pm


def test_currents_of_two_apexes_add():
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 20), np.linspace(-0.5, 0.5, 20))
    members = {"pit": (Vacancy, Placed(np.array([[0, 0], [5, -1]]), 0, {}))}  # one under each apex
    junction = Junction(bias_V=0.4, polarity=-1, kappa_per_nm=10.9, height_nm=0.45)
    first = tips.Tungsten(apex="w001")
    second = tips.ExtraTungsten(apex="w111", rotation_deg=20.0, x_nm=1.45, y_nm=-0.3, shorter_pm=50.0)

    def imaged(tip, x, y):
        return crystal.image(
            lambda view: crystal.scene_under(WSE2, members, view),
            WSE2,
            tip,
            junction,
            lines_nm=[(x, y)],
            raster_nm=(x, y),
        )[1]

    both = imaged(tips.joined([first.tip(), second.tip()]), x, y)
    apart = imaged(first.tip(), x, y), imaged(tips.Tungsten(apex="w111", rotation_deg=20.0).tip(), x + 1.45, y - 0.3)
    z = both.ideal_nm
    currents = (
        np.exp(apart[0].field.log_current(x, y, z)),
        np.exp(apart[1].field.log_current(x + 1.45, y - 0.3, z + 0.05)),
    )
    error = both.field.log_current(x, y, z) - np.log(currents[0] + currents[1])
    assert np.abs(error).max() / (2 * 10.9) < 1e-4  # 0.1 pm
    assert currents[1].mean() > 0.1 * currents[0].mean()  # 50 pm shorter: exp(-2 kappa 0.05 nm) = 34 % of it


def test_corrugation_falls_with_height_at_the_rate_of_tersoff_and_hamann():
    # one s orbital a cell: I = sum_G (1 + q z) exp(-q z) / q^3 cos G.r, q = sqrt(4 kappa^2 + G^2); to first order the
    # corrugation falls by exp(-2 z (sqrt(kappa^2 + G^2/4) - kappa)), Tersoff & Hamann, Phys. Rev. B 31, 805 (1985)
    a, kappa = 0.36, 10.0
    layer = Material(
        name="layer",
        lattice_nm=triangular_lattice(a),
        sites=(Site("X", "X", "top", (0.0, 0.0, 0.0)),),
        hoppings_eV=bonds(1, {(0, 0, u, v): -0.2 for u, v in ((1, 0), (0, 1), (-1, 1))}),
        fermi_eV=0.0,
        broadening_eV=0.1,
        mean_ldos_per_eV=0.5,
        source="a test",
    )
    whole = tips.Tungsten(apex="w111").tip()
    tip = dataclasses.replace(whole, positions_nm=whole.positions_nm[:1], ldos_per_eV=whole.ldos_per_eV[:1])
    x, y = np.meshgrid(np.linspace(0, 0.9, 37), np.linspace(0, 0.78, 37))
    _, imaged = crystal.image(
        lambda view: crystal.scene_under(layer, {}, view),
        layer,
        tip,
        Junction(bias_V=0.3, kappa_per_nm=kappa, height_nm=0.5),
        lines_nm=[(x, y)],
        raster_nm=(x, y),
    )
    g = 4 * math.pi / (math.sqrt(3) * a)

    def share(z, q):
        return (1 + q * z) * math.exp(-q * z) / q**3

    q = math.sqrt(4 * kappa**2 + g**2)
    heights = (0.42, 0.54)
    found = [np.ptp(imaged.field.log_current(x, y, z)) for z in heights]
    expected = [share(z, q) / share(z, 2 * kappa) for z in heights]
    assert found[0] / found[1] == pytest.approx(expected[0] / expected[1], rel=0.02)  # logarithms of 7 and 3 %
    rate = 2 * (math.sqrt(kappa**2 + g**2 / 4) - kappa)
    assert math.log(found[0] / found[1]) / (heights[1] - heights[0]) == pytest.approx(rate, rel=0.03)  # (1 + q z): 1 %
