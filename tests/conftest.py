"""What every test finds: a place of its own for tables, kept from run to run, and never the user's."""

import os
from pathlib import Path

os.environ["STMFAB_CACHE"] = str(Path(__file__).parent.parent / ".pytest_cache" / "tables")
