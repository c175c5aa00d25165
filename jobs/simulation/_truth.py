"""The truth folder: what no stage may read, and every oracle needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.importing import write_table
from jobs.simulation._events import Events, event_ids
from jobs.simulation._preference import Preferences
from jobs.simulation._users import Users
from jobs.simulation._videos import Videos
from schemas import columns as col

PROBABILITY = "probability"
README = """\
The hidden truth behind a simulated log. No stage of the pipeline reads it; it is for oracles and checks.

impressions/dt=D/part-0.parquet  every impression of the visits that began on day D: event_id, user_id, video_id, occurred_at,
                                 probability (that it becomes relevant) and relevant (what was drawn from it).
users.parquet                    row (in every *user* array), user_id, taste (one weight a topic), style.
videos.parquet                   row (in every *video* array), video_id, topics (one weight a topic), style, quality, reach.
*.npy, preferences.json          the logits: user_vectors @ video_vectors + user_bias + video_bias + momentum(video, time)
                                 + context(position, device) + the day's offset. `Preferences.load(folder)` in
                                 jobs.simulation reads them and computes any pair or a user's whole catalogue.
                                 The vectors are topics (24), style (8) and language (6) side by side.
planted.json                     per hour (dt/hr): repeats, and broken rows by the reason for which they must be refused.
simulation.json                  configuration, topic names, each day's offset, and totals.
"""


def write_impressions(
    truth: Path,
    date: str,
    impressions: Events,
    *,
    probability: NDArray[np.float64],
    relevant: NDArray[np.bool_],
    users: Users,
    videos: Videos,
) -> None:
    """Write the true probability of each impression of a day's visits."""
    rows = pa.table(
        {
            col.EVENT_ID: event_ids(impressions.serial),
            col.USER_ID: users.ids[impressions.user],
            col.VIDEO_ID: videos.ids[impressions.video],
            col.OCCURRED_AT: pa.array(impressions.at_us, pa.timestamp("us", tz="UTC")),
            PROBABILITY: probability,
            col.RELEVANT: relevant,
        }
    )
    write_table(truth / "impressions" / f"{col.DT}={date}" / "part-0.parquet", rows)


def write_truth(
    truth: Path,
    *,
    users: Users,
    videos: Videos,
    preferences: Preferences,
    planted: Mapping[str, Mapping[str, int]],
    facts: Mapping[str, Any],
) -> None:
    """Write everything about the truth but the impressions."""
    (truth / "README.txt").write_text(README, encoding="utf-8")
    of_users = {col.USER_ID: users.ids, "taste": list(users.taste), "style": list(users.style)}
    of_videos = {
        col.VIDEO_ID: videos.ids,
        "topics": list(videos.topics),
        "style": list(videos.style),
        "quality": videos.quality,
        "reach": videos.reach,
    }
    write_table(truth / "users.parquet", pa.table({"row": np.arange(len(users.ids)), **of_users}))
    write_table(truth / "videos.parquet", pa.table({"row": np.arange(len(videos.ids)), **of_videos}))
    preferences.save(truth)
    (truth / "planted.json").write_text(json.dumps(planted, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (truth / "simulation.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_impressions(truth: Path) -> pa.Table:
    """All impressions with their true probabilities, in order of day and event."""
    files = sorted((truth / "impressions").glob(f"{col.DT}=*/part-0.parquet"))
    return pa.concat_tables([pq.ParquetFile(file).read() for file in files])
