"""Whether the judged models have seen the test split, on a few examples whose answer can be counted."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from models.gate._judge import _blind
from models.ids import IdMap
from schemas import EXAMPLES
from tests.builders import arrow
from tests.models.gate.planted import AT, Retrieval, scene

SPLIT = AT - timedelta(hours=5)
BEFORE, AFTER = SPLIT - timedelta(hours=1), SPLIT + timedelta(hours=1)
EVERYBODY = [(1, 10, BEFORE, 1), (2, 11, BEFORE, 0)]
"""User, video, time and label: what the look-back says of the time before the split."""


@pytest.fixture(scope="module")
def good():
    return scene()


def knowing(models, users=(1, 2), videos=(10, 11), last=12):
    """Models in which WALS knows these users and videos alone, and retrieval the videos below ``last``."""
    wals, ids = models.wals, (np.array(users), np.array(videos))
    ones = [np.ones((len(one), wals.config.factors), dtype=np.float32) for one in ids]
    wals = replace(wals, users=IdMap(ids[0]), videos=IdMap(ids[1]), user_factors=ones[0], video_factors=ones[1])
    return replace(models, wals=wals, retrieval=Retrieval(last=last))


def asked(good, *rows, **known):
    examples = [
        {"event_id": str(n), "user_id": user, "video_id": video, "occurred_at": at, "known_at": at, "label": label}
        for n, (user, video, at, label) in enumerate([*EVERYBODY, *rows])
    ]
    of = replace(good, examples=arrow(EXAMPLES, examples))
    judged = (of.ranking, knowing(of.models, **known))
    return _blind(SimpleNamespace(scene=of, world=SimpleNamespace(at=SPLIT), judged=judged))


def test_whom_and_what_came_first_in_the_split_nobody_knows(good):
    found = asked(good, (3, 10, AFTER, 1), (1, 12, AFTER, 1))
    assert (found.passed, found.value, found.threshold) == (True, 0.0, 0.0)
    assert "of 2 users and videos whose first example lies in the test split the judged models know 0" in found.detail


@pytest.mark.parametrize(
    ("known", "value"),
    [
        ({"users": (1, 2, 3)}, 1),
        ({"videos": (10, 11, 12)}, 1),
        ({"last": 13}, 1),
        ({"users": (1, 2, 3), "videos": (10, 11, 12), "last": 13}, 3),
    ],
)
def test_each_vector_of_theirs_is_a_leak(good, known, value):
    found = asked(good, (3, 10, AFTER, 1), (1, 12, AFTER, 1), **known)
    assert (found.passed, found.value) == (False, float(value))
    assert f"the judged models know {value}; at most 0 is allowed" in found.detail
    assert "labels of the test split have leaked into training" in found.detail


def test_who_was_there_before_may_be_known(good):
    """Also by an example that is not relevant, and by one at the very start of the split, which is of the time before."""
    rows = [(2, 11, AFTER, 1), (4, 10, SPLIT, 0), (4, 10, AFTER, 1), (5, 10, AFTER, 1)]
    assert asked(good, *rows, users=(1, 2, 4)).value == 0.0
    assert asked(good, *rows, users=(1, 2, 4, 5)).value == 1.0


def test_what_was_not_relevant_teaches_no_vector(good):
    found = asked(good, (3, 12, AFTER, 0), users=(1, 2, 3), last=13)
    assert found.passed
    assert "no user and no video has its first example in the test split" in found.detail
