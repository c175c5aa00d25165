"""Tell people by mail and webhook what failed, for which window, what is live now, and the next step."""

from __future__ import annotations

import json
import smtplib
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from typing import Any

from _runs import Kind, kind_of
from _settings import Alerts, Settings
from _stages import Stages
from _store import live_now
from airflow.sdk import BaseHook, BaseNotifier, Context
from airflow.sdk.exceptions import AirflowFailException

_SECONDS = 20
"""How long a mail server or a webhook may take."""
_MEND = (
    "the stage says in its log, after `reelflow | {task} | error:`, what it found, what it expected and what to do; do that, "
    "then clear the task. It is not retried by itself"
)
_DEFECT = "read the log; after a fault of the machine clear the task: what is done is not done twice"
_ANSWER = "answer under Required Actions, with a reason; no answer in time means no"


@dataclass(frozen=True, slots=True)
class Alert:
    """One message; its fields are the JSON that the webhook gets."""

    subject: str
    dag: str
    task: str
    run: str
    kind: str
    window: str
    what: str
    live: str
    next_step: str
    link: str

    def text(self) -> str:
        """The message as a person reads it."""
        rows = {
            "What": self.what,
            "Window": self.window,
            "Run": f"{self.run} ({self.kind}) of {self.dag}, task {self.task}",
            "Live now": self.live,
            "Next step": self.next_step,
            "Link": self.link,
        }
        return "\n".join(f"{title + ':':<11}{said}" for title, said in rows.items()) + "\n"


class Alarm(BaseNotifier):
    """Sends an alert about a task; does nothing where no way is set, or for kinds of runs that do not alert.

    It is called by the process of a task that failed for good, and by the DAG processor when the run has failed: a process
    that was killed calls nobody. Whoever comes first sends; a file in the workspace keeps the other from it.
    """

    def __init__(self, settings: Settings, stages: Stages, *, asks: bool = False) -> None:
        """Say who is told.

        Args:
            settings: of this installation.
            stages: of the DAG; they know its window.
            asks: whether the task waits for a person, instead of having failed.
        """
        super().__init__()
        self._settings, self._stages, self._asks = settings, stages, asks

    def notify(self, context: Context) -> None:
        """Send it by every way that is set; one that fails is logged and does not keep the other from it."""
        alerts = self._settings.alerts
        kind = kind_of(context["dag_run"].run_type)
        if kind not in alerts.kinds or not (alerts.email_to or alerts.webhook_url):
            return
        if not self._asks and not self._first(context["ti"]):
            return
        alert = self._alert(context, kind)
        for wanted, way in ((alerts.email_to, send_mail), (alerts.webhook_url, post)):
            if wanted:
                try:
                    way(alerts, alert)
                except Exception:  # whatever it is: the task's own end must not depend on it
                    self.log.exception("reelflow | alert | error: %s", way.__name__)

    def _first(self, ti: Any) -> bool:
        """Whether nobody was told of this failure yet; from now on somebody was."""
        folder = self._settings.home / "airflow" / "alerts"
        name = f"{ti.dag_id}.{ti.run_id}.{ti.task_id}.{ti.try_number}".replace("/", "_")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        except OSError:  # rather told twice than not at all
            self.log.exception("reelflow | alert | error: %s", folder)
        return True

    def _alert(self, context: Context, kind: Kind) -> Alert:
        run, ti, params = context["dag_run"], context["ti"], context.get("params") or {}
        try:
            window = self._stages.window(run, params)
            said = f"{window.start:%Y-%m-%dT%H:%M:%SZ} to {window.as_of}"
        except ValueError as error:
            said = f"none: {error}"
        error = context.get("exception")
        if self._asks:
            what, step = "the gate refused; a person is asked", _ANSWER
        else:
            what = f"failed{f': {error}' if error else ', or its process was killed'}"
            step = (_MEND if isinstance(error, AirflowFailException) else _DEFECT).format(task=ti.task_id)
        return Alert(
            subject=f"reelflow: {ti.task_id} of {run.dag_id} {'asks' if self._asks else 'failed'}, {said}",
            dag=run.dag_id,
            task=ti.task_id,
            run=run.run_id,
            kind=kind,
            window=said,
            what=what,
            live=live_now(self._settings),
            next_step=f"{step}. docs/operations.md has more",
            link=str(getattr(ti, "log_url", "") or ""),
        )


def send_mail(alerts: Alerts, alert: Alert) -> None:
    """Send an alert through the mail server that the Airflow connection names, with STARTTLS where the server has it."""
    connection = BaseHook.get_connection(alerts.smtp_connection)
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = alert.subject, alerts.email_from, ", ".join(alerts.email_to)
    message.set_content(alert.text())
    with smtplib.SMTP(connection.host or "localhost", connection.port or 25, timeout=_SECONDS) as server:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls()
            server.ehlo()
        if connection.login:
            server.login(connection.login, connection.password or "")
        server.send_message(message)


def post(alerts: Alerts, alert: Alert) -> None:
    """Post an alert as JSON; ``text`` is all of it for a person, as chat systems expect."""
    content: Mapping[str, Any] = {"text": f"{alert.subject}\n{alert.text()}", **asdict(alert)}
    request = urllib.request.Request(
        alerts.webhook_url or "", json.dumps(content).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        answer.read()
