"""Tasks between the gate and what it guards: ask a person about a refusal, keep the answer, let the run go on or not."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

from _runs import kind_of, reason_not_to_ask
from _settings import Settings
from _stages import PythonStage, Stages
from _verdict import Verdict, read_verdict
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import BaseNotifier, Context, Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

log = logging.getLogger("airflow.task")

ASK, APPROVE, VERDICT = "ask", "approve", "verdict"
YES, NO = "Publish all the same", "Do not publish"
NOBODY = "nobody"


class Ask(HITLOperator):
    """Shows a refused verdict to a person and waits for the answer; no answer in time is a no.

    It waits in the state ``awaiting_input``, which takes no slot of a pool. Where nothing is to be asked, it is skipped.
    """

    def __init__(self, *, settings: Settings, stages: Stages, **options: Any) -> None:
        self._reelflow, self._stages = settings, stages
        super().__init__(
            subject="The gate refused",
            options=[YES, NO],
            defaults=NO,
            response_timeout=settings.approval or timedelta(hours=1),
            **options,
        )

    def execute(self, context: Context) -> Any:
        """Ask, if there is something to ask and somebody may be asked."""
        window = self._stages.window(context["dag_run"], context["params"])
        path = self._reelflow.runs / window.folder / "verdict.json"
        verdict = _read(path)
        if verdict.passed:
            raise AirflowSkipException(f"nothing to ask: {verdict.reason}")
        kind = kind_of(context["dag_run"].run_type)
        if why := reason_not_to_ask(kind, window, self._reelflow.runs, can_wait=self._reelflow.approval is not None):
            log.info("reelflow | ask | nobody is asked: %s", why)
            raise AirflowSkipException(why)
        self.subject, self.body = question(verdict, window.as_of, path.parent)
        context["ti"].xcom_push("basis", verdict.basis)
        log.info("reelflow | ask | waiting for a person, at most %s: %s", self.response_timeout, verdict.reason)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Hand the answer on, as what ``jobs.approve`` takes."""
        answer = super().execute_complete(context, event)
        user, approved = answer["responded_by_user"], answer["chosen_options"] == [YES]
        reason = str(answer["params_input"].get("reason") or "").strip()
        if approved and not reason:
            raise AirflowFailException(
                "ask: found a yes without a reason; expected one, which is kept. Clear the task `ask` and answer again"
            )
        if user is None:
            reason = f"no answer within {self.response_timeout}"
        return {
            "option": "" if approved else "--reject",
            "by": user["name"] or user["id"] if user else NOBODY,
            "at": answer["responded_at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "reason": reason or "no reason given",
            "basis": context["ti"].xcom_pull(task_ids=ASK, key="basis"),
        }


def question(verdict: Verdict, as_of: str, folder: Path) -> tuple[str, str]:
    """What a person is shown: a headline, and the verdict in Markdown."""
    known = {"all that was asked": folder / "verdict.html", "the evaluation": folder / "evaluation" / "index.html"}
    pages = [f"- [{name}]({page.as_uri()}): `{page}`" for name, page in known.items() if page.exists()]
    failed = verdict.failed or (verdict.reason,)
    body = [
        f"The gate refused the models as of **{as_of}**. What is live stays live unless you say yes.",
        f"**{len(failed)} failed check(s)**",
        "\n".join(f"- {line}" for line in failed),
        "**Where to look**",
        "\n".join([*pages, f"- the verdict: `{folder / 'verdict.json'}`"]),
        "A yes is for exactly these models and needs a reason. No answer in time means no. The hourly lane goes on.",
    ]
    return f"reelflow as of {as_of}: the gate refused. Publish all the same?", "\n\n".join(body)


def ask_task(settings: Settings, stages: Stages, notifiers: list[BaseNotifier]) -> Ask:
    """The task that asks."""
    common = stages.common(5)
    del common["execution_timeout"]  # it would end the wait
    reason = Param("", type="string", title="Why", description="Needed to publish; kept in the verdict and in every summary.")
    return Ask(
        task_id=ASK,
        settings=settings,
        stages=stages,
        params={"reason": reason},
        notifiers=notifiers,
        **common,
    )


def approve_task(stages: Stages, *, minutes: int) -> PythonStage:
    """Keeps the answer, yes or no. Values come as variables: the shell reads nothing that a person typed."""
    return stages.python(
        APPROVE,
        minutes=minutes,
        arguments='{{ answer(ti).option }} --by "$BY" --at "$AT" --reason "$REASON" --basis "$BASIS"',
        env={name.upper(): f"{{{{ answer(ti).{name} }}}}" for name in ("by", "at", "reason", "basis")},
    )


def answer(ti: Any) -> dict[str, str]:
    """What a person answered, for templates."""
    found: dict[str, str] = ti.xcom_pull(task_ids=ASK)
    return found


def verdict_task(
    settings: Settings, stages: Stages, *, minutes: int, trigger_rule: str = "none_failed", may_be_missing: bool = False
) -> ShortCircuitOperator:
    """Lets the run go on only if the gate passed, or a person approved; if not, all up to ``publish`` is skipped.

    Args:
        settings: of this installation.
        stages: of the DAG.
        minutes: time limit.
        trigger_rule: of the task.
        may_be_missing: whether a gate that succeeded may have had nothing to judge; nothing is published then either.
    """

    def decide(dag_run: Any, params: dict[str, Any]) -> bool:
        path = settings.runs / stages.window(dag_run, params).folder / "verdict.json"
        return decide_on(path, may_be_missing=may_be_missing)

    return ShortCircuitOperator(
        task_id=VERDICT,
        python_callable=decide,
        # The summary's own trigger rule counts, so it reports a refusal too.
        ignore_downstream_trigger_rules=False,
        do_xcom_push=True,  # Airflow skips what lies downstream only where it may push which
        trigger_rule=trigger_rule,
        **{**stages.common(minutes), "retries": 0},
    )


def decide_on(path: Path, *, may_be_missing: bool = False) -> bool:
    """Log the gate's verdict in one line and return whether the run goes on.

    Raises:
        AirflowFailException: there is no readable verdict.
    """
    if may_be_missing and not path.exists():
        log.info("reelflow | verdict | none: the run had nothing to do")
        return False
    verdict = _read(path)
    outcome = "passed" if verdict.passed else "refused, nothing is published"
    log.info("reelflow | verdict | %s: %s", outcome, verdict.reason.removeprefix("passed: ").removeprefix("refused: "))
    return verdict.passed


def _read(path: Path) -> Verdict:
    try:
        return read_verdict(path)
    except ValueError as error:
        log.error("reelflow | verdict | error: %s", error)  # noqa: TRY400 - one line for a person
        raise AirflowFailException(str(error)) from error
