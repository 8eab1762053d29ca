"""What a store says of itself can be proven: its recipe makes it again, its samples, and more of them."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from stmfab import cli, factory, growth, place, provenance, receipts, recipe, sample, store, verify
from stmfab.errors import StoreError
from stmfab.place import Folder
from tests import stub
from tests.runs import LINUX, ROOT, contents, group, start, wait_for

SHORT, LONG = 70, 150  # three shards, the last of 6; five, the last of 22
FEW = ["sample.defects=null", "targets=null"]  # three arrays


@pytest.fixture
def cheap(monkeypatch, tmp_path):
    monkeypatch.setattr(
        factory, "generate", functools.partial(factory.generate, prepare=stub.prepare, simulate=stub.simulate)
    )
    monkeypatch.setattr(sample, "simulate", stub.simulate)
    monkeypatch.chdir(tmp_path)


def make(path, samples=SHORT, overrides=(), **options):
    chosen = recipe.load("wse2-defects", overrides, samples=samples, **options)
    return factory.generate(chosen, Folder(path), jobs=1, prepare=stub.prepare, simulate=stub.simulate).store


def said(capsys, *words):
    """The exit code and the output of a command line."""
    capsys.readouterr()
    code = cli.run(list(words))
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return code, told.out + told.err


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    path = tmp_path_factory.mktemp("short")
    make(path / "all.zarr")
    make(path / "few.zarr", overrides=FEW)
    return path


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "long.zarr"
    make(path, LONG)
    return path


# --- recheck: the real physics


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    path = tmp_path_factory.mktemp("real") / "real.zarr"
    outcome = factory.generate(recipe.load("wse2-demo", samples=4), Folder(path), jobs=1)
    assert outcome.missing == ()
    return path


def altered(dataset, index, array, change):
    """Change a sample of a store as a forger would: its file, and a receipt that vouches for it."""
    shard = index // dataset.layout.shard
    start, stop = dataset.layout.bounds(shard)
    blocks = {spec.name: store.read(dataset, spec.name, start, stop) for spec in dataset.layout.arrays}
    blocks[array][index - start] = change(blocks[array][index - start])
    store.write_shard(dataset, shard, blocks, begun_s=time.monotonic())
    store.finalise(dataset)


@pytest.fixture
def copied(real, tmp_path):
    shutil.copytree(real, tmp_path / "copy.zarr")
    return store.open_store(Folder(tmp_path / "copy.zarr"))


def test_real_samples_made_again_are_those_of_the_store_byte_for_byte(real, capsys):
    code, words = said(capsys, "inspect", str(real), "--recheck", "3")
    assert code == 0
    assert "made 3 samples again: all equal (3 byte for byte)" in words
    again = words.strip().splitlines()[-1].partition("stmfab ")[2].split()
    first, second = (json.loads(said(capsys, *again, "--json")[1]) for _ in range(2))
    assert first == second
    assert said(capsys, "inspect", str(real), "--recheck", "--sample", "2")[0] == 0


@pytest.mark.parametrize("array", ["ideal", "param", "defect_x_nm", "events"])
def test_a_consistent_forgery_of_one_bit_is_found(copied, capsys, array):
    def one_bit(values):
        data = bytearray(values.tobytes())
        data[0] ^= 1
        return np.frombuffer(bytes(data), values.dtype).reshape(values.shape)

    altered(copied, 2, array, one_bit)
    assert verify.full_faults(copied) == []
    code, words = said(capsys, "inspect", str(copied), "--recheck", "4")
    assert code == 4
    assert words.startswith(f"sample 2: {array}: differs by up to ")
    assert "1 DIFFER (4 byte for byte)" in words
    assert said(capsys, "inspect", str(copied), "--recheck", "--sample", "1")[0] == 0
    assert said(capsys, "inspect", str(copied), "--recheck", "--sample", "2")[0] == 4


@pytest.mark.parametrize(("share", "code"), [(1e-6, 0), (1e-4, 4)])
def test_a_shard_of_another_identity_is_held_to_1e_5(copied, capsys, monkeypatch, share, code):
    here = dict(provenance.identity())
    monkeypatch.setattr(provenance, "identity", lambda: {**here, "key": "another"})
    altered(copied, 1, "ideal", lambda image: image + np.float32(share) * np.abs(image).max())
    monkeypatch.setattr(provenance, "identity", lambda: here)
    found = said(capsys, "inspect", str(copied), "--recheck", "4")
    assert found[0] == code
    assert "4, made under another identity key, to 1e-5 relative" in found[1]


def test_a_recipe_that_was_edited_is_not_made_again(copied, capsys):
    root = json.loads(copied.place.read(store.ROOT))
    root["attributes"]["recipe"]["junction"]["polarity"] = 1
    copied.place.write(store.ROOT, json.dumps(root).encode())
    for option in ("--recheck", "--recipe"):
        code, words = said(capsys, "inspect", str(copied), option)
        assert (code, "is not the one its sha256 was taken of" in words) == (4, True)


def test_a_recipe_forged_with_its_sha256_is_found_by_its_samples(copied, capsys):
    root = json.loads(copied.place.read(store.ROOT))
    root["attributes"]["recipe"]["seed"] += 1
    root["attributes"]["recipe_sha256"] = provenance.recipe_sha256(root["attributes"]["recipe"])
    copied.place.write(store.ROOT, json.dumps(root).encode())
    assert verify.full_faults(store.open_store(copied.place)) == []
    code, words = said(capsys, "inspect", str(copied), "--recheck", "2")
    assert (code, "2 DIFFER" in words) == (4, True)


def test_only_what_was_made_is_rechecked(cheap, capsys):
    dataset = make(Path("part.zarr"), overrides=FEW)
    for shard in (0, 2):
        dataset.place.remove(receipts.name(shard))
    code, words = said(capsys, "inspect", "part.zarr", "--recheck", "1000", "--json")
    assert (code, json.loads(words)["by_bytes"]) == (0, list(range(32, 64)))
    assert said(capsys, "inspect", "part.zarr", "--recheck", "--sample", "3")[0] == 3
    assert said(capsys, "inspect", "part.zarr", "--recheck", "--sample", "70")[0] == 2


@pytest.mark.parametrize(
    "options",
    [["--verify", "--recheck"], ["--recipe", "--diff", "x"], ["--seed", "3"], ["--verify", "--sample", "3"]],
)
def test_two_questions_at_once_are_refused(cheap, capsys, options):
    make(Path("s.zarr"), 3, FEW)
    assert said(capsys, "inspect", "s.zarr", *options)[0] == 2


# --- the recipe


@pytest.mark.parametrize("name", recipe.builtin_recipes())
def test_the_printed_recipe_makes_the_same_store(cheap, capsys, name):
    assert cli.run(["generate", name, "first.zarr", "-n", "2", "--seed", "3", "-j", "1"]) == 0
    code, text = said(capsys, "inspect", "first.zarr", "--recipe")
    assert code == 0
    Path("printed.yaml").write_text(text, "utf-8")
    assert cli.run(["generate", "printed.yaml", "second.zarr", "-j", "1"]) == 0
    first, second = (store.open_store(Folder(Path(f"{name}.zarr"))).attributes for name in ("first", "second"))
    assert first["recipe_sha256"] == second["recipe_sha256"]
    assert contents(Path("first.zarr")) == contents(Path("second.zarr"))


@pytest.mark.parametrize(
    "description",
    ['"a: b # c"', '"\U0001f600 and \\\\ud83d"', "|\n  two\n  lines 'é'\n", '"\\u2028 \\x85"', "'yes'", '"\\0\\x7f"'],
)
def test_any_description_survives_its_printing(cheap, capsys, description):
    text = f"extends: wse2-demo\nname: odd\nsamples: 3\nseed: 1\ndescription: {description}\n"
    Path("odd.yaml").write_text(text, "utf-8")
    assert cli.run(["generate", "odd.yaml", "odd.zarr", "-j", "1"]) == 0
    Path("printed.yaml").write_text(said(capsys, "inspect", "odd.zarr", "--recipe")[1], "utf-8")
    assert recipe.load("printed.yaml").tree == recipe.load("odd.yaml").tree


# --- what differs


def test_two_runs_of_one_recipe_do_not_differ(cheap, capsys):
    for path in ("a.zarr", "b.zarr"):
        make(Path(path), overrides=FEW)
    assert said(capsys, "inspect", "a.zarr", "--diff", "b.zarr") == (0, "a.zarr and b.zarr: nothing differs\n")
    code, words = said(capsys, "inspect", "a.zarr", "--diff", "b.zarr", "--json")
    assert (code, json.loads(words)["differs"]) == (0, False)


def rewritten(path, change):
    root = json.loads((path / store.ROOT).read_text())
    change(root["attributes"])
    (path / store.ROOT).write_text(json.dumps(root))


def failed_record(path, shard, line):
    kept = {"shard": shard, "start": 0, "stop": 1, "line": line, "traceback": "", "host": "n1", "written": "2026"}
    (path / "receipts" / f"{shard:08d}.failed.json").write_text(json.dumps({"seal": "", **kept}))


def another_byte(path):
    dataset = store.open_store(Folder(path))
    altered(dataset, 40, "ideal", lambda image: image + 1)


DIFFERENCES = {
    "versions": (lambda path: rewritten(path, lambda root: root["versions"].update(numpy="0")), "versions.numpy:"),
    "identity": (lambda path: rewritten(path, lambda root: root["identity"].update(simd="x")), "identity.simd"),
    "commit": (lambda path: rewritten(path, lambda root: root.update(git_commit="f00")), '"f00" there'),
    "recipe": (
        lambda path: rewritten(path, lambda root: root["recipe"].update(seed=4)),
        "seed: 20250727 here, 4 there",
    ),
    "a missing shard": (lambda path: (path / receipts.name(1)).unlink(), "Shards only here\n  1 shard: 1"),
    "a failed shard": (lambda path: failed_record(path, 3, "NaN"), None),  # made since
    "another byte": (another_byte, "Shards whose files differ, by array\n  ideal: 1 shard: 1"),
}


@pytest.mark.parametrize(("change", "words"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_each_difference_is_named(cheap, capsys, in_one_go, change, words):
    shutil.copytree(in_one_go, "other.zarr")
    change(Path("other.zarr"))
    code, told = said(capsys, "inspect", str(in_one_go), "--diff", "other.zarr")
    assert (code, (words or "nothing differs") in told) == (bool(words), True)


def test_stores_of_other_lengths_arrays_and_cuts_differ(cheap, capsys, in_one_go):
    make(Path("few.zarr"), 40, FEW)
    code, told = said(capsys, "inspect", str(in_one_go), "--diff", "few.zarr")
    assert code == 1
    for words in (
        "samples: 150 here, 40 there",
        "targets: {",
        "ideal: only here",
        "Shards only here\n  3 shards: 2-4",
    ):
        assert words in told


# --- failed shards, mixed machines


def test_inspect_shows_failed_shards_not_made_since(cheap, capsys, short):
    dataset = store.open_store(Folder(shutil.copytree(short / "all.zarr", Path("s.zarr"))))
    failed_record(Path("s.zarr"), 1, "sample 40 (seed 1): NaN after stage field")
    assert "FAILED" not in said(capsys, "inspect", "s.zarr")[1]
    dataset.place.remove(receipts.name(1))
    assert "FAILED: shard 1: sample 40 (seed 1): NaN after stage field" in said(capsys, "inspect", "s.zarr")[1]
    (Path("s.zarr") / "receipts" / "00000001.failed.json").write_text("{")
    code, words = said(capsys, "inspect", "s.zarr", "--json")
    assert (code, json.loads(words)["failed"][0]["shard"]) == (0, 1)


def test_inspect_names_every_machine_and_version_and_says_mixed(cheap, capsys, short):
    dataset = store.open_store(Folder(shutil.copytree(short / "all.zarr", Path("s.zarr"))))
    other = dataclasses.replace(
        store.receipt_of(dataset, 1), host="node7", identity="elsewhere", versions={"stmfab": "9.9"}
    )
    dataset.place.write(receipts.name(1), receipts.to_bytes(other))
    words = said(capsys, "inspect", "s.zarr")[1]
    for part in (
        "MIXED: shards of machines",
        "MIXED: shards by stmfab",
        "elsewhere (1 shard",
        "node7 (1 shard",
        "9.9",
    ):
        assert part in words
    assert max(map(len, words.splitlines())) <= 80


def test_a_receipt_with_words_for_numbers_is_named_not_a_traceback(cheap, capsys, short):
    dataset = store.open_store(Folder(shutil.copytree(short / "all.zarr", Path("s.zarr"))))
    path = Path("s.zarr") / receipts.name(1)
    path.write_text(path.read_text().replace('"start": 32', '"start": "x"'))
    assert verify.missing_shards(dataset) == []
    code, words = said(capsys, "inspect", "s.zarr")
    assert (code, "DAMAGED: shard 1" in words) == (4, True)


# --- growth


def attributes(path):
    return json.loads((path / store.ROOT).read_text())["attributes"]


def test_a_grown_store_is_that_made_in_one_go(cheap, capsys, tmp_path, short, in_one_go):
    shutil.copytree(short / "all.zarr", "s.zarr")
    before = {name: data for name, data in contents(Path("s.zarr")).items() if "/c/2" not in name}
    old = attributes(Path("s.zarr"))
    assert said(capsys, "generate", "wse2-defects", "s.zarr", "-n", str(LONG), "-j", "1")[0] == 2
    code, words = said(capsys, "generate", "wse2-defects", "s.zarr", "-n", str(LONG), "-j", "1", "--extend")
    assert (code, "made 86 samples" in words) == (0, True)  # 80, and the 6 of the partial shard
    assert contents(Path("s.zarr")) == contents(in_one_go)
    assert contents(Path("s.zarr")).items() >= before.items()
    assert verify.full_faults(store.open_store(Folder(Path("s.zarr")))) == []
    new, whole = attributes(Path("s.zarr")), attributes(in_one_go)
    assert new["grown_from"] == [SHORT]
    assert new["statistics"] == whole["statistics"]
    assert new["recipe"] == {**old["recipe"], "samples": LONG}
    assert new["recipe_sha256"] == whole["recipe_sha256"]
    for spec in store.open_store(Folder(Path("s.zarr"))).layout.arrays:
        name = Path(spec.name) / store.ROOT
        assert json.loads((Path("s.zarr") / name).read_text()) == json.loads((in_one_go / name).read_text())
    assert said(capsys, "inspect", "s.zarr", "--diff", str(in_one_go))[0] == 0
    assert said(capsys, "generate", "wse2-defects", "s.zarr", "-n", str(LONG), "--extend")[0] == 0


def test_a_store_grown_past_the_shards_of_a_fresh_one_has_its_samples(tmp_path):
    overrides = [*FEW, "channels=[topography]", "scan.pixels=256"]  # chunks of two samples
    samples = 129  # a fresh store of so many has shards of 4, one of 5 has shards of 2
    make(tmp_path / "grown.zarr", 5, overrides)
    growth.extend(Folder(tmp_path / "grown.zarr"), recipe.load("wse2-defects", overrides, samples=samples))
    grown, fresh = make(tmp_path / "grown.zarr", samples, overrides), make(tmp_path / "fresh.zarr", samples, overrides)
    assert (grown.layout.shard, fresh.layout.shard) == (2, 4)
    for spec in fresh.layout.arrays:
        ours, theirs = (store.read(dataset, spec.name, 0, samples) for dataset in (grown, fresh))
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-n", "69", "--extend"], "a store can grow, never shrink"),
        (["-n", "150", "--extend", "--seed", "9"], "holds another recipe: seed"),
        (["-n", "150"], "or --extend to grow this one"),
    ],
)
def test_what_is_no_growth_is_refused_and_nothing_is_written(cheap, capsys, tmp_path, short, options, words):
    shutil.copytree(short / "all.zarr", "s.zarr")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, told = said(capsys, "generate", "wse2-defects", "s.zarr", *options)
    assert (code, words in told, len(told.splitlines())) == (2, True, 1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["nowhere", "theirs"])
def test_what_is_no_store_does_not_grow(cheap, tmp_path, name):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError):
        growth.extend(Folder(tmp_path / name), recipe.load("wse2-defects"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["theirs", "thesis.tex"]


@LINUX
def test_killing_an_extension_again_and_again_loses_nothing(tmp_path, short, in_one_go):
    path = shutil.copytree(short / "all.zarr", tmp_path / "killed.zarr")
    kept = {name: data for name, data in contents(path).items() if "/c/2" not in name}
    random = np.random.default_rng()
    for _ in range(3):
        process = start(path, "--extend", "-j", "2", STUB_PAUSE_s="0.01")
        wait_for(lambda: "grown_from" in (path / store.ROOT).read_text())
        time.sleep(random.uniform(0.0, 1.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        wait_for(lambda leader=process.pid: not group(leader))
        assert contents(path).items() >= kept.items()
    process = start(path, "--extend", "-j", "2")
    words = process.communicate(timeout=60)
    assert process.returncode == 0, words
    assert {name: data for name, data in contents(path).items() if not name.endswith(".part")} == contents(in_one_go)
    assert verify.full_faults(store.open_store(Folder(path))) == []


def forked(work, n_steps):
    """Do some work in a process of its own that is dead before its n-th removal or renaming; return if it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: all of them idle here
        child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] != 0
    left = iter(range(n_steps))
    for name in ("replace", "unlink"):
        real = getattr(Path, name)

        def step(path, *words, real=real, **options):
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(path, *words, **options)

        setattr(Path, name, step)
    code = 1
    with contextlib.suppress(BaseException):
        work()
        code = 0
    os._exit(code)


@LINUX
def test_an_extension_killed_before_each_of_its_steps_goes_on(tmp_path, short):
    chosen = recipe.load("wse2-defects", FEW, samples=LONG)
    killed = steps = 0
    while killed == steps:
        path = tmp_path / f"{steps}.zarr"
        dataset = store.open_store(Folder(shutil.copytree(short / "few.zarr", path)))
        killed += forked(lambda path=path: growth.extend(Folder(path), chosen), steps)
        steps += 1
        assert store.open_store(dataset.place).layout.samples in (SHORT, LONG)
        grown = growth.extend(dataset.place, chosen)
        assert (grown.layout.samples, store.made(grown)) == (LONG, {0, 1})
        assert verify.quick_faults(grown) == []
        assert [file.name for file in path.glob(".*.lock")] == []
    assert killed >= 7  # a receipt, three arrays, receipts, root, the lock


@LINUX
def test_two_parts_extend_at_once(tmp_path, short, in_one_go):
    path = shutil.copytree(short / "all.zarr", tmp_path / "parts.zarr")
    parts = [start(path, "--extend", "--part", f"{k}/2", "-j", "1") for k in range(2)]
    outputs = [part.communicate(timeout=60) for part in parts]
    assert [part.returncode for part in parts] == [0, 0], outputs
    assert contents(path) == contents(in_one_go)
    assert attributes(path)["grown_from"] == [SHORT]
    assert "statistics" in attributes(path)


def test_a_receipt_for_the_end_of_before_does_not_count(tmp_path, short):
    path = shutil.copytree(short / "few.zarr", tmp_path / "s.zarr")
    dataset = store.open_store(Folder(path))
    stale = (path / receipts.name(2)).read_bytes()
    growth.extend(dataset.place, recipe.load("wse2-defects", FEW, samples=100))
    growth.extend(dataset.place, recipe.load("wse2-defects", FEW, samples=LONG))
    (path / receipts.name(2)).write_bytes(stale)  # a worker that began before the store grew
    grown = store.open_store(dataset.place)
    assert grown.attributes["grown_from"] == [SHORT, 100]
    assert store.made(grown) == {0, 1}
    assert make(path, LONG, FEW).attributes["samples"] == LONG
    assert store.made(grown) == set(range(5))
    assert verify.full_faults(grown) == []


def test_a_finaliser_of_before_does_not_undo_a_growth(tmp_path, short):
    dataset = store.open_store(Folder(shutil.copytree(short / "few.zarr", tmp_path / "s.zarr")))
    vouched = store.receipts_of(dataset, range(3))
    receipt = [found for _, found in vouched]
    grown = growth.extend(dataset.place, recipe.load("wse2-defects", FEW, samples=LONG))
    for found in receipt:
        dataset.place.write(receipts.name(found.shard), receipts.to_bytes(found))
    store.finalise(dataset)
    assert store.open_store(dataset.place).attributes == grown.attributes


# --- the lock

COUNT = """
import sys, time
from pathlib import Path
from stmfab.place import Folder
place = Folder(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    with place.lock("count"):
        number = int(place.read("count"))
        time.sleep(float(sys.argv[3]))
        place.write("count", str(number + 1).encode())
"""


def counting(path, times, pause_s=0.0):
    return subprocess.Popen([sys.executable, "-c", COUNT, str(path), str(times), str(pause_s)], cwd=ROOT)


def test_no_two_processes_hold_a_lock_and_the_killed_leave_it(tmp_path):
    Folder(tmp_path).write("count", b"0")
    lock = tmp_path / ".count.lock"
    counters = [counting(tmp_path, 25) for _ in range(3)]
    for _ in range(4):
        holder = counting(tmp_path, 1, pause_s=30.0)
        wait_for(lambda pid=holder.pid: f'"pid": {pid},'.encode() in (place._holder(lock) or b""))
        holder.kill()
        holder.wait()
    assert [counter.wait(30) for counter in counters] == [0, 0, 0]
    with Folder(tmp_path).lock("count"):  # whoever was killed last left it locked
        assert (tmp_path / "count").read_bytes() == b"75"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


@pytest.mark.parametrize("words", [b'{"host": "elsewhere", "pid": 1}', b"", b"{}", b"null"])
def test_a_lock_that_does_not_change_is_taken_over_after_a_while(tmp_path, monkeypatch, words):
    monkeypatch.setattr(place, "LOCK_PATIENCE_s", 0.3)
    (tmp_path / ".count.lock").write_bytes(words)
    begun = time.monotonic()
    with Folder(tmp_path).lock("count"):
        assert time.monotonic() - begun >= 0.3
    assert list(tmp_path.iterdir()) == []


# --- what a dataset will take


def test_check_counts_the_files_and_receipts_that_a_store_has(cheap, capsys, monkeypatch):
    monkeypatch.setattr(sample, "prepare", stub.prepare)
    words = said(capsys, "check", "wse2-defects", "-n", str(SHORT))[1]
    dataset = make(Path("s.zarr"))
    files, kept = contents(Path("s.zarr")), [dataset.place.size(receipts.name(shard)) for shard in range(3)]
    said_bytes = float(re.search(r"3 receipts \(([\d.]+) kB\)", words)[1]) * 1000
    shards = [name for name in files if not name.startswith(("x/", "y/"))]  # coordinates have no shards
    assert f"# {len(shards)} shard files, 3 receipts" in words
    assert said_bytes == pytest.approx(sum(kept), rel=0.02)  # numbers of more or fewer digits
