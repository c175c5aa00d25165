"""The ranking metrics against ir-measures, which asks trec_eval: an implementation that shares nothing with ours."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, nDCG

from models.metrics import ranking_metrics

KS = (1, 5, 10, 20)
USERS, VIDEOS, LENGTH = 60, 40, 25


@pytest.fixture(scope="module")
def judged():
    """Random lists, some of them short, and random relevant videos: at least one a user, for some more than a list holds."""
    rng = np.random.default_rng(3)
    lists = np.stack([rng.permutation(VIDEOS)[:LENGTH] for _ in range(USERS)])
    for row, filled in enumerate(rng.integers(0, LENGTH + 1, USERS)):
        if row % 3 == 0:
            lists[row, filled:] = -1
    relevant = [np.sort(rng.permutation(VIDEOS)[: rng.integers(1, 31)]) for _ in range(USERS)]
    indptr = np.cumsum([0, *map(len, relevant)])
    ours = ranking_metrics(lists, (indptr, np.concatenate(relevant)), ks=KS)
    wanted = {str(user): {str(video): 1 for video in videos} for user, videos in enumerate(relevant)}
    shown = {str(u): {str(v): 1.0 / (place + 1) for place, v in enumerate(row) if v >= 0} for u, row in enumerate(lists)}
    measures = [RR, *(measure @ k for measure in (nDCG, R, P, AP) for k in KS)]
    theirs = {str(measure): np.zeros(USERS) for measure in measures}
    for found in ir_measures.iter_calc(measures, wanted, shown):
        theirs[str(found.measure)][int(found.query_id)] = found.value
    return ours, theirs, np.array([len(videos) for videos in relevant])


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize(("name", "theirs"), [("ndcg", "nDCG"), ("recall", "R"), ("precision", "P")])
def test_figures_at_a_depth_are_those_of_the_library(judged, name, theirs, k):
    ours, library, _ = judged
    np.testing.assert_allclose(ours[f"{name}@{k}"], library[f"{theirs}@{k}"], atol=1e-9)
    assert 0 < ours[f"{name}@{k}"].mean() < 1


@pytest.mark.parametrize("k", KS)
def test_map_is_that_of_the_library_but_for_its_normaliser(judged, k):
    """The library divides by all that is relevant, so that a perfect list of k scores k / n; ours by what a list can hold."""
    ours, library, n_relevant = judged
    np.testing.assert_allclose(ours[f"map@{k}"] * np.minimum(k, n_relevant), library[f"AP@{k}"] * n_relevant, atol=1e-9)
    assert 0 < ours[f"map@{k}"].mean() < 1


def test_mrr_is_that_of_the_library(judged):
    ours, library, _ = judged
    np.testing.assert_allclose(ours["mrr"], library["RR"], atol=1e-9)
