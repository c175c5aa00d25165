"""The receipt of an erasure: what was removed where, what was not, and why; written from the first step on, as its journal.

``runs/erasures/<id>.json`` is what a machine reads, ``<id>.txt`` what is handed to the person. Neither holds the user's id:
they call the user by the keyed hash of ``jobs._erased``. An erasure that was killed leaves ``finished`` empty; the next one of
the same user goes on with its receipt.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jobs._swap import replace_text
from schemas.errors import ReelflowError

FOLDER = "erasures"
_FORMAT = 1


@dataclass(frozen=True, slots=True, order=True)
class Removed:
    """So many things of a kind that were removed in one place."""

    place: str
    """Where: a table's partition, a bundle, a version of the store, a file below the workspace."""
    what: str
    """``rows``, ``queries``, ``vectors``, ``reports`` that named the user, ``files``."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One erasure. Times are ISO 8601, UTC."""

    id: str
    user: str
    """Keyed hash of the user's id, hexadecimal."""
    reason: str
    by: str
    begun: str
    finished: str = ""
    seconds: float = 0.0
    code_version: str = ""
    new_to_the_list: bool = True
    """Whether the user was not on the list of the erased yet."""
    interrupted: int = 0
    """How often it was killed, and gone on with."""
    removed: Mapping[str, Sequence[Removed]] = field(default_factory=dict)
    """By step, in order."""
    left: Sequence[str] = ()
    """What should have been removed and could not be; the erasure is not done while there is any."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.finished) and not self.left

    @property
    def total(self) -> int:
        """Everything that was removed."""
        return sum(one.count for step in self.removed.values() for one in step)


NOT_TOUCHED = (
    (
        "raw logs (paths.raw)",
        "They belong to the platform, which erases its own. Whatever is taken in of them from now on leaves this user out.",
    ),
    (
        "counts and models of many users",
        "Popularity, trends, statistics and the vectors of videos were made with this user's events among all others and "
        "name nobody. The next daily run makes popularity, fallback lists and models from what is left; counts of past days "
        "leave the look-back with their day, or are made again at once by --force.",
    ),
    (
        "the list of the erased (paths.erased)",
        "A keyed hash of the user's id, by which ingest keeps raw logs from bringing the user back.",
    ),
    (
        "backups, and Airflow's own database and task logs",
        "Out of reach of this command. After a restore of a backup, erase again.",
    ),
)
"""What an erasure leaves, and why."""


def place(runs: Path, receipt: str) -> Path:
    """Where a receipt lies."""
    return runs / FOLDER / f"{receipt}.json"


def write(runs: Path, receipt: Receipt) -> None:
    """Replace the receipt, and once it is finished the text beside it."""
    target = place(runs, receipt.id)
    not_touched = [{"what": what, "why": why} for what, why in NOT_TOUCHED]
    content = {"format_version": _FORMAT, **asdict(receipt), "total": receipt.total, "not_touched": not_touched}
    replace_text(target, json.dumps(content, indent=1) + "\n")
    if receipt.finished:
        replace_text(target.with_suffix(".txt"), text(receipt) + "\n")


def unfinished(runs: Path, user: str) -> Receipt | None:
    """The receipt of an erasure of this user that was killed or left something; the newest of several."""
    for path in sorted((runs / FOLDER).glob("*.json"), reverse=True):
        found = read(path)
        if found.user == user and not found.done:
            return found
    return None


def read(path: Path) -> Receipt:
    """A receipt.

    Raises:
        ReelflowError: the file is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        steps = {step: tuple(Removed(**one) for one in some) for step, some in content["removed"].items()}
        known = {name: content[name] for name in Receipt.__slots__ if name != "removed"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReelflowError(f"receipt {path}: cannot be read ({error}); move it away and erase again") from error
    return Receipt(**known, removed=steps)


def added(before: Iterable[Removed], now: Iterable[Removed]) -> tuple[Removed, ...]:
    """Both together, one a place and kind, in order."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for one in (*before, *now):
        counts[one.place, one.what] += one.count
    return tuple(Removed(place, what, count) for (place, what), count in sorted(counts.items()) if count)


def text(receipt: Receipt) -> str:
    """The receipt as a page for a person."""
    rerun = "" if receipt.new_to_the_list else " (this user had been erased before)"
    lines = [
        f"Erasure {receipt.id}",
        "",
        f"User        {receipt.user}{rerun}",
        f"Asked by    {receipt.by}: {receipt.reason}",
        f"Begun       {receipt.begun}",
        f"Finished    {receipt.finished}, {receipt.seconds:.1f} s at work",
        f"Code        {receipt.code_version}",
    ]
    if receipt.interrupted:
        lines.append(f"Interrupted {receipt.interrupted} times; counts of files, caches and store before that may be missing")
    lines += ["", "Removed"]
    lines += [line for step, some in receipt.removed.items() for line in _step(step, some)] or [
        "  nothing was left of this user"
    ]
    if receipt.left:
        lines += ["", "NOT removed: mend these, then give the same command again", *(f"  {one}" for one in receipt.left)]
    lines += ["", "Not touched"]
    for what, why in NOT_TOUCHED:
        lines += [f"  {what}", f"    {why}"]
    return "\n".join(lines)


def _step(step: str, some: Sequence[Removed]) -> list[str]:
    """A line for each table, kind of bundle or folder of a step."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in some:
        groups[_whole(one.place), one.what].append(one.count)
    return [
        f"  {step:<10}{whole:<44}{sum(counts):>9,} {what}" + (f", {len(counts):,} places" if len(counts) > 1 else "")
        for (whole, what), counts in groups.items()
    ]


def _whole(place: str) -> str:
    """What a place is a part of: a table, the bundles of a kind, what MLflow keeps."""
    if place.startswith("mlflow/"):
        return "mlflow/artifacts"
    return place.rpartition("/")[0] if place.startswith("bundles/") else place.partition("/dt=")[0]
