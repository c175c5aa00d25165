"""Make an earlier publication live again: the store's lists, the models' aliases and the bundles go back together.

The store switches first, in one transaction that readers notice at once. The aliases follow it, and so does the lake's
``publication_switches``; bundles of that ``as_of`` which were made again since are put back from the artifact store. Whoever is
killed in between gives the same command again: ``--request`` names it, and a request that was carried out is not carried out
twice, but finished.
"""

from __future__ import annotations

import argparse
import getpass
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conf import ConfigError
from conf.paths import Paths, paths
from jobs import _bundles, _erased, _quiet, _registry, _served
from jobs._swap import swap
from jobs._tables import Lake
from jobs._tracking import CHAMPION, Tracker
from jobs._window import iso
from models.bundle import BundleError, open_bundle
from schemas.errors import ReelflowError
from serving import Action, PublicationRecord, ServingStore, open_store


@dataclass(frozen=True, slots=True)
class Done:
    """What a rollback did: what was live, what is, and the kinds of bundles that were put back from the artifact store."""

    was: PublicationRecord
    now: PublicationRecord
    restored: list[str]


def run(where: Paths, *, to_version: int | None, by: str, reason: str, request: str | None) -> Done:
    """Roll back, or finish a rollback that was begun.

    Args:
        where: of the workspace.
        to_version: of the store; None for the one that was live before the present one.
        by: who wants it.
        reason: why, for the record.
        request: a name that makes this rollback happen once, however often it is asked for.

    Raises:
        ReelflowError: nothing to go back to, no words of who and why, or a bundle that cannot be restored.
    """
    for name, text in (("--by", by), ("--reason", reason)):
        if not text.strip():
            raise ReelflowError(f"rollback: found an empty {name}; expected some words, they are kept with the switch")
    store, tracker = open_store(where.store), Tracker.open()
    was, note = store.live(), f"{by}: {reason}" + (f" [request {request}]" if request else "")
    done = was is not None and (was.version == to_version or (request is not None and _carried_out(store, note)))
    now = was if was is not None and done else store.rollback(to_version, reason=note)
    _registry.follow(store, tracker)
    _served.follow(store, Lake(where.lake), _erased.read(where.erased))
    return Done(was or now, now, _restore(where, tracker, now))


def _carried_out(store: ServingStore, note: str) -> bool:
    """Whether the newest switch is this very request's."""
    last = next(iter(store.switches()), None)
    return last is not None and last.action is Action.ROLLBACK and last.reason == note


def _restore(where: Paths, tracker: Tracker, live: PublicationRecord) -> list[str]:
    """Put back the bundles of what is live where others, or none, lie in their place; returns their kinds.

    Under lists of single hours these are the bundles of the full publication.
    """
    restored, as_of = [], live.root_as_of or live.as_of
    for kind in _registry.KINDS:
        champion = tracker.at(kind, CHAMPION)
        if champion is None or champion.as_of != as_of:
            continue
        place = _bundles.place(where, kind, as_of)
        if _digest(place, kind) != champion.digest:
            staged = _bundles.staging(place)
            shutil.copytree(tracker.fetch(champion).path, staged)
            swap(staged, place)
            restored.append(kind)
    return restored


def _digest(place: Path, kind: str) -> str | None:
    try:
        return open_bundle(place, kind=kind).digest
    except BundleError:
        return None


def _said(record: PublicationRecord) -> str:
    return f"version {record.version} as of {iso(record.as_of)} ({record.model_version}, {record.users:,} users)"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m jobs.rollback", description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    found.add_argument("--to-version", metavar="N", type=int, help="of the store; without it the one live before")
    found.add_argument("--by", metavar="WHO", default=getpass.getuser(), help="who wants it; this process's user without")
    found.add_argument("--reason", metavar="TEXT", required=True, help="why; it is kept with the switch")
    found.add_argument("--request", metavar="ID", help="a name: the same request again finishes it, and goes back no further")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; exits with 0, or with 2 and one line for what its user can mend."""
    given = parser().parse_args(argv)
    try:
        where = paths()
        with _quiet.at_work(where.runs):
            done = run(where, to_version=given.to_version, by=given.by, reason=given.reason, request=given.request)
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | rollback | error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    if done.was == done.now:
        print(f"reelflow | rollback | {_said(done.now)} is live already; aliases follow it", flush=True)
    else:
        print(f"reelflow | rollback | live now: {_said(done.now)}; before: {_said(done.was)}", flush=True)
    if done.restored:
        print(f"reelflow | rollback | bundles put back from the artifact store: {', '.join(done.restored)}", flush=True)


if __name__ == "__main__":
    main()
