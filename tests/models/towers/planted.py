"""Planted truth for the towers: two groups of users, each of which likes one half of the videos.

What tells the groups and halves is in their attributes, in the watch history alone, or in the titles alone.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from models.features import FEATURES, Number
from models.towers import TowerData, TowersConfig
from schemas import EXAMPLE_FEATURES, QUERY_TEXT

START = datetime(2026, 1, 2, tzinfo=UTC)
AS_OF = datetime(2026, 1, 9, tzinfo=UTC)
N_USERS, N_VIDEOS = 80, 60
LIKES, INDIFFERENT = 0.6, 0.03
"""Probability that a video of the own half, or of the other, is relevant."""
LONG_AGO = datetime(2025, 12, 1, tzinfo=UTC)
COUNTED = sorted(
    {column for feature in FEATURES if isinstance(feature, Number) for column in feature.columns}
    - {"duration_seconds", "uploaded_at"}
)
LISTS = {field.name: field.arrow.type for field in EXAMPLE_FEATURES.fields if field.type.startswith("list")}

TRAINING = {
    "min_steps_per_epoch": 20,
    "learning_rate": 0.01,
    "id_dropout": 0.1,
    "weight_decay": 0.05,
    "max_epochs": 10,
    "patience": 2,
}
CONFIG = TowersConfig(
    id_dim=16,
    category_dim=4,
    vector_dim=8,
    leave_out=(),
    min_count=3,
    sparse_rows=100_000,
    threads=1,
    seed=1,
    retrieval={
        **TRAINING,
        "dim": 16,
        "hidden": (32,),
        "history": 8,
        "blocks": 1,
        "heads": 2,
        "dropout": 0.1,
        "full_softmax_videos": 1000,
        "uniform_negatives": 32,
        "batch_size": 256,
        "average": 0.9,
    },
    ranker={
        **TRAINING,
        "dim": 8,
        "hidden": (32, 16),
        "crosses": (("user_language", "video_language"),),
        "quick_rate": 3.0,
        "objectives": {},
        "loss": "bce",
        "focal_gamma": 2.0,
        "class_balanced_beta": 0.999,
        "batch_size": 512,
        "average": 0.0,
    },
    fine_tune={"models": ("retrieval", "ranker"), "rate": 0.1, "max_epochs": 2, "check_fraction": 0.2},
)


def with_settings(config=CONFIG, *, retrieval=None, ranker=None, **shared):
    """The configuration with other values."""
    own = {"retrieval": retrieval or {}, "ranker": ranker or {}}
    parts = {name: getattr(config, name).model_copy(update=update) for name, update in own.items()}
    return config.model_copy(update={**shared, **parts})


QUERIES = pa.Table.from_pylist([{"query": "a", "vector": [0.0, 1.0]}], schema=QUERY_TEXT.arrow)


def times(moments):
    return pa.array(moments, pa.timestamp("us", tz="UTC"))


def users(ids=range(N_USERS), country=("DE", "FR")):
    """User ``i`` belongs to group ``i % 2``, which its country tells; nothing else does."""
    ids = np.asarray(ids, dtype=np.int64)
    nulls = pa.nulls(len(ids), pa.string())
    return pa.table({
        "user_id": ids,
        "valid_from": times([LONG_AGO] * len(ids)),
        "age": pa.array(np.array([20, 30, 60])[ids % 3], pa.int32()),
        "gender": nulls,
        "language": np.full(len(ids), "en"),
        "country": np.array(country)[ids % 2],
        "city": nulls,
    })  # fmt: skip


def videos(ids=range(N_VIDEOS), language=("de", "fr"), title=([0.0, 0.0], [0.0, 0.0])):
    """Video ``1000 + j`` belongs to half ``j % 2``, which its language tells."""
    ids = np.asarray(ids, dtype=np.int64)
    zeros = np.zeros((len(ids), 2))
    return pa.table({
        "video_id": 1000 + ids,
        "valid_from": times([LONG_AGO] * len(ids)),
        "creator_id": ids // 4,
        "language": np.array(language)[ids % 2],
        "duration_seconds": 30.0 + ids,
        "uploaded_at": times([LONG_AGO] * len(ids)),
        "title_vector": pa.array([title[place % 2] for place in ids.tolist()], pa.list_(pa.float32())),
        "tags_vector": pa.array(zeros.tolist(), pa.list_(pa.float32())),
    })  # fmt: skip


def seen_by_none(rows):
    """Users or examples that have done nothing yet."""
    for name, kind in LISTS.items():
        rows = rows.append_column(name, pa.array([[]] * rows.num_rows, kind))
    return rows


def counted(rows):
    """Videos or examples of which ten of everything were counted."""
    for name in COUNTED:
        rows = rows.append_column(name, pa.array(np.full(rows.num_rows, 10.0)))
    return rows


def users_now(*args, **more):
    """USER_FEATURES of the same users, who have done nothing yet."""
    found = users(*args, **more)
    return seen_by_none(found.append_column("device", pa.array(["web"] * found.num_rows)))


def videos_now(*args, **more):
    """VIDEO_FEATURES of the same videos with their text."""
    return counted(videos(*args, **more))


def with_watched(rows, half):
    """Users or examples that watched eight videos of one half (n,), the newest an hour ago."""
    rng = np.random.default_rng(9)
    watched = 1000 + 2 * rng.integers(0, N_VIDEOS // 2, (rows.num_rows, 8)) + np.asarray(half)[:, None] % 2
    ages = [[3600 * (1 + place) for place in range(8)]] * rows.num_rows
    for name, lists in (("watched_history", watched.tolist()), ("watched_ages_seconds", ages)):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(lists, LISTS[name]))
    return rows


def watches_of(rows, at):
    """The watches that the histories of users or examples list, in order of time."""
    found = sorted(
        (moment - age * 1_000_000, user, video)
        for user, moment, videos, ages in zip(
            rows.column("user_id").to_pylist(),
            np.broadcast_to(at, rows.num_rows).tolist(),
            rows.column("watched_history").to_pylist(),
            rows.column("watched_ages_seconds").to_pylist(),
            strict=True,
        )
        for video, age in zip(videos, ages, strict=True)
    )
    moments, own, of = zip(*found, strict=True) if found else ((), (), ())
    columns = {"user_id": pa.array(own, pa.int64()), "video_id": pa.array(of, pa.int64())}
    return pa.table({**columns, "occurred_at": pa.array(moments, pa.int64()).cast(pa.timestamp("us", tz="UTC"))})


def data(n_impressions=24_000, keep_negatives=1.0, seed=0, n_users=N_USERS):
    """Impressions of random pairs in order of time, negatives down-sampled; the last tenth is for neither mask.

    Returns:
        The data, and the true probability of each example.
    """
    rng = np.random.default_rng(seed)
    user, video = rng.integers(0, n_users, n_impressions), rng.integers(0, N_VIDEOS, n_impressions)
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
        "occurred_at": times(np.datetime64(START.replace(tzinfo=None), "us") + micros),
        "device": np.full(n, "web"),
        "label": label,
        "weight": np.where(label == 1, 1.0, 1.0 / keep_negatives),
    })  # fmt: skip
    place = np.arange(n) / n
    train, validation = place < 0.8, (place >= 0.8) & (place < 0.9)
    examples = counted(seen_by_none(examples))
    found = TowerData(examples, users(range(n_users)), videos(), QUERIES, watches_of(examples, 0), train, validation)
    return found, probability
