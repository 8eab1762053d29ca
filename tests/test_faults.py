"""Whatever dies, fills up, rots or is started twice: the dataset is whole in the end, bit for bit, or says why not."""

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from stmfab import cli, factory, failures, provenance, receipts, store, verify
from stmfab.errors import DamagedError, DiskError, IncompleteError, StoreError
from stmfab.place import ABANDONED_s, Folder
from tests import stub
from tests.runs import LINUX, SAMPLES, contents, group, patience, receipts_in, run, start, wait_for, workers


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("serial") / "serial.zarr"
    assert run(place, jobs=1).missing == ()
    return place


@pytest.fixture(scope="module")
def serial(whole):
    return contents(whole)


@pytest.fixture
def place(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy.zarr")
    return tmp_path / "copy.zarr"


def edit(path, change):
    """Change a JSON document in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


# Deaths


@LINUX
def test_workers_killed_at_random_moments_cost_no_shard(tmp_path):
    samples, place = 384, tmp_path / "killed.zarr"  # twelve shards
    random = np.random.default_rng(1)
    process = start(place, "-j", "2", samples=samples, STUB_PAUSE_s="0.02")
    killed = set()
    for _ in range(4):
        wait_for(lambda: set(workers(process.pid)) - killed)
        time.sleep(random.uniform(0.0, 0.4))
        victim = int(random.choice(sorted(set(workers(process.pid)) - killed)))
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
        assert receipts_in(place) < 8  # so that what was struck has not been tried again yet
    output, words = process.communicate(timeout=300)
    assert process.returncode == 0, words
    assert "complete" in output
    assert "worker processes died (SIGKILL(-9))" in words
    assert "Traceback" not in words
    run(tmp_path / "serial.zarr", samples, jobs=1)
    assert contents(place) == contents(tmp_path / "serial.zarr")
    assert verify.full_faults(store.open_store(Folder(place))) == []


@LINUX
@pytest.mark.parametrize(
    ("jobs", "number", "how", "trace"),
    [
        ("2", signal.SIGKILL, "SIGKILL(-9)", ""),
        ("2", signal.SIGSEGV, "SIGSEGV(-11)", "Fatal Python error: Segmentation fault"),
        ("1", signal.SIGKILL, "SIGKILL(-9)", ""),
        ("1", signal.SIGSEGV, "SIGSEGV(-11)", "Fatal Python error: Segmentation fault"),
    ],
)
def test_a_shard_that_kills_its_worker_twice_is_failed_and_names_the_sample(tmp_path, serial, jobs, number, how, trace):
    place = tmp_path / "deadly.zarr"
    process = start(place, "-j", jobs, STUB_DEADLY_SAMPLE="40", STUB_SIGNAL=str(int(number)))
    _, words = process.communicate(timeout=300)
    line = f"the worker process died twice, at sample 40: {how}"
    assert process.returncode == IncompleteError.exit_code, words
    assert f"shard 1: {line}" in words or (trace and trace in words)
    dataset = store.open_store(Folder(place))
    assert (store.made(dataset), failures.failed(dataset)) == ({0, 2, 3, 4}, {1})
    receipt = failures.of(dataset, 1)
    assert (receipt.shard, receipt.start, receipt.stop, receipt.line) == (1, 32, 64, line)
    assert (receipt.host, receipt.identity) == (provenance.host(), provenance.identity()["key"])
    assert trace in receipt.traceback
    assert bool(trace) == bool(receipt.traceback)
    assert run(place, jobs=1).missing == ()
    assert failures.failed(dataset) == set()
    assert not (place / receipts.failed_name(1)).exists()
    assert contents(place) == serial


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_sample_leaves_a_receipt_until_its_shard_is_made(tmp_path, serial, monkeypatch, jobs):
    monkeypatch.setenv("STUB_BAD_SAMPLE", "40")
    dataset = run(tmp_path / "bad.zarr", jobs=jobs).store
    assert failures.of(dataset, 1).line == "sample 40 (seed 20250727): NaN after stage field"
    assert run(tmp_path / "bad.zarr", jobs=1).missing == (1,)
    monkeypatch.delenv("STUB_BAD_SAMPLE")
    assert run(tmp_path / "bad.zarr", jobs=1).made == 32
    assert not (dataset.place.root / receipts.failed_name(1)).exists()
    assert contents(tmp_path / "bad.zarr") == serial


def test_a_fault_of_ours_leaves_its_traceback_sealed(tmp_path):
    def broken(chosen, first, stop):
        return {name: array[:, None] for name, array in stub.simulate(chosen, first, stop).items()}

    dataset = run(tmp_path / "broken.zarr", 10, jobs=1, simulate=broken).store
    assert "topography: simulated" in failures.of(dataset, 0).traceback
    edit(dataset.place.root / receipts.failed_name(0), lambda document: document.update(line="all is well"))
    with pytest.raises(DamagedError, match="altered"):
        failures.of(dataset, 0)


# The disk


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of ``size`` bytes; skip where we may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder, leave):
    """Take all space of a file system but about ``leave`` bytes, whoever else may take some of it meanwhile."""
    with (folder / "other work").open("ab") as file:
        file.truncate(0)
        while (wanted := shutil.disk_usage(folder).free - leave) > 0:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), wanted)
            except OSError as error:
                if error.errno != errno.ENOSPC:  # less is free than a moment ago
                    raise


def bytes_of(place):
    return sum(path.stat().st_blocks * 512 for path in place.rglob("*"))


def refused(action):
    """What the disk had to say, if anything."""
    try:
        action()
    except DiskError as error:
        return str(error)
    return None


@LINUX
def test_a_disk_that_fills_up_at_random_moments_tears_nothing(tmp_path, whole, serial):
    random = np.random.default_rng(3)
    needed = bytes_of(whole)
    with small_disk(tmp_path / "disk", 3 * needed) as disk:
        place = disk / "full.zarr"
        words = []
        for _ in range(8):
            calls = iter(range(int(random.integers(0, 2)), -1, -1))

            def filling(chosen, first, stop, calls=calls):
                if next(calls, None) == 0:
                    fill(disk, int(random.uniform(0, needed / 5)))  # some files of the shard find room, others do not
                return stub.simulate(chosen, first, stop)

            words.append(refused(lambda filling=filling: run(place, jobs=1, simulate=filling)))
            (disk / "other work").unlink(missing_ok=True)
            dataset = store.open_store(Folder(place))
            assert verify.full_faults(dataset) == []
            assert list(place.rglob("*.part")) == []
            for shard in sorted(store.made(dataset))[:2]:
                dataset.place.remove(receipts.name(shard))  # so that the disk has something to refuse next time
        told = [line for line in words if line is not None]
        assert len(told) >= 6
        assert all("full.zarr/" in line and "No space left on device" in line for line in told)
        assert run(place, jobs=1).missing == ()
        assert contents(place) == serial


@LINUX
def test_workers_on_a_full_disk_end_the_run_with_exit_5_and_the_path(tmp_path, whole, serial):
    with small_disk(tmp_path / "disk", 3 * bytes_of(whole)) as disk:
        place = disk / "full.zarr"
        process = start(place, "-j", "2", STUB_PAUSE_s="0.03")
        wait_for(lambda: receipts_in(place) >= 1)
        fill(disk, 0)
        _, words = process.communicate(timeout=300)
        assert process.returncode == DiskError.exit_code, words
        assert f"{place}/" in words
        assert "cannot write" in words
        assert "bytes to it: No space left on device" in words
        (disk / "other work").unlink()
        assert run(place, jobs=1).missing == ()
        assert contents(place) == serial


def test_a_limit_on_the_length_of_files_is_exit_5_and_lifting_it_completes(tmp_path, serial):
    place = tmp_path / "limited.zarr"
    limit = (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    process = start(place, "-j", "2", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    _, words = process.communicate(timeout=300)
    assert process.returncode == DiskError.exit_code, words
    assert len([line for line in words.strip().splitlines() if "samples/s" not in line]) == 1  # but for progress
    assert "bytes to it: File too large" in words
    assert run(place, jobs=1).missing == ()
    assert contents(place) == serial


@pytest.mark.parametrize("begun", [False, True])
def test_too_little_room_is_refused_before_any_shard_is_made(tmp_path, whole, monkeypatch, begun):
    place = tmp_path / "tight.zarr"
    if begun:
        run(place, jobs=1, part=(0, 5))
    true = sum(path.stat().st_size for path in whole.rglob("*") if "c" in path.parts) * (118 if begun else 150) / 150
    there = receipts_in(place)
    options = {"jobs": 1, "prepare": lambda chosen: stub.simulate(chosen, 0, 1)}
    monkeypatch.setattr(Folder, "free_bytes", lambda _: int(0.9 * true))
    with pytest.raises(DiskError, match=r"tight\.zarr: no room: \d+ samples need about [\d.]+ MB, [\d.]+ MB are free"):
        run(place, **options)
    assert receipts_in(place) == there
    monkeypatch.setattr(Folder, "free_bytes", lambda _: int(1.1 * true))
    assert run(place, **options).missing == ()


# Damage


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
        return
    if how == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes({"emptied": b"", "truncated": bytes(data[:-1]), "flipped": bytes(data)}[how])


def marks(place, shards):
    """What changes when one of these shards' files is written again."""
    files = [file for shard in shards for file in place.glob(f"*/c/{shard}/**/*") if file.is_file()]
    files += [file for shard in shards for file in (*place.glob(f"*/c/{shard}"), place / receipts.name(shard))]
    return {str(file): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files if file.is_file()}


@pytest.mark.parametrize("how", ["missing", "emptied", "truncated", "flipped"])
def test_a_damaged_file_of_any_array_is_named_and_just_its_shard_is_made_again(place, serial, how):
    dataset = store.open_store(Folder(place))
    expected = {(number % 3, spec.name) for number, spec in enumerate(dataset.layout.arrays)}
    for shard, array in expected:
        damage(place / dataset.layout.file_of(dataset.layout.array(array), shard), how)
    assert {(fault.shard, fault.array) for fault in verify.full_faults(dataset)} == expected
    untouched = marks(place, [3, 4])
    outcome = run(place, jobs=1, repair=True)
    assert (outcome.made, outcome.missing, outcome.damaged) == (3 * 32, (), ())
    assert outcome.notes == ("3 damaged shards are made again: 0, 1, 2",)
    assert marks(place, [3, 4]) == untouched
    assert len(untouched) == 2 * (len(dataset.layout.arrays) + 1)
    assert contents(place) == serial
    assert verify.full_faults(dataset) == []


def test_damaged_receipts_and_documents_of_arrays_are_mended(place, serial):
    dataset = store.open_store(Folder(place))
    documents = {spec.name: (place / spec.name / store.ROOT).read_bytes() for spec in dataset.layout.arrays}
    hows = ["missing", "emptied", "truncated", "flipped"]
    for number, array in enumerate(documents):
        damage(place / array / store.ROOT, hows[number % 4])
    for shard, how in enumerate(hows[1:]):
        damage(place / receipts.name(shard), how)
    named = {str(fault) for fault in verify.full_faults(dataset)}
    assert len(named) == len(documents) + 3
    untouched = marks(place, [3, 4])
    assert run(place, jobs=1, repair=True).notes == ("3 damaged shards are made again: 0, 1, 2",)
    assert {array: (place / array / store.ROOT).read_bytes() for array in documents} == documents
    assert marks(place, [3, 4]) == untouched
    assert contents(place) == serial
    assert verify.full_faults(dataset) == []


def test_a_root_that_disagrees_with_itself_is_not_repaired(place):
    edit(place / store.ROOT, lambda root: root["attributes"].update(recipe_sha256="0" * 64))
    with pytest.raises(DamagedError, match="cannot be repaired"):
        run(place, jobs=1, repair=True)


def test_a_part_repairs_its_own_shards_only(place):
    dataset = store.open_store(Folder(place))
    for shard in (1, 2):
        damage(place / dataset.layout.file_of(dataset.layout.array("ideal"), shard), "flipped")
    assert run(place, jobs=1, part=(1, 2), repair=True).made == 32
    assert {fault.shard for fault in verify.full_faults(dataset)} == {2}


@pytest.mark.parametrize("how", ["missing", "emptied", "truncated"])
def test_a_damaged_store_is_not_called_complete(place, capsys, monkeypatch, how):
    arguments = ["generate", "wse2-defects", str(place), "-n", str(SAMPLES), "-j", "1"]
    monkeypatch.setattr(factory.sample, "prepare", stub.prepare)
    assert cli.run(arguments) == 0
    damage(place / "ideal" / "c" / "1" / "0" / "0", how)
    capsys.readouterr()
    assert cli.run(arguments) == DamagedError.exit_code
    told = capsys.readouterr()
    assert "complete" not in told.out
    assert "DAMAGED: shard 1: ideal: ideal/c/1/0/0" in told.err
    assert "--repair" in told.err


# Two at once, and others' stores


@LINUX
def test_two_runs_at_once_end_well_and_make_nothing_that_was_there(tmp_path):
    samples, place, log = 256, tmp_path / "both.zarr", tmp_path / "log"  # eight shards
    both = [start(place, "-j", jobs, samples=samples, STUB_PAUSE_s="0.01", STUB_LOG=str(log)) for jobs in ("1", "2")]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    run(tmp_path / "serial.zarr", samples, jobs=1)
    assert contents(place) == contents(tmp_path / "serial.zarr")
    assert verify.full_faults(store.open_store(Folder(place))) == []
    begun = {}
    for line in log.read_text().splitlines():
        time_s, _, first = line.split()
        begun.setdefault(int(first), []).append(float(time_s))
    assert sorted(begun) == list(range(0, samples, 32))
    longest_s = 0.32 + patience()  # of a shard: the pause, and the writing
    assert all(max(times) - min(times) < longest_s for times in begun.values()), begun


def test_what_another_run_has_made_meanwhile_is_not_made_again(tmp_path, serial):
    place = tmp_path / "overtaken.zarr"

    def overtaken(chosen, first, stop):
        if receipts_in(place) == 0:
            assert run(place, jobs=1).made == SAMPLES
            overtaken.marks = marks(place, range(5))
        return stub.simulate(chosen, first, stop)

    outcome = run(place, jobs=1, simulate=overtaken)
    assert outcome.missing == ()
    assert outcome.made in (22, 32)  # the one it had begun
    changed = {file for file, mark in marks(place, range(5)).items() if overtaken.marks[file] != mark}
    assert len(changed) == len(outcome.store.layout.arrays) + 1
    assert contents(place) == serial


def test_a_store_of_another_version_is_refused_with_both_named(place):
    edit(place / store.ROOT, lambda root: root["attributes"]["versions"].update(stmfab="0.0.9"))
    ours = provenance.versions()["stmfab"]
    with pytest.raises(StoreError, match=rf"copy\.zarr: made by stmfab 0\.0\.9, this is {ours}") as caught:
        run(place, jobs=1)
    assert caught.value.exit_code == 2


def test_another_machines_store_is_a_note_and_refused_if_strict(place):
    edit(place / store.ROOT, lambda root: root["attributes"]["identity"].update(key="0" * 16, cpu="z80"))
    (place / receipts.name(1)).unlink()
    before = sorted(place.rglob("*"))
    with pytest.raises(StoreError, match=r"other last bits.*cpu z80 there") as caught:
        run(place, jobs=1, strict=True)
    assert caught.value.exit_code == 2
    assert sorted(place.rglob("*")) == before
    outcome = run(place, jobs=1)
    assert "other last bits" in outcome.notes[0]
    assert store.receipt_of(outcome.store, 1).identity == provenance.identity()["key"]


def test_a_strict_run_on_a_store_of_its_own_is_as_any(tmp_path, serial):
    assert run(tmp_path / "own.zarr", jobs=1, strict=True).missing == ()
    assert contents(tmp_path / "own.zarr") == serial


def writer(monkeypatch):
    """What stands for this machine and this process in temporary names."""
    names = []
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda partial, _: names.append(partial.name))
        Folder(Path()).write("probe", b"")
    return names[0].removeprefix(".probe.").removesuffix(".part").split("-")[:2]


def planted(place, name, age_s):
    """Leftovers of one writer wherever they can lie: in folders of shards, of arrays, of receipts, beside the store."""
    files = ("receipts/.00000001.json", "ideal/c/1/0/.0", "defect_count/c/.1", "ideal/.zarr.json", ".zarr.json")
    paths = [place / f"{file}.{name}.part" for file in files]
    for path in paths:
        path.write_bytes(b"half")
    folder = place.with_name(f"{place.name}.new-{name}")
    folder.mkdir()
    for path in (*paths, folder):
        os.utime(path, (time.time() - age_s,) * 2)
    return [*paths, folder]


def test_leftovers_of_writers_that_are_gone_are_swept_and_no_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "swept.zarr"
    machine, pid = writer(monkeypatch)
    assert int(pid) == os.getpid()
    with subprocess.Popen(["true"]) as ended:
        pass
    dead, chance, old_s = ended.pid, "0123abcd", ABANDONED_s + 60
    run(place, jobs=1, part=(0, 5))
    (place / "ideal" / "c" / "1" / "0").mkdir(parents=True)
    gone = planted(place, f"{machine}-{dead}-{chance}", 0)
    gone += planted(place, f"00000000-{dead}-{chance}", old_s)  # another machine's
    gone += planted(place, f"{dead}-{chance}", old_s)
    kept = planted(place, f"{machine}-{pid}-{chance}", 0)
    kept += planted(place, f"00000000-{dead}-{chance[::-1]}", 0)
    (place / ".mine.part").write_text("not a temporary name of ours")
    run(place, jobs=1, part=(1, 5))
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
    assert (place / ".mine.part").exists()


@LINUX
def test_a_killed_run_leaves_nothing_that_the_next_does_not_sweep(tmp_path):
    place = tmp_path / "left.zarr"
    process = start(place, "-j", "2")
    wait_for(lambda: list(place.rglob("*.part")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    wait_for(lambda: not group(process.pid))
    assert run(place, jobs=1).missing == ()
    assert list(place.rglob("*.part")) == []


@LINUX
def test_temporary_folders_of_killed_runs_go_with_the_next_run_and_those_of_the_living_stay(tmp_path):
    temporary, place = tmp_path / "tmp", tmp_path / "left.zarr"
    temporary.mkdir()
    where = {"TMPDIR": str(temporary)}
    for jobs in ("1", "2"):
        process = start(place, "-j", jobs, **where, STUB_PAUSE_s="0.05")
        wait_for(lambda leader=process.pid: any(f"-{leader}-" in path.name for path in temporary.glob("stmfab-run-*")))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        assert len(list(temporary.glob("stmfab-run-*"))) == 1  # its own: that of the one before is gone
    there = next(temporary.glob("stmfab-run-*"))
    kept = [
        there.with_name(there.name.replace(f"-{process.pid}-", f"-{os.getpid()}-")),
        there.with_name(there.name.replace(there.name.split("-")[2], "00000000")),  # another machine's
        there.with_name("stmfab-run-mine"),
    ]
    for path in kept:
        path.mkdir()
    last = start(place, "-j", "1", **where)
    _, words = last.communicate(timeout=120)
    assert last.returncode == 0, words
    assert sorted(temporary.glob("stmfab-*")) == sorted(kept)
