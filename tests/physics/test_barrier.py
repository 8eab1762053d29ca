"""The trapezoidal barrier: its exponent against an integral, its current against a plain sum over energies."""

import math

import numpy as np
import pytest
from scipy import constants, integrate

from stmfab.physics import barrier, current, defects, greens, tips, units
from stmfab.physics.defects import Placed
from stmfab.physics.junction import Junction
from stmfab.physics.keys import KeyRangeError
from stmfab.physics.materials import MATERIALS
from tests import plain
from tests import second_reading as second

WSE2 = MATERIALS["wse2-s"]
ENDS = {"work_function_eV": 4.2, "tip_work_function_eV": 5.0}


@pytest.mark.parametrize("bias_V", [-1.6, -0.2, 0.8, 1.5])
def test_the_exponent_is_that_of_wkb(bias_V):
    # 2 int_0^D sqrt(2 m (phi(x) - E)) / hbar dx, phi linear from the sample's work function to the tip's + eV
    for energy in (0.0, bias_V / 3, bias_V):

        def wave_number(x, energy=energy):
            height_eV = 4.2 + (5.0 + bias_V - 4.2) * x - energy
            return math.sqrt(2 * constants.m_e * constants.e * height_eV) / constants.hbar / 1e9

        exact, _ = integrate.quad(wave_number, 0, 1)
        found = units.trapezoid_decay(np.array([energy]), sample_eV=4.2, tip_eV=5.0, bias_V=bias_V)[0]
        assert found == pytest.approx(exact, rel=1e-9)


def test_a_rectangle_is_the_constant_barrier():
    flat = units.trapezoid_decay(np.array([0.0]), sample_eV=4.5, tip_eV=4.5, bias_V=0.0)[0]
    assert flat == pytest.approx(units.decay_constant(4.5), rel=1e-12)
    with pytest.raises(ValueError, match="above an end of the barrier"):
        units.trapezoid_decay(np.array([4.6]), sample_eV=4.5, tip_eV=4.5, bias_V=0.0)


@pytest.mark.parametrize("bias_V", [-1.4, 1.4])
def test_electrons_near_the_top_of_the_window_tunnel_best(bias_V):
    junction = Junction(bias_V=bias_V, current_nA=0.1, barrier="trapezoid", **ENDS)
    at_eV = np.array([min(0.0, bias_V), max(0.0, bias_V)])
    low, high = units.trapezoid_decay(at_eV, sample_eV=4.2, tip_eV=5.0, bias_V=bias_V)
    assert high < low  # filled states deep below the Fermi level show less: why filled images are of the band's edge
    assert junction.decay_per_nm == pytest.approx(high)


def plain_log_current(scene, tip, junction, points):
    """ln|I / nA|: each energy of a fine rule with its own decay constant, every site and tip atom, float64."""
    bias_V, sigma = junction.sample_bias_V, WSE2.broadening_eV
    z = second.contour(min(0, bias_V), max(0, bias_V), sigma)
    table = greens.lattice_green(WSE2, z, n_k=128, reach=24, dtype=np.complex128)
    sites, where = plain.atoms(scene, 2.3)
    nodes, shares = np.polynomial.legendre.leggauss(32)
    at_eV = bias_V * (nodes + 1) / 2
    local = greens.local_green(table, scene.change, sites)
    spectra = (local.T @ second.contour_weights(z, at_eV, sigma)).imag  # (n_sites, n_energies)
    ours = tip.density(at_eV - bias_V) * shares * abs(bias_V) / 2
    kappa = units.trapezoid_decay(at_eV, sample_eV=4.2, tip_eV=5.0, bias_V=bias_V)
    total = []
    for p in points:
        away = np.linalg.norm(p + tip.positions_nm - where[:, None], axis=2)
        total.append(
            sum(
                (spectra[:, e, None] * ours[None, :, e] * np.exp(-2 * kappa[e] * away)).sum() for e in range(len(kappa))
            )
        )
    return np.log(total) + math.log(current.calibration_nA_eV(WSE2))


@pytest.mark.parametrize("bias_V", [-1.5, 0.9])
def test_currents_of_all_energies_add(bias_V):
    junction = Junction(bias_V=bias_V, current_nA=0.1, barrier="trapezoid", **ENDS)
    tip = tips.Tungsten(apex="w111-d1-2of3", rotation_deg=20.0).tip()
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.4, 0.4, 7))
    hole = {"hole": (defects.Vacancy, Placed(np.array([[0, 0]]), 0, {}))}
    scene, imaged, points = plain.image_of_members(WSE2, hole, tip, junction, (x, y))
    points = points[::6]
    error_nm = np.abs(imaged.field.log_current(*points.T) - plain_log_current(scene, tip, junction, points))
    assert error_nm.max() / (2 * junction.decay_per_nm) < 1e-4  # 0.1 pm
    one = Junction(bias_V=bias_V, current_nA=0.1, work_function_eV=4.2)
    assert len(barrier.nodes(one, 0.5)) == 1
    assert 3 <= len(barrier.nodes(junction, 0.5)) <= 6


@pytest.mark.parametrize(
    ("keys", "legal"),
    [
        ({"barrier": "trapezoid", "work_function_eV": 4.5}, "tip_work_function_eV"),
        ({"barrier": "trapezoid", "kappa_per_nm": 10.9, "tip_work_function_eV": 4.5}, "work_function_eV"),
        ({"tip_work_function_eV": 4.5, "work_function_eV": 4.5}, "barrier: trapezoid"),
        ({"barrier": "trapezoid", "work_function_eV": 1.2, "tip_work_function_eV": 5.0}, "leaves 0.5 eV"),
    ],
)
def test_a_barrier_that_cannot_be_is_refused(keys, legal):
    with pytest.raises(KeyRangeError, match=legal):
        Junction(bias_V=1.0, current_nA=0.1, **keys)
