"""How long feedback counts: the half-life whose model foresees the validation split best."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from models._topk import pack, smallest, unpack
from models.ids import IdMap
from models.metrics import means, ranking_metrics
from models.wals._config import WalsConfig
from models.wals._feedback import confidence
from models.wals._fit import Engine
from models.wals._model import FittedWals
from schemas import columns as col

METRIC = "ndcg@20"
_DEPTH = 20
_MOST_USERS = 5_000
_USERS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        config: with the best half-life.
        model: fitted with it to what came before.
        figures: nDCG@20 of each half-life that was tried, in the order of the configuration; none where there was nobody to
            judge, and then the configuration's first one was taken.
    """

    config: WalsConfig
    model: FittedWals
    figures: tuple[float, ...]


def choose_half_life(config: WalsConfig, before: pa.Table, after: pa.Table, at: datetime, engine: Engine) -> Choice:
    """Fit once with each of ``half_lives_days``, and keep the one whose lists hold most of what users liked next.

    How fast taste and catalogue age is a property of the platform: news of a day, or films of a decade. One setting for both
    lost up to two thirds of the nDCG on one of three logs.

    Args:
        config: hyper-parameters.
        before: examples to train on, with the columns that ``confidence`` reads.
        after: the examples that followed.
        at: the moment between them.
        engine: fits.
    """
    tried = [config.with_half_life(days) for days in config.half_lives_days]
    fitted = [engine(each, *confidence(before, each, at)) for each in tried[:1]]
    judged = _judged(fitted[0], before, after)
    if len(tried) == 1 or not len(judged.users):
        return Choice(tried[0], fitted[0], ())
    fitted += [engine(each, *confidence(before, each, at)) for each in tried[1:]]
    figures = tuple(_ndcg(model, judged) for model in fitted)
    best = int(np.argmax(figures))
    return Choice(tried[best], fitted[best], figures)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Users whom the model knows and who liked something new afterwards, ascending; over all videos in ``videos``."""

    users: NDArray[np.int64]
    videos: IdMap
    acted: sp.csr_matrix
    """What each had clicked, liked or disliked before, bool (n_users, n_videos)."""
    relevant: sp.csr_matrix
    """What each liked afterwards and had not acted on, likewise."""


def _judged(model: FittedWals, before: pa.Table, after: pa.Table) -> _Judged:
    liked = after.filter(pc.equal(after[col.LABEL], 1))
    acted = before.filter(pc.or_(pc.or_(before[col.CLICKED], before[col.LIKED]), before[col.DISLIKED]))
    users = np.intersect1d(liked[col.USER_ID].to_numpy(), model.users.ids)
    if len(users) > _MOST_USERS:
        users = np.sort(np.random.default_rng(0).choice(users, _MOST_USERS, replace=False))
    rows, videos = IdMap(users), IdMap.of(np.concatenate([model.videos.ids, liked[col.VIDEO_ID].to_numpy()]))
    seen, wanted = (_matrix(part, rows, videos) for part in (acted, liked))
    fresh = (wanted - wanted.multiply(seen)).tocsr()
    fresh.eliminate_zeros()
    kept = np.diff(fresh.indptr) > 0
    return _Judged(users[kept], videos, seen[kept].astype(bool), fresh[kept].astype(bool))


def _matrix(examples: pa.Table, users: IdMap, videos: IdMap) -> sp.csr_matrix:
    """Which user has an example of which video, int8 of 0 and 1 (n_users, n_videos)."""
    row, column = users.lookup(examples[col.USER_ID].to_numpy()), videos.lookup(examples[col.VIDEO_ID].to_numpy())
    known = (row >= 0) & (column >= 0)
    shape = (len(users), len(videos))
    found = sp.csr_matrix((np.ones(int(known.sum()), dtype=np.int64), (row[known], column[known])), shape=shape)
    found.data = np.ones_like(found.data, dtype=np.int8)
    return found


def _ndcg(model: FittedWals, judged: _Judged) -> float:
    """Mean nDCG@20 of lists over every video that the model knows, without those that the user had acted on."""
    vectors = model.video_vectors(judged.videos.ids)
    place = np.where(vectors.any(axis=1), np.arange(len(vectors)), -1)
    lists = []
    for start in range(0, len(judged.users), _USERS_AT_ONCE):
        some = slice(start, start + _USERS_AT_ONCE)
        scores = model.user_vectors(judged.users[some]) @ vectors.T
        scores[judged.acted[some].nonzero()] = -np.inf
        lists.append(unpack(smallest(pack(scores, place), _DEPTH))[1])
    return means(ranking_metrics(np.concatenate(lists), judged.relevant, ks=(_DEPTH,)))[METRIC]
