"""Daily full retraining: from a day's raw logs to published recommendations.

**What.** Reads the platform's logs of one day, trains the models on the look-back before its end, lets the gate decide, and
publishes the top videos of every user.

**When.** Every day at 00:00 UTC, for the day that has just ended. The window of a run comes from its logical date alone:
anywhere within day D it means `[D 00:00, D+1 00:00)` in UTC, for a scheduled run, a backfill and a manual run alike.
No stage reads an event at or after its end (`as_of`).

**Why then.** A day's logs are complete at its end, and all figures compare whole days.

**What it needs.** The stages' virtual environment (`.venv`), a Spark connection `spark_default`, and raw logs at `paths.raw`.

**How good the models are.** `evaluate` judges them on the end of time that they have not seen, writes the table `evaluation`
and `runs/<as_of>/evaluation/index.html`; the gate decides by its figures. `noise_floor` measures beside it how alike two
trainings of the same data are, once in several days.

**When the gate refuses.** `verdict` skips `index`, `recommend`, `scan` and `publish`; what is live stays live. `summary` still
runs and says why, and the run counts as a success: refusing a bad model is what the gate is for. What was asked, found and
moved is a page, `runs/<as_of>/verdict.html`.

**When the last scan stops it.** `scan` looks at every row that is about to be published. One row that must not be shown, one
active user without a list, and it fails with exit code 2, names the rows, and `publish` does not run: what is live stays live.

**When a stage fails.** Its last line in the log begins with `reelflow | <stage> | error:` and says what to do. Such an error
(exit code 2) is not retried; anything else is tried twice more.

**When the data are bad.** A stage that writes tables validates them with their suites; one that fails stops the run before
anything downstream reads the table. `data_docs` builds the pages that show what was found, also after a failure:
`runs/<as_of>/data_docs/index.html`. What to do is in `docs/operations.md`.

**How to rerun.** Clear the task, or the run: every stage overwrites its own partitions with the same bytes, or says
`up to date`. With the parameter `force` stages redo what is up to date. For any other end of the window trigger the
DAG with the parameter `as_of`. Days are backfilled from the UI; a run can never publish over newer data.
"""

from __future__ import annotations

import pendulum
from _settings import read_settings
from _stages import macros, python_stage, spark_stage, verdict_task
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, chain

settings = read_settings()

with DAG(
    dag_id="reelflow_daily",
    description="From a day's raw logs to published recommendations",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    # Before any log: Airflow runs no task of a day before it, and still calls the run a success.
    start_date=pendulum.datetime(1970, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "reelflow"},
    tags=["reelflow", "daily"],
    params={
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="End of the window",
            description="No event at or after this time is read; the run is for the day before it. "
            "Empty: the end of the logical date's day (UTC).",
        ),
        "force": Param(False, type="boolean", title="Redo", description="Redo also what is up to date."),
    },
    user_defined_macros=macros(settings),
) as dag:
    ingest = spark_stage(settings, "ingest", minutes=120)
    examples = spark_stage(settings, "examples", minutes=90)
    text = python_stage(settings, "text", minutes=240)
    features = spark_stage(settings, "features", minutes=90)
    train_wals = python_stage(settings, "train_wals", minutes=120)
    train_towers = python_stage(settings, "train_towers", minutes=240)
    evaluate = python_stage(settings, "evaluate", minutes=60)
    noise_floor = python_stage(settings, "noise_floor", minutes=120)
    gate = python_stage(settings, "gate", minutes=60)
    verdict = verdict_task(settings, minutes=5)
    index = python_stage(settings, "index", minutes=60)
    recommend = spark_stage(settings, "recommend", minutes=120)
    scan = spark_stage(settings, "scan", minutes=60)
    publish = python_stage(settings, "publish", minutes=60)
    data_docs = python_stage(settings, "data_docs", minutes=15, trigger_rule="all_done")
    summary = python_stage(settings, "summary", minutes=15, trigger_rule="none_failed")

    chain(ingest, examples, features, [train_wals, train_towers], evaluate, gate, verdict, index, recommend, scan, publish)
    chain(ingest, text, [train_wals, train_towers], noise_floor, gate)
    # The summary stays behind publish as well: a run whose last task succeeds counts as a success.
    chain(publish, [data_docs, summary])
    chain(data_docs, summary)
