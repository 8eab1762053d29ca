"""Spectra at points against plain sums of the T-matrix's densities of states, and where the points of a sample are."""

import dataclasses

import numpy as np
import pytest

import stmfab
from stmfab.physics import bumps, crystal, current, defects, greens, guests, halos, spectra, tips, units
from stmfab.physics.defects import Placed
from stmfab.physics.junction import Junction
from stmfab.physics.materials import MATERIALS
from tests import plain
from tests import second_reading as second

GRAPHENE = dataclasses.replace(MATERIALS["graphene"], broadening_eV=0.1)  # a coarse k-grid serves the plain sums
BIASES_V = np.linspace(-0.8, 0.8, 9)
HYDROGEN = {"height_nm": 0.11, "onsite_eV": -0.16, "hopping_eV": 5.2}
MEMBERS = {
    "hole": (defects.Vacancy, Placed(np.array([[1, 1]]), 1, {})),
    "h": (
        guests.Adatom,
        Placed(
            np.array([[-2, 1]]),
            0,
            {name: np.array([value]) for name, value in HYDROGEN.items()},
            {"position": "top", "orbital": "s"},
        ),
    ),
}


def imaged(*, barrier, shift_eV=0.0, raised_nm=0.0):
    """A scene of two defects under a tip, its levels shifted and its field raised alike everywhere."""
    even = halos.Halos(np.zeros((1, 2)), *np.array([[-shift_eV / halos.COULOMB_eV_nm * 99], [1.0], [1e6], [99.0]]))
    bump = bumps.Bumps(np.zeros((1, 2)), np.array([raised_nm]), np.array([1e4]))
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 6), np.linspace(-0.5, 0.5, 6))

    def scene_of(view):
        own = {"halos": even if shift_eV else halos.NONE, "bumps": bump if raised_nm else bumps.NONE}
        return dataclasses.replace(crystal.scene_under(GRAPHENE, MEMBERS, view), **own)

    junction = Junction(bias_V=-0.4, work_function_eV=4.5, current_nA=0.1, **barrier)
    return plain.image(GRAPHENE, scene_of, tips.Tungsten(apex="w111-d1-2of3").tip(), junction, (x, y))[:2]


def plain_conductance(scene, tip, points, kappas, shift_eV=0.0):
    """C rho_tip,j(0) rho_i(E) exp(-2 kappa D) of every orbital within 2.2 nm, float64, one by one."""
    sigma = GRAPHENE.broadening_eV
    z = second.contour(BIASES_V[0] - 0.3, BIASES_V[-1] + 0.3, sigma)
    table = greens.lattice_green(GRAPHENE, z, n_k=192, reach=24, dtype=np.complex128)
    sites, where = plain.atoms(scene, 2.2)
    local = greens.local_green(table, scene.change, sites)
    rho = (local.T @ second.contour_weights(z, BIASES_V - shift_eV, sigma)).imag
    ours, out = tip.density(np.zeros(1))[:, 0], []
    for point in points:
        away = np.linalg.norm(point + tip.positions_nm - where[:, None], axis=2)
        out.append([(np.exp(-2 * kappa * away) @ ours) @ rho[:, e] for e, kappa in enumerate(kappas)])
    return np.array(out) * current.calibration_nA_eV(GRAPHENE)


POINTS = np.array([[0.35, 0.32, 0.55], [-0.37, 0.21, 0.7], [0.0, -0.4, 0.5]])  # by the hole, over H, over nothing


@pytest.mark.parametrize("shape", ["constant", "trapezoid"])
def test_against_plain_sums(shape):
    barrier = {} if shape == "constant" else {"barrier": shape, "tip_work_function_eV": 5.0}
    scene, found = imaged(barrier=barrier)
    kappas = np.full(9, units.decay_constant(4.5))
    if barrier:
        kappas = np.array(
            [units.trapezoid_decay(np.array([v]), sample_eV=4.5, tip_eV=5.0, bias_V=v)[0] for v in BIASES_V]
        )
    exact = plain_conductance(scene, found.tip, POINTS, kappas)
    made = spectra.at_points(found, POINTS, BIASES_V)
    np.testing.assert_allclose(made, exact, rtol=3e-3, atol=3e-4 * exact.max())  # atoms and defects left out


def test_shifted_levels_and_a_raised_field():
    scene, found = imaged(barrier={}, shift_eV=0.12, raised_nm=0.1)
    lower = POINTS - [0, 0, 0.1]
    exact = plain_conductance(scene, found.tip, lower, np.full(9, units.decay_constant(4.5)), shift_eV=0.12)
    made = spectra.at_points(found, POINTS, BIASES_V)
    np.testing.assert_allclose(made, exact, rtol=3e-3, atol=3e-4 * exact.max())


RECIPE = """
name: points
samples: 2
seed: 5
scan: {pixels: 16, size_nm: 3}
sample:
  material: wse2-s
  defects:
    hole: {kind: vacancy, site: Se_top, density_per_nm2: 0.3}
    blob: {kind: blob, site: W, density_per_nm2: 0.1, height_pm: 100, fwhm_nm: 1}
tip: {apex: w111}
junction: {kappa_per_nm: 10.9, current_nA: 0.1}
junctions: {filled: {bias_V: -0.4}, empty: {bias_V: 0.4}}
channels: [topography]
targets:
  spectra: {kind: spectra, from_V: -0.8, to_V: 0.6, n_biases: 8, n_defects: 4, n_bare: 2, bare_nm: 0.4}
  map: {kind: conductance, bias_V: -0.4}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("points")
    (folder / "points.yaml").write_text(RECIPE)
    made = stmfab.load(str(folder / "points.yaml"))
    return made, made.samples(0, 2)


def test_points_are_those_of_the_table_and_bare_ones(store):
    _, made = store
    assert made["spectra"].shape == (2, 2, 6, 8)  # sample, junction, point, bias
    for index in range(2):
        rows = made["spectra_defect"][index, 0]
        count = int((rows >= 0).sum())
        assert 0 < count <= 4
        assert (rows[4:] == -1).all()
        for axis in ("x", "y"):
            own = made[f"defect_{axis}_nm"][index, rows[:count]]
            np.testing.assert_allclose(made[f"spectra_{axis}_nm"][index, 0, :count], own, atol=1e-6)
            assert np.isnan(made[f"spectra_{axis}_nm"][index, 0, count:4]).all()
        assert np.isfinite(made["spectra"][index, :, :count]).all()
        bare = np.column_stack([made[f"spectra_{axis}_nm"][index, 0, 4:] for axis in ("x", "y")])
        n = made["defect_count"][index]
        sites = np.column_stack([made[f"defect_{axis}_nm"][index, :n] for axis in ("x", "y")])
        assert np.linalg.norm(bare[:, None] - sites, axis=2).min() > 0.4
        np.testing.assert_array_equal(made["spectra_x_nm"][index, 0], made["spectra_x_nm"][index, 1])  # one path


def test_a_spectrum_holds_what_the_map_shows_there(store):
    recipe, made = store
    axis = np.linspace(-0.8, 0.6, 8)
    at = int(np.abs(axis + 0.4).argmin())
    for index in range(2):
        pixel = made["pixel_size_nm"][index]
        for junction in range(2):
            for point in (4, 5):  # the bare ones are pixels
                x, y = (made[f"spectra_{axis}_nm"][index, junction, point] for axis in ("x", "y"))
                col, row = (round(float((place + 1.5) / pixel - 0.5)) for place in (x, y))
                shown = made["map"][index, junction, row, col]
                assert made["spectra"][index, junction, point, at] == pytest.approx(
                    shown, rel=1e-2
                )  # each is a sum cut off
    assert recipe is not None
