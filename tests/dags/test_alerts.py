"""Alerts, taken by a mail server and a web server that really listen."""

import email
import email.policy
import json
import socket
import sqlite3
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
import yaml
from _alerts import Alarm
from _settings import read_settings
from _stages import Stages
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from airflow.sdk.exceptions import AirflowException, AirflowFailException


class Mails:
    """Keeps what the mail server takes."""

    def __init__(self):
        self.taken = []

    async def handle_DATA(self, _server, session, envelope):  # noqa: N802 - the server calls it so
        self.taken.append((session.auth_data, envelope.mail_from, envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"


@pytest.fixture
def mails(monkeypatch):
    """A mail server that asks for a password; the connection smtp_default names it."""
    handler = Mails()

    def check(_server, _session, _envelope, _mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"reelflow", b"secret"), auth_data=data.login)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(
        handler, hostname="127.0.0.1", port=port, authenticator=check, auth_required=True, auth_require_tls=False
    )
    controller.start()
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "login": "reelflow", "password": "secret"}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    yield handler.taken
    controller.stop()


@pytest.fixture
def posts():
    """A web server, and what was posted to it."""
    taken = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    taken_at = SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/hook", taken=taken)
    yield taken_at
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of a workspace in which a version is live, with these alerts."""
    store = tmp_path / "store" / "recommendations.sqlite"
    store.parent.mkdir()
    with sqlite3.connect(store) as connection:
        connection.execute("CREATE TABLE publications (version, as_of, model_version, status, users, rows, published_at)")
        connection.execute(
            "INSERT INTO publications VALUES (7, '2026-01-07T00:00:00Z', 'm', 'live', 6000, 600000, '2026-01-07T01:00:00Z')"
        )
    connection.close()

    def lay(**alerts):
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump({"airflow": {"alerts": alerts}}))
        monkeypatch.setenv("REELFLOW_CONF", str(file))
        monkeypatch.setenv("REELFLOW_HOME", str(tmp_path))
        return read_settings()

    return lay


def context(error=None, run_type="scheduled"):
    run = SimpleNamespace(
        dag_id="reelflow_daily",
        run_id="scheduled__2026-01-08",
        run_type=run_type,
        logical_date=datetime(2026, 1, 7, tzinfo=UTC),
        run_after=datetime(2026, 1, 8, tzinfo=UTC),
    )
    ti = SimpleNamespace(dag_id=run.dag_id, run_id=run.run_id, task_id="train_wals", try_number=3, log_url="http://airflow/log")
    return {"dag_run": run, "ti": ti, "params": {"as_of": None}, "exception": error}


def alarm(settings, **options):
    return Alarm(settings, Stages(settings), **options)


LIVE = "version 7 (m) as of 2026-01-07T00:00:00Z, 6,000 users, published at 2026-01-07T01:00:00Z"


def test_a_mail_says_what_failed_for_which_window_what_is_live_and_what_to_do(settings, mails):
    found = settings(email_to=["a@example.com", "b@example.com"], email_from="reelflow@example.com")
    alarm(found)(context(AirflowException("exit code 1")))
    ((login, sender, to, text),) = mails
    assert (login, sender, to) == (b"reelflow", "reelflow@example.com", ["a@example.com", "b@example.com"])
    mail = email.message_from_string(text, policy=email.policy.default)
    window = "2026-01-07T00:00:00Z to 2026-01-08T00:00:00Z"
    assert mail["Subject"] == f"reelflow: train_wals of reelflow_daily failed, {window}"
    assert mail.get_content().splitlines() == [
        "What:      failed: exit code 1",
        f"Window:    {window}",
        "Run:       scheduled__2026-01-08 (live) of reelflow_daily, task train_wals",
        f"Live now:  {LIVE}",
        "Next step: read the log; after a fault of the machine clear the task: what is done is not done twice. "
        "docs/operations.md has more",
        "Link:      http://airflow/log",
    ]


def test_a_webhook_gets_the_same_as_json(settings, posts):
    alarm(settings(webhook_url=posts.url))(context(AirflowFailException("stopped")))
    (taken,) = posts.taken
    assert (taken["dag"], taken["task"], taken["kind"], taken["live"]) == ("reelflow_daily", "train_wals", "live", LIVE)
    assert taken["window"] == "2026-01-07T00:00:00Z to 2026-01-08T00:00:00Z"
    assert taken["next_step"].startswith("the stage says in its log, after `reelflow | train_wals | error:`")
    assert taken["text"].startswith("reelflow: train_wals of reelflow_daily failed")


def test_a_question_says_that_somebody_has_to_answer(settings, posts):
    alarm(settings(webhook_url=posts.url), asks=True)(context())
    (taken,) = posts.taken
    assert taken["what"] == "the gate refused; a person is asked"
    assert "Required Actions" in taken["next_step"]


def test_a_killed_process_leaves_no_exception(settings, posts):
    alarm(settings(webhook_url=posts.url))(context())
    assert posts.taken[0]["what"] == "failed, or its process was killed"


def test_the_task_and_its_run_tell_once(settings, posts):
    found = settings(webhook_url=posts.url)
    alarm(found)(context(AirflowException("exit code 1")))
    alarm(found)(context())
    assert [taken["what"] for taken in posts.taken] == ["failed: exit code 1"]
    again = context()
    again["ti"].try_number = 6  # cleared, and failed again
    alarm(found)(again)
    assert len(posts.taken) == 2


def test_no_place_for_the_note_that_somebody_was_told(settings, posts, tmp_path):
    (tmp_path / "airflow").write_text("not a folder")
    alarm(settings(webhook_url=posts.url))(context())
    assert len(posts.taken) == 1


def test_only_kinds_of_runs_that_alert(settings, posts):
    found = settings(webhook_url=posts.url)
    alarm(found)(context(run_type="backfill"))
    assert posts.taken == []
    alarm(settings(webhook_url=posts.url, kinds=["backfill"]))(context(run_type="backfill"))
    assert [taken["kind"] for taken in posts.taken] == ["backfill"]


def test_off_by_default(settings, mails, posts):
    alarm(settings())(context())
    assert (mails, posts.taken) == ([], [])


def test_one_way_that_fails_does_not_keep_the_other_from_it(settings, mails, posts, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": 1}))
    alarm(settings(email_to=["a@example.com"], webhook_url=posts.url))(context())
    assert (len(mails), len(posts.taken)) == (0, 1)


def test_a_window_that_cannot_be_told_is_said(settings, posts):
    given = context()
    given["dag_run"].logical_date = None
    alarm(settings(webhook_url=posts.url))(given)
    assert posts.taken[0]["window"].startswith("none: window: the run has neither")
