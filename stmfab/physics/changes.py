"""What differs from a perfect crystal, V = Q Lambda Q^T: removed, shifted and added orbitals, and changed bonds."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike
from scipy import linalg

from .units import Bools, Floats, Ints

NULL_EIGENVALUE = 1e-12  # relative: an eigenvalue of a perturbation below this is zero


@dataclass(frozen=True)
class Cluster:
    """A change of the Hamiltonian on a few orbitals: ``matrix_eV`` real symmetric, ``orbitals`` rows (u, v, orbital).

    Orbital numbers from the material's ``n_orbitals`` on mean added orbitals, in order; their u and v are ignored.
    """

    orbitals: Ints
    matrix_eV: Floats


@dataclass(frozen=True)
class Perturbation:
    """Everything that differs from the perfect crystal; orbitals are rows (u, v, orbital).

    Attributes
    ----------
    removed : int array of shape (n_removed, 3)
        Orbitals that are absent.
    shifted : int array of shape (n_shifted, 3)
        Orbitals whose on-site energy changes.
    shift_eV : array of shape (n_shifted,)
        By how much; not zero.
    clusters : sequence of Cluster
        Changed hoppings, bonds to added orbitals.
    added_eV : array of shape (n_added,)
        On-site energies of added orbitals, from the Fermi level.
    added_nm : array of shape (n_added, 3)
        Where they are.
    added_orbitals : tuple of str
        Which orbitals they are: words of ``materials.ORBITALS``.
    """

    removed: Ints
    shifted: Ints
    shift_eV: Floats
    clusters: Sequence[Cluster] = ()
    added_eV: Floats = dataclasses.field(default_factory=lambda: np.zeros(0))
    added_nm: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    added_orbitals: tuple[str, ...] = ()

    @functools.cached_property
    def columns(self) -> Columns:
        """Q; what touches a removed orbital is dropped."""
        return _columns(self)

    @property
    def size(self) -> int:
        """Number of changed orbitals."""
        return len(self.removed) + len(self.shifted) + sum(len(cluster.orbitals) for cluster in self.clusters)


@dataclass(frozen=True)
class Bound:
    """Columns of Q over the orbitals of a cluster, rows (u, v, orbital), and their Lambda^-1.

    ``vectors`` are (n_columns, n_orbitals), ``inverse`` (n_columns, n_columns).
    """

    orbitals: Ints
    vectors: Floats
    inverse: Floats


@dataclass(frozen=True)
class Columns:
    """Q: first a column for each of some single orbitals, then those of the clusters.

    Attributes
    ----------
    orbitals : int array of shape (n_entries, 3)
        Those that any column touches, one cluster's after the other's.
    inverse : array of shape (n_single,)
        Lambda^-1 of single orbitals: 0 for removed ones.
    """

    orbitals: Ints
    inverse: Floats
    clusters: tuple[Bound, ...] = ()

    @functools.cached_property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.inverse) + sum(len(cluster.vectors) for cluster in self.clusters)

    @property
    def spread(self) -> Floats:
        """Q^T, shape (n_columns, n_entries)."""
        blocks = np.eye(len(self.inverse)), *(cluster.vectors for cluster in self.clusters)
        return np.asarray(linalg.block_diag(*blocks))

    @property
    def constant(self) -> Floats:
        """Lambda^-1, shape (n_columns, n_columns)."""
        return np.asarray(linalg.block_diag(np.diag(self.inverse), *(cluster.inverse for cluster in self.clusters)))

    @functools.cached_property
    def _n_entries(self) -> Ints:
        """How many orbitals the columns of each group touch: a single one's, or a cluster's, (n_groups,)."""
        counts = [1] * len(self.inverse) + [len(cluster.orbitals) for cluster in self.clusters]
        return np.array(counts, dtype=np.int64)

    def groups_felt(self, felt: Bools) -> Bools:
        """Return which groups have any orbital felt, (n_blocks, n_groups) of (n_blocks, n_entries)."""
        return np.logical_or.reduceat(felt, _begins(self._n_entries)[:-1], axis=1)

    def felt(self, felt: Bools) -> Columns:
        """Return the columns of the groups that have any of some orbitals, ``felt`` of shape (n_entries,)."""
        groups, n = self.groups_felt(felt[None])[0], len(self.inverse)
        clusters = tuple(itertools.compress(self.clusters, groups[n:]))
        singles = self.orbitals[:n][groups[:n]]
        orbitals = np.concatenate([singles, *(cluster.orbitals for cluster in clusters)])
        return Columns(orbitals, self.inverse[groups[:n]], clusters)

    def flat(self, dtype: DTypeLike) -> tuple[Ints, Ints, Ints, Ints, Floats, Ints, Floats]:
        """Return Q and Lambda^-1 as ``_greens_kernels.add_spread_corrections`` takes them.

        Orbitals, where each group of them begins, where the shares of each begin, their columns and values, where the
        columns of each group begin, and Lambda^-1.
        """
        n = len(self.inverse)
        entries = [np.nonzero(cluster.vectors.T) for cluster in self.clusters]  # orbital, column
        n_columns = [1] * n + [len(cluster.vectors) for cluster in self.clusters]
        first = _begins(np.array(n_columns))
        counts = [
            np.bincount(rows, minlength=len(cluster.orbitals))
            for (rows, _), cluster in zip(entries, self.clusters, strict=True)
        ]
        of = [columns + begin for (_, columns), begin in zip(entries, first[n:], strict=False)]
        shares = [cluster.vectors.T[entry] for entry, cluster in zip(entries, self.clusters, strict=True)]
        return (
            self.orbitals,
            _begins(self._n_entries),
            _begins(np.concatenate([np.ones(n, dtype=np.int64), *counts])),
            np.concatenate([np.arange(n), *of]),
            np.concatenate([np.ones(n), *shares]).astype(dtype),
            first,
            self.constant.astype(dtype),
        )


def _begins(counts: Ints) -> Ints:
    """Return where each of some runs begins, and the end, (n + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _columns(perturbation: Perturbation) -> Columns:
    """Return Q of a perturbation; what touches a removed orbital is dropped first."""
    removed = {tuple(orbital) for orbital in perturbation.removed.tolist()}
    kept = np.array([tuple(orbital) not in removed for orbital in perturbation.shifted.tolist()], dtype=np.bool_)
    once = perturbation.removed if len(removed) == len(perturbation.removed) else np.array(sorted(removed))
    orbitals = np.concatenate([once, perturbation.shifted[kept]])
    inverse = np.concatenate([np.zeros(len(once)), 1 / perturbation.shift_eV[kept]])
    found = [_bound(cluster, removed) for cluster in perturbation.clusters]
    clusters = tuple(cluster for cluster in found if len(cluster.vectors))
    return Columns(np.concatenate([orbitals, *(cluster.orbitals for cluster in clusters)]), inverse, clusters)


def _bound(cluster: Cluster, removed: set[tuple[int, ...]]) -> Bound:
    """Return a cluster's columns of Q on the orbitals that are not removed.

    A few own orbitals with bonds B to the others, V = (D, B; B^T, 0), have the columns e_own and B^T with
    Lambda^-1 = (0, 1; 1, -D): few entries. Other changes have their eigenvectors, without those of eigenvalue zero.
    """
    kept = np.array([tuple(orbital) not in removed for orbital in cluster.orbitals.tolist()], dtype=np.bool_)
    orbitals, matrix = cluster.orbitals[kept], cluster.matrix_eV[np.ix_(kept, kept)]
    n = int(np.minimum(*np.nonzero(matrix)).max(initial=-1)) + 1
    if 2 * n <= len(orbitals):
        one, nothing = np.eye(n), np.zeros((n, n))
        vectors = np.block([[one, np.zeros((n, len(orbitals) - n))], [nothing, matrix[:n, n:]]])
        return Bound(orbitals, vectors, np.block([[nothing, one], [one, -matrix[:n, :n]]]))
    values, vectors = np.linalg.eigh(matrix)
    used = np.abs(values) > NULL_EIGENVALUE * np.abs(values).max(initial=NULL_EIGENVALUE)
    return Bound(orbitals, vectors[:, used].T, np.diag(1 / values[used]))
