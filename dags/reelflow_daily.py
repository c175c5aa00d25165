"""Daily full retraining: from a day's raw logs to published recommendations.

**What.** Reads the platform's logs of one day, trains the models on the look-back before its end, lets the gate decide, and
publishes the top videos of every user.

**When.** Every day at 00:00 UTC, for the day that has just ended. The window of a run comes from its logical date alone:
anywhere within day D it means `[D 00:00, D+1 00:00)` in UTC, for a scheduled run, a backfill and a manual run alike. No stage
reads an event at or after its end (`as_of`).

**Why then.** A day's logs are complete at its end, and all figures compare whole days.

**What it needs.** The stages' virtual environment (`.venv`), a Spark connection `spark_default`, and raw logs at `paths.raw`.

**How good the models are.** `evaluate` judges them on the end of time that they have not seen, writes the table `evaluation`
and `runs/<as_of>/evaluation/index.html`; the gate decides by its figures. `noise_floor` measures beside it how alike two
trainings of the same data are, once in several days.

**When the gate refuses.** In a run of the schedule, or one that a person triggered, `ask` shows the verdict under *Required
Actions* and waits for a person, at most `airflow.approval_hours`, in no pool's slot; the hourly lane goes on. A yes needs a
reason, is kept in `verdict.json` by `approve` with who and when, and counts for exactly these models. Backfills, and runs of
days that a later daily run has been published over, ask nobody. A no, or no answer, and `verdict` skips `index`, `recommend`,
`scan` and `publish`; what is live stays live. `summary` still runs and says why, and the run counts as a success: refusing a
bad model is what the gate is for. What was asked, found and moved is a page, `runs/<as_of>/verdict.html`.

**When the last scan stops it.** `scan` looks at every row that is about to be published. One row that must not be shown, one
active user without a list, and it fails with exit code 2, names the rows, and `publish` does not run: what is live stays
live.

**When something is tried.** `shadow` compares other settings with the live ones, after these are published: where
`shadow.name` is set, it trains a candidate beside, keeps the lists of both and judges those of earlier days
(`docs/shadow.md`). It serves nothing. If it fails, people are told, and the run goes on as if it had not been:
`after_shadow` succeeds either way.

**When a stage fails.** Its last line in the log begins with `reelflow | <stage> | error:` and says what to do. Such an error
(exit code 2) is not retried; anything else is tried twice more.

**When the data are bad.** A stage that writes tables validates them with their suites; one that fails stops the run before
anything downstream reads the table. `data_docs` builds the pages that show what was found, also after a failure:
`runs/<as_of>/data_docs/index.html`. What to do is in `docs/operations.md`.

**How to rerun.** Clear the task, or the run: every stage overwrites its own partitions with the same bytes, or says `up to
date`. For any other end of the window trigger the DAG with the parameter `as_of`.

**How to backfill.** Trigger, *Backfill*, and choose the first and the last day of data, both included. A run for day D sees
only what was known at D's end, so days may run side by side; only what is stale or missing is made, unless `recompute` or
`force` says otherwise. Backfills do not publish unless `publish` says so, and never over newer data. `runs/backfill.txt` sums
up all days of the range.

**Pools.** Stages on Spark take a slot of `spark`; encoder, trainings and evaluation one of `train`; `publish` the only one of
`publish`.
"""

from __future__ import annotations

import pendulum
from _alerts import Alarm
from _gate import answer, approve_task, ask_task, verdict_task
from _runs import BY_KIND, NO, STALE, YES, forced, kind_of, publishes, reason_for_no_shadow
from _settings import read_settings
from _stages import PUBLISH_POOL, TRAIN_POOL, Stages
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Context, CronDataIntervalTimetable, Param, chain

STAGES = (
    "ingest", "examples", "text", "features", "train_wals", "train_towers", "evaluate", "noise_floor", "gate", "index",
    "recommend", "scan", "publish", "shadow",
)  # fmt: skip

settings = read_settings()
stages = Stages(settings)


def redo(stage: str, params: dict[str, object]) -> str:
    """The option that makes a stage redo what is up to date, if the run asks for it."""
    return "--force" if forced(stage, STAGES, str(params["recompute"]), bool(params["force"])) else ""


def reason_not_to_publish(context: Context) -> str | None:
    """Why a run ends before it publishes."""
    kind, wanted = kind_of(context["dag_run"].run_type), context["params"]["publish"]
    return None if publishes(kind, wanted) else f"a {kind} run with the parameter publish = {wanted!r}"


def reason_for_no_trial(context: Context) -> str | None:
    """Why a run tries nothing."""
    kind = kind_of(context["dag_run"].run_type)
    return reason_for_no_shadow(kind, context["params"]["shadow"], settings.shadow)


with DAG(
    dag_id="reelflow_daily",
    description="From a day's raw logs to published recommendations",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    # Before any log: Airflow runs no task of a day before it, and still calls the run a success.
    start_date=pendulum.datetime(1970, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "reelflow", "on_failure_callback": [Alarm(settings, stages)]},
    on_failure_callback=[Alarm(settings, stages)],
    tags=["reelflow", "daily"],
    params={
        "recompute": Param(
            STALE,
            type="string",
            enum=[STALE, *STAGES],
            title="What to recompute",
            description="What is stale or missing is always made. A stage: it and all after it are made anew.",
        ),
        "publish": Param(
            BY_KIND,
            type="string",
            enum=[BY_KIND, YES, NO],
            title="Publish",
            description="Whether the lists go into the serving store. Backfills do not by default; a run older than what "
            "is live never changes it, and ends as `superseded`.",
        ),
        "shadow": Param(
            BY_KIND,
            type="string",
            enum=[BY_KIND, YES, NO],
            title="Shadow",
            description="Whether the run tries what `shadow.name` and `shadow.settings` say, beside the live settings. "
            "Backfills do not by default; `yes` tries it on past days. Nothing of it is served.",
        ),
        "force": Param(False, type="boolean", title="Redo everything", description="Redo also what is up to date."),
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="End of the window",
            description="For single runs; leave it empty in a backfill. No event at or after this time is read; the run is for "
            "the day before it. Empty: the end of the logical date's day (UTC).",
        ),
    },
    user_defined_macros=stages.macros(redo=redo, answer=answer),
) as dag:
    ingest = stages.spark("ingest", minutes=120)
    examples = stages.spark("examples", minutes=90)
    text = stages.python("text", minutes=240, pool=TRAIN_POOL)
    features = stages.spark("features", minutes=90)
    train_wals = stages.python("train_wals", minutes=120, pool=TRAIN_POOL)
    train_towers = stages.python("train_towers", minutes=240, pool=TRAIN_POOL)
    evaluate = stages.python("evaluate", minutes=60, pool=TRAIN_POOL)
    noise_floor = stages.python("noise_floor", minutes=120, pool=TRAIN_POOL)
    gate = stages.python("gate", minutes=60)
    ask = ask_task(settings, stages, [Alarm(settings, stages, asks=True)])
    approve = approve_task(stages, minutes=15)
    verdict = verdict_task(settings, stages, minutes=5)
    index = stages.python("index", minutes=60)
    recommend = stages.spark("recommend", minutes=120)
    scan = stages.spark("scan", minutes=60)
    publish = stages.python("publish", minutes=60, pool=PUBLISH_POOL, reason_to_skip=reason_not_to_publish)
    # Not before publish, so that a trial never delays what is live; publish may be skipped, as in a backfill.
    shadow = stages.python(
        "shadow", minutes=360, pool=TRAIN_POOL, trigger_rule="none_failed", reason_to_skip=reason_for_no_trial
    )
    after_shadow = EmptyOperator(task_id="after_shadow", trigger_rule="all_done", **stages.common(5))
    data_docs = stages.python("data_docs", minutes=15, trigger_rule="all_done")
    summary = stages.python("summary", minutes=15, trigger_rule="none_failed")

    chain(ingest, examples, features, [train_wals, train_towers], evaluate, gate, ask, approve, verdict)
    chain(verdict, index, recommend, scan, publish)
    chain(ingest, text, [train_wals, train_towers], noise_floor, gate)
    # The summary stays behind publish as well: a run whose last task succeeds counts as a success.
    chain(publish, [data_docs, summary])
    chain(data_docs, summary)
    chain(publish, shadow, after_shadow, summary)
