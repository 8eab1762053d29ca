"""The referee of the lobes of si001-h: sp3s* silicon with its half-infinite surface, and what a tip would see of it.

An independent program of the same model gave a dangling bond 0.55 eV above the valence band, rows of 27 and 16 pm at
-2.0 and -1.2 V, and a dangling bond of 128 pm at -1.2 V; its setpoint, Fermi level and broadening are not known.
"""

import itertools
import math

import numpy as np
import pytest

from stmfab.physics import dimer_defects, greens
from stmfab.physics.greens import Perturbation
from stmfab.physics.orbitals import ORBITAL_SURFACES
from tests import second_reading, silicon

KAPPA_PER_nm = 10.87  # sqrt(4.5 eV)
SIGMA_eV = 0.1
GAP_eV = 1.171
MIDDLE_eV, DOPED_eV = GAP_eV / 2, 0.9  # Fermi levels: intrinsic, and what n doping leaves of the gap near a surface
H_RIGHT = 1  # orbital of the hydrogen at x > 0
RIGHT = 3  # the atom under it
CELLS = np.array(list(itertools.product(range(-3, 4), range(-6, 7))))
NEAR = 2  # cells that feel a removed hydrogen

BLOCK = silicon.surface_block()
OWNER = silicon.owners(BLOCK)
ATOMS_nm = np.array([at for _, at in BLOCK])
H_PLANE_nm = ATOMS_nm[0, 2]
ENGINE = ORBITAL_SURFACES["si001-h"]


def bulk_levels(k):
    """Levels of the bulk at k in units of 2 pi / cube, cubic axes."""
    bonds = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 4
    between = sum(np.exp(2j * np.pi * bond @ k) * silicon.si_si(bond / np.linalg.norm(bond)) for bond in bonds)
    own = np.diag(silicon.ON_SITE_eV["Si"])
    return np.linalg.eigvalsh(np.block([[own, between], [between.conj().T, own]]))


def test_two_centre_integrals():
    assert silicon.SI_SI_eV == pytest.approx(second_reading.VOGL_SILICON_eV, abs=5e-4)  # as printed


def test_bulk_levels_are_the_closed_forms():
    # Vogl et al. 1983: at Gamma s +- V_ss and p +- V_xx; at X p +- V_xy, and s, s* and p of the other atom;
    # at L, where every sum of four phases has half its largest size, p +- (V_xx + V_xy) / 2
    gamma = [-4.2 - 8.3, *[0.0] * 3, *[3.43] * 3, -4.2 + 8.3, 6.685, 6.685]
    np.testing.assert_allclose(bulk_levels([0, 0, 0]), gamma, atol=1e-12)
    sigma = np.linalg.eigvalsh([[-4.2, 0, 5.7292], [0, 6.685, 5.3749], [5.7292, 5.3749, 1.715]])
    at_x = np.sort([*np.repeat(sigma, 2), *[1.715 - 4.575] * 2, *[1.715 + 4.575] * 2])
    np.testing.assert_allclose(bulk_levels([1, 0, 0]), at_x, atol=1e-12)
    at_l = bulk_levels([0.5, 0.5, 0.5])
    np.testing.assert_allclose(at_l[[2, 3]], 1.715 - (1.715 + 4.575) / 2, atol=1e-12)


def test_indirect_gap():
    # 1.17 eV on the line to X, near 0.73: the fit's target
    along = np.linspace(0.6, 0.9, 61)
    lowest = [bulk_levels([x, 0, 0])[4] for x in along]
    assert min(lowest) == pytest.approx(GAP_eV, abs=2e-3)
    assert along[np.argmin(lowest)] == pytest.approx(0.73, abs=0.01)


def test_bonds():
    # every Si has four neighbours, every H one; all bonds of silicon but the dimer's are as long as in the bulk
    atoms = [*BLOCK, *silicon.bulk_layers(4, 2)]
    n_bonds, lengths = [0] * len(BLOCK), []
    for (i, (one, at)), (other, to), cell in itertools.product(
        enumerate(BLOCK), atoms, itertools.product((-1, 0, 1), repeat=2)
    ):
        step = to + np.append(silicon.CELL_nm * cell, 0.0) - at
        if np.linalg.norm(step) > 0.01 and silicon.hopping(one, other, step) is not None:
            n_bonds[i] += 1
            lengths.append(round(float(np.linalg.norm(step)), 4))
    assert n_bonds == [1, 1, *[4] * 8]
    assert set(lengths) == {0.15, 0.24, 0.2352}


def test_decimation_equals_a_thick_slab():
    # 16 principal layers below: at Im z = 1 eV the lower side of the slab is not felt
    z, phases = 0.3 + 1.0j, np.array([[0.0, 0.0], [0.7, -1.9]])
    layer, below = silicon.bulk_layers(4, 4), silicon.bulk_layers(8, 4)
    own, down = (silicon.bloch(silicon.hoppings(layer, other), phases) for other in (layer, below))
    first = silicon.bloch(silicon.hoppings(BLOCK, BLOCK), phases)
    first_down = silicon.bloch(silicon.hoppings(BLOCK, layer), phases)
    decimated = silicon.surface_green(z, phases)
    for k in range(len(phases)):
        n = 42 + 16 * 40
        h = np.zeros((n, n), dtype=np.complex128)
        h[:42, :42], h[:42, 42:82] = first[k], first_down[k]
        for top in range(42, n, 40):
            h[top : top + 40, top : top + 40] = own[k]
            h[top : top + 40, top + 40 : top + 80] = down[k][:, : max(0, n - top - 40)]
        h = np.triu(h) + np.triu(h, 1).conj().T
        exact = np.linalg.inv(z * np.eye(n) - h)[:42, :42]
        assert np.abs(decimated[k] - exact).max() < 1e-6 * np.abs(exact).max()


def test_table_is_the_fourier_sum_over_the_whole_grid():
    z, n_u, n_v = 0.4 + 0.2j, 3, 4
    table = silicon.green_table(np.array([z]), n_u, n_v, 1)
    phases = silicon.k_phases(n_u, n_v)
    at_k = silicon.surface_green(z, phases)
    for u, v in itertools.product((-1, 0, 1), repeat=2):
        plain = np.einsum("k,kij->ij", np.exp(-1j * (phases @ [u, v])), at_k) / len(phases)
        np.testing.assert_allclose(table.g[0, :, :, v + 1, u + 1], plain, atol=1e-12)


def round_the_gap(n):
    """Points of the upper half of a circle through 0.08 and 0.92 eV, and w with sum of residues = Re sum w G.

    By the trapezoidal rule on the whole circle, where G(z*) is the conjugate of G(z): off by (0.42 / 0.5)^(2 n).
    """
    turn = np.exp(1j * math.pi * (np.arange(n) + 0.5) / n)
    return 0.5 + 0.42 * turn, 0.42 * turn / n


def test_the_clean_surface_has_no_state_in_the_gap():
    z, w = round_the_gap(32)
    phases = np.array([(0.0, 0.0), (math.pi, 0.0), (0.0, math.pi), (math.pi, math.pi), (1.3, 0.6)])
    g = np.array([silicon.surface_green(energy, phases) for energy in z])
    assert np.abs(np.einsum("e,ekii->ki", w, g).real).max() < 1e-4
    # at the corner of the zone one is split off the conduction band, in the layers below the dimers: 0.13 eV under
    # its edge, hidden from a tip
    turn = np.exp(1j * math.pi * (np.arange(16) + 0.5) / 16)
    corner = [silicon.surface_green(1.04 + 0.05 * each, phases[3:4])[0] for each in turn]
    on_atoms = np.bincount(OWNER, np.einsum("e,eii->i", 0.05 * turn / 16, corner).real)
    assert 0.9 < on_atoms.sum() < 1
    assert on_atoms[:2].sum() < 1e-6
    assert on_atoms[:4].sum() < 0.15


def test_a_removed_hydrogen_leaves_one_state_half_way_up_the_gap():
    # the residue of G is the state's weight, the residue of z G its energy times the weight: nothing is broadened
    z, w = round_the_gap(32)
    table = silicon.green_table(z, 4, 8, 1)
    cells = list(itertools.product((-1, 0, 1), repeat=2))
    orbitals = np.array([(*cell, orbital) for cell in cells for orbital in range(42)])
    g = greens.local_green(table, removed_hydrogen(), orbitals)
    on_atoms = np.array([np.bincount(OWNER, part) for part in (w @ g).real.reshape(9, 42)])
    level = (w * z @ g).real.sum() / on_atoms.sum()
    assert level == pytest.approx(0.55, abs=0.02)  # as reported, to two digits
    assert np.unravel_index(np.argmax(on_atoms), on_atoms.shape) == (cells.index((0, 0)), RIGHT)
    assert 0.5 < on_atoms.max() < on_atoms.sum() < 1


def removed_hydrogen():
    none = np.zeros((0, 3), dtype=np.int64)
    return Perturbation(np.array([(0, 0, H_RIGHT)]), none, np.zeros(0))


@pytest.fixture(scope="module")
def table():
    energies = greens.contour(MIDDLE_eV - 2.0, DOPED_eV, SIGMA_eV)
    return silicon.green_table(energies, 6, 12, NEAR)


def tiled(atoms_carry):
    """Lobes (n, 3) of the atoms of many cells, and what each carries of a clean surface."""
    lobes = ATOMS_nm + np.pad(CELLS * silicon.CELL_nm, ((0, 0), (0, 1)))[:, None]
    return lobes.reshape(-1, 3), np.tile(atoms_carry, len(CELLS))


def clean(table, window):
    """Lobes of the clean surface and what they carry over a window of energies."""
    part = table.at(greens.contour(*window, SIGMA_eV))
    weights = silicon.window_weights(part.energies_eV, *window, SIGMA_eV)
    return tiled(np.bincount(OWNER, (weights @ part.local).imag))


def seen(table, fermi_eV, bias_V, share=np.ones_like):
    """Lobes, and what they carry in filled states: of the clean surface, and without an H."""
    window = fermi_eV + bias_V, fermi_eV
    part = table.at(greens.contour(*window, SIGMA_eV))
    weights = silicon.window_weights(part.energies_eV, *window, SIGMA_eV, share)
    lobes, strengths = tiled(np.bincount(OWNER, (weights @ part.local).imag))
    bare = strengths.reshape(len(CELLS), -1).copy()
    for number in np.flatnonzero(np.abs(CELLS).max(axis=1) <= NEAR):
        orbitals = np.array([(*CELLS[number], orbital) for orbital in range(42)])
        bare[number] = np.bincount(OWNER, (weights @ greens.local_green(part, removed_hydrogen(), orbitals)).imag)
    return lobes, strengths, bare.ravel()


def through_the_barrier(fermi_eV, bias_V, gap_nm):
    """Share of a state by its own barrier, 4.5 eV over the Fermi level and tilted by the bias, in its middle."""

    def share(at_eV):
        barrier_eV = 4.5 + bias_V / 2 - (at_eV - fermi_eV)
        kappa_per_nm = second_reading.KAPPA_PER_SQRT_eV * np.sqrt(barrier_eV)
        return np.exp(-2 * (kappa_per_nm - KAPPA_PER_nm) * gap_nm)

    return share


def rows_nm(lobes, strengths, gap_nm):
    """Mean profile across the rows in 16 points from the middle of a dimer on, and ln I of the setpoint.

    The setpoint is the mean ln I a gap over the plane of the hydrogen.
    """
    x, y = np.meshgrid(np.arange(16) / 16 * silicon.CELL_nm[0], np.arange(4) / 4 * silicon.CELL_nm[1])
    xy = np.column_stack([x.ravel(), y.ravel()])
    start = H_PLANE_nm + gap_nm
    level = np.column_stack([xy, np.full(len(xy), start)])
    setpoint = silicon.log_current(level, lobes, strengths, KAPPA_PER_nm).mean()
    heights = silicon.constant_current(xy, start, lobes, strengths, setpoint, KAPPA_PER_nm)
    return heights.reshape(x.shape).mean(axis=0), setpoint


def first_harmonic_pm(profile_nm):
    """From crest to trough: positive where rows of dimers are bright."""
    return 4e3 * profile_nm @ np.cos(2 * math.pi * np.arange(16) / 16) / 16


def dangling_bond_pm(lobes, strengths, bare, gap_nm):
    """How high a removed hydrogen stands over the mean of the rows."""
    profile, setpoint = rows_nm(lobes, strengths, gap_nm)
    xy = np.column_stack([np.linspace(-0.2, 0.3, 21), np.zeros(21)])
    found = silicon.constant_current(xy, H_PLANE_nm + gap_nm, lobes, bare, setpoint, KAPPA_PER_nm)
    return 1e3 * (found.max() - profile.mean())


def tersoff_hamann_pm(strengths, gap_nm):
    """The first harmonic of a weak contrast: sum of A (1 + q z) exp(-q z) / q^3 cos(G x), q^2 = 4 kappa^2 + G^2."""
    z, wave = H_PLANE_nm + gap_nm - ATOMS_nm[:, 2], 2 * math.pi / silicon.CELL_nm[0]
    twice = 2 * KAPPA_PER_nm
    q = math.hypot(twice, wave)
    harmonic = 2 * strengths @ ((1 + q * z) * np.exp(-q * z) / q**3 * np.cos(wave * ATOMS_nm[:, 0]))
    return 2e3 * harmonic / (strengths @ (z * np.exp(-twice * z) / twice))


@pytest.mark.parametrize("fermi_eV", [MIDDLE_eV, DOPED_eV])
@pytest.mark.parametrize("bias_V", [-2.0, -1.2])
def test_rows_of_dimers_are_bright_and_fade_as_tersoff_and_hamann_say(table, fermi_eV, bias_V):
    lobes, strengths = clean(table, (fermi_eV + bias_V, fermi_eV))
    found = [first_harmonic_pm(rows_nm(lobes, strengths, gap)[0]) for gap in (0.5, 0.7)]
    expected = [tersoff_hamann_pm(strengths[: len(ATOMS_nm)], gap) for gap in (0.5, 0.7)]
    np.testing.assert_allclose(found, expected, rtol=0.08)  # the second order of a contrast of 20 pm
    # bright on the dimer, between the 13 pm of 0.7 nm and the 21 pm of 0.5 nm at either bias: reported were 16 pm at
    # -1.2 V, and 27 pm at -2.0 V, which this sum of lobes reaches at 0.35 nm, or at 0.5 nm with Si-H bonds tilted by 15
    # instead of 20 degrees
    assert 13 < found[1] < found[0] < 22


def test_rows_of_dimers_are_bright_in_empty_states_too():
    # of this sum of lobes: it shows no inversion; within 1.5 of what the lobes of si001-h show at +2 V
    window = MIDDLE_eV, MIDDLE_eV + 2.0
    table = silicon.green_table(greens.contour(*window, SIGMA_eV), 4, 8, 0)
    found = first_harmonic_pm(rows_nm(*clean(table, window), 0.6)[0])
    assert 13 < found < 25
    assert engine_rows_pm(ENGINE.split_empty_nm[1], 0.6) == pytest.approx(found, rel=0.5)


def test_a_dangling_bond_stands_out_where_the_window_holds_little_else(table):
    # reported: 128 pm at -1.2 V. The window holds the bond's level whole from a Fermi level of 0.7 eV on, and the less
    # of the valence band the higher it is: 128 pm is crossed in the gap's upper half
    heights = {
        (fermi, bias): dangling_bond_pm(*seen(table, fermi, bias), 0.6)
        for fermi in (MIDDLE_eV, 0.7, DOPED_eV)
        for bias in (-2.0, -1.2)
    }
    assert heights[MIDDLE_eV, -1.2] < 128 < heights[0.7, -1.2] < heights[DOPED_eV, -1.2]
    assert heights[MIDDLE_eV, -1.2] == pytest.approx(128, rel=0.3)
    for fermi in (MIDDLE_eV, 0.7, DOPED_eV):
        assert 0 < heights[fermi, -2.0] < heights[fermi, -1.2] / 4


def test_deeper_states_have_the_higher_barrier(table):
    # with its own barrier the bond's level stands out of the deeper valence band at -2 V too; rows stay what they are
    for fermi, low, high in ((MIDDLE_eV, 60, 90), (DOPED_eV, 100, 140)):
        lobes, *both = seen(table, fermi, -2.0, through_the_barrier(fermi, -2.0, 0.65))
        assert low < dangling_bond_pm(lobes, *both, 0.6) < high
        assert first_harmonic_pm(rows_nm(lobes, both[0], 0.6)[0]) == pytest.approx(16, abs=1)


def engine_rows_pm(split_nm, gap_nm):
    """First harmonic of the rows that the lobes of ``si001-h`` show where split so far, a gap over their top."""
    unit = ENGINE.states[0]
    places = np.array([[lobe.across(split_nm), lobe.along_nm, lobe.z_nm + H_PLANE_nm] for lobe in unit])
    lobes = places + np.pad(CELLS * silicon.CELL_nm, ((0, 0), (0, 1)))[:, None]
    strengths = np.tile([lobe.filled for lobe in unit], len(CELLS))
    return first_harmonic_pm(rows_nm(lobes.reshape(-1, 3), strengths, gap_nm)[0])


def test_rows_of_the_lobes_are_those_of_the_referee(table):
    # the same phase, a corrugation within a factor of 1.5 and its fall with height within 10 %
    found = np.array([engine_rows_pm(ENGINE.split_filled_nm[1], gap) for gap in (0.5, 0.6, 0.7)])
    for fermi in (MIDDLE_eV, DOPED_eV):
        lobes, strengths = clean(table, (fermi - 2.0, fermi))
        referee = np.array([first_harmonic_pm(rows_nm(lobes, strengths, gap)[0]) for gap in (0.5, 0.6, 0.7)])
        assert referee.min() > 0
        np.testing.assert_allclose(np.log(found / referee), 0, atol=math.log(1.5))
        np.testing.assert_allclose(found / found[0], referee / referee[0], rtol=0.1)
    assert engine_rows_pm(0.25, 0.6) < 0  # lobes so far apart would have the other phase


def test_a_dangling_bond_of_the_lobes_is_as_high_as_the_referee(table):
    # neutral, in filled states at -2 V: between the Fermi levels within a factor of 1.5
    height_pm = dimer_defects.DanglingBond(density_per_nm2=0.01).height_filled_pm
    for fermi in (MIDDLE_eV, DOPED_eV):
        referee = dangling_bond_pm(*seen(table, fermi, -2.0, through_the_barrier(fermi, -2.0, 0.65)), 0.6)
        assert height_pm == pytest.approx(referee, rel=0.5)
