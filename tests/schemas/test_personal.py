from pathlib import Path

import pytest

from models.features import FEATURES
from schemas import RAW_INTERACTIONS, RAW_USERS, TABLES, columns
from schemas.personal import HELD, LEFT_BEHIND, REASONS

ROOT = Path(__file__).resolve().parents[2]
OF_VIDEOS = {"videos", "video_versions", "video_features"}
"""Tables whose ``language`` is that of a video."""


def personal(table):
    return {name for name in table.columns if name in REASONS and table.name not in OF_VIDEOS}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_holds_the_personal_columns_that_are_listed_and_no_other(table):
    assert personal(table) == set(HELD.get(table.name, ()))


def test_only_tables_are_listed_and_every_reason_is_used():
    assert set(HELD) <= {table.name for table in TABLES}
    assert {name for names in HELD.values() for name in names} == set(REASONS)


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_no_feature_needs_stays_in_the_raw_logs(name):
    assert any(name in raw.columns for raw in (RAW_INTERACTIONS, RAW_USERS))
    assert not [table.name for table in TABLES if name in table.columns]


def test_every_raw_column_about_a_user_is_held_for_a_reason_or_left_behind():
    about = set(RAW_USERS.columns) - {columns.USER_ID}
    assert about == about & ({*REASONS} | {*LEFT_BEHIND})


@pytest.mark.parametrize(
    "name",
    [columns.AGE, columns.GENDER, columns.CITY, columns.COUNTRY, columns.LANGUAGE, columns.DEVICE, columns.SEARCHED_HISTORY],
)
def test_what_is_said_to_be_a_feature_is_one(name):
    read = {
        feature.column for feature in FEATURES if getattr(feature, "side", "user") != "video" and hasattr(feature, "column")
    }
    assert name in read


def test_nothing_after_ingest_reads_refused_rows():
    readers = {path.name for path in (ROOT / "jobs").rglob("*.py") if "col.RECORD" in path.read_text(encoding="utf-8")}
    assert readers == {"_judge.py", "_snapshots.py", "_erase_tables.py"}  # what writes them, and what erases
    assert not [
        path for folder in ("models", "serving") for path in (ROOT / folder).rglob("*.py") if "col.RECORD" in path.read_text()
    ]
