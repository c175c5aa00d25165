"""Each invariance holds for models that are right by construction, and not for the planted ones that break it."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest

import conf
from models.gate import GateConfig
from schemas import columns as col
from tests.models.gate.planted import Changed, Ranker, all_of, declared, scene, with_models


@pytest.fixture(scope="module")
def good():
    return scene()


def that_count_rows(of):
    """Adds something to a user's vector by the row in which it is asked for."""
    return with_models(
        of, ranker=Changed(of.models.ranker, users=lambda v: v + np.arange(len(v))[:, None].astype(np.float32) % 7)
    )


@dataclass(frozen=True)
class Reader(Ranker):
    """Reads the title's text."""

    def video_vectors(self, videos, at):
        found = super().video_vectors(videos, at)
        found[:, -1] += [len(title) for title in videos[col.TITLE].to_pylist()]
        return found


@dataclass(frozen=True)
class Numerologist(Ranker):
    """Computes with the value of an id."""

    def user_vectors(self, users, queries, at):
        found = super().user_vectors(users, queries, at)
        found[:, 0] += (users[col.USER_ID].to_numpy() % 11).astype(np.float32)
        return found


def that_read_titles(of):
    return with_models(of, ranker=Reader())


def that_compute_with_ids(of):
    return with_models(of, ranker=Numerologist())


def that_draw_everywhere(of):
    """Exploration from the first place on, of which the declared slots say nothing."""
    explore = of.ranking.exploration.model_copy(update={"slots": (2, 3, 4, 5, 6, 7, 8, 9)})

    class Sloppy(type(of)):
        def listed(self, config, users):
            return super().listed(
                config.model_copy(
                    update={
                        "exploration": explore.model_copy(
                            update={"salt": config.exploration.salt, "new_days": 99.0, "temperature": 99.0}
                        )
                    }
                ),
                users,
            )

    return Sloppy(**{name: getattr(of, name) for name in of.__dataclass_fields__})


def that_push_away(of):
    """Towers of the wrong sign; WALS, which folds its users in, knows nothing."""
    wals = of.models.wals
    pushed = all_of(of, users=lambda v: -v)
    return with_models(pushed, wals=replace(wals, video_factors=np.zeros_like(wals.video_factors)))


BAD = {
    "row_order": that_count_rows,
    "unread_columns": that_read_titles,
    "unknown_ids": that_compute_with_ids,
    "draws": that_draw_everywhere,
    "one_like": that_push_away,
}


def test_every_declared_check_has_a_bad_model_that_it_catches():
    assert {one.check for one in conf.load("gate", GateConfig).invariance} == set(BAD)


@pytest.mark.parametrize("check", BAD)
def test_good_models_pass(good, check):
    found = declared("invariance", check)(good)
    assert found.passed, found.detail
    assert found.value is not None


@pytest.mark.parametrize("check", BAD)
def test_bad_models_do_not(good, check):
    found = declared("invariance", check)(BAD[check](good))
    assert not found.passed, found.detail
    assert found.value is not None


def test_a_column_that_no_table_has_is_said(good):
    found = declared("invariance", "unread_columns", columns=("username",))(good)
    assert "users: has none of them; videos: has none of them" in found.detail


def test_names_of_users_move_nothing(good):
    named = replace(good, users=good.users.append_column(col.USERNAME, pa.array([f"u{n}" for n in range(good.users.num_rows)])))
    found = declared("invariance", "unread_columns", columns=("username",))(named)
    assert (found.passed, found.value) == (True, 0.0)
    assert "users: username" in found.detail
