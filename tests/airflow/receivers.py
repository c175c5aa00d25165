"""A mail server and a web server that really listen, for the alerts of a running Airflow."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from .stack import free_port

PEOPLE = ["oncall@example.com"]


@dataclass
class Received:
    """Where alerts are to go, and those that came."""

    smtp: dict[str, Any]
    """The Airflow connection of the mail server, which asks for a password."""
    webhook: str
    mails: list[EmailMessage] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        """What turns the alerts on."""
        return {"airflow": {"alerts": {"email_to": PEOPLE, "email_from": "reelflow@example.com", "webhook_url": self.webhook}}}

    def about(self, run: str) -> list[tuple[EmailMessage, dict[str, Any]]]:
        """The mails and posts about a run; the n-th of each are of the same alert."""
        mails = [mail for mail in self.mails if f" {run} (" in mail.get_content()]
        return list(zip(mails, [post for post in self.posts if post["run"] == run], strict=False))


@contextmanager
def receiving() -> Iterator[Received]:
    """Both servers, as long as one is inside."""
    user, password, port = "reelflow", "secret", free_port()
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "login": user, "password": password}

    class Mails:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - its name is given
            parsed = email.message_from_bytes(envelope.content.replace(b"\r\n", b"\n"), policy=email.policy.default)
            found.mails.append(cast(EmailMessage, parsed))
            return "250 OK"

    class Posts(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (user.encode(), password.encode()))

    web = HTTPServer(("127.0.0.1", 0), Posts)
    found = Received(connection, f"http://127.0.0.1:{web.server_port}/hook")
    mail = Controller(Mails(), hostname="127.0.0.1", port=port, authenticator=check, auth_required=True, auth_require_tls=False)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    mail.start()
    try:
        yield found
    finally:
        mail.stop()
        web.shutdown()
        thread.join()
        web.server_close()
