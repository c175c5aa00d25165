"""Titles of videos, from the newest partition of the lake's ``videos`` table; for people, not for serving."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from schemas import VIDEOS
from schemas import columns as col

__all__ = ["titles"]


def titles(lake: Path, video_ids: Collection[int]) -> tuple[dict[int, str], str]:
    """Look titles up by video id.

    Returns:
        The titles that there are, and a remark for the reader where they could not be looked up, else an empty text.
    """
    partitions = sorted((lake / VIDEOS.name).glob(f"{col.DT}=*"))
    if not partitions:
        return {}, f"titles: found no {VIDEOS.name} table below {lake}; videos are shown by id"
    files = [str(file) for file in sorted(partitions[-1].rglob("*.parquet")) if not file.name.startswith(("_", "."))]
    try:
        wanted = ds.field(col.VIDEO_ID).isin(pa.array(video_ids, pa.int64()))
        table = ds.dataset(files, format="parquet").to_table(columns=[col.VIDEO_ID, col.TITLE], filter=wanted)
    except (pa.ArrowException, OSError) as error:
        return {}, f"titles: {partitions[-1]} cannot be read ({error}); videos are shown by id"
    found = zip(table[col.VIDEO_ID].to_pylist(), table[col.TITLE].to_pylist(), strict=True)
    return {video: title for video, title in found if title}, ""
