"""Crops around isolated defects and episodes of them: held against the store's own table, by slow and plain means."""

import csv
import json

import numpy as np
import pytest
from scipy.interpolate import RectBivariateSpline

from stmfab import cli, factory, recipe, splits, store
from stmfab.export import crops
from stmfab.place import Folder

SAMPLES, PIXELS = 48, 48
CROP_nm, ISOLATION_nm = 1.1, 0.5
SETTINGS = [
    f"scan.pixels={PIXELS}",
    "sample.defects.bottom_vacancy=null",
    "sample.defects.bottom_dopant=null",
    "sample.defects.top_vacancy.density_per_nm2=0.25",
    "sample.defects.top_dopant.density_per_nm2=0.25",
    "junctions={filled: {polarity: -1, offset_x_nm: {uniform: [-0.2, 0.2]}}, empty: {polarity: 1}}",
    "channels=[topography]",
]
ASKED = ["--to", "episodes", "--crop-nm", str(CROP_nm), "--isolation-nm", str(ISOLATION_nm), "--pixels", "20"]
EPISODES = ["--n-way", "2", "--k-shot", "2", "--n-query", "3", "--n-episodes", "25"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("episodes") / "made.zarr"
    factory.generate(recipe.load("wse2-demo", samples=SAMPLES, overrides=SETTINGS), Folder(path), jobs=1)
    return path


@pytest.fixture(scope="module")
def held(place):
    opened = store.open_store(Folder(place))
    return {spec.name: store.read(opened, spec.name, 0, SAMPLES) for spec in opened.layout.arrays}


@pytest.fixture(scope="module")
def exported(place):
    out = place.with_name("crops")
    assert cli.run(["export", str(place), str(out), *ASKED, *EPISODES, "--folders", "--inverted"]) == 0
    return out


def index_of(folder):
    with (folder / "index.csv").open() as file:
        return list(csv.DictReader(file))


def upright(folder):
    """The crops and their lines of the index, without those upside down."""
    rows = index_of(folder)
    kept = [place for place, row in enumerate(rows) if not row["class"].endswith("-inv")]
    return np.load(folder / "crops.npy")[kept], [rows[place] for place in kept]


def test_a_crop_of_waves_is_the_waves_about_its_own_centre():
    # cos(k x) is its own interpolant up to the error of a cubic spline, (k h)^4 / 30 or so of its height at h = 1
    rows, cols = np.mgrid[:60, :60].astype(float)
    image = np.cos(0.3 * rows + 0.1) + np.cos(0.25 * cols)
    places = np.array([[28.37, 31.81], [30.0, 25.5]])
    found = crops.cut(image, places, pixel_nm=0.05, crop_nm=1.0, pixels=40)
    steps = (np.arange(40) - 19.5) * 0.5
    for crop, (row, col) in zip(found, places, strict=True):
        exact = np.cos(0.3 * (row + steps) + 0.1)[:, None] + np.cos(0.25 * (col + steps))
        np.testing.assert_allclose(crop, exact - exact.mean(), atol=5e-4)
    assert found.dtype == np.float32


def test_pixels_coarser_than_the_image_see_its_mean_over_them():
    # white noise under a blur of variance (p^2 - 1) / 12 keeps 1 / (4 pi s^2) of its variance
    noise = np.random.default_rng(1).normal(size=(400, 400))
    pitch = 8.0
    found = crops.cut(noise, np.array([[200.0, 200.0]]), pixel_nm=1.0, crop_nm=40 * pitch, pixels=40)
    expected = 1 / (4 * np.pi * (pitch**2 - 1) / 12)
    assert found.var() == pytest.approx(expected, rel=0.15)  # 1600 numbers, hardly correlated: 3.5 % each way


def test_a_point_is_isolated_where_no_other_is_near():
    points_nm = np.random.default_rng(2).uniform(0, 5, (60, 2))
    for isolation_nm in (0.1, 0.4, 1.0):
        apart = np.hypot(*(points_nm[:, None] - points_nm).transpose(2, 0, 1)) + 1e9 * np.eye(60)
        expected = apart.min(axis=1) > isolation_nm
        np.testing.assert_array_equal(crops.isolated(points_nm, isolation_nm), expected)
    assert crops.isolated(points_nm[:1], 1.0).all()


def test_every_isolated_defect_within_the_frame_is_cut_out_and_no_other(exported, held):
    _, rows = upright(exported)
    found = {(int(row["scene"]), int(row["defect"])) for row in rows}
    expected = set()
    for scene in range(SAMPLES):
        half = CROP_nm / 2 / held["pixel_size_nm"][scene]
        count = held["defect_count"][scene]
        for slot in range(count):
            x_nm, y_nm = held["defect_x_nm"][scene], held["defect_y_nm"][scene]
            others = [np.hypot(x_nm[i] - x_nm[slot], y_nm[i] - y_nm[slot]) for i in range(count) if i != slot]
            places = np.concatenate([held["defect_row"][scene, :, slot], held["defect_col"][scene, :, slot]])
            fits = (places - half >= -0.5).all() and (places + half <= PIXELS - 0.5).all()
            if fits and all(distance > ISOLATION_nm for distance in others):
                expected.add((scene, slot))
    assert found == expected
    assert len(found) > 30


def test_crops_are_the_recorded_heights_of_every_junction_less_their_mean(exported, held):
    values, rows = upright(exported)
    assert (values.dtype, values.shape) == (np.float32, (len(rows), 2, 20, 20))
    np.testing.assert_allclose(values.mean(axis=(2, 3)), 0, atol=1e-7)
    steps_nm = (np.arange(20) - 9.5) * CROP_nm / 20
    pixels = np.arange(PIXELS)
    assert json.loads((exported / "classes.json").read_text())["junctions"] == ["empty", "filled"]
    finer = [row for row in zip(values, rows, strict=True) if float(row[1]["pixel_size_nm"]) >= CROP_nm / 20]
    assert len(finer) > 20
    for value, row in finer:  # the others are blurred
        scene, slot = int(row["scene"]), int(row["defect"])
        for junction in (0, 1):
            image = held["topography"][scene, junction].astype(float)
            steps = steps_nm / held["pixel_size_nm"][scene]
            at = [held[f"defect_{axis}"][scene, junction, slot] + steps for axis in ("row", "col")]
            other = RectBivariateSpline(pixels, pixels, image)(*at)
            inner = np.logical_and.outer(*((2 <= axis) & (axis <= PIXELS - 3) for axis in at))  # splines end unlike
            difference = (value[junction] - other)[inner]
            np.testing.assert_allclose(difference, difference.mean(), atol=0.005 * np.ptp(other))


def test_the_index_says_class_scene_place_and_split(exported, held, place):
    _, rows = upright(exported)
    columns = [c["name"] for c in store.open_store(Folder(place)).metadata["param"]["attributes"]["columns"]]
    kinds = ["vacancy", "dopant"]
    for row in rows:
        scene, slot = int(row["scene"]), int(row["defect"])
        assert row["class"] == row["kind"] == kinds[held["defect_kind"][scene, slot]]
        assert row["surface"] == "wse2-s"
        assert float(row["x_nm"]) == held["defect_x_nm"][scene, slot]
        assert float(row["rotation_deg"]) == held["param"][scene, columns.index("scan.rotation_deg")]
        assert scene in splits.members(np.arange(SAMPLES), row["split"])


def test_what_is_upside_down_is_a_class_of_its_own(exported):
    values, rows = np.load(exported / "crops.npy"), index_of(exported)
    ids = {row["id"]: place for place, row in enumerate(rows)}
    assert len(ids) == len(rows)
    turned = [row for row in rows if row["class"].endswith("-inv")]
    assert len(turned) == len(rows) / 2
    for row in turned:
        twin = ids[row["id"].removesuffix("-inv")]
        np.testing.assert_array_equal(values[int(row["crop"])], -values[twin])
        assert row["class"] == rows[twin]["class"] + "-inv"
        assert row["split"] == rows[twin]["split"]


def test_episodes_are_fixed_and_show_nothing_that_they_ask(exported, place, tmp_path):
    found, rows = json.loads((exported / "episodes.json").read_text()), index_of(exported)
    assert len(found["episodes"]["train"]) == 25
    for episode in found["episodes"]["train"]:
        assert len(set(episode["classes"])) == 2
        for name, support, query in zip(episode["classes"], episode["support"], episode["query"], strict=True):
            assert (len(support), len(query), len(set(support) | set(query))) == (2, 3, 5)
            assert {(rows[crop]["class"], rows[crop]["split"]) for crop in support + query} == {(name, "train")}
    for split, why in found["none_because"].items():
        assert found["episodes"][split] == []
        assert "crops or more" in why
    again = tmp_path / "again"
    arguments = ["export", str(place), str(again), *ASKED, *EPISODES, "--folders", "--inverted"]
    assert cli.run([*arguments, "--seed", "0"]) == 0
    assert (again / "episodes.json").read_bytes() == (exported / "episodes.json").read_bytes()
    other = tmp_path / "other"
    assert cli.run(["export", str(place), str(other), *ASKED, *EPISODES, "--inverted", "--seed", "1"]) == 0
    assert json.loads((other / "episodes.json").read_text())["episodes"] != found["episodes"]


def test_folders_hold_every_crop_as_numbers_and_as_a_picture(exported):
    image_module = pytest.importorskip("PIL.Image")
    values, rows = np.load(exported / "crops.npy"), index_of(exported)
    for row in rows:
        path = exported / "folders" / row["split"] / row["class"] / f"{row['id']}.npy"
        crop = values[int(row["crop"])]
        np.testing.assert_array_equal(np.load(path), crop)
        with image_module.open(path.with_suffix(".png")) as opened:
            levels, text = np.asarray(opened.convert("RGB")).astype(float), opened.text
        scale = float(text["scale"])
        found = float(text["offset"]) + scale * np.moveaxis(levels, -1, 0)[:2]
        np.testing.assert_allclose(found, crop, atol=0.501 * scale)
    for split in splits.SPLITS:
        easy = json.loads((exported / "folders" / f"easyset_{split}.json").read_text())
        pictures = [list((exported / root).glob("*.png")) for root in easy["class_roots"]]
        counted = {name: len(found) for name, found in zip(easy["class_names"], pictures, strict=True)}
        assert counted == {
            name: n for name in counted if (n := sum((r["class"], r["split"]) == (name, split) for r in rows))
        }


def test_one_junction_alone(place, exported, tmp_path):
    out = tmp_path / "filled"
    assert cli.run(["export", str(place), str(out), *ASKED, *EPISODES, "--single-junction", "filled"]) == 0
    values, rows = np.load(out / "crops.npy"), index_of(out)
    both = {row["id"]: value for value, row in zip(*upright(exported), strict=True)}
    assert values.shape[1] == 1
    shared = [(value[0], both[row["id"]][1]) for value, row in zip(values, rows, strict=True) if row["id"] in both]
    assert len(shared) == len(both)  # a crop that fits in both images fits in one
    for one, of_both in shared:
        np.testing.assert_array_equal(one, of_both)


def test_classes_can_be_apart_in_place_of_scenes(place, tmp_path):
    out = tmp_path / "by-class"
    arguments = [*ASKED, *EPISODES, "--split-by", "class", "--class-by", "kind", "--inverted"]
    assert cli.run(["export", str(place), str(out), *arguments]) == 0
    rows = index_of(out)
    where = {row["class"].removesuffix("-inv"): row["split"] for row in rows}
    assert all(row["split"] == where[row["class"].removesuffix("-inv")] for row in rows)


def test_a_mistake_is_one_line(place, tmp_path, capsys):
    out = str(tmp_path / "out")
    for arguments, words in (
        ([*ASKED, "--single-junction", "full"], "no such junction; legal: empty, filled"),
        ([*ASKED, "--arrays", "events"], "choose an image in nm"),
        (["--to", "gsf", "--crop-nm", "2"], "--crop-nm is for --to episodes"),
        ([*ASKED, "--split-by", "class", "--split", "test"], "leave out --split"),
        (["--to", "episodes", "--n-way", "1"], "1 is not in the range x>=2"),
    ):
        assert cli.run(["export", str(place), out, *arguments]) == 2
        assert words in capsys.readouterr().err
