import pytest
from pydantic import ValidationError

from models.recommend.rules import Age, Misinformation
from tests.models.recommend.rules.pages import page_of


def test_the_penalty_of_age_halves_its_distance_to_the_whole():
    page = page_of([[0, 1, 2, 3]], age_days=[0.0, 10.0, 20.0, -7.0])
    found = Age(max_days=None, half_life_days=10.0, penalty=8.0)(page, 4)
    assert (page.scores - found.scores).tolist() == [[0.0, 4.0, 6.0, 0.0]]


def test_limits_are_checked_and_unknown_parameters_refused():
    with pytest.raises(ValidationError, match="max_score"):
        Misinformation(max_score=1.5, min_score=0.0, penalty=0.0)
    with pytest.raises(ValidationError, match="half_life"):
        Age.model_validate({"max_days": None, "half_life_days": None, "penalty": 0.0, "half_life": 3})
