"""Stores in an object store: ``s3://BUCKET/NAME`` on Amazon S3 or anything that speaks its protocol.

A put is atomic, so there are no temporary names; where two compete, a conditional put decides. Credentials, region and
endpoint come from the usual environment variables, in every process anew: they are never stored or sent anywhere.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import DiskError, StmfabError, StoreError
from .place import ROOT, WAITERS, Folder

if TYPE_CHECKING:
    from obstore.store import S3Store

SCHEME = "s3"
CREDENTIALS = (  # one of them must be set: no server is asked for credentials behind the user's back
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
FIRST_TRIES, TRIES = 2, 10  # again, ever longer after one another: a wrong endpoint is told soon, a busy one waited for
PATIENCE = timedelta(seconds=60)
REQUEST_s = "120s"  # for one put of a shard's file over a slow line
LOCK_PATIENCE_s = 60.0  # a lock is held for a few requests: one that does not change for so long has lost its holder
LOCK_POLL_s = 0.2


def at(place: str | Path) -> Place:
    """Return the place that a user names: a folder, or ``s3://BUCKET/NAME``.

    Raises
    ------
    StoreError
        If it is neither.
    """
    scheme, mark, rest = str(place).partition("://")
    if not mark:
        return Folder(Path(place))
    bucket, _, prefix = rest.rstrip("/").partition("/")
    parts = prefix.split("/")
    if scheme != SCHEME or not re.fullmatch(r"[\w.-]+", bucket) or not all(parts) or {".", ".."} & set(parts):
        raise StoreError(f"{place}: not a place for a store; legal: a folder, or {SCHEME}://BUCKET/NAME")
    return Bucket(bucket, prefix)


@dataclass(frozen=True)
class Bucket:
    """A store under a prefix of a bucket; the interface of ``place.Folder``."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        """Return the place as the user typed it, for messages."""
        return f"{SCHEME}://{self.bucket}/{self.prefix}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes without the connection."""
        return Bucket, (self.bucket, self.prefix)

    @cached_property
    def objects(self) -> S3Store:
        """The connection, which waits a while for a server that is busy."""
        return _connected(self, TRIES)

    def exists(self) -> bool:
        """Return whether anything lies at this place but the beginnings of a store whose creator was interrupted.

        Raises
        ------
        DiskError
            If the place cannot be looked at: no such bucket, no permission, no answer.
        """
        objects = _connected(self, FIRST_TRIES)
        import obstore

        with refusals(self, "read"):
            listed = obstore.list(objects)
            paths = (found["path"] for batch in listed for found in batch)
            return any(path == ROOT or not path.endswith(f"/{ROOT}") for path in paths)

    def read(self, name: str) -> bytes | None:
        """Return a document's bytes, or None where there is none.

        Raises
        ------
        DiskError
            If the server refuses or does not answer.
        """
        import obstore

        with refusals(f"{self}/{name}", "read"):
            try:
                return obstore.get(self.objects, name).bytes().to_bytes()
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """Return a document's length in bytes, or None where there is none.

        Raises
        ------
        DiskError
            If the server refuses or does not answer.
        """
        import obstore

        with refusals(f"{self}/{name}", "look at"):
            try:
                return obstore.head(self.objects, name)["size"]
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of the documents directly in ``folder``."""
        import obstore

        with refusals(f"{self}/{folder}", "list"):
            found = obstore.list_with_delimiter(self.objects, folder)["objects"]
        names = (PurePath(document["path"]).name for document in found)
        return sorted(name for name in names if not name.startswith("."))

    def write(self, name: str, data: bytes) -> None:
        """Write a document: after a return the server has stored it, after a failure the old one is still there.

        Raises
        ------
        DiskError
            If the server refuses or does not answer, or the store vanished.
        """
        self.write_all({name: data})

    def write_all(self, documents: Mapping[str, bytes]) -> None:
        """Write documents side by side: after a failure each is old or new.

        Raises
        ------
        DiskError
            If the server refuses or does not answer, or the store vanished.
        """
        if self.size(ROOT) is None:  # a store deleted under our feet is no reason to begin a torn one
            raise DiskError(f"{self}: cannot write to it: the store is gone")
        self._put_all(documents)

    def _put_all(self, documents: Mapping[str, bytes]) -> None:
        with ThreadPoolExecutor(min(WAITERS, len(documents))) as waiters:
            list(waiters.map(self._put, documents.keys(), documents.values()))

    def _put(self, name: str, data: bytes) -> None:
        import obstore

        with refusals(f"{self}/{name}", f"write {len(data)} bytes to"):
            try:
                obstore.put(self.objects, name, data, use_multipart=False)
            except FileNotFoundError as error:
                raise DiskError(f"{self}: cannot write to it: {_reason(str(error))}") from error

    def _put_unless(self, name: str, data: bytes, *, tag: str | None) -> bool:
        """Write a document if nobody has (``tag`` None), or if it is still the one of a tag; return whether it was."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with refusals(f"{self}/{name}", "write"):
            try:
                obstore.put(self.objects, name, data, mode="create" if tag is None else {"e_tag": tag})
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def remove(self, name: str) -> None:
        """Remove a document, if it is there.

        Raises
        ------
        DiskError
            If the server refuses or does not answer.
        """
        import obstore

        with refusals(f"{self}/{name}", "remove"):
            try:
                obstore.delete(self.objects, name)
            except FileNotFoundError:
                return

    def create(self, documents: Mapping[str, bytes]) -> bool:
        """Write the first documents of a store, the root last and only once; return False where another came first.

        Raises
        ------
        DiskError
            If the server refuses or does not answer.
        """
        self._put_all({name: data for name, data in documents.items() if name != ROOT})
        return self._put_unless(ROOT, documents[ROOT], tag=None)

    def free_bytes(self) -> None:
        """Return None: a bucket has no end that can be seen."""
        return None

    def sweep(self, folders: Iterable[str]) -> None:
        """Do nothing: an interrupted put leaves nothing behind."""

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Be the only one, of all processes of all machines, that reads and rewrites a document; wait until so.

        The lock is an object beside the document. One that does not change for ``LOCK_PATIENCE_s`` is taken over.

        Raises
        ------
        DiskError
            If the server refuses or does not answer.
        """
        path, mine = str(PurePath(name).with_name(f".{PurePath(name).name}.lock")), secrets.token_bytes(16)
        seen, since = None, time.monotonic()
        while not self._put_unless(path, mine, tag=None):
            tag = self._tag(path)
            if tag != seen:
                seen, since = tag, time.monotonic()
            elif tag is not None and time.monotonic() - since > LOCK_PATIENCE_s:
                if self._put_unless(path, mine, tag=tag):
                    break
            time.sleep(LOCK_POLL_s)
        try:
            yield
        finally:
            if self.read(path) == mine:  # and not another's, who thought us dead
                self.remove(path)

    def _tag(self, name: str) -> str | None:
        """Return what changes whenever a document does; None where there is none."""
        import obstore

        with refusals(f"{self}/{name}", "look at"):
            try:
                return obstore.head(self.objects, name)["e_tag"]
            except FileNotFoundError:
                return None


Place: TypeAlias = Folder | Bucket


def _connected(place: Bucket, tries: int) -> S3Store:
    """Return a connection to a place, which tries again so often; nothing is sent yet.

    Raises
    ------
    StmfabError
        If obstore is not installed, or the environment is short of something.
    """
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise StmfabError(f"{place}: {SCHEME}:// needs obstore: pip install 'stmfab[s3]'") from error
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "https://")
    if not endpoint.startswith(("http://", "https://")):
        raise StmfabError(f"AWS_ENDPOINT_URL: {endpoint!r} does not begin with http:// or https://")
    if not any(map(os.environ.get, CREDENTIALS)):
        raise DiskError(f"{place}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    with refusals(place, "use"):
        return S3Store(
            place.bucket,
            prefix=place.prefix,
            client_options={"allow_http": endpoint.startswith("http://"), "timeout": REQUEST_s},
            retry_config={"max_retries": tries, "retry_timeout": PATIENCE},
        )


@contextmanager
def refusals(where: object, action: str) -> Iterator[None]:
    """Turn what an object store refuses into one clear line; other errors pass.

    Raises
    ------
    DiskError
        In place of any error of obstore.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("obstore"):
            raise DiskError(f"{where}: cannot {action} it: {_reason(str(error))}") from error
        raise


def _reason(words: str) -> str:
    """Return what a server, or the lack of one, says, without the report around it.

    >>> _reason("Error performing GET http://h:1/b?list in 2s, after 2 retries - HTTP error: sending")
    'http://h:1: HTTP error: sending'
    >>> _reason("... 404 Not Found: <Error><Code>NoSuchBucket</Code><Message>No such bucket</Message></Error>")
    'NoSuchBucket: No such bucket'
    """
    told = re.search(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", words, re.DOTALL)
    if told:
        return ": ".join(told.groups())
    line = words.partition("\n")[0].rstrip(" :")
    silent = re.search(r"(https?://[^/ ]+)\S* in .*? - (.*)", line)
    return ": ".join(silent.groups()) if silent else line
