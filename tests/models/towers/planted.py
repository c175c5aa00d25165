"""Planted truth for the towers: two groups of users, each of which likes one half of the videos."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from models.features import COUNTERS
from models.towers import TowerData, TowersConfig

START = datetime(2026, 1, 2, tzinfo=UTC)
AS_OF = datetime(2026, 1, 9, tzinfo=UTC)
N_USERS, N_VIDEOS = 80, 60
LIKES, INDIFFERENT = 0.6, 0.03
"""Probability that a video of the own half, or of the other, is relevant."""

CONFIG = TowersConfig(
    dim=16,
    hidden=(32,),
    ranker_dim=8,
    ranker_hidden=(32, 16),
    id_dim=16,
    category_dim=4,
    min_count=3,
    id_dropout=0.1,
    batch_size=512,
    retrieval_batch_size=256,
    min_steps_per_epoch=20,
    uniform_negatives=32,
    temperature=0.1,
    learning_rate=0.01,
    weight_decay=0.05,
    sparse_rows=100_000,
    loss="bce",
    focal_gamma=2.0,
    class_balanced_beta=0.999,
    max_epochs=10,
    patience=2,
    threads=1,
    seed=1,
)


def users(ids=range(N_USERS)):
    """User ``i`` belongs to group ``i % 2``, which its country tells; nothing else does."""
    ids = np.asarray(ids, dtype=np.int64)
    nulls = pa.nulls(len(ids), pa.string())
    return pa.table({
        "user_id": ids,
        "age_bucket": np.array(["18-24", "25-34", "55+"])[ids % 3],
        "gender": nulls,
        "language": np.full(len(ids), "en"),
        "country": np.array(["DE", "FR"])[ids % 2],
        "city": nulls,
        "device": np.full(len(ids), "web"),
    })  # fmt: skip


def videos(ids=range(N_VIDEOS)):
    """Video ``1000 + j`` belongs to half ``j % 2``, which its language tells."""
    ids = np.asarray(ids, dtype=np.int64)
    return pa.table({
        "video_id": 1000 + ids,
        "creator_id": ids // 4,
        "language": np.array(["de", "fr"])[ids % 2],
        "duration_seconds": 30.0 + ids,
        "uploaded_at": pa.array([datetime(2025, 12, 1, tzinfo=UTC)] * len(ids), pa.timestamp("us", tz="UTC")),
        **{name: np.full(len(ids), 10.0) for name in COUNTERS},
    })  # fmt: skip


def data(n_impressions=24_000, keep_negatives=1.0, seed=0):
    """Impressions of random pairs in order of time, negatives down-sampled; the last tenth is for neither mask.

    Returns:
        The data, and the true probability of each example.
    """
    rng = np.random.default_rng(seed)
    user, video = rng.integers(0, N_USERS, n_impressions), rng.integers(0, N_VIDEOS, n_impressions)
    probability = np.where(user % 2 == video % 2, LIKES, INDIFFERENT)
    label = (rng.random(n_impressions) < probability).astype(np.int32)
    micros = np.sort(rng.integers(0, 7 * 86_400_000_000, n_impressions))
    kept = (label == 1) | (rng.random(n_impressions) < keep_negatives)
    user, video, label, micros, probability = (part[kept] for part in (user, video, label, micros, probability))
    n = len(user)
    examples = pa.table({
        "user_id": user,
        "video_id": 1000 + video,
        "exposure": np.full(n, "impression"),
        "occurred_at": pa.array(np.datetime64(START.replace(tzinfo=None), "us") + micros, pa.timestamp("us", tz="UTC")),
        "device": np.full(n, "web"),
        "label": label,
        "weight": np.where(label == 1, 1.0, 1.0 / keep_negatives),
        **{name: np.full(n, 10.0) for name in COUNTERS},
    })  # fmt: skip
    place = np.arange(n) / n
    return TowerData(examples, users(), videos(), place < 0.8, (place >= 0.8) & (place < 0.9)), probability
