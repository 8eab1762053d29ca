"""Faults at random, for minutes: ``python -m tests.soak [MINUTES] [SEED]``.

Each round makes the same small dataset over the stub while something goes wrong at a random moment, runs the command
again until it is complete, and holds every byte against a serial run. Any difference ends it with exit code 1.
"""

import collections
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from stmfab import store, verify
from stmfab.place import Folder
from tests.runs import contents, run, start, workers

LATEST_s = 6.0  # after a run was started: into import, shards, or the end
MOST_RUNS = 12  # of one command, before a round counts as never done


def kill_worker(process, random):
    """SIGKILL of one worker; the run goes on."""
    victims = workers(process.pid)
    if victims:
        os.kill(int(random.choice(victims)), signal.SIGKILL)


def kill_parent(process, random):
    """SIGKILL of the run; its workers die with it."""
    process.kill()


def kill_group(process, random):
    """SIGKILL of the run and its workers."""
    os.killpg(process.pid, signal.SIGKILL)


def terminate(process, random):
    """SIGTERM, of a scheduler."""
    process.terminate()


def interrupt(process, random):
    """SIGINT of the group, of a terminal."""
    os.killpg(process.pid, signal.SIGINT)


FAULTS = (kill_worker, kill_parent, kill_group, terminate, interrupt)


def damage(place, random):
    """Empty, cut, flip or remove a file of a shard; return whether there was one."""
    files = sorted(path for path in place.glob("*/c/**/*") if path.is_file())
    if not files:
        return False
    path = files[random.integers(len(files))]
    data = bytearray(path.read_bytes())
    what = random.integers(4)
    if what == 0 or not data:
        path.unlink()
    elif what == 3:
        data[random.integers(len(data))] ^= 1 << random.integers(8)
        path.write_bytes(data)
    else:
        path.write_bytes(data[: 0 if what == 1 else len(data) // 2])
    return True


def one_round(place, random, counts):
    """Make a dataset through one or two faults; return how many runs it took."""
    fault = FAULTS[random.integers(len(FAULTS))]
    jobs = str(random.integers(1, 4))
    process = start(place, "-j", jobs, STUB_PAUSE_s="0.005")
    twin = start(place, "-j", "1", STUB_PAUSE_s="0.005") if random.random() < 0.3 else None
    time.sleep(random.uniform(0, LATEST_s))
    if process.poll() is None:
        fault(process, random)
        counts[fault.__name__] += 1
    process.communicate(timeout=300)
    if twin is not None:
        twin.communicate(timeout=300)
        counts["two at once"] += 1
    repair = place.exists() and random.random() < 0.4 and damage(place, random)
    counts["damage"] += bool(repair)
    for runs in range(1, MOST_RUNS):
        again = start(place, "-j", jobs, *(["--repair"] if repair else []))
        _, words = again.communicate(timeout=300)
        if again.returncode == 0:
            return runs
    raise AssertionError(f"never complete: {words}")


def main(minutes=5.0, seed=None):
    """Run rounds for some minutes; print what was done."""
    seed = int.from_bytes(os.urandom(4)) if seed is None else int(seed)
    random, counts = np.random.default_rng(seed), collections.Counter()
    end = time.monotonic() + 60 * float(minutes)
    with tempfile.TemporaryDirectory(prefix="stmfab-soak-") as folder:
        run(Path(folder) / "serial.zarr", jobs=1)
        serial = contents(Path(folder) / "serial.zarr")
        while time.monotonic() < end:
            place = Path(folder) / "soaked.zarr"
            counts["runs"] += 1 + one_round(place, random, counts)
            assert contents(place) == serial, f"other bytes in round {counts['rounds']} of seed {seed}"
            assert verify.full_faults(store.open_store(Folder(place))) == []
            shutil.rmtree(place)
            counts["rounds"] += 1
    rounds = counts.pop("rounds")
    print(f"soak: {rounds} rounds, losses 0, seed {seed}; " + ", ".join(f"{n} {what}" for what, n in counts.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
