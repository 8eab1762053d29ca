"""What every test finds: a place of its own for tables, kept from run to run, never the user's; and time to compile."""

import os
from pathlib import Path

from hypothesis import settings

os.environ["STMFAB_CACHE"] = str(Path(__file__).parent.parent / ".pytest_cache" / "tables")

settings.register_profile("compiled", deadline=None)  # the first example may compile a kernel
settings.load_profile("compiled")
