"""The gate of the hourly lane: has a refreshed model stayed near the one that it went on from?

That one passed the whole gate; here it is only asked whether an hour broke something: the correlation of both models'
predictions on pairs that the users have not met (G1), with a threshold above the daily one, that every number is finite, and
that nobody whom the base knew is unknown now. It takes seconds and needs no evaluation. The verdict has the form that the gate
writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from conf import load
from jobs import _bundles, _training, _verdict, refresh
from jobs._lane import HourlyConfig
from jobs._recipe import code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Unit
from jobs._tracking import Tracker
from models.bundle import Bundle
from models.ensemble import Ensemble
from models.features import with_text
from models.gate import Check, Correlation, Scene, Verdict, agreement
from models.recommend import RecommendConfig
from schemas import EXAMPLES, QUERY_TEXT, USER_FEATURES, VIDEO_FEATURES, VIDEO_TEXT
from schemas import columns as col
from schemas.errors import ReelflowError

_CODE = ("jobs/_light_gate.py", "models")


def run(context: Context) -> Report:
    """Judge the refreshed models, unless the verdict on exactly these is there already."""
    bundles, tracker = _bundles.models(context), Tracker.open()
    base = bundles[_bundles.WALS].properties.get(refresh.BASE)
    if base is None:
        raise ReelflowError("gate of the lane hourly: found models of a training; run refresh --lane hourly first")
    basis = _basis(context, bundles)
    found, status = _verdict.check(context, basis)
    if found is not None and status.current and not context.force:
        return Report(up_to_date=True, notes=[str(found["reason"])], facts={"passed": found["passed"]})
    published = refresh.base_of(context, tracker).published
    ranking = load("recommend", RecommendConfig).weighed(bundles[_bundles.WALS].properties[refresh.WEIGHTS])
    new = Ensemble.load(*_bundles.folders(bundles))
    old = Ensemble.load(*_bundles.folders({kind: tracker.fetch(one) for kind, one in published.items()}))
    config = load("hourly", HourlyConfig)
    sizes = {"users": config.correlation_users, "videos": config.correlation_videos}
    compared = agreement(_scene(context, new, ranking), old, **sizes)
    verdict = judge(config, compared, new=new, old=old)
    reason = f"{'passed' if verdict.passed else 'refused'}: " + "; ".join(
        f"{check.name}: {check.detail}" for check in verdict.checks if check.passed == verdict.passed
    )
    figures = {name: value if math.isfinite(value) else None for name, value in asdict(compared).items()}
    content = {
        "passed": verdict.passed,
        "reason": reason,
        "lane": context.lane,
        "as_of": basis["as_of"],
        "incumbent": dict.fromkeys(published, base["as_of"]),
        "basis": basis,
        "weights": ranking.weights,
        "metrics": {},
        "correlation": figures,
        "verdict": json.loads(verdict.to_json()),
    }
    _verdict.write(context, content)
    for bundle in bundles.values():
        tracker.annotate(bundle, {}, {"gate": "passed" if verdict.passed else "refused", "gate.reason": reason})
    return Report(read={"users judged": compared.users}, notes=[reason], facts={"passed": verdict.passed, **figures})


def plan(context: Context) -> list[Unit]:
    """How the verdict stands."""
    _, status = _verdict.check(context, _basis(context, _bundles.models(context)))
    return [Unit("verdict", Partition(context.last_day), status)]


def judge(config: HourlyConfig, found: Correlation, *, new: Ensemble, old: Ensemble) -> Verdict:
    """The verdict on a refreshed model: every check must pass, and one without a threshold does not."""
    pearson, least = found.pooled_pearson, config.min_correlation
    own = f"mean of {found.users} users' own {found.mean_user_pearson:.4f}"
    figure = f"over {found.pairs} unseen pairs: Pearson {pearson:.4f}, {own}"
    near = least is not None and math.isfinite(pearson) and pearson >= least
    arrays = (new.wals.user_factors, new.wals.video_factors, new.retrieval.video_vectors(old.wals.videos.ids))
    finite = all(bool(np.isfinite(array).all()) for array in arrays)
    lost = {
        "users": int((new.wals.users.lookup(old.wals.users.ids) < 0).sum()),
        "videos": int((new.wals.videos.lookup(old.wals.videos.ids) < 0).sum()),
    }
    checks = (
        Check(
            "correlation_with_base",
            near,
            pearson if math.isfinite(pearson) else None,
            least,
            "no threshold: set hourly.min_correlation" if least is None else f"{figure}; at least {least} is needed",
        ),
        Check(
            "finite_vectors", finite, float(finite), 1.0, "every number is finite" if finite else "numbers that are not finite"
        ),
        Check(
            "known_to_base",
            not any(lost.values()),
            float(sum(lost.values())),
            0.0,
            f"{lost['users']:,} users and {lost['videos']:,} videos of the base are unknown; expected none",
        ),
    )
    return Verdict(all(check.passed for check in checks), checks)


def _scene(context: Context, models: Ensemble, ranking: RecommendConfig) -> Scene:
    """The refreshed models and the rows of this hour."""
    lake, today = context.lake, [Partition(context.last_day)]
    videos = with_text(lake.read(VIDEO_FEATURES, today), lake.read(VIDEO_TEXT, today))
    met = lake.read(EXAMPLES, lake.partitions(EXAMPLES, context.window), [col.USER_ID, col.VIDEO_ID])
    users, queries = lake.read(USER_FEATURES, today), lake.read(QUERY_TEXT, today)
    return Scene(models, ranking, users, videos, queries, met, context.as_of)


def _basis(context: Context, bundles: Mapping[str, Bundle]) -> dict[str, Any]:
    """Everything that the verdict depends on."""
    return {
        "as_of": bundles[_bundles.WALS].properties["as_of"],
        **{kind: bundle.digest for kind, bundle in bundles.items()},
        "base": bundles[_bundles.WALS].properties[refresh.BASE],
        "inputs": _training.inputs(context),
        "code_version": code_version(*_CODE),
        "hourly": load("hourly", HourlyConfig).model_dump(mode="json"),
        "recommend": load("recommend", RecommendConfig).model_dump(mode="json"),
    }
