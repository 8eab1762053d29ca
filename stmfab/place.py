"""Where a store's bytes live: whole documents by name, each written entirely or not at all.

The store, its receipts and its verification know only ``read``, ``write``, ``write_all``, ``remove``, ``size``,
``names``, ``create``, ``lock``, ``free_bytes`` and ``sweep``; ``bucket.Bucket``, an object store, which has no rename
but has conditional puts, offers the same ten.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType

from . import provenance
from .errors import DiskError

ROOT = "zarr.json"  # a store exists from the moment this does
WAITERS = 8  # threads that wait for the disk, all at once: a journal commits many files as fast as one
TAKEN = {errno.EEXIST, errno.ENOTEMPTY}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}  # what FAT, and some servers, answer
LOCK_POLL_s = 0.02
LOCK_PATIENCE_s = 60.0  # a lock is held for milliseconds: one that does not change for so long has lost its holder
ABANDONED_s = 86_400.0  # an unfinished document this old has no writer any more: it takes seconds to write one
WRITER = r"(?:(?P<host>[0-9a-f]{8})-)?(?P<pid>\d{1,9})-[0-9a-f]{8}"  # in a temporary name
PARTIAL = re.compile(rf"\..+\.{WRITER}\.part")


@dataclass(frozen=True)
class Folder:
    """A store in a folder of a POSIX file system (local, NFS, Lustre): atomic by temporary name, fsync and rename."""

    root: Path

    def __str__(self) -> str:
        """Return the place as the user typed it, for messages."""
        return str(self.root)

    def exists(self) -> bool:
        """Return whether anything lies at this place; an empty folder counts as nothing.

        Raises
        ------
        DiskError
            If the place cannot even be looked at.
        """
        with disk_errors(self.root, "read"):
            return self.root.exists() and not (self.root.is_dir() and not any(self.root.iterdir()))

    def read(self, name: str) -> bytes | None:
        """Return a document's bytes, or None where there is none.

        Raises
        ------
        DiskError
            If it exists and cannot be read.
        """
        with disk_errors(self.root / name, "read"):
            try:
                with open(f"{self.root}/{name}", "rb") as file:  # not by pathlib, which takes twice as long
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def size(self, name: str) -> int | None:
        """Return a document's length in bytes, or None where there is none."""
        try:
            return os.stat(f"{self.root}/{name}").st_size  # not by pathlib, which takes five times as long
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of the documents directly in ``folder``, without unfinished ones."""
        with disk_errors(self.root / folder, "list"):
            try:
                found = os.listdir(self.root / folder)
            except FileNotFoundError:
                return []
        return sorted(name for name in found if not name.startswith("."))

    def write(self, name: str, data: bytes) -> None:
        """Write a document: after a return it survives a power cut, after a failure the old one is still there.

        Raises
        ------
        DiskError
            If the disk is full, the folder is not writable, or it vanished.
        """
        self.write_all({name: data})

    def write_all(self, documents: Mapping[str, bytes]) -> None:
        """Write documents side by side: after a return all survive a power cut, after a failure each is old or new.

        Raises
        ------
        DiskError
            If the disk is full, a folder is not writable, or it vanished.
        """
        paths = [self.root / name for name in documents]
        partials = [path.with_name(f".{path.name}.{_writer()}.part") for path in paths]
        folders = {self.root / above for name in documents for above in PurePath(name).parents}  # any may be new
        with disk_errors(self.root, "write to"):
            self.root.stat()  # a store deleted under our feet is an error, not a reason to begin a torn one
            try:
                with ThreadPoolExecutor(min(WAITERS, len(paths))) as waiters:
                    list(waiters.map(_write_synced, partials, paths, documents.values()))
                    for partial, path in zip(partials, paths, strict=True):
                        partial.replace(path)
                    list(waiters.map(_sync_folder, folders))
            finally:  # every thread has ended by now
                for partial in filter(Path.exists, partials):
                    partial.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a document, for good once this returns; where there is none, do nothing.

        Raises
        ------
        DiskError
            If the disk refuses.
        """
        path = self.root / name
        with disk_errors(path, "remove"):
            try:
                path.unlink()
            except FileNotFoundError:
                return
            _sync_folder(path.parent)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Be the only one, of all processes of all machines, that reads and rewrites a document; wait until so.

        The lock is a file beside the document that says who holds it. That of a process of this machine that is dead
        is taken over at once, any other after ``LOCK_PATIENCE_s`` without a change; no two clocks are compared.

        Raises
        ------
        DiskError
            If the folder cannot be written.
        """
        path = (self.root / name).with_name(f".{PurePath(name).name}.lock")
        with disk_errors(path, "lock"):
            mine = _locked(path)
        try:
            yield
        finally:
            if _holder(path) == mine:  # and not another's, who thought us dead
                path.unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        """Return the bytes that we may still write here, quotas aside; None where the system cannot tell."""
        try:
            return shutil.disk_usage(self.root).free
        except OSError:
            return None

    def sweep(self, folders: Iterable[str]) -> None:
        """Remove what killed writers left: unfinished documents in ``folders``, unfinished stores beside this one.

        A writer is gone if it ran on this machine and no such process lives, or if its file is a day old. What we may
        not remove stays: it is in nobody's way.
        """
        for folder in folders:
            for path in _left(self.root / folder, PARTIAL):
                with suppress(OSError):
                    path.unlink()
        for path in _left(self.root.parent, re.compile(rf"{re.escape(self.root.name)}\.new-{WRITER}")):
            shutil.rmtree(path, ignore_errors=True)

    def create(
        self,
        documents: Mapping[str, bytes],
        view: Mapping[str, bytes] = MappingProxyType({}),
        links: Mapping[str, str] = MappingProxyType({}),
    ) -> bool:
        """Write the first documents of a store beside its place and rename; return False where another came first.

        ``view`` are documents that show what is there in another way too, by links to it, and may stand for others
        of the same name; a file system without links gets none of them.

        Raises
        ------
        DiskError
            If the place cannot be written.
        """
        beside = self.root.with_name(f"{self.root.name}.new-{_writer()}")
        with disk_errors(self.root, "create"):
            beside.mkdir()
            try:
                Folder(beside).write_all(documents)
                if links and _linked(beside, links):
                    Folder(beside).write_all(view)
                beside.rename(self.root)
            except OSError as error:
                if error.errno in TAKEN:
                    return False
                raise
            finally:
                shutil.rmtree(beside, ignore_errors=True)
            _sync_folder(self.root.parent)
        return True


def _linked(root: Path, links: Mapping[str, str]) -> bool:
    """Make symbolic links by their names in a folder; return False, with none left, where the file system has none."""
    try:
        for name, target in links.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(target, target_is_directory=True)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        for name in {PurePath(name).parts[0] for name in links}:
            shutil.rmtree(root / name)
        return False
    return True


@contextmanager
def disk_errors(path: Path, action: str) -> Iterator[None]:
    """Turn what the operating system refuses into one clear line with the path.

    Raises
    ------
    DiskError
        In place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise DiskError(f"{path}: cannot {action} it: {error.strerror or error}") from error


def _writer() -> str:
    """Return who writes, for a temporary name that is unlike any other: machine, process, chance."""
    return f"{machine()}-{os.getpid()}-{secrets.token_hex(4)}"


@functools.cache
def machine() -> str:
    """Return what stands for this machine in a temporary name: eight digits of a hash.

    Containers may share a name but not their numbers of processes, so that their name space counts too.
    """
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return provenance.sha256(f"{provenance.host()} {space}".encode())[:8]


def _left(folder: Path, pattern: re.Pattern[str]) -> Iterator[Path]:
    """Yield what lies in a folder under a temporary name whose writer is gone."""
    try:
        found = os.listdir(folder)
    except OSError:
        return
    for name in found:
        match = pattern.fullmatch(name)
        if match and _gone(match["host"], int(match["pid"]), folder / name):
            yield folder / name


def _gone(host: str | None, pid: int, path: Path) -> bool:
    try:
        if time.time() - path.stat().st_mtime > ABANDONED_s:
            return True
    except FileNotFoundError:  # finished, or swept by another run
        return False
    return host == machine() and not lives(pid)


def lives(pid: int) -> bool:
    """Return whether a process runs; one that was killed and that nobody has buried does not."""
    try:
        os.kill(pid, 0)  # sends nothing
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except ProcessLookupError:
        return False
    except OSError:  # it lives, as another user's or where there is no /proc
        return True


def _write_synced(partial: Path, path: Path, data: bytes) -> None:
    """Write a document under its temporary name, down to the disk."""
    with disk_errors(path, f"write {len(data)} bytes to"):
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _locked(path: Path) -> bytes:
    """Make a lock file as soon as nobody else has one; return its words, which no other has."""
    ours = {"host": platform.node(), "pid": os.getpid(), "time": time.time(), "token": secrets.token_hex(4)}
    mine = json.dumps(ours).encode()
    seen, since = None, time.monotonic()
    while True:
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            there = _holder(path)
            if there != seen:
                seen, since = there, time.monotonic()
            if seen is not None and (_is_dead(seen) or time.monotonic() - since > LOCK_PATIENCE_s):
                _break_lock(path, seen)
            time.sleep(LOCK_POLL_s)
            continue
        with os.fdopen(handle, "wb") as file:
            file.write(mine)
        return mine


def _holder(path: Path) -> bytes | None:
    """Return the words of a lock file; None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _is_dead(holder: bytes) -> bool:
    """Return whether a lock's holder is a process of this machine that is no more."""
    try:
        words = json.loads(holder)
        if words["host"] == platform.node():
            os.kill(words["pid"], 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, TypeError, KeyError):  # of another user; words not written to their end
        return False
    return False


def _break_lock(path: Path, seen: bytes) -> None:
    """Remove the lock with these words; of two processes that do so at once, neither removes a third one's."""
    with suppress(FileNotFoundError, BlockingIOError), path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _holder(path) == seen:
            path.unlink()
