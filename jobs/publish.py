"""Publish a day's recommendations into the serving store, if the gate passed and nothing newer is live.

Reads ``recommendations`` and ``fallback_recommendations``; writes a version of the serving store and moves MLflow's aliases.
An older ``as_of`` than the live one ends as ``superseded``, which is a success that changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from conf import Section, load
from jobs import _bundles, _stage, gate
from jobs._stage import Context, Report
from jobs._tables import Partition
from jobs._tracking import Tracker
from jobs._window import compact
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS
from serving import Publication, SqliteStore, Status

_ROWS_PER_BATCH = 65_536


class PublishConfig(Section):
    """Section ``publish``."""

    keep_versions: int = Field(ge=0)
    """Retired versions whose rows stay, for a rollback."""
    valid_hours: float = Field(gt=0)
    """``expires_at`` is this much after ``as_of``."""


def run(context: Context) -> Report:
    """Publish unless exactly this is live already."""
    gate.require_pass(context)
    config = load("publish", PublishConfig)
    today = Partition(context.last_day)
    table = context.lake.manifest(RECOMMENDATIONS, today)
    files = context.lake.files(RECOMMENDATIONS, [today])
    fallback = context.lake.read(FALLBACK_RECOMMENDATIONS, [today])
    assert table is not None
    version = f"{compact(context.as_of)}-{table.digest[:12]}"
    store, tracker = SqliteStore(context.paths.store), Tracker.open()
    bundles = [_bundles.open_at(context, kind) for kind in (_bundles.WALS, _bundles.TOWERS)]
    live = store.live()
    if live is not None and live.model_version == version and live.as_of == context.as_of and not context.force:
        for bundle in bundles:
            tracker.promote(bundle)
        return Report(up_to_date=True, notes=[f"version {live.version} is live"])
    publication = Publication(
        as_of=context.as_of,
        generation=store.next_generation(),
        model_version=version,
        expires_at=context.as_of + timedelta(hours=config.valid_hours),
    )
    result = store.publish(publication, _batches(files), fallback, config.keep_versions)
    if result.status is Status.LIVE:
        for bundle in bundles:
            tracker.promote(bundle)
    facts = {"status": str(result.status), "version": result.version, "model_version": version}
    note = f"version {result.version} is {result.status}" + (
        ""
        if result.status is Status.LIVE or live is None
        else f": what is live, as of {live.as_of:%Y-%m-%dT%H:%M:%SZ}, is newer"
    )
    return Report(read={"rows": table.rows}, wrote={"rows": result.rows, "users": result.users}, notes=[note], facts=facts)


def _batches(files: list[Path]) -> Iterator[pa.RecordBatch]:
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS_PER_BATCH, columns=list(RECOMMENDATIONS.columns)):
            yield batch.cast(RECOMMENDATIONS.arrow)


def main() -> None:
    """Command line: ``python -m jobs.publish --as-of ISO``."""
    _stage.main("publish", run, __doc__)


if __name__ == "__main__":
    main()
