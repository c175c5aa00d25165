"""Compute the top k videos of every user on Spark, and the lists for users who have no row.

Reads the bundles ``wals``, ``towers`` and ``serving`` of this ``as_of`` and ``user_features``; writes ``recommendations`` and
``fallback_recommendations``. Workers map the same arrays from disk and handle whole batches of users at a time. A run that was
killed goes on with the parts of the users whose lists are missing (``jobs._parts``).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from conf import load
from jobs import _bundles, _due, _lane, _stage, _verdict
from jobs._due import Due
from jobs._fan_out import by_spark
from jobs._lane import HourlyConfig
from jobs._parts import Work, begin, cut_users, link, make_parts
from jobs._recipe import Recipe, State, Status, code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit
from jobs._window import iso
from jobs._worker import Model
from jobs.index import CATALOGUE, INDEXES
from models.bundle import Bundle
from models.ensemble import POPULARITY, load_catalogue
from models.recommend import FallbackConfig, RecommendConfig, fallback_lists, shown
from models.segments import FittedPopularity
from schemas import FALLBACK_RECOMMENDATIONS, QUERY_TEXT, RECOMMENDATIONS, USER_FEATURES
from schemas import columns as col
from schemas.errors import ReelflowError

_TABLES = (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS)


def run(context: Context) -> Report:
    """Recommend for every user unless the tables were made from the same models, users and settings."""
    due = _due.find(context) if context.lane == _lane.HOURLY else None
    if isinstance(due, str):
        return Report(notes=[due], facts={"status": "superseded"})
    config = ranking(context)
    bundles = {**_bundles.models(context), _bundles.SERVING: _bundles.open_at(context, _bundles.SERVING)}
    recipe, today = _recipe(context, config, bundles, due), Partition(context.last_day)
    if not context.force and context.lists.first_status(_TABLES, today, recipe).current:
        shutil.rmtree(_unfinished(context), ignore_errors=True)  # of a run that was killed when all was done but this
        return Report(up_to_date=True)
    model = model_of(context)
    folder = begin(_unfinished(context), recipe.digest, afresh=context.force)
    users, files = _users(context, due)
    parts = cut_users(users, users_per_batch=config.users_per_batch, parts=config.user_partitions)
    work = Work(folder, model, files, config.users_per_batch)
    missing = work.missing(parts)
    resumed = [f"resumed: {len(parts) - len(missing)} of {len(parts)} parts were there"] if len(missing) < len(parts) else []
    why = [] if due is None else [", ".join(f"{count:,} {reason}" for reason, count in due.reasons.items())]
    context.say("; ".join([f"{users:,} users", *why, *resumed]))
    if due is not None and users <= load("hourly", HourlyConfig).spark_above_users:
        make_parts(work, missing)  # a session would take longer to start
    else:
        by_spark(context, missing, partial(make_parts, work), weights=[part.stop - part.start for part in missing])
    staged = context.lists.staging(RECOMMENDATIONS)
    link(work, parts, staged)
    written = context.lists.commit(RECOMMENDATIONS, today, staged, recipe, by_spark=False)
    popularity = FittedPopularity.load(model.wals / POPULARITY)
    allowed = shown(config, load_catalogue(model.catalogue))
    fallback = fallback_lists(load("fallback", FallbackConfig), popularity, allowed, config.k)
    lists = context.lists.write(FALLBACK_RECOMMENDATIONS, today, fallback, recipe)
    shutil.rmtree(_unfinished(context), ignore_errors=True)
    return Report(read={"users": users}, wrote={"rows": written.rows, "fallback rows": lists.rows}, notes=resumed)


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the day's lists stand, or those of the users whose lists are due."""
    today, due = Partition(context.last_day), _due.look(context) if context.lane == _lane.HOURLY else None
    if isinstance(due, str):
        return [Unit(RECOMMENDATIONS.name, today, Status(State.CURRENT, due))]
    bundles = {**_bundles.models(context), _bundles.SERVING: _bundles.open_at(context, _bundles.SERVING)}
    recipe = _recipe(context, ranking(context), bundles, due)
    return [Unit(RECOMMENDATIONS.name, today, context.lists.first_status(_TABLES, today, recipe))]


def ranking(context: Context) -> RecommendConfig:
    """Section ``recommend`` with the weights that the gate passed."""
    return load("recommend", RecommendConfig).weighed(_verdict.require_pass(context)["weights"])


def model_of(context: Context) -> Model:
    """What workers need to make the lists of this ``as_of``.

    Raises:
        ReelflowError: a bundle is missing, or the gate did not pass it.
    """
    wals, towers = _bundles.folders(_bundles.models(context))
    serving = _bundles.open_at(context, _bundles.SERVING).path
    return Model(
        wals=wals,
        towers=towers,
        catalogue=serving / CATALOGUE,
        indexes=serving / INDEXES,
        queries=tuple(context.lake.files(QUERY_TEXT, [Partition(context.last_day)])),
        as_of=context.as_of,
        config_json=ranking(context).model_dump_json(),
    )


def _recipe(context: Context, config: RecommendConfig, bundles: Mapping[str, Bundle], due: Due | None = None) -> Recipe:
    inputs = {kind: bundle.digest for kind, bundle in bundles.items()}
    for table in (USER_FEATURES, QUERY_TEXT):
        inputs[table.name] = context.lake.digest(table, [Partition(context.last_day)])
    code = code_version("jobs/recommend.py", "jobs/_parts.py", "jobs/_worker.py", "models", "schemas")
    fallback = load("fallback", FallbackConfig).model_dump(mode="json")
    over = {} if due is None else {"base": due.base, "due": due.digest}
    return Recipe(inputs, code, {"as_of": iso(context.as_of), "fallback": fallback, **config.model_dump(mode="json"), **over})


def _unfinished(context: Context) -> Path:
    """Where the parts of an ``as_of`` lie until its table is live."""
    return context.run_folder / "lists"


def _users(context: Context, due: Due | None) -> tuple[int, tuple[Path, ...]]:
    """Whom to recommend to, how many and in which files: in order, so that the table is sorted if each part of them is.

    Raises:
        ReelflowError: the users are not in order.
    """
    today = Partition(context.last_day)
    files = tuple(context.lake.files(USER_FEATURES, [today]))
    if due is not None:
        return len(due.users), (_due.users_of(files, due, context.lists.root),)
    ids = context.lake.read(USER_FEATURES, [today], [col.USER_ID])[col.USER_ID].to_numpy()
    if bool((np.diff(ids) <= 0).any()):
        raise ReelflowError(
            f"table {USER_FEATURES.name}, {today.path}: found users out of order or twice, expected ascending ids, each once; "
            "run the features stage again with --force"
        )
    return len(ids), files


def main() -> None:
    """Command line: ``python -m jobs.recommend --as-of ISO``."""
    _stage.main("recommend", run, __doc__)


if __name__ == "__main__":
    main()
