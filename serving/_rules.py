"""What holds in every store: which publication is the newest, which versions stay, where a rollback goes, what is refused.

Pure functions of records, so that a store holds data and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from serving import _checks
from serving._protocol import Publication, PublicationRecord, Status, StoreError, to_text

__all__ = [
    "is_newest",
    "later",
    "passed_over",
    "refuse_broken",
    "refuse_incomplete",
    "refuse_negative",
    "refuse_unless_loading",
    "removed",
    "rollback_target",
    "second_row",
]

_KEPT = (Status.RETIRED, Status.ROLLED_BACK)


def is_newest(publication: Publication, live: PublicationRecord | None, newest_as_of: datetime | None) -> bool:
    """Whether a publication may replace what is live.

    Args:
        publication: what wants to become live.
        live: what is; None before the first publication.
        newest_as_of: the latest ``as_of`` of any list that ``live`` shows; asked for deltas only.
    """
    own = (publication.as_of, publication.generation)
    if publication.base is None:
        return live is None or own > (live.root_as_of, live.root_generation)
    if live is None or live.version != publication.base or own <= (live.as_of, live.generation):
        return False
    return publication.as_of >= (newest_as_of or live.as_of)


def later(deltas: Iterable[PublicationRecord], full: PublicationRecord) -> list[PublicationRecord]:
    """Those deltas that stay over a new full publication: they know more than it does."""
    return [delta for delta in deltas if delta.as_of > full.as_of]


def removed(records: Iterable[PublicationRecord], live: PublicationRecord, keep_versions: int) -> list[int]:
    """The versions to let go of once another one is live: what was rolled back, and old ones.

    Kept are the newest retired ones over the live root, and that root; and of as many roots before it the last version of each.
    """
    all_records = list(records)
    retired = sorted((one for one in all_records if one.status is Status.RETIRED), key=lambda one: one.order, reverse=True)
    of_root = [one for one in retired if one.root == live.root]
    last = {one.root: one for one in reversed(retired) if one.root != live.root}
    earlier = sorted(last.values(), key=lambda one: one.order, reverse=True)
    kept = {one.version for one in (*of_root[:keep_versions], *earlier[:keep_versions])}
    kept |= {one.version for one in of_root if keep_versions and one.version == live.root}
    gone = [one.version for one in retired if one.version not in kept]
    return gone + [one.version for one in all_records if one.status is Status.ROLLED_BACK]


def rollback_target(
    records: Iterable[PublicationRecord], live: PublicationRecord | None, to_version: int | None
) -> PublicationRecord:
    """The version that a rollback makes live again; ``to_version`` None: the one before.

    Raises:
        StoreError: nothing is live, or the version is not kept.
    """
    if live is None:
        raise StoreError("rollback: found no live version, so there is none to go back from; publish first")
    kept = sorted((one for one in records if one.status in _KEPT), key=lambda one: one.order, reverse=True)
    for one in kept:
        before = one.order < live.order and one.status is Status.RETIRED
        if one.version == to_version or (to_version is None and before):
            return one
    wanted = "the version before" if to_version is None else f"version {to_version}"
    listed = ", ".join(f"{one.version} (as of {to_text(one.as_of)}, {one.status})" for one in kept) or "none"
    raise StoreError(
        f"rollback to {wanted}: live is version {live.version}, and other versions with rows are: {listed}; "
        "expected one of those; publish.keep_versions says how many are kept"
    )


def passed_over(records: Iterable[PublicationRecord], live: PublicationRecord, target: PublicationRecord) -> dict[int, Status]:
    """What a rollback does to other versions: a later one must not land on what was skipped on purpose."""
    if target.order > live.order:
        return {live.version: Status.RETIRED}
    skipped = (one for one in records if one.status is Status.RETIRED and one.order > target.order)
    return {live.version: Status.ROLLED_BACK} | {one.version: Status.ROLLED_BACK for one in skipped}


def refuse_negative(keep_versions: int) -> None:
    """Refuse a retention that makes no sense.

    Raises:
        StoreError: it is below 0.
    """
    if keep_versions < 0:
        raise StoreError(f"publish: found keep_versions {keep_versions}; expected 0 or more; mend publish.keep_versions")


def refuse_unless_loading(version: int, status: Status, because: str) -> None:
    """Stop a publisher whose version was given up by another one.

    Raises:
        StoreError: the version is not loading.
    """
    if status is not Status.LOADING:
        raise StoreError(
            f"publication {version}: found status {status}, expected loading; another publisher took this one for dead, "
            f"because {because}"
        )


def refuse_incomplete(version: int, rows: int, said: int, *, delta: bool) -> None:
    """Refuse a version that does not hold what was handed in; only a delta may bring fallback lists alone.

    Raises:
        StoreError: rows are missing.
    """
    if rows != said or not (rows or delta):
        raise StoreError(
            f"publication {version}: found {rows} recommendations in the store, expected {said or 'at least one'}; "
            "nothing was published: look at the stage that wrote them, then publish again"
        )


def refuse_broken(broken: int, users: int, first: Sequence[Mapping[str, Any]]) -> None:
    """Refuse lists with a gap in the ranks or a video twice.

    Args:
        broken: how many there are.
        users: of so many.
        first: the first of them: ``user_id``, ``rows``, ``first_rank``, ``last_rank``, ``distinct_videos``.

    Raises:
        StoreError: there is one.
    """
    if broken:
        raise StoreError(
            f"recommendations: found {broken} of {users} users with a gap in the ranks or a video twice, expected ranks "
            f"1, 2, ... and each video once; first: {_checks.shown(first)}; nothing was published: mend the stage that "
            "wrote them"
        )


def second_row(row: Mapping[str, Any]) -> StoreError:
    """The error for a row whose user and rank were there already."""
    return StoreError(
        f"recommendations: found a second row for the same user and rank: {_checks.shown([row])}; expected each rank once a "
        "user; nothing was published: mend the stage that wrote them"
    )
