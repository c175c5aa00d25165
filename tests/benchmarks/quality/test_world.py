import numpy as np

from benchmarks.quality._world import Log
from tests.benchmarks.quality.worlds import events


def log():
    """The cut is at 100. User 0 liked 0, 1, 2 before it and 3 after it; user 1 disliked 3 before it, and liked it after it."""
    return Log(
        user_ids=np.array([5, 6]),
        video_ids=np.array([10, 11, 12, 13]),
        removed=np.zeros(4, dtype=bool),
        positives=events([(0, 0), (0, 1), (0, 0), (0, 2), (0, 3), (1, 3)], [10, 20, 30, 90, 110, 120]),
        watches=events([(0, 0), (0, 1), (1, 2), (0, 2)], [10, 20, 40, 90]),
        acted=events([(0, 0), (0, 1), (1, 2), (1, 3), (0, 2)], [10, 20, 40, 50, 90]),
        cut_us=100,
        strange=0,
    )


def test_what_was_acted_on_before_the_cut_is_not_relevant_after_it():
    asked = log().test()
    assert asked.relevant.toarray().tolist() == [[False, False, False, True], [False] * 4]
    assert asked.judged.tolist() == [0]
    assert asked.seen.toarray().tolist() == [[True, True, True, False], [False, False, True, True]]


def test_inputs_hold_the_first_event_of_each_pair_before_the_moment():
    found = log().test().inputs
    assert list(zip(found["positives"].user, found["positives"].video, found["positives"].at_us, strict=True)) == [
        (0, 0, 10),
        (0, 1, 20),
        (0, 2, 90),
    ]
    assert found["watches"].video.tolist() == [0, 1, 2, 2]


def test_validation_asks_about_the_end_of_what_came_before_the_cut():
    asked = log().validation(share=0.3)  # the newest of four: what is at the 70 % quantile or later
    assert asked.at_us == 30
    assert asked.relevant.toarray().tolist() == [[False, False, True, False], [False] * 4]
    assert asked.inputs["positives"].video.tolist() == [0, 1]
    assert asked.seen.toarray().tolist() == [[True, True, False, False], [False] * 4]
