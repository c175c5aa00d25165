"""A user in what runs left on disk: reports that name people, and lists kept for a trial.

Reports lose what they say of the user: an entry of a list whose ``user_id`` it is, a user's part of the gate's page, the
homepage in a summary; elsewhere the number gives way to ``(erased)``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import _due, _receipt
from jobs._erase_models import Search, bundles, called
from jobs._erase_tables import HOURLY
from jobs._receipt import Removed
from jobs._swap import replace_text
from schemas import columns as col

_ERROR = ".error"
_TEXTS = (".json", ".html", ".txt", _ERROR)
_GONE = "(erased)"


def remove(search: Search) -> list[Removed]:
    """Remove the user from all of it."""
    return [*_due_users(search), *_shadow_lists(search), *_texts(search)]


def redacted(content: Any, user_id: int) -> Any:
    """Plain values without a user: entries about the user leave their lists, and texts no longer name the user."""
    if isinstance(content, list):
        return [redacted(one, user_id) for one in content if not _about(one, user_id)]
    if isinstance(content, dict):
        return {key: redacted(value, user_id) for key, value in content.items() if not _about(value, user_id)}
    return _unnamed(content, user_id) if isinstance(content, str) else content


def redacted_text(text: str, user_id: int) -> str:
    """A page or a summary without a user."""
    parts = rf"<h3>User {user_id}</h3>.*?(?=<h[23]|</body>)"
    homepage = rf"^Homepage +of one user\n +user {user_id}:.*\n(?: .*\n)*"
    return _unnamed(re.sub(homepage, "", re.sub(parts, "", text, flags=re.DOTALL), flags=re.MULTILINE), user_id)


def _about(value: Any, user_id: int) -> bool:
    return isinstance(value, dict) and value.get(col.USER_ID) == user_id


def _unnamed(text: str, user_id: int) -> str:
    return re.sub(rf"\b(user(?:_?ids?|s)?)([\"' =:\[(]+){user_id}\b", rf"\1\2{_GONE}", text, flags=re.IGNORECASE)


def _texts(search: Search) -> Iterator[Removed]:
    """Every report, page and error, of runs and of what MLflow keeps on this disk."""
    sealed = {*bundles(search.paths), search.paths.runs / _receipt.FOLDER}
    for root in (search.paths.runs, search.paths.mlflow):
        for path in redact(root, search.user_id, sealed, dry=search.dry):
            yield Removed(called(search.paths, path), "reports", 1)


def redact(root: Path, user_id: int, sealed: Collection[Path], *, dry: bool) -> Iterator[Path]:
    """Take a user out of every text below a folder, but for those in sealed ones; yields the files that named the user.

    What a stage last said of its failure may name a user in a form that is not known: then it goes as a whole.
    """
    apart, named = {*sealed}, re.compile(rf"(?<!\d){user_id}(?!\d)")
    for path in sorted(path for path in root.rglob("*") if path.suffix in _TEXTS and path.is_file()):
        if apart & {*path.parents}:
            continue
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        if not named.search(before):
            continue
        after = _redacted_file(path, before, user_id)
        whole = path.suffix == _ERROR and named.search(after) is not None
        if after == before and not whole:
            continue
        if not dry and whole:
            path.unlink()
        elif not dry:
            replace_text(path, after)
        yield path


def _redacted_file(path: Path, text: str, user_id: int) -> str:
    if path.suffix == ".json":
        try:
            content = json.loads(text)
        except ValueError:
            return redacted_text(text, user_id)
        less = redacted(content, user_id)
        return text if less == content else json.dumps(less, indent=1) + "\n"
    return redacted_text(text, user_id)


def _shadow_lists(search: Search) -> Iterator[Removed]:
    """Lists that a trial keeps until it knows what users did; its record of them follows."""
    for path in sorted(search.paths.runs.glob("*/shadow/*/lists.parquet")):
        rows = pq.read_table(path)
        kept = rows.filter(pc.not_equal(rows[col.USER_ID], search.user_id))
        if kept.num_rows == rows.num_rows:
            continue
        if not search.dry:
            record = path.with_name("kept.json")
            staged = path.with_suffix(".tmp")
            pq.write_table(kept, staged, compression="zstd")
            content = json.loads(record.read_text(encoding="utf-8"))
            content |= {"lists": hashlib.sha256(staged.read_bytes()).hexdigest(), "users": kept.num_rows}
            staged.replace(path)
            replace_text(record, json.dumps(content, indent=1, sort_keys=True) + "\n")
        yield Removed(called(search.paths, path), "rows", 1)


def _due_users(search: Search) -> Iterator[Removed]:
    """The users whose lists an hour made again, and the copy of their features that it worked on."""
    for hour in sorted((search.paths.lake / HOURLY).glob("*Z")):
        if not search.dry:
            (hour / _due.USERS_FILE).unlink(missing_ok=True)
        found = _due.read_at(hour)
        if found is None or search.user_id not in found.users:
            continue
        if not search.dry:
            _due.write_at(hour, found.without(search.user_id))
        yield Removed(f"lake/{HOURLY}/{hour.name}/{_due.FILE}", "rows", 1)
