"""The user's mistakes: each is one clear line and an exit code; anything else is ours and gets a traceback."""

from __future__ import annotations


class StmfabError(Exception):
    """A mistake the user can mend; the message is one line, or one line a fault."""

    exit_code = 2


class RecipeError(StmfabError):
    """Faults of a recipe, all of them, each ``file:line:column: key: what; what is legal``."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


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
