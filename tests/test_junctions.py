"""Several junctions over one sample: in the recipe, in the arrays, and in everything that reads them."""

import json
import warnings

import numpy as np
import pytest

import stmfab
from stmfab import cli, gallery, store
from stmfab import plan as plans
from stmfab import recipe as recipes
from stmfab.errors import RecipeError
from stmfab.physics.arrays import ArraySpec
from stmfab.place import Folder

TWO = """
extends: wse2-defects
name: two
seed: 5
scan: {pixels: 24, size_nm: {uniform: [1.5, 3]}}
junction: {bias_V: null, polarity: 1}
junctions:
  filled: {bias_V: {uniform: [-0.5, -0.2]}}
  empty: {bias_V: 0.4}
channels: [topography, current]
targets:
  clean: {kind: clean}
  instances: {kind: instances, threshold_pm: 2}
"""
OFFSET = """  off: {bias_V: 0.4, offset_x_nm: 0.25, offset_y_nm: {uniform: [-0.1, 0.1]}}
channels"""


@pytest.fixture
def recipe(tmp_path):
    def write(text=TWO, name="two.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.yaml").write_text(TWO)
    out = folder / "two.zarr"
    assert cli.run(["generate", str(folder / "two.yaml"), str(out), "-n", "10", "-j", "1"]) == 0
    return out


def test_a_junction_has_its_own_keys_and_shares_the_others(recipe):
    plan = stmfab.load(recipe()).plan
    assert plan.junctions == ("empty", "filled")
    columns = plans.draw(plan, 0, 50)
    assert "junction.bias_V" not in columns
    for index in range(50):
        drawn = plans.parameters(plan, columns, index)
        empty, filled = drawn.junctions.values()
        assert (empty.bias_V, filled.bias_V) == (0.4, columns["junctions.filled.bias_V"][index])
        assert empty.kappa_per_nm == filled.kappa_per_nm == columns["junction.kappa_per_nm"][index]
        assert empty.height_nm == filled.height_nm == columns["junction.height_nm"][index]
        assert drawn.junction is empty


def test_a_setpoint_current_takes_the_place_of_a_setpoint_height(recipe):
    text = TWO.replace("{bias_V: 0.4}", "{bias_V: 0.4, current_nA: 0.2}")
    plan = stmfab.load(recipe(text)).plan
    empty, filled = plans.parameters(plan, plans.draw(plan, 0, 1), 0).junctions.values()
    assert (empty.height_nm, empty.current_nA) == (None, 0.2)
    assert filled.height_nm is not None
    assert filled.current_nA is None


def test_the_same_junction_twice_sees_the_same_sample_with_other_noise(recipe):
    text = TWO.replace("{uniform: [-0.5, -0.2]}", "0.4")
    made = stmfab.load(recipe(text)).sample(3)
    np.testing.assert_array_equal(made["clean"][0], made["clean"][1])
    np.testing.assert_array_equal(made["defect_apparent_height_pm"][0], made["defect_apparent_height_pm"][1])
    assert not np.array_equal(made["topography"][0], made["topography"][1])


def test_a_junction_alone_or_beside_another_is_the_same(recipe):
    both = stmfab.load(recipe())
    alone = stmfab.load(recipe(TWO.replace("  empty: {bias_V: 0.4}\n", ""), "one.yaml"))
    ours, theirs = both.sample(2), alone.sample(2)
    for name in ("topography", "current", "clean", "instances", "defect_visibility"):
        np.testing.assert_array_equal(theirs[name], ours[name][1:], err_msg=name)
    for name in ("defect_x_nm", "defect_row", "defect_kind"):
        np.testing.assert_array_equal(theirs[name], ours[name], err_msg=name)


def test_one_junction_by_name_sees_what_one_without_a_name_does(recipe):
    quiet = "instrument: {noise: {white: null}}\nchannels"
    named = (
        TWO.replace("  empty: {bias_V: 0.4}\n", "").replace("{uniform: [-0.5, -0.2]}", "0.3").replace("channels", quiet)
    )
    plain = named.replace("bias_V: null", "bias_V: 0.3").replace("junctions:\n  filled: {bias_V: 0.3}\n", "")
    ours, theirs = (stmfab.load(recipe(text)).sample(1) for text in (named, plain))
    for name in ("topography", "clean", "current"):
        np.testing.assert_array_equal(ours[name][0], theirs[name])


def test_a_scan_is_off_by_its_offset_along_the_axes_of_its_frame(recipe):
    text = TWO.replace("channels", OFFSET).replace("targets:", "targets:\n  at: {kind: path}")
    loaded = stmfab.load(recipe(text))
    columns = plans.draw(loaded.plan, 4, 5)
    made, turn = loaded.sample(4), np.radians(columns["scan.rotation_deg"][0])
    assert [spec.dims for spec in loaded.plan.arrays if spec.name == "at_x_nm"] == [("junction", "y", "x")]
    empty, filled, off = range(3)
    moved = np.array([made[f"at_{axis}_nm"][off] - made[f"at_{axis}_nm"][empty] for axis in "xy"])
    along = np.array([0.25, columns["junctions.off.offset_y_nm"][0]])
    cos, sin = np.cos(turn), np.sin(turn)
    expected = np.array([[cos, -sin], [sin, cos]]) @ along
    np.testing.assert_allclose(
        moved, np.broadcast_to(expected[:, None, None], moved.shape), atol=5e-5
    )  # a tilt of 1 degree: 1.5e-4 of it
    np.testing.assert_array_equal(made["at_x_nm"][filled], made["at_x_nm"][empty])
    pitch = made["pixel_size_nm"]
    for name, shift_nm in (("defect_col", along[0]), ("defect_row", along[1])):
        shown = made["defect_in_view"][empty] & made["defect_in_view"][off]
        assert shown.any()
        # a pixel's own width of the path stands for its slope: creep and jitter bend it
        np.testing.assert_allclose((made[name][empty] - made[name][off])[shown], shift_nm / pitch, atol=1.5)


def test_without_offsets_what_the_path_decides_is_there_once(recipe):
    text = TWO.replace("targets:", "targets:\n  at: {kind: path}\n  top: {kind: defects}\n  ideal: {kind: ideal}")
    dims = {spec.name: spec.dims for spec in stmfab.load(recipe(text)).plan.arrays}
    assert dims["at_x_nm"] == dims["top"] == ("y", "x")
    assert dims["topography"] == dims["ideal"] == dims["instances"] == ("junction", "y", "x")
    assert dims["defect_row"] == ("defect",)
    assert dims["defect_visibility"] == ("junction", "defect")
    assert dims["instances_noise_pm"] == ("junction",)


def test_derived_numbers_are_each_junctions_own(recipe):
    made = stmfab.load(recipe())
    names = [column.name for column in made.plan.record_columns]
    row = dict(zip(names, made.sample(0)["param"], strict=True))
    assert row["junctions.empty.setpoint_nA"] > 0 > row["junctions.filled.setpoint_nA"]
    assert "setpoint_nA" not in row


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("{bias_V: 0.4}", "{kappa_per_nm: 9}"), "9:3: junctions.empty.bias_V: missing; legal: a number"),
        (("bias_V: 0.4", "bias_V: 0.4, bais: 1"), "9:24: junctions.empty.bais: unknown key; did you mean 'bias_V'?"),
        (("bias_V: 0.4", "bias_V: 0.4, kappa_per_nm: -1"), "9:38: junctions.empty.kappa_per_nm: found -1; legal: a"),
        (("polarity: 1", "polarity: {choice: [-1, 1]}"), "6:36: junction.polarity: drawn beside junctions; legal: -1"),
        (("filled: {", "2nd: {"), "8:3: junctions.2nd: legal names: a letter or '_'"),
        (("{bias_V: 0.4}", "0.4"), "9:10: junctions.empty: found 0.4; legal: a mapping (several junctions"),
        (("bias_V: null", "bias_V: null, kappa_per_nm: -1"), "6:40: junction.kappa_per_nm: found -1; legal: a number"),
        (
            ("{bias_V: 0.4}", "{bias_V: 0.4, current_nA: 1, height_nm: 1}"),
            "9:50: junctions.empty.height_nm: found height_nm and current_nA; legal: exactly one",
        ),
    ],
)
def test_a_mistake_is_one_line(recipe, change, fault):
    with pytest.raises(RecipeError) as caught:
        stmfab.load(recipe(TWO.replace(*change)))
    (line,) = caught.value.faults
    assert f"two.yaml:{fault}" in line


def test_a_bias_in_the_gap_is_found_in_every_junction(recipe):
    text = "extends: mos2-defects\nname: gap\njunctions:\n  filled: {bias_V: -1.5}\n  inside: {bias_V: -0.5}\n"
    with pytest.raises(RecipeError) as caught:
        stmfab.load(recipe(text))
    (line,) = caught.value.faults
    assert "two.yaml:5:20: junctions.inside.bias_V: at -0.5 V the window" in line


def test_the_resolved_recipe_gives_the_same_samples(recipe, tmp_path, capsys):
    path = recipe()
    assert cli.run(["check", path]) == 0
    text = capsys.readouterr().out
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(text)
    first, again = stmfab.load(path), stmfab.load(str(resolved))
    assert first.plan.identity == again.plan.identity
    np.testing.assert_array_equal(first.sample(1)["topography"], again.sample(1)["topography"])


def test_the_schema_knows_junctions():
    schema = json.dumps(recipes.schema())
    assert "offset_x_nm" in schema


def test_an_array_of_each_junction_comes_apart_and_together():
    one = ArraySpec("current", ("y", "x"), (4, 5), "float32", "nA", "tunnelling current", "image")
    both = one.of_each(["a", "b"])
    assert (both.dims, both.shape, both.is_image) == (("junction", "y", "x"), (2, 4, 5), True)
    assert list(both.apart()) == ["current.a", "current.b"]
    alone = both.apart()["current.a"]
    assert (alone.name, alone.shape, alone.long_name) == ("current.a", (4, 5), "tunnelling current; a")
    assert one.of_each([]) == one
    assert one.apart() == {"current": one}


def test_a_store_names_its_junctions(place):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import xarray

        plain = xarray.open_zarr(place)
        named = stmfab.open(place)
    assert plain["topography"].dims == ("sample", "junction", "y", "x")
    assert plain["junction"].attrs["flag_meanings"] == "empty filled"
    assert named["junction"].values.tolist() == ["empty", "filled"]
    dataset = store.open_store(Folder(place))
    held = store.read(dataset, "topography", 0, 10)
    np.testing.assert_array_equal(named["topography"].sel(junction="filled"), held[:, 1])
    assert dataset.layout.array("topography").junctions == ("empty", "filled")
    multiscale = dataset.attributes["ome"]["multiscales"][0]
    assert [axis["name"] for axis in multiscale["axes"]] == ["sample", "junction", "y", "x"]
    assert all(len(step[step["type"]]) == 4 for step in multiscale["datasets"][0]["coordinateTransformations"])


def test_what_looks_at_a_store_shows_every_junction(place, tmp_path, capsys):
    for question in ([], ["--stats"], ["--sample", "3"], ["--recheck", "2"], ["--gallery", str(tmp_path / "g.png")]):
        assert cli.run(["inspect", str(place), *question]) == 0
    told = capsys.readouterr().out
    assert "topography.empty" in told
    assert "visibility.filled" in told
    assert cli.run(["inspect", str(place), "--html", str(tmp_path / "page.html")]) == 0
    assert "by visibility" in (tmp_path / "page.html").read_text()
    plan = stmfab.load(str(place.parent / "two.yaml")).plan
    names = [spec.name for spec in gallery.shown(plan.arrays)]
    assert names[:2] == ["topography.empty", "topography.filled"]
    rows = gallery.rows(
        {"param": np.zeros((1, 0)), **{name: np.zeros((1, 2, 2)) for name in names}},
        indices=[0],
        names=names,
        constants={
            "junction": {"polarity": -1},
            "junctions": {"a": {"bias_V": 0.5}, "b": {"bias_V": 1, "polarity": 1}},
        },
        columns=[],
    )
    assert "-0.50 +1.00 V" in rows[0].caption


@pytest.mark.parametrize("to", ["png", "coco", "hdf5", "parquet", "webdataset", "gsf", "ome-zarr"])
def test_every_format_has_one_image_a_junction(place, tmp_path, to):
    for module in {"hdf5": ["h5py"], "parquet": ["pyarrow"]}.get(to, []):
        pytest.importorskip(module, reason=f"{module} is not installed")
    out = tmp_path / to
    assert cli.run(["export", str(place), str(out), "--to", to]) == 0
    assert cli.run(["export", str(place), str(out), "--to", to, "--verify"]) == 0
    names = sorted(path.name for path in out.rglob("*.*"))
    if to in ("png", "gsf"):
        suffix = {"png": "png", "gsf": "gsf"}[to]
        assert {f"000000003.topography.{junction}.{suffix}" for junction in ("empty", "filled")} <= {*names}
    if to == "ome-zarr":
        (document,) = out.glob("*/000000003.zarr/zarr.json")
        shown = json.loads(document.read_text())["attributes"]["ome"]["omero"]["channels"]
        assert {"topography.empty, nm", "topography.filled, nm"} <= {channel["label"] for channel in shown}
    if to == "coco":
        assert {"000000003.empty.png", "000000003.filled.png"} <= {*names}
        _look_at_annotations(out, store.open_store(Folder(place)))


def _look_at_annotations(out, dataset):
    instances = store.read(dataset, "instances", 0, 10)
    visibility = store.read(dataset, "defect_visibility", 0, 10)
    slots, found = visibility.shape[-1], 0
    for path in (out / "annotations").glob("*.json"):
        document = json.loads(path.read_text())
        assert len({item["id"] for item in document["annotations"]}) == len(document["annotations"])
        files = {image["id"]: image["file_name"] for image in document["images"]}
        for item in document["annotations"]:
            sample, junction = divmod(item["image_id"], 2)
            assert files[item["image_id"]].endswith(f"{sample:09d}.{('empty', 'filled')[junction]}.png")
            row = (item["id"] - 1) % slots
            mask = instances[sample, junction] == row + 1
            assert item["area"] == mask.sum() > 0
            rows, cols = np.nonzero(mask)
            assert item["bbox"] == [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
            assert item["attributes"]["visibility"] == pytest.approx(visibility[sample, junction, row], rel=1e-6)
            found += 1
    assert found == sum(len(np.unique(image)) - 1 for image in instances.reshape(20, -1) if image.any())


def test_a_network_sees_the_junctions_as_channels(place):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from stmfab.torch import Dataset

    held = store.read(store.open_store(Folder(place)), "topography", 4, 5)[0]
    options = {"targets": ["clean.filled"], "standardise": ["topography"]}
    given = Dataset(place, inputs=("topography", "current.empty"), **options)
    inputs, targets = given[4]
    assert (inputs.shape, targets.shape) == ((3, 24, 24), (1, 24, 24))
    raw = Dataset(place, inputs=("topography.filled",), targets=["clean"])[4][0]
    torch.testing.assert_close(raw[0], torch.from_numpy(held[1]))
    scaled = inputs[1] - inputs[0]
    whole = stmfab.open(place)["topography"].to_numpy().astype(float)
    torch.testing.assert_close(
        scaled, torch.from_numpy((held[1] - held[0]) / whole.std()).float(), rtol=1e-3, atol=1e-3
    )
    assert list(given.units) == ["topography.empty", "topography.filled", "current.empty", "clean.filled"]
