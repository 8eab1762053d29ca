"""Physics that costs nothing: the arrays of a plan as a pure function of (plan, index), for tests of everything else.

As a program (``python -m tests.stub generate ...``) it is the command line of stmfab over this physics. The environment
sets how it misbehaves: STUB_PAUSE_s a sample; STUB_BAD_SAMPLE, an index that fails; STUB_DEADLY_SAMPLE, one at which
the process dies by STUB_SIGNAL; STUB_LOG, a file that is told when which run began which samples.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import zlib

import numpy as np

from stmfab import plan as plans
from stmfab.errors import StmfabError


def prepare(plan):
    pass


def simulate(plan, start, stop):
    if "STUB_LOG" in os.environ:
        with open(os.environ["STUB_LOG"], "a") as log:
            log.write(f"{time.monotonic()} {os.getppid()} {start}\n")
    time.sleep(float(os.environ.get("STUB_PAUSE_s", "0")) * (stop - start))
    if start <= int(os.environ.get("STUB_BAD_SAMPLE", "-1")) < stop:
        raise StmfabError(f"sample {os.environ['STUB_BAD_SAMPLE']} (seed {plan.seed}): NaN after stage field")
    if start <= int(os.environ.get("STUB_DEADLY_SAMPLE", "-1")) < stop:
        signal.raise_signal(int(os.environ["STUB_SIGNAL"]))  # to this thread, as a crash
    columns = plans.draw(plan, start, stop)
    derived = {name: np.arange(start, stop) / 7 for name, _ in plan.derived}
    arrays = {spec.name: _array(plan, spec, start, stop) for spec in plan.arrays}
    arrays["param"] = plans.record(plan, columns, derived)
    return arrays


def _array(plan, spec, start, stop):
    words = [plan.seed, zlib.crc32(spec.name.encode())]
    values = np.stack([np.random.default_rng([*words, index]).random(spec.shape) for index in range(start, stop)])
    if spec.dims == ("defect",) and spec.dtype.startswith("float"):
        values[:, 2:] = np.nan  # padding
    whole = {"defect_count": 2, "defect_species": 2 * values}.get(spec.name, 3 * values)
    return np.broadcast_to(whole if np.dtype(spec.dtype).kind in "iu" else values, values.shape).astype(spec.dtype)


def _command_line():
    from stmfab import sample
    from tests import stub  # under this name the workers find it too

    sample.prepare, sample.simulate = stub.prepare, stub.simulate
    from stmfab import cli

    cli.main()


if __name__ == "__main__":
    sys.exit(_command_line())
