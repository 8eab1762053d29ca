"""The wandering of a step's edge, kink by kink."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


@numba.njit(cache=True, error_model="numpy")
def walk(uniforms: F8, chance: float, slope: float, tether: float, out: I8) -> None:
    """Write how far an edge has strayed, in kinks, dimer by dimer to out (n,), from n uniform numbers.

    A kink goes either way, more often back to the line of the edge's mean ``slope``; ``tether`` kinks away from it
    always back.
    """
    at = 0
    for i in range(out.size):
        astray = (at - slope * (i + 0.5)) / tether
        share = min(1.0, chance + max(0.0, abs(astray) - 1.0))
        up = share * min(1.0, max(0.0, 0.5 - 0.5 * astray))
        if uniforms[i] < up:
            at += 1
        elif uniforms[i] > 1.0 - (share - up):
            at -= 1
        out[i] = at
