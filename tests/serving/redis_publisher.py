"""A publisher in a process of its own that can be made to die: ``-m tests.serving.redis_publisher URL DAY GENERATION HOW``.

With a number of users and the version that it is to lie over it publishes a delta. The password comes from the environment.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from schemas.errors import ReelflowError
from serving.redis import RedisStore, _layers, _log, _users
from serving.redis._load import Load
from serving.redis._publish import Publisher
from tests.serving.builders import day, fallback, publication
from tests.serving.publisher import batches, die

LEASE_SECONDS = 1.0


def stopped_before(step: Callable[..., object]) -> Callable[..., object]:
    """A step before which the process is stopped from outside until it is told to go on."""

    def stopped(*given: object, **options: object) -> object:
        os.kill(os.getpid(), signal.SIGSTOP)
        return step(*given, **options)

    return stopped


def main(url: str, number: str, generation: str, how: str, *sizes: str) -> int:
    users, base = sizes if len(sizes) == 2 else ("1500", "0")
    if how == "die-noted":
        note = _users.note
        _users.note = lambda pipe, *piece: (note(pipe, *piece), pipe.execute(), die())  # no list is written yet
    if how == "die-before-switch":
        Load.missing = die  # type: ignore[assignment, method-assign]
    if how == "die-laying":
        _layers.lay = die  # type: ignore[assignment]
    if how == "die-in-switch":
        _log.Log.retire_old = die  # type: ignore[method-assign]
    if how == "stop-before-switch":
        Publisher._switch = stopped_before(Publisher._switch)  # type: ignore[assignment, method-assign]
    if how == "stop-in-switch":
        _log.Log.retire_old = stopped_before(_log.Log.retire_old)  # type: ignore[assignment, method-assign]
    if how == "die-switched":
        clear, times = _layers.clear, iter(range(9))
        _layers.clear = lambda *given: die() if next(times) else clear(*given)
    if how == "die-deleting":
        _users.delete = lambda client, keys, version: (
            client.unlink(*keys.of_users(version, range(1, 11))),
            die(),
        )
    store = RedisStore(url, lease_seconds=LEASE_SECONDS, grace_seconds=0)
    attempt = int(generation)
    try:
        result = store.publish(
            replace(publication(int(number), attempt), base=int(base) or None),
            batches(int(number), attempt, how, int(users)),
            fallback(int(number), attempt),
            keep_versions=0 if how == "die-deleting" else 2,
        )
    except ReelflowError as error:
        print(error, file=sys.stderr)
        return 2
    assert store.live() is not None
    assert result.status != "live" or store.live().as_of == day(int(number))  # type: ignore[union-attr]
    print(result.status, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
