import pytest

from models.recommend import COMPONENTS
from schemas import USER_FEATURES
from tests.builders import NO_HISTORY, arrow
from tests.models.recommend.worlds import config


def user(number, watched, **more):
    return {"user_id": number, "interaction_count": 0, "watched": list(range(watched)), **NO_HISTORY, **more}


def test_a_user_is_of_the_first_segment_that_fits():
    weights = {"ranker": 1.0}
    chosen = config(
        segments=[
            {"name": "new", "max_watched": 0, "weights": weights},
            {"name": "german phones", "languages": ["de"], "devices": ["phone"], "weights": weights},
            {"name": "light", "max_watched": 5, "countries": ["FR", "BE"], "weights": weights},
            {"name": "others", "weights": weights},
        ]
    )
    users = arrow(
        USER_FEATURES,
        [
            user(1, 0, language="de", device="phone"),
            user(2, 1, language="de", device="phone"),
            user(3, 1, language="de", device="tv"),
            user(4, 5, country="BE"),
            user(5, 6, country="BE"),
            user(6, 3),
        ],
    )
    assert chosen.segment_of(users).tolist() == [0, 1, 3, 2, 3, 3]
    assert chosen.segment_of(users.slice(0, 0)).tolist() == []


def test_weights_are_read_and_replaced_by_name():
    chosen = config().weighed({"light": {"wals": 0.25}})
    matrix = chosen.weight_matrix()
    names = [segment.name for segment in chosen.segments]
    assert matrix[names.index("light")].tolist() == [0.25 if name == "wals" else 0 for name in COMPONENTS]
    assert chosen.weights["heavy"] == config().weights["heavy"]


def test_one_generator_alone_has_no_rules_and_no_exploration():
    chosen = config().alone("wals", "wals", 7)
    assert (chosen.generators, chosen.rules, chosen.exploration.slots) == ({"wals": 7}, (), ())
    assert set(map(str, chosen.weights.values())) == {"{'wals': 1.0}"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"segments": [{"name": "a", "max_watched": 1, "weights": {"wals": 1}}]}, "takes everybody"),
        (
            {"segments": [{"name": "a", "max_watched": 1, "weights": {"wals": 1}}, {"name": "a", "weights": {"wals": 1}}]},
            "once",
        ),
        ({"segments": [{"name": "a", "weights": {"ranker": 0.0}}]}, "one above 0"),
        ({"segments": [{"name": "a", "weights": {"ranker": -1.0, "wals": 1}}]}, "at least 0"),
        ({"segments": [{"name": "a", "weights": {"trending": 1.0}}]}, "trending"),
        ({"generators": {"wals": -1}}, "at least 0"),
        ({"generators": {"magic": 1}}, "magic"),
        ({"exploration": {**config().exploration.model_dump(), "slots": (3, 2)}}, "ascending"),
        ({"exploration": {**config().exploration.model_dump(), "slots": (0,)}}, "ascending"),
    ],
)
def test_errors_say_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        config(**change)
