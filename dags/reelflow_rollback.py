"""Back to what was published before: store, aliases and index together, with one click.

**What.** Makes an earlier version live again, by `python -m jobs.rollback`. Readers see the old or the new version, never a
part of each.

**When.** Never by itself. Trigger it when what is live should not be: the form asks for the reason, which is kept with your
name.

**Which version.** Empty: the one that was live before the present one. Kept versions are listed by `SELECT version, as_of,
status FROM publications` in the store; `publish.keep_versions` says how many there are.

**Afterwards.** The next run that is published becomes live as usual. To keep it from that, pause `reelflow_daily` and
`reelflow_hourly` first, or mend the cause. A retry, or a cleared run, finishes the same request and goes back no further.
"""

from __future__ import annotations

import pendulum
from _alerts import Alarm
from _settings import read_settings
from _stages import PUBLISH_POOL, PythonStage, Stages
from airflow.sdk import DAG, Param

settings = read_settings()
stages = Stages(settings, priority=100)

with DAG(
    dag_id="reelflow_rollback",
    description="Make an earlier publication live again",
    doc_md=__doc__,
    schedule=None,
    start_date=pendulum.datetime(1970, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "reelflow", "on_failure_callback": [Alarm(settings, stages)]},
    on_failure_callback=[Alarm(settings, stages)],
    tags=["reelflow", "rollback"],
    params={
        "reason": Param(type="string", minLength=3, title="Why", description="Kept with the change of the live version."),
        "to_version": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Version",
            description="A kept version. Empty: the one that was live before the present one.",
        ),
    },
    user_defined_macros=stages.macros(),
) as dag:
    rollback: PythonStage = stages.plain(
        "rollback",
        minutes=15,
        pool=PUBLISH_POOL,
        arguments='{{ "--to-version " ~ params.to_version if params.to_version else "" }} '
        '--by "$BY" --reason "$REASON" --request "$REQUEST"',
        env={
            "BY": "{{ dag_run.triggering_user_name or 'unknown' }}",
            "REASON": "{{ params.reason }}",
            "REQUEST": "{{ run_id }}",
        },
    )
