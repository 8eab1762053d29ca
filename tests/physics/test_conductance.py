"""Maps of dI/dV: plain float64 sums over the spectral matrix, the slope of the current, and states in a gap."""

import dataclasses

import numpy as np
import pytest

from stmfab.physics import barrier, current, spectra, tips
from stmfab.physics.defects import Vacancy
from stmfab.physics.guests import Blob
from stmfab.physics.junction import Junction
from stmfab.physics.materials import MATERIALS
from tests import plain
from tests import second_reading as second
from tests.physics.test_coherent import ADATOM, DEFECTS, KAPPA, STEP, TRAPEZOID, WSE2, defect, rule_energies

RASTER_nm = np.meshgrid(np.linspace(-0.3, 0.5, 7), np.linspace(-0.35, 0.3, 6))
COHERENT = {"bias_V": -0.4, "height_nm": 0.5, "current": "coherent"}


def plain_conductance(scene, tip, junction, points, bias_V, **near):
    """C sum_j rho_j(0) f^T rho(E_F + eV) f."""
    z = rule_energies(bias_V, bias_V, scene.material.broadening_eV)
    weights = second.contour_weights(z, np.array([bias_V]), scene.material.broadening_eV)[:, 0] * STEP
    parts, shares = [(barrier.of_bias(junction, bias_V), weights)], tip.density(np.zeros(1))[:, 0]
    total = plain.amplitudes_squared(scene, tip, points, z, parts, shares, **near)
    return total * current.calibration_nA_eV(scene.material)


@pytest.mark.parametrize("through", [{"kappa_per_nm": KAPPA}, TRAPEZOID], ids=["constant", "trapezoid"])
@pytest.mark.parametrize("bias_V", [-0.3, 0.2])  # in the window, and beyond it
def test_a_map_of_amplitudes_is_a_plain_sum(through, bias_V):
    junction, tip = Junction(**COHERENT, **through), plain.front_atoms(4)
    scene, imaged, points = plain.image_of_members(WSE2, DEFECTS, tip, junction, RASTER_nm)
    exact = plain_conductance(scene, tip, junction, points, bias_V)
    found = imaged.conductance(bias_V).current(*points.T)
    np.testing.assert_allclose(found, exact, rtol=2e-3, atol=2e-3 * exact.max())  # 0.1 pm


def test_maps_of_a_flat_tip_integrate_to_the_current():
    # I(V) - I(V') = int dI/dV, between two windows' ends, by Gauss-Legendre's rule
    tip, members = tips.PlatinumIridium(front_atoms=1).tip(), DEFECTS | {"adatom": ADATOM}
    far, near = (Junction(**(COHERENT | {"bias_V": bias_V}), kappa_per_nm=KAPPA) for bias_V in (-0.45, -0.35))
    _, imaged, points = plain.image_of_members(WSE2, members, tip, far, RASTER_nm)
    less = plain.image_of_members(WSE2, members, tip, near, RASTER_nm)[1]
    nodes, shares = np.polynomial.legendre.leggauss(3)
    slopes = [imaged.conductance(bias_V).current(*points.T) for bias_V in -0.4 + 0.05 * nodes]
    between = imaged.field.current(*points.T) - less.field.current(*points.T)
    np.testing.assert_allclose(0.05 * shares @ np.array(slopes), between, rtol=5e-3, atol=5e-3 * between.max())


def test_the_state_of_a_vacancy_in_the_gap():
    # V_S of MoS2: 0.50 eV below the conduction band; nothing beside it, and not even a negative current that matters
    mos2, tip = dataclasses.replace(MATERIALS["mos2"], broadening_eV=0.1), plain.front_atoms(4)
    junction = Junction(bias_V=1.5, kappa_per_nm=KAPPA, height_nm=0.55, current="coherent")
    raster_nm = np.meshgrid(np.linspace(-0.4, 1.5, 9), np.linspace(-0.5, 0.5, 8))
    scene, imaged, points = plain.image_of_members(mos2, {"hole": defect(Vacancy, (0, 0), 0)}, tip, junction, raster_nm)
    exact = plain_conductance(scene, tip, junction, points, 0.6, reach_nm=2.0, n_k=48)
    found = imaged.conductance(0.6).current(*points.T)
    np.testing.assert_allclose(found, exact, atol=2e-3 * exact.max())
    away = points[:, 0] > 1.2
    assert np.abs(found[away]).max() < 0.01 * found.max()


def test_the_map_over_a_bump_is_that_of_a_lower_tip():
    junction, tip = Junction(**COHERENT, kappa_per_nm=KAPPA), plain.front_atoms(1)
    blob = defect(Blob, (0, 0), 2, height_pm=80.0, fwhm_nm=0.9)
    flat, raised = (
        plain.image_of_members(WSE2, DEFECTS | more, tip, junction, RASTER_nm)[1] for more in ({}, {"blob": blob})
    )
    bump = raised.scene.bumps.height_nm(np.column_stack([place.ravel() for place in RASTER_nm])).reshape(6, 7)
    assert np.ptp(bump) > 0.02
    below = flat.conductance(-0.3).current(*RASTER_nm, flat.ideal_nm)
    np.testing.assert_allclose(raised.conductance(-0.3).current(*RASTER_nm, flat.ideal_nm + bump), below, rtol=2e-3)


def test_a_table_of_green_functions_holds_every_bias_of_its_spectra():
    # half a volt is 3.497 broadenings: the table ends 4 away
    coarse, asked = dataclasses.replace(WSE2, broadening_eV=0.143), []

    def keep(name, of, make):
        asked.append(of["broadenings"])
        return make()

    junction, tip = Junction(**COHERENT, kappa_per_nm=KAPPA), plain.front_atoms(1)
    _, imaged, points = plain.image_of_members(coarse, DEFECTS, tip, junction, RASTER_nm)
    spectra.at_points(imaged, points[:1], np.array([-0.5, 0.5]), keep=keep)
    assert asked == [[-4, 4]]
