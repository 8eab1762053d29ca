"""One thread for every pool of every library: shards are the parallelism.

Not for speed alone: a matrix product split over another number of threads rounds differently. Importing this module
sets the environment, which libraries loaded later obey; ``one_thread`` brings down those that are loaded already.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ONE_THREAD = {f"{pool}_NUM_THREADS": "1" for pool in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA")} | {
    "VECLIB_MAXIMUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}
NAMES = (  # of the functions that read and set the number of threads, by build of the library
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
)

ASKED = os.environ.get("OMP_NUM_THREADS")  # by the user, for other programs in this process

os.environ.update(ONE_THREAD)


def give_back(get: Callable[[], int], put: Callable[[int], object]) -> None:
    """Undo our one thread in a library that shares no arithmetic with us: what the user asked for, else every core."""
    if get() == 1 and ASKED != "1":
        put(int(ASKED) if ASKED and ASKED.isdecimal() else os.cpu_count() or 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold the BLAS libraries of this process to one thread, as a context or a decorator."""
    before = [(put, get()) for get, put in _pools()]
    for put, _ in before:
        put(1)
    try:
        yield
    finally:
        for put, threads in before:
            put(threads)


@functools.cache
def _pools() -> list[tuple[Callable[[], int], Callable[[int], object]]]:
    """Return how to read and set the threads of each loaded BLAS; first called when numpy and scipy are loaded."""
    import ctypes

    libraries = [ctypes.CDLL(path) for path in sorted(_loaded())]
    found: list[Any] = [
        (getattr(library, get), getattr(library, put))
        for library in libraries
        for get, put in NAMES
        if hasattr(library, put)
    ]
    return found


def _loaded() -> set[str]:
    """Return the files of the BLAS libraries in this process; where the system cannot tell, those of numpy."""
    maps = Path("/proc/self/maps")
    if maps.exists():
        files = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if "/" in line}
        return {file for file in files if "openblas" in Path(file).name or "mkl_rt" in Path(file).name}
    import numpy as np

    package = Path(np.__file__).parent
    return {str(file) for folder in ("../numpy.libs", ".dylibs") for file in (package / folder).glob("*openblas*")}
