"""How sure a figure is: bootstrap replicates over users, and percentile intervals.

Users are drawn, not events: what one user does hangs together. Every user is drawn a Poisson(1) number of times in a replicate,
which for more than a few users is drawing as many as there are with replacement (Chamandy et al., "Estimating Uncertainty for
Massive Data Streams", Google, 2012), and needs one matrix for every figure and slice, so that differences between figures are
paired. The interval lies between the percentiles of the replicates (Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, chapter 13).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]


def bootstrap_draws(n_users: int, replicates: int, seed: int) -> Floats:
    """How often each user is drawn in each replicate: float64 ``(replicates, n_users)`` of whole numbers.

    Args:
        n_users: users of the sample.
        replicates: how many samples to draw.
        seed: the same seed draws the same.
    """
    return np.random.default_rng(seed).poisson(1.0, (replicates, n_users)).astype(np.float64)


def bootstrap_means(values: Floats, draws: Floats) -> Floats:
    """Means of the users drawn in each replicate.

    Args:
        values: float64 ``(n_users, m)``; NaN where a user has no figure.
        draws: float64 ``(replicates, n_users)``.

    Returns:
        float64 ``(replicates, m)``; NaN where nobody with a figure was drawn.
    """
    known = ~np.isnan(values)
    return bootstrap_ratios(np.where(known, values, 0.0), known.astype(np.float64), draws)


def bootstrap_ratios(above: Floats, below: Floats, draws: Floats) -> Floats:
    """Quotients of the sums over the users drawn in each replicate, such as positives over examples.

    Args:
        above: float64 ``(n_users, m)``, what each user adds to the dividends.
        below: float64 ``(n_users, m)``, and to the divisors, at least 0.
        draws: float64 ``(replicates, n_users)``.

    Returns:
        float64 ``(replicates, m)``; NaN where the divisor is 0.
    """
    total, count = product(draws, above), product(draws, below)
    ratios: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return ratios


def product(draws: Floats, values: Floats) -> Floats:
    """The matrix product by one thread: how BLAS divides a product among threads decides its last bits."""
    with threadpool_limits(1, user_api="blas"):
        found: Floats = draws @ values
    return found


def percentile_interval(replicates: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The middle of the replicates that holds ``confidence`` of them.

    Args:
        replicates: float64 ``(replicates, ...)``; NaN is left out.
        confidence: such as 0.95.

    Returns:
        Lower and upper ends, float64 of the shape of one replicate; NaN where all are.
    """
    shape = replicates.shape[1:]
    flat = replicates.reshape(len(replicates), -1)
    levels = [(1 - confidence) / 2, (1 + confidence) / 2]
    ends = np.full((2, flat.shape[1]), np.nan)
    whole = ~np.isnan(flat).any(axis=0)  # nanquantile takes a Python loop
    if len(flat):
        ends[:, whole] = np.quantile(flat[:, whole], levels, axis=0)
        for column in np.flatnonzero(~whole):
            known = flat[~np.isnan(flat[:, column]), column]
            ends[:, column] = np.quantile(known, levels) if len(known) else np.nan
    return ends[0].reshape(shape), ends[1].reshape(shape)
