"""Kernels that are still to be compiled, by several processes at once: a fresh install has its first sample sooner.

numba compiles a kernel when it is first called and keeps it on disk. When the first one is not there, helpers begin at
the far end of the list of those that a sample calls, ``kernels.txt``, and this process finds theirs ready when it gets
there. The list decides nothing but the time: a kernel that is not on it is compiled where it is called.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, resources
from typing import Any

from numba.core import event, sigutils

types_of: Any = sigutils.normalize_signature
MOST = 3  # helpers: more would mostly compile the same inner functions


@contextlib.contextmanager
def helped(sample_kind: str) -> Iterator[None]:
    """Have others compile too from the first kernel that must be compiled here, for a kind of sample."""
    helpers = _Helpers(sample_kind)
    try:
        with event.install_listener("numba:compile", helpers):
            yield
    finally:
        helpers.end()


class _Helpers(event.Listener):
    """Processes that compile, from the first compilation in this one on; the garbage collector rests meanwhile.

    A compilation makes millions of small objects, nearly all of which stay: looking at them again and again is a
    seventh of its time.
    """

    def __init__(self, sample_kind: str) -> None:
        self.sample_kind, self.begun, self.collecting = sample_kind, False, False
        self.processes: list[subprocess.Popen[bytes]] = []

    def on_start(self, _event: Any) -> None:
        """Start the helpers, once."""
        if self.begun:
            return
        from joblib import cpu_count

        self.begun, self.collecting, n = True, gc.isenabled(), min(cpu_count() - 1, MOST)
        gc.disable()
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        for k in range(n):
            command = [sys.executable, "-m", "stmfab.compiling", self.sample_kind, str(k), str(n), str(os.getpid())]
            helper = subprocess.Popen(
                command,
                env=os.environ | path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self.processes.append(helper)

    def on_end(self, _event: Any) -> None:
        """Do nothing: there are more to compile."""

    def end(self) -> None:
        """End the helpers: whatever they have not finished was not needed."""
        for process in self.processes:
            process.kill()
            process.wait()
        if self.collecting:
            gc.enable()


def kernels(sample_kind: str) -> list[tuple[str, str, str]]:
    """Return the module, the name and the signature of the kernels of a kind of sample, in the order of their calls."""
    lines = resources.files(__package__).joinpath("kernels.txt").read_text().splitlines()
    found = (line.split(maxsplit=3) for line in lines if line.startswith(f"{sample_kind} "))
    return [(module, name, signature) for _, module, name, signature in found]


def main(sample_kind: str, k: str, n: str, parent: str) -> None:
    """Compile every n-th kernel of a kind, the last one first, from the k-th on, for as long as the parent lives."""
    gc.disable()
    for module, name, signature in kernels(sample_kind)[::-1][int(k) :: int(n)]:
        if os.getppid() != int(parent):
            return
        arguments, _ = types_of(signature)  # as a call has them: the cache goes by that
        getattr(import_module(module), name).compile(arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
