"""The world at the start of the test split, and what came after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from models.ids import IdMap
from models.popularity import counters_as_of
from schemas import VIDEO_COUNTERS
from schemas import columns as col


@dataclass(frozen=True, slots=True)
class Holdout:
    """The world at the start of the test split, and what came after.

    Attributes:
        users: USER_FEATURES of the users to judge, as of the start.
        videos: VIDEO_FEATURES as of the start, with VIDEO_TEXT.
        queries: QUERY_TEXT.
        relevant: bool CSR ``(n_users, n_videos)`` over videos in ascending order of the id.
        at: the start.
    """

    users: pa.Table
    videos: pa.Table
    queries: pa.Table
    relevant: sp.csr_matrix
    at: datetime


def holdout(
    users: pa.Table,
    videos: pa.Table,
    queries: pa.Table,
    counts: pa.Table,
    examples: pa.Table,
    *,
    at: datetime,
    half_life_days: float,
    max_users: int,
) -> Holdout:
    """Put the world back to the moment ``at``.

    Args:
        users: USER_FEATURES, what was watched as of the end, all else as of ``at``.
        videos: VIDEO_FEATURES with VIDEO_TEXT, counters, and whether a video is removed or blocked, as of the end, all else as
            of ``at``, scores of misinformation and clickbait and boosts too; those uploaded later are left out.
        queries: QUERY_TEXT.
        counts: VIDEO_COUNTS with their ``dt``.
        examples: EXAMPLES of the look-back.
        at: start of the test split; examples that began later are the test.
        half_life_days: of popularity.
        max_users: judge at most so many users, drawn with a fixed seed.
    """
    # What was uploaded later could be shown to nobody, whoever found it relevant.
    uploaded = pc.less_equal(videos[col.UPLOADED_AT], pa.scalar(at, pa.timestamp("us", tz="UTC")))
    videos = videos.filter(uploaded).sort_by(col.VIDEO_ID)
    ids = videos[col.VIDEO_ID].to_numpy()
    then = counters_as_of(counts, ids, pa.repeat(pa.scalar(at.date()), len(ids)), half_life_days)
    for field in VIDEO_COUNTERS:
        videos = videos.set_column(videos.schema.get_field_index(field.name), field.name, pa.array(then[field.name]))
    later = pc.greater(examples[col.OCCURRED_AT], pa.scalar(at, pa.timestamp("us", tz="UTC")))
    before = acted_on(examples, at)
    after = examples.filter(pc.and_(later, pc.equal(examples[col.LABEL], 1)))
    judged = np.unique(after[col.USER_ID].to_numpy())
    if len(judged) > max_users:
        judged = np.sort(np.random.default_rng(0).choice(judged, max_users, replace=False))
    users = users.filter(pc.is_in(users[col.USER_ID], pa.array(judged))).sort_by(col.USER_ID)
    user_map, video_map = IdMap(users[col.USER_ID].to_numpy()), IdMap(ids)
    seen = pairs(before, user_map, video_map)
    relevant = pairs(after, user_map, video_map)
    relevant = (relevant.astype(np.int8) - relevant.multiply(seen).astype(np.int8)).astype(bool)
    relevant.eliminate_zeros()
    keep = np.diff(relevant.indptr) > 0
    watched = pa.LargeListArray.from_arrays(seen.indptr.astype(np.int64), ids[seen.indices]).cast(pa.list_(pa.int64()))
    users = users.set_column(users.schema.get_field_index(col.WATCHED), col.WATCHED, watched)
    return Holdout(users.filter(pa.array(keep)), videos, queries, relevant[keep], at)


def acted_on(examples: pa.Table, at: datetime) -> pa.Table:
    """The examples up to a moment whose user clicked, liked or disliked the video."""
    later = pc.greater(examples[col.OCCURRED_AT], pa.scalar(at, pa.timestamp("us", tz="UTC")))
    acted = pc.or_(pc.or_(examples[col.CLICKED], examples[col.LIKED]), examples[col.DISLIKED])
    return examples.filter(pc.and_(pc.invert(later), acted))


def pairs(examples: pa.Table, users: IdMap, videos: IdMap) -> sp.csr_matrix:
    """Which pairs of a user and a video have an example; those without a place in the maps are left out.

    Returns:
        bool CSR ``(n_users, n_videos)``.
    """
    rows, columns = users.lookup(examples[col.USER_ID].to_numpy()), videos.lookup(examples[col.VIDEO_ID].to_numpy())
    known = (rows >= 0) & (columns >= 0)
    ones = np.ones(int(known.sum()), dtype=bool)
    matrix = sp.coo_matrix((ones, (rows[known], columns[known])), shape=(len(users), len(videos)), dtype=bool).tocsr()
    matrix.sum_duplicates()
    return matrix
