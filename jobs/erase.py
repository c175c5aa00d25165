"""Erase a user: events, features, vectors, lists, caches and mentions in reports, with a receipt of what was removed where.

``python -m jobs.erase --user ID [--reason TEXT] [--by WHO]`` puts the user on the list of the erased, so that nothing that is
taken in or published from then on holds them, takes their lists out of the serving store at once, waits until no stage is at
work, and then removes what is left: in every partition of every table, archived ones too, in every bundle, in MLflow's
artifacts, in the text cache and in reports. Nothing that others have becomes stale: the next runs go on as if
the user had never been there, and a rollback brings nobody back. The raw logs are the platform's and stay.

The receipt is written from the first step on. Whoever is killed gives the same command again, and it goes on with the same
receipt; a user who is erased already gets another one, which says that nothing was left. ``--dry-run`` says what would go.
"""

from __future__ import annotations

import argparse
import getpass
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from conf import ConfigError, home, load
from conf.paths import Paths, paths
from jobs import (
    _erase_elsewhere,
    _erase_models,
    _erase_reports,
    _erase_tables,
    _erase_unfinished,
    _erased,
    _machine,
    _quiet,
    _receipt,
)
from jobs._erase_models import Search
from jobs._erase_tables import Sweep
from jobs._receipt import Receipt, Removed
from jobs._recipe import code_version
from jobs._tables import Lake
from jobs._window import compact, iso
from models.text import TextConfig, VectorCache
from schemas.errors import ReelflowError
from serving import UnfinishedErasureError, open_store

_COUNTED_IN_PLACE = ("tables", "models", "elsewhere")
"""Steps that count from what they marked, an earlier try of the same erasure included; others find only what is there still."""
_CODE = ("jobs", "models", "schemas", "serving")

Step = Callable[[], Sequence[Removed]]


def run(where: Paths, user_id: int, *, by: str, reason: str, say: Callable[[str], None]) -> Receipt:
    """Erase a user, or finish an erasure that was killed.

    Args:
        where: of the workspace.
        user_id: who is erased.
        by: who does it.
        reason: why, for the receipt.
        say: is told how far it is.

    Returns:
        The receipt; ``left`` says what could not be removed.

    Raises:
        ReelflowError: no words of who and why, or a store, list or receipt that cannot be used. The same command goes on.
    """
    for name, text in (("--by", by), ("--reason", reason)):
        if not text.strip():
            raise ReelflowError(f"erase: found an empty {name}; expected some words, they are kept in the receipt")
    if not -(2**63) <= user_id < 2**63:
        raise ReelflowError(f"--user {user_id}: found a number beyond 64 bits; expected a user_id of the platform")
    new = _erased.add(where.erased, user_id)
    receipt = _begin(where, _erased.name_of(where.erased, user_id), by=by, reason=reason, new=new)
    say(f"receipt {_receipt.place(where.runs, receipt.id)}")
    receipt = _do(where, receipt, "store", partial(_store, where, user_id, []))  # at once: readers see the list until then
    with _quiet.alone(where.runs, partial(say, "stages are at work; waiting until they have ended, and none begins meanwhile")):
        started, left = time.monotonic(), list[str]()
        for step, act in _steps(where, user_id, receipt.id, left, dry=False):
            say(f"{step} ...")
            receipt = _do(where, receipt, step, act)
        seconds = receipt.seconds + time.monotonic() - started
    done = replace(receipt, finished=iso(_now()), seconds=round(seconds, 3), left=tuple(dict.fromkeys(left)))
    _receipt.write(where.runs, done)
    return done


def look(where: Paths, user_id: int) -> tuple[list[Removed], list[str]]:
    """What :func:`run` would remove, but for the serving store's rows, and what it could not; nothing is changed."""
    left: list[str] = []
    with _quiet.at_work(where.runs):
        found = [one for _, act in _steps(where, user_id, "", left, dry=True) for one in act()]
    return found, list(dict.fromkeys(left))


def _steps(where: Paths, user_id: int, receipt: str, left: list[str], *, dry: bool) -> Iterator[tuple[str, Step]]:
    """What is done while nobody is at work, in an order in which whoever is killed can go on."""
    text = load("text", TextConfig)
    sweep = Sweep(Lake(where.lake), Lake(where.cold), user_id, receipt, text.max_characters, dry, left)
    search = Search(where, user_id, receipt, dry, left)
    queries = _erase_tables.own_queries(sweep)
    if not dry:
        yield "store", partial(_store, where, user_id, left)  # again: a publisher may have been at work
    yield "cache", partial(_cache, home() / Path(text.cache).expanduser(), sorted(queries), dry=dry)
    yield "tables", partial(_erase_tables.remove, sweep, queries)
    yield "orphans", partial(_erase_unfinished.remove, search)
    yield "models", partial(_erase_models.remove, search)
    yield "elsewhere", partial(_erase_elsewhere.remove, search)
    yield "reports", partial(_erase_reports.remove, search)


def _do(where: Paths, receipt: Receipt, step: str, act: Step) -> Receipt:
    """Carry a step out and write down what it removed."""
    before = () if step in _COUNTED_IN_PLACE else receipt.removed.get(step, ())
    found = replace(receipt, removed={**receipt.removed, step: _receipt.added(before, act())})
    _receipt.write(where.runs, found)
    return found


def _begin(where: Paths, user: str, *, by: str, reason: str, new: bool) -> Receipt:
    """A new receipt, or the one of an erasure of this user that is not done."""
    now, code = _now(), code_version(*_CODE)
    found = _receipt.unfinished(where.runs, user)
    if found is None:
        name = f"{compact(now)}-{secrets.token_hex(4)}"
        found = Receipt(id=name, user=user, reason=reason, by=by, begun=iso(now), code_version=code, new_to_the_list=new)
    else:
        interrupted = found.interrupted + (not found.finished)
        found = replace(found, finished="", left=(), code_version=code, interrupted=interrupted)
    _receipt.write(where.runs, found)
    return found


def _store(where: Paths, user_id: int, left: list[str]) -> list[Removed]:
    store = open_store(where.store)
    try:
        erased = store.erase(user_id)
    except UnfinishedErasureError as held_up:
        left.append(str(held_up))
        erased = list(held_up.erased)
    finally:
        store.close()
    return [Removed(f"store/version {one.version}", "rows", one.rows) for one in erased]


def _cache(path: Path, queries: Sequence[str], *, dry: bool) -> list[Removed]:
    """Vectors of queries that nobody else typed. The cache holds hashes of texts only, and texts can be guessed."""
    if dry or not queries or not path.exists():
        return []
    with VectorCache.open(path) as cache:
        return [Removed(f"cache/{path.name}", "vectors", count) for count in [cache.forget(queries)] if count]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _say(message: str) -> None:
    print(f"reelflow | erase | {message}", flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m jobs.erase", description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    found.add_argument("--user", metavar="ID", type=int, required=True, help="the platform's id of the user")
    found.add_argument("--reason", metavar="TEXT", default="the user asked for it", help="why; it is kept in the receipt")
    found.add_argument("--by", metavar="WHO", default=getpass.getuser(), help="who does it; this process's user without")
    found.add_argument("--dry-run", action="store_true", help="say what would be removed from files; change nothing")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; exits with 0, 2 and one line for what its user can mend, or 1 for what may be over by the next try."""
    given = parser().parse_args(argv)
    try:
        if given.dry_run:
            found, left = look(paths(), given.user)
            for one in found:
                _say(f"would remove {one.count:,} {one.what} from {one.place}")
            total = sum(one.count for one in found)
            _say(f"{total:,} to remove from files, and the user's rows in the store; nothing was changed")
        else:
            done = run(paths(), given.user, by=given.by, reason=given.reason, say=_say)
            left = list(done.left)
            print(_receipt.text(done), flush=True)
        if left:
            raise ReelflowError(
                f"{len(left):,} things are not erased: {' | '.join(left)}; mend them, then give the same command"
            )
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | erase | error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except Exception as error:
        if (trouble := _machine.trouble(error)) is None:
            raise
        print(f"reelflow | erase | error: {trouble}; give the same command again", file=sys.stderr, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
