from datetime import timedelta

import pytest
from mlflow.tracking import MlflowClient

from jobs import _registry
from jobs._tracking import Tracker
from jobs._window import iso
from models.bundle import seal
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, SCORE_PARTS
from serving import Publication, SqliteStore
from tests.builders import arrow, moment

pytestmark = pytest.mark.slow

DAY = moment("2026-01-08T00:00")
TEXT = {"sources": "wals:1", "reason": "picked for you"}
ROW = {"user_id": 1, "rank": 1, "video_id": 7, "score": 1.0, "rules": "", "propensity": 1.0, **dict.fromkeys(SCORE_PARTS, 0.0)}


class World:
    """A store and a registry in which a day's bundles can be published by hand."""

    def __init__(self, space, folder):
        self.folder = folder
        self.store = SqliteStore(space.home / "store.sqlite")
        with space.environment():
            self.tracker = Tracker.open()
        self.client = MlflowClient(tracking_uri=f"sqlite:///{space.home / 'mlflow' / 'mlflow.db'}")

    def bundles(self, day, content="a"):
        made = []
        for kind in _registry.KINDS:
            place = self.folder / f"{kind}-{day}-{content}"
            place.mkdir()
            (place / "weights").write_text(content)
            recipe = {"inputs": {}, "code_version": "c0de", "parameters": {}}
            made.append(seal(place, kind=kind, properties={"as_of": iso(DAY + timedelta(days=day)), "recipe": recipe}))
        return made

    def publish(self, day, bundles, name):
        _registry.note(self.tracker, bundles, name)
        as_of = DAY + timedelta(days=day)
        publication = Publication(
            as_of=as_of, generation=self.store.next_generation(), model_version=name, expires_at=as_of + timedelta(days=2)
        )
        rows = arrow(RECOMMENDATIONS, [ROW | TEXT]).to_batches()
        fallback = arrow(FALLBACK_RECOMMENDATIONS, [{"segment": "all", "rank": 1, "video_id": 8, "score": 0.0, **TEXT}])
        self.store.publish(publication, rows, fallback, 3)

    def follow(self):
        _registry.follow(self.store, self.tracker)
        return self.aliases()

    def aliases(self):
        """The kinds' aliases, which must agree: alias to as_of and content."""
        found = []
        for kind in _registry.KINDS:
            model = self.client.get_registered_model(f"reelflow-{kind}")
            versions = {alias: self.client.get_model_version(model.name, version) for alias, version in model.aliases.items()}
            found.append({alias: version.tags["as_of"][8:10] for alias, version in versions.items() if alias != "candidate"})
        assert all(one == found[0] for one in found)
        return found[0]

    def incumbent(self, day):
        found = self.tracker.incumbent("wals", DAY + timedelta(days=day))
        return found.as_of.day if found else None


@pytest.fixture(scope="module")
def empty(new_workspace):
    """A workspace whose tracking database is made."""
    space = new_workspace()
    with space.environment():
        Tracker.open()
    return space


@pytest.fixture
def world(empty, tmp_path):
    return World(empty.copy_to(tmp_path / "home"), tmp_path)


def three_days(world):
    for day in range(3):
        world.publish(day, world.bundles(day), f"v{day}")
    return world.follow()


def test_all_kinds_follow_what_is_live(world):
    assert three_days(world) == {"champion": "10", "previous": "09"}
    assert world.follow() == {"champion": "10", "previous": "09"}


def test_they_go_back_and_forth_with_it(world):
    three_days(world)
    world.store.rollback()
    assert world.follow() == {"champion": "09", "previous": "08"}
    world.store.rollback()
    assert world.follow() == {"champion": "08"}
    world.store.rollback(3)
    assert world.follow() == {"champion": "10", "previous": "08"}


def test_what_was_rolled_back_is_nobodys_incumbent(world):
    three_days(world)
    assert world.incumbent(3) == 10
    world.store.rollback()
    world.follow()
    assert world.incumbent(3) == 9
    world.store.rollback(3)
    world.follow()
    assert world.incumbent(3) == 10


def test_a_superseded_day_moves_nothing(world):
    for day in (0, 2):
        world.publish(day, world.bundles(day), f"v{day}")
    world.follow()
    world.publish(1, world.bundles(1), "v1")
    assert world.follow() == {"champion": "10", "previous": "08"}
    assert world.incumbent(2) == 8


def test_a_publisher_that_died_before_the_aliases_is_caught_up_with(world):
    world.publish(0, world.bundles(0), "v0")
    world.follow()
    world.publish(1, world.bundles(1), "v1")
    assert world.aliases() == {"champion": "08"}
    world.publish(2, world.bundles(2), "v2")
    assert world.follow() == {"champion": "10", "previous": "09"}


def test_one_bundle_in_two_publications_counts_by_the_one_that_stands(world):
    world.publish(0, world.bundles(0), "v0")
    made = world.bundles(1)
    for name in ("v1", "v1b"):
        world.publish(1, made, name)
    assert world.follow() == {"champion": "09", "previous": "08"}
    world.store.rollback()  # to v1, of the same bundles
    assert world.follow() == {"champion": "09", "previous": "08"}
    assert world.incumbent(2) == 9


def test_versions_from_before_the_notes_move_nothing(world):
    three_days(world)
    as_of = DAY + timedelta(days=3)
    rows = arrow(RECOMMENDATIONS, [ROW | TEXT]).to_batches()
    fallback = arrow(FALLBACK_RECOMMENDATIONS, [{"segment": "all", "rank": 1, "video_id": 8, "score": 0.0, **TEXT}])
    unknown = Publication(as_of=as_of, generation=9, model_version="unknown", expires_at=as_of + timedelta(days=2))
    world.store.publish(unknown, rows, fallback, 3)
    assert world.follow() == {"champion": "10", "previous": "09"}
