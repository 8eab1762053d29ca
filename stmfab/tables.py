"""Tables that take seconds to make, made once a machine: files in the user's cache that every process maps.

A table is found by the hash of all that it depends on: what it is of, the code of the physics, and the arithmetic of
the machine. A file is written beside its name and renamed, is checked as it is opened, and is made again if it is
damaged. Where nothing can be kept, tables are made in memory: what they hold never depends on where they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.resources
import json
import math
import mmap
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from . import provenance, scratch
from .physics.tables import Facts, Tables

PLACE = "STMFAB_CACHE"  # of the environment: the folder; empty: keep nothing
FORMAT = 2  # of a file
LIMIT_BYTES = 2 << 30  # of all files: those used longest ago go first
FREE_SHARE = 0.25  # of the free disk: no larger table is written
SUFFIX, PART = ".table", ".part"
ABANDONED_s = 86_400.0  # an unfinished file this old has no writer any more
PATIENCE_s, POLL_s = 120.0, 0.02  # so long one process waits for another that makes the same table
LOCKS = 1  # characters of a table's name that say which lock is its: 16 of them
PAGE, ALIGN, CHUNK = 4096, 64, 1 << 22  # bytes


def kept(name: str, of: Facts, make: Callable[[], Tables]) -> Tables:
    """Return tables from the cache, mapped into memory; those not there are made and, where possible, kept.

    As ``physics.tables.Keep``. Pages are shared by all processes: nobody writes to them, and what one wrote would be
    its own.
    """
    place = folder()
    if place is None:
        return make()
    key = _key(name, of)
    path = place / f"{name}-{key}{SUFFIX}"
    found = _mapped(path)
    if found is not None:
        return found
    with _alone(place / f"lock-{key[:LOCKS]}"):
        found = _mapped(path)
        if found is not None:
            return found
        tables = make()
        if not _written(path, tables):
            return tables
        _prune(place, path)
    return _mapped(path) or tables


@contextlib.contextmanager
def for_workers() -> Iterator[None]:
    """Have the tables of a run kept where its workers find them, in a folder of its own if there is no other."""
    if folder() is not None:
        yield
        return
    with scratch.folder("tables") as own:
        before = os.environ.get(PLACE)
        os.environ[PLACE] = str(own)
        try:
            yield
        finally:
            os.environ.pop(PLACE)
            if before is not None:
                os.environ[PLACE] = before


def folder() -> Path | None:
    """Return the folder of kept tables, which only its user can read or write; None if there can be none."""
    place = _place()
    if place is None:
        return None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.stat(follow_symlinks=False)
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return place if ours and os.access(place, os.W_OK | os.X_OK) else None


def _place() -> Path | None:
    """Return where tables shall be kept: as the user says, else where the platform keeps what can be made again."""
    said = os.environ.get(PLACE)
    if said is not None:
        return Path(said).absolute() if said else None
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "stmfab"
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else home / ".cache") / "stmfab"  # XDG: a relative one is to be ignored


def _key(name: str, of: Facts) -> str:
    everything = {"format": FORMAT, "name": name, "of": of, "code": _code(), "arithmetic": provenance.identity()["key"]}
    return provenance.sha256(provenance.canonical(everything))[:32]


@functools.cache
def _code() -> str:
    """Return the hash of the physics: whatever is changed in it, no table of before is used."""
    texts: list[bytes] = []
    for package in ("physics", "physics/materials"):
        files = (importlib.resources.files(__package__) / package).iterdir()
        named = {file.name: file for file in files if file.name.endswith(".py")}
        texts += [provenance.sha256(named[name].read_bytes()).encode() for name in sorted(named)]
    return provenance.sha256(b" ".join(texts))


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock, which the system takes from a process that dies; without patience, or without locks, go on."""
    try:
        held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        late = time.monotonic() + PATIENCE_s
        while time.monotonic() < late:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(POLL_s)
                continue
            except OSError:  # a file system without locks
                pass
            break
        yield
    finally:
        os.close(held)


def _written(path: Path, tables: Tables) -> bool:
    """Write a file, whole or not at all; return whether it is there."""
    arrays = {name: np.ascontiguousarray(table) for name, table in tables.items()}
    told = [{"name": name, "dtype": array.dtype.str, "shape": array.shape} for name, array in arrays.items()]
    size, crc = sum(_room(array.nbytes) for array in arrays.values()), google_crc32c.value(provenance.canonical(told))
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        if size > min(LIMIT_BYTES, FREE_SHARE * shutil.disk_usage(path.parent).free):
            return False
        for array in arrays.values():
            crc = google_crc32c.extend(_checked(_bytes(array), crc), _padding(array))
        head = provenance.canonical({"format": FORMAT, "crc32c": crc, "arrays": told})
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(head + b" " * (-(len(head) + 1) % PAGE) + b"\n")
            for array in arrays.values():
                file.write(_bytes(array))
                file.write(_padding(array))
        part.replace(path)
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            part.unlink()  # not there where all went well


def _checked(data: memoryview, crc: int) -> int:
    """Return a checksum, extended by some bytes."""
    for first in range(0, len(data), CHUNK):
        crc = google_crc32c.extend(crc, bytes(data[first : first + CHUNK]))
    return crc


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _padding(array: NDArray[Any]) -> bytes:
    return bytes(_room(array.nbytes) - array.nbytes)


def _room(n_bytes: int) -> int:
    """Return the bytes of an array and of its padding."""
    return -(-n_bytes // ALIGN) * ALIGN


def _mapped(path: Path) -> Tables | None:
    """Return the tables of a file; None if there is none, it is not ours, or it is damaged in any way."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            places = _places(file)
            with contextlib.suppress(OSError):
                os.utime(file.fileno())  # used now
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # the kernels take arrays that may be written
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {
        name: np.frombuffer(data, dtype, math.prod(shape), first).reshape(shape) for name, dtype, shape, first in places
    }


def _places(file: BinaryIO) -> list[tuple[str, np.dtype[Any], list[int], int]]:
    """Return the name, type, shape and first byte of each array of a file.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError
        If it is not our user's, or not as it was written. All of it is read, not mapped: what the disk refuses is an
        error so, not a signal.
    """
    found, line = os.fstat(file.fileno()), file.readline()
    head = json.loads(line)
    crc = google_crc32c.value(provenance.canonical(head["arrays"]))
    while chunk := file.read(CHUNK):
        crc = google_crc32c.extend(crc, chunk)
    places, end = [], len(line)
    for told in head["arrays"]:
        dtype = np.dtype(told["dtype"])
        places.append((str(told["name"]), dtype, told["shape"], end))
        end += _room(math.prod(told["shape"]) * dtype.itemsize)
    ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    if not ours or (head["format"], head["crc32c"], end) != (FORMAT, crc, found.st_size):
        raise ValueError(f"{file.name}: damaged")
    return places


def _prune(place: Path, newest: Path) -> None:
    """Remove the tables used longest ago, beyond ``LIMIT_BYTES`` of all, and what writers that died left."""
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        files = [(entry.stat(follow_symlinks=False), Path(entry.path)) for entry in entries]
        room = LIMIT_BYTES - newest.stat().st_size
        for found, path in sorted(files, key=lambda file: file[0].st_mtime, reverse=True):
            if path.name.endswith(PART) and time.time() - found.st_mtime > ABANDONED_s:
                path.unlink(missing_ok=True)
            if path.suffix == SUFFIX and path != newest:
                room -= found.st_size
                if room < 0:
                    path.unlink(missing_ok=True)
