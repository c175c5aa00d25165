"""API keys: known by their digests, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import ReelflowError

__all__ = ["KEYS_VARIABLE", "ApiKeys"]

KEYS_VARIABLE = "REELFLOW_API_KEYS"
_LEAST = 20  # characters: more than anybody tries out
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Digests of keys by the name of whom each is for; false where there are none, and then nobody needs one."""

    digests: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def configured(cls, file: Path | None) -> ApiKeys:
        """The keys of the environment's ``REELFLOW_API_KEYS``, separated by blanks or commas, and those of a file.

        Raises:
            ReelflowError: one of the two is given and holds no key, a key is too short, or the file cannot be read; no message
                holds a key.
        """
        given = os.environ.get(KEYS_VARIABLE)
        keys = [key for key in re.split(r"[\s,]+", given or "") if key]
        if given is not None and not keys:
            raise _none(KEYS_VARIABLE, "the variable", f"a key of {_LEAST} characters or more")
        digests = {}
        for place, key in enumerate(keys, 1):
            if len(key) < _LEAST:
                raise ReelflowError(
                    f"{KEYS_VARIABLE}: found {len(key)} characters in key {place}, expected {_LEAST} or more; "
                    "make one with `openssl rand -hex 24`"
                )
            digests[f"environment-{place}"] = _digest(key)
        return cls({**digests, **(_of_file(file) if file else {})})

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.digests)

    def owner(self, key: str) -> str | None:
        """Whose key this is; None where it is nobody's. Takes as long for a wrong key as for a right one."""
        given, found = _digest(key), None
        for name, digest in self.digests.items():
            if hmac.compare_digest(given, digest):
                found = name
        return found


def _none(which: str, holder: str, expected: str) -> ReelflowError:
    """Whoever gives keys wants to be asked for them: none given is a mistake, not an open door."""
    return ReelflowError(f"{which}: found no key, expected {expected}; give one, or do not set {holder}")


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _of_file(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReelflowError(f"http.api_keys: {file} cannot be read: {error}; expected lines `NAME SHA256`") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, _, digest = line.partition("#")[0].strip().partition(" ")
        if not name:
            continue
        if not _DIGEST.fullmatch(digest.strip()) or name in found:
            raise ReelflowError(
                f"http.api_keys: {file}, line {number}: found something else than a new name and a SHA-256 in lower-case "
                "hexadecimal; expected `NAME SHA256`, as `printf %s KEY | sha256sum` prints it"
            )
        found[name] = digest.strip()
    if not found:
        raise _none(f"http.api_keys: {file}", "http.api_keys", "a line `NAME SHA256` each")
    return found
