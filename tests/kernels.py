"""The kernels that the first sample of a kind calls, in order: python -m tests.kernels > stmfab/kernels.txt.

In a fresh process with an empty cache, what numba compiles and is not called by another kernel.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECIPES = {"tight-binding": "wse2-defects", "surface-state": "cu111-co", "local-orbitals": "h-si-100-atoms"}


def text(kind):
    """Write a numba type as numba reads it."""
    from numba import types

    if isinstance(kind, types.Array):
        if not kind.mutable:
            return f"Array({kind.dtype}, {kind.ndim}, {kind.layout!r}, True)"
        rest = [":"] * (kind.ndim - 1)
        axes = {"C": [*rest, "::1"], "F": ["::1", *rest], "A": [":", *rest]}[kind.layout]
        return f"{text(kind.dtype)}[{', '.join(axes)}]"
    if isinstance(kind, types.BaseTuple):
        if len(set(kind)) == 1:
            return f"UniTuple({text(kind[0])}, {len(kind)})"
        return f"Tuple(({', '.join(map(text, kind))}))"
    return "boolean" if isinstance(kind, types.Boolean) else str(kind)


def called(recipe):
    """Return the modules, names and signatures that the first sample compiles, in order."""
    from numba.core import event

    import stmfab
    from stmfab import sample

    found, depth = [], 0

    class Outermost(event.Listener):
        def on_start(self, compilation):
            nonlocal depth
            depth += 1
            if depth == 1:
                function = compilation.data["dispatcher"].py_func
                found.append((function.__module__, function.__name__, compilation.data["args"]))

        def on_end(self, compilation):
            nonlocal depth
            depth -= 1

    with event.install_listener("numba:compile", Outermost()):
        sample.simulate(stmfab.load(ROOT / "recipes" / f"{recipe}.yaml").plan, 0, 1)
    return [(module, name, f"({', '.join(map(text, args))}{',' * (len(args) == 1)})") for module, name, args in found]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for line in called(RECIPES[sys.argv[1]]):
            print(sys.argv[1], *line)
    else:
        for kind in RECIPES:
            with tempfile.TemporaryDirectory() as empty:
                environment = os.environ | {"NUMBA_CACHE_DIR": empty}
                subprocess.run([sys.executable, "-m", "tests.kernels", kind], env=environment, cwd=ROOT, check=True)
