"""Charges and bumps: shifts of the levels against a shifted Fermi level, bumps against their own height."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import constants

from stmfab.physics import bumps, crystal, defects, guests, halos, structure, tips
from stmfab.physics.defects import Placed
from stmfab.physics.junction import Junction
from stmfab.physics.materials import MATERIALS

WSE2 = MATERIALS["wse2-s"]
X, Y = np.meshgrid(np.linspace(-0.5, 0.5, 11), np.linspace(-0.4, 0.4, 9))
HOLE = {"hole": (defects.Vacancy, Placed(np.array([[1, 0]]), 0, {}))}


def charge(**given):
    return halos.of_members(
        WSE2, [(defects.Vacancy, Placed(np.zeros((1, 2), np.int64), 0, columns(halos.of_charge(given))))]
    )


def columns(values):
    return {name: np.array([float(value)]) for name, value in values.items()}


def image(halo=halos.NONE, bump=bumps.NONE, members=HOLE, material=WSE2, **junction):
    """The scene of a vacancy, imaged."""
    keys = {"bias_V": -0.4, "kappa_per_nm": 10.9, "current_nA": 0.1} | junction
    return crystal.image(
        lambda view: dataclasses.replace(crystal.scene_under(material, members, view), halos=halo, bumps=bump),
        material,
        tips.Tungsten(apex="w111").tip(),
        Junction(**keys),
        lines_nm=[(X, Y)],
        raster_nm=(X, Y),
    )[1]


def test_the_shift_is_the_screened_potential_of_a_charge():
    q, eps, screening, depth = -1.0, 5.0, 3.0, 0.8
    halo = charge(charge=q, permittivity=eps, screening_nm=screening, depth_nm=depth)
    r = np.array([0.0, 1.0, 4.0])
    coulomb = constants.e / (4 * math.pi * constants.epsilon_0 * eps) * 1e9  # e^2 / (4 pi eps0 eps) in eV nm
    expected = coulomb * np.exp(-r / screening) / np.hypot(r, depth)  # up: a negative charge repels electrons
    np.testing.assert_allclose(halo.shift_eV(np.column_stack([r, 0 * r])), expected, rtol=1e-9)
    assert halos.peak_eV(charge=q, permittivity=eps, depth_nm=depth) == pytest.approx(expected[0])
    reach = halos.reach_nm(charge=q, permittivity=eps, screening_nm=screening)
    assert not halo.shift_eV(np.array([[reach, 0.0]])).any()
    assert halo.shift_eV(np.array([[0.8 * reach, 0.0]])).all()


def test_shifts_of_one_sign_do_not_add_and_those_of_two_do():
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    three = halos.Halos(places, np.array([-1.0, -1.0, 1.0]), np.full(3, 6.0), np.full(3, 4.0), np.full(3, 1.0))
    each = [
        halos.Halos(places[i : i + 1], three.charges[i : i + 1], *np.array([[6.0], [4.0], [1.0]])) for i in range(3)
    ]
    at = np.array([[0.2, 0.4]])
    first, second, third = (one.shift_eV(at)[0] for one in each)
    assert three.shift_eV(at)[0] == pytest.approx(max(first, second) + third)


@pytest.mark.parametrize(("sign", "current"), [(-1, "incoherent"), (1, "incoherent"), (1, "coherent")])
def test_an_even_shift_is_a_shift_of_the_fermi_level(sign, current):
    # a charge 30 nm deep shifts all sites of the frame alike, to 1e-3 of the shift; a vacancy's states shift as well
    even = charge(charge=-sign * 4.0, permittivity=1.0, screening_nm=1e4, depth_nm=30.0)
    shift_eV = float(even.shift_eV(np.zeros((1, 2)))[0])
    assert shift_eV == pytest.approx(sign * 4 * halos.COULOMB_eV_nm / 30, rel=1e-9)
    charged, moved = image(even, current=current), image(fermi_eV=-shift_eV, current=current)
    np.testing.assert_allclose(charged.ideal_nm, moved.ideal_nm, atol=1e-4)  # 0.1 pm: the bound of a field
    assert np.abs(charged.ideal_nm - image(current=current).ideal_nm).max() > 1e-3


def test_shifts_between_the_tabulated_ones(monkeypatch):
    halo = charge(charge=-1.0, depth_nm=0.7)
    coarse = image(halo).ideal_nm
    monkeypatch.setattr(halos, "STEP", halos.STEP / 4)
    np.testing.assert_allclose(coarse, image(halo).ideal_nm, atol=1e-4)


def test_conductance_shifts_with_the_levels():
    even = charge(charge=4.0, permittivity=1.0, screening_nm=1e4, depth_nm=30.0)
    shift_eV = float(even.shift_eV(np.zeros((1, 2)))[0])
    field = image(even).conductance(-0.2)
    expected = image(fermi_eV=-shift_eV).conductance(-0.2)
    at = X, Y, np.full(X.shape, 0.5)
    np.testing.assert_allclose(field.current(*at), expected.current(*at), rtol=2e-3)  # 0.1 pm


def test_a_bump_is_as_high_as_it_says():
    bump = bumps.Bumps(np.array([[0.1, 0.0]]), np.array([0.15]), np.array([0.9]))
    raised, bare = image(bump=bump), image()
    away2 = (X - 0.1) ** 2 + Y**2
    expected = 0.15 * 0.5 ** (away2 / 0.45**2)  # half of it at half the full width
    np.testing.assert_allclose(raised.ideal_nm - bare.ideal_nm, expected, atol=1e-4)  # 0.1 pm


def test_a_wide_blob_reaches_into_a_frame_far_from_it():
    values = columns({"height_pm": 300, "fwhm_nm": 3.0})
    blob = {"blob": (guests.Blob, Placed(np.array([[10, 0]]), 0, values))}
    view = structure.window(WSE2, [(X, Y)], n_grid=8)
    scene = crystal.scene_under(WSE2, blob, view)
    assert len(scene.bumps.heights_nm) == 1
    assert scene.places_nm[0, 0] > 2.5 + X.max()  # beyond what a defect's states reach
    expected = 300 * 0.5 ** ((scene.places_nm[0, 0] - 0.5) ** 2 / 1.5**2)
    raised = image(bump=scene.bumps, members={}).ideal_nm - image(members={}).ideal_nm
    assert 1e3 * raised[4, -1] == pytest.approx(expected, abs=0.1)
