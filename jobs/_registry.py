"""Aliases of registered models: ``champion`` and ``previous`` follow the serving store, which alone says what is live.

Only this module moves them, one process at a time, and each time from the store's own log: two publishers, a publisher and a
rollback, or one that died between the store's switch and the aliases all end with aliases that name what is live. An older
``as_of`` cannot become the champion by a publication, because the store's fence keeps it from going live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs import _bundles
from jobs._tracking import CHAMPION, PREVIOUS, PUBLISHED, ROLLED_BACK, Published, Tracker
from models.bundle import Bundle
from serving import PublicationRecord, ServingStore, Status

KINDS = (_bundles.WALS, _bundles.TOWERS, _bundles.SERVING)
"""What goes live, and back, together."""

_STANDING = {Status.LIVE: PUBLISHED, Status.RETIRED: PUBLISHED, Status.ROLLED_BACK: ROLLED_BACK}


def note(tracker: Tracker, bundles: Sequence[Bundle], publication: str) -> None:
    """Register the bundles that a publication is made with, and write down that they are, before it goes live."""
    for bundle in bundles:
        if not tracker.holds(bundle):
            tracker.register(bundle, {})
        tracker.note_publication(bundle, publication)


def follow(store: ServingStore, tracker: Tracker) -> None:
    """Let the aliases, and what counts as published, say what the store says.

    Versions of the store from before their bundles were noted move nothing.
    """
    with tracker.exclusively():
        live = store.live()
        log = sorted(store.publications(), key=lambda one: one.order, reverse=True)
        # Deltas are of models of another lane; the full publication that they lie over is live with them.
        full = [record for record in log if record.base is None]
        full = [replace(one, status=Status.LIVE) if live is not None and one.version == live.root else one for one in full]
        kept = [record for record in full if record.status in _STANDING]
        for kind in KINDS:
            made_with = {record.version: tracker.of_publication(kind, record.model_version) for record in kept}
            _follow(tracker, kind, [(record, made_with[record.version]) for record in kept])


def is_champion(tracker: Tracker, bundles: Sequence[Bundle]) -> bool:
    """Whether all of some bundles are the champions of their kinds."""
    return all(tracker.holds(bundle, CHAMPION) for bundle in bundles)


def _follow(tracker: Tracker, kind: str, log: Sequence[tuple[PublicationRecord, Published | None]]) -> None:
    """Set what one kind's versions are, by the publications that have rows, newest first."""
    known = [(record, published) for record, published in log if published is not None]
    standings: dict[Published, str] = {}
    for record, published in known:
        # One bundle can be in several publications: it is rolled back where all of these are.
        if standings.get(published) != PUBLISHED:
            standings[published] = _STANDING[record.status]
    for published, standing in standings.items():
        tracker.set_standing(published, standing)
    champion = next((place for place, (record, _) in enumerate(known) if record.status is Status.LIVE), None)
    if champion is None:
        return
    live = known[champion][1]
    older = [published for record, published in known[champion + 1 :] if record.status is Status.RETIRED and published != live]
    tracker.point(kind, CHAMPION, live)
    tracker.point(kind, PREVIOUS, older[0] if older else None)
