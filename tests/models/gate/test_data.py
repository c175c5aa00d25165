"""Invariances that concern data and not fitted models: where a change ends before it can reach one, epsilon 0."""

from models.text import normalised, normalised_tags
from schemas import USER_FEATURES, USER_VERSIONS
from schemas import columns as col


def test_letter_case_of_tags_and_titles_ends_before_any_vector():
    assert normalised_tags(["Cats", "DOGS", "cats"]) == normalised_tags(["cats", "dogs"])
    assert normalised("Best GAME ever") == normalised("best game EVER")


def test_no_table_that_models_read_bears_names_of_users():
    assert col.USERNAME not in {*USER_FEATURES.columns, *USER_VERSIONS.columns}
