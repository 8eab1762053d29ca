"""Kill anything at any time, run the same command again, and the bytes are the same."""

import os
import signal
import time

import numpy as np
import pytest

from stmfab import cli, factory, recipe, sample, store, verify
from stmfab._threads import one_thread
from stmfab.errors import DiskError
from stmfab.place import Folder
from tests import stub
from tests.runs import LINUX, SAMPLES, contents, group, patience, receipts_in, run, start, wait_for, workers


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    place = tmp_path_factory.mktemp("serial") / "serial.zarr"
    outcome = run(place, jobs=1)
    assert (outcome.made, outcome.missing, outcome.failures) == (SAMPLES, (), ())
    return contents(place)


def test_samples_alone_are_those_of_the_dataset(tmp_path):
    run(tmp_path / "s.zarr", jobs=1)
    dataset = store.open_store(Folder(tmp_path / "s.zarr"))
    chosen = recipe.load("wse2-defects", samples=SAMPLES)
    for index in (0, 31, 32, 149):
        for name, values in stub.simulate(chosen, index, index + 1).items():
            np.testing.assert_array_equal(store.read(dataset, name, index, index + 1), values)


def test_two_workers_make_the_bytes_of_one(tmp_path, serial):
    outcome = run(tmp_path / "two.zarr", jobs=2)
    assert outcome.made == SAMPLES
    assert contents(tmp_path / "two.zarr") == serial
    assert verify.full_faults(outcome.store) == []


def test_two_parts_started_at_once_before_any_store_make_the_bytes_of_one(tmp_path, serial):
    place = tmp_path / "parts.zarr"
    parts = [start(place, "--part", f"{k}/2", "-j", "1") for k in range(2)]
    outputs = [part.communicate(timeout=60) for part in parts]
    assert [part.returncode for part in parts] == [0, 0], outputs
    assert contents(place) == serial
    dataset = store.open_store(Folder(place))
    assert "statistics" in dataset.attributes  # whichever part came last finished the store
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.zarr"]


def test_a_part_makes_its_own_shards_only(tmp_path):
    outcome = run(tmp_path / "part.zarr", jobs=1, part=(1, 3))
    assert store.made(outcome.store) == {1, 4}
    assert outcome.missing == (0, 2, 3)


def test_running_again_makes_only_what_is_missing(tmp_path, serial):
    run(tmp_path / "again.zarr", jobs=1, part=(0, 2))
    outcome = run(tmp_path / "again.zarr", jobs=1)
    assert outcome.made == 64
    assert contents(tmp_path / "again.zarr") == serial
    assert run(tmp_path / "again.zarr", jobs=1).made == 0


@LINUX
def test_killing_the_group_again_and_again_loses_nothing(tmp_path, serial):
    place = tmp_path / "killed.zarr"
    random = np.random.default_rng(11)
    for kill in range(6):
        process = start(place, "-j", "2", STUB_PAUSE_s="0.03")
        wait_for(lambda leader=process.pid, first=kill == 0: first or len(workers(leader)) == 2)  # once from the start
        time.sleep(random.uniform(0.0, 1.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=120)
        wait_for(lambda leader=process.pid: not group(leader))
    assert run(place, jobs=2).missing == ()
    assert contents(place).items() >= serial.items()
    assert verify.full_faults(store.open_store(Folder(place))) == []


@LINUX
def test_workers_die_with_a_killed_parent(tmp_path, serial):
    place = tmp_path / "orphans.zarr"
    random = np.random.default_rng(12)
    for _ in range(3):
        process = start(place, "-j", "2", STUB_PAUSE_s="0.05")
        wait_for(lambda leader=process.pid: len(workers(leader)) == 2)
        time.sleep(random.uniform(0.0, 1.0))
        process.kill()
        process.communicate(timeout=120)
        wait_for(lambda leader=process.pid: not group(leader), seconds=3.0)
    assert run(place, jobs=1).missing == ()
    assert contents(place).items() >= serial.items()


def test_sigterm_while_the_recipe_is_read_is_one_of_a_run(monkeypatch, capsys):
    monkeypatch.setattr(recipe, "load", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    for code, options in ((143, []), (75, ["--requeue-on-term"])):
        with pytest.raises(SystemExit) as left:
            cli.run(["generate", "wse2-demo", *options])
        assert left.value.code == code
        assert "interrupted" in capsys.readouterr().err


class Finalised:
    """Gets a Ctrl-C in its finaliser, where Python prints what is raised, and goes on."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_is_swallowed_ends_the_run(tmp_path, serial):
    gone_on = []

    def simulate(chosen, first, stop):
        if not gone_on:
            Finalised()
            gone_on.append(first)
        return stub.simulate(chosen, first, stop)

    place, before = tmp_path / "swallowed.zarr", signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(place, jobs=1, simulate=simulate)
    assert gone_on
    assert receipts_in(place) == 0
    assert signal.getsignal(signal.SIGINT) is before
    assert run(place, jobs=1).missing == ()
    assert contents(place).items() >= serial.items()


@LINUX
@pytest.mark.parametrize(
    ("number", "codes", "jobs", "whole_group"),
    [
        (signal.SIGINT, (130, 130), "2", True),  # Ctrl-C at a terminal
        (signal.SIGTERM, (143, 143), "2", False),
        (signal.SIGTERM, (143, 75), "2", True),  # a batch system; one that shall try again
        (signal.SIGINT, (130, 130), "1", False),
    ],
)
def test_interrupted_run_leaves_within_a_second_without_orphans(tmp_path, serial, number, codes, jobs, whole_group):
    random = np.random.default_rng(13)
    for attempt, code in enumerate(codes):
        options = ["-j", jobs, *(["--requeue-on-term"] if code == 75 else [])]
        place = tmp_path / f"interrupted-{attempt}.zarr"
        process = start(place, *options, STUB_PAUSE_s="0.1")
        wait_for(lambda place=place: receipts_in(place) > 0)
        time.sleep(random.uniform(0.0, 0.5))
        begun = time.monotonic()
        (os.killpg if whole_group else os.kill)(process.pid, number)
        _, words = process.communicate(timeout=120)
        assert time.monotonic() - begun < 3 * patience()  # half a second, if the machine has no other work
        assert process.returncode == code
        assert words.strip().splitlines()[-1].startswith("interrupted; finished shards are kept")
        assert "Traceback" not in words
        assert "leaked" not in words
        wait_for(lambda leader=process.pid: not group(leader), seconds=1.0)
        assert run(place, jobs=1).missing == ()
        assert contents(place).items() >= serial.items()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_sample_is_reported_and_the_other_shards_are_made(tmp_path, serial, monkeypatch, jobs):
    monkeypatch.setenv("STUB_BAD_SAMPLE", "40")
    outcome = run(tmp_path / "bad.zarr", jobs=jobs)
    assert [failure.line for failure in outcome.failures] == ["sample 40 (seed 20250727): NaN after stage field"]
    assert outcome.missing == (1,)
    assert outcome.made == SAMPLES - 32
    monkeypatch.delenv("STUB_BAD_SAMPLE")
    assert run(tmp_path / "bad.zarr", jobs=1).missing == ()
    assert contents(tmp_path / "bad.zarr") == serial


def test_a_fault_of_ours_keeps_its_traceback(tmp_path):
    def broken(chosen, first, stop):
        return {name: array[:, None] for name, array in stub.simulate(chosen, first, stop).items()}

    chosen = recipe.load("wse2-defects", samples=10)
    place = Folder(tmp_path / "broken.zarr")
    outcome = factory.generate(chosen, place, jobs=1, prepare=stub.prepare, simulate=broken)
    assert "topography: simulated" in outcome.failures[0].traceback


def test_a_disk_that_refuses_ends_the_run(tmp_path, monkeypatch):
    run(tmp_path / "full.zarr", jobs=1, part=(0, 5))

    def refuse(*_):
        raise DiskError("topography: no space")

    monkeypatch.setattr(Folder, "write", refuse)
    with pytest.raises(DiskError, match="no space"):
        run(tmp_path / "full.zarr", jobs=1)


def test_progress_is_finer_than_a_shard_and_ends_at_the_total(tmp_path):
    class Heard:
        def __init__(self):
            self.counts = []

        def start(self, done, total):
            self.counts.append((done, total))

        def show(self, done):
            self.counts.append(done)

        def close(self):
            self.counts.append("closed")

    heard = Heard()
    chosen = recipe.load("wse2-defects", samples=5000)  # shards of 96: three batches each
    place = Folder(tmp_path / "progress.zarr")
    options = {"prepare": stub.prepare, "simulate": stub.simulate, "progress": heard}
    factory.generate(chosen, place, jobs=1, part=(0, 53), **options)
    assert heard.counts == [(0, 96), 32, 64, 96, 96, "closed"]


def test_real_samples_are_the_same_alone_in_workers_and_from_python(tmp_path):
    chosen = recipe.load("wse2-demo", samples=36)  # two shards
    outcome = factory.generate(chosen, Folder(tmp_path / "real.zarr"), jobs=2)
    assert (outcome.failures, outcome.missing) == ((), ())
    assert verify.full_faults(outcome.store) == []
    for index in (0, 5, 35):
        with one_thread():  # numpy was imported before stmfab could ask it for one
            alone = sample.simulate(chosen, index, index + 1)
        for name, values in alone.items():
            np.testing.assert_array_equal(store.read(outcome.store, name, index, index + 1), values, err_msg=name)
