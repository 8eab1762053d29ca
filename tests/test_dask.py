"""Shards made by dask: workers may be killed, the whole run may be interrupted, and the bytes are the same."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stmfab import cli, dask_engine, failures, store, verify
from stmfab.errors import IncompleteError
from stmfab.place import Folder
from tests.runs import LINUX, ROOT, contents, group, patience, receipts_in, run, start, wait_for
from tests.runs import workers as workers_of

pytest.importorskip("distributed", reason="needs the extra dask")

CLUSTER = """
import sys, distributed
if __name__ == "__main__":
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0")
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    place = tmp_path_factory.mktemp("serial") / "serial.zarr"
    run(place, jobs=1)
    return contents(place)


def told(words):
    """Lines on stderr but those of the progress and empty ones (of click, after Ctrl-C)."""
    return [line for line in words.splitlines() if line and "samples/s" not in line]


def workers(leader):
    """Worker processes of a run, without the tracker of its semaphores."""
    return workers_of(leader, named=(b"spawn_main",))


@LINUX
def test_workers_killed_again_and_again_are_replaced_and_the_bytes_are_the_same(tmp_path):
    place = tmp_path / "killed.zarr"
    random = np.random.default_rng()
    log = tmp_path / "log"
    process = start(place, "--backend", "dask", "-j", "2", samples=86, STUB_PAUSE_s="0.03", STUB_LOG=str(log))
    wait_for(lambda: workers(process.pid))
    time.sleep(random.uniform(0.0, 1.5))
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    wait_for(log.exists, seconds=90)
    time.sleep(random.uniform(0.0, 0.7))  # of the 1.0 that a shard takes
    for pid in workers(process.pid):
        os.kill(pid, signal.SIGKILL)
    words = process.communicate(timeout=120)
    assert process.returncode == 0, words
    assert all(line.startswith("note: ") and "worker processes died (SIGKILL(-9))" in line for line in told(words[1]))
    assert len(told(words[1])) == 1
    assert "made 86 samples" in words[0]
    assert "with 2 workers" in words[0]
    run(tmp_path / "serial.zarr", 86, jobs=1)
    assert contents(place) == contents(tmp_path / "serial.zarr")
    assert verify.full_faults(store.open_store(Folder(place))) == []
    wait_for(lambda: not group(process.pid), seconds=1.0)


@LINUX
def test_shards_that_cannot_be_made_leave_receipts_and_the_others_are_made(tmp_path, serial):
    place = tmp_path / "deadly.zarr"
    faults = {"STUB_DEADLY_SAMPLE": "40", "STUB_SIGNAL": str(int(signal.SIGSEGV)), "STUB_BAD_SAMPLE": "100"}
    process = start(place, "--backend", "dask", "-j", "2", **faults)
    out, words = process.communicate(timeout=100)
    assert process.returncode == IncompleteError.exit_code, words
    how = "SIGSEGV(-11)"
    assert told(words)[0] == f"note: 1 worker processes died ({how}); the shards they were at were tried again alone: 1"
    assert told(words)[-1] == f"{place}: 2 of 5 shards are missing"
    assert "made 86 samples" in out
    dataset = store.open_store(Folder(place))
    assert (store.made(dataset), failures.failed(dataset)) == ({0, 2, 4}, {1, 3})
    deadly, bad = failures.of(dataset, 1), failures.of(dataset, 3)
    assert deadly.line == f"the worker process died twice, at sample 40: {how}"
    assert "Fatal Python error: Segmentation fault" in deadly.traceback
    assert (bad.line, bad.traceback) == ("sample 100 (seed 20250727): NaN after stage field", "")
    assert run(place, jobs=1).made == 64
    assert contents(place) == serial


@LINUX
@pytest.mark.parametrize(
    ("number", "code", "whole_group", "moment", "jobs"),
    [
        (signal.SIGINT, 130, True, "working", 1),  # Ctrl-C at a terminal
        (signal.SIGTERM, 143, True, "starting", 2),  # a batch system
        (signal.SIGKILL, -9, False, "starting", 2),
    ],
)
def test_interrupted_run_leaves_at_once_without_orphans(tmp_path, number, code, whole_group, moment, jobs):
    place = tmp_path / "interrupted.zarr"
    process = start(place, "--backend", "dask", "-j", str(jobs), STUB_PAUSE_s="0.1")
    if moment == "working":
        wait_for(lambda: receipts_in(place) >= 1, seconds=90)
    else:
        wait_for(place.exists)
        time.sleep(np.random.default_rng().uniform(0.2, 2.0))
    begun = time.monotonic()
    (os.killpg if whole_group else os.kill)(process.pid, number)
    _, words = process.communicate(timeout=30)
    assert time.monotonic() - begun < 5 * patience()  # two seconds, if the machine has no other work
    assert process.returncode == code
    farewell = ["interrupted; finished shards are kept, and the same command goes on from there"]
    assert told(words) == (farewell if code > 0 else [])
    wait_for(lambda: not group(process.pid), seconds=3.0)


@pytest.fixture
def cluster(tmp_path):
    """A cluster that was there before, whose workers have two threads and another working folder."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "cluster.py").write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=tmp_path / "elsewhere",
        env={**os.environ, "PYTHONPATH": str(ROOT), "STUB_PAUSE_s": "0.01"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_cluster_that_is_there_makes_the_same_bytes_until_it_goes(tmp_path, serial, cluster):
    address = cluster.stdout.readline().strip()
    place, endless = tmp_path / "there.zarr", tmp_path / "endless.zarr"
    relative = os.path.relpath(place, ROOT)
    runs = [  # at once
        start(relative, "--backend", "dask", "--scheduler", address, "--part", "0/2"),
        start(endless, "--backend", "dask", "--scheduler", address, samples=1500),
    ]
    out, words = runs[0].communicate(timeout=120)
    assert told(words) == []
    assert "with 1 worker\n" in out
    assert store.made(store.open_store(Folder(place))) == {0, 2, 4}
    assert run(place, jobs=1).made == 64
    assert contents(place) == serial

    wait_for(lambda: receipts_in(endless) >= 1, seconds=90)
    os.killpg(cluster.pid, signal.SIGKILL)
    _, words = runs[1].communicate(timeout=120)
    assert runs[1].returncode == IncompleteError.exit_code, words
    assert told(words) == [f"{endless}: the dask cluster is gone; the same command goes on from here"]


MISTAKES = {
    "no dask": (["--scheduler", "tcp://127.0.0.1:9"], "--scheduler is for --backend dask"),
    "nobody there": (["--backend", "dask", "--scheduler", "tcp://127.0.0.1:9"], "no dask scheduler answers there"),
    "no address": (["--backend", "dask", "--scheduler", "nonsense"], "no dask scheduler answers there"),
    "no such backend": (["--backend", "spark"], "'spark'"),
}


@pytest.mark.parametrize(("options", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_a_line(tmp_path, monkeypatch, capfd, options, words):
    monkeypatch.setattr(dask_engine, "CONNECT_s", 1)
    assert cli.run(["generate", "wse2-demo", str(tmp_path / "a.zarr"), *options]) == 2
    output = capfd.readouterr().err
    assert words in output.splitlines()[-1]
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


def test_without_dask_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert cli.run(["generate", "wse2-demo", str(tmp_path / "a.zarr"), "--backend", "dask"]) == 2
    assert capsys.readouterr().err == "--backend dask needs dask: pip install 'stmfab[dask]'\n"
    assert list(tmp_path.iterdir()) == []


def test_extras_are_imported_only_where_they_are_asked_for():
    code = "import sys; from stmfab import cli, factory, store; print({'distributed', 'obstore'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
