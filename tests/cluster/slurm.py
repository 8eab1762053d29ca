"""A real Slurm of one node in a temporary folder: own configuration, ports, key and socket; gone with the block."""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

CORES = 16  # told to Slurm, whatever the machine has: the tasks of these tests sleep
CONFIGURATION = """
ClusterName=stmfab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
ReturnToService=2
JobRequeue=1
KillWait=5
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def wait_for(condition, what, seconds=120.0):
    """What ``condition`` returns, once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.1)
    return found


def processes(*words):
    """Living processes in whose environment stand all these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if all(word.encode() in environment for word in words):
            found.append(int(path.parent.name))
    return found


@contextmanager
def one_node():
    """Start a cluster and set SLURM_CONF; stop it and all that came of it, and remove its folder."""
    folder = Path(tempfile.mkdtemp(prefix="stmfab-slurm-"))
    folder.chmod(0o711)  # what munge asks for
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    daemons = []
    try:
        _start(folder, daemons)
        yield folder
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for pid in processes(f"SLURM_CONF={folder}/slurm.conf"):
            if pid != os.getpid():
                os.kill(pid, signal.SIGKILL)
        del os.environ["SLURM_CONF"]
        shutil.rmtree(folder)


def _start(folder, daemons):
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    words = {"folder": folder, "host": host, "user": getpass.getuser(), "ports": _free_ports(2), "cores": CORES}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**words))
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    places = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munge.pid"}
    places |= {"log-file": folder / "munge.log", "seed-file": folder / "munge.seed"}
    munged = ["munged", "--foreground", *(f"--{name}={path}" for name, path in places.items())]
    for command in (munged, ["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", host]):
        with (folder / f"{command[0]}.out").open("wb") as out:
            daemons.append(subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True))
        if command is munged:
            wait_for(places["socket"].exists, "munge's socket")
    wait_for(lambda: _said("sinfo", "--noheader", "--format=%T") == "idle", "an idle node")


def _said(*command):
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
