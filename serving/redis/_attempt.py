"""The right of one publisher to load one version of the Redis store: a token in a key, which is taken away before any list is.

A version's number and status do not tell publishers apart: one that was stopped may wake while another removes its lists, and
a server that has lost its data gives numbers out again. Whoever makes a version live therefore watches the key and finds its
own token there; whoever removes lists, or gives a version up, deletes the key first, which a server without memory does too.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from serving import _rules
from serving._protocol import Status, StoreError
from serving.redis._keys import Keys
from serving.redis._log import Log, entry_of
from serving.redis._server import Client, Connection, Pipeline

__all__ = ["Attempt"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A publisher's claim of a version."""

    keys: Keys
    version: int
    token: bytes = field(default_factory=lambda: secrets.token_hex(8).encode())

    @property
    def key(self) -> str:
        """Where the token is while the version is this publisher's."""
        return self.keys.attempt(self.version)

    @property
    def watched(self) -> list[str]:
        """What a transaction depends on that reads the log and needs the version."""
        return [*Log.watched(self.keys), self.key]

    def give_up(self, client: Client) -> bool:
        """Take the token away, and say whether the version is nobody's now: not where its switch was done.

        No transaction, as a server without memory takes no command into one. None is needed: a switch that comes between
        deletes the token itself, and then the status, asked for last, is another.
        """
        if client.get(self.key) == self.token:
            client.delete(self.key, self.keys.lease(self.version))
        if client.exists(self.key):
            return False
        entry = client.hget(self.keys.publications, str(self.version))
        return entry is not None and entry_of(entry).record.status in (Status.LOADING, Status.FAILED)

    def ask(self, pipe: Pipeline) -> None:
        """Put into a transaction what :meth:`require` is to be told: the last two of its replies."""
        pipe.hget(self.keys.publications, str(self.version))
        pipe.get(self.key)

    def require(self, entry: bytes | None, token: bytes | None) -> None:
        """Stop a publisher whose version was given up by another one, or lost by the server.

        Args:
            entry: the version in the log.
            token: what the key holds.

        Raises:
            StoreError: the version is not this publisher's.
        """
        self.refuse_unless_own(entry_of(entry).record.status if entry else None, token)

    def require_on(self, connection: Connection) -> None:
        """As :meth:`require`, of a connection that was just opened: it may lead to a server that knows nothing of this."""
        connection.send_command("HGET", self.keys.publications, str(self.version))
        connection.send_command("GET", self.key)
        self.require(connection.read_response(), connection.read_response())

    def refuse_unless_own(self, status: Status | None, token: bytes | None) -> None:
        """As :meth:`require`, by where the version stands."""
        if token == self.token:
            return
        if token is not None or status not in (Status.LOADING, Status.FAILED):
            raise StoreError(
                f"publication {self.version}: found no record of it in the store, expected it loading; the server has lost its "
                "data, as one that keeps none on disk does when it is restarted; publish again"
            )
        because = "its lease in the store ran out; see what held the publisher up, and publish again"
        _rules.refuse_unless_loading(self.version, Status.FAILED, because)
