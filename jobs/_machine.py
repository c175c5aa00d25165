"""What stops a stage that neither its input nor its code is to blame for: a full disk, a database that another process holds.

Libraries wrap such errors in kinds of their own, some in text alone, so the whole chain is looked at.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

_FULL = ("no space left on device", "database or disk is full", "disk quota exceeded")
_LOCKED = ("database is locked", "database table is locked")


def trouble(error: BaseException) -> str | None:
    """What is wrong with the machine and what to do, in one line; None for any other error."""
    for one in _chain(error):
        said = str(one).lower()
        if (isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT)) or any(text in said for text in _FULL):
            return (
                f"the disk is full: {_line(one)}; what is live stays live; free space (python -m jobs.archive moves old days "
                "to another file system), then clear the task"
            )
        if any(text in said for text in _LOCKED):
            return (
                f"a database is held by another process: {_line(one)}; what is live stays live; see who holds it "
                "(fuser -v on the store or on MLflow's database), end that, then clear the task"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _line(error: BaseException) -> str:
    """The first line of what it says."""
    return (str(error).splitlines() or [type(error).__name__])[0]
