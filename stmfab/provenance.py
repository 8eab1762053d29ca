"""Who made a dataset, with what: versions, commit, host, recipe hash, and the identity key of the arithmetic."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NUMERICS = ("numpy", "scipy", "numba", "llvmlite")
RECORDED = ("stmfab", *NUMERICS, "zarr", "numcodecs", "joblib")


def canonical(document: Any) -> bytes:
    """Return the one JSON spelling of a document: sorted keys, no spaces, UTF-8.

    >>> canonical({"b": 1, "a": [1.0, None]})
    b'{"a":[1.0,null],"b":1}'
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """Return the sha256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def recipe_sha256(recipe: Mapping[str, Any]) -> str:
    """Return the sha256 of a resolved recipe: equal hashes are equal datasets."""
    return sha256(canonical(recipe))


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of the packages whose code touches the numbers."""
    return {"python": platform.python_version(), **{name: _version(name) for name in RECORDED}}


@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def now() -> str:
    """Return the time of day in UTC, to the second.

    >>> len(now())
    20
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def host() -> str:
    """Return the name of this machine."""
    return platform.node()


@functools.cache
def git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, ``+changes`` if edited; None for an installed wheel."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if _git(checkout, "status", "--porcelain", "--", "stmfab", "recipes") else "")


def _git(checkout: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def identity() -> Mapping[str, str]:
    """Return what decides the last bit of a number, and the ``key`` that stands for all of it.

    Equal keys promise equal bytes; different keys promise 1e-5 relative.
    """
    parts = {name: _version(name) for name in NUMERICS} | {
        "machine": platform.machine(),
        "simd": _simd_level(),
        "cpu": _llvm_cpu(),
        "blas": _blas_core(),
    }
    return {"key": sha256(canonical(parts))[:16], **parts}


def _simd_level() -> str:
    """Return the instruction sets numpy dispatches to on this machine."""
    import numpy as np

    simd: Any = np.show_config(mode="dicts")
    return " ".join([*simd["SIMD Extensions"].get("baseline", []), *simd["SIMD Extensions"].get("found", [])])


def _llvm_cpu() -> str:
    """Return the processor LLVM compiles for, with a hash of its features."""
    from llvmlite import binding  # type: ignore[import-untyped]  # it ships no types

    features = binding.get_host_cpu_features().flatten()
    return f"{binding.get_host_cpu_name()}/{sha256(features.encode())[:8]}"


def _blas_core() -> str:
    """Return the processor core that the BLAS inside numpy chose its kernels for."""
    import numpy as np

    for library in sorted(Path(np.__file__).parent.with_name("numpy.libs").glob("*openblas*")):
        try:
            core = ctypes.CDLL(str(library)).scipy_openblas_get_corename64_
        except (OSError, AttributeError):
            continue
        core.restype = ctypes.c_char_p
        return "openblas " + str(core().decode())
    return "unknown"
