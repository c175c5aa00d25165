"""The SQL of docs/history.md, run as it stands there, and the function that it stands beside."""

import re
from pathlib import Path

import duckdb
import numpy as np

from jobs._served_at import shown
from jobs._window import HOUR, micros
from tests.jobs.publishing import FIRST, SECOND, Platform

PAGE = Path(__file__).resolve().parents[2] / "docs" / "history.md"


def test_both_answer_alike(tmp_path, monkeypatch):
    platform = Platform(tmp_path)
    platform.day(FIRST, {1: [11, 12], 2: [21, 22], 3: [31]})
    moments = [platform.now]
    platform.hour(FIRST + 5 * HOUR, {2: [23]})
    moments.append(platform.now)
    platform.day(SECOND, {1: [14], 2: [24]})
    moments.append(platform.now)
    platform.rollback()
    moments += [platform.now, platform.now + 9 * HOUR, FIRST]
    moments += [FIRST + 50 * HOUR, FIRST + 60 * HOUR]  # the day's lists have expired; the hour's have, too
    pairs = [(user, moment) for moment in moments for user in (1, 2, 3, 4)]

    monkeypatch.chdir(tmp_path)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE TABLE asked (user_id BIGINT, moment TIMESTAMPTZ)")
    connection.executemany("INSERT INTO asked VALUES (?, ?)", pairs)
    (statements,) = re.findall(r"```sql\n(CREATE VIEW.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    by_sql = connection.execute(statements).fetchall()

    found = shown(platform.lake, np.array([user for user, _ in pairs]), np.array([micros(at) for _, at in pairs]))
    rows = [
        (pairs[row["asked"]][1], row["user_id"], row["version"], row["lane"], row["as_of"], row["rank"], row["video_id"])
        for row in found.rows.to_pylist()
    ]
    assert sorted(rows) == [row[:-1] for row in by_sql]
    assert len(rows) == 5 + 4 + 2 + 4 + 4 + 1 + 4
