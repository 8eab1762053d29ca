"""Make the tables of tungsten apexes that the package ships: ``python tests/make_tips.py`` (some minutes)."""

from pathlib import Path

import numpy as np

from stmfab.physics import tips, tungsten, tungsten_spd

UNIT_per_eV = 1e-4  # of the spd densities, which reach from 0.1 to 3


def write(tables):
    """Write the apexes and their densities of states in the s model."""
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
        at_eV=tips.AT_eV,
    )


def write_spd(tables):
    """Write the densities of states in the spd model: smooth in energy, so that second differences are small."""
    counts = np.round(np.concatenate([t.ldos_per_eV for t in tables]) / UNIT_per_eV).astype(np.int64)
    distinct, which = np.unique(counts, axis=0, return_inverse=True)
    differences = np.diff(np.diff(distinct, axis=1, prepend=0), axis=1, prepend=0)
    np.savez_compressed(
        Path(tips.__file__).with_name(tips.SPD_TABLE),
        which=which.astype(np.int16),
        second_differences=differences.astype(np.int16),
        unit_per_eV=UNIT_per_eV,
    )


if __name__ == "__main__":
    of_s, of_spd = [], []
    for orientation, make in tungsten.CLUSTERS.items():
        cluster = make()
        states = list(tungsten.apexes(orientation, cluster))
        of_s += [tungsten.apex_table(apex, cluster, tips.AT_eV) for apex in states]
        of_spd += tungsten_spd.apex_tables(cluster, states, tips.AT_eV)
    write(of_s)
    write_spd(of_spd)
