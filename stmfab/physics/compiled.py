"""How kernels are compiled: kept on disk, division as numpy does it, and without the code to call them from elsewhere.

An inner kernel, ``_named`` so, is called by other kernels only: no entry from Python is made, which is a tenth of the
time that compiling takes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(**options: Any) -> Callable[[Function], Function]:
    """Return a decorator that compiles a function when it is first called; ``options`` are numba's."""

    def compiled(function: Function) -> Function:
        entries: Any = {"no_cfunc_wrapper": True, "no_cpython_wrapper": function.__name__.startswith("_")}
        dispatcher: Function = numba.njit(cache=True, error_model="numpy", **entries, **options)(function)
        return dispatcher

    return compiled


# Without the counting of references to arrays: numba counts every row that is cut out and every array that is handed
# on, by two calls and two locked additions each, in the innermost loops too. Such a kernel makes no arrays of its own.
lean = functools.partial(kernel, _nrt=False)
