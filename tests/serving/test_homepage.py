"""Which fallback lists fit a visitor."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from serving import RecommendationReader, SqliteStore, segments_of
from tests.serving.builders import fallback, publication, rows

NAMES = ("all", "country=DE", "country=DE|language=de", "country=FR", "language=de", "language=de|device=tv")
VISITORS = (
    (("DE", "de", "tv"), "country=DE|language=de"),
    (("DE", "fr", "tv"), "country=DE"),
    (("FR", None, "tv"), "country=FR"),
    (("JP", "de", "tv"), "language=de|device=tv"),
    ((None, "de", "phone"), "language=de"),
    ((None, None, "tv"), "all"),
    (("JP", "ja", None), "all"),
)


def test_segments_go_from_the_most_specific_to_everybody() -> None:
    assert segments_of("DE", "de", "tv") == (
        "country=DE|language=de|device=tv",
        "country=DE|language=de",
        "country=DE",
        "language=de|device=tv",
        "language=de",
        "all",
    )
    assert segments_of() == ("all",)
    assert segments_of(country="DE", device="tv") == ("country=DE", "all")
    assert segments_of(language="de") == ("language=de", "all")
    assert segments_of("", "", "tv") == ("all",)


@pytest.mark.parametrize(("visitor", "segment"), VISITORS)
def test_the_reader_and_plain_sql_choose_the_same_list(
    tmp_path: Path, visitor: tuple[str | None, str | None, str | None], segment: str
) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.publish(publication(8, 1), rows(8, 1), fallback(8, 1, NAMES), 3)
    wanted = segments_of(*visitor)
    assert RecommendationReader(store).get(999, segments=wanted).segment == segment
    page = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    sql = next(block for block in page.split("```sql\n")[1:] if ":country" in block).partition("```")[0]
    connection = sqlite3.connect(store.path)
    found = connection.execute(sql, dict(zip(("country", "language", "device"), visitor, strict=True))).fetchall()
    connection.close()
    assert {row[0] for row in found} == {segment}
    assert [row[1] for row in found] == [1, 2, 3, 4, 5]
