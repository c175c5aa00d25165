"""How lists come from the lake into the serving store: from here, or from Spark's workers where there is much of them.

Workers open the store by their own environment, so a password is in no task: ``REELFLOW_STORE_URL``, or ``PGPASSWORD`` and the
like, must be set where they run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from conf import load
from jobs import _erased
from jobs._erased import Erased
from jobs._fan_out import FanOutConfig, by_spark
from jobs._stage import Context
from schemas import RECOMMENDATIONS
from serving import ParallelStore, Publication, PublishResult, ServingStore, StoreError, open_store

__all__ = ["batches", "publish_files"]

_ROWS_PER_BATCH = 65_536


def publish_files(
    context: Context,
    store: ServingStore,
    publication: Publication,
    files: Sequence[Path],
    fallback: pa.Table,
    *,
    keep_versions: int,
) -> PublishResult:
    """Publish the rows of ``recommendations`` in some files, and the fallback lists.

    Raises:
        StoreError: the rows break a rule, or the store cannot be written. What was live before still is.
    """
    erased, sizes = _erased.read(context.paths.erased), [file.stat().st_size / 2**20 for file in files]
    little = len(files) < 2 or sum(sizes) < load("fan_out", FanOutConfig).session_above_mb
    if little or not isinstance(store, ParallelStore):
        return store.publish(publication, batches(files, erased), fallback, keep_versions)

    def spread(version: int) -> int:
        return sum(by_spark(context, files, partial(_load_part, version, erased), weights=sizes))

    return store.publish_parts(publication, spread, fallback, keep_versions)


def batches(files: Sequence[Path], erased: Erased) -> Iterator[pa.RecordBatch]:
    """The rows of some files without those of erased users, who would come back with a lake out of a backup."""
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS_PER_BATCH, columns=list(RECOMMENDATIONS.columns)):
            yield erased.taken_from(batch).cast(RECOMMENDATIONS.arrow)


def _load_part(version: int, erased: Erased, files: Sequence[Path]) -> int:
    """Load some files, in a worker; returns how many rows were handed in. The first one names them: no two runs have it."""
    store = open_store()
    if not isinstance(store, ParallelStore):
        raise StoreError(
            f"publication {version}: a worker found {type(store).__name__}, expected the store that is published to; set "
            "REELFLOW_STORE_URL for Spark's workers too"
        )
    try:
        return store.load_part(version, str(files[0]), batches(files, erased))
    finally:
        store.close()
