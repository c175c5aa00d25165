import dataclasses
from datetime import timedelta
from itertools import count
from pathlib import Path
from urllib.parse import urlparse

import pytest
from mlflow.tracking import MlflowClient

from jobs._tracking import PUBLISHED, ROLLED_BACK, Tracker
from jobs._window import iso
from models.bundle import BundleError, seal
from schemas.errors import ReelflowError
from tests.builders import moment

NUMBER = count(1)
DAY = moment("2026-01-08T00:00")


@pytest.fixture(scope="module")
def space(new_workspace):
    return new_workspace()


@pytest.fixture(scope="module")
def tracker(space):
    with space.environment():
        return Tracker.open()


@pytest.fixture(scope="module")
def client(space, tracker):
    return MlflowClient(tracking_uri=f"sqlite:///{space.home / 'mlflow' / 'mlflow.db'}")


@pytest.fixture
def kind():
    """A kind of bundle that no other test registers."""
    return f"kind{next(NUMBER)}"


@pytest.fixture
def bundle(tmp_path, kind):
    """A function that seals a bundle of some content as of so many days after 2026-01-08."""

    def make(day, content="a"):
        folder = tmp_path / f"{day}{content}"
        (folder / "final").mkdir(parents=True)
        (folder / "final" / "weights").write_text(content)
        recipe = {"inputs": {"examples": "abc"}, "code_version": "c0de", "parameters": {"wals": {"factors": 8}, "window": "w"}}
        properties = {"as_of": iso(DAY + timedelta(days=day)), "recipe": recipe}
        return seal(folder, kind=kind, properties=properties)

    return make


def aliases(client, kind):
    """The digest behind each alias."""
    model = client.get_registered_model(f"reelflow-{kind}")
    return {alias: client.get_model_version(model.name, version).tags["digest"] for alias, version in model.aliases.items()}


def test_everything_lies_in_the_workspace(space, tracker):
    assert {path.name for path in (space.home / "mlflow").iterdir()} >= {"mlflow.db"}
    with space.environment():
        assert Tracker.open()._experiment_id == tracker._experiment_id


class TestRegister:
    def test_a_run_tells_what_was_trained_from_what(self, tracker, client, bundle, kind):
        made = bundle(0)
        history = [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}]
        version = client.get_model_version(f"reelflow-{kind}", tracker.register(made, {"ndcg@10": 0.125}, history))
        assert version.tags == {
            "as_of": "2026-01-08T00:00:00Z",
            "digest": made.digest,
            "code_version": "c0de",
            "input.examples": "abc",
        }
        run = client.get_run(version.run_id)
        assert run.data.params == {"wals.factors": "8", "window": "w"}
        assert run.data.metrics == {"ndcg_at_10": 0.125, "train_loss": 0.25}
        steps = client.get_metric_history(version.run_id, "train_loss")
        assert [(step.step, step.value) for step in steps] == [(1, 0.5), (2, 0.25)]
        assert run.info.status == "FINISHED"
        assert aliases(client, kind) == {"candidate": made.digest}

    def test_the_same_bundle_is_one_version(self, tracker, client, bundle, kind):
        first, second = bundle(0), bundle(1)
        version = tracker.register(first, {})
        assert tracker.register(second, {}) != version
        assert tracker.register(first, {}) == version
        assert len(client.search_model_versions(f"name='reelflow-{kind}'")) == 2

    def test_the_candidate_never_moves_to_an_older_day(self, tracker, client, bundle, kind):
        newer, older = bundle(1), bundle(0)
        tracker.register(newer, {})
        tracker.register(older, {})
        assert aliases(client, kind) == {"candidate": newer.digest}

    def test_the_candidate_moves_to_what_was_trained_again(self, tracker, client, bundle, kind):
        first, again = bundle(0, "a"), bundle(0, "b")
        tracker.register(first, {})
        tracker.register(again, {})
        assert aliases(client, kind) == {"candidate": again.digest}
        tracker.register(first, {})
        assert aliases(client, kind) == {"candidate": first.digest}


def publish(tracker, made, standing=PUBLISHED):
    tracker.note_publication(made, made.digest)
    tracker.set_standing(tracker.of_publication(made.kind, made.digest), standing)


class TestAttach:
    def test_a_file_lies_with_the_run_and_replaces_the_one_before(self, tracker, client, bundle, kind, tmp_path):
        made = bundle(0)
        version = client.get_model_version(f"reelflow-{kind}", tracker.register(made, {}))
        page = tmp_path / "index.html"
        for content in ("first", "second"):
            page.write_text(content)
            tracker.attach(made, page, "evaluation")
        folder = Path(urlparse(client.get_run(version.run_id).info.artifact_uri).path)
        assert [(path.name, path.read_text()) for path in (folder / "evaluation").iterdir()] == [("index.html", "second")]

    def test_a_stranger_has_no_run_and_that_is_no_error(self, tracker, bundle, tmp_path):
        page = tmp_path / "index.html"
        page.write_text("page")
        tracker.attach(bundle(5), page, "evaluation")


class TestPublications:
    def test_a_bundle_is_found_by_its_publication(self, tracker, bundle, kind):
        first, again = bundle(0, "a"), bundle(0, "b")
        for made, publication in ((first, "20260107T000000Z-aaa"), (again, "20260107T000000Z-bbb")):
            tracker.register(made, {})
            tracker.note_publication(made, publication)
        assert tracker.of_publication(kind, "20260107T000000Z-aaa").digest == first.digest
        assert tracker.of_publication(kind, "20260107T000000Z-bbb").digest == again.digest
        assert tracker.of_publication(kind, "20260107T000000Z-ccc") is None

    def test_an_alias_names_a_bundle_or_nothing(self, tracker, client, bundle, kind):
        made = bundle(0)
        tracker.register(made, {})
        tracker.note_publication(made, "v")
        tracker.point(kind, "champion", tracker.of_publication(kind, "v"))
        assert tracker.at(kind, "champion").digest == made.digest
        tracker.point(kind, "champion", None)
        tracker.point(kind, "champion", None)
        assert aliases(client, kind) == {"candidate": made.digest}


class TestIncumbent:
    def test_it_is_the_newest_published_strictly_before(self, tracker, bundle, kind):
        days = [bundle(day) for day in range(4)]
        for made in days:
            tracker.register(made, {})
        for made in (days[0], days[2], days[3]):  # day 1 was trained and never published
            publish(tracker, made)
        found = {day: tracker.incumbent(kind, DAY + timedelta(days=day)) for day in range(5)}
        assert found[0] is None
        assert {day: published.digest for day, published in found.items() if published} == {
            1: days[0].digest,
            2: days[0].digest,
            3: days[2].digest,
            4: days[3].digest,
        }
        assert found[4].as_of == DAY + timedelta(days=3)
        assert found[4].kind == kind

    def test_of_one_day_it_is_the_last_registered(self, tracker, bundle, kind):
        first, again = bundle(0, "a"), bundle(0, "b")
        for made in (first, again):
            tracker.register(made, {})
            publish(tracker, made)
        assert tracker.incumbent(kind, DAY + timedelta(days=1)).digest == again.digest

    def test_what_was_rolled_back_is_none(self, tracker, bundle, kind):
        first, second = bundle(0), bundle(1)
        for made, standing in ((first, PUBLISHED), (second, ROLLED_BACK)):
            tracker.register(made, {})
            publish(tracker, made, standing)
        assert tracker.incumbent(kind, DAY + timedelta(days=2)).digest == first.digest

    def test_a_published_day_behind_the_champion_counts_too(self, tracker, bundle, kind):
        older, newer = bundle(0), bundle(2)
        for made in (newer, older):
            tracker.register(made, {})
            publish(tracker, made)
        assert tracker.incumbent(kind, DAY + timedelta(days=1)).digest == older.digest

    def test_nothing_registered_means_none(self, tracker, kind):
        assert tracker.incumbent(kind, DAY) is None


class TestFetch:
    @pytest.fixture
    def published(self, tracker, bundle, kind):
        made = bundle(0)
        tracker.register(made, {})
        publish(tracker, made)
        (made.path / "final" / "weights").write_text("trained again since")
        return made, tracker.incumbent(kind, DAY + timedelta(days=1))

    def test_it_is_what_was_logged_whatever_was_trained_since(self, tracker, published):
        made, known = published
        found = tracker.fetch(known)
        assert (found.digest, found.kind, found.properties) == (made.digest, made.kind, made.properties)
        assert (found.path / "final" / "weights").read_text() == "a"

    def test_a_damaged_artifact_is_refused(self, tracker, published):
        _, known = published
        (Path(urlparse(known.source).path) / "final" / "weights").write_text("b")
        with pytest.raises(BundleError, match=r"file final/weights has sha256 .* it is damaged"):
            tracker.fetch(known)

    def test_a_whole_bundle_in_its_place_is_refused(self, tracker, published):
        made, known = published
        folder = Path(urlparse(known.source).path)
        (folder / "final" / "weights").write_text("b")
        seal(folder, kind=made.kind, properties=made.properties)
        with pytest.raises(BundleError, match=known.digest):
            tracker.fetch(known)

    def test_another_kind_is_refused(self, tracker, published):
        with pytest.raises(BundleError, match="expected other in format 1"):
            tracker.fetch(dataclasses.replace(published[1], kind="other"))


class TestAnnotate:
    def test_figures_go_to_the_run_and_tags_to_the_version(self, tracker, client, bundle, kind):
        made = bundle(0)
        version = tracker.register(made, {})
        tracker.annotate(made, {"recall@10": 0.5}, {"gate": "passed"})
        found = client.get_model_version(f"reelflow-{kind}", version)
        assert found.tags["gate"] == "passed"
        assert client.get_run(found.run_id).data.metrics == {"recall_at_10": 0.5}

    def test_a_stranger_is_left_alone(self, tracker, client, bundle, kind):
        known, stranger = bundle(0), bundle(1)
        version = tracker.register(known, {})
        tracker.annotate(stranger, {"recall@10": 0.5}, {"gate": "passed"})
        assert "gate" not in client.get_model_version(f"reelflow-{kind}", version).tags


class TestTrouble:
    """Of the server or database: one line, and no password."""

    @pytest.mark.parametrize(
        ("uri", "said"),
        [
            ("nosuch://x", "mlflow nosuch://x: cannot open: "),
            (
                "http://ann:geheim@127.0.0.1:9",
                "mlflow http://127.0.0.1:9: cannot get experiment by name: API request to http://127.0.0.1:9",
            ),
        ],
    )
    def test_is_said_in_one_line(self, new_workspace, monkeypatch, uri, said):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        with new_workspace({"mlflow": {"tracking_uri": uri}}).environment(), pytest.raises(ReelflowError) as raised:
            Tracker.open()
        assert str(raised.value).startswith(said)
        assert len(str(raised.value).splitlines()) == 1
        assert "geheim" not in str(raised.value)
        assert str(raised.value).endswith("start it, or mend mlflow.tracking_uri")

    def test_a_deleted_experiment_is_refused(self, new_workspace):
        with new_workspace().environment():
            tracker = Tracker.open()
            tracker._client.delete_experiment(tracker._experiment_id)
            with pytest.raises(ReelflowError, match="found the experiment reelflow deleted; expected an active one"):
                Tracker.open()
