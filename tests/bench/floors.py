"""What the stages of a sample must at least do: operations, bytes and steps that wait for one another; and the floor.

The counts are of the algorithms as they are, from the sizes that the samples really have: a multiply-add is two
operations, one of complex numbers eight; a square root, a division or a table look-up one; exp and log twenty. What
Python does between them is not counted: it is what lies above the floor.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numba
import numpy as np

from stmfab import store
from stmfab.physics import _greens_kernels, current, path, scan, targets
from stmfab.physics.current import FAINT_GRID
from stmfab.physics.stages import Staged

EXPONENTIAL, DISTANCE = 20, 8
CHAIN = 22  # additions and multiplications that wait for one another in an update: field, error, sum, hysteresis


@dataclass(frozen=True)
class Core:
    """What one core does: operations and bytes a second, measured, and seconds until a sum can be used."""

    operations_per_s: float
    bytes_per_s: float
    wait_s: float

    def floor_s(self, work: Work) -> float:
        """Return the least time for some work: what is larger of arithmetic and memory, or of waiting."""
        return max(
            work.operations / self.operations_per_s, work.bytes / self.bytes_per_s, work.waits * CHAIN * self.wait_s
        )


@dataclass
class Work:
    """Operations, bytes read and written, and steps of a recursion."""

    operations: float = 0.0
    bytes: float = 0.0
    waits: float = 0.0

    def add(self, operations: float, n_bytes: float, waits: float = 0.0) -> None:
        """Add some work."""
        self.operations, self.bytes, self.waits = self.operations + operations, self.bytes + n_bytes, self.waits + waits


def core() -> Core:
    """Measure this core, in single precision: a matrix product, a copy beyond the caches, a chain of sums."""
    square, large = np.ones((768, 768), np.float32), np.ones(1 << 25, np.float32)
    copy = np.empty_like(large)
    _chain(10)
    operations = 2 * 768**3 / _best(lambda: square @ square)
    return Core(
        operations, 2 * large.nbytes / _best(lambda: np.copyto(copy, large)), _best(lambda: _chain(10**6)) / 1e6
    )


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(7):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


@numba.njit
def _chain(n):
    total = 1.0
    for _ in range(n):
        total = total * 0.999999 + 1e-9
    return total


@contextmanager
def counted() -> Iterator[dict[str, Work]]:
    """Count the work of the stages while samples are made."""
    found: dict[str, Work] = defaultdict(Work)
    counters = [
        (_greens_kernels, "add_corrections", lambda made, *args: _corrections(found["T-matrix"], *args)),
        (current, "current_in_cells", lambda made, *args, **words: _field(found["field"], *args, **words)),
        (
            path,
            "_summed",
            lambda made, *_: found["path"].add(made[0].size * (2 * EXPONENTIAL + 12), 6 * made[0].nbytes),
        ),
        (scan, "run", lambda made, field, path, *_, **words: _scan(found["scan"], field, path)),
        (targets.LatticeCone, "render", lambda made, *_: _cones(found["targets"], made, n_near=7)),
        (targets.DefectCone, "render", lambda made, *_: _cones(found["targets"], made, n_near=1)),
        (store, "write_shard", lambda made, _store, _shard, blocks, **_: _written(found["store"], blocks)),
    ]
    plain = [(holder, name, getattr(holder, name)) for holder, name, _ in counters]
    for (holder, name, count), (_, _, function) in zip(counters, plain, strict=True):
        setattr(holder, name, _after(function, count))
    try:
        yield found
    finally:
        for holder, name, function in plain:
            setattr(holder, name, function)


def _after(function, count):
    def wrapper(*args, **words):
        made = function(*args, **words)
        count(made, *args, **words)
        return made

    def stages(*args, **words):
        made = yield from function.stages(*args, **words)
        count(made, *args, **words)
        return made

    return Staged(stages) if isinstance(function, Staged) else wrapper


def _corrections(work: Work, table, _rows, _inverse, felt, columns, block, _out) -> None:
    """Count the T-matrix: factors, substitutions and squares, block by block, at every energy."""
    n_energies, n_columns = len(table), np.bincount(np.broadcast_to(block, len(columns)), minlength=len(felt))
    n = felt.sum(axis=1)
    couplings = n * (n + 1) / 2 + n_columns * n
    multiply_adds = n**3 / 6 + n_columns * (n**2 / 2 + 2 * n)
    work.add(8 * n_energies * float(multiply_adds.sum()), 8 * n_energies * float(couplings.sum()))


def _field(work: Work, strengths, _mixing, carried, table, *, view, **_rest) -> None:
    """Count the field: conductances, products over sites, the logarithm and its polynomials."""
    n_cells, n_columns, n_loud = len(view.indices), len(carried.columns), carried.n_loud
    fine, coarse = table.n_heights * table.n_grid**2, table.n_heights * FAINT_GRID**2
    n_close = int(carried.close.sum())
    one = DISTANCE + EXPONENTIAL + 2
    conductances = one * (n_close * fine + (len(carried.close) - n_close) * coarse)
    products = 2 * n_cells * (n_loud * fine + (n_columns - n_loud) * coarse)
    refined = 2 * FAINT_GRID**2 * fine * (n_loud + n_cells)
    logarithms = n_cells * fine * (EXPONENTIAL + 2 * table.n_heights)
    arrays = n_columns * coarse + n_loud * fine + n_cells * (2 * n_columns + 5 * fine)
    work.add(conductances + products + refined + logarithms, 4 * arrays)


def _cones(work: Work, images, *, n_near: int) -> None:
    """Count maps of the distance to the nearest of ``n_near`` sites a pixel."""
    for image in images:
        work.add(image.size * (n_near * DISTANCE + 4), image.size * 20)


def _written(work: Work, blocks) -> None:
    """Count a shard: read for its statistics and for its compression, in a pass each over its bytes in the caches."""
    n_bytes = sum(block.nbytes for block in blocks.values())
    work.add(n_bytes, 3 * n_bytes)


def _scan(work: Work, field, path) -> None:
    """Count the scan: means of the field's polynomials over pixels, of a point each, and the loop, update by update."""
    n_pixels, k = path.x_nm[..., 1:].size, field.n_coefficients
    work.add(n_pixels * (20 * 2 * k + 60), n_pixels * (16 * 4 * k + 40), waits=n_pixels)
