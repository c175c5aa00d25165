"""What became of lists: which were served, and what was live from when on."""

from __future__ import annotations

from schemas import columns as col
from schemas._table import Field, Table

LANES = ("daily", "hourly")
ACTIONS = ("publish", "rollback")

RECOMMENDATION_HISTORY = Table(
    name="recommendation_history",
    doc=(
        "Every list that went live: what was recommended to whom, at which rank and by which models. The partition is the last hour "
        "before `as_of`. From when to when a list was live is in `publication_switches`."
    ),
    partitioned_by=(col.DT, col.HR),
    key=(col.MODEL_VERSION, col.USER_ID, col.RANK),
    fields=(
        Field(name=col.MODEL_VERSION, type="string", doc="The lists that it is of, as the store names them: `as_of` and a digest of their content."),
        Field(name=col.AS_OF, type="timestamp", doc="The lists know every event before this moment, and none after."),
        Field(name=col.LANE, type="string", allowed=LANES, doc="`daily`: lists of everybody; `hourly`: of those for whom something changed."),
        Field(name=col.USER_ID, type="int64", doc="The user."),
        Field(name=col.RANK, type="int32", minimum=1, doc="From 1."),
        Field(name=col.VIDEO_ID, type="int64", doc="The video."),
        Field(name=col.SCORE, type="float64", doc="Comparable within one user's list only."),
        Field(
            name=col.PROPENSITY, type="float64", minimum=0, maximum=1,
            doc="Probability with which exploration drew it for this rank, given the ranks before; 1 where nothing was drawn.",
        ),
        Field(name=col.GENERATORS, type="string", doc="Generators that proposed it: `retrieval|wals`."),
    ),
)  # fmt: skip

PUBLICATION_SWITCHES = Table(
    name="publication_switches",
    doc=(
        "Every change of what is live, by a publication or a rollback, as the store keeps it; a row lies in the day of the `as_of` that "
        "it made live. The one table that knows the wall clock."
    ),
    key=(col.SWITCHED_AT, col.SWITCH),
    version=2,
    fields=(
        Field(name=col.SWITCHED_AT, type="timestamp", doc="When the store made it live."),
        Field(name=col.SWITCH, type="int64", minimum=1, doc="Number of the switch in its store."),
        Field(name=col.ACTION, type="string", allowed=ACTIONS, doc="Why."),
        Field(name=col.VERSION, type="int64", minimum=1, doc="Version of the store that is live from then on."),
        Field(name=col.MODEL_VERSION, type="string", doc="Its lists, as in `recommendation_history`."),
        Field(name=col.AS_OF, type="timestamp", doc="Of these lists."),
        Field(name=col.LANE, type="string", allowed=LANES, doc="Of these lists."),
        Field(
            name=col.EXPIRES_AT, type="timestamp", nullable=True,
            doc="Of these lists, and of the version's fallback lists; null in rows from before this was kept.",
        ),
        Field(
            name=col.LAYERS, type="list<string>",
            doc="`model_version` of all lists that it shows, the full publication's first: a user has the list of the last one that holds any of theirs.",
        ),
        Field(
            name=col.LAYERS_EXPIRE_AT, type="list<timestamp>", nullable=True,
            doc="When the lists of each of the `layers` expire, in the same order; null in rows from before this was kept.",
        ),
    ),
)  # fmt: skip
