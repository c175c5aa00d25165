"""The features of reelflow, declared once (F1 to F6): training and inference both encode what stands here.

To add a feature, add a line; ``towers.leave_out`` in the configuration leaves features out by name.
"""

from __future__ import annotations

from models.features._kinds import Bucket, Clock, Embedding, Feature, Number, OneHot, Sequence, TextMean, Vector
from schemas import HISTORIES, TRENDS, VIDEO_COUNTERS
from schemas import columns as col

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_AGES = (_MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY)
_LENGTHS = {"watched": 30, "liked": 10, "seen": 20}
_SEARCHES = 5
_RATES = {trend.hours: (trend.column, shown.column) for trend in TRENDS for shown in TRENDS
          if trend.counter == col.VIEWS and shown.counter == col.IMPRESSIONS and shown.hours == trend.hours}  # fmt: skip
_SPANS = {1: "hour", 24: "day", 168: "week"}

USER_ID = "user_id"
"""The feature whose vocabulary names users: what an erasure takes out of a model."""

FEATURES: tuple[Feature, ...] = (
    Embedding(name=USER_ID, side="user", column=col.USER_ID),
    Bucket(name="age", side="user", column=col.AGE, edges=(18, 25, 35, 45, 55)),
    OneHot(name="gender", side="user", column=col.GENDER),
    OneHot(name="user_language", side="user", column=col.LANGUAGE),
    OneHot(name="country", side="user", column=col.COUNTRY),
    OneHot(name="city", side="user", column=col.CITY),
    Clock(name="hour_bucket", unit="hour", width=3),
    Clock(name="day_of_week", unit="weekday"),
    OneHot(name="device", side="context", column=col.DEVICE),
    *(
        Sequence(
            name=name,
            column=HISTORIES[name].values,
            ages=HISTORIES[name].ages,
            length=length,
            age_edges_seconds=_AGES,
            vocabulary="video_id",
        )
        for name, length in _LENGTHS.items()
    ),
    TextMean(name="searched", column=col.SEARCHED_HISTORY, length=_SEARCHES),
    Embedding(name="video_id", side="video", column=col.VIDEO_ID),
    Embedding(name="creator_id", side="video", column=col.CREATOR_ID),
    OneHot(name="video_language", side="video", column=col.LANGUAGE),
    Number(name="log_duration", form="log", columns=(col.DURATION_SECONDS,)),
    Number(name="duration_unknown", form="missing", columns=(col.DURATION_SECONDS,)),
    Number(name="log_age_days", form="log_age_days", columns=(col.UPLOADED_AT,)),
    *(Number(name=f"log_{field.name}", form="log", columns=(field.name,)) for field in VIDEO_COUNTERS),
    Number(name="relevance_rate", form="rate", columns=(col.RELEVANT, col.IMPRESSIONS)),
    *(Number(name=f"log_{trend.column}", form="log", columns=(trend.column,)) for trend in TRENDS),
    *(Number(name=f"view_rate_last_{_SPANS[hours]}", form="rate", columns=columns) for hours, columns in _RATES.items()),
    Vector(name="title", column=col.TITLE_VECTOR),
    Vector(name="tags", column=col.TAGS_VECTOR),
)
"""In the order in which a tower sees them."""
