"""Hourly refresh: what happened in the last hour reaches homepages, on the models of the last daily run.

**What.** Takes in the hour, folds in new and active users and goes on training from the last full one, lets a light gate
decide, makes new lists for the users who were active, and for what is trending and fresh, and publishes these over the lists
that are live.

**When.** Five minutes after every hour, for the hour that has just ended: logs of its last seconds are then there. The window
of a run comes from its logical date alone: anywhere within hour H it means `[H:00, H+1:00)` in UTC.

**Why then.** A visitor sees what they did an hour ago; the daily run alone is up to two days old when the next one replaces
it.

**What it needs.** What the daily DAG needs, and one daily run that was published: without one `refresh` says so and stops.

**Together with the daily run.** Hourly runs take free slots first, and none of the pool `train`: a training that lasts hours
does not hold them up, nor does a daily run that waits for a person. Whatever runs at the same time, the store takes only what
is newer.

**When the gate refuses.** Nobody is asked: the lists stay as they are until the next hour.

**When there is nothing to do.** The hour that ends at midnight is the daily run's, and a later run of the same day makes an
earlier one unnecessary. The stages then say `nothing to do` or `superseded`, and the run is green.

**When a stage fails.** As in the daily DAG. A missed hour needs no repair: the next one takes in what is late. To run it all
the same, clear it, or backfill its hour; older than what is live it ends as `superseded`.
"""

from __future__ import annotations

import pendulum
from _alerts import Alarm
from _gate import verdict_task
from _settings import read_settings
from _stages import PUBLISH_POOL, Stages
from _window import HOUR
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, chain

# (stage, on Spark, minutes); what comes after the gate is skipped when it refuses.
BEFORE_VERDICT = (
    ("ingest", True, 30),
    ("text", False, 30),
    ("examples", True, 30),
    ("features", True, 30),
    ("refresh", False, 45),
    ("gate", False, 15),
)
AFTER_VERDICT = (("index", False, 15), ("recommend", True, 30), ("scan", True, 30))
LANE = "--lane hourly"

settings = read_settings()
stages = Stages(settings, grain=HOUR, more=LANE, priority=10)


def redo(_stage: str, params: dict[str, object]) -> str:
    """The option that makes a stage redo what is up to date, if the run asks for it."""
    return "--force" if params["force"] else ""


with DAG(
    dag_id="reelflow_hourly",
    description="The last hour's events into the live lists",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("5 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(1970, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "reelflow", "on_failure_callback": [Alarm(settings, stages)]},
    on_failure_callback=[Alarm(settings, stages)],
    tags=["reelflow", "hourly"],
    params={
        "force": Param(False, type="boolean", title="Redo everything", description="Redo also what is up to date."),
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="End of the hour",
            description="For single runs; leave it empty in a backfill. A full hour: the run is for the hour before it. "
            "Empty: the end of the logical date's hour (UTC).",
        ),
    },
    user_defined_macros=stages.macros(redo=redo),
) as dag:

    def task(stage: str, on_spark: bool, minutes: int) -> object:
        """One of the stages."""
        return stages.spark(stage, minutes=minutes) if on_spark else stages.python(stage, minutes=minutes)

    before = [task(*stage) for stage in BEFORE_VERDICT]
    verdict = verdict_task(settings, stages, minutes=5, trigger_rule="all_success", may_be_missing=True)
    after = [task(*stage) for stage in AFTER_VERDICT]
    publish = stages.python("publish", minutes=15, pool=PUBLISH_POOL)

    chain(*before, verdict, *after, publish)
