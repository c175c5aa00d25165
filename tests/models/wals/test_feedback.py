import datetime as dt

import numpy as np
import pyarrow as pa

from models.wals import confidence
from tests.models.wals.contract import config

AT = dt.datetime(2026, 1, 8, tzinfo=dt.UTC)


def examples(days_old=(0.0,) * 7):
    columns = {
        "user_id": [9, 9, 9, 3, 3, 3, 3],
        "video_id": [50, 50, 60, 50, 70, 70, 80],
        "occurred_at": pa.array([AT - dt.timedelta(days=days) for days in days_old], pa.timestamp("us", tz="UTC")),
        "label": pa.array([1, 1, 0, 0, 1, 0, 1], pa.int32()),
        "clicked": [True, False, True, False, True, True, True],
        "liked": [False, True, False, False, True, False, False],
        "shared": [False, False, True, False, False, False, False],
        "disliked": [False, False, False, False, False, True, False],
    }
    return pa.table(columns)


def found(table, **changes):
    return list(zip(*(part.tolist() for part in confidence(table, config(**changes), AT)), strict=True))


def test_confidence_adds_the_weights_of_what_a_pair_showed():
    # (3, 70) was disliked, (3, 50) showed nothing, (9, 60) was watched without being relevant, and shared
    expected = [(3, 80, 1.0), (9, 50, 4.0), (9, 60, 0.75)]
    assert found(examples()) == expected
    assert found(pa.concat_tables([examples().slice(0, 3), examples().slice(3)])) == expected
    assert found(examples().slice(0, 0)) == []
    assert found(examples(), feedback_weights={"like": 1.0}) == [(9, 50, 1.0)]


def test_each_example_weighs_half_after_the_half_life():
    aged = examples((0.0, 6.0, 3.0, 0.0, 0.0, 0.0, 12.0))
    assert found(aged, half_lives_days=[3.0]) == [(3, 80, 1.0 / 16), (9, 50, 1.0 + 3.0 / 4), (9, 60, 0.75 / 2)]
    assert found(aged) == found(examples())


def test_what_began_later_is_not_old_and_what_is_very_old_still_counts():
    (_, _, new), *_, (_, _, old) = found(examples((1e4, 1e4, 1e4, 0.0, 0.0, 0.0, -2.0)), half_lives_days=[1.0])
    assert new == 1.0
    assert 0.0 < old <= 1e-6
    assert np.isfinite(1.0 / old)
