"""Compute the top k videos of every user on Spark, and the lists for users who have no row.

Reads the bundles ``wals``, ``towers`` and ``serving`` of this ``as_of`` and ``user_features``; writes ``recommendations`` and
``fallback_recommendations``. Workers map the same arrays from disk and handle whole batches of users at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
from pyspark.sql import SparkSession

from conf import load
from jobs import _bundles, _stage, _verdict
from jobs._recipe import Recipe, code_version
from jobs._session import read_files, spark_session, struct_of
from jobs._stage import Context, Report
from jobs._tables import Manifest, Partition, Pending, Unit
from jobs._window import iso
from jobs._worker import Model, recommend_batches
from jobs.index import CATALOGUE, INDEXES
from models.bundle import Bundle
from models.ensemble import POPULARITY, load_catalogue
from models.recommend import FallbackConfig, RecommendConfig, fallback_lists, shown
from models.segments import FittedPopularity
from schemas import FALLBACK_RECOMMENDATIONS, QUERY_TEXT, RECOMMENDATIONS, USER_FEATURES
from schemas import columns as col

_TABLES = (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS)


def run(context: Context) -> Report:
    """Recommend for every user unless the tables were made from the same models, users and settings."""
    config = ranking(context)
    bundles = {**_bundles.models(context), _bundles.SERVING: _bundles.open_at(context, _bundles.SERVING)}
    recipe, today = _recipe(context, config, bundles), Partition(context.last_day)
    if not context.force and context.lake.first_status(_TABLES, today, recipe).current:
        return Report(up_to_date=True)
    model = model_of(context)
    users = context.lake.manifest(USER_FEATURES, today)
    assert users is not None
    context.say(f"{users.rows:,} users")
    written = _recommend(context, spark_session("recommend"), model, recipe, config.user_partitions)
    popularity = FittedPopularity.load(model.wals / POPULARITY)
    allowed = shown(config, load_catalogue(model.catalogue))
    fallback = fallback_lists(load("fallback", FallbackConfig), popularity, allowed, config.k)
    lists = context.lake.write(FALLBACK_RECOMMENDATIONS, today, fallback, recipe)
    return Report(read={"users": users.rows}, wrote={"rows": written.rows, "fallback rows": lists.rows})


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
        indexes=serving / INDEXES,
        queries=tuple(context.lake.files(QUERY_TEXT, [Partition(context.last_day)])),
        as_of=context.as_of,
        config_json=ranking(context).model_dump_json(),
    )


def _recipe(context: Context, config: RecommendConfig, bundles: Mapping[str, Bundle]) -> Recipe:
    inputs = {kind: bundle.digest for kind, bundle in bundles.items()}
    for table in (USER_FEATURES, QUERY_TEXT):
        inputs[table.name] = context.lake.digest(table, [Partition(context.last_day)])
    code = code_version("jobs/recommend.py", "jobs/_worker.py", "models", "schemas")
    fallback = load("fallback", FallbackConfig).model_dump(mode="json")
    return Recipe(inputs, code, {"as_of": iso(context.as_of), "fallback": fallback, **config.model_dump(mode="json")})


def _recommend(context: Context, spark: SparkSession, model: Model, recipe: Recipe, parts: int) -> Manifest:
    today = Partition(context.last_day)
    users = read_files(spark, USER_FEATURES, context.lake.files(USER_FEATURES, [today]))

    def recommend(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        return recommend_batches(model, batches)

    # Ranges of users in order: each output file is sorted, and so are the files.
    ordered = users.repartitionByRange(parts, col.USER_ID).sortWithinPartitions(col.USER_ID)
    rows = ordered.mapInArrow(recommend, struct_of(RECOMMENDATIONS))
    staged = context.lake.staging(RECOMMENDATIONS)
    rows.write.parquet(str(staged))
    return context.lake.commit(RECOMMENDATIONS, today, staged, recipe)


def main() -> None:
    """Command line: ``python -m jobs.recommend --as-of ISO``."""
    _stage.main("recommend", run, __doc__)


if __name__ == "__main__":
    main()
