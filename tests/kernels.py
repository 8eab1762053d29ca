"""The kernels that first samples call, by kind, in order: python -m tests.kernels > stmfab/kernels.txt.

Those that only another recipe of a kind calls come before all those of its first recipe: helpers begin at the end.
"""

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
COLD = "some had to be compiled"
OWN_TYPES = "_streams_kernels _high_product"  # a kernel that states its types itself
RECIPES = {
    "tight-binding": ("wse2-defects", "mos2-defects"),
    "surface-state": ("cu111-co",),
    "local-orbitals": ("h-si-100-atoms",),
}


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


def line(function, arguments):
    return f"{function.__module__} {function.__name__} ({', '.join(map(text, arguments))},)"


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


def first_sample(recipe):
    """Make the first sample of a recipe; return the lines of what was compiled for it, in order."""
    calls = Calls()
    with event.install_listener("numba:compile", calls):
        sample.simulate(stmfab.load(ROOT / "recipes" / f"{recipe}.yaml").plan, 0, 1)
    return [line(*call) for call in calls.found]


def loaded():
    """Return the lines of all kernels of this process that were called or compiled."""
    modules = [import_module(name) for name in sorted(sys.modules) if name.startswith("stmfab") and "_kernels" in name]
    known = [value for module in modules for value in vars(module).values()]
    kernels = [value for value in known if isinstance(value, numba.core.dispatcher.Dispatcher)]
    return [line(kernel.py_func, arguments) for kernel in kernels for arguments in kernel.signatures]


def lines_of(how, recipe, **environment):
    """Return the lines of a recipe, "compiled" or all "called", of a process of its own."""
    command = [sys.executable, "-m", "tests.kernels", how, recipe]
    said = subprocess.check_output(command, env=os.environ | environment, cwd=ROOT, text=True).splitlines()
    return [line for line in said if OWN_TYPES not in line]


def called(recipe, **environment):
    """Return the lines of all that Python calls: of a process that finds them compiled, and so loads no others."""
    found = lines_of("called", recipe, **environment)
    return found if found != [COLD] else lines_of("called", recipe, **environment)


def in_order(recipe):
    """Return the lines of all that the first sample of a recipe calls, as first called, those that others do last."""
    with tempfile.TemporaryDirectory() as empty:
        compiled = lines_of("compiled", recipe, NUMBA_CACHE_DIR=empty)
        every = called(recipe, NUMBA_CACHE_DIR=empty)
    return compiled + [line for line in every if line not in compiled]


def main():
    for kind, recipes in RECIPES.items():
        found = []
        for recipe in recipes:
            found = [line for line in in_order(recipe) if line not in found] + found
        print(*(f"{kind} {line}" for line in found), sep="\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["compiled"]:
        print(*first_sample(sys.argv[2]), sep="\n")
    elif sys.argv[1:2] == ["called"]:
        print(*([COLD] if first_sample(sys.argv[2]) else loaded()), sep="\n")
    else:
        main()
