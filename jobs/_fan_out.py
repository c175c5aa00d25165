"""Hand work on partitions to Spark's workers, or do it here where there is little of it.

The stages that clean and label logs work on whole partitions with vectorised code: Spark distributes the partitions and retries
them, and no row passes through its engine. On one machine a session costs more than the work of a day's logs, so little work
needs none. See ``docs/adr/0015-arrow-kernels.md``.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from conf import Section, load
from jobs._stage import Context

T = TypeVar("T")
R = TypeVar("R")

_SECONDS_BETWEEN_LINES = 10.0


class FanOutConfig(Section):
    """Section ``fan_out``."""

    session_above_mb: float
    """A stage that reads less than this starts no Spark session."""
    threads: int
    """Runs that are worked on at a time without a session."""
    chunks_per_core: int
    """Tasks that each core gets; more of them balance better, fewer overlap less."""


_peaks_kb = [0]


def worker_peak_kb() -> int:
    """Peak resident memory of the largest Spark worker so far, in kB; 0 when none worked."""
    return max(_peaks_kb)


def fan_out(
    context: Context, units: Sequence[T], work: Callable[[Sequence[T]], R], *, weights: Sequence[float], megabytes: float
) -> list[R]:
    """Do ``work`` on consecutive runs of units; results come in the order of the units.

    Args:
        context: of the stage.
        units: what there is to do, in order.
        work: does a run of units and returns something small; it must not depend on how the units are cut into runs.
        weights: how much work each unit is; runs weigh about the same.
        megabytes: how much is read in all; decides whether Spark is worth its start.

    Returns:
        What ``work`` returned for each run.
    """
    config = load("fan_out", FanOutConfig)
    if megabytes < config.session_above_mb or len(units) < 2:
        runs = cut(units, weights, config.threads) if units else []
        with ThreadPoolExecutor(config.threads) as pool:  # the kernels let go of the interpreter
            return list(pool.map(work, runs))
    return by_spark(context, units, work, weights=weights)


def by_spark(context: Context, units: Sequence[T], work: Callable[[Sequence[T]], R], *, weights: Sequence[float]) -> list[R]:
    """As :func:`fan_out`, but in workers of the stage's Spark session however little there is to do."""
    if not units:
        return []
    from jobs._session import spark_session

    spark = spark_session(context.stage).sparkContext
    runs = cut(units, weights, spark.defaultParallelism * load("fan_out", FanOutConfig).chunks_per_core)

    def task(run: Sequence[T]) -> tuple[R, int]:
        return work(run), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    finished = threading.Event()
    threading.Thread(target=_report, args=(context, spark.statusTracker(), len(runs), finished), daemon=True).start()
    try:
        done = spark.parallelize(runs, len(runs)).map(task).collect()
    finally:
        finished.set()
    _peaks_kb.extend(peak for _, peak in done)
    return [result for result, _ in done]


def cut(units: Sequence[T], weights: Sequence[float], runs: int) -> list[Sequence[T]]:
    """Cut a sequence into at most ``runs`` runs of consecutive units that weigh about the same; none is empty."""
    total, so_far, cuts = sum(weights) or 1.0, 0.0, [0]
    for place, weight in enumerate(weights, start=1):
        so_far += weight
        if so_far >= total * len(cuts) / runs and place < len(units) and len(cuts) < runs:
            cuts.append(place)
    return [units[start:end] for start, end in zip(cuts, [*cuts[1:], len(units)], strict=True)]


def _report(context: Context, tracker: object, total: int, finished: threading.Event) -> None:
    """Say from time to time how many tasks are done."""
    while not finished.wait(_SECONDS_BETWEEN_LINES):
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]  # type: ignore[attr-defined]
        context.say(f"{sum(stage.numCompletedTasks for stage in stages if stage):,} of {total:,} parts done")
