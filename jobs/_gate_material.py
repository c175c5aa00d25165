"""What the gate judges, gathered from bundles, the lake and MLflow: the same rows for candidate and incumbent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs import _bundles, _training
from jobs._stage import Context
from jobs._tables import Partition
from jobs._tracking import Published, Tracker
from jobs._training import TrainingSet
from jobs._window import Window, iso
from models import evaluation
from models.bundle import Bundle
from models.ensemble import Ensemble
from models.evaluation import EvaluationConfig, Holdout
from models.gate import Scene
from models.recommend import RecommendConfig
from models.rows import look_up
from schemas import EVALUATION, EXAMPLES
from schemas import columns as col


def incumbents(tracker: Tracker, before: datetime) -> dict[str, Published]:
    """The bundles that were published together last before ``before``; empty when there are none."""
    found = {kind: tracker.incumbent(kind, before) for kind in (_bundles.WALS, _bundles.TOWERS)}
    known = {kind: published for kind, published in found.items() if published is not None}
    return known if len(known) == len(found) else {}


def scene(context: Context, data: TrainingSet, models: Ensemble, ranking: RecommendConfig) -> Scene:
    """Final models and the rows of this ``as_of``, with titles and tags for planted users and for people."""
    versions = data.video_versions
    ids = versions[col.VIDEO_ID].to_numpy()
    newest = versions.filter(pa.array(np.append(ids[1:] != ids[:-1], True)[: len(ids)]))
    told = look_up(data.videos[col.VIDEO_ID], newest, col.VIDEO_ID, [col.TITLE, col.TAGS])
    videos = data.videos
    for name in (col.TITLE, col.TAGS):
        videos = videos.append_column(name, told[name])
    users = data.users.sort_by(col.USER_ID)
    return Scene(models, ranking, users, videos.sort_by(col.VIDEO_ID), data.queries, data.examples, context.as_of)


def test_split(context: Context, config: EvaluationConfig, data: TrainingSet) -> Holdout:
    """The world at the start of the test split, as the evaluation stage sees it."""
    return evaluation.holdout(
        *_training.world_at(context, data, data.test_start),
        data.queries,
        data.counts,
        data.examples,
        at=data.test_start,
        half_life_days=data.half_life_days,
        max_users=config.max_users,
    )


def unspoilt(context: Context, bundles: Mapping[str, Bundle], test_start: datetime) -> tuple[str, str]:
    """Which of the incumbent's models have not seen what the candidate is judged by.

    Args:
        context: of the run.
        bundles: the incumbent's.
        test_start: where the candidate's test split begins.

    Returns:
        ``holdout`` or ``early``, and why; or nothing, and why there are none.
    """
    made_by = [bundle.properties["recipe"]["parameters"] for bundle in bundles.values()]
    split = _training.SplitConfig(**made_by[0]["split"])
    as_of = max(_as_of(bundle) for bundle in bundles.values())
    window = Window(as_of - (context.window.end - context.window.start), as_of)
    if any(one["split"] != made_by[0]["split"] or one["window"] != str(window) for one in made_by):
        return "", "the incumbent was trained on another look-back or split; wait for the next day's comparison"
    days = context.lake.partitions(EXAMPLES, window)
    occurred = context.lake.read(EXAMPLES, days, (col.OCCURRED_AT,))[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
    if not len(occurred):
        return "", "the examples of the incumbent's look-back are no longer in the lake"
    shares = [1 - split.test_fraction, 1 - split.validation_fraction - split.test_fraction]
    starts = np.quantile(occurred, shares, method="lower") / 1e6
    for name, start in zip((_bundles.HOLDOUT, _bundles.EARLY), starts, strict=True):
        if start <= test_start.timestamp():
            return name, f"the incumbent's {name} models, which have not seen the test split"
    return "", f"no model of the incumbent ended before the test split, which begins at {iso(test_start)}"


def roc_auc(context: Context) -> float | None:
    """The ranker's on the test split, from the evaluation's table."""
    rows = context.lake.read(EVALUATION, [Partition(context.last_day)])
    wanted = {col.MODEL: "ranker", col.METRIC: "roc_auc", col.BASELINE: evaluation.NOTHING, col.SLICE_KIND: evaluation.ALL}
    for name, value in wanted.items():
        rows = rows.filter(pc.equal(rows[name], value))
    return float(rows[col.VALUE][0].as_py()) if rows.num_rows else None


def weights_of(found: Mapping[str, Any] | None, bundles: Mapping[str, Bundle], ranking: RecommendConfig) -> RecommendConfig:
    """The weights with which bundles were served, from their own verdict; those of the candidate where it is gone."""
    if found is None or any(found["basis"].get(kind) != bundle.digest for kind, bundle in bundles.items()):
        return ranking
    known = {name for name in ranking.weights if name in found["weights"]}
    return ranking.weighed({name: found["weights"][name] for name in known})


def _as_of(bundle: Bundle) -> datetime:
    return datetime.fromisoformat(str(bundle.properties["as_of"]))
