"""Make the table of tungsten apexes that the package ships: ``python tests/make_tips.py`` (about a minute)."""

from pathlib import Path

import numpy as np

from stmfab.physics import tips, tungsten

if __name__ == "__main__":
    at_eV = np.linspace(-3.0, 3.0, 241)
    tables = []
    for orientation, make in tungsten.CLUSTERS.items():
        cluster = make()
        tables += [tungsten.apex_table(apex, cluster, at_eV) for apex in tungsten.apexes(orientation, cluster)]
    distinct, which = np.unique(  # atoms that a symmetry of the apex maps onto each other share a row
        np.concatenate([t.ldos_per_eV for t in tables]).round(7), axis=0, return_inverse=True
    )
    np.savez_compressed(
        Path(tips.__file__).with_name(tips.TABLE),
        names=np.array([t.name for t in tables]),
        n_front=np.array([t.n_front for t in tables]),
        n_atoms=np.array([len(t.positions_nm) for t in tables]),
        positions_nm=np.concatenate([t.positions_nm for t in tables]),
        which=which.astype(np.int16),
        ldos_per_eV=distinct.astype(np.float32),
        at_eV=at_eV,
    )
