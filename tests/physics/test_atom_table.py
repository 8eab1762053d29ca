"""The table of a crystal's atoms: counts per area, places on the path, and what each kind of defect makes of a site."""

import numpy as np
import pytest

import stmfab
from stmfab import coded

RECIPE = """
name: atoms
samples: 3
seed: 4
scan: {pixels: 48, size_nm: 5, rotation_deg: {uniform: [0, 360]}}
sample:
  material: wse2-s
  defects:
    hole: {kind: vacancy, site: Se_top, density_per_nm2: 0.2}
    pair: {kind: divacancy, site: Se_top, density_per_nm2: 0.1}
    oxygen: {kind: substitution, site: Se_bottom, density_per_nm2: 0.2, onsite_eV: -3, bond_ratio: 1.2}
    antisite: {kind: antisite, site: W, density_per_nm2: 0.1, onsite_eV: -0.5, bond_ratio: 0.8, rise_nm: 0.2}
    metal: {kind: adatom, site: W, density_per_nm2: 0.1, height_nm: 0.12, onsite_eV: 0, hopping_eV: 0.8}
    blob: {kind: blob, site: W, density_per_nm2: 0.1, height_pm: 100, fwhm_nm: 1}
tip: {apex: w111}
junction: {work_function_eV: 4.5, current_nA: 0.05, bias_V: -0.3}
instrument: {drift: {kind: linear, x_nm_per_min: 0.3, y_nm_per_min: 0.2}}
channels: [topography]
targets: {atoms: {kind: atom_table}, at: {kind: path}}
"""
REGULAR, MISSING, CHANGED, ADDED = range(4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("atoms") / "atoms.yaml"
    path.write_text(RECIPE)
    recipe = stmfab.load(path)
    return recipe, recipe.samples(0, 3)


def table(arrays, index):
    count = arrays["atoms_count"][index]
    names = ("x_nm", "y_nm", "z_nm", "row", "col", "site", "layer", "state")
    return {name: arrays[f"atoms_{name}"][index][:count] for name in names}


def test_there_are_as_many_atoms_as_the_lattice_has(made):
    # three a cell of 0.332 nm: 10.5 of each a nm^2, on a frame of 25 nm^2 and its rim of half a pixel
    for index in range(3):
        own = table(made[1], index)
        for site in range(3):
            assert (own["site"] == site).sum() == pytest.approx(10.5 * (5 * 49 / 48) ** 2, abs=13)
        assert ((own["row"] > -1) & (own["row"] < 48) & (own["col"] > -1) & (own["col"] < 48)).all()


def test_defects_are_what_the_table_of_defects_says(made):
    recipe, arrays = made
    words = coded.categories(recipe.plan)
    assert words["atoms_site"] == ["Se_top", "Se_bottom", "W"]
    assert words["atoms_state"] == ["regular", "missing", "changed", "added"]
    expected = {"hole": (0, MISSING), "pair": (0, MISSING), "oxygen": (1, CHANGED), "antisite": (2, CHANGED)}
    expected |= {"metal": (-1, ADDED), "blob": (2, REGULAR)}
    seen = set()
    for index in range(3):
        own, places = table(arrays, index), []
        for name, x, y, inside in zip(
            *(arrays[f"defect_{column}"][index] for column in ("name", "x_nm", "y_nm", "in_view")), strict=True
        ):
            if name < 0 or not inside:
                continue
            site, state = expected[words["defect_name"][name]]
            rows = np.flatnonzero((np.hypot(own["x_nm"] - x, own["y_nm"] - y) < 1e-5) & (own["site"] == site))
            assert own["state"][rows].tolist() == [state] or words["defect_name"][name] == "blob"
            seen.add(words["defect_name"][name])
            places += rows.tolist()
        plain = np.setdiff1d(np.arange(len(own["site"])), places)
        plain = plain[own["site"][plain] != 1]  # below a pair the lower atom is missing too
        assert (own["state"][plain] == REGULAR).all()
        antisites = (own["site"] == 2) & (own["state"] == CHANGED)
        assert np.ptp(own["z_nm"][(own["site"] == 2) & ~antisites]) < 1e-6
        assert own["z_nm"][antisites] == pytest.approx(own["z_nm"][own["site"] == 2].min() + 0.2)
    assert seen == set(expected)


def test_atoms_are_where_the_path_passes(made):
    arrays = made[1]
    for index in range(3):
        own = table(arrays, index)
        inside = (own["row"] > 1) & (own["row"] < 46) & (own["col"] > 1) & (own["col"] < 46)
        for n in np.flatnonzero(inside)[::37]:
            row, col = round(float(own["row"][n])), round(float(own["col"][n]))
            there = arrays["at_x_nm"][index][row, col], arrays["at_y_nm"][index][row, col]
            assert np.hypot(own["x_nm"][n] - there[0], own["y_nm"][n] - there[1]) < 0.8 * 5 / 48
