"""Folders for the small files of a run: gone when it ends, and those of killed runs at the next one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .place import lives, machine

OWNED = re.compile(r"stmfab-[a-z]+-(?P<machine>[0-9a-f]{8})-(?P<pid>\d{1,9})-\w+")


@contextmanager
def folder(purpose: str) -> Iterator[Path]:
    """Give a new folder among the system's temporary ones, whose name says which process has it and what for."""
    sweep()
    prefix = f"stmfab-{purpose}-{machine()}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as made:
        yield Path(made)


def sweep() -> None:
    """Remove our user's folders whose process, of this machine, is no more: it was killed."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:  # a place that nobody may list stays as it is
        for entry in entries:
            match = OWNED.fullmatch(entry.name)
            if match and match["machine"] == machine() and not lives(int(match["pid"])) and _is_ours(entry):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # swept by another run meanwhile
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid()
    return False
