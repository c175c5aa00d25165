"""Daily counts of what happened to each video, from labelled examples."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs._arrow import mask
from jobs._stage import Context
from schemas import EXPOSURES, VIDEO_COUNTS
from schemas import columns as col

EXAMPLE_COLUMNS = (col.VIDEO_ID, col.EXPOSURE, col.CLICKED, col.LIKED, col.LABEL, col.WEIGHT)
"""What counts need of ``examples``."""

_DT = pa.field(col.DT, pa.date32())


def count(examples: pa.Table) -> pa.Table:
    """Counts per video from sampled examples: each example stands for ``weight`` of its kind.

    Args:
        examples: ``EXAMPLE_COLUMNS`` of one day; all that were sampled have one weight.

    Returns:
        Rows of ``video_counts``, ascending by video.
    """
    videos, place = np.unique(examples[col.VIDEO_ID].to_numpy(), return_inverse=True)
    weight = examples[col.WEIGHT].to_numpy()
    sampled = weight != 1.0
    # Counts are added as integers before they are weighted, so that their order cannot change the result.
    worth = weight[sampled].max(initial=1.0)

    def total(condition: np.ndarray) -> pa.Array:
        whole = np.bincount(place[condition & ~sampled], minlength=len(videos))
        return pa.array(whole + worth * np.bincount(place[condition & sampled], minlength=len(videos)))

    counted = {
        col.VIDEO_ID: pa.array(videos),
        col.IMPRESSIONS: total(mask(pc.equal(examples[col.EXPOSURE], EXPOSURES[0]))),
        col.VIEWS: total(mask(examples[col.CLICKED])),
        col.LIKES: total(mask(examples[col.LIKED])),
        col.RELEVANT: total(examples[col.LABEL].to_numpy() == 1),
    }
    return pa.table({name: counted[name] for name in VIDEO_COUNTS.columns})


def read(context: Context) -> pa.Table:
    """The counts of every whole day of the window, with its ``dt``."""
    partitions = [p for p in context.lake.partitions(VIDEO_COUNTS, context.window) if p.start >= context.window.start]
    parts = [VIDEO_COUNTS.arrow.append(_DT).empty_table()]
    for partition in partitions:
        rows = context.lake.read(VIDEO_COUNTS, [partition])
        parts.append(rows.append_column(_DT, pa.repeat(pa.scalar(partition.dt), rows.num_rows)))
    return pa.concat_tables(parts)
