"""The kernels that the first sample of a kind calls, in order: python -m tests.kernels > stmfab/kernels.txt."""

import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numba
from numba.core import event, types

import stmfab
from stmfab import sample

ROOT = Path(__file__).parent.parent
OWN_TYPES = "_streams_kernels _high_product"  # a kernel that states its types itself
RECIPES = {"tight-binding": "wse2-defects", "surface-state": "cu111-co", "local-orbitals": "h-si-100-atoms"}


def text(kind):
    """Return a numba type as numba reads it."""
    if isinstance(kind, types.Array):
        if not kind.mutable:
            return f"Array({kind.dtype}, {kind.ndim}, {kind.layout!r}, True)"
        rest = [":"] * (kind.ndim - 1)
        axes = {"C": [*rest, "::1"], "F": ["::1", *rest], "A": [":", *rest]}[kind.layout]
        return f"{text(kind.dtype)}[{', '.join(axes)}]"
    if isinstance(kind, types.UniTuple):
        return f"UniTuple({text(kind.dtype)}, {len(kind)})"
    if isinstance(kind, types.BaseTuple):
        return f"Tuple(({', '.join(map(text, kind))}))"
    return "boolean" if isinstance(kind, types.Boolean) else str(kind)


def line(kind, function, arguments):
    return f"{kind} {function.__module__} {function.__name__} ({', '.join(map(text, arguments))},)"


class Calls(event.Listener):
    """What is compiled, but by another kernel."""

    def __init__(self):
        self.found, self.depth = [], 0

    def on_start(self, compilation):
        if self.depth == 0:
            self.found.append((compilation.data["dispatcher"].py_func, compilation.data["args"]))
        self.depth += 1

    def on_end(self, _):
        self.depth -= 1


def first_sample(kind):
    """Make the first sample of a kind; return the lines of what was compiled for it, in order."""
    calls = Calls()
    with event.install_listener("numba:compile", calls):
        sample.simulate(stmfab.load(ROOT / "recipes" / f"{RECIPES[kind]}.yaml").plan, 0, 1)
    return [line(kind, *call) for call in calls.found]


def lines_of(how, kind, **environment):
    """Return what this module prints in a process of its own."""
    command = [sys.executable, "-m", "tests.kernels", how, kind]
    environment = os.environ | environment
    return subprocess.run(
        command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()


def loaded(kind):
    """Return the lines of all kernels of this process that were called or compiled."""
    modules = [import_module(name) for name in sorted(sys.modules) if name.startswith("stmfab") and "_kernels" in name]
    known = [value for module in modules for value in vars(module).values()]
    kernels = [value for value in known if isinstance(value, numba.core.dispatcher.Dispatcher)]
    return [line(kind, kernel.py_func, arguments) for kernel in kernels for arguments in kernel.signatures]


if __name__ == "__main__":
    if sys.argv[1:2] == ["compiled"]:
        print(*first_sample(sys.argv[2]), sep="\n")
    elif sys.argv[1:2] == ["loaded"]:
        print(*(["cold"] if first_sample(sys.argv[2]) else loaded(sys.argv[2])), sep="\n")
    else:
        for kind in RECIPES:
            with tempfile.TemporaryDirectory() as empty:
                compiled, called = (lines_of(how, kind, NUMBA_CACHE_DIR=empty) for how in ("compiled", "loaded"))
            inner_too = [line for line in called if line not in compiled and OWN_TYPES not in line]
            print(*compiled, *inner_too, sep="\n")
