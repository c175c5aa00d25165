"""Compute the top k videos of every user on Spark, and the lists for users who have no row.

Reads the bundles ``wals``, ``towers`` and ``serving`` of this ``as_of`` and ``user_features``; writes ``recommendations`` and
``fallback_recommendations``. Workers map the same arrays from disk and handle whole batches of users at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession

from conf import load
from jobs import _bundles, _due, _lane, _stage, _verdict
from jobs._due import Due
from jobs._lane import HourlyConfig
from jobs._recipe import Recipe, code_version
from jobs._session import read_files, spark_session, struct_of
from jobs._stage import Context, Report
from jobs._tables import Manifest, Partition, Pending, Unit
from jobs._window import iso
from jobs._worker import Model, recommend_batches
from jobs.index import CATALOGUE, INDEX_FILE
from models.bundle import Bundle
from models.ensemble import POPULARITY, load_catalogue
from models.recommend import FallbackConfig, RecommendConfig, fallback_lists, shown
from models.segments import FittedPopularity
from schemas import FALLBACK_RECOMMENDATIONS, QUERY_TEXT, RECOMMENDATIONS, USER_FEATURES
from schemas import columns as col

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
        return Report(up_to_date=True)
    model = model_of(context)
    users = context.lake.manifest(USER_FEATURES, today)
    assert users is not None
    asked = users.rows if due is None else len(due.users)
    context.say(f"{asked:,} users" + ("" if due is None else f" of {users.rows:,}: {_said(due)}"))
    if due is None or len(due.users) > load("hourly", HourlyConfig).spark_above_users:
        written = _recommend(context, spark_session("recommend"), model, recipe, config.user_partitions, due)
    else:
        written = _recommend_here(context, model, recipe, due)
    popularity = FittedPopularity.load(model.wals / POPULARITY)
    allowed = shown(config, load_catalogue(model.catalogue))
    fallback = fallback_lists(load("fallback", FallbackConfig), popularity, allowed, config.k)
    lists = context.lists.write(FALLBACK_RECOMMENDATIONS, today, fallback, recipe)
    return Report(read={"users": asked}, wrote={"rows": written.rows, "fallback rows": lists.rows})


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the day's lists stand."""
    bundles = {**_bundles.models(context), _bundles.SERVING: _bundles.open_at(context, _bundles.SERVING)}
    recipe, today = _recipe(context, ranking(context), bundles), Partition(context.last_day)
    return [Unit(RECOMMENDATIONS.name, today, context.lake.first_status(_TABLES, today, recipe))]


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
        index=serving / INDEX_FILE,
        queries=tuple(context.lake.files(QUERY_TEXT, [Partition(context.last_day)])),
        as_of=context.as_of,
        config_json=ranking(context).model_dump_json(),
    )


def _said(due: Due) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in due.reasons.items())


def _recipe(context: Context, config: RecommendConfig, bundles: Mapping[str, Bundle], due: Due | None = None) -> Recipe:
    inputs = {kind: bundle.digest for kind, bundle in bundles.items()}
    for table in (USER_FEATURES, QUERY_TEXT):
        inputs[table.name] = context.lake.digest(table, [Partition(context.last_day)])
    code = code_version("jobs/recommend.py", "jobs/_worker.py", "models", "schemas")
    fallback = load("fallback", FallbackConfig).model_dump(mode="json")
    over = {} if due is None else {"base": due.base, "due": due.digest}
    return Recipe(inputs, code, {"as_of": iso(context.as_of), "fallback": fallback, **config.model_dump(mode="json"), **over})


def _recommend_here(context: Context, model: Model, recipe: Recipe, due: Due) -> Manifest:
    """Recommend for some users in this process: a session would take longer to start."""
    today = Partition(context.last_day)
    users = context.lake.read(USER_FEATURES, [today]).sort_by(col.USER_ID)
    users = users.filter(pc.is_in(users[col.USER_ID], pa.array(due.users)))
    rows = pa.Table.from_batches(recommend_batches(model, users.to_batches()), RECOMMENDATIONS.arrow)
    return context.lists.write(RECOMMENDATIONS, today, rows, recipe)


def _recommend(
    context: Context, spark: SparkSession, model: Model, recipe: Recipe, parts: int, due: Due | None = None
) -> Manifest:
    today = Partition(context.last_day)
    users = read_files(spark, USER_FEATURES, context.lake.files(USER_FEATURES, [today]))
    if due is not None:
        users = users.join(only(spark, due), on=col.USER_ID, how="left_semi")

    def recommend(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        return recommend_batches(model, batches)

    # Ranges of users in order: each output file is sorted, and so are the files.
    ordered = users.repartitionByRange(parts, col.USER_ID).sortWithinPartitions(col.USER_ID)
    rows = ordered.mapInArrow(recommend, struct_of(RECOMMENDATIONS))
    staged = context.lists.staging(RECOMMENDATIONS)
    rows.write.parquet(str(staged))
    return context.lists.commit(RECOMMENDATIONS, today, staged, recipe)


def only(spark: SparkSession, due: Due) -> DataFrame:
    """The users whose lists are due, as a column of ``user_id``, which is unique."""
    return spark.createDataFrame(pa.table({col.USER_ID: pa.array(due.users)}))


def main() -> None:
    """Command line: ``python -m jobs.recommend --as-of ISO``."""
    _stage.main("recommend", run, __doc__)


if __name__ == "__main__":
    main()
