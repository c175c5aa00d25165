import pytest

from schemas.segments import ALL, parent_of, segment_name, values_of

NAMES = {
    "all": (),
    "country=DE": (("country", "DE"),),
    "country=DE|language=de|city=a=b": (("country", "DE"), ("language", "de"), ("city", "a=b")),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_its_values_in_the_order_of_the_chain(name):
    assert segment_name(NAMES[name]) == name
    assert values_of(name) == NAMES[name]


def test_the_parent_is_the_name_without_its_last_value():
    assert [parent_of(name) for name in NAMES] == [None, ALL, "country=DE|language=de"]


@pytest.mark.parametrize("value", [None, "a|b"])
def test_without_a_value_there_is_no_segment(value):
    assert segment_name([("country", "DE"), ("city", value)]) is None
