"""A store in a bucket is a store: made from anywhere at once, killed, resumed, verified, read; on a real server."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stmfab import bucket, cli, factory, founding, inspecting, recipe, sample, store, verify
from stmfab.dataset import open_dataset
from stmfab.errors import DamagedError, DiskError, StoreError
from stmfab.place import Folder
from tests import stub
from tests.runs import SAMPLES, contents, run, start, wait_for

obstore = pytest.importorskip("obstore", reason="needs the extra s3")
pytest.importorskip("moto", reason="needs moto, of the extra dev")


@contextlib.contextmanager
def serving():
    """An S3 server of its own on this machine, and the environment of its users."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], **quiet)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        try:
            wait_for(lambda: answers(port))
            ask("mine", "PUT")
            yield server
        finally:
            server.kill()
            server.wait()


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def ask(path, method, data=None):
    url = f"{os.environ['AWS_ENDPOINT_URL']}/{path}"
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "text/plain"})
    with urllib.request.urlopen(request) as reply:
        assert reply.status == 200


@pytest.fixture(scope="module", autouse=True)
def server():
    with serving() as process:
        yield process


@pytest.fixture
def place(request):
    return bucket.Bucket("mine", f"stores/{request.node.name}.zarr")


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    path = tmp_path_factory.mktemp("serial") / "serial.zarr"
    run(path, jobs=1)
    return path


def objects(place):
    """The bytes of every shard of every array."""
    names = [found["path"] for batch in obstore.list(place.objects) for found in batch]
    return {name: place.read(name) for name in names if "/c/" in name}


@pytest.fixture(scope="module")
def whole(server, serial):
    """A finished store in the bucket; not to be altered."""
    place = bucket.Bucket("mine", "stores/whole.zarr")
    made = factory.generate(
        recipe.load("wse2-defects", samples=SAMPLES), place, jobs=2, prepare=stub.prepare, simulate=stub.simulate
    )
    assert (made.made, made.missing, made.failures) == (SAMPLES, (), ())
    return place


def test_two_workers_make_the_bytes_that_one_makes_in_a_folder(whole, serial):
    assert objects(whole) == contents(serial)


def test_parts_at_once_and_one_killed_and_resumed_make_the_bytes_of_a_folder(place, serial):
    parts = [start(place, "--part", f"{k}/2", "-j", "1", STUB_PAUSE_s="0.01") for k in range(2)]
    wait_for(place.exists)
    time.sleep(np.random.default_rng().uniform(0.0, 1.0))
    parts[0].send_signal(signal.SIGKILL)
    words = [part.communicate(timeout=120) for part in parts]
    assert parts[1].returncode == 0, words
    again = start(place, "-j", "1")
    words = again.communicate(timeout=120)
    assert again.returncode == 0, words
    assert objects(place) == contents(serial)
    there, here = store.open_store(place), store.open_store(Folder(serial))
    assert there.attributes["statistics"] == here.attributes["statistics"]
    for spec in here.layout.arrays:
        np.testing.assert_array_equal(store.read(there, spec.name, 0, SAMPLES), store.read(here, spec.name, 0, SAMPLES))


def test_every_command_reads_a_bucket(whole, serial, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inspecting, "GALLERY_SAMPLES", 4)
    for words in (["--json"], ["--verify", "full"], ["--verify"], ["--sample", "3"], ["--gallery", "sheet.png"]):
        assert cli.run(["inspect", str(whole), *words]) == 0
    monkeypatch.setattr(sample, "simulate", stub.simulate)
    for words in (["--recheck", "2"], ["--recipe"], ["--diff", str(serial)]):
        assert cli.run(["inspect", str(whole), *words]) == 0
    assert cli.run(["inspect", str(serial), "--diff", str(whole)]) == 0
    assert "s3://mine/stores/whole.zarr" in capsys.readouterr().out
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_stmfab_open_reads_a_bucket(whole, serial):
    pytest.importorskip("xarray")
    assert open_dataset(str(whole)).load().equals(open_dataset(serial).load())


def test_of_many_creators_at_once_one_is_first(place):
    documents = {"a/zarr.json": b"{}", "zarr.json": b"{}"}
    with ThreadPoolExecutor(8) as creators:
        firsts = list(creators.map(lambda _: bucket.Bucket(place.bucket, place.prefix).create(documents), range(8)))
    assert sorted(firsts) == [False] * 7 + [True]


def test_an_interrupted_creation_is_no_store_and_is_begun_again(place):
    chosen = recipe.load("wse2-defects", samples=SAMPLES)
    documents = founding.documents(chosen, store.planned(chosen))
    obstore.put(place.objects, "topography/zarr.json", documents["topography/zarr.json"])
    assert not place.exists()
    assert store.made(store.create(place, chosen)) == set()


@pytest.mark.parametrize("name", ["thesis.tex", "topography/c/0/0/0"])
def test_what_is_not_ours_is_left_alone(place, name):
    obstore.put(place.objects, name, b"mine")
    with pytest.raises(StoreError, match="is not a store of stmfab"):
        store.create(place, recipe.load("wse2-defects", samples=SAMPLES))
    assert [found["path"] for batch in obstore.list(place.objects) for found in batch] == [name]


def test_another_recipe_is_refused(whole):
    with pytest.raises(StoreError, match="holds another recipe: samples"):
        store.create(whole, recipe.load("wse2-defects", samples=SAMPLES + 1))


def test_a_store_grows_and_its_damage_is_found_and_mended(place, serial, monkeypatch):
    cheap = functools.partial(factory.generate, prepare=stub.prepare, simulate=stub.simulate)
    monkeypatch.setattr(factory, "generate", cheap)
    command = ["generate", "wse2-defects", str(place), "-j", "1"]
    assert cli.run([*command, "-n", "40"]) == 0  # the second shard is partial
    assert cli.run([*command, "-n", str(SAMPLES), "--extend"]) == 0
    dataset = store.open_store(place)
    data = bytearray(place.read("ideal/c/1/0/0"))
    data[len(data) // 2] ^= 1
    place.write("ideal/c/1/0/0", bytes(data))
    for _ in range(2):  # again does no harm
        place.remove(store.receipt_of(dataset, 2).arrays["lattice"].file)
    assert {(fault.shard, fault.array) for fault in verify.full_faults(dataset)} == {(1, "ideal"), (2, "lattice")}
    with pytest.raises(DamagedError, match="ideal of samples 32 to 64"):
        store.read(dataset, "ideal", 32, 64)
    assert cli.run([*command, "-n", str(SAMPLES)]) == DamagedError.exit_code
    assert cli.run([*command, "-n", str(SAMPLES), "--repair"]) == 0
    assert objects(place) == contents(serial)


def test_a_store_deleted_under_a_worker_is_not_begun_again(place):
    with pytest.raises(DiskError, match="the store is gone"):
        place.write("topography/c/0/0/0", b"late")
    assert not place.exists()


def test_a_lock_lets_one_in_at_a_time(place):
    place.create({"a/zarr.json": b"{}", "zarr.json": b"{}"})
    place.write("count", b"0")

    def count(_):
        with place.lock("count"):
            place.write("count", str(int(place.read("count")) + 1).encode())

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(8)))
    assert place.read("count") == b"8"
    assert place.size(".count.lock") is None


def test_a_lock_whose_holder_died_is_taken_over_by_one(place, monkeypatch):
    monkeypatch.setattr(bucket, "LOCK_PATIENCE_s", 0.3)
    obstore.put(place.objects, ".count.lock", b"of the dead")
    inside = threading.Semaphore(1)

    def alone(_):
        with place.lock("count"):
            assert inside.acquire(blocking=False)
            inside.release()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(alone, range(2)))


MISTAKES = {
    "no such bucket": ("s3://nobodys/a.zarr", {}, 5, "s3://nobodys/a.zarr: cannot read it: NoSuchBucket: "),
    "no server": ("s3://mine/a", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 5, "http://127.0.0.1:9: HTTP error"),
    "no endpoint": ("s3://mine/a", {"AWS_ENDPOINT_URL": "127.0.0.1:9"}, 2, "AWS_ENDPOINT_URL: '127.0.0.1:9'"),
    "no credentials": ("s3://mine/a", {"AWS_ACCESS_KEY_ID": ""}, 5, "no credentials: set AWS_ACCESS_KEY_ID"),
    "half of them": ("s3://mine/a", {"AWS_SECRET_ACCESS_KEY": None}, 5, "SecretAccessKey"),
    "no name": ("s3://mine", {}, 2, "legal: a folder, or s3://BUCKET/NAME"),
    "no name but a slash": ("s3://mine/", {}, 2, "legal: a folder, or s3://BUCKET/NAME"),
    "a way up": ("s3://mine/../a", {}, 2, "legal: a folder, or s3://BUCKET/NAME"),
    "another scheme": ("gs://mine/a", {}, 2, "legal: a folder, or s3://BUCKET/NAME"),
}


@pytest.mark.parametrize("command", [["generate", "wse2-demo"], ["inspect"]], ids=["generate", "inspect"])
@pytest.mark.parametrize(("text", "environment", "code", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_a_line(tmp_path, monkeypatch, capsys, command, text, environment, code, words):
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    assert cli.run([*command, text]) == code
    told = capsys.readouterr().err.strip()
    assert words in told
    assert len(told.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_credentials_that_the_server_does_not_know_are_told_in_a_line(monkeypatch, capsys):
    ask("moto-api/reset-auth", "POST", b"0")
    try:
        assert cli.run(["inspect", "s3://mine/a"]) == 5
    finally:
        ask("moto-api/reset-auth", "POST", b"inf")
    assert "cannot read it: InvalidAccessKeyId: The AWS Access Key Id you provided" in capsys.readouterr().err


def test_without_obstore_the_extra_is_named(monkeypatch, capsys):
    for name in ("obstore", "obstore.store"):
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.run(["inspect", "s3://mine/a"]) == 2
    assert capsys.readouterr().err == "s3://mine/a: s3:// needs obstore: pip install 'stmfab[s3]'\n"


def test_a_server_that_goes_away_ends_the_run_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(bucket, "TRIES", 1)
    with serving() as server:

        def simulate(chosen, first, stop):
            if first == 64:
                server.kill()
            return stub.simulate(chosen, first, stop)

        cheap = functools.partial(factory.generate, prepare=stub.prepare, simulate=simulate)
        monkeypatch.setattr(factory, "generate", cheap)
        assert cli.run(["generate", "wse2-defects", "s3://mine/a.zarr", "-n", str(SAMPLES), "-j", "1"]) == 5
    told = capsys.readouterr().err.strip()
    assert "HTTP error" in told
    assert len(told.splitlines()) == 1
