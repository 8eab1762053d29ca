"""The coherent current: vacuum solutions against their equation, slopes of Bloch states, plain sums in float64."""

import dataclasses
import math

import numpy as np
import pytest

from stmfab.physics import (
    _coherent_kernels,
    barrier,
    coherent,
    current,
    greens,
    lobes,
    spectra,
    structure,
    tips,
    units,
)
from stmfab.physics.defects import Placed, Substitution, Vacancy
from stmfab.physics.guests import Adatom
from stmfab.physics.junction import Junction
from stmfab.physics.materials import MATERIALS, ORBITALS
from tests import plain
from tests import second_reading as second

KAPPA = 10.87  # 4.5 eV


@pytest.mark.parametrize("tip", lobes.TIP_SHAPES)
@pytest.mark.parametrize("orbital", ORBITALS)
def test_lobes_solve_the_vacuum_equation(orbital, tip):
    # laplacian f = kappa^2 f, by second differences
    point, h = np.array([0.11, -0.17, 0.42]), 1e-4
    steps = np.concatenate([np.zeros((1, 3)), h * np.eye(3), -h * np.eye(3)])
    f = lobes.lobe(orbital, point + steps, kappa_per_nm=KAPPA, tip=tip)
    assert (f[1:].sum() - 6 * f[0]) / h**2 == pytest.approx(KAPPA**2 * f[0], rel=1e-4, abs=1e-5)
    axis = {"s": None, "pz": 2, "px": 0, "py": 1}[tip]
    if axis is not None:  # Chen: the derivative along the tip orbital's axis, over kappa
        two = lobes.lobe(orbital, point + h * np.array([[1], [-1]]) * np.eye(3)[axis], kappa_per_nm=KAPPA)
        assert f[0] == pytest.approx((two[0] - two[1]) / (2 * h * KAPPA), rel=1e-4, abs=1e-7)


def test_an_s_orbital_has_the_scale_of_the_incoherent_sum():
    way = np.array([[0.3, 0.0, 0.4], [0.0, 0.0, 0.5]])
    np.testing.assert_allclose(lobes.lobe("s", way, kappa_per_nm=KAPPA), math.exp(-0.5 * KAPPA), rtol=1e-12)
    # spherical harmonics of mean square 1: the three p lobes' squares add to 3 k1^2
    p = [lobes.lobe(name, way, kappa_per_nm=KAPPA)[1] for name in ("px", "py", "pz")]
    x = 0.5 * KAPPA
    assert math.hypot(*p) == pytest.approx(math.sqrt(3) * x * math.exp(-x) * (1 / x + 1 / x**2), rel=1e-12)


@pytest.mark.parametrize(("point", "slope_per_nm"), [((0, 0), -21.74), ((16, 32), -33.33)])
def test_slopes_of_bloch_states(point, slope_per_nm):
    # ln I of a Bloch state falls by 2 sqrt(kappa^2 + k^2): WSe2 with a = 0.332 nm has |K| = 4 pi/(3 a) = 12.62 /nm
    wse2 = MATERIALS["wse2"]
    material = dataclasses.replace(wse2, lattice_nm=wse2.lattice_nm * (0.332 / 0.33155))
    state = greens.bands(material, 48)[1][point][:, 6]
    k = 2 * math.pi * np.linalg.inv(material.lattice_nm) @ (np.array(point[::-1]) / 48)
    cells = structure.cells_within(material, 4.0)
    orbitals = np.concatenate([np.column_stack([cells, np.full(len(cells), o)]) for o in range(11)])
    bloch = state[orbitals[:, 2]] * np.exp(1j * cells_phase(material, orbitals, k))
    lateral = np.random.default_rng(0).uniform(0, 1, (100, 2)) @ material.lattice_nm
    logs = []
    for z in (0.599, 0.601):
        points = np.column_stack([lateral, np.full(100, z)])
        f = coherent.amplitudes(material, orbitals, points, kappa_per_nm=KAPPA, tip="s")
        logs.append(math.log((np.abs(bloch @ f) ** 2).mean()))
    assert (logs[1] - logs[0]) / 2e-3 == pytest.approx(slope_per_nm, abs=0.03)  # K: the next star of k adds 0.02


def cells_phase(material, orbitals, k):
    return orbitals[:, :2] @ material.lattice_nm @ k


WSE2 = MATERIALS["wse2-s"]
TRAPEZOID = {"barrier": "trapezoid", "work_function_eV": 4.2, "tip_work_function_eV": 5.0}


def defect(kind, cell, site, words=None, **values):
    return kind, Placed(
        np.array([cell]), site, {name: np.array([value]) for name, value in values.items()}, words or {}
    )


DEFECTS = {
    "hole": defect(Vacancy, (0, 0), 0),
    "nitrogen": defect(Substitution, (2, -1), 1, onsite_eV=-4.0, bond_ratio=1.1, neighbour_eV=-1.0),
}
S_ON_TOP = {"position": "top", "orbital": "s"}
ADATOM = defect(Adatom, (-2, 0), 2, S_ON_TOP, height_nm=0.12, onsite_eV=-0.2, hopping_eV=0.8)
STEP = 0.7  # of the trapezoidal rule's energies, in broadenings: exp(-pi^2 / 0.49) off


def rule_energies(low_eV, high_eV, sigma):
    return np.arange(low_eV - 5 * sigma, high_eV + 5 * sigma, STEP * sigma) + 0.5j * math.pi * sigma / STEP


def plain_log_current(scene, tip, junction, points, **near):
    """ln|I / nA|: every orbital within some nm, every tip atom, the full G in float64; its own contour and weights.

    Through a trapezoid each energy of the rule has a decay constant of its own.
    """
    bias_V, sigma = junction.sample_bias_V, scene.material.broadening_eV
    z = rule_energies(min(0, bias_V), max(0, bias_V), sigma)
    nodes, shares = np.polynomial.legendre.leggauss(64)
    at_eV = bias_V * (nodes + 1) / 2
    densities = tip.density(at_eV - bias_V) * shares * abs(bias_V) / 2
    of_energies = second.contour_weights(z, at_eV, sigma) * STEP
    # as the model has it: an atom's spectrum is the front atom's, scaled by its mean in the window
    scale = densities.sum(axis=1) / densities[0].sum()
    parts = [(junction.decay_per_nm, of_energies @ densities[0])]
    if junction.barrier == "trapezoid":
        ends = {"sample_eV": junction.work_function_eV, "tip_eV": junction.tip_work_function_eV}
        kappas = units.trapezoid_decay(at_eV, bias_V=bias_V, **ends)
        parts = zip(kappas, (of_energies * densities[0]).T, strict=True)
    total = plain.amplitudes_squared(scene, tip, points, z, parts, scale, **near)
    return np.log(total * current.calibration_nA_eV(scene.material))


def largest_error_nm(material, members, tip, junction, raster_nm, *, every=1, **near):
    """How far the field is from plain sums over the ideal image, as a height."""
    scene, imaged, points = plain.image_of_members(material, members, tip, junction, raster_nm)
    points = points[::every]
    exact = plain_log_current(scene, tip, junction, points, **near)
    return np.abs(imaged.field.log_current(*points.T) - exact).max() / (2 * junction.decay_per_nm)


@pytest.mark.parametrize(("shape", "tolerance_nm"), [("s", 1e-4), ("pz", 2.5e-4)])  # a p tip sees nodal lines
def test_field_accuracy(shape, tolerance_nm):
    tip = plain.front_atoms(4, shape=shape)  # the front atom and the three behind it
    junction = Junction(bias_V=0.4, polarity=-1, kappa_per_nm=KAPPA, height_nm=0.5, current="coherent")
    raster_nm = np.meshgrid(np.linspace(-0.3, 0.5, 9), np.linspace(-0.35, 0.3, 9))
    assert largest_error_nm(WSE2, DEFECTS, tip, junction, raster_nm) < tolerance_nm


def test_field_accuracy_through_a_trapezoid():
    # 0.1 pm against each energy's own decay constant
    junction = Junction(bias_V=-0.7, height_nm=0.5, current="coherent", **TRAPEZOID)
    raster_nm, hole = np.meshgrid(np.linspace(-0.3, 0.5, 6), np.linspace(-0.35, 0.3, 5)), {"hole": DEFECTS["hole"]}
    near = {"every": 3, "reach_nm": 1.8, "n_k": 64}
    assert largest_error_nm(WSE2, hole, plain.front_atoms(4), junction, raster_nm, **near) < 1e-4


def test_spectra_of_a_flat_tip_integrate_to_the_current():
    # the tip's density does not depend on energy: I(V) = int_0^V dI/dV
    tip = tips.PlatinumIridium(front_atoms=1).tip()
    junction = Junction(bias_V=-0.4, height_nm=0.5, current="coherent", kappa_per_nm=KAPPA)
    raster_nm = np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.35, 0.3, 9))
    _, imaged, points = plain.image_of_members(WSE2, DEFECTS | {"adatom": ADATOM}, tip, junction, raster_nm)
    points = points[::16]
    nodes, shares = np.polynomial.legendre.leggauss(16)
    found = spectra.at_points(imaged, points, -0.2 * (nodes + 1)) @ shares * 0.2
    np.testing.assert_allclose(found, np.exp(imaged.field.log_current(*points.T)), rtol=4e-3)  # 0.2 pm
    # under a trapezoid each bias has the decay constant of the tip's Fermi level at it
    leaning, biases_V = Junction(bias_V=-0.4, height_nm=0.5, current="coherent", **TRAPEZOID), np.array([-0.3, 0.1])
    made = spectra.at_points(dataclasses.replace(imaged, junction=leaning), points[:1], biases_V)
    for n, bias_V in enumerate(biases_V):
        flat = dataclasses.replace(junction, kappa_per_nm=barrier.of_bias(leaning, bias_V))
        alone = spectra.at_points(dataclasses.replace(imaged, junction=flat), points[:1], biases_V[n : n + 1])
        np.testing.assert_allclose(made[:, n], alone[:, 0], rtol=1e-3)


OXYGEN = {"onsite_eV": -3.0, "bond_ratio": 1.2, "neighbour_eV": 0.0}
CHROMIUM = {"onsite_eV": -0.6, "bond_ratio": 0.8, "neighbour_eV": 0.0}


def test_field_accuracy_of_eleven_orbitals():
    # filled states of MoS2 at sigma 0.1 eV, four defects around the frame: 0.1 pm
    mos2 = dataclasses.replace(MATERIALS["mos2"], broadening_eV=0.1)
    members = {
        "vacancy": defect(Vacancy, (0, 0), 0),
        "oxygen": defect(Substitution, (2, -1), 0, **OXYGEN),
        "lower": defect(Substitution, (-1, 1), 1, **OXYGEN),
        "chromium": defect(Substitution, (0, -3), 2, **CHROMIUM),
    }
    junction = Junction(bias_V=-1.7, kappa_per_nm=KAPPA, height_nm=0.55, current="coherent")
    raster_nm = np.meshgrid(np.linspace(-0.4, 0.8, 13), np.linspace(-0.6, 0.4, 11))
    near = {"reach_nm": 1.8, "n_k": 64}
    assert largest_error_nm(mos2, members, plain.front_atoms(4), junction, raster_nm, **near) < 1e-4


WIDE = dataclasses.replace(MATERIALS["wse2"], broadening_eV=0.1)


def over_the_atoms(member, *, bias_V, fermi_eV=0.0):
    """Height over a defect, over the three metal atoms around it and half-way between, from the undisturbed, in pm."""
    junction = Junction(bias_V=bias_V, fermi_eV=fermi_eV, work_function_eV=4.5, height_nm=0.55, current="coherent")
    x, y = np.meshgrid(np.linspace(-0.4, 1.6, 41), np.linspace(-0.4, 0.4, 17))
    tip = tips.Tungsten(apex="w111").tip()
    _, imaged, _ = plain.image_of_members(WIDE, {"one": member}, tip, junction, (x, y))
    angles = np.radians([90, 210, 330, 30, 150, 270])
    at = np.append(0.2 * np.cos(angles), 0.0)[None], np.append(0.2 * np.sin(angles), 0.0)[None]
    z = 1e3 * (imaged.field.heights(*at, imaged.log_setpoint)[0] - imaged.ideal_nm[:, 32:].mean())  # 1.2 nm away
    return z[6], z[:3].mean(), z[3:6].mean()


def test_a_vacancy_is_dark_in_filled_states_and_has_lobes_in_its_gap_state_and_oxygen_has_none():
    # S. Barja et al., Nat. Commun. 10, 3382 (2019): V_Se has a state in the gap, O_Se has none
    vacancy, oxygen = defect(Vacancy, (0, 0), 0), defect(Substitution, (0, 0), 0, **OXYGEN)
    filled, in_gap = {"bias_V": -1.4}, {"bias_V": 0.85, "fermi_eV": 0.4}  # to 1.25 eV: state at 0.66, band from 1.13
    assert over_the_atoms(vacancy, **filled)[0] < -50
    assert -50 < over_the_atoms(oxygen, **filled)[0] < -20
    centre, lobes, between = over_the_atoms(vacancy, **in_gap)
    assert lobes > 25
    assert lobes - between > 4
    assert lobes - centre > 10
    assert np.abs(over_the_atoms(oxygen, **in_gap)).max() < 15


def test_a_metal_vacancy_is_dark_in_filled_states_where_its_neighbours_are_moved():
    # published: triangular, dark; the bare model has dangling Se states at and 0.7 to 0.9 eV above the valence band
    moved = {"neighbour_eV": -3.0}
    bare, calibrated = (over_the_atoms(defect(Vacancy, (0, 0), 2, **v), bias_V=-1.4)[0] for v in ({}, moved))
    assert bare > 20  # over one of its three Se
    assert -80 < calibrated < -10


@pytest.mark.parametrize("n", [1, 5, 20])
def test_roots_and_their_products_in_real_numbers(n):
    # R^T R = w A, R upper triangular; Re and Im of R x from the parts of x
    rng = np.random.default_rng(n)
    b = rng.normal(size=(3, n, n))
    a = b + np.swapaxes(b, 1, 2) - 1j * (b @ np.swapaxes(b, 1, 2) + np.eye(n))
    weights, columns = np.array([0.3 + 1j, -0.2j, 2.0]), rng.permutation(n)
    to_re, to_im = _coherent_kernels.roots(a.astype(np.complex64), columns, weights)
    root = to_re[:, :, 0::2] + 1j * to_im[:, :, 0::2]
    wanted = weights[:, None, None] * a[:, columns[:, None], columns]
    assert np.abs(np.swapaxes(root, 1, 2) @ root - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert np.abs(np.tril(root, -1)).max(initial=0.0) == 0
    x = (rng.normal(size=(3, n, 7)) + 1j * rng.normal(size=(3, n, 7))).astype(np.complex64)
    parts = np.stack([x.real, x.imag], axis=2).reshape(3, 2 * n, 7)
    for matrix, part in ((to_re, (root @ x).real), (to_im, (root @ x).imag)):
        assert np.abs(coherent._upper_product(matrix, parts) - part).max() < 1e-5 * np.abs(part).max()


def test_shifted_nodes_are_lagranges_of_their_neighbours():
    rng = np.random.default_rng(0)
    values, g = rng.normal(size=(2, 15, 18)).astype(np.float32), 4
    corners, first = np.array([[1, 1], [5, 9]]), np.array([1, 0])
    across, along = (coherent._lagrange(t) for t in (0.3, 0.8))
    out = np.empty((2, 2, g * g), dtype=np.float32)
    _coherent_kernels.shifted(values, corners, g, first, across, along, out)
    for c, h, j, i in np.ndindex(2, 2, g, g):
        v, u = corners[c] + first + (j, i)
        assert out[c, h, j * g + i] == pytest.approx(across @ values[h, v : v + 4, u : u + 4] @ along, abs=1e-5)


def test_a_form_over_the_products_of_its_basis():
    rng = np.random.default_rng(0)
    basis, form = rng.normal(size=(6, 11)).astype(np.float32), rng.normal(size=(6, 6)).astype(np.float32)
    form += form.T
    empty = np.zeros(0)
    through = coherent.Vacuum(empty, basis, empty, empty)
    np.testing.assert_allclose(form[through.pairs] @ through.products, ((form @ basis) * basis).sum(axis=0), rtol=1e-4)


def test_a_molecule_of_co_takes_the_slopes_of_amplitudes():
    # (1 - p) of the s tip's current and p of those of p_x and p_y, by Chen's rule; 0.25 pm, as near nodal lines
    tip = tips.CarbonMonoxide(p_share=0.7).tip()
    junction = Junction(bias_V=-0.4, kappa_per_nm=KAPPA, height_nm=0.5, current="coherent")
    raster_nm = np.meshgrid(np.linspace(-0.3, 0.5, 7), np.linspace(-0.35, 0.3, 7))
    scene, imaged, points = plain.image_of_members(WSE2, DEFECTS, tip, junction, raster_nm)
    total = 0
    for shape, share in (("s", 0.3), ("px", 0.7), ("py", 0.7)):
        alone = dataclasses.replace(tip, p_shares=None, shape=shape)
        total = total + share * np.exp(plain_log_current(scene, alone, junction, points))
    error_nm = np.abs(imaged.field.log_current(*points.T) - np.log(total)) / (2 * KAPPA)
    assert error_nm.max() < 2.5e-4
    biases_V = np.array([-0.3])
    maps, made = imaged.conductance(-0.3).current(*points.T), spectra.at_points(imaged, points[:3], biases_V)
    np.testing.assert_allclose(made[:, 0], maps[:3], rtol=5e-3)
