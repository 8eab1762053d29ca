"""Exports that are killed, each by SIGKILL at the n-th rename of a file, and gone on with; ``python -m tests.killed``.

One process loads the libraries and forks a child for every run, so that a run costs its work and no start-up. Lines of
JSON on stdin, [store, out, format, n], n 0 for a run that is left alone; answered by a line: the child's exit status.
"""

import json
import os
import signal
import sys
from pathlib import Path

from stmfab import cli, export


def run(store, out, to, moment):
    """Export in a child; return its exit code, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if moment:
            kill_at(moment)
        os._exit(cli.run(["export", store, out, "--to", to]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(moment):
    """Let this process be killed as it renames its n-th file: by the kernel, with nothing caught or cleaned up."""
    rename, done = Path.replace, []

    def replace(self, target):
        done.append(self)
        if len(done) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.replace = replace


if __name__ == "__main__":
    for module, _ in export.FORMATS.values():
        try:
            __import__(f"stmfab.export.{module}")
        except Exception as missing:  # a library that is not installed: its format is not asked for
            print(missing, file=sys.stderr)
    for line in sys.stdin:
        print(run(*json.loads(line)), flush=True)
