"""Erase a user who asked for it, with a receipt.

**What.** Runs `python -m jobs.erase`: the user's events, features, vectors, lists, caches and mentions in reports are removed,
archived days and models included, and raw logs that are taken in later bring nobody back. `docs/privacy.md` says what is held
where.

**When.** Never by itself. Trigger it with the platform's id of the user, after the platform has made sure of who asks. Look at
the id twice: there is no way back.

**Meanwhile.** The user's lists are gone from the serving store at once. The rest waits until no stage is at work, a training
included, and stages that begin meanwhile wait for it; sweeping takes as long as reading the lake once.

**Afterwards.** The task's log ends with the receipt, which lies in `runs/erasures/` too: hand the `.txt` to whoever asked. A
retry, or a cleared run, goes on with the same receipt. Airflow keeps the form's id with the run: delete the run when the
receipt is sent.
"""

from __future__ import annotations

import pendulum
from _alerts import Alarm
from _settings import read_settings
from _stages import PythonStage, Stages
from airflow.sdk import DAG, Param

settings = read_settings()
stages = Stages(settings, priority=100)

with DAG(
    dag_id="reelflow_erasure",
    description="Erase a user, with a receipt",
    doc_md=__doc__,
    schedule=None,
    start_date=pendulum.datetime(1970, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "reelflow", "on_failure_callback": [Alarm(settings, stages)]},
    on_failure_callback=[Alarm(settings, stages)],
    tags=["reelflow", "erasure"],
    params={
        "user_id": Param(
            type="string",
            pattern="^-?[0-9]{1,19}$",
            title="User",
            description="The platform's id of the user.",
        ),
        "reason": Param(
            "the user asked for it",
            type="string",
            minLength=3,
            title="Why",
            description="Kept in the receipt: write nothing that names the user.",
        ),
    },
    user_defined_macros=stages.macros(),
) as dag:
    erase: PythonStage = stages.plain(
        "erase",
        minutes=24 * 60,  # a training that is at work ends first
        arguments='--user="$USER_ID" --by "$BY" --reason "$REASON"',
        env={
            "BY": "{{ dag_run.triggering_user_name or 'unknown' }}",
            "REASON": "{{ params.reason }}",
            "USER_ID": "{{ params.user_id }}",
        },
    )
