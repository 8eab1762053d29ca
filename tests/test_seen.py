"""What defects show, in whole samples: heights and noise that the recipe states come out of the pictures."""

import dataclasses

import numpy as np
import pytest

import stmfab
from stmfab import plan as plans
from stmfab import sample, scenes
from stmfab.errors import RecipeError
from stmfab.physics import guests, instances, structure
from stmfab.physics.materials import MATERIALS

METAL = """
name: seen
samples: 8
seed: 3
scan: {pixels: 64, size_nm: 12, center_x_nm: 500}
sample:
  kind: surface-state
  material: cu-111
  surface: {share: 0}                               # no waves: a lobe alone, whose height and width are given
  defects: {atom: {kind: adatom, density_per_nm2: 0.01, height_pm: 80, fwhm_nm: 0.9, min_distance_nm: 4}}
tip: {apex: w111}
junction: {bias_V: 0.1, work_function_eV: 4.6, current_nA: 0.1}
instrument: {noise: {gap: {kind: white_height, rms_pm: 2}}}
channels: [topography]
targets:
  instances: {kind: instances, threshold_pm: 40, sigmas: 2, window_nm: 1.0}
  points: {kind: keypoints, sigma_nm: 0.5}
  classes: {kind: classes}
"""


@pytest.fixture(scope="module")
def metal(tmp_path_factory):
    path = tmp_path_factory.mktemp("seen") / "seen.yaml"
    path.write_text(METAL)
    return path


@pytest.fixture(scope="module")
def made(metal):
    return stmfab.load(str(metal)).samples(0, 8)


def rows(made):
    """The sample and the row of every defect that is well inside its frame."""
    for index, count in enumerate(made["defect_count"]):
        for row in range(count):
            place = np.array([made["defect_row"][index, row], made["defect_col"][index, row]])
            if ((place > 8) & (place < 56)).all():
                yield index, row


def test_an_adatom_shows_the_height_and_the_width_it_was_given(made):
    found = list(rows(made))
    assert len(found) > 4
    for index, row in found:
        # the tip's other atoms blunt it a little; nothing else is near
        assert made["defect_apparent_height_pm"][index, row] == pytest.approx(80, abs=4)
        pixels = (made["instances"][index] == row + 1).sum()
        area = pixels * made["pixel_size_nm"][index] ** 2
        assert area == pytest.approx(np.pi * 0.45**2, rel=0.2)  # half of 80 pm at half the full width; 18 pixels
        box = [made[f"defect_{name}"][index, row] for name in ("row_min", "row_max", "col_min", "col_max")]
        rows_of, cols_of = np.nonzero(made["instances"][index] == row + 1)
        assert box == [rows_of.min(), rows_of.max(), cols_of.min(), cols_of.max()]
        assert box[0] <= made["defect_row"][index, row] <= box[1]


def test_a_defect_is_bright_and_as_wide_as_it_was_given(made):
    for index, row in rows(made):
        assert made["defect_appearance"][index, row] == instances.APPEARANCES.index("bright")
        # half the full width at half the height; 72 pixels, those of the rim count whole or not at all
        assert made["defect_apparent_radius_nm"][index, row] == pytest.approx(0.45, rel=0.12)


def test_visibility_is_the_height_over_the_noise_that_the_recipe_states(made):
    np.testing.assert_allclose(made["instances_noise_pm"], 2, rtol=0.05)  # 4096 pixels: 1 %, line medians 1 %
    for index, row in rows(made):
        height_pm, noise_pm = made["defect_apparent_height_pm"][index, row], made["instances_noise_pm"][index]
        assert made["defect_visibility"][index, row] == pytest.approx(height_pm / noise_pm, rel=1e-5)


def test_a_pair_of_renders_for_each_defect_agrees_where_none_overlap(metal, made):
    each = stmfab.load(str(metal), overrides={"targets.instances.renders": "each"}).samples(0, 8)
    for name in ("appearance", "apparent_radius_nm"):
        found = np.array([made[f"defect_{name}"][where] for where in rows(made)])
        np.testing.assert_allclose(found, [each[f"defect_{name}"][where] for where in rows(made)], atol=0.03)
    for index, row in rows(made):
        alone, together = (kind["defect_apparent_height_pm"][index, row] for kind in (each, made))
        assert alone == pytest.approx(together, abs=0.5)  # pm, of 80: tails of lobes 4 nm away
    assert (each["instances"] != made["instances"]).mean() < 1e-3


def test_a_defect_that_is_left_out_is_the_only_change():
    recipe = stmfab.load("wse2-defects", overrides={"scan.pixels": 16})
    drawn = plans.parameters(recipe.plan, plans.draw(recipe.plan, 0, 1), 0)
    whole = sample.together(recipe.plan, [drawn])[0]
    inside = int(np.flatnonzero(whole["defect_in_view"])[0])
    material = MATERIALS["wse2-s"]
    name = sorted(drawn.defects)[whole["defect_name"][inside]]
    place = material.positions_nm[whole["defect_site"][inside], :2]
    at_nm = np.array([whole["defect_x_nm"][inside], whole["defect_y_nm"][inside]])
    cell = np.rint((at_nm - place) @ material.to_cells).astype(int)
    less = sample.together(recipe.plan, [drawn.without(name, *cell.tolist())])[0]
    n = int(whole["defect_count"])
    np.testing.assert_array_equal(np.delete(whole["defect_x_nm"][:n], inside), less["defect_x_nm"][: n - 1])
    assert less["defect_count"] == n - 1


def test_noise_hides_what_is_below_twice_its_size(metal):
    loud = stmfab.load(str(metal), overrides={"instrument.noise.gap.rms_pm": 45}).samples(0, 8)
    np.testing.assert_allclose(loud["instances_noise_pm"], 45, rtol=0.05)
    assert not loud["instances"].any()
    assert (loud["defect_visibility"][loud["defect_in_view"]] < 2).all()


def test_keypoints_and_classes_stand_where_the_defects_are(made):
    for index, row in rows(made):
        at = np.rint([made["defect_row"][index, row], made["defect_col"][index, row]]).astype(int)
        away_nm = np.linalg.norm(at - [made["defect_row"][index, row], made["defect_col"][index, row]]) * 12 / 64
        assert made["points"][index][tuple(at)] == pytest.approx(np.exp(-(away_nm**2) / (2 * 0.5**2)), rel=1e-3)
        assert made["classes"][index][tuple(at)] == 1
    assert made["classes"].dtype == np.int8
    plan = stmfab.load("cu111-co").plan
    words = plan.arrays  # the arrays are declared
    assert next(spec.dtype for spec in words if spec.name == "classes") == "int8"


def test_asking_what_defects_show_changes_nothing_else(metal, made):
    without = stmfab.load(str(metal), overrides={"targets.instances": "null"}).samples(0, 8)
    for name in ("topography", "points", "defect_x_nm", "defect_row"):
        np.testing.assert_array_equal(without[name], made[name])
    assert "defect_visibility" not in without


def test_a_crystal_without_its_defects_is_periodic():
    plan = stmfab.load("wse2-defects", overrides={"scan.rotation_deg": 0, "scan.center_x_nm": 0}).plan
    drawn = plans.parameters(plan, plans.draw(plan, 0, 1), 0).pristine()
    moved = dataclasses.replace(drawn.raster, center_x_nm=MATERIALS["wse2-s"].lattice_constant_nm)
    here, there = sample.together(plan, [drawn, dataclasses.replace(drawn, raster=moved)])
    assert here["defect_count"] == there["defect_count"] == 0
    np.testing.assert_allclose(here["ideal"], there["ideal"], atol=2e-5)  # nm: a field's own accuracy is 0.1 pm


def placed(overrides, *, size_nm, index=0, seed=1):
    recipe = stmfab.load("wse2-defects", overrides=overrides, seed=seed)
    drawn = plans.parameters(recipe.plan, plans.draw(recipe.plan, index, index + 1), index)
    material = drawn.material
    reach = size_nm / 2
    corners = np.array([(-reach, -reach), (reach, reach), (reach, -reach), (-reach, reach)])
    view = structure.around(material, corners)
    members = scenes.placed_members(seed, drawn, material, view, margin_nm=0.5)
    found = {}
    for name, (_, defects) in members.items():
        points = structure.positions(material, defects.cells, np.full(len(defects.cells), defects.site))[:, :2]
        found[name] = points[(np.abs(points) < reach - 1).all(axis=1)]
    return found


APART = "sample.defects.top_vacancy.min_distance_nm"
NUMBER, RADIUS = (f"sample.defects.bottom_dopant.{key}" for key in ("cluster_n", "cluster_radius_nm"))
DENSITY = "sample.defects.{}.density_per_nm2"
SPREAD = {APART: 1.2, NUMBER: 4, RADIUS: 0.8, DENSITY.format("top_vacancy"): 0.1, DENSITY.format("bottom_dopant"): 0.2}


def test_defects_of_one_name_keep_their_distance_at_their_density():
    count = 0
    for index in range(6):
        points = placed(SPREAD, size_nm=40, index=index)["top_vacancy"]
        away = np.linalg.norm(points[:, None] - points, axis=2)[np.triu_indices(len(points), 1)]
        assert away.min() >= 1.2 - 1e-9
        count += len(points)
    expected = 0.1 * 38**2 * 6
    assert count == pytest.approx(expected, abs=4 * np.sqrt(expected))  # narrower than Poisson


def test_clusters_keep_the_density_less_those_that_meet_on_one_place():
    counts = [len(placed(SPREAD, size_nm=40, index=index)["bottom_dopant"]) for index in range(6)]
    expected = 0.2 * 38**2
    # 21 places a cluster of 4: 9 % meet; variance (1 + 4) times the mean
    assert np.mean(counts) == pytest.approx(0.91 * expected, abs=4 * np.sqrt(5 * expected / 6) + 0.03 * expected)
    assert np.mean(counts) < expected


def test_a_larger_window_and_another_member_move_no_defect():
    small, large = (placed(SPREAD, size_nm=size) for size in (20, 40))
    for name, points in small.items():
        within = large[name][(np.abs(large[name]) < 9).all(axis=1)]
        assert {*map(tuple, points)} == {*map(tuple, within)}
    alone = placed({**SPREAD, "sample.defects.aaa": "{kind: vacancy, site: W, density_per_nm2: 0.2}"}, size_nm=20)
    assert alone.keys() - small.keys() == {"aaa"}
    for name, points in small.items():
        assert {*map(tuple, points)} == {*map(tuple, alone[name])}


def test_some_frames_have_no_defect():
    choice = "{choice: [0, {uniform: [0.1, 0.2]}], weights: [1, 1]}"
    names = ("top_vacancy", "top_dopant", "bottom_vacancy", "bottom_dopant")
    overrides = {DENSITY.format(name): "{expr: '0 * scan.size_nm'}" for name in names[1:]}
    recipe = stmfab.load("wse2-defects", overrides={**overrides, DENSITY.format(names[0]): choice, "scan.pixels": 8})
    counts = recipe.samples(0, 40)["defect_count"]
    assert 8 < (counts == 0).sum() < 32  # of 40, half: 4.7 standard deviations


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({APART: 3}, "top_vacancy.density_per_nm2: 0.25 per nm^2 do not fit 3 nm apart; legal: at most"),
        (
            {NUMBER: 4},
            "bottom_dopant.cluster_n: found one without the other; legal: given together with cluster_radius",
        ),
        (
            {"targets.a": "{kind: keypoints, of: top_vacncy}"},
            "unknown defects 'top_vacncy'; did you mean 'top_vacancy'?",
        ),
        ({f"targets.{name}": "{kind: instances, threshold_pm: 1}" for name in "ab"}, "legal: one target of this kind"),
        ({"targets.a": "{kind: instances}"}, "targets.a.threshold_pm: missing; legal: a number at least 0"),
    ],
)
def test_a_mistake_is_one_line(overrides, words):
    with pytest.raises(RecipeError) as caught:
        stmfab.load("wse2-defects", overrides=overrides)
    assert len(caught.value.faults) == 1
    assert words in str(caught.value)


CHARGED = """
name: charged
samples: 3
seed: 11
scan: {pixels: 24, size_nm: 3}
sample:
  material: wse2-s
  defects:
    hole: {kind: vacancy, site: Se_top, density_per_nm2: 0.3}
    acceptor: {kind: dopant, site: W, density_per_nm2: 0.02, onsite_eV: 0}
    blob: {kind: blob, site: Se_bottom, density_per_nm2: 0.2, height_pm: 40, fwhm_nm: 0.8}
tip: {apex: w111}
junction: {bias_V: -0.4, kappa_per_nm: 10.9, current_nA: 0.1}
channels: [topography]
targets: {instances: {kind: instances, threshold_pm: 2, renders: each}}
"""


def test_a_charge_moves_no_defect_and_reaches_into_frames_far_from_it(tmp_path):
    (tmp_path / "charged.yaml").write_text(CHARGED)
    charge = {"sample.defects.acceptor.charge": -1, "sample.defects.acceptor.depth_nm": 1.5}
    bare, charged = (stmfab.load(str(tmp_path / "charged.yaml"), overrides=each).samples(0, 3) for each in ({}, charge))
    for name in ("kind", "x_nm", "y_nm", "layer"):
        np.testing.assert_array_equal(bare[f"defect_{name}"], charged[f"defect_{name}"])
    assert "defect_charge" not in bare
    kinds = list(guests.DEFECTS)
    expected = np.where(charged["defect_kind"] == kinds.index("dopant"), -1.0, 0.0)
    listed = charged["defect_kind"] >= 0
    np.testing.assert_array_equal(charged["defect_charge"][listed], expected[listed])
    change = np.abs(charged["topography"] - bare["topography"]).max(axis=(1, 2))
    assert (change > 1e-4).all()  # one acceptor in 50 nm^2, its halo of 4 nm


def test_a_blob_is_bright_and_as_wide_as_it_was_given(tmp_path):
    (tmp_path / "charged.yaml").write_text(CHARGED)
    plan = {"scan.pixels": 48, "scan.size_nm": 4}
    made = stmfab.load(str(tmp_path / "charged.yaml"), overrides=plan).samples(0, 3)
    blob, n_seen = list(guests.DEFECTS).index("blob"), 0
    for index, count in enumerate(made["defect_count"]):
        for row in range(count):
            place = np.array([made["defect_row"][index, row], made["defect_col"][index, row]])
            if made["defect_kind"][index, row] != blob or (place < 10).any() or (place > 37).any():
                continue
            n_seen += 1
            assert made["defect_apparent_height_pm"][index, row] == pytest.approx(
                40, abs=0.8
            )  # a pixel is up to 0.06 nm off its middle
            assert made["defect_apparent_radius_nm"][index, row] == pytest.approx(0.4, rel=0.08)
            assert made["defect_appearance"][index, row] == instances.APPEARANCES.index("bright")
            assert made["defect_layer"][index, row] == 0  # on top, though its site is of the lowest layer
    assert n_seen
