"""The keys of the Redis store: how each is called. ``docs/redis.md`` says what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Keys"]


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of keys below a prefix. What is switched together carries one hash tag; lists carry none, so they may spread."""

    prefix: str = "reelflow"

    @property
    def live(self) -> str:
        """JSON: the live version, and where its lists are."""
        return self._control("live")

    @property
    def publications(self) -> str:
        """A hash of every version that was ever begun: JSON by version."""
        return self._control("publications")

    @property
    def switches(self) -> str:
        """A list of every change of the live version, newest first: JSON."""
        return self._control("switches")

    @property
    def generation(self) -> str:
        """The generation that was taken last."""
        return self._control("generation")

    @property
    def holding(self) -> str:
        """A set of the versions that may have keys of their own."""
        return self._control("holding")

    def lease(self, version: int) -> str:
        """There while the publisher of a version lives."""
        return self._control(f"lease:{version}")

    def attempt(self, version: int) -> str:
        """The token of the publisher that loads a version; gone before the first of its lists is removed."""
        return self._control(f"attempt:{version}")

    def kept(self, version: int) -> str:
        """There from a version's first switch on, until the first of the lists that it shows is removed."""
        return self._control(f"kept:{version}")

    def fallback(self, version: int) -> str:
        """A hash of a version's fallback lists: JSON by segment."""
        return f"{self.prefix}:fallback:{version}"

    def pieces(self, version: int) -> str:
        """A hash of the pieces of a version's users: first and last user by the piece's number."""
        return f"{self.prefix}:pieces:{version}"

    def piece(self, version: int, number: int) -> str:
        """Users whose lists a version wrote, int64 little-endian."""
        return f"{self.prefix}:users:{version}:{number}"

    def list(self, version: int, user_id: int) -> str:
        """A user's list: JSON."""
        return f"{self.prefix}:list:{version}:{user_id}"

    def why(self, version: int, user_id: int) -> str:
        """What led to the rows of a user's list: a line of JSON, then packed numbers."""
        return f"{self.prefix}:why:{version}:{user_id}"

    def of_users(self, version: int, users: Iterable[int]) -> Iterable[str]:
        """Both keys of each of these users."""
        heads = f"{self.prefix}:list:{version}:", f"{self.prefix}:why:{version}:"
        return (f"{head}{user}" for user in users for head in heads)

    def _control(self, name: str) -> str:
        return f"{{{self.prefix}}}:{name}"
