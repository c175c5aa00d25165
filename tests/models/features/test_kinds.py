"""Declarations as plain data and back."""

from __future__ import annotations

import json

import pytest

from models.features import FEATURES, Bucket, Clock, Embedding, Number, OneHot, Sequence, TextMean, Vector
from models.features._kinds import from_plain, to_plain
from schemas.errors import ReelflowError

ONE_OF_EACH = (
    Embedding(name="a", side="user", column="user_id"),
    OneHot(name="b", side="context", column="device"),
    Bucket(name="c", side="user", column="age", edges=(18, 25.5)),
    Clock(name="d", unit="hour", width=3),
    Number(name="e", form="rate", columns=("relevant", "impressions")),
    Vector(name="f", column="title_vector"),
    Sequence(name="g", column="h", ages="i", length=2, age_edges_seconds=(60,), vocabulary="video_id"),
    TextMean(name="j", column="k", length=3),
)


@pytest.mark.parametrize("feature", [*ONE_OF_EACH, *FEATURES], ids=lambda feature: feature.name)
def test_a_declaration_survives_json(feature):
    assert from_plain(json.loads(json.dumps(to_plain(feature)))) == feature


def test_the_plain_form_says_all_of_it():
    assert to_plain(ONE_OF_EACH[2]) == {"kind": "bucket", "name": "c", "side": "user", "column": "age", "edges": (18, 25.5)}


def test_sides_go_without_saying_where_there_is_one():
    assert [feature.side for feature in ONE_OF_EACH[3:]] == ["context", "video", "video", "user", "user"]


@pytest.mark.parametrize(
    "changed",
    [{"kind": "hologram"}, {"kind": None}, {"width": 3}, {"edges": ...}],
    ids=["kind", "no kind", "unknown setting", "missing setting"],
)
def test_what_this_code_does_not_know_is_refused(changed):
    plain = {name: value for name, value in {**to_plain(ONE_OF_EACH[2]), **changed}.items() if value is not ...}
    with pytest.raises(ReelflowError, match=r"features: found \{.*\}, expected one of embedding, .*train again"):
        from_plain(plain)
