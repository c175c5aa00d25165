"""Beyond accuracy: how much of the catalogue lists show, how popular it is, how novel, and how unlike within one list (V3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def coverage(recommended: Ints, catalogue_size: int, k: int) -> float:
    """Share of the catalogue that stands in the top ``k`` of at least one user.

    Args:
        recommended: int64 ``(n_users, length)``, padded with -1.
        catalogue_size: number of videos that could have been shown.
        k: depth.
    """
    shown = np.unique(recommended[:, :k])
    return float((shown >= 0).sum() / catalogue_size) if catalogue_size else 0.0


def popularity_share(recommended: Ints, popularity: Floats, k: int, head_fraction: float = 0.01) -> float:
    """Share of the top ``k`` places that go to the most popular ``head_fraction`` of the catalogue.

    Args:
        recommended: int64 ``(n_users, length)`` dense ids, padded with -1.
        popularity: float64 ``(n_videos,)``.
        k: depth.
        head_fraction: how much of the catalogue is the head; at least one video. Equal popularity goes by dense id.

    Returns:
        0 to 1; NaN when no place is filled.
    """
    head_size = max(1, round(head_fraction * len(popularity)))
    head = np.zeros(len(popularity), dtype=bool)
    head[np.argsort(-popularity, kind="stable")[:head_size]] = True
    shown = recommended[:, :k]
    shown = shown[shown >= 0]
    return float(head[shown].mean()) if len(shown) else float("nan")


def place_shares(recommended: Ints, groups: Ints, n_groups: int, k: int) -> Floats:
    """Share of the filled top ``k`` places that goes to each group of videos.

    Args:
        recommended: int64 ``(n_users, length)`` dense ids, padded with -1.
        groups: int64 ``(n_videos,)`` the group of each video, from 0; -1 for none.
        n_groups: how many there are.
        k: depth.

    Returns:
        float64 ``(n_groups,)``; NaN when no place is filled.
    """
    shown = recommended[:, :k]
    of = groups[shown[shown >= 0]]
    counts = np.bincount(of[of >= 0], minlength=n_groups).astype(np.float64)
    return counts / len(of) if len(of) else np.full(n_groups, np.nan)


def popularity_deciles(popularity: Floats, eligible: NDArray[np.bool_]) -> Ints:
    """Tenths of the eligible videos by popularity: 0 for the most popular, 9 for the least; equal ones go by position.

    Args:
        popularity: ``(n_videos,)``.
        eligible: bool ``(n_videos,)``.

    Returns:
        int64 ``(n_videos,)``; -1 for what is not eligible.
    """
    positions = np.flatnonzero(eligible)
    order = positions[np.argsort(-popularity[positions], kind="stable")]
    deciles = np.full(len(popularity), -1, dtype=np.int64)
    deciles[order] = np.arange(len(order)) * 10 // max(len(order), 1)
    return deciles


def self_information(counts: Floats) -> Floats:
    """How surprising each video is: -log2 of the chance that a random view is one of it, in bits.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems" (PNAS 2010), with one view more for
    every video, so that one that nobody has seen is rare instead of impossible.

    Args:
        counts: how often each was viewed, ``(n_videos,)``, at least 0.
    """
    smoothed = np.asarray(counts, dtype=np.float64) + 1.0
    information: Floats = np.log2(smoothed.sum()) - np.log2(smoothed)
    return information


def novelty(recommended: Ints, information: Floats, k: int) -> Floats:
    """Mean :func:`self_information` of each user's top ``k``, in bits (Vargas and Castells, RecSys 2011, without discount).

    Args:
        recommended: int64 ``(n_users, length)`` dense ids, padded with -1.
        information: float64 ``(n_videos,)``.
        k: depth.

    Returns:
        float64 ``(n_users,)``; NaN for an empty list.
    """
    shown = recommended[:, :k]
    filled = (shown >= 0).sum(axis=1)
    total = np.where(shown >= 0, information[shown], 0.0).sum(axis=1)
    means: Floats = total / np.where(filled, filled, np.nan)
    return means


def unit_rows(vectors: Any) -> Any:
    """Rows of length 1, of a dense or a CSR matrix; a row of zeros, which stands for a video that is not known, stays."""
    if sp.issparse(vectors):
        norms = np.sqrt(_squares(vectors))
        return sp.diags(1.0 / np.where(norms > 0, norms, 1.0)) @ vectors
    wide = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norms > 0, norms, 1.0)


def diversity(recommended: Ints, vectors: Any, k: int) -> Floats:
    """Mean dissimilarity, 1 - cosine, of the pairs within each user's top ``k`` (Ziegler et al., WWW 2005).

    The sum over pairs of unit vectors is ``(|sum|^2 - n) / 2``, so no pair is looked at.

    Args:
        recommended: int64 ``(n_users, length)`` dense ids, padded with -1.
        vectors: ``(n_videos, d)``, dense or CSR, rows of length 1, or of zeros for a video without a vector, which is left out.
        k: depth.

    Returns:
        float64 ``(n_users,)``; NaN for a list with less than two known videos.
    """
    shown = recommended[:, :k]
    known = _squares(vectors)
    row, column = np.nonzero((shown >= 0) & (known[shown] > 0.5))
    ones = np.ones(len(row))
    picks = sp.csr_matrix((ones, (row, shown[row, column])), shape=(len(shown), vectors.shape[0]))
    squared = _squares(picks @ vectors)
    n = np.bincount(row, minlength=len(shown)).astype(np.float64)
    pairs = np.where(n > 1, n * (n - 1), np.nan)
    spread: Floats = np.clip(1.0 - (squared - n) / pairs, 0.0, 2.0)
    return spread


def _squares(rows: Any) -> Floats:
    """Squared length of each row of a dense or a CSR matrix, float64 ``(n,)``."""
    if sp.issparse(rows):
        return np.asarray(rows.multiply(rows).sum(axis=1), dtype=np.float64).ravel()
    return np.asarray((rows**2).sum(axis=1), dtype=np.float64)
