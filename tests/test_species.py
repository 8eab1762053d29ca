"""What a defect is and where its numbers come from: in the table of defects, in the store, in what is made of it."""

import numpy as np
import pytest

import stmfab
from stmfab import coded, recipe, store, survey
from stmfab.physics.materials import MATERIALS
from stmfab.place import Folder
from tests import stub

RECIPE = """
name: species
samples: 2
seed: 5
scan: {pixels: 32, size_nm: 5}
sample:
  material: wse2-s
  defects:
    hole_above: {kind: vacancy, site: Se_top, density_per_nm2: 0.1}
    hole_below: {kind: vacancy, site: Se_bottom, density_per_nm2: 0.1}
    no_metal: {kind: vacancy, site: W, density_per_nm2: 0.05}
    column: {kind: divacancy, site: Se_top, density_per_nm2: 0.1}
    beside: {kind: lateral_divacancy, site: Se_top, density_per_nm2: 0.1,
             direction_deg: {choice: [0, 60, 120], per: defect}}
    oxygen: {kind: substitution, site: Se_top, species: O_Se, density_per_nm2: 0.1, onsite_eV: -3, bond_ratio: 1.2}
    unknown: {kind: dopant, site: W, density_per_nm2: 0.1, onsite_eV: 0.3}
    swapped: {kind: antisite, site: W, density_per_nm2: 0.1, onsite_eV: -0.5, bond_ratio: 0.8, rise_nm: 0.2}
    metal: {kind: adatom, site: W, density_per_nm2: 0.1, height_nm: 0.12, onsite_eV: 0, hopping_eV: 0.8}
    dirt: {kind: blob, site: W, density_per_nm2: 0.1, height_pm: 100, fwhm_nm: 1}
tip: {apex: w111}
junction: {work_function_eV: 4.5, current_nA: 0.05, bias_V: -0.3}
channels: [topography]
targets: {what: {kind: classes, by: species}, names: {kind: classes, by: name}}
"""
SPECIES = {  # by hand: vacancies as V and the site's atom, others as the atom and the site's
    "hole_above": "V_Se",
    "hole_below": "V_Se",
    "no_metal": "V_W",
    "column": "V_Se2",
    "beside": "V_Se+V_Se",
    "oxygen": "O_Se",
    "unknown": "dopant",
    "swapped": "Se_W",
    "metal": "adatom",
    "dirt": "blob",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("species") / "species.yaml"
    path.write_text(RECIPE)
    chosen = stmfab.load(path)
    return coded.categories(chosen.plan), chosen.samples(0, 2)


def test_every_row_of_the_table_says_its_species(made):
    words, arrays = made
    listed = arrays["defect_name"] >= 0
    names = [words["defect_name"][code] for code in arrays["defect_name"][listed]]
    assert set(names) == set(SPECIES)
    found = [words["defect_species"][code] for code in arrays["defect_species"][listed]]
    assert found == [SPECIES[name] for name in names]
    assert (arrays["defect_species"][~listed] == -1).all()


def test_classes_by_species_are_those_by_name_put_together(made):
    words, arrays = made
    assert words["what"] == ["background", *words["defect_species"]]
    together = [0, *(1 + words["defect_species"].index(SPECIES[name]) for name in words["defect_name"])]
    np.testing.assert_array_equal(arrays["what"], np.array(together)[arrays["names"]])
    assert len(np.unique(arrays["what"])) > 5


@pytest.mark.parametrize(
    ("name", "species"),
    [
        ("mos2-defects", {"V_S", "V_S2", "V_Mo", "O_S", "Cr_Mo"}),
        ("ws2-defects", {"V_S", "V_S2", "V_W", "O_S", "Cr_W", "Mo_W"}),
        ("wse2-native-defects", {"Se_W", "W_Se", "V_W", "CH_Se", "V_Se", "adatom", "blob"}),
        ("graphene-defects", {"V_C", "N_C"}),
        ("graphene-adatoms", {"H", "adatom", "blob"}),
        ("ag111-corrals", {"adatom", "co"}),
        ("tio2-110-fewshot", None),
    ],
)
def test_species_of_the_built_in_recipes(name, species):
    plan = recipe.load(name)
    found = coded.categories(plan)["defect_species"]
    assert set(plan.species.values()) == set(found)
    assert set(found) == (species or {part["kind"] for part in plan.tree["sample"]["defects"].values()})


def test_what_is_calibrated_says_so():
    # of materials with real orbitals: every foreign atom and every level that is not the perfect crystal's own
    for name in ("mos2-defects", "mos2-filled-empty", "ws2-defects", "wse2-native-defects", "graphene-defects"):
        defects = recipe.load(name).tree["sample"]["defects"]
        fitted = {own for own, keys in defects.items() if {"onsite_eV", "neighbour_eV"} & set(keys)}
        assert fitted
        assert {own for own, keys in defects.items() if keys.get("source") == "calibrated"} == fitted
    adatoms = recipe.load("graphene-adatoms").tree["sample"]["defects"]
    assert adatoms["metal"]["source"] == "calibrated"
    assert adatoms["hydrogen_a"]["source"] == "doi:10.1103/PhysRevLett.105.056802"


def test_a_store_says_species_and_sources_to_any_reader(tmp_path):
    xarray = pytest.importorskip("xarray")
    chosen = recipe.load("mos2-defects", samples=8)
    place = tmp_path / "mos2.zarr"
    new = store.create(Folder(place), chosen)
    store.write_shard(new, 0, stub.simulate(chosen, 0, 8), begun_s=0.0)
    store.finalise(new)
    opened = xarray.open_zarr(place)
    words = opened["defect_species"].attrs
    assert words["flag_meanings"].split() == ["Cr_Mo", "O_S", "V_Mo", "V_S", "V_S2"]
    names = opened["defect_name"].attrs
    assert dict(zip(names["categories"], names["sources"], strict=True)) == {
        "chromium": "calibrated",
        "molybdenum_vacancy": "calibrated",
        "oxygen_bottom": "calibrated",
        "oxygen_top": "calibrated",
        "sulphur_divacancy": "",
        "sulphur_vacancy_bottom": "",
        "sulphur_vacancy_top": "",
    }
    assert sum(survey.defects(new)["by species"].values()) == 16  # the stub lists two a sample


def test_neither_word_changes_a_sample(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    there = stmfab.load(tmp_path / "r.yaml").samples(0, 1)
    (tmp_path / "r.yaml").write_text(RECIPE.replace("species: O_Se", "species: SO2, source: mine"))
    renamed = stmfab.load(tmp_path / "r.yaml").samples(0, 1)
    changed = {name for name in there if not np.array_equal(there[name], renamed[name], equal_nan=True)}
    assert changed <= {"defect_species", "what"}  # the codes are in alphabetical order


def test_antisites_of_every_metal_are_named_after_both_atoms():
    kinds = stmfab.load("wse2-native-defects").plan.parts
    antisite = next(part.cls for part in kinds if part.kind == "antisite")
    for name, chalcogen, metal in (("mos2", "S", "Mo"), ("mose2-so", "Se", "Mo"), ("ws2", "S", "W")):
        found = [antisite.species_on(MATERIALS[name], site) for site in range(3)]
        assert found == [f"{metal}_{chalcogen}", f"{metal}_{chalcogen}", f"{chalcogen}_{metal}"]
