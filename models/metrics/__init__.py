"""Metrics: the one meaning of each figure that training, the gate, reports and tests share.

Ranking metrics judge lists against sets of relevant videos over the whole catalogue; nothing is sampled (Krichene and Rendle,
"On Sampled Metrics for Item Recommendation", KDD 2020). Relevance is binary. The ideal list of nDCG and the normaliser of mAP
hold ``min(k, n_relevant)`` videos, so that a perfect list scores 1 at every k (Jarvelin and Kekalainen, TOIS 2002). A user
without relevant videos has no ranking quality: every metric of that user is NaN, and :func:`means` leaves NaN out.

Classification metrics take a weight an example, the inverse of its sampling probability, so that figures on down-sampled
negatives estimate those of the full log.
"""

from models.metrics._beyond import (
    coverage,
    diversity,
    novelty,
    place_shares,
    popularity_deciles,
    popularity_share,
    self_information,
    unit_rows,
)
from models.metrics._bootstrap import bootstrap_draws, bootstrap_means, bootstrap_ratios, percentile_interval
from models.metrics._classification import (
    Reliability,
    calibration_ratio,
    expected_calibration_error,
    log_loss,
    pr_auc,
    precision_recall_curve,
    ranking_loss,
    reliability,
    reliability_bins,
    resampled,
    roc_auc,
    roc_curve,
)
from models.metrics._ranking import KS, marginal_recall, means, ranking_metrics, source_recall

__all__ = [
    "KS",
    "Reliability",
    "bootstrap_draws",
    "bootstrap_means",
    "bootstrap_ratios",
    "calibration_ratio",
    "coverage",
    "diversity",
    "expected_calibration_error",
    "log_loss",
    "marginal_recall",
    "means",
    "novelty",
    "percentile_interval",
    "place_shares",
    "popularity_deciles",
    "popularity_share",
    "pr_auc",
    "precision_recall_curve",
    "ranking_loss",
    "ranking_metrics",
    "reliability",
    "reliability_bins",
    "resampled",
    "roc_auc",
    "roc_curve",
    "self_information",
    "source_recall",
    "unit_rows",
]
