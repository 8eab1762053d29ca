"""task.sh under every batch system, by the variables that each of them sets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent.parent / "stmfab" / "cluster"
SLURM = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_CPUS_PER_TASK": "16"}
SGE = {"SGE_TASK_ID": "4", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "8", "SGE_TASK_STEPSIZE": "1", "NSLOTS": "16"}
PBS = {"PBS_ARRAY_INDEX": "3", "TASKS": "8", "NCPUS": "16"}
TORQUE = {"PBS_ARRAYID": "3", "TASKS": "8", "PBS_NUM_PPN": "16"}
LSF = {"LSB_JOBINDEX": "4", "LSB_JOBINDEX_END": "8", "LSB_JOBINDEX_STEP": "1", "LSB_DJOB_NUMPROC": "16"}
LEAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
print("ready", flush=True)
time.sleep(30)
"""
NO_ARRAY = {"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0"}


def script(name, *arguments, **environment):
    """A script that runs ``echo`` in the place of stmfab, and knows nothing of any batch system around this test."""
    kept = {"PATH": os.environ["PATH"], "STMFAB": "echo run"}
    command = ["sh", str(SCRIPTS / name), *arguments]
    return subprocess.run(command, env=kept | environment, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("system", [SLURM, SGE, PBS, TORQUE, LSF], ids=["slurm", "sge", "pbs", "torque", "lsf"])
def test_each_batch_system_gives_the_part_and_the_workers(system):
    done = script("task.sh", "my recipe.yaml", "out.zarr", "-n", "100", **system)
    expected = "run generate my recipe.yaml out.zarr -n 100 --part 3/8 -j 16 --requeue-on-term\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


@pytest.mark.parametrize("first", range(2))
def test_the_parts_of_an_array_are_all_parts(first):
    name, last = [("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"), ("SGE_TASK_ID", "SGE_TASK_LAST")][first]
    tasks = [script("task.sh", "r", "s", **{name: str(k + first), last: "10"}) for k in range(10)]
    assert [task.stdout.split()[5] for task in tasks] == [f"{k}/10" for k in range(10)]


def test_tasks_counts_the_parts_where_only_some_are_submitted_again():
    for again in ({**SLURM, "SLURM_ARRAY_TASK_COUNT": "1"}, {**SGE, "SGE_TASK_FIRST": "4", "SGE_TASK_LAST": "4"}):
        assert " --part 3/8 " in script("task.sh", "r", "s", TASKS="8", **again).stdout


def test_jobs_wins_over_the_batch_system_and_nothing_means_one_worker_said_aloud():
    assert " -j 2 " in script("task.sh", "r", "s", JOBS="2", **SLURM).stdout
    alone = script("task.sh", "r", "s", SLURM_ARRAY_TASK_ID="0", SLURM_ARRAY_TASK_COUNT="1")
    assert " -j 1 " in alone.stdout
    assert alone.stderr.count("\n") == 1
    assert "one worker" in alone.stderr


def test_a_job_that_is_no_array_of_one_system_may_be_one_of_another():
    assert " --part 3/8 " in script("task.sh", "r", "s", **{**NO_ARRAY, **PBS}).stdout


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "no task of a job array"),
        (NO_ARRAY, "no task of a job array"),
        (SLURM | SGE, "more than one batch system: SLURM_ARRAY_TASK_ID SGE_TASK_ID"),
        (SLURM | {"SLURM_ARRAY_TASK_ID": "8"}, "SLURM_ARRAY_TASK_ID is 8"),  # --array=1-8
        (SLURM | {"SLURM_ARRAY_TASK_ID": "x"}, "SLURM_ARRAY_TASK_ID is 'x', not a whole number"),
        (SLURM | {"SLURM_ARRAY_TASK_ID": "-1"}, "not a whole number"),
        (SLURM | {"SLURM_ARRAY_TASK_ID": "08"}, "not a whole number"),
        (SLURM | {"SLURM_ARRAY_TASK_COUNT": ""}, "set TASKS"),
        (SLURM | {"TASKS": "two"}, "the number of tasks is 'two'"),
        (SLURM | {"TASKS": "0"}, "the number of tasks is 0"),
        (SLURM | {"JOBS": "many"}, "JOBS is 'many'"),
        (SGE | {"SGE_TASK_FIRST": "2"}, "without gaps"),
        (SGE | {"SGE_TASK_STEPSIZE": "2"}, "without gaps"),
        (SGE | {"SGE_TASK_ID": "0"}, "SGE_TASK_ID is 0"),
        (PBS | {"TASKS": ""}, "set TASKS"),
        (PBS | {"PBS_ARRAY_INDEX": "8"}, "PBS_ARRAY_INDEX is 8"),
        (LSF | {"LSB_JOBINDEX": "9"}, "LSB_JOBINDEX is 9"),
        (LSF | {"LSB_JOBINDEX_STEP": "3"}, "without gaps"),
    ],
)
def test_wrong_or_absent_variables_are_one_line_and_exit_2(environment, words):
    done = script("task.sh", "r", "s", **environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_the_last_job_makes_what_is_missing_and_verifies():
    done = script("task.sh", "--finish", "r", "my store", "-n", "100", JOBS="2")
    assert done.stdout.splitlines() == ["run generate r my store -n 100 -j 2", "run inspect my store --verify full"]


def test_the_last_job_does_not_verify_what_it_could_not_make(tmp_path):
    (tmp_path / "incomplete").write_text('echo "$1"; exit 3')
    done = script("task.sh", "--finish", "r", "s", JOBS="2", STMFAB=f"sh {tmp_path}/incomplete")
    assert (done.returncode, done.stdout) == (3, "generate\n")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("task.sh", []),
        ("task.sh", ["r"]),
        ("task.sh", ["--finish", "r"]),
        ("slurm.sh", []),
        ("slurm.sh", ["array", "r"]),
        ("slurm.sh", ["array", "", "s"]),
        ("slurm.sh", ["status"]),
        ("slurm.sh", ["remove", "s"]),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(name, arguments):
    done = script(name, *arguments, **SLURM)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "usage" in done.stderr


def test_a_machine_without_slurm_says_so(tmp_path):
    for tool in ("sh", "dirname", "basename", "mktemp", "rm"):
        (tmp_path / tool).symlink_to(Path("/usr/bin") / tool)
    done = script("slurm.sh", "array", "r", "s", TASKS="4", PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (2, "slurm.sh: no sbatch here: this is no machine that submits to Slurm\n")


@pytest.mark.parametrize("tasks", ["", "0", "04", "-1", "many"])
def test_a_wrong_number_of_tasks_is_refused(tasks):
    done = script("slurm.sh", "array", "r", "s", TASKS=tasks)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "not a number of tasks" in done.stderr


def test_a_signal_to_the_task_is_a_signal_to_stmfab(tmp_path):
    program = tmp_path / "show.py"
    program.write_text("import os; print(os.getpid())")
    process = start(program, SGE)
    words, _ = process.communicate(timeout=30)
    assert int(words) == process.pid


@pytest.mark.parametrize(
    ("leaves", "state", "requeued"),
    [("75", "RUNNING", True), ("75", "COMPLETING", False), ("0", "RUNNING", False), ("3", "RUNNING", False)],
)
def test_under_slurm_a_task_told_to_leave_is_requeued_unless_cancelled(tmp_path, leaves, state, requeued):
    program = tmp_path / "leaves.py"
    program.write_text(LEAVES.format(code=leaves))
    words, _ = told_to_leave(tmp_path, program, squeue=f"echo {state}", scontrol='echo "$@"', code=int(leaves))
    assert words == ("requeue 12_3\n" if requeued else "")


@pytest.mark.parametrize(("name", "asked"), [("squeue", 1), ("scontrol", 2)])
def test_a_busy_controller_is_asked_for_the_requeue_again(tmp_path, name, asked):
    program = tmp_path / "leaves.py"
    program.write_text(LEAVES.format(code=75))
    busy = f"[ -e {tmp_path}/asked ] || {{ touch {tmp_path}/asked; exit 1; }}"
    tools = {"squeue": "echo RUNNING", "scontrol": 'echo "$@"'}
    tools[name] = f"{tools[name] if name == 'scontrol' else ':'}\n{busy}\n{tools[name] if name == 'squeue' else ':'}"
    words, _ = told_to_leave(tmp_path, program, code=75, **tools)
    assert words == asked * "requeue 12_3\n"


def test_a_requeue_that_slurm_refuses_is_said(tmp_path):
    program = tmp_path / "leaves.py"
    program.write_text(LEAVES.format(code=75))
    _, errors = told_to_leave(tmp_path, program, code=75, squeue="echo RUNNING", scontrol="exit 1")
    assert errors == "task.sh: Slurm has not requeued task 12_3: what it left over is for make resume\n"


def told_to_leave(folder, program, *, code, **tools):
    """What a task of Slurm says that is sent SIGTERM, with these programs in the place of Slurm's."""
    for name, words in {**tools, "sleep": ":"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{words}\n")
        (folder / name).chmod(0o755)
    process = start(program, SLURM | {"SLURM_ARRAY_JOB_ID": "12"}, path=f"{folder}:{os.environ['PATH']}")
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    said = process.communicate(timeout=10)
    assert process.returncode == code
    return said


def start(program, system, path=os.environ["PATH"]):
    """A task that runs a Python program in the place of stmfab."""
    command = ["sh", str(SCRIPTS / "task.sh"), "r", "s"]
    environment = {**system, "PATH": path, "STMFAB": f"{sys.executable} {program}"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
