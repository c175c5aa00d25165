import pytest

from jobs import _worker, recommend
from jobs._tables import Partition
from jobs._window import DAY, iso
from models.ensemble import load_catalogue
from schemas import FALLBACK_RECOMMENDATIONS, QUERY_TEXT, RECOMMENDATIONS, USER_FEATURES, VIDEO_FEATURES
from schemas.errors import ReelflowError
from tests.builders import MADE_BY_HAND, Workspace, arrow, stage_context, tree
from tests.jobs.planted import BLOCKED_IN_DE, REMOVED, SECOND, SETTINGS, build_index, planted, train

pytestmark = pytest.mark.slow

TODAY = Partition((SECOND - DAY).date())


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    space = planted(tmp_path_factory.mktemp("indexed"))
    train(space, SECOND)
    build_index(space, SECOND)
    return space


def model_of(space):
    with space.environment():
        config = recommend.ranking(stage_context("recommend", "--as-of", iso(SECOND)))
    folder = space.home / "bundles"
    return _worker.Model(
        wals=folder / "wals" / "20260108T000000Z" / "final",
        towers=folder / "towers" / "20260108T000000Z" / "final",
        catalogue=folder / "serving" / "20260108T000000Z" / "catalogue",
        indexes=folder / "serving" / "20260108T000000Z" / "indexes",
        queries=tuple(space.lake.files(QUERY_TEXT, [TODAY])),
        as_of=SECOND,
        config_json=config.model_dump_json(),
    )


def test_the_catalogue_of_the_index_is_that_of_the_lake(space):
    found = load_catalogue(model_of(space).catalogue)
    videos = space.lake.read(VIDEO_FEATURES, [TODAY]).to_pylist()
    assert found.video_ids.tolist() == [row["video_id"] for row in videos]
    assert found.eligible.tolist() == [not row["removed"] for row in videos]
    assert found.countries == ("DE",)
    assert set(found.video_ids[found.blocked[0]].tolist()) == BLOCKED_IN_DE


def test_batches_of_any_size_give_the_same_lists(space):
    users = space.lake.read(USER_FEATURES, [TODAY])
    model = model_of(space)
    whole = [row for part in _worker.recommend_batches(model, users.to_batches()) for row in part.to_pylist()]
    parts = [row for part in _worker.recommend_batches(model, users.to_batches(max_chunksize=7)) for row in part.to_pylist()]
    assert [(row["user_id"], row["rank"], row["video_id"]) for row in parts] == [
        (row["user_id"], row["rank"], row["video_id"]) for row in whole
    ]
    assert len(whole) == 40 * 10


@pytest.mark.spark
def test_spark_writes_what_one_process_would(spark, space):
    report = space.run(recommend, "--as-of", iso(SECOND))
    users = space.lake.read(USER_FEATURES, [TODAY])
    found = space.lake.read(RECOMMENDATIONS, [TODAY]).to_pylist()
    expected = [row for part in _worker.recommend_batches(model_of(space), users.to_batches()) for row in part.to_pylist()]
    keys = ("user_id", "rank", "video_id", "sources", "reason")
    assert [tuple(row[key] for key in keys) for row in found] == [tuple(row[key] for key in keys) for row in expected]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=1e-5)
    lists = space.lake.manifest(FALLBACK_RECOMMENDATIONS, TODAY).rows
    assert (report.read, report.wrote) == ({"users": 40}, {"rows": 400, "fallback rows": lists})
    known = {row["user_id"]: row for row in users.to_pylist()}
    for row in found:
        user = known[row["user_id"]]
        assert row["video_id"] not in REMOVED | set(user["watched"])
        assert user["country"] != "DE" or row["video_id"] not in BLOCKED_IN_DE
    manifest = space.lake.manifest(RECOMMENDATIONS, TODAY)
    assert manifest.parameters["as_of"] == iso(SECOND)
    assert manifest.inputs.keys() == {"wals", "towers", "serving", "user_features", "query_text"}

    assert space.run(recommend, "--as-of", iso(SECOND)).up_to_date
    shorter = Workspace(space.home, {**SETTINGS, "recommend": SETTINGS["recommend"] | {"k": 3}})
    assert shorter.run(recommend, "--as-of", iso(SECOND)).wrote["rows"] == 120
    top = [tuple(row[key] for key in keys) for row in found if row["rank"] <= 3]
    rows = space.lake.read(RECOMMENDATIONS, [TODAY]).to_pylist()
    assert [tuple(row[key] for key in keys) for row in rows] == top


ALL = [0, 1, 2]  # 40 users in batches of 16


def disturbed(monkeypatch, space, *options, by, stop_after=None):
    """Run the stage, whose parts are made ``by`` something; the numbers of those that were to be made, and the report."""
    asked = []

    def some(context, parts, make, *, weights):
        asked.extend(part.number for part in parts)
        by(context, parts[:stop_after], make, weights=weights[:stop_after])
        if stop_after is not None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recommend, "by_spark", some)
        try:
            return asked, space.run(recommend, "--as-of", iso(SECOND), *options)
        except KeyboardInterrupt:
            return asked, None


def here(_, parts, make, *, weights):
    assert len(weights) == len(parts)
    make(parts)


def lists(space):
    return tree(space.lake.root / RECOMMENDATIONS.name)


def kept(space):
    """What the run folder keeps of lists that are not live."""
    return sorted(path.name for path in (space.home / "runs" / "20260108T000000Z").glob("lists/*/*"))


@pytest.mark.spark
def test_a_run_that_was_killed_goes_on_with_the_missing_parts_and_ends_with_the_same_bytes(spark, space, tmp_path, monkeypatch):
    whole, killed = (space.copy_to(tmp_path / name, SETTINGS) for name in ("whole", "killed"))
    assert whole.run(recommend, "--as-of", iso(SECOND)).notes == []
    by_spark, before = recommend.by_spark, lists(killed)
    assert disturbed(monkeypatch, killed, by=by_spark, stop_after=1) == (ALL, None)
    assert disturbed(monkeypatch, killed, by=by_spark, stop_after=1) == ([1, 2], None)
    assert (lists(killed), kept(killed)) == (before, ["part-00000.parquet", "part-00001.parquet"])
    asked, report = disturbed(monkeypatch, killed, by=by_spark)
    assert (asked, report.notes) == ([2], ["resumed: 2 of 3 parts were there"])
    assert lists(killed) == lists(whole)
    assert len(lists(killed)) == len(ALL) + 1
    assert not (killed.home / "runs" / "20260108T000000Z" / "lists").exists()


def test_what_other_settings_users_or_force_left_is_not_gone_on_from(space, tmp_path, monkeypatch):
    killed = space.copy_to(tmp_path / "killed", SETTINGS)
    assert disturbed(monkeypatch, killed, by=here, stop_after=2) == (ALL, None)
    other = Workspace(killed.home, {**SETTINGS, "recommend": SETTINGS["recommend"] | {"k": 7}})
    assert disturbed(monkeypatch, other, by=here, stop_after=2) == (ALL, None)
    assert kept(other) == ["part-00000.parquet", "part-00001.parquet"]
    users = other.lake.read(USER_FEATURES, [TODAY])
    other.lake.write(USER_FEATURES, TODAY, users.slice(1), MADE_BY_HAND)
    asked, report = disturbed(monkeypatch, other, by=here)
    assert (asked, report.notes, report.wrote["rows"]) == (ALL, [], 39 * 7)
    assert other.lake.read(RECOMMENDATIONS, [TODAY])["rank"].to_pylist() == list(range(1, 8)) * 39


def test_forced_it_makes_all_parts_afresh(space, tmp_path, monkeypatch):
    killed = space.copy_to(tmp_path / "killed", SETTINGS)
    disturbed(monkeypatch, killed, by=here, stop_after=2)
    asked, report = disturbed(monkeypatch, killed, "--force", by=here)
    assert (asked, report.notes) == (ALL, [])


def test_killed_before_it_tidied_up_the_next_run_does(space, tmp_path, monkeypatch):
    done = space.copy_to(tmp_path / "done", SETTINGS)
    disturbed(monkeypatch, done, by=here)
    left = done.home / "runs" / "20260108T000000Z" / "lists" / "0123"
    left.mkdir(parents=True)
    assert disturbed(monkeypatch, done, by=here)[1].up_to_date
    assert not left.parent.exists()


def test_no_users_no_lists(space, tmp_path, monkeypatch):
    empty = space.copy_to(tmp_path / "empty", SETTINGS)
    empty.lake.write(USER_FEATURES, TODAY, arrow(USER_FEATURES, []), MADE_BY_HAND)
    asked, report = disturbed(monkeypatch, empty, by=here)
    assert (asked, report.read, report.wrote["rows"]) == ([], {"users": 0}, 0)
    assert empty.lake.read(RECOMMENDATIONS, [TODAY]).num_rows == 0


def test_users_out_of_order_are_refused(space, tmp_path):
    mixed = space.copy_to(tmp_path / "mixed", SETTINGS)
    users = mixed.lake.read(USER_FEATURES, [TODAY])
    mixed.lake.write(USER_FEATURES, TODAY, users.take([1, 0]), MADE_BY_HAND)
    with pytest.raises(ReelflowError, match="user_features, dt=2026-01-07: found users out of order or twice"):
        mixed.run(recommend, "--as-of", iso(SECOND))
