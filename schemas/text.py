"""The tables of the stage ``text``: what titles, tags and search queries say, as vectors."""

from __future__ import annotations

from schemas import columns as col
from schemas._table import Field, Table

VIDEO_TEXT = Table(
    name="video_text",
    doc="The text of every row of the same day's `video_versions` as vectors, in the same order.",
    version=2,
    key=(col.VIDEO_ID, col.VALID_FROM),
    fields=(
        Field(name=col.VIDEO_ID, type="int64", doc="The video."),
        Field(name=col.VALID_FROM, type="timestamp", doc="From when on the video bore this title and these tags."),
        Field(
            name=col.TITLE_VECTOR, type="list<float32>", nullable=True,
            doc="The title through the sentence encoder, of length 1; null when there is no title.",
        ),
        Field(
            name=col.TAGS_VECTOR, type="list<float32>", nullable=True,
            doc="The mean of the tags' CBOW vectors, of length 1; null when no tag is known.",
        ),
    ),
)  # fmt: skip

QUERY_TEXT = Table(
    name="query_text",
    doc="The distinct search queries of the look-back that ends with the partition's day, as vectors, ascending by query.",
    key=(col.QUERY,),
    fields=(
        Field(name=col.QUERY, type="string", doc="The query, normalised by `models.text.normalised`."),
        Field(
            name=col.VECTOR, type="list<float32>", nullable=True,
            doc="The query through the encoder of the titles, of length 1; null when the encoder finds nothing in it.",
        ),
    ),
)  # fmt: skip
