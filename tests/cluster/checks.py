"""What the Makefile promises of clusters, held on a real Slurm: ``make test-cluster``.

Every accident happens to a running task; afterwards the store must have the bytes of a run without Slurm.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.cluster.slurm import one_node, processes, wait_for

ROOT = Path(__file__).parent.parent.parent
STUB = f"{sys.executable} -m tests.stub"
REAL = f"{sys.prefix}/bin/stmfab"
SAMPLES = 150  # of the stub: five shards; the first of two tasks makes shards 0, 2, 4
REAL_SAMPLES = 130  # five shards too
AT_ONCE = 3  # checks: each mostly waits for Slurm, or for one process to start
SLOW = {"STUB_PAUSE_s": "0.05"}  # 1.6 s a shard: time for an accident


class Dataset:
    """A store, made through the Makefile by Slurm."""

    def __init__(self, place, recipe="wse2-defects", samples=SAMPLES, program=STUB, tasks=2):
        self.place, self.recipe, self.samples, self.program, self.tasks = place, recipe, samples, program, tasks
        self.jobs = set()

    def make(self, target, *, refused=False, jobs=1, sbatch="", **environment):
        """What a target of the Makefile prints."""
        words = {"RECIPE": self.recipe, "STORE": self.place, "TASKS": self.tasks, "SAMPLES": self.samples}
        words |= {"JOBS": jobs, "SBATCH": sbatch, "STMFAB": self.program, "VENV": sys.prefix}
        command = ["make", "--no-print-directory", target, *(f"{name}={value}" for name, value in words.items())]
        return said(command, refused=refused, **environment)

    def submit(self, target="array", **options):
        """The numbers of the array and of the last job."""
        found = re.search(
            rf"job array (\d+) of {self.tasks} tasks, then job (\d+)", printed := self.make(target, **options)
        )
        assert found, printed
        self.jobs |= set(found.groups())
        return found.groups()

    def wait_for_the_end(self):
        wait_for(lambda: not self.jobs & in_queue(), f"the end of all jobs of {self.place.name}")

    def serial(self, place):
        """The same dataset by one worker, without Slurm."""
        command = [*self.program.split(), "generate", self.recipe, str(place), "-n", str(self.samples), "-j", "1"]
        said(command)
        return contents(place)

    def receipts(self):
        return len(list(self.place.glob("receipts/????????.json")))

    def has(self, shard):
        return (self.place / f"receipts/{shard:08}.json").exists()

    def logs(self, pattern="*"):
        return "".join(path.read_text() for path in sorted(Path(f"{self.place}.log").glob(pattern)))


def said(command, *, refused=False, **environment):
    """The output of a command that must succeed, or must be refused."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, check=False, capture_output=True, text=True
    )
    words = done.stdout + done.stderr
    assert (done.returncode != 0) == refused, f"{command}: exit code {done.returncode}: {words}"
    return words


def contents(place):
    """The bytes of every shard of every array, and the statistics of a finalised store."""
    files = {str(path.relative_to(place)): path.read_bytes() for path in place.glob("*/c/**/*") if path.is_file()}
    return files | {"statistics": json.loads((place / "zarr.json").read_bytes())["attributes"].get("statistics")}


def job(number):
    """What Slurm knows of a job."""
    return dict(word.split("=", 1) for word in said(["scontrol", "show", "job", "-o", number]).split() if "=" in word)


def in_queue():
    """The numbers of all jobs that wait or run, arrays without those of their tasks."""
    return {word.partition("_")[0] for word in said(["squeue", "--noheader", "--format=%i"]).split()}


def wait_for_work(dataset, array):
    """Wait until the first task has made one of its shards, whichever; it has not made all."""
    wait_for(lambda: any(map(dataset.has, (0, 2, 4))), "the first shard of task 0")
    assert job(f"{array}_0")["JobState"] == "RUNNING"
    assert not all(map(dataset.has, (0, 2, 4)))


def signal_all(array, number):
    """Send a signal to every process of the first task."""
    for pid in processes(f"SLURM_ARRAY_JOB_ID={array}", "SLURM_ARRAY_TASK_ID=0"):
        os.kill(pid, number)


def restart(array):
    """Wait until the first task is back in the queue, and shorten its waiting time of two minutes.

    Not to nothing: in the second in which it was ended, slurmd takes a new start for the old one and fails it.
    """
    name = f"{array}_0"
    wait_for(lambda: job(name)["JobState"] == "PENDING" and job(name)["Restarts"] == "1", f"{name} requeued")
    said(["scontrol", "update", f"JobId={name}", "StartTime=now+2"])


def assert_finished(dataset, finish, serial):
    """Hold the store against the serial run; the last job has verified it."""
    dataset.wait_for_the_end()
    assert job(finish)["JobState"] == "COMPLETED", job(finish)
    assert f"complete; {dataset.samples} samples" in dataset.logs(f"{finish}_finish.log")
    assert contents(dataset.place) == serial


def check_array_of_4_tasks_makes_the_bytes_of_a_serial_run_real_physics(folder, serial):
    dataset = Dataset(folder / "a real one.zarr", "wse2-demo", REAL_SAMPLES, REAL, tasks=4)
    expected = dataset.serial(folder / "real-serial.zarr")
    array, finish = dataset.submit()
    assert f"{array}_" in dataset.make("status")
    assert_finished(dataset, finish, expected)
    assert [dataset.logs(f"{array}_{task}.log").count("made ") for task in range(4)] == [1, 1, 1, 1]


def check_resume_completes_an_array_whose_task_was_killed(folder, serial):
    dataset = Dataset(folder / "killed.zarr")
    array, finish = dataset.submit(jobs=2, **SLOW)
    wait_for_work(dataset, array)
    signal_all(array, signal.SIGKILL)
    dataset.wait_for_the_end()
    assert job(f"{array}_0")["JobState"] == "FAILED"
    assert job(finish)["JobState"] == "CANCELLED"
    assert 0 < dataset.receipts() < 5
    assert "INCOMPLETE" in dataset.make("status")
    assert_finished(dataset, dataset.submit("resume")[1], serial)


def check_requeued_task_starts_again_and_the_store_completes(folder, serial):
    dataset = Dataset(folder / "requeued.zarr")
    array, finish = dataset.submit(**SLOW)
    wait_for_work(dataset, array)
    said(["scontrol", "requeue", f"{array}_0"])
    restart(array)
    assert_finished(dataset, finish, serial)


def check_preempted_task_leaves_and_is_requeued(folder, serial):
    dataset = Dataset(folder / "preempted.zarr")
    array, finish = dataset.submit(**SLOW)
    wait_for_work(dataset, array)
    said(["scancel", "--batch", "--signal=TERM", f"{array}_0"])
    restart(array)
    assert "interrupted; finished shards are kept" in dataset.logs(f"{array}_0.log")
    assert_finished(dataset, finish, serial)


def check_last_job_does_not_run_after_a_failed_task(folder, serial):
    dataset = Dataset(folder / "failed.zarr")
    array, finish = dataset.submit(STUB_BAD_SAMPLE="40")
    dataset.wait_for_the_end()
    assert job(f"{array}_1")["ExitCode"] == "3:0"
    assert job(finish)["JobState"] == "CANCELLED"
    assert "NaN after stage field" in dataset.logs(f"{array}_1.log")
    assert not dataset.logs(f"{finish}_finish.log")
    assert dataset.receipts() == 4
    assert_finished(dataset, dataset.submit("resume")[1], serial)


def check_resume_beside_running_tasks_waits_for_their_end(folder, serial):
    dataset = Dataset(folder / "twice.zarr")
    array, _ = dataset.submit(**SLOW)
    wait_for_work(dataset, array)
    signal_all(array, signal.SIGSTOP)  # it runs on, and gets nowhere
    second, finish = dataset.submit("resume")
    assert job(f"{second}_0")["JobState"] == "PENDING"
    said(["scancel", f"{array}_0"])
    assert_finished(dataset, finish, serial)
    assert "made " not in dataset.logs(f"{second}_1.log")
    assert "made " in dataset.logs(f"{second}_0.log")


def check_complete_store_and_another_recipe_submit_nothing(folder, serial):
    shutil.copytree(folder / "serial.zarr", folder / "whole.zarr")
    dataset = Dataset(folder / "whole.zarr")
    assert "nothing is submitted: the store is complete" in dataset.make("resume")
    dataset.samples += 1
    assert "holds another recipe" in dataset.make("resume", refused=True)
    dataset.recipe = "wse2-defect"
    assert "did you mean" in dataset.make("array", refused=True)
    assert not in_queue()


def passed(check, folder, serial):
    """Run a check and say how long it took; where it fails, show the queue and the logs."""
    begun = time.monotonic()
    try:
        check(folder, serial)
    except BaseException:
        print(f"cluster: FAILED: {words(check)}; the queue, the logs:", in_queue(), flush=True)
        for path in sorted(folder.glob("*.log/*")):
            print(f"--- {path.parent.name}/{path.name}\n{path.read_text()[-2000:]}")
        raise
    print(f"cluster: {words(check)}: passed, {time.monotonic() - begun:.0f} s", flush=True)


def main():
    checks = [check for name, check in globals().items() if name.startswith("check_")]
    checks.remove(alone := check_complete_store_and_another_recipe_submit_nothing)  # it needs an empty queue
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with one_node() as slurm:
        folder = slurm / "data"
        folder.mkdir()
        serial = Dataset(folder).serial(folder / "serial.zarr")
        beside = ThreadPoolExecutor(AT_ONCE)
        try:
            for done in as_completed([beside.submit(passed, check, folder, serial) for check in checks]):
                done.result()
        finally:
            beside.shutdown(wait=False, cancel_futures=True)
        passed(alone, folder, serial)
    wait_for(lambda: not processes(f"SLURM_CONF={slurm}/slurm.conf"), "the end of all processes", seconds=5)
    print("cluster: nothing is left running: passed")
    print(f"cluster: all {len(checks) + 2} checks passed")


def words(check):
    return check.__name__.removeprefix("check_").replace("_", " ")


if __name__ == "__main__":
    main()
