import re

import pyarrow.parquet as pq
import pytest

from jobs import _bundles, _last_scan, _served, gate, index, publish, recommend, scan
from jobs._recipe import Recipe
from jobs._swap import read_json
from jobs._tables import Partition
from jobs._window import DAY, iso
from schemas import FALLBACK_RECOMMENDATIONS, PUBLICATION_SWITCHES, RECOMMENDATION_HISTORY, RECOMMENDATIONS, SCORE_PARTS
from serving import SqliteStore
from tests.builders import Workspace, arrow, stage_context
from tests.jobs.planted import FIRST, SECOND, SETTINGS, planted, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    space = planted(tmp_path_factory.mktemp("judged"))
    for end in (FIRST, SECOND):
        train(space, end)
        index_by_hand(space, end)
    return space


@pytest.fixture
def space(judged, tmp_path):
    return judged.copy_to(tmp_path / "home", SETTINGS)


def digests(space, end):
    with space.environment():
        context = stage_context("publish", "--as-of", iso(end))
        return {kind: _bundles.open_at(context, kind).digest for kind in ("wals", "towers", "serving")}


def index_by_hand(space, end):
    """A serving bundle, as if index had made it."""
    with space.environment():
        context = stage_context("index", "--as-of", iso(end))
        recipe = Recipe({}, "by hand", {})
        _bundles.commit(context, "serving", recipe, lambda folder: (folder / "index").write_text(iso(end)), {})


def write_rows(space, end, shift=0, *, fallback=2, users=(1, 2), files=1, **changes):
    """Two users' lists and the fallback of a day, as if recommend had made them and scan had passed them.

    ``files``: so many files hold the lists.
    """
    recipe = {"inputs": digests(space, end), "code_version": "by hand", "parameters": {"as_of": iso(end)}} | changes
    today, text = Partition((end - DAY).date()), {"sources": "wals:1", "reason": "picked for you"}
    parts = {"rules": "", "propensity": 1.0, **dict.fromkeys(SCORE_PARTS, 0.0)}
    rows = [
        {"user_id": user, "rank": rank, "video_id": 100 + rank + shift, "score": 1 / rank, **text, **parts}
        for user in users
        for rank in (1, 2, 3)
    ]
    lists = [{"segment": "all", "rank": rank, "video_id": 200 + rank, "score": 0.0, **text} for rank in range(1, fallback + 1)]
    staged = space.lake.staging(RECOMMENDATIONS)
    staged.mkdir(parents=True)
    for number in range(files):
        table = arrow(RECOMMENDATIONS, rows[number * len(rows) // files : (number + 1) * len(rows) // files])
        pq.write_table(table.select(RECOMMENDATIONS.columns).cast(RECOMMENDATIONS.arrow), staged / f"part-{number}.parquet")
    manifests = (
        space.lake.commit(RECOMMENDATIONS, today, staged, Recipe(**recipe), by_spark=False),
        space.lake.write(FALLBACK_RECOMMENDATIONS, today, arrow(FALLBACK_RECOMMENDATIONS, lists), Recipe(**recipe)),
    )
    made = {one.table: one.digest for one in manifests}
    with space.environment():
        _last_scan.write(stage_context("scan", "--as-of", iso(end)), {"passed": True, "basis": made, "checks": []})


def store(space):
    return SqliteStore(space.home / "store" / "recommendations.sqlite")


def videos(space, user=1):
    return [row.video_id for row in store(space).read(user, 10)]


def test_other_fallback_lists_alone_replace_what_is_live(space):
    versions = []
    for fallback in (2, 1):
        write_rows(space, SECOND, fallback=fallback)
        space.run(publish, "--as-of", iso(SECOND))
        versions.append(store(space).live().model_version)
        assert len(store(space).read_fallback("all", 10)) == fallback
    assert versions[0] != versions[1]


def test_a_day_is_published_once(space):
    write_rows(space, SECOND)
    report = space.run(publish, "--as-of", iso(SECOND))
    assert report.facts == {"status": "live", "version": 1, "model_version": store(space).live().model_version}
    assert re.fullmatch(r"20260108T000000Z-[0-9a-f]{12}", report.facts["model_version"])
    assert (report.read, report.wrote) == ({"rows": 6}, {"rows": 6, "users": 2})
    live = store(space).live()
    assert (live.as_of, live.expires_at, live.rows) == (SECOND, SECOND + 2 * DAY, 6)
    assert (videos(space), videos(space, 2), videos(space, 3)) == ([101, 102, 103], [101, 102, 103], [])
    assert [row.video_id for row in store(space).read_fallback("all", 10)] == [201, 202]
    again = space.run(publish, "--as-of", iso(SECOND))
    assert (again.up_to_date, again.notes) == (True, ["version 1 is live"])
    assert len(store(space).publications()) == 1


def test_other_rows_of_the_same_day_replace_it(space):
    write_rows(space, SECOND)
    space.run(publish, "--as-of", iso(SECOND))
    write_rows(space, SECOND, shift=5)
    assert space.run(publish, "--as-of", iso(SECOND)).facts["version"] == 2
    assert videos(space) == [106, 107, 108]


def test_an_older_day_is_superseded(space):
    for end, shift in ((SECOND, 0), (FIRST, 5)):
        write_rows(space, end, shift)
    space.run(publish, "--as-of", iso(SECOND))
    report = space.run(publish, "--as-of", iso(FIRST))
    assert report.notes == ["superseded: what is live, as of 2026-01-08T00:00:00Z, is newer; nothing changes"]
    assert (report.facts["status"], report.wrote) == ("superseded", {})
    forced = space.run(publish, "--as-of", iso(FIRST), "--force")
    assert forced.facts["status"] == "superseded"
    assert videos(space) == [101, 102, 103]


@pytest.mark.parametrize("kind", ["wals", "towers", "serving"])
def test_rows_of_other_models_are_refused(space, kind):
    write_rows(space, SECOND, inputs=digests(space, SECOND) | {kind: "0" * 64})
    status, _, error = space.command(publish, "--as-of", iso(SECOND))
    assert status == 2
    assert f"made as of 2026-01-08T00:00:00Z by other models ({kind}); expected as of 2026-01-08T00:00:00Z" in error
    assert store(space).live() is None


def test_rows_as_of_another_time_are_refused(space):
    write_rows(space, SECOND, parameters={"as_of": "2026-01-07T12:00:00Z"})
    status, _, error = space.command(publish, "--as-of", iso(SECOND))
    assert status == 2
    assert "made as of 2026-01-07T12:00:00Z; expected as of 2026-01-08T00:00:00Z by the models that the gate passed" in error
    assert store(space).live() is None


def test_rows_must_be_there(space):
    status, _, error = space.command(publish, "--as-of", iso(SECOND))
    assert status == 2
    assert "table recommendations: no partition dt=2026-01-07; run recommend --as-of 2026-01-08T00:00:00Z first" in error


def test_nothing_passes_a_refusal(space):
    write_rows(space, SECOND)
    strict = Workspace(space.home, {**SETTINGS, "gate": SETTINGS["gate"] | {"min_ratio_to_popularity": 1000.0}})
    assert strict.run(gate, "--as-of", iso(SECOND)).facts["passed"] is False
    for stage in (index, recommend, scan, publish):
        status, _, error = strict.command(stage, "--as-of", iso(SECOND))
        assert status == 2
        assert "the gate refused: refused: ndcg@10_against_popularity: " in error
    assert store(space).live() is None


def test_what_was_rolled_back_does_not_come_back_by_itself(space):
    for end, shift in ((FIRST, 5), (SECOND, 0)):
        write_rows(space, end, shift)
        space.run(publish, "--as-of", iso(end))
    store(space).rollback(reason="ann: too many cats")
    at = iso(store(space).switches()[0].at)
    report = space.run(publish, "--as-of", iso(SECOND))
    assert report.notes == [
        f"rolled back at {at} (ann: too many cats); nothing changes; give --force to publish it all the same"
    ]
    assert (report.facts["status"], report.wrote) == ("rolled_back", {})
    assert videos(space) == [106, 107, 108]
    write_rows(space, SECOND, shift=1)  # mended lists of the same day may
    assert space.run(publish, "--as-of", iso(SECOND)).facts["status"] == "live"
    store(space).rollback(reason="again")
    assert space.run(publish, "--as-of", iso(SECOND), "--force").facts["status"] == "live"
    assert videos(space) == [102, 103, 104]


def history(space, end):
    partition = Partition((end - DAY).date(), 23)
    return space.lake.read(RECOMMENDATION_HISTORY, [partition]).to_pylist()


def test_what_goes_live_is_in_the_history(space):
    for end, shift in ((FIRST, 5), (SECOND, 0)):
        write_rows(space, end, shift)
        status, _, error = space.command(publish, "--as-of", iso(end))
        assert (status, error) == (0, "")
    live = store(space).live()
    rows = [(row["user_id"], row["rank"], row["video_id"], row["model_version"]) for row in history(space, SECOND)]
    assert rows == [(user, rank, 100 + rank, live.model_version) for user in (1, 2) for rank in (1, 2, 3)]
    assert {row["generators"] for row in history(space, FIRST)} == {"wals"}
    switches = space.lake.read(PUBLICATION_SWITCHES, space.lake.every(PUBLICATION_SWITCHES)).to_pylist()
    assert [(row["version"], row["switched_at"]) for row in switches] == [
        (record.version, record.published_at) for record in reversed(store(space).publications())
    ]
    for table in (RECOMMENDATION_HISTORY, PUBLICATION_SWITCHES):  # their suites passed
        found = read_json(space.home / f"runs/20260108T000000Z/expectations/{table.name}.json", "result", "publish")
        assert found["passed"], table.name
        assert found["rules"]


def test_a_history_that_was_not_written_is_made_up_for(space, monkeypatch):
    write_rows(space, SECOND)
    with monkeypatch.context() as patch:
        patch.setattr(_served, "follow", lambda *_: (_ for _ in ()).throw(OSError("the machine stopped")))
        with pytest.raises(OSError, match="stopped"):
            space.run(publish, "--as-of", iso(SECOND))
    assert videos(space) == [101, 102, 103]
    assert space.lake.every(RECOMMENDATION_HISTORY) == []
    with space.environment():
        (unit,) = publish.plan(stage_context("publish", "--as-of", iso(SECOND)), {})
    assert (str(unit.status.state), unit.status.why) == ("stale", "live, but not in the history")
    assert space.run(publish, "--as-of", iso(SECOND)).up_to_date
    assert len(history(space, SECOND)) == 6
    with space.environment():
        (unit,) = publish.plan(stage_context("publish", "--as-of", iso(SECOND)), {})
    assert unit.status.current


def test_a_superseded_day_is_not_in_the_history(space):
    for end in (SECOND, FIRST):
        write_rows(space, end)
        space.run(publish, "--as-of", iso(end), "--force")
    assert space.lake.every(RECOMMENDATION_HISTORY) == [Partition((SECOND - DAY).date(), 23)]


def test_old_history_goes_when_a_day_is_published(space):
    short = Workspace(space.home, {**SETTINGS, "history": {"keep_days": 1}})
    for end in (FIRST, SECOND, SECOND):
        write_rows(short, end)
        short.run(publish, "--as-of", iso(end), "--force")
    assert short.lake.every(RECOMMENDATION_HISTORY) == [Partition((SECOND - DAY).date(), 23)]


def test_lists_that_were_damaged_since_the_scan_do_not_go_live(space):
    write_rows(space, SECOND)
    (file,) = space.lake.files(RECOMMENDATIONS, [Partition((SECOND - DAY).date())])
    content = file.read_bytes()
    file.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    status, _, error = space.command(publish, "--as-of", iso(SECOND))
    assert status == 2
    assert f"table recommendations, dt=2026-01-07: file {file}: found sha256 " in error
    assert store(space).live() is None
