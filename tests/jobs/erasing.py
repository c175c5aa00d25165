"""A small platform with a user who has left traces everywhere that stages without models leave them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs import archive, erase, examples, features, ingest, text
from jobs._recipe import Recipe
from jobs._tables import Partition
from models.text import EncoderFiles
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, SCORE_PARTS
from serving import Publication, SqliteStore
from tests.builders import Workspace, arrow, event, moment, video, write_lines, write_raw

WHO = 987_654_321_012
NAME, QUERY = "zaphod-of-betelgeuse", "restaurant at the end of the universe"
WORDS = (NAME, QUERY)
DAYS = ("--start", "2026-01-06T00:00:00Z", "--end", "2026-01-08T00:00:00Z")
LISTS = Partition(moment("00:00").date())
AS_OF = moment("2026-01-08T00:00")


def raw_logs(raw: Path) -> None:
    """Two days of six users. ``WHO`` does what the others do, and has refused rows, a duplicate, and a query of their own."""
    others = [
        event(f"{day}-{user}-{n}", kind, f"2026-01-0{day}T1{user % 3}:{10 + n}:00Z", user=user, video=10 + user % 2, **more)
        for day in (6, 7)
        for user in (1, 2, 3, 4, 5, WHO)
        for n, (kind, more) in enumerate(
            [("impression", {}), ("watch", {"watch_seconds": 80}), ("like", {}), ("search", {"query": "Cats"})]
        )
    ]
    own = [
        event("q", "search", "10:30:00", user=WHO, video=None, query=QUERY.upper(), device="tv"),
        event("again", "click", "10:31:00", user=WHO),
        event("again", "click", "10:32:00", user=WHO),
        event("stranger", "click", "10:33:00", user=WHO, video=99, comment=NAME),
        event("long", "watch", "10:34:00", user=WHO, watch_seconds=1e9),
        event("shared", "click", "10:35:00", user=WHO),
        event("shared", "click", "10:36:00", user=1),  # a duplicate, whoever had it first
        event("theirs", "click", "10:37:00", user=2, video=98),
    ]
    people = [{"user_id": user, "username": f"name-{user}", "age": 30, "country": "DE"} for user in (1, 2, 3, 4, 5)]
    me = {"user_id": WHO, "username": NAME, "age": 42, "country": "DE"}
    write_raw(
        raw,
        [*others, *own],
        [video(10), video(11)],
        [*people, me, {**me, "age": 999}, {"user_id": 6, "age": 999}],
        snapshot="2026-01-06",
    )
    hour = raw / "interactions/dt=2026-01-07/hr=10"
    write_lines(hour / "torn.jsonl", [json.dumps(event("torn", "click", "10:40:00", user=WHO, comment=NAME))[:-9], "nonsense"])
    header, row = "event_id,user_id,video_id,interaction_type,occurred_at", "2026-01-07T10:45:00Z"
    write_lines(hour / "more.csv", [header, f"c1,{WHO},10,yodel,{row}", f"c2,3,10,yodel,{row}", f"c3,{WHO},11,click,{row}"])


class TinyEncoder:
    """Stands for the sentence encoder: a vector out of the text's hash."""

    @classmethod
    def load(cls, *_: Any) -> TinyEncoder:
        return cls()

    def encode(self, texts: Sequence[str], _: int) -> Any:
        return (([one], vectors([one])) for one in texts)


def vectors(texts: Sequence[str]) -> np.ndarray:
    return np.array([np.frombuffer(hashlib.sha256(one.encode()).digest(), np.uint8) for one in texts], np.float32) / 256


def taken_in(home: Path, erased: bool = False) -> Workspace:
    """The logs taken in, and all tables made of them that need no model.

    Args:
        home: the workspace.
        erased: whether ``WHO`` was erased before anything was.
    """
    space = Workspace(home)
    raw_logs(space.raw)
    if erased:
        code = command(space, "--user", str(WHO))
        assert code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "find_encoder", lambda *_: EncoderFiles(Path(), "by hand"))
        patch.setattr(text, "Encoder", TinyEncoder)
        patch.setattr(text, "train_tags", lambda _, lists: vectors(sorted({tag for tags in lists for tag in tags})))
        for stage in (ingest, examples, text, features):
            space.run(stage, *DAYS)
    return space


def published(space: Workspace) -> Workspace:
    """Lists of three users in the lake and in two versions of the store."""
    row = {"sources": "wals:1", "reason": "picked for you", "rules": "", "propensity": 1.0, **dict.fromkeys(SCORE_PARTS, 0.0)}
    rows = [
        {**row, "user_id": user, "rank": rank, "video_id": 9 + rank, "score": 1 / rank}
        for user in (1, 2, WHO)
        for rank in (1, 2)
    ]
    lists = arrow(RECOMMENDATIONS, rows)
    fallback = arrow(FALLBACK_RECOMMENDATIONS, [{**row, "segment": "all", "rank": 1, "video_id": 10, "score": 1.0}])
    space.lake.write(RECOMMENDATIONS, LISTS, lists, Recipe({}, "by hand", {}))
    store = store_of(space)
    for number in (1, 2):
        at = AS_OF - timedelta(days=2 - number)
        made = Publication(as_of=at, generation=number, model_version=f"m{number}", expires_at=at + timedelta(days=2))
        store.publish(made, iter(lists.to_batches()), fallback, 3)
    store.close()
    return space


def store_of(space: Workspace) -> SqliteStore:
    return SqliteStore(space.home / "store" / "recommendations.sqlite")


def to_cold(space: Workspace) -> None:
    """Archive the first of the two days."""
    with space.environment():
        archive.main(["--before", "2026-01-07", "--force"])


def command(space: Workspace, *arguments: str) -> int:
    """Erase as from the command line; returns the exit status."""
    with space.environment():
        try:
            erase.main(arguments)
        except SystemExit as stopped:
            return int(stopped.code or 0)
    return 0


def receipts(space: Workspace) -> list[Mapping[str, Any]]:
    """All receipts, oldest first."""
    files = sorted((space.home / "runs" / "erasures").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def removed(receipt: Mapping[str, Any], step: str) -> dict[str, int]:
    """What a step removed by place; of tables and bundles by what comes before the partition or ``as_of``."""
    found: dict[str, int] = {}
    for one in receipt["removed"].get(step, []):
        place = one["place"].partition("/dt=")[0]
        found[place] = found.get(place, 0) + one["count"]
    return found


def column(rows: pa.Table, name: str) -> list[Any]:
    found: list[Any] = rows[name].to_pylist()
    return found
