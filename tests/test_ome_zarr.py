"""Stores as OME-Zarr, read by the library that napari opens them with: images, label layers, nanometres."""

import errno
import json
import logging
import shutil
import warnings

import numpy as np
import pytest
import zarr

from stmfab import cli, factory, growth, metadata, recipe, splits, store, verify
from stmfab.place import Folder

SAMPLES = 7
READERS_OWN = ("DeprecationWarning", "FutureWarning", "ResourceWarning", "UserWarning")  # calls that grow old
pytestmark = [pytest.mark.filterwarnings(f"ignore::{silent}") for silent in READERS_OWN]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("ome") / "made.zarr"
    settings = ["channels=[topography, current]", "targets.state={kind: tip_state}"]
    settings += ["instrument.tip_jumps={per_frame: 3, height_pm: 50}"]
    factory.generate(recipe.load("wse2-demo", samples=SAMPLES, overrides=settings), Folder(path), jobs=1)
    return path


@pytest.fixture(scope="module")
def exported(place):
    out = place.with_name("ome")
    assert cli.run(["export", str(place), str(out), "--to", "ome-zarr"]) == 0
    return out


@pytest.fixture(scope="module")
def held(place):
    opened = store.open_store(Folder(place))
    return {spec.name: store.read(opened, spec.name, 0, SAMPLES) for spec in opened.layout.arrays}


def images(folder):
    """Index and path of every exported image."""
    indices = np.arange(SAMPLES)
    return [(i, folder / s / f"{i:09d}.zarr") for s in splits.SPLITS for i in splits.members(indices, s)]


def nodes(path):
    """What the reader of ome-zarr finds at a path, by the last part of its name."""
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed")
    io = pytest.importorskip("ome_zarr.io")
    logging.getLogger("ome_zarr").setLevel(logging.ERROR)
    return {str(node.zarr.basename()): node for node in reader.Reader(io.parse_url(path))()}


def test_ome_zarr_reads_the_images_as_channels_of_a_layer(exported, held):
    for index, path in images(exported):
        node = nodes(path)[path.name]
        names = ["topography", "current", "lattice", "defects", "ideal"]
        units = ["nm", "nA", None, None, "nm"]
        labels = [name if unit is None else f"{name}, {unit}" for name, unit in zip(names, units, strict=True)]
        assert node.metadata["channel_names"] == labels
        assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "y", "x"]
        found = np.asarray(node.data[0])
        for channel, name in enumerate(names):
            np.testing.assert_array_equal(found[channel], held[name][index])
            low, high = node.metadata["contrast_limits"][channel]
            assert low == pytest.approx(held[name][index].min())
            assert high == pytest.approx(held[name][index].max()) or held[name][index].max() == low


def test_ome_zarr_reads_the_integers_as_label_layers(exported, held):
    seen = 0
    for index, path in images(exported):
        found = nodes(path)
        for name in ("events", "state", "state_raised"):
            np.testing.assert_array_equal(np.asarray(found[name].data[0]), held[name][index])
        events = found["events"].metadata.get("properties", {})
        assert set(events) - {0} == set(np.unique(held["events"][index])) - {0}
        seen += sum("jump_of_the_tip" in words["name"] for words in events.values())
    assert seen > 0


def test_every_defect_in_view_is_an_instance_with_its_attributes(exported, held):
    for index, path in images(exported):
        node = nodes(path)["defect_instances"]
        labels, words = np.asarray(node.data[0]), node.metadata.get("properties", {})
        words.pop(0, None)
        assert set(words) == set(np.unique(labels)) - {0}
        places = np.stack([held["defect_row"][index], held["defect_col"][index]], axis=-1)
        kinds = ["vacancy", "dopant"]
        for number, one in words.items():
            assert one["kind"] == kinds[held["defect_kind"][index, number - 1]]
            np.testing.assert_allclose((one["row"], one["col"]), places[number - 1])
        inside = np.flatnonzero(held["defect_in_view"][index])
        apart = [slot for slot in inside if (np.hypot(*(places[inside] - places[slot]).T) < 1).sum() == 1]
        for slot in apart:  # one below another shares its pixels
            row, col = np.clip(np.rint(places[slot]).astype(int), 0, 63)
            assert labels[row, col] == slot + 1


def test_the_scale_of_image_and_labels_is_in_nanometres_from_the_centre(exported, held):
    for index, path in images(exported):
        pitch_nm = held["pixel_size_nm"][index]
        for name, node in nodes(path).items():
            if not node.data:
                continue  # the folder of the labels
            scale, translation = node.metadata["coordinateTransformations"][0]
            np.testing.assert_allclose(scale["scale"][-2:], pitch_nm)
            np.testing.assert_allclose(translation["translation"][-2:], -31.5 * pitch_nm)
            assert [axis["unit"] for axis in node.metadata["axes"][-2:]] == ["nanometer"] * 2, name


def test_ome_zarr_models_accepts_images_and_labels(exported):
    v05 = pytest.importorskip("ome_zarr_models.v05", reason="ome-zarr-models is not installed")
    for _, path in images(exported):
        image = v05.Image.from_zarr(zarr.open_group(path, mode="r"))
        assert set(image.labels.label_paths) == {"events", "state", "state_raised", "defect_instances"}
        for name in image.labels.label_paths:
            v05.ImageLabel.from_zarr(zarr.open_group(path / "labels" / name, mode="r"))


def test_parameters_of_the_sample_are_in_the_image(exported, held, place):
    columns = store.open_store(Folder(place)).metadata["param"]["attributes"]["columns"]
    names = [column["name"] for column in columns]
    for index, path in images(exported):
        words = json.loads((path / "zarr.json").read_text())["attributes"]["stmfab"]
        assert words["sample"] == index
        assert words["parameters"]["junction.bias_V"] == held["param"][index, names.index("junction.bias_V")]


def test_ome_zarr_reads_the_store_itself_as_a_stack_of_its_first_image(place, held):
    node = nodes(place)["made.zarr"]
    np.testing.assert_array_equal(np.asarray(node.data[0]), held["topography"])
    assert [axis["name"] for axis in node.metadata["axes"]] == ["sample", "y", "x"]


def test_ome_zarr_reads_label_layers_in_the_store_itself_without_a_copy(place, held):
    found = nodes(place)
    for name in ("events", "state", "state_raised"):
        node = found[name]
        np.testing.assert_array_equal(np.asarray(node.data[0]), held[name])
        assert [axis["name"] for axis in node.metadata["axes"]] == ["sample", "y", "x"]
        assert node.metadata["coordinateTransformations"] == found["made.zarr"].metadata["coordinateTransformations"]
        link = place / "labels" / name / "0"
        assert link.is_symlink()
        assert (link / "zarr.json").samefile(place / name / "zarr.json")
        assert not link.readlink().is_absolute()  # so that the store can be moved
    words = found["events"].metadata["properties"]
    assert (words[8]["name"], words[24]["name"]) == ("jump_of_the_tip", "jump_of_the_tip, streak")
    assert "properties" not in found["state"].metadata


def test_label_layers_are_labels_to_ome_zarr_models(place):
    v05 = pytest.importorskip("ome_zarr_models.v05", reason="ome-zarr-models is not installed")
    image = v05.Image.from_zarr(zarr.open_group(place, mode="r"))
    assert set(image.labels.label_paths) == {"events", "state", "state_raised"}
    for name in image.labels.label_paths:
        v05.ImageLabel.from_zarr(zarr.open_group(place / "labels" / name, mode="r"))


def test_label_layers_change_nothing_for_other_readers(place, held, tmp_path):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    moved = tmp_path / "moved.zarr"
    shutil.copytree(place, moved, symlinks=True)
    np.testing.assert_array_equal(np.asarray(nodes(moved)["events"].data[0]), held["events"])
    plain = [spec.name for spec in store.open_store(Folder(place)).layout.arrays]
    for gone in (False, True):  # whoever takes the layers away takes nothing else
        if gone:
            shutil.rmtree(moved / "labels")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dataset = xarray.open_zarr(moved)
        assert {*dataset.data_vars} == {*plain}
        np.testing.assert_array_equal(dataset["events"], held["events"])
        assert verify.full_faults(store.open_store(Folder(moved))) == []


def test_label_layers_grow_with_their_store(place, tmp_path):
    grown = tmp_path / "grown.zarr"
    shutil.copytree(place, grown, symlinks=True)
    tree = store.open_store(Folder(place)).attributes["recipe"]
    longer = recipe.stored(json.loads(json.dumps({**tree, "samples": SAMPLES + 2})), "grown")
    growth.extend(Folder(grown), longer)
    assert np.asarray(nodes(grown)["events"].data[0]).shape == (SAMPLES + 2, 64, 64)
    labels = zarr.open_group(grown, mode="r")["labels"]  # from the consolidated metadata
    assert labels["events/0"].shape == (SAMPLES + 2, 64, 64)


def test_where_there_are_no_links_a_store_has_no_label_layers(monkeypatch, tmp_path):
    def refused(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    plan = recipe.load("wse2-demo", samples=2, overrides=["scan.pixels=24"])
    monkeypatch.setattr(type(tmp_path), "symlink_to", refused)
    made = store.create(Folder(tmp_path / "made.zarr"), plan)
    assert "labels" not in made.place.names("")
    assert "labels" not in zarr.open_group(tmp_path / "made.zarr", mode="r")
    assert made.place.names("events") == ["zarr.json"]


def test_classes_are_named_and_are_no_events():
    plan = recipe.load("ag111-corrals", samples=2)
    root = json.loads(metadata.documents(plan, metadata.planned(plan))["classes/zarr.json"])["attributes"]
    words = ["background", "adatom", "co", "vacancy", "substitutional", "step_edge"]
    assert (root["flag_values"], root["flag_meanings"].split()) == (list(range(6)), words)
    assert "flag_masks" not in root
