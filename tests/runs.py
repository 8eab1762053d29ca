"""Runs of the factory over the stub, in this process or as a program, and what they are watched by."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stmfab import factory, recipe
from stmfab.place import Folder
from tests import stub

SAMPLES = 150  # five shards, the last of 22
ROOT = Path(__file__).parent.parent
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def run(place, samples=SAMPLES, **options):
    chosen = recipe.load("wse2-defects", samples=samples)
    stubs = {"prepare": stub.prepare, "simulate": stub.simulate}
    return factory.generate(chosen, Folder(place), **{**stubs, **options})


def contents(place):
    """The bytes of every shard of every array."""
    return {
        str(path.relative_to(place)): path.read_bytes() for path in sorted(place.glob("*/c/**/*")) if path.is_file()
    }


def start(place, *options, samples=SAMPLES, before=None, **environment):
    """The command line over the stub, in a process group of its own; ``before`` is called in the process first."""
    command = [sys.executable, "-m", "tests.stub", "generate", "wse2-defects", str(place), "-n", str(samples), *options]
    return subprocess.Popen(
        command,
        preexec_fn=before,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def group(leader):
    """Living processes of a process group, but the leader."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, process_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == leader and state != "Z" and int(folder.name) != leader:
            found.append(int(folder.name))
    return found


def workers(leader, *, named=(b"popen_loky", b"tests.stub")):
    """Worker processes of a run, spawned or forked, without the tracker of its semaphores."""
    found = []
    for pid in group(leader):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if any(name in command for name in named):
            found.append(pid)
    return found


def patience():
    """How much longer everything takes here, in this minute or at this moment, than with no other work."""
    running = Path("/proc/loadavg")
    now = int(running.read_text().split()[3].partition("/")[0]) if running.exists() else 0
    return max(1.0, max(os.getloadavg()[0], now) / (os.cpu_count() or 1))


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds * patience()
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def receipts_in(place):
    return len(list(place.glob("receipts/????????.json")))
