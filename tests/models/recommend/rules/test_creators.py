import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommend.rules import Creators, Fairness
from tests.models.recommend.rules.pages import page_of, videos


def by_loop(creators, most, window, k):
    """Columns in their new order: place by place the first that fits, else the first that is left."""
    left, order = list(range(len(creators))), []
    while left:
        near = [creators[column] for column in order[-(window - 1) :]]
        free = len(order) >= k
        fits = [column for column in left if free or creators[column] < 0 or near.count(creators[column]) < most]
        order.append((fits or left)[0])
        left.remove(order[-1])
    return order


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(-1, 3), max_size=60), min_size=1, max_size=4),
    st.integers(1, 3), st.integers(2, 7), st.integers(1, 60),
)  # fmt: skip
def test_it_fills_places_as_a_loop_does(rows, most, window, k):
    flat = [creator for row in rows for creator in row]
    starts = np.cumsum([0, *map(len, rows)])
    positions = [list(range(start, start + len(row))) for start, row in zip(starts[:-1], rows, strict=True)]
    page = page_of(positions, creator=flat or [-1])
    found = Creators(max_in_window=most, window=window)(page, k)
    expected = [[int(start) + at for at in by_loop(row, most, window, k)] for start, row in zip(starts[:-1], rows, strict=True)]
    assert videos(page, found.order) == expected


def test_a_video_that_fits_is_found_however_far_it_is():
    page = page_of([list(range(200))], creator=[5] * 199 + [6])
    found = Creators(max_in_window=1, window=2)(page, 100)
    assert videos(page, found.order)[0] == [0, 199, *range(1, 199)]


def test_a_creator_pays_for_what_its_share_is_above_the_limit():
    page = page_of([[0, 1, 2, 3]], creator=[0, 0, 1, -1], impressions=[30, 30, 20, 20])
    found = Fairness(max_share=0.2, penalty=3.0)(page, 4)
    assert (page.scores - found.scores)[0] == pytest.approx([2.0, 2.0, 0.0, 0.0])


def test_without_impressions_nobody_pays():
    page = page_of([[0, 1]], creator=[0, 1])
    assert not Fairness(max_share=0.2, penalty=3.0)(page, 2).touched.any()
