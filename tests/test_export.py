"""A store in the formats of other programs, each read by the library of that format and by nothing of ours."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stmfab import cli, exporting, factory, provenance, recipe, splits, store
from stmfab import export as exports
from stmfab.export import episodes
from stmfab.place import Folder
from tests.runs import wait_for

ROOT = Path(__file__).parent.parent
SAMPLES = 70  # three shards
SETTINGS = ["channels=[topography, current]", "targets.lattice=null", "targets.ideal=null"]
FORMATS = ["webdataset", "hdf5", "parquet", "png", "coco", "gsf", "ome-zarr", "episodes"]
NEEDS = {"hdf5": "h5py", "parquet": "pyarrow"}


def of_the_library(test):
    """Let a reader warn of what is its own: calls of its own that grow old, files it leaves open."""
    for silent in ("DeprecationWarning", "FutureWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
        test = pytest.mark.filterwarnings(f"ignore::{silent}")(test)
    return test


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "made.zarr"
    outcome = factory.generate(recipe.load("wse2-demo", samples=SAMPLES, overrides=SETTINGS), Folder(path), jobs=1)
    assert not outcome.missing
    return path


@pytest.fixture(scope="session")
def exported(place, tmp_path_factory):
    made = {}

    def made_once(to):
        if to in NEEDS:
            pytest.importorskip(NEEDS[to], reason=f"{NEEDS[to]} is not installed")
        if to not in made:
            made[to] = tmp_path_factory.mktemp("out") / to
            assert cli.run(["export", str(place), str(made[to]), "--to", to]) == 0
        return made[to]

    return made_once


@pytest.fixture(scope="session")
def held(place):
    opened = store.open_store(Folder(place))
    return {spec.name: store.read(opened, spec.name, 0, SAMPLES) for spec in opened.layout.arrays}


@pytest.fixture(scope="session")
def columns(place):
    return [c["name"] for c in store.open_store(Folder(place)).metadata["param"]["attributes"]["columns"]]


def members(split):
    return splits.members(np.arange(SAMPLES), split)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@of_the_library
def test_webdataset_reads_every_sample_of_a_split(exported, held, columns):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    tars = sorted(str(path) for path in exported("webdataset").glob("train-*.tar"))
    rows = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).decode())
    assert [row["__key__"] for row in rows] == [f"{index:09d}" for index in members("train")]
    for row in rows:
        index = int(row["__key__"])
        for name in ("topography", "current", "defects", "events"):
            np.testing.assert_array_equal(row[f"{name}.npy"], held[name][index])
        words = row["json"]
        assert words["parameters"]["junction.bias_V"] == held["param"][index, columns.index("junction.bias_V")]
        assert words["parameters"]["scan.fast_axis"] in ("x", "y")
        assert len(words["defects"]) == held["defect_count"][index]
        assert words["units"]["current"] == "nA"


def test_h5py_reads_the_joined_file(exported, held):
    folder = exported("hdf5")
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "dataset.h5") as file:
        for split in splits.SPLITS:
            np.testing.assert_array_equal(file[split]["sample"], members(split))
            for name, values in held.items():
                if name in file[split]:
                    np.testing.assert_array_equal(file[split][name][:], values[members(split)])
        assert file["train"]["topography"].attrs["units"] == "nm"
        assert json.loads(file["test"].attrs["recipe"])["name"] == "wse2-demo"
        assert set(held) == set(file["train"]) - {"sample"}


@of_the_library
def test_datasets_reads_parquet_with_an_image_column(exported, held, columns, tmp_path, monkeypatch):
    folder = exported("parquet")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    datasets.disable_progress_bars()
    found = datasets.load_dataset(
        "parquet",
        data_files={split: str(folder / f"{split}-*.parquet") for split in splits.SPLITS},
        cache_dir=str(tmp_path),
    )
    for split in splits.SPLITS:
        assert found[split]["sample"][:] == members(split).tolist()
    assert isinstance(found["train"].features["image"], datasets.Image)
    for row in found["test"].with_format("numpy"):
        index = int(row["sample"])
        np.testing.assert_array_equal(row["topography"], held["topography"][index])
        np.testing.assert_array_equal(row["events"], held["events"][index])
        count = held["defect_count"][index]
        np.testing.assert_array_equal(row["defect_row"], held["defect_row"][index, :count])
        assert row["junction.bias_V"] == held["param"][index, columns.index("junction.bias_V")]
    picture = np.asarray(found["test"][0]["image"]).astype(float)
    image = held["topography"][members("test")[0]].astype(float)
    scaled = (image - image.min()) / np.ptp(image) * (2**16 - 1)
    assert np.abs(picture - scaled).max() <= 0.5 + 1e-6  # half a grey level


def test_pillow_reads_png_and_text_and_sidecar_give_the_numbers_back(exported, held):
    image_module = pytest.importorskip("PIL.Image")
    folder = exported("png")
    for split in splits.SPLITS:
        for index in members(split):
            sidecar = json.loads((folder / split / f"{index:09d}.json").read_text())
            for name in ("topography", "current", "defects", "events"):
                with image_module.open(folder / split / sidecar["images"][name]["file"]) as opened:
                    levels, text = np.asarray(opened).astype(float), opened.text
                scale = float(text["scale"])
                np.testing.assert_allclose(
                    float(text["offset"]) + scale * levels, held[name][index], rtol=0, atol=0.5001 * scale
                )
                assert text["unit"] == sidecar["images"][name]["unit"]
                assert sidecar["images"][name]["scale"] == scale
            assert sidecar["pixel_size_nm"] == held["pixel_size_nm"][index]
    assert sidecar["images"]["topography"]["unit"] == "nm"


@of_the_library
def test_pycocotools_finds_every_defect_in_view_under_its_mask(exported, held, capsys):
    coco_module = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    folder = exported("coco")
    for split in splits.SPLITS:
        coco = coco_module.COCO(str(folder / "annotations" / f"instances_{split}.json"))
        assert coco.getImgIds() == members(split).tolist()
        for index in members(split):
            assert (folder / "images" / coco.imgs[index]["file_name"]).exists()
            found = coco.loadAnns(coco.getAnnIds(imgIds=index))
            seen = held["defect_in_view"][index].astype(bool)
            assert len(found) == seen.sum()
            total, places = np.zeros((64, 64), int), set()
            for annotation, row, col in zip(
                found, held["defect_row"][index][seen], held["defect_col"][index][seen], strict=True
            ):
                mask = coco.annToMask(annotation)
                x, y, width, height = annotation["bbox"]
                assert mask[y : y + height, x : x + width].sum() == mask.sum() == annotation["area"] > 0
                place = np.clip([round(row), round(col)], 0, 63)
                reach = 0.332 / 2 / held["pixel_size_nm"][index]  # half a lattice constant of WSe2
                assert np.hypot(*(np.argwhere(mask) - place).T).max() <= 2 * reach + 1.5  # distortion; whole pixels
                assert annotation["attributes"]["species"] == coco.cats[annotation["category_id"]]["name"]
                if tuple(np.round((row, col), 1)) not in places:  # one below another shares its pixels
                    total += mask
                    places.add(tuple(np.round((row, col), 1)))
            near = held["defects"][index] >= 0.1  # 1.1 - d / (a / 2) at d = a / 2
            assert (total[near] <= 1).all()  # no pixel belongs to two


def published_gsf(data):
    """A field as the user guide of Gwyddion tells how to read it: magic line, header lines, NULs, floats."""
    end = data.index(b"\0")
    magic, *lines = data[:end].decode().splitlines()
    header = dict((part.strip() for part in line.split("=", 1)) for line in lines)
    start = end + 4 - end % 4
    assert magic == "Gwyddion Simple Field 1.0"
    assert set(data[end:start]) == {0}
    values = np.frombuffer(data[start:], "<f4").reshape(int(header["YRes"]), int(header["XRes"]))
    return header, values


def test_gsf_is_in_metres_and_amperes_by_the_published_format(exported, held):
    folder = exported("gsf")
    for split in splits.SPLITS:
        for index in members(split):
            for name, unit in (("topography", "m"), ("current", "A"), ("defects", "")):
                header, values = published_gsf((folder / split / f"{index:09d}.{name}.gsf").read_bytes())
                factor = 1e-9 if unit else 1.0
                np.testing.assert_allclose(values[::-1], held[name][index] * factor, rtol=1e-6)
                assert (header["ZUnits"], header["XYUnits"]) == (unit, "m")
                assert float(header["XReal"]) == pytest.approx(64e-9 * held["pixel_size_nm"][index])


def test_gsffile_reads_a_field(exported, held):
    gsffile = pytest.importorskip("gsffile", reason="gsffile is not installed")
    index = members("val")[0]
    values, words = gsffile.read_gsf(exported("gsf") / "val" / f"{index:09d}.topography.gsf")
    np.testing.assert_allclose(values[::-1], held["topography"][index] * 1e-9, rtol=1e-6)
    assert words["ZUnits"] == "m"


@of_the_library
@pytest.mark.parametrize("to", FORMATS)
def test_mlcroissant_accepts_the_description(exported, to):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    described = mlcroissant.Dataset(jsonld=str(exported(to) / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    assert described.metadata.name == "wse2-demo"


@of_the_library
def test_mlcroissant_loads_the_records_of_parquet(exported, held, columns):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    described = mlcroissant.Dataset(jsonld=str(exported("parquet") / "croissant.json"))
    rows = {row["samples/sample"]: row for row in described.records("samples")}
    assert sorted(rows) == list(range(SAMPLES))
    bias = held["param"][:, columns.index("junction.bias_V")]
    assert all(row["samples/junction.bias_V"] == bias[index] for index, row in rows.items())


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_is_verified_byte_by_byte(exported, place, to, capsys):
    folder = exported(to)
    assert cli.run(["export", str(place), str(folder), "--to", to, "--verify"]) == 0
    files = [path for path in sorted(folder.rglob("*.*")) if path.is_file() and ".shards" not in path.parts]
    kinds = {path.suffix: path for path in files if path.name != "export.json"}
    whole = {path: path.read_bytes() for path in kinds.values()}
    for path, data in whole.items():
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert cli.run(["export", str(place), str(folder), "--to", to, "--verify"]) == 4
    told = capsys.readouterr().err
    for path, data in whole.items():
        assert f"{path.relative_to(folder)} is not what the store gives" in told
        path.write_bytes(data)


def test_a_killed_export_goes_on_to_the_same_bytes(exported, place, tmp_path):
    to = "coco"  # which writes many files a shard, and one that joins pieces of all
    whole = contents(exported(to))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "stmfab.cli", "export", str(place), str(out), "--to", to]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: any(out.glob(".shards/*.json")))
    running.send_signal(signal.SIGKILL)
    running.wait()
    (out / ".shards" / f".00000001.json.{os.getpid()}-00000000.part").write_bytes(b"left by a killed writer")
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    found = contents(out)
    assert {name: data for name, data in found.items() if ".part" not in Path(name).name} == whole


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A store of three shards and five samples: frames so large that a chunk holds two."""
    path = tmp_path_factory.mktemp("killed") / "small.zarr"
    settings = [*SETTINGS, "scan.pixels=256", "scan.size_nm=3"]
    factory.generate(recipe.load("wse2-demo", samples=5, overrides=settings), Folder(path), jobs=1)
    return path


@pytest.fixture(scope="module")
def killer(small):
    """Exports in a process that has the libraries loaded; ``(out, to, n)`` kills at the n-th rename, 0 at none."""
    command, pipes = [sys.executable, "-m", "tests.killed"], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, text=True, **pipes) as process:

        def export(out, to, moment):
            print(json.dumps([str(small), str(out), to, moment]), file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield export
        process.stdin.close()


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_of_any_format_killed_at_any_moment_goes_on_to_the_same_bytes(killer, small, tmp_path, to):
    if to in NEEDS:
        pytest.importorskip(NEEDS[to], reason=f"{NEEDS[to]} is not installed")
    assert killer(tmp_path / "whole", to, 0) == 0
    whole = contents(tmp_path / "whole")
    n_files = len(whole)
    moments = {"webdataset": [1], "hdf5": [n_files], "coco": [n_files - 1], "episodes": [n_files]}
    for moment in (n_files // 2, *moments.get(to, [])):  # in a shard; the first document; the files that join others
        out = tmp_path / f"out-{moment}"
        assert killer(out, to, moment) == -signal.SIGKILL
        assert contents(out) != whole
        assert killer(out, to, 0) == 0
        assert contents(out) == whole  # and nothing that the killed one left
    assert cli.run(["export", str(small), str(out), "--to", to, "--verify"]) == 0


def test_a_file_that_is_lost_is_written_again(exported, place):
    folder = exported("webdataset")
    whole = contents(folder)
    next(folder.glob("train-00001*.tar")).unlink()
    assert cli.run(["export", str(place), str(folder), "--to", "webdataset"]) == 0
    assert contents(folder) == whole


def test_the_command_knows_every_format_and_split():
    assert exporting.TO == FORMATS == list(exports.FORMATS)
    assert exporting.SPLIT == list(splits.SPLITS)
    assert exporting.CLASS_BY == list(episodes.CLASS_BY)


def test_a_split_and_some_arrays_can_be_asked_for(place, tmp_path):
    out = tmp_path / "out"
    arguments = ["--to", "gsf", "--split", "test", "--arrays", "defects,topography"]
    assert cli.run(["export", str(place), str(out), *arguments]) == 0
    names = {path.name for path in out.rglob("*.gsf")}
    assert names == {f"{index:09d}.{name}.gsf" for index in members("test") for name in ("topography", "defects")}


def test_a_mistake_is_one_line_and_nothing_is_written(exported, place, tmp_path, capsys):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("mine")
    folder = exported("gsf")
    capsys.readouterr()
    before = contents(tmp_path) | contents(folder)
    for arguments, code, words in (
        ([place, tmp_path / "new", "--to", "gsf", "--arrays", "topografy"], 2, "did you mean 'topography'"),
        ([place, tmp_path / "theirs", "--to", "gsf"], 2, "no export of stmfab; it is left as it is"),
        ([place, folder, "--to", "png"], 2, 'to: "gsf" there, "png" asked'),
        ([place, folder, "--to", "gsf", "--split", "val"], 2, "holds another export"),
        ([place, tmp_path / "a" / "b", "--to", "gsf"], 5, "cannot create"),
        ([tmp_path / "nowhere.zarr", tmp_path / "new", "--to", "gsf"], 2, "no store here"),
        ([place, tmp_path / "new", "--to", "gsf", "--verify"], 2, "no export of stmfab"),
    ):
        assert cli.run(["export", *map(str, arguments)]) == code
        told = capsys.readouterr().err.strip()
        assert words in told
        assert len(told.splitlines()) == 1
    assert contents(tmp_path) | contents(folder) == before


def test_a_store_that_is_not_whole_is_not_exported(tmp_path, capsys):
    plan = recipe.load("wse2-demo", samples=SAMPLES, overrides=SETTINGS)
    factory.generate(plan, Folder(tmp_path / "part.zarr"), jobs=1, part=(2, 3))
    assert cli.run(["export", str(tmp_path / "part.zarr"), str(tmp_path / "out"), "--to", "gsf"]) == 3
    assert "2 of 3 shards are missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_damage_of_the_store_is_not_passed_on(place, tmp_path, capsys):
    shutil.copytree(place, tmp_path / "copy.zarr")
    file = tmp_path / "copy.zarr" / "topography" / "c" / "1" / "0" / "0"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert cli.run(["export", str(tmp_path / "copy.zarr"), str(tmp_path / "out"), "--to", "gsf"]) == 4
    assert "shard 1: topography" in capsys.readouterr().err


def test_the_ledger_vouches_for_every_file_of_a_shard(exported):
    folder = exported("png")
    promised = [json.loads(path.read_text()) for path in sorted((folder / ".shards").iterdir())]
    files = {name: words for one in promised for name, words in one.items()}
    assert set(files) == {
        str(path.relative_to(folder)) for path in folder.glob("*/*.*") if path.parent.name != ".shards"
    }
    for name, words in files.items():
        assert provenance.sha256((folder / name).read_bytes()) == words["sha256"]
