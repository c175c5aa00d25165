import pytest

from jobs import _worker, recommend
from jobs._tables import Partition
from jobs._window import DAY, iso
from models.ensemble import load_catalogue
from schemas import FALLBACK_RECOMMENDATIONS, QUERY_TEXT, RECOMMENDATIONS, USER_FEATURES, VIDEO_FEATURES
from tests.builders import Workspace, stage_context
from tests.jobs.planted import BLOCKED_IN_DE, REMOVED, SECOND, SETTINGS, build_index, planted, train

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
