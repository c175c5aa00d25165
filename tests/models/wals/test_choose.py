import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from models.wals import choose_half_life, fit
from tests.models.wals.contract import config

AT = dt.datetime(2026, 1, 8, tzinfo=dt.UTC)
SETTINGS = {"factors": 4, "regularization": 0.5, "unobserved_weight": 0.5}


def liked(rows):
    """Rows of (user, video, days before AT)."""
    users, videos, days = zip(*rows, strict=True) if rows else ((), (), ())
    no = pa.array([False] * len(rows))
    return pa.table({
        "user_id": pa.array(users, pa.int64()), "video_id": pa.array(videos, pa.int64()),
        "occurred_at": pa.array([AT - dt.timedelta(days=day) for day in days], pa.timestamp("us", tz="UTC")),
        "label": pa.array([1] * len(rows), pa.int32()),
        "clicked": pa.array([True] * len(rows)), "liked": no, "shared": no, "disliked": no,
    })  # fmt: skip


def turned(rng):
    """Everybody liked videos of one half until ten days ago, and of the other since; the next ones are like the last."""
    old = [(user, int(video), 20.0) for user in range(40) for video in rng.choice(30, 10, replace=False)]
    new = [(user, 30 + int(video), 0.5) for user in range(40) for video in rng.choice(30, 5, replace=False)]
    after = [(user, 30 + video, -0.5) for user in range(40) for video in range(30)]
    return liked(old + new), liked(after)


def test_the_half_life_that_foresees_what_follows_is_chosen():
    before, after = turned(np.random.default_rng(0))
    choice = choose_half_life(config(**SETTINGS, half_lives_days=[None, 2.0]), before, after, AT, fit)
    forgetful, _ = choice.figures[1], choice.figures[0]
    assert choice.config.half_lives_days == (2.0,)
    assert choice.model.config == choice.config
    assert forgetful > choice.figures[0] + 0.1


def test_lists_hold_nothing_that_was_acted_on_and_judge_only_what_is_new():
    # Two groups; everybody's next videos are the two of the own group that they have not seen.
    unseen = {user: (user % 12, (user + 3) % 12) for user in range(24)}
    seen = {user: [2 * place + user % 2 for place in range(12) if place not in unseen[user]] for user in unseen}
    before = liked([(user, video, 1.0) for user, videos in seen.items() for video in videos])
    repeats = [(user, videos[0], -1.0) for user, videos in seen.items()]
    new = [(user, 2 * place + user % 2, -1.0) for user, places in unseen.items() for place in places]
    settings = config(**{**SETTINGS, "factors": 2}, half_lives_days=[None, 4.0])
    choice = choose_half_life(settings, before, liked(repeats + new), AT, fit)
    assert choice.figures == (pytest.approx(1.0), pytest.approx(1.0))
    assert choice.config.half_life_days is None  # the first of equals


def test_with_one_half_life_or_nobody_to_judge_the_first_is_taken():
    before, after = turned(np.random.default_rng(0))
    one = choose_half_life(config(**SETTINGS, half_lives_days=[3.0]), before, after, AT, fit)
    assert (one.config.half_life_days, one.figures) == (3.0, ())
    strangers = liked([(900, 1, -1.0)])
    for later in (strangers, liked([])):
        found = choose_half_life(config(**SETTINGS, half_lives_days=[3.0, 1.0]), before, later, AT, fit)
        assert (found.config.half_life_days, found.figures) == (3.0, ())
