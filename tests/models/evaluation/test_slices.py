import numpy as np
import pyarrow as pa

from models.evaluation._slices import slices
from schemas import USER_FEATURES
from tests.builders import NO_HISTORY, arrow
from tests.models.evaluation.planted import CONFIG, world_of

COUNTRIES = ["DE", "DE", "DE", "FR", "FR", "IT", None, None, "US", "US"]


def cut(config=CONFIG, countries=COUNTRIES, watched=None):
    """Slices of users whose only differences are these."""
    watched = watched or [[]] * len(countries)
    world = world_of()
    users = [
        {"user_id": n, "interaction_count": 0, "country": country, "language": "en", "watched": seen, **NO_HISTORY}
        for n, (country, seen) in enumerate(zip(countries, watched, strict=True))
    ]
    relevant = world.relevant[[0] * len(users)]
    found, notes = slices(
        config,
        type(world)(arrow(USER_FEATURES, users), world.videos, world.queries, relevant, world.at),
        np.arange(len(users)) < 4,
    )
    return {(one.kind, one.value): one.members.tolist() for one in found if one.members is not None}, notes


def test_users_are_cut_by_what_is_known_of_them():
    found, notes = cut()
    assert found["users", "known"] == [0, 1, 2, 3]
    assert found["users", "new"] == [4, 5, 6, 7, 8, 9]
    assert "No slices by language: all judged users are 'en'." in notes


def test_rare_countries_are_counted_together_and_missing_ones_are_their_own():
    found, _ = cut()
    assert {value: members for (kind, value), members in found.items() if kind == "country"} == {
        "DE": [0, 1, 2],
        "FR": [3, 4],
        "US": [8, 9],
        "other": [5, 6, 7],  # three are named at most, and one of them is a single user
    }
    assert [value for kind, value in found if kind == "country"][-1] == "other"


def test_a_missing_value_can_be_a_slice():
    found, _ = cut(CONFIG.model_copy(update={"max_slice_values": 10}))
    assert found["country", "unknown"] == [6, 7]
    assert found["country", "other"] == [5]


def test_activity_is_what_was_acted_on_before():
    found, _ = cut(countries=[None] * 4, watched=[[], list(range(4)), list(range(5)), list(range(100))])
    assert {value: members for (kind, value), members in found.items() if kind == "activity"} == {
        "0": [0], "1 to 4": [1], "5 to 19": [2], "100 or more": [3],
    }  # fmt: skip


def test_a_single_country_is_no_slice():
    found, notes = cut(countries=["DE"] * 3)
    assert not [value for kind, value in found if kind == "country"]
    assert "No slices by country: all judged users are 'DE'." in notes


def test_the_world_is_left_as_it_was():
    world = world_of()
    before = world.relevant.toarray().tolist()
    slices(CONFIG, world, np.ones(world.users.num_rows, dtype=bool))
    assert world.relevant.toarray().tolist() == before
    assert isinstance(world.users, pa.Table)
