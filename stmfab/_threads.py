"""One thread for every pool of every library, set before numpy is imported: shards are the parallelism.

Not for speed alone: a sum split over another number of threads rounds differently.
"""

from __future__ import annotations

import os

ONE_THREAD = {f"{pool}_NUM_THREADS": "1" for pool in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA")} | {
    "VECLIB_MAXIMUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}

os.environ.update(ONE_THREAD)
