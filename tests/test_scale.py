"""A store of ten thousand shards is shown in seconds and in little memory."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stmfab import provenance, receipts, recipe, store
from stmfab.place import Folder
from tests import stub

SHARDS = 10_000
ROOT = Path(__file__).parent.parent
LIMIT_s, LIMIT_MB = 6.0, 500  # of the processor, whose seconds count double on a busy machine

MEASURED = """
import resource, sys
from pathlib import Path
from stmfab import cli
code = cli.run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
most = Path("/proc/self/status")  # ru_maxrss is that of the process that started this one, if it is larger
lines = most.read_text().splitlines() if most.exists() else []
memory = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")] or [used.ru_maxrss]
heavy = {"numba", "scipy", "zarr", "asyncio", "joblib", "pydantic", "yaml", "matplotlib"} & set(sys.modules)
print(used.ru_utime + used.ru_stime, memory[0] / 1000, *heavy, file=sys.stderr)
sys.exit(code)
"""


def inspected(path, *options):
    """The output of ``stmfab inspect``, its processor time in s, its memory in MB, the heavy libraries it imported."""
    command = [sys.executable, "-c", MEASURED, "inspect", str(path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, megabytes, *heavy = done.stderr.split()
    return done.stdout, float(seconds), float(megabytes), heavy


def write_receipts(dataset, one, shards):
    """Write the receipt of one shard for many: the bounds and the files' names are theirs, all else is its own."""
    files = {
        name: dataclasses.replace(record, file=record.file.replace("/c/0", "/c/SHARD"))
        for name, record in one.arrays.items()
    }
    body = dataclasses.asdict(dataclasses.replace(one, shard="SHARD", start="START", stop="STOP", arrays=files))
    words = provenance.canonical(body).decode()
    for shard in shards:
        start, stop = dataset.layout.bounds(shard)
        theirs = words.replace("/c/SHARD", f"/c/{shard}").replace('"SHARD"', str(shard))
        theirs = theirs.replace('"START"', str(start)).replace('"STOP"', str(stop))
        seal = provenance.sha256(theirs.encode())
        (dataset.place.root / receipts.name(shard)).write_text(f'{{"seal":"{seal}",{theirs[1:]}')
    assert store.receipt_of(dataset, shards[-1]).stop == stop


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.zarr"
    chosen = recipe.load("wse2-defects", samples=SHARDS * 1024, overrides=["targets.clean={kind: ideal}"])
    dataset = store.create(Folder(path), chosen)
    assert (len(dataset.layout.arrays), dataset.layout.n_shards) == (21, SHARDS)
    small = recipe.load("wse2-defects", samples=4, overrides=["targets.clean={kind: ideal}"])
    other = store.create(Folder(path.with_name("small.zarr")), small)
    write_receipts(
        dataset, store.write_shard(other, 0, stub.simulate(small, 0, 4), begun_s=time.monotonic()), range(SHARDS)
    )
    return path


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_ten_thousand_shards_are_shown_in_seconds_and_little_memory(large, options):
    words, seconds, megabytes, heavy = inspected(large, *options)
    print(f"{SHARDS} shards {options}: {seconds:.2f} s, {megabytes:.0f} MB")
    if options:
        found = json.loads(words)
        assert (found["complete"], found["shards_made"], found["samples_made"]) == (True, SHARDS, SHARDS * 1024)
        assert sum(found["provenance"]["hosts"].values()) == SHARDS
    else:
        assert f"complete; {SHARDS * 1024} samples" in words
    assert heavy == []  # they take as long as reading two thousand receipts
    assert seconds < LIMIT_s
    assert megabytes < LIMIT_MB
