"""What other programs find in a store: CF, coordinates, OME-Zarr, flags; no warning, and no sample changed by it."""

import dataclasses
import json
import shutil
import warnings

import numpy as np
import pytest
import zarr

from stmfab import cli, conventions, dataset, receipts, recipe, store, upkeep, verify
from stmfab.errors import StoreError
from stmfab.physics import path
from stmfab.place import Folder
from tests import stub

SAMPLES = 40


def build(place, *overrides):
    chosen = recipe.load("wse2-defects", samples=SAMPLES, overrides=list(overrides))
    made = store.create(Folder(place), chosen)
    for shard in range(made.layout.n_shards):
        store.write_shard(made, shard, stub.simulate(chosen, *made.layout.bounds(shard)), begun_s=0.0)
    store.finalise(made)
    return chosen


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    place = tmp_path_factory.mktemp("drawn") / "drawn.zarr"
    build(place)
    return place


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    place = tmp_path_factory.mktemp("fixed") / "fixed.zarr"
    build(place, "scan.size_nm=3.2")
    return place


@pytest.fixture(params=["drawn", "fixed"])
def place(request):
    return request.getfixturevalue(request.param)


def test_xarray_takes_pixels_as_coordinates_without_a_warning(place):
    xarray = pytest.importorskip("xarray")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for opened in (xarray.open_zarr(place), dataset.open_dataset(place)):
            assert opened["topography"].coords["y"].dims == ("y",)
            assert (opened["x"].attrs["axis"], opened["y"].attrs["axis"]) == ("X", "Y")
            assert opened["topography"].dtype == np.float32
            assert opened["events"].dtype == np.uint8
            assert opened["defect_kind"].dtype == np.int16


def test_coordinates_are_the_nominal_raster(fixed):
    # without rotation and offset the sample frame is the frame of the scan
    chosen = recipe.load("wse2-defects", overrides=["scan.size_nm=3.2", "scan.rotation_deg=0"])
    raster = next(part for part in chosen.parts if part.path == "scan").build({})
    x_nm, y_nm = path.nominal_raster(raster)
    root = zarr.open_group(fixed, mode="r")
    np.testing.assert_allclose(np.broadcast_to(root["x"][:], x_nm.shape), x_nm, atol=1e-12)
    np.testing.assert_allclose(np.broadcast_to(root["y"][:][:, None], y_nm.shape), y_nm, atol=1e-12)
    assert root["x"].attrs["units"] == "nm"


def test_coordinates_of_frames_of_drawn_size_are_in_widths_of_the_frame(drawn):
    x = zarr.open_group(drawn, mode="r")["x"]
    assert x.attrs["units"] == "1"
    np.testing.assert_allclose(x[:] * 64, np.arange(64) - 31.5, atol=1e-12)


def test_root_states_row_zero_the_directions_and_the_means(place):
    root = zarr.open_group(place, mode="r")
    assert "row 0 is the smallest y" in root.attrs["frames"]
    assert "row 0 is the smallest y" in root["y"].attrs["direction"]
    assert root.attrs["Conventions"].startswith("CF-1.")
    found = root.attrs["statistics"]["topography"]
    assert found["mean"] == pytest.approx(float(root["topography"][:].mean(dtype=np.float64)))
    assert found["deviation"] == pytest.approx(float(root["topography"][:].std(dtype=np.float64)))


def test_flags_decode_codes_to_the_same_words_as_categories(place):
    root = zarr.open_group(place, mode="r")
    for name in ("defect_kind", "defect_name", "defect_species", "defect_site", "defect_layer"):
        words = root[name].attrs
        assert dict(zip(words["flag_values"], words["flag_meanings"].split(), strict=True)) == dict(
            enumerate(words["categories"])
        )
    events = root["events"].attrs
    assert dict(zip(events["flag_masks"], events["flag_meanings"].split(), strict=True)) == conventions.EVENTS


def test_ome_zarr_models_accepts_the_store_as_an_image(place):
    v05 = pytest.importorskip("ome_zarr_models.v05", reason="ome-zarr-models is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = v05.Image.from_zarr(zarr.open_group(place, mode="r"))
    found = {multiscale.name: multiscale for multiscale in image.attributes.ome.multiscales}
    assert list(found) == ["topography", "topography_backward", "lattice", "defects", "ideal", "events"]
    assert [axis.name for axis in found["ideal"].axes] == ["sample", "y", "x"]


def test_ome_zarr_scale_is_the_pixel_pitch_in_nanometres(fixed):
    multiscale = zarr.open_group(fixed, mode="r").attrs["ome"]["multiscales"][0]
    scale, translation = multiscale["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [1.0, 0.05, 0.05]
    assert translation["translation"][1] == pytest.approx(zarr.open_group(fixed, mode="r")["y"][0])
    assert [axis.get("unit") for axis in multiscale["axes"]] == [None, "nanometer", "nanometer"]


def test_no_unit_is_claimed_where_the_pitch_differs_from_sample_to_sample(drawn):
    multiscale = zarr.open_group(drawn, mode="r").attrs["ome"]["multiscales"][0]
    assert [axis.get("unit") for axis in multiscale["axes"]] == [None, None, None]


@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_damaged_coordinates_are_a_fault_and_are_mended(fixed, tmp_path, how):
    shutil.copytree(fixed, tmp_path / "copy.zarr")
    made = store.open_store(Folder(tmp_path / "copy.zarr"))
    file, whole = made.place.root / "y" / "c" / "0", made.place.read("y/c/0")
    file.unlink() if how == "missing" else file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert [(fault.shard, fault.array) for fault in verify.quick_faults(made)] == [(None, "y/c/0")]
    assert upkeep.repair(made, recipe.load("wse2-defects", samples=SAMPLES, overrides=["scan.size_nm=3.2"]), []) == []
    assert made.place.read("y/c/0") == whole
    assert verify.quick_faults(made) == []


def test_a_store_of_an_older_format_is_refused_in_a_line(drawn, tmp_path, capsys):
    shutil.copytree(drawn, tmp_path / "old.zarr")
    document = tmp_path / "old.zarr" / "zarr.json"
    root = json.loads(document.read_text())
    root["attributes"]["format"] = oldest = min(store.READ) - 1
    document.write_text(json.dumps(root))
    with pytest.raises(StoreError, match=f"format {oldest}; this stmfab reads formats 8 and 9"):
        store.open_store(Folder(tmp_path / "old.zarr"))
    assert cli.run(["generate", "wse2-defects", str(tmp_path / "old.zarr"), "-n", str(SAMPLES)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_store_without_the_species_of_its_defects_is_read_and_not_written_on(drawn, tmp_path, capsys):
    # format 8 was this one but for that column
    old = tmp_path / "old.zarr"
    shutil.copytree(drawn, old)
    shutil.rmtree(old / "defect_species")
    root = json.loads((old / "zarr.json").read_text())
    del root["consolidated_metadata"]["metadata"]["defect_species"]
    root["attributes"]["format"] = 8
    root["attributes"]["arrays"].remove("defect_species")
    (old / "zarr.json").write_text(json.dumps(root))
    for file in (old / "receipts").glob("0*.json"):
        receipt = receipts.from_bytes(file.read_bytes())
        kept = {name: record for name, record in receipt.arrays.items() if name != "defect_species"}
        file.write_bytes(receipts.to_bytes(dataclasses.replace(receipt, arrays=kept)))
    opened = store.open_store(Folder(old))
    assert verify.full_faults(opened) == []
    assert cli.run(["inspect", str(old), "--sample", "3"]) == 0
    assert "species" not in capsys.readouterr().out
    assert cli.run(["export", str(old), str(tmp_path / "coco"), "--to", "coco"]) == 0
    assert cli.run(["inspect", str(old), "--recheck", "1"]) == 2
    assert "a store of format 8: only the stmfab that made it" in capsys.readouterr().err
    known = json.loads((tmp_path / "coco" / "annotations" / "instances_test.json").read_text())["categories"]
    assert known[0]["name"] == "vacancy"
    capsys.readouterr()
    assert cli.run(["export", str(old), str(tmp_path / "crops"), "--to", "episodes", "--class-by", "species"]) == 2
    assert "has no species of its defects; legal: --class-by kind or name" in capsys.readouterr().err
    assert cli.run(["generate", "wse2-defects", str(old), "-n", str(SAMPLES), "--repair"]) == 2
    assert "defect_species" in capsys.readouterr().err
