"""What every test finds: a place of its own for tables, kept from run to run, never the user's; and who begins."""

import os
from pathlib import Path

from hypothesis import settings

os.environ["STMFAB_CACHE"] = str(Path(__file__).parent.parent / ".pytest_cache" / "tables")

settings.register_profile("compiled", deadline=None)  # the first example may compile a kernel
settings.load_profile("compiled")

# The files that take longest, so that none of them is the last; the first compiles nearly all kernels, and those that
# run beside it need hardly any: two processes seldom compile the same.
FIRST = (
    "test_proof",
    "test_faults",
    "test_factory",
    "test_dask",
    "test_bucket",
    "test_recipe",
    "test_export",
    "test_cli",
)
FIRST += (
    "test_coherent",
    "test_scan",
    "test_orbitals",
    "test_torch",
    "test_tmd",
    "test_sample",
    "test_silicon",
    "test_keep",
)


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(FIRST)))
