"""Gwyddion Simple Field: one file an image, lengths in metres, currents in amperes.

The format: http://gwyddion.net/documentation/user-guide-en/gsf.html
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .batch import Batch, Writer

M_PER_NM, A_PER_NA = 1e-9, 1e-9
SI: Mapping[str, tuple[str, float]] = {
    "nm": ("m", M_PER_NM),
    "nA": ("A", A_PER_NA),
    "nA/V": ("S", A_PER_NA),
    "V": ("V", 1.0),
    "1": ("", 1.0),
}
ALIGNED_BYTES = 4


class Gsf(Writer):
    """Images with their rows from the largest y down, as Gwyddion draws them; parameters as further header lines."""

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the files of a batch, in a folder of the split."""
        return {
            f"{batch.split}/{batch.indices[row]:09d}.{name}.gsf": _field(batch, name, row)
            for row in range(len(batch.indices))
            for name in batch.images
        }


def _field(batch: Batch, name: str, row: int) -> bytes:
    image, pitch_m = batch.arrays[name][row], batch.pixel_size_nm(row) * M_PER_NM
    unit, factor = SI[batch.unit(name)]
    n_rows, n_cols = image.shape
    lines = {
        "XRes": n_cols,
        "YRes": n_rows,
        "XReal": repr(n_cols * pitch_m),
        "YReal": repr(n_rows * pitch_m),
        "XYUnits": "m",
        "ZUnits": unit,
        "Title": f"{batch.store.attributes['name']} {name} {batch.indices[row]}",
        "Sample": batch.indices[row],
        "Rows": "from the largest y down",
        **_parameters(batch, row),
    }
    header = "Gwyddion Simple Field 1.0\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())
    text = header.encode()
    padding = b"\0" * (ALIGNED_BYTES - len(text) % ALIGNED_BYTES)
    values: bytes = (image[::-1].astype(np.float64) * factor).astype("<f4").tobytes()
    return text + padding + values


def _parameters(batch: Batch, row: int) -> dict[str, str]:
    """Return drawn and derived numbers under names that are identifiers."""
    return {name.replace(".", "__"): str(value) for name, value in batch.parameters(row).items()}
