"""The user's mistakes: each is one clear line and an exit code; anything else is ours and gets a traceback."""

from __future__ import annotations

from collections.abc import Iterable

MAX_LISTED = 16  # legal words that a message still lists


def did_you_mean(word: str, legal: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the nearest legal one, else all of them.

    Examples
    --------
    >>> did_you_mean("density_nm2", ["density_per_nm2", "site"])
    "; did you mean 'density_per_nm2'?"
    """
    words = list(legal)
    near = nearest(word, words)
    if near is not None:
        return f"; did you mean {near!r}?"
    return f"; legal: {', '.join(words)}" if 0 < len(words) <= MAX_LISTED else ""


def nearest(word: str, legal: Iterable[str]) -> str | None:
    """Return the legal word that is most like a mistyped one; None if none is."""
    import difflib  # here: nobody who types well should wait for it

    words = {w.lower(): w for w in legal}
    close = difflib.get_close_matches(word.lower(), words, n=1)
    starts = [w for w in words if w.startswith(word.lower() + "_")]
    return words[(starts + close)[0]] if starts or close else None


class StmfabError(Exception):
    """A mistake the user can mend; the message is one line, or one line a fault."""

    exit_code = 2


class RecipeError(StmfabError):
    """Faults of a recipe, all of them, each ``file:line:column: key: what; what is legal``."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class NotKeptError(StmfabError):
    """No draw of a sample fulfils the conditions of a recipe's ``keep``."""


class StoreError(StmfabError):
    """The store at this place cannot be used as asked: another recipe, not ours, damaged."""


class IncompleteError(StmfabError):
    """The store lacks shards."""

    exit_code = 3


class DamagedError(StmfabError):
    """A receipt and its shard disagree."""

    exit_code = 4


class DiskError(StmfabError):
    """The store cannot be written: permissions, no space, no such folder."""

    exit_code = 5
