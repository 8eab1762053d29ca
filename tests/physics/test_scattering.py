"""Standing waves against closed forms: one scatterer, two, rings and edges; the law of elastic scatterers."""

import math

import numpy as np
import pytest
from scipy import special

from stmfab.physics import scattering
from stmfab.physics.metals import METALS
from stmfab.physics.scattering import Scatterers, Waves
from tests import second_reading as second

K = 2.1 + 0.0j  # 1/nm, about Cu at the Fermi level
FAR_nm = 200.0  # a reach whose fading starts beyond every point of these tests


def one_wave(k=K):
    return Waves(np.array([k]), np.ones(1))


def change(points, scatterers, waves=None, reach_nm=FAR_nm):
    x, y = np.array(points, float).T
    return density_change(x[None], y[None], waves or one_wave(), scatterers, reach_nm=reach_nm)[0]


def density_change(x_nm, y_nm, waves, scatterers, reach_nm):
    return scattering.response(waves, scatterers, reach_nm=reach_nm).change(x_nm, y_nm)


def at(points, albedo=0.0, phase_deg=0.0):
    n = len(points)
    s = scattering.strengths(np.full(n, albedo), np.full(n, phase_deg))
    return Scatterers(np.array(points, float), s)


@pytest.mark.parametrize(("albedo", "phase_deg"), [(0.0, 0.0), (1.0, 35.0), (0.6, -60.0)])
def test_one_scatterer(albedo, phase_deg):
    # d rho / rho_0 = 1/2 Re[(alpha e^(2 i delta) - 1) H_0(k r)^2], from G = G_0 + G_0 t G_0 in two dimensions
    r = np.linspace(0.5, 30, 200)
    t = albedo * np.exp(2j * math.radians(phase_deg)) - 1
    found = change(np.column_stack([r * 0.6, r * 0.8]), at([(0, 0)], albedo, phase_deg))
    np.testing.assert_allclose(found, 0.5 * (t * special.hankel1(0, K * r) ** 2).real, atol=2e-6)  # complex64 waves


def test_far_from_a_scatterer_the_wave_falls_as_1_over_r_with_its_phase():
    # H_0(x)^2 -> 2/(pi x) e^(i (2 x - pi/2)): (alpha sin(2 k r + 2 delta) - sin 2 k r) / (pi k r); period pi / k
    r = np.linspace(40, 60, 400)
    k, delta = K.real, math.radians(30)
    found = change(np.column_stack([r, 0 * r]), at([(0, 0)], 1.0, 30.0)) * np.pi * k * r
    np.testing.assert_allclose(found, np.sin(2 * k * r + 2 * delta) - np.sin(2 * k * r), atol=4e-3)  # 1/(4 k r)


@pytest.mark.parametrize(("albedo", "phase_deg"), [(0.0, 0.0), (1.0, 30.0), (0.6, -60.0)])
def test_asymptotics_of_a_point_and_of_an_edge(albedo, phase_deg):
    # H_0(x) -> sqrt(2 / pi x) exp(i (x - pi/4)) (1 - i / 8x), J_0 is its real part
    r, k = np.linspace(40, 60, 400), K.real
    t, x = albedo * np.exp(2j * math.radians(phase_deg)) - 1, k * r
    found = change(np.column_stack([r, 0 * r]), at([(0, 0)], albedo, phase_deg)) * np.pi * x
    expected = (t * np.exp(1j * (2 * x - np.pi / 2)) * (1 - 0.25j / x)).real
    np.testing.assert_allclose(found, expected, atol=1e-3)
    edge = scattering.edge_change(r, one_wave()) * np.sqrt(np.pi * x)
    expected = -(np.exp(1j * (2 * x - np.pi / 4)) * (1 - 1j / (16 * x))).real
    np.testing.assert_allclose(edge, expected, atol=1e-3)


def test_two_scatterers_in_closed_form():
    # T_11 = s_1 / D, T_12 = s_1 H s_2 / D, D = 1 - s_1 s_2 H^2
    waves, places = one_wave(K + 0.03j), np.array([(0.0, 0.0), (1.3, 0.4)])
    one, two = scattering.strengths(np.array([0.3, 1.0]), np.array([20.0, 50.0]))
    h = special.hankel1(0, (K + 0.03j) * math.hypot(1.3, 0.4))
    expected = np.array([[one, one * h * two], [one * h * two, two]]) / (1 - one * two * h**2)
    table = scattering.wave_table(waves, 2.0)
    found = scattering.t_matrix(waves, Scatterers(places, np.array([one, two])), table)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_scatterers_are_the_sum_over_all_bounces():
    # psi_i = h_i + sum_j H_ij s_j psi_j, summed bounce by bounce: no matrix is inverted
    places = np.array([(0.0, 0.0), (1.3, 0.4)])
    s = scattering.strengths(np.array([0.3, 1.0]), np.array([20.0, 50.0]))
    r = np.array([(3.0, 1.0), (-2.0, 0.7), (0.6, -1.5), (9.0, 9.0)])
    h = special.hankel1(0, K * np.linalg.norm(r[:, None] - places, axis=2))
    between = special.hankel1(0, K * np.linalg.norm(places[0] - places[1]))
    wave, total = s * h, s * h
    for _ in range(200):
        wave = s * between * wave[:, ::-1]
        total = total + wave
    expected = (h * total).sum(axis=1).real
    np.testing.assert_allclose(change(r, Scatterers(places, s)), expected, atol=2e-6)  # complex64 waves
    # and in closed form, both alike: the even and the odd partial wave scatter with s / (1 -+ s H)
    s = scattering.strengths(np.array([0.0]), np.array([0.0]))[0]
    even, odd = (h[:, 0] + h[:, 1]) ** 2 / (1 / s - between), (h[:, 0] - h[:, 1]) ** 2 / (1 / s + between)
    np.testing.assert_allclose(change(r, at(places)), 0.5 * (even + odd).real, atol=2e-6)


def test_elastic_scatterers_lose_no_electron():
    # s^-1 = -1 - i cot(delta) for alpha = 1, so that T + T^+ = -2 T^+ J_0(k r_ij) T: the optical theorem
    places = np.random.default_rng(1).uniform(-0.6, 0.6, (9, 2)) + np.argwhere(np.ones((3, 3))) * 1.7
    scatterers = Scatterers(places, scattering.strengths(np.ones(9), np.linspace(10, 80, 9)))
    away = np.linalg.norm(places[:, None] - places, axis=2)
    assert away[away > 0].min() > scattering.CORE_nm
    waves = one_wave()
    (t,) = scattering.t_matrix(waves, scatterers, scattering.wave_table(waves, 12.0))
    j0 = special.jv(0, K.real * away)
    np.testing.assert_allclose(t + t.conj().T, -2 * t.conj().T @ j0 @ t, atol=1e-5)  # the table errs by 1e-6


def test_density_is_never_negative():
    places = np.random.default_rng(2).uniform(-5, 5, (30, 2))
    grid = np.stack(np.meshgrid(np.linspace(-6, 6, 60), np.linspace(-6, 6, 60)), axis=-1).reshape(-1, 2)
    for albedo, phase in ((0.0, 0.0), (1.0, 90.0), (1.0, -30.0)):
        assert change(grid, at(places, albedo, phase)).min() > -1 - 1e-4


def test_a_closed_ring_confines_the_states_of_a_round_box():
    # 48 atoms 7.13 nm from the middle on Cu(111): levels of the round box at (z_0n / R)^2 / 2 m, z_0n the zeros of J_0;
    # Crommie, Lutz and Eigler, Science 262, 218 (1993). A leaky wall pulls k by some per cent.
    radius_nm, angle = 7.13, 2 * np.pi * np.arange(48) / 48
    ring = at(radius_nm * np.column_stack([np.cos(angle), np.sin(angle)]))
    k = np.linspace(0.2, 2.2, 150)
    middle = np.array([change([(0.0, 0.0)], ring, one_wave(q + 0.0j), 25.0)[0] for q in k])
    peaks = k[1:-1][(middle[1:-1] > middle[:-2]) & (middle[1:-1] > middle[2:])]
    zeros = special.jn_zeros(0, len(peaks)) / radius_nm
    assert len(peaks) >= 4
    assert np.abs(peaks - zeros).max() < 0.1 * math.pi / radius_nm  # of the distance of levels; steps of k are 0.013


@pytest.mark.parametrize(("n_atoms", "radius_nm"), [(14, 4.5), (15, 5.0), (15, 6.0)])
def test_a_ring_of_adatoms_on_silver_confines_its_electrons(n_atoms, radius_nm):
    # black dots 2 to 2.5 nm apart, half a Fermi wavelength being 3.9: peaks at the middle where the round box has its
    # levels E_0 + hbar^2 (z_0n / R)^2 / 2 m, the leaky wall within 10 meV of a hard one
    angle, (_, bottom_eV, mass, width_eV, *_) = 2 * np.pi * np.arange(n_atoms) / n_atoms, second.METALS_111["ag-111"]
    ring = at(radius_nm * np.column_stack([np.cos(angle), np.sin(angle)]))
    at_eV = np.arange(-0.062, 0.3, 0.002)
    k = second.wave_number(mass, bottom_eV, at_eV, width_eV)
    middle = np.array([change([(0.0, 0.0)], ring, one_wave(q), 25.0)[0] for q in k])
    peaks = at_eV[1:-1][(middle[1:-1] > middle[:-2]) & (middle[1:-1] > middle[2:])]
    box = bottom_eV + 0.0380998 / mass * (special.jn_zeros(0, 3) / radius_nm) ** 2
    np.testing.assert_allclose(peaks, box, atol=0.010)
    assert middle.max() > 1  # over twice the open surface's density


def test_beside_an_edge():
    # a perfect mirror: -J_0(2 k x); far away -cos(2 k x - pi/4) / sqrt(pi k x): period pi / k, fall x^(-1/2)
    x, k = np.linspace(0.01, 80, 4000), K.real
    found = scattering.edge_change(x, one_wave())
    np.testing.assert_allclose(found, -special.jv(0, 2 * k * x), atol=2e-3)  # linear between nodes of the table
    far = x > 20
    envelope = -np.cos(2 * k * x - math.pi / 4) / np.sqrt(math.pi * k * x)
    np.testing.assert_allclose(found[far], envelope[far], atol=3e-3)


def test_a_linewidth_shortens_the_waves():
    # k = sqrt(2 m (E - E_0 + i Gamma/2)) / hbar: |H_0|^2 falls by exp(-2 Im k r) beside 1/r
    k = second.wave_number(0.38, -0.44, 0.0, 0.024)
    r = (math.pi / 4 + math.pi * np.array([15, 25])) / k.real  # crests, ten periods apart
    near, far = np.abs(change(np.column_stack([r, 0 * r]), at([(0, 0)]), one_wave(k))) * r
    assert math.log(near / far) == pytest.approx(2 * k.imag * (r[1] - r[0]), rel=1e-2)


@pytest.mark.parametrize("name", sorted(METALS))
def test_constants(name):
    metal, (neighbour_nm, bottom_eV, mass, width_eV, half_fermi_nm, step_nm) = METALS[name], second.METALS_111[name]
    assert metal.lattice.lattice_constant_nm == pytest.approx(neighbour_nm, rel=1e-6)
    assert (metal.bottom_eV, metal.mass) == (bottom_eV, mass)
    assert metal.linewidth(np.array([bottom_eV])) == pytest.approx(width_eV)
    (k,) = metal.wave_numbers(np.zeros(1)).real
    assert math.pi / k == pytest.approx(half_fermi_nm, rel=5e-3)
    assert metal.step_nm == pytest.approx(step_nm, abs=5e-4)
    at_eV = np.linspace(bottom_eV, 1.0, 30)
    assert (metal.linewidth(at_eV) >= metal.phonon_eV).all()
    assert (metal.wave_numbers(np.linspace(-1, 1, 50)).imag > 0).all()
    expected = second.wave_number(mass, bottom_eV, at_eV, metal.linewidth(at_eV))
    np.testing.assert_allclose(metal.wave_numbers(at_eV), expected, rtol=1e-6)  # the digits of hbar^2 / 2 m


def test_periods_on_copper():
    # 1.448 and 0.988 nm at 0 and +0.5 V with (0.412, -0.435); 1.50 and 1.03 with (0.38, -0.44) of Crommie et al.
    k = METALS["cu-111"].wave_numbers(np.array([0.0, 0.5])).real
    np.testing.assert_allclose(math.pi / k, (1.448, 0.988), rtol=3e-3)
    published = [second.wave_number(0.38, -0.44, e, 0.0).real for e in (0.0, 0.5)]
    np.testing.assert_allclose(math.pi / np.array(published), (1.50, 1.03), rtol=6e-3)


def test_onset_of_the_band():
    # H_0 of a complex k: the step at the bottom is 1/2 + atan((E - E_0) / (Gamma / 2)) / pi
    metal = METALS["ag-111"]
    for at_eV in (-0.1, -0.063, -0.05, 0.2):
        width_eV = metal.linewidth(np.array([at_eV]))[0]
        found = Waves(metal.wave_numbers(np.array([at_eV])), np.ones(1)).undisturbed
        assert found == pytest.approx(0.5 + math.atan2(at_eV + 0.063, width_eV / 2) / math.pi, abs=1e-9)


def test_blocks_and_the_reach():
    # the same waves whatever block a node is in; a scatterer beyond the reach is silent
    rng = np.random.default_rng(3)
    scatterers = at(rng.uniform(-9, 9, (25, 2)))
    x, y = np.meshgrid(np.linspace(-10, 10, 70), np.linspace(-10, 10, 50))
    waves = one_wave(K + 0.03j)
    whole = density_change(x, y, waves, scatterers, reach_nm=FAR_nm)
    some = density_change(x[20:30, 5:], y[20:30, 5:], waves, scatterers, reach_nm=FAR_nm)
    np.testing.assert_allclose(some, whole[20:30, 5:], atol=1e-5)
    alone = at([(0.0, 0.0)])
    reach = scattering.reach_nm(waves, error=2e-3)
    beyond = density_change(np.array([[reach + 0.1]]), np.zeros((1, 1)), waves, alone, reach_nm=reach)
    assert beyond == 0
    silent = density_change(np.array([[reach]]), np.zeros((1, 1)), waves, alone, reach_nm=FAR_nm)
    assert abs(silent) < 2e-3
