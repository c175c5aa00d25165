"""What the lake's newest ``videos`` partition says of videos; for people, not for serving."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from schemas import VIDEOS
from schemas import columns as col

__all__ = ["FACTS", "facts", "files", "titles"]

FACTS = (col.TITLE, col.DURATION_SECONDS, col.UPLOADED_AT, col.VIEW_COUNT, col.LANGUAGE, col.CREATOR_ID, col.TAGS)
"""What a page shows of a video."""


def titles(lake: Path, video_ids: Collection[int]) -> tuple[dict[int, str], str]:
    """Look titles up by video id.

    Returns:
        The titles that there are, and a remark for the reader where they could not be looked up, else an empty text.
    """
    found, remark = facts(lake, video_ids, (col.TITLE,))
    return {video: fact[col.TITLE] for video, fact in found.items() if fact[col.TITLE]}, remark and f"titles: {remark}"


def facts(lake: Path, video_ids: Collection[int], columns: Sequence[str] = FACTS) -> tuple[dict[int, dict[str, Any]], str]:
    """Look columns of ``VIDEOS`` up by video id.

    Returns:
        A row for each video that there is, and a remark for the reader where they could not be looked up, else an empty text.
    """
    partition = max((lake / VIDEOS.name).glob(f"{col.DT}=*"), default=None)
    if partition is None:
        return {}, f"found no {VIDEOS.name} table below {lake}; videos are shown by id"
    try:
        wanted = ds.field(col.VIDEO_ID).isin(pa.array(video_ids, pa.int64()))
        table = ds.dataset(files(partition), format="parquet").to_table(columns=[col.VIDEO_ID, *columns], filter=wanted)
    except (pa.ArrowException, OSError) as error:
        return {}, f"{partition} cannot be read ({error}); videos are shown by id"
    return {row.pop(col.VIDEO_ID): row for row in table.to_pylist()}, ""


def files(partition: Path) -> list[str]:
    """The Parquet files of a partition."""
    return [str(file) for file in sorted(partition.rglob("*.parquet")) if not file.name.startswith(("_", "."))]
