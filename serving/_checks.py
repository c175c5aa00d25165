"""Checks of what is handed in for publication, and its way from Arrow to rows of plain Python values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, Table
from schemas import columns as col
from schemas.segments import ALL, parent_of
from serving._protocol import StoreError

__all__ = ["SHOWN", "chunks", "fallback_rows", "reading", "shown", "values"]

SHOWN = 3
"""So many offending rows are named in an error."""


def chunks(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in the same order, regrouped into checked tables of about ``rows`` rows, at most twice that.

    Raises:
        StoreError: columns differ from ``RECOMMENDATIONS``, or a value is null or not finite.
    """
    pending: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        _check_columns(batch, RECOMMENDATIONS)
        for start in range(0, batch.num_rows, rows):
            part = batch.slice(start, rows).select(RECOMMENDATIONS.columns)
            pending.append(part)
            size += part.num_rows
            if size >= rows:
                yield _checked(pending)
                pending, size = [], 0
    if pending:
        yield _checked(pending)


def values(table: pa.Table) -> list[list[Any]]:
    """Turn each column into a list of Python values; several times faster than ``to_pylist``."""
    return [column.to_numpy().tolist() for column in table.columns]


def fallback_rows(fallback: pa.Table) -> pa.Table:
    """Check the fallback lists and order their columns as the contract does.

    Raises:
        StoreError: columns differ from ``FALLBACK_RECOMMENDATIONS``, a value is null or not finite, ranks are not
            1, 2, ... in a segment, a video stands twice in one, segment ``all`` is missing, or a segment's parent is.
    """
    _check_columns(fallback, FALLBACK_RECOMMENDATIONS)
    table = fallback.select(FALLBACK_RECOMMENDATIONS.columns)
    _check_values(table, FALLBACK_RECOMMENDATIONS)
    lists: dict[str, list[tuple[int, int]]] = {}
    for segment, rank, video in zip(*values(table.select([col.SEGMENT, col.RANK, col.VIDEO_ID])), strict=True):
        lists.setdefault(segment, []).append((rank, video))
    if ALL not in lists:
        found = ", ".join(sorted(lists)[:SHOWN]) or "no rows"
        raise StoreError(f"fallback lists: found {found}; expected segment 'all' as well, for users in no other segment")
    for segment, pairs in lists.items():
        ranks = sorted(rank for rank, _ in pairs)
        if ranks != list(range(1, len(pairs) + 1)):
            raise StoreError(f"fallback list {segment!r}: found ranks {ranks[:8]}; expected 1, 2, ... each once")
        videos = [video for _, video in pairs]
        if len(set(videos)) < len(videos):
            twice = next(video for video in videos if videos.count(video) > 1)
            raise StoreError(f"fallback list {segment!r}: found video {twice} more than once; expected each video once")
    for segment, parent in sorted(set(zip(*values(table.select([col.SEGMENT, col.PARENT])), strict=True)), key=str):
        if parent != parent_of(segment) or (parent is not None and parent not in lists):
            raise StoreError(
                f"fallback list {segment!r}: found parent {parent!r}, expected {parent_of(segment)!r} and a list of that "
                "segment; mend the stage that wrote them"
            )
    return table


def reading(k: int, *user_ids: int) -> None:
    """Refuse what no store can answer.

    Raises:
        StoreError: ``k`` is below 1, or the user id has more than 64 bits.
    """
    if k < 1:
        raise StoreError(f"read: found k = {k}; expected 1 or more")
    if beyond := [user_id for user_id in user_ids if not -(2**63) <= user_id < 2**63]:
        raise StoreError(f"user {beyond[0]}: found a number beyond 64 bits; expected a user_id of the platform")


def shown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Format offending rows for an error."""
    return "; ".join(", ".join(f"{name}={value!r}" for name, value in row.items()) for row in rows)


def _checked(batches: list[pa.RecordBatch]) -> pa.Table:
    # Nullability is a value rule: the declared flag of a batch is not compared, so it must not keep batches apart.
    table = pa.Table.from_batches([batch.cast(_NULLABLE) for batch in batches])
    _check_values(table, RECOMMENDATIONS)
    return table


_NULLABLE = pa.schema([field.with_nullable(True) for field in RECOMMENDATIONS.arrow])


def _check_columns(data: pa.RecordBatch | pa.Table, expected: Table) -> None:
    if differences := expected.compare(data.schema):
        raise StoreError(
            f"{expected.name}: {'; '.join(differences)}; expected the columns of schemas.{expected.name.upper()}; "
            "mend the stage that wrote them"
        )


def _check_values(table: pa.Table, expected: Table) -> None:
    for field in expected.fields:
        name = field.name
        if table[name].null_count and not field.nullable:
            _refuse(table, pc.is_null(table[name]), f"{expected.name}.{name}: found null, expected a value")
    finite = pc.is_finite(table[col.SCORE])
    if not pc.all(finite).as_py() and table.num_rows:
        _refuse(table, pc.invert(finite), f"{expected.name}.{col.SCORE}: found values that are not finite, expected numbers")


def _refuse(table: pa.Table, wrong: pa.ChunkedArray, message: str) -> None:
    rows = table.filter(wrong).slice(0, SHOWN).to_pylist()
    raise StoreError(f"{message}; first rows: {shown(rows)}; nothing was published: mend the stage that wrote them")
