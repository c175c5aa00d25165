"""Personal data beyond the raw logs: which columns tell about a person, why they are held, and in which tables.

What no feature needs stays behind in the raw logs. Whoever adds a column that tells about a person adds it here, with the reason;
``tests/schemas/test_personal.py`` compares this page with the tables. What users did is held by ``user_id``, a number that only
the platform can trace to a person.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas import columns as col

LEFT_BEHIND = (col.USERNAME, col.COMMENT, col.LATITUDE, col.LONGITUDE, col.TIME_ZONE, col.REGISTERED_AT)
"""Columns of the raw logs that no table of the lake has."""

REASONS: Mapping[str, str] = {
    col.AGE: "feature `age`",
    col.GENDER: "feature `gender`",
    col.CITY: "feature `city`; popularity by city",
    col.COUNTRY: "feature `country`; popularity and fallback lists by country; videos that a country blocks",
    col.LANGUAGE: "feature `user_language`; popularity and fallback lists by language; the rule `language`",
    col.DEVICE: "feature `device`; fallback lists by device",
    col.QUERY: "becomes a vector, which the feature `searched` reads",
    col.SEARCHED_HISTORY: "feature `searched`: the last few queries of a user",
    col.RECORD: "a refused row as it was read, for whoever mends the logs; no stage after ingest reads it",
}
"""Why a column that tells about a person is held."""

HELD: Mapping[str, tuple[str, ...]] = {
    "interactions": (col.QUERY, col.DEVICE),
    "rejected": (col.RECORD,),
    "rejected_snapshots": (col.RECORD,),
    "users": (col.AGE, col.GENDER, col.CITY, col.COUNTRY, col.LANGUAGE),
    "user_versions": (col.AGE, col.GENDER, col.CITY, col.COUNTRY, col.LANGUAGE),
    "examples": (col.DEVICE,),
    "user_history": (col.QUERY,),
    "example_features": (col.SEARCHED_HISTORY,),
    "user_features": (
        col.AGE,
        col.GENDER,
        col.LANGUAGE,
        col.COUNTRY,
        col.CITY,
        col.DEVICE,
        col.SEARCHED_HISTORY,
    ),
    "query_text": (col.QUERY,),
}
"""By table: the columns in it that tell about a person. ``language`` of a video is none."""
