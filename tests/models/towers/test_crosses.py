"""The dot product of both parts is the weight of the pair of values."""

from __future__ import annotations

import pytest
import torch

from models.towers._crosses import Crosses
from schemas.errors import ReelflowError
from tests.models.towers.planted import data


@pytest.fixture(scope="module")
def spec():
    return data(n_impressions=500)[0].fit_spec(min_count=1, leave_out=())


def test_each_pair_has_its_weight(spec):
    crosses = Crosses(spec, (("country", "video_language"), ("device", "video_language")))
    users, videos = spec.coded("user", "context"), spec.coded("video")
    with torch.no_grad():
        for number, table in enumerate(crosses.tables):
            table.copy_(torch.arange(table.numel()).view_as(table) + 1000.0 * number)
    own = torch.tensor([[2 if name == "country" else 1 if name == "device" else 0 for name in users]])
    theirs = torch.tensor([[3 if name == "video_language" else 0 for name in videos]])

    found = (crosses.of_users(own) * crosses.of_videos(theirs)).sum().item()
    width = videos["video_language"]
    assert found == (2 * width + 3) + (1000.0 + 1 * width + 3)


def test_features_that_are_left_out_take_their_pairs_along(spec):
    blind = data(n_impressions=500)[0].fit_spec(min_count=1, leave_out=("country",))
    crosses = Crosses(blind, (("country", "video_language"),))
    assert crosses.of_users(torch.zeros((4, 3), dtype=torch.int64)).shape == (4, 0)


def test_a_pair_the_wrong_way_round_is_refused(spec):
    with pytest.raises(ReelflowError, match=r"towers.ranker.crosses: found \[video_language, country\], expected a category"):
        Crosses(spec, (("video_language", "country"),))
