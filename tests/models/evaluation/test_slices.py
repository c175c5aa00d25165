import numpy as np
import pyarrow as pa

from models import evaluation
from models.evaluation import People
from models.evaluation._slices import slices
from schemas import USER_FEATURES
from tests.builders import NO_HISTORY, arrow
from tests.models.evaluation.planted import AT, CONFIG, EXAMPLES_TABLE, USERS, VIDEOS, world_of

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


class TestExamples:
    people = People(
        ids=np.array([3, 5, 8]),
        known=np.array([True, False, True]),
        acted=np.array([0, 4, 100]),
        country=pa.array(["DE", "DE", None]),
        language=pa.array(["en", "en", "en"]),
    )
    users = np.array([8, 3, 5, 5, 8])

    def test_they_are_cut_by_their_users_and_by_their_videos(self):
        young = np.array([True, False, False, True, False])
        found, notes = evaluation.slices_of_examples(CONFIG, self.people, self.users, young)
        assert {(one.kind, one.value): (one.rows.tolist(), one.whole_users) for one in found} == {
            ("users", "known"): ([0, 1, 4], True),
            ("users", "new"): ([2, 3], True),
            ("activity", "0"): ([1], True),
            ("activity", "1 to 4"): ([2, 3], True),
            ("activity", "100 or more"): ([0, 4], True),
            ("country", "DE"): ([1, 2, 3], True),
            ("country", "other"): ([0, 4], True),  # one user without a country
            ("videos", "new"): ([0, 3], False),
            ("videos", "older"): ([1, 2, 4], False),
        }
        assert notes == ["No slices of the probabilities by language (all 'en')."]

    def test_what_all_have_in_common_is_no_slice(self):
        one = People(np.array([3]), np.array([True]), np.array([0]), pa.array([None], pa.string()), pa.array(["en"]))
        found, notes = evaluation.slices_of_examples(CONFIG, one, np.array([3, 3]), np.array([True, True]))
        assert found == []
        assert notes == [
            "No slices of the probabilities by users (all 'known'), activity (all '0'), country (all 'other'), "
            "language (all 'other'), videos (all 'new')."
        ]

    def test_users_are_as_they_were_at_the_moment(self):
        rows = USERS.set_column(USERS.schema.get_field_index("country"), "country", pa.array(["a", "b", "c", "d"]))  # of 4 to 1
        ids, known = np.array([1, 2, 3, 99]), np.array([True, True, False, False])
        found = evaluation.people_of(ids, rows, EXAMPLES_TABLE, np.array([12, 11, 10]), known=known, at=AT)
        # 1 clicked on 10 and 3 disliked 12 before; what came later, or was only shown, does not count.
        assert found.acted.tolist() == [1, 0, 1, 0]
        assert found.country.to_pylist() == ["d", "c", "b", None]
        assert found.known is known

    def test_new_videos_were_uploaded_within_the_days_before(self):
        assert evaluation.young_videos(CONFIG, VIDEOS, AT).tolist() == [True, True, True]
