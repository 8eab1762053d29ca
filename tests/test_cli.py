"""The command line: one clear line for every mistake, the right exit code, nothing written or lost."""

import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from stmfab import cli, factory, recipe, sample
from tests import stub

ROOT = Path(__file__).parent.parent
SAMPLES = "70"


@pytest.fixture(autouse=True)
def cheap_physics_in_an_empty_folder(monkeypatch, tmp_path):
    cheap = {"prepare": stub.prepare, "simulate": stub.simulate}
    monkeypatch.setattr(factory, "generate", functools.partial(factory.generate, **cheap))
    monkeypatch.setattr(sample, "simulate", stub.simulate)
    monkeypatch.setattr(sample, "prepare", stub.prepare)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def made(tmp_path):
    assert cli.run(["generate", "wse2-demo", "out.zarr", "-n", SAMPLES, "-j", "1"]) == 0
    return tmp_path / "out.zarr"


def test_help_needs_no_heavy_library_and_few_others():
    heavy = {"numpy", "zarr", "joblib", "yaml", "pydantic", "numba", "scipy", "matplotlib"}
    code = "import sys; from stmfab import cli; cli.run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = done.stderr.split()
    assert heavy.isdisjoint(modules)
    assert len(modules) < 180  # 130 with Python 3.11, most of them click's; with them it takes less than 0.1 s


@pytest.mark.parametrize("command", sorted(cli.cli.commands))
def test_the_help_of_every_command_has_examples_that_it_understands(command, capsys):
    assert cli.run([command, "--help"]) == 0
    shown = capsys.readouterr().out.partition("Examples:")[2].splitlines()
    assert max(map(len, shown)) <= 80
    examples = [line.strip() for line in shown if line.strip() and not line.strip().startswith("(")]
    assert examples
    for line in examples:
        program, own, *words = shlex.split(re.split(r" {2,}|>", line)[0])
        assert (program, own) == ("stmfab", command)
        cli.cli.commands[command].make_context(command, words)  # parses, and runs nothing


def test_store_defaults_to_the_recipes_name(tmp_path, capsys):
    assert cli.run(["generate", "wse2-demo", "-n", "3", "-j", "1"]) == 0
    assert (tmp_path / "wse2-demo.zarr" / "zarr.json").exists()
    words = capsys.readouterr().out
    assert "samples/s with 1 worker" in words
    assert "wse2-demo.zarr: complete, 3 samples in 1 shards" in words


def test_a_part_is_done_while_others_are_missing(capsys):
    arguments = ["generate", "wse2-demo", "-n", SAMPLES, "-j", "1"]
    assert cli.run([*arguments, "--part", "0/2"]) == 0
    assert "part 0/2 is done; 1 of 3 shards are missing" in capsys.readouterr().out
    assert cli.run([*arguments, "--part", "1/2"]) == 0
    assert "complete" in capsys.readouterr().out


def test_failed_sample_is_exit_3_and_one_line(monkeypatch, capsys):
    monkeypatch.setenv("STUB_BAD_SAMPLE", "40")
    assert cli.run(["generate", "wse2-demo", "-n", SAMPLES, "-j", "1"]) == 3
    words = capsys.readouterr().err
    assert "shard 1: sample 40 (seed 1): NaN after stage field" in words
    assert "Traceback" not in words


def test_set_and_seed_reach_the_store():
    assert cli.run(["generate", "wse2-demo", "-n", "3", "--seed", "77", "--set", "junction.kappa_per_nm=10.5"]) == 0
    with open("wse2-demo.zarr/zarr.json") as file:
        root = json.load(file)["attributes"]
    assert (root["seed"], root["recipe"]["junction"]["kappa_per_nm"]) == (77, 10.5)


MISTAKES = {
    "no such recipe": (["generate", "wse3"], 2, "wse3"),
    "a folder": (["generate", "folder"], 2, "folder"),
    "binary": (["generate", "binary.yaml"], 2, "binary.yaml"),
    "empty": (["generate", "empty.yaml"], 2, "empty.yaml"),
    "a key that is not": (["generate", "wse2-demo", "--set", "scan.pixel=3"], 2, "pixels"),
    "a negative size": (["generate", "wse2-demo", "--set", "scan.size_nm=-1"], 2, "size_nm"),
    "too many defects": (
        ["generate", "wse2-demo", "--set", "sample.defects.top_vacancy.density_per_nm2=1000"],
        2,
        "density_per_nm2",
    ),
    "part": (["generate", "wse2-demo", "--part", "4/4"], 2, "K/N"),
    "part of words": (["generate", "wse2-demo", "--part", "half"], 2, "K/N"),
    "no samples": (["generate", "wse2-demo", "-n", "0"], 2, "-n"),
    "no jobs": (["generate", "wse2-demo", "-j", "0"], 2, "-j"),
    "no such option": (["generate", "wse2-demo", "--fast"], 2, "--fast"),
    "no such folder": (["generate", "wse2-demo", "nowhere/out.zarr"], 5, "nowhere/out.zarr: cannot create"),
    "under a file": (["generate", "wse2-demo", "empty.yaml/out.zarr"], 5, "empty.yaml/out.zarr"),
    "a file": (["generate", "wse2-demo", "empty.yaml"], 2, "is a file, not a store"),
    "not ours": (["generate", "wse2-demo", "folder"], 2, "is not a store of stmfab"),
    "inspect nothing": (["inspect", "nowhere.zarr"], 2, "no store here"),
    "inspect a folder": (["inspect", "folder"], 2, "is not a store of stmfab"),
    "inspect a file": (["inspect", "empty.yaml"], 2, "is a file, not a store"),
    "preview to nowhere": (
        ["preview", "wse2-demo", "--sample", "1", "-o", "nowhere/sheet.png"],
        5,
        "nowhere/sheet.png",
    ),
}


@pytest.mark.parametrize(("arguments", "code", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_a_line_and_nothing_is_written(tmp_path, capsys, arguments, code, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "empty.yaml").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(arguments) == code
    told = capsys.readouterr().err.strip()
    assert words in told
    assert "Traceback" not in told
    assert "Usage" in told or len(told.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_another_recipe_is_refused_with_its_keys(made, capsys):
    capsys.readouterr()
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    assert cli.run(["generate", "wse2-demo", "out.zarr", "-n", "71", "--seed", "9"]) == 2
    assert "samples: 70 there, 71 asked; seed: 1 there, 9 asked" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_inspect_fits_80_columns_and_names_what_is_there(made, capsys):
    capsys.readouterr()
    assert cli.run(["inspect", "out.zarr"]) == 0
    words = capsys.readouterr().out
    assert max(map(len, words.splitlines())) <= 80
    for part in ("complete; 70 samples", "Dimensions", "topography", "uniform 0.2 to 0.5", "sha256", "--verify full"):
        assert part in words


def test_inspect_reads_receipts_not_images(made, capsys):
    for file in made.glob("topography/c/*/0/0"):
        file.unlink()
    assert cli.run(["inspect", "out.zarr"]) == 0
    assert "topography " in capsys.readouterr().out


def test_inspect_json_holds_the_same(made, capsys):
    capsys.readouterr()
    assert cli.run(["inspect", "out.zarr", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["complete"], found["samples_made"], found["dimensions"]["x"]) == (True, 70, 64)
    assert {"minimum", "median", "maximum", "histogram"} <= found["parameters"][0].keys()


def test_stats_of_images(made, capsys):
    capsys.readouterr()
    assert cli.run(["inspect", "out.zarr", "--stats", "5"]) == 0
    words = capsys.readouterr().out
    assert max(map(len, words.splitlines())) <= 80
    assert "5 images" in words
    assert cli.run(["inspect", "out.zarr", "--stats", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 70
    assert found["quantities"]["white/rms"][0] == pytest.approx(1.0, abs=0.1)  # the stub's images are white
    assert cli.run(["inspect", "out.zarr", "--stats", "--recipe"]) == 2


@pytest.mark.parametrize("level", ["quick", "full"])
def test_verify_says_whole_damaged_incomplete(made, capsys, level):
    assert cli.run(["inspect", "out.zarr", "--verify", level]) == 0
    (made / "receipts" / "00000002.json").unlink()
    assert cli.run(["inspect", "out.zarr", "--verify", level]) == 3
    (made / "ideal" / "c" / "1" / "0" / "0").write_bytes(b"")
    capsys.readouterr()
    assert cli.run(["inspect", "out.zarr", "--verify", level]) == 4
    words = capsys.readouterr().out
    assert "DAMAGED: shard 1: ideal: ideal/c/1/0/0 has 0 bytes" in words
    assert "1 of 3 shards are missing" in words


def test_verify_alone_is_quick(made):
    path = made / "ideal" / "c" / "1" / "0" / "0"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert cli.run(["inspect", "out.zarr", "--verify"]) == 0
    assert cli.run(["inspect", "out.zarr", "--verify", "full"]) == 4


def test_inspect_sample_prints_its_values_and_defects(made, capsys):
    capsys.readouterr()
    assert cli.run(["inspect", "out.zarr", "--sample", "69"]) == 0
    words = capsys.readouterr().out
    assert "junction.bias_V" in words
    assert "Defects: 2" in words
    assert max(map(len, words.splitlines())) <= 80
    assert {"kind", "onsite_eV"} <= set(words.partition("Defects: 2")[2].split())  # no column is lost
    assert cli.run(["inspect", "out.zarr", "--sample", "69", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sample"] == 69
    assert cli.run(["inspect", "out.zarr", "--sample", "70"]) == 2
    assert "it has samples 0 to 69" in capsys.readouterr().err


def test_gallery_and_preview_write_pictures(made, tmp_path):
    assert cli.run(["inspect", "out.zarr", "--gallery", "sheet.png"]) == 0
    assert cli.run(["preview", "wse2-demo", "--sample", "3"]) == 0
    assert cli.run(["preview", "wse2-demo", "-n", "2", "-o", "two.png"]) == 0
    for name in ("sheet.png", "wse2-demo.png", "two.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "wse2-demo.zarr").exists()


def test_check_shows_the_recipe_and_what_it_takes(capsys, tmp_path):
    assert cli.run(["check", "wse2-defects"]) == 0
    words = capsys.readouterr().out
    assert "100000 samples in 98 shards of 1024" in words
    assert "on disk" in words
    assert list(tmp_path.iterdir()) == []


def test_recipes_are_lines_for_programs_and_within_the_width_of_a_terminal(capsys, monkeypatch):
    assert cli.run(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(recipe.builtin_recipes())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.run(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.split() == " ".join(lines).split()


def test_recipes_and_schema(capsys):
    assert cli.run(["recipes"]) == 0
    assert "wse2-defects" in capsys.readouterr().out
    assert cli.run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "stmfab recipe"
