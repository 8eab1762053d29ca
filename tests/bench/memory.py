"""The largest memory of any process of a run, parent or worker: ``python -m tests.bench.memory``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

LARGE = ("--set", "scan.size_nm=30", "--set", "scan.pixels=512", "-n", "1")
RUNS = {  # by what they make; the parts are one whole shard, the most that a worker holds
    "64 x 64, a shard of 1024 of 100,000 samples": ("--part", "0/98"),
    "512 x 512 at 30 nm, one sample": LARGE,
}


def peak_MB(*options: str) -> float:
    """Return the largest resident memory of a run of ``wse2-defects`` and of its workers."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stmfab.cli", "generate", "wse2-defects", f"{folder}/bench.zarr", *options]
        process = subprocess.Popen([*command, "-j", "1"], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(os.waitstatus_to_exitcode(status))
    return used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    for words, options in RUNS.items():
        print(f"{words}: {peak_MB(*options):.0f} MB")
