"""A store shows itself to any zarr reader, and cannot be torn, mixed or altered unseen."""

import dataclasses
import json
import resource
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr

from stmfab import dataset as datasets
from stmfab import layout, plan, provenance, receipts, recipe, store, verify
from stmfab.errors import DamagedError, DiskError, StoreError
from stmfab.physics.arrays import ArraySpec
from stmfab.place import Folder
from tests import stub

SAMPLES = 70  # two shards of 32 and one of 6


def build(path, made=(0, 1, 2), **options):
    chosen = recipe.load("wse2-defects", samples=SAMPLES, **options)
    dataset = store.create(Folder(path), chosen)
    for shard in made:
        store.write_shard(dataset, shard, stub.simulate(chosen, *dataset.layout.bounds(shard)), begun_s=0.0)
    return dataset


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "whole.zarr"
    dataset = build(path)
    store.finalise(dataset)
    return path


@pytest.fixture
def dataset(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy.zarr")
    return store.open_store(Folder(tmp_path / "copy.zarr"))


@pytest.mark.parametrize(("pixels", "chunk"), [(64, 32), (128, 8), (256, 2), (512, 1), (2048, 1)])
def test_chunk_holds_half_a_mebibyte_of_image_and_a_shard_sixteen(pixels, chunk):
    image = ArraySpec("topography", ("y", "x"), (pixels, pixels), "float32", "nm", "height", "image")
    for samples in (1, 100, 10_000, 10_000_000):
        cut = layout.layout(samples, (image,))
        assert cut.chunk == chunk
        assert cut.shard % chunk == 0
        assert cut.shard == chunk or cut.shard * layout.array_bytes(image) <= layout.SHARD_BYTES
        assert cut.bounds(cut.n_shards - 1)[1] == samples


def test_xarray_shows_every_array_with_dimensions_and_units_and_no_warning(finished):
    xarray = pytest.importorskip("xarray")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for consolidated in (None, True, False):
            shown = xarray.open_zarr(finished, consolidated=consolidated)
            for spec in recipe.load("wse2-defects", samples=SAMPLES).arrays:
                assert shown[spec.name].dims == ("sample", *spec.dims)
                assert shown[spec.name].attrs["units"] == spec.unit
                assert shown[spec.name].dtype == spec.dtype


def test_what_is_read_is_what_was_simulated(finished):
    chosen = recipe.load("wse2-defects", samples=SAMPLES)
    expected = stub.simulate(chosen, 0, SAMPLES)
    dataset = store.open_store(Folder(finished))
    for name, values in expected.items():
        np.testing.assert_array_equal(store.read(dataset, name, 0, SAMPLES), values)


def test_dataset_has_drawn_parameters_as_coordinates_with_choices_in_words(finished):
    pytest.importorskip("xarray")
    opened = datasets.open_dataset(finished)
    assert set(np.unique(opened["scan.fast_axis"])) == {"x", "y"}
    assert opened["junction.bias_V"].attrs["units"] == "V"
    assert opened.sizes["sample"] == SAMPLES


def test_dataset_of_an_unfinished_store_has_no_filled_samples(tmp_path):
    pytest.importorskip("xarray")
    build(tmp_path / "part.zarr", made=(0, 2))
    opened = datasets.open_dataset(tmp_path / "part.zarr")
    assert opened["sample"].values.tolist() == [*range(32), *range(64, 70)]
    assert np.isfinite(opened["topography"].values).all()


def test_root_says_what_made_the_dataset(dataset):
    chosen = recipe.load("wse2-defects", samples=SAMPLES)
    root = dataset.attributes
    assert plan.from_tree(root["recipe"]) == chosen
    assert root["recipe_sha256"] == provenance.recipe_sha256(chosen.tree)
    assert root["seed"] == chosen.seed
    assert root["versions"]["numpy"] == np.__version__
    assert root["identity"]["key"] == provenance.identity()["key"]


def test_finaliser_writes_the_statistics_numpy_finds(dataset):
    topography = store.read(dataset, "topography", 0, SAMPLES).astype(np.float64)
    found = store.open_store(dataset.place).attributes["statistics"]["topography"]
    assert found["mean"] == pytest.approx(topography.mean(), rel=1e-12)  # float64 sums of float32
    assert found["deviation"] == pytest.approx(topography.std(), rel=1e-9)  # one pass: cancels some digits
    assert found["maximum"] == topography.max()


def test_finalising_again_changes_no_byte(dataset):
    before = dataset.place.read(store.ROOT)
    store.finalise(dataset)
    assert dataset.place.read(store.ROOT) == before


def test_joining_a_store_of_the_same_recipe_is_allowed(dataset):
    joined = store.create(dataset.place, recipe.load("wse2-defects", samples=SAMPLES))
    assert store.made(joined) == {0, 1, 2}


def test_another_recipe_is_refused_and_the_differing_keys_are_named(dataset):
    other = recipe.load("wse2-defects", overrides=["junction.kappa_per_nm=10"], samples=SAMPLES, seed=3)
    with pytest.raises(
        StoreError, match=r"kappa_per_nm: \{\"uniform\": \[9(\.0)?, 11(\.0)?\]\} there, 10.*seed: \d+ there"
    ):
        store.create(dataset.place, other)


def test_arrays_declared_by_another_version_are_refused(dataset, monkeypatch):
    chosen = recipe.load("wse2-defects", samples=SAMPLES)
    fewer = chosen.arrays[1:]
    monkeypatch.setitem(chosen.__dict__, "arrays", fewer)
    with pytest.raises(StoreError, match=r"another version.*topography"):
        store.create(dataset.place, chosen)


@pytest.mark.parametrize("content", ["file", "folder", "zarr"])
def test_what_is_not_ours_is_left_alone(tmp_path, content):
    place = tmp_path / "theirs"
    if content == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / ("zarr.json" if content == "zarr" else "thesis.tex")).write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match="not"):
        build(place)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_may_become_a_store(tmp_path):
    (tmp_path / "new").mkdir()
    assert store.made(build(tmp_path / "new", made=(1,))) == {1}


def test_a_block_of_another_shape_or_type_is_refused(dataset):
    blocks = stub.simulate(recipe.load("wse2-defects", samples=SAMPLES), 0, 32)
    for wrong in (blocks["ideal"][:-1], blocks["ideal"].astype(np.float64)):
        with pytest.raises(ValueError, match="ideal"):
            store.write_shard(dataset, 0, {**blocks, "ideal": wrong}, begun_s=0.0)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
        return
    if how == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes({"emptied": b"", "truncated": bytes(data[:-1]), "flipped": bytes(data)}[how])


@pytest.mark.parametrize("how", ["missing", "emptied", "truncated", "flipped"])
def test_every_damaged_file_of_every_array_is_named(dataset, how):
    for spec in dataset.layout.arrays:
        damage(dataset.place.root / store.receipt_of(dataset, 1).arrays[spec.name].file, how)
    expected = {(1, spec.name) for spec in dataset.layout.arrays}
    assert {(fault.shard, fault.array) for fault in verify.full_faults(dataset)} == expected
    assert {(fault.shard, fault.array) for fault in verify.quick_faults(dataset)} == (
        expected if how != "flipped" else set()
    )


def test_a_whole_store_has_no_fault(dataset):
    assert verify.full_faults(dataset) == verify.quick_faults(dataset) == []
    assert verify.missing_shards(dataset) == []


def test_an_altered_receipt_is_a_fault(dataset):
    path = dataset.place.root / receipts.name(2)
    path.write_text(path.read_text().replace('"start": 64', '"start": 65'))
    assert [fault.shard for fault in verify.quick_faults(dataset)] == [2]


def test_a_receipt_of_another_shard_is_a_fault(dataset):
    folder = dataset.place.root / receipts.FOLDER
    shutil.copy(dataset.place.root / receipts.name(0), dataset.place.root / receipts.name(1))
    assert folder.exists()
    assert any(fault.shard == 1 for fault in verify.quick_faults(dataset))


def test_an_edited_recipe_is_a_fault(dataset):
    root = json.loads(dataset.place.read(store.ROOT))
    root["attributes"]["recipe"]["seed"] += 1
    dataset.place.write(store.ROOT, json.dumps(root).encode())
    faults = verify.quick_faults(store.open_store(dataset.place))
    assert [fault.shard for fault in faults] == [None]


def test_a_shard_without_receipt_does_not_exist(dataset):
    (dataset.place.root / receipts.name(1)).unlink()
    assert verify.missing_shards(dataset) == [1]


def test_a_damaged_shard_is_replaced_by_writing_it_again(dataset):
    for spec in dataset.layout.arrays:
        damage(dataset.place.root / store.receipt_of(dataset, 0).arrays[spec.name].file, "truncated")
    blocks = stub.simulate(recipe.load("wse2-defects", samples=SAMPLES), 0, 32)
    store.write_shard(dataset, 0, blocks, begun_s=0.0)
    assert verify.full_faults(dataset) == []


def test_a_disk_that_refuses_leaves_the_old_document(tmp_path):
    place = Folder(tmp_path)
    place.write("document", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DiskError, match="document: cannot write 200000 bytes"):
            place.write("document", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert place.read("document") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["document"]


def test_a_store_deleted_under_a_worker_is_not_begun_again(dataset):
    shutil.rmtree(dataset.place.root)
    with pytest.raises(DiskError):
        dataset.place.write("topography/c/0/0/0", b"late")
    assert not dataset.place.root.exists()


def test_receipt_survives_its_way_through_json(dataset):
    receipt = store.receipt_of(dataset, 2)
    assert receipts.from_bytes(receipts.to_bytes(receipt)) == receipt
    assert (receipt.start, receipt.stop) == (64, 70)


def test_statistics_skip_padding():
    record = receipts.record("", b"", np.array([1.0, np.nan, 3.0], np.float32))
    assert (record.count, record.mean, record.minimum, record.maximum) == (2, 2.0, 1.0, 3.0)
    empty = dataclasses.replace(record, count=0)
    assert empty.mean is None
    assert receipts.record("", b"", np.full(2, np.nan)).minimum is None


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float32", (64, 64)), ("float64", ()), ("bool", (5,)), ("uint8", (8, 8))]
)
@pytest.mark.parametrize("n_samples", [128, 70, 3])
def test_a_shard_is_byte_for_byte_what_zarr_writes(tmp_path, dtype, shape, n_samples):
    spec = ArraySpec("array", tuple("zyx"[3 - len(shape) :]), shape, dtype, "1", "any", "image")
    cut = layout.Layout(n_samples, 32, 128, (spec,))
    block = np.random.default_rng(5).uniform(0, 3, (n_samples, *shape)).astype(dtype)
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.create_array(
            tmp_path / "array",
            shape=block.shape,
            chunks=(cut.chunk_of(spec), *shape),
            shards=(cut.shard, *shape),
            dtype=dtype,
            fill_value=layout.fill_value(block.dtype),
            compressors=[
                zarr.codecs.BloscCodec(shuffle="shuffle", cname=layout.COMPRESSOR, clevel=layout.COMPRESSION_LEVEL),
                zarr.codecs.Crc32cCodec(),
            ],
        )
        array[:] = block
    written = (tmp_path / cut.file_of(spec, 0)).read_bytes()
    assert cut.file_bytes(spec, block) == written
    np.testing.assert_array_equal(cut.block(spec, written)[:n_samples], block)


def test_a_block_is_what_zarr_reads_and_no_bit_of_it_may_flip(dataset):
    spec = dataset.layout.array("param")
    for shard in range(3):
        expected = store.read(dataset, "param", *dataset.layout.bounds(shard))
        np.testing.assert_array_equal(store.read_block(dataset, "param", shard), expected)
    file = dataset.place.root / dataset.layout.file_of(spec, 0)
    whole = file.read_bytes()
    random = np.random.default_rng(6)
    for bit in random.integers(8 * len(whole), size=100):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        with pytest.raises(DamagedError, match="param/c/0/0: a checksum"):
            store.read_block(dataset, "param", 0)
    for data in (b"", whole[:-1], whole[: len(whole) // 2]):
        file.write_bytes(data)
        with pytest.raises(DamagedError):
            store.read_block(dataset, "param", 0)
    file.unlink()
    with pytest.raises(DamagedError, match="missing"):
        store.read_block(dataset, "param", 0)


def test_where_one_document_cannot_be_written_none_is_left_unfinished(tmp_path):
    place = Folder(tmp_path)
    (tmp_path / "b").write_text("a file, where a folder is needed")
    with pytest.raises(DiskError, match="c: cannot write"):
        place.write_all({"a": bytes(100_000), "b/c": b"", "d": bytes(100_000)})
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
