import numpy as np
import pytest

from jobs import text
from jobs._tables import Partition
from models.text import Encoder, VectorCache
from schemas import QUERY_TEXT, VIDEO_TEXT
from tests.builders import (
    Workspace,
    interaction,
    moment,
    stage_context,
    tree,
    window,
    write_interactions,
    write_versions,
)

pytestmark = pytest.mark.slow

AS_OF = "2026-01-08T00:00:00Z"
DAY = window("2026-01-07T00:00", "2026-01-08T00:00")
FOOD, SPORT = ["pasta", "bread", "soup", "cheese"], ["goal", "team", "cup", "striker"]
VIDEOS_BY_HAND = [
    {"video_id": 9, "title": "how to bake bread at home", "tags": ["Pasta", "bread"]},
    {"video_id": 10, "title": "Baking bread at home", "tags": ["pasta", "BREAD"]},
    {"video_id": 11, "title": "football goals of the week", "tags": ["goal", "team", "never seen elsewhere"]},
    {"video_id": 12, "title": None, "tags": None},
    {"video_id": 13, "title": " \t", "tags": ["never seen elsewhere either"]},
    {"video_id": 14, "title": "FOOTBALL  goals of the week ", "tags": []},
    *({"video_id": 20 + n, "title": f"clip {n}", "tags": (FOOD, SPORT)[n % 2][n % 3 : n % 3 + 2]} for n in range(60)),
]
EVENTS = [
    interaction("1", "search", moment("09:00"), 1, None, query="bread"),
    interaction("2", "search", moment("09:01"), 2, None, query=" Bread"),
    interaction("3", "search", moment("10:00"), 1, None, query="clip 7"),
    interaction("4", "search", moment("10:01"), 1, None, query=" "),
    interaction("5", "watch", moment("11:00"), 1, 10),
    interaction("x", "search", moment("2025-11-01T09:00"), 1, None, query="before the look-back"),
]


def fill(space, videos=VIDEOS_BY_HAND, events=EVENTS):
    write_versions(space.lake, moment("00:00"), videos, [])
    write_interactions(space.lake, events[:-1], DAY)
    write_interactions(space.lake, events[-1:], window("2025-11-01T09:00", "2025-11-01T10:00"))
    return space


def run(space, *options):
    return space.run(text, "--as-of", AS_OF, *options)


def rows(space):
    """The rows of ``video_text`` by video, vectors as arrays."""
    found = space.rows(VIDEO_TEXT, DAY)
    return {
        row["video_id"]: {name: row[name] and np.array(row[name]) for name in ("title_vector", "tags_vector")} for row in found
    }


@pytest.fixture
def encoded(monkeypatch):
    """Every text that goes through the encoder, in a list."""
    seen = []
    original = Encoder.encode

    def encode(self, texts, chunk):
        seen.extend(texts)
        return original(self, texts, chunk)

    monkeypatch.setattr(Encoder, "encode", encode)
    return seen


@pytest.fixture(scope="module")
def made(new_workspace):
    """A lake of 66 videos by hand and what the stage makes of it."""
    space = fill(new_workspace())
    return space, run(space)


class TestTables:
    def test_like_titles_are_near_and_unlike_ones_are_not(self, made):
        found = {key: row["title_vector"] for key, row in rows(made[0]).items()}
        assert found[9] @ found[10] > 0.85
        assert found[9] @ found[11] < 0.2
        assert np.linalg.norm(found[9]) == pytest.approx(1, abs=1e-6)

    def test_letter_case_and_white_space_do_not_count(self, made):
        found = rows(made[0])
        assert found[11]["title_vector"].tolist() == found[14]["title_vector"].tolist()
        assert found[9]["tags_vector"].tolist() == found[10]["tags_vector"].tolist()

    def test_tags_that_go_together_are_near(self, made):
        found = {key: row["tags_vector"] for key, row in rows(made[0]).items()}
        assert found[9].shape == (64,)
        assert found[9] @ found[20] > 0.8  # pasta, bread
        assert found[9] @ found[11] < 0.2
        assert np.linalg.norm(found[9]) == pytest.approx(1, abs=1e-6)

    def test_what_is_not_there_is_null(self, made):
        found = rows(made[0])
        absent = {key: tuple(name for name, vector in row.items() if vector is None) for key, row in found.items()}
        assert {key: names for key, names in absent.items() if names} == {
            12: ("title_vector", "tags_vector"),
            13: ("title_vector", "tags_vector"),
            14: ("tags_vector",),
        }

    def test_queries_of_the_look_back_are_told_once_in_order(self, made):
        found = made[0].rows(QUERY_TEXT, DAY)
        assert [row["query"] for row in found] == ["bread", "clip 7"]
        assert found[1]["vector"] == rows(made[0])[27]["title_vector"].tolist()
        assert np.array(found[0]["vector"]) @ rows(made[0])[9]["title_vector"] > 0.4

    def test_rows_are_in_order_of_the_video(self, made):
        assert list(rows(made[0])) == sorted(row["video_id"] for row in VIDEOS_BY_HAND)

    def test_the_report(self, made):
        report = made[1]
        assert report.read == {"video versions": 66, "queries": 2}
        assert report.wrote == {"video text": 66, "query text": 2}
        assert report.notes == ["encoded 64 of 64 texts", "8 tags trained"]


class TestWhatIsDoneAgain:
    def test_a_second_run_does_nothing(self, made, encoded):
        assert run(made[0]).up_to_date
        assert encoded == []

    def test_by_force_nothing_is_encoded_or_trained_and_bytes_stay(self, made, encoded, monkeypatch):
        monkeypatch.setattr(text, "train_tags", None)
        before = tree(made[0].lake.root)
        assert run(made[0], "--force").notes == ["encoded 0 of 64 texts", "8 tags as before"]
        assert encoded == []
        assert tree(made[0].lake.root) == before

    def test_a_new_title_is_encoded_alone(self, workspace, new_workspace, encoded, monkeypatch):
        run(fill(workspace))
        encoded.clear()
        changed = [{**row, "title": "a new one"} if row["video_id"] == 9 else row for row in VIDEOS_BY_HAND]
        changed.append({"video_id": 99, "title": "clip 3", "tags": None})
        fill(workspace, changed)
        monkeypatch.setattr(text, "train_tags", None)  # the tags are the same
        assert run(workspace).notes == ["encoded 1 of 64 texts", "8 tags as before"]
        assert encoded == ["a new one"]
        monkeypatch.undo()
        other = fill(new_workspace(), changed)
        run(other)
        assert tree(other.lake.root) == tree(workspace.lake.root)

    def test_new_tags_are_trained(self, workspace, encoded):
        run(fill(workspace))
        fill(workspace, [*VIDEOS_BY_HAND, {"video_id": 99, "tags": ["pasta", "soup"]}])
        assert run(workspace).notes == ["encoded 0 of 64 texts", "8 tags trained"]

    def test_a_killed_run_goes_on_where_it_stopped(self, made, new_workspace, encoded, monkeypatch):
        space = fill(new_workspace({"text": {"chunk": 32, "threads": 1}}))
        put, chunks = VectorCache.put, []

        def killed_at_the_second(self, *given):
            if chunks:
                raise KeyboardInterrupt
            chunks.append(given[1])
            put(self, *given)

        with monkeypatch.context() as patch:
            patch.setattr(VectorCache, "put", killed_at_the_second)
            with pytest.raises(KeyboardInterrupt):
                run(space)
        assert 0 < len(chunks[0]) < 64
        assert not space.rows(VIDEO_TEXT, DAY)
        encoded.clear()
        assert run(space).facts["encoded"] == len(encoded) == 64 - len(chunks[0])
        assert not set(encoded) & set(chunks[0])
        assert tree(space.lake.root) == tree(made[0].lake.root)

    def test_without_the_cache_the_same_bytes_are_made_again(self, made, encoded):
        space = made[0]
        before = tree(space.lake.root)
        (space.home / "cache" / "text.sqlite").unlink()
        assert run(space).up_to_date
        run(space, "--force")
        assert len(encoded) == 64
        assert tree(space.lake.root) == before


class TestEdges:
    def test_an_empty_catalogue_and_no_queries(self, workspace):
        write_versions(workspace.lake, moment("00:00"), [], [])
        assert run(workspace).wrote == {"video text": 0, "query text": 0}
        assert workspace.lake.read(VIDEO_TEXT, [Partition(moment("00:00").date())]).num_rows == 0

    def test_videos_without_any_text(self, workspace):
        write_versions(workspace.lake, moment("00:00"), [{"video_id": 1}, {"video_id": 2, "tags": ["once"]}], [])
        run(workspace)
        nothing = {"valid_from": moment("2026-01-01T00:00"), "title_vector": None, "tags_vector": None}
        assert workspace.rows(VIDEO_TEXT, DAY) == [{"video_id": n, **nothing} for n in (1, 2)]

    def test_every_version_has_its_own_row_in_order(self, made, workspace):
        renamed = {"video_id": 9, "title": "football goals of the week", "tags": None, "valid_from": moment("2026-01-03T00:00")}
        run(fill(workspace, [renamed, *VIDEOS_BY_HAND]))
        found = workspace.rows(VIDEO_TEXT, DAY)
        assert [(row["video_id"], row["valid_from"].day) for row in found[:3]] == [(9, 1), (9, 3), (10, 1)]
        before = {row["video_id"]: row for row in made[0].rows(VIDEO_TEXT, DAY)}
        assert found[0]["title_vector"] == before[9]["title_vector"]
        assert found[1] == {**before[11], "video_id": 9, "valid_from": renamed["valid_from"], "tags_vector": None}
        assert [row["video_id"] for row in found[1:]] == list(before)

    def test_more_rows_than_are_handled_at_once(self, made, new_workspace, monkeypatch):
        monkeypatch.setattr(text, "_ROWS_AT_ONCE", 7)
        space = fill(new_workspace({"text": {"cache": str(made[0].home / "cache" / "text.sqlite")}}))
        run(space)
        assert space.rows(VIDEO_TEXT, DAY) == made[0].rows(VIDEO_TEXT, DAY)
        assert space.rows(QUERY_TEXT, DAY) == made[0].rows(QUERY_TEXT, DAY)

    def test_without_a_catalogue_there_is_a_clear_error(self, workspace):
        status, _, error = workspace.command(text, "--as-of", AS_OF)
        assert status == 2
        assert "table video_versions: no partition dt=2026-01-07; run ingest as of 2026-01-08" in error

    def test_without_the_encoder_there_is_a_clear_error(self, tmp_path):
        space = fill(Workspace(tmp_path / "home", {"text": {"encoder": "models/absent"}}))
        status, _, error = space.command(text, "--as-of", AS_OF)
        assert status == 2
        assert error.count("\n") == 1
        assert f"text.encoder {space.home / 'models' / 'absent'}: found no folder" in error


class TestPlan:
    def units(self, space, pending=()):
        with space.environment():
            found = text.plan(stage_context("text", "--as-of", AS_OF), dict(pending))
        return {unit.name: (unit.partition.path, unit.status.state, unit.status.why) for unit in found}

    def test_it_tells_what_is_missing_and_what_is_made(self, made, workspace):
        assert self.units(fill(workspace)) == {
            "video_text": ("dt=2026-01-07", "missing", "never made"),
            "query_text": ("dt=2026-01-07", "missing", "never made"),
        }
        assert [state for _, state, _ in self.units(made[0]).values()] == ["up to date"] * 2

    def test_what_is_yet_to_be_made_makes_it_stale(self, made):
        day, hour = Partition(moment("00:00").date()), Partition.hour(moment("09:00"))
        assert self.units(made[0], {"video_versions": [day], "interactions": [hour]}) == {
            "video_text": ("dt=2026-01-07", "stale", "reads video_versions dt=2026-01-07, which is to be made"),
            "query_text": ("dt=2026-01-07", "stale", "reads interactions dt=2026-01-07/hr=09, which is to be made"),
        }

    def test_other_settings_and_events_make_stale_what_they_change(self, made, tmp_path):
        overlay = tmp_path / "overlay.yaml"
        overlay.write_text("text: {tags: {dim: 8}, chunk: 5, threads: 1, cache: elsewhere}")
        space = made[0]
        before = space.variables["REELFLOW_CONF"]
        try:
            space.variables["REELFLOW_CONF"] = str(overlay)
            found = self.units(space)
        finally:
            space.variables["REELFLOW_CONF"] = before
        assert found["video_text"][1] == "stale"
        assert found["video_text"][2].startswith("parameter tags:")
        assert found["query_text"][1] == "up to date"


def test_where_encoder_and_cache_lie_is_no_part_of_the_recipe(made):
    manifest = made[0].lake.manifest(VIDEO_TEXT, Partition(moment("00:00").date()))
    assert set(manifest.inputs) == {"video_versions", "encoder"}
    assert set(manifest.parameters) == {"max_characters", "tags"}
