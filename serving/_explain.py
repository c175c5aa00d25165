"""Why a video is, or is not, on a homepage, for a person."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from schemas import SCORE_PARTS
from schemas import columns as col
from serving._protocol import ServingStore, StoreError, to_text

__all__ = ["explain_absence", "explain_row"]


def explain_row(row: Mapping[str, Any]) -> str:
    """Say what led to a row of the table ``recommendations``: every column of it, in words.

    Args:
        row: the columns of ``schemas.RECOMMENDATIONS``; null where an older file knew no more.
    """
    parts = [(name.removeprefix("score_"), row[name]) for name in SCORE_PARTS if row[name]]
    told = ", ".join(f"{name} {part:+.3f}" for name, part in sorted(parts, key=lambda pair: -abs(pair[1])))
    lines = [
        f"user {row[col.USER_ID]}, video {row[col.VIDEO_ID]}: rank {row[col.RANK]} of the list: {row[col.REASON]}",
        f"  proposed by {', '.join(_source(source) for source in row[col.SOURCES].split('|'))}",
        f"  scored {row[col.SCORE]:.3f}" + (f" ({told})" if told else ""),
    ]
    lines += [f"  {_rule(move, row[col.PROPENSITY])}" for move in (row[col.RULES] or "").split("|") if move]
    return "\n".join(lines)


def explain_absence(store: ServingStore, user_id: int, video_id: int) -> str:
    """Say why a video is not in a user's live list, by making the list again with ``python -m jobs.explain``.

    Raises:
        StoreError: nothing is live, or the models of the live version are not on this machine.
    """
    with store.snapshot() as snapshot:
        by = snapshot.published_by(user_id)
    if by is None:
        raise StoreError("recommendations: nothing has been published yet; expected a live version; run the publish stage")
    command = [sys.executable, "-m", "jobs.explain", str(user_id), str(video_id), "--as-of", to_text(by.as_of)]
    command += [] if by.base is None else ["--lane", "hourly"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise StoreError(
            f"user {user_id}, video {video_id}: not in the live list, as of {to_text(by.as_of)}; why can be told where the "
            f"pipeline runs, by `{' '.join(command[1:])}`, which failed here: {said[-1] if said else 'without a word'}"
        )
    return done.stdout.rstrip()


def _source(source: str) -> str:
    name, _, rank = source.partition(":")
    return f"{name} at place {rank}" if rank else "no generator: it fills the list up, by popularity"


def _rule(move: str, propensity: float | None) -> str:
    if move.startswith("exploration>"):
        return f"exploration drew it for rank {move.partition('>')[2]}, with a probability of {propensity:.4f}"
    name, _, ranks = move.partition(":")
    before, _, after = ranks.partition(">")
    return f"rule {name} moved it from rank {before} to {after}"
