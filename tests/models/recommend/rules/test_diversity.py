import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommend.rules import Diversity
from tests.models.recommend.rules.pages import page_of, random_page


def by_loop(page, row, weight, depth, pool):
    """Columns in their new order by maximal marginal relevance, one user and place at a time."""
    columns = np.flatnonzero(page.present[row]).tolist()
    pooled = columns[:pool]
    scores = [float(page.scores[row, column]) for column in pooled]
    span = max(scores) - min(scores) if scores else 0.0
    worth = {column: (score - min(scores)) / span if span else 0.0 for column, score in zip(pooled, scores, strict=True)}
    content = page.catalogue.facts.content.astype(float)
    chosen = []
    while pooled and len(chosen) < depth:
        above = [content[page.positions[row, column]] for column in chosen]

        def value(column, above=above):
            own = content[page.positions[row, column]]
            return round(worth[column] - weight * max([0.0, *(float(own @ other) for other in above)]), 5)

        chosen.append(max(pooled, key=lambda column: (value(column), -column)))
        pooled.remove(chosen[-1])
    return [*chosen, *(column for column in columns if column not in chosen)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.1]), st.integers(1, 12), st.integers(1, 12))
def test_it_chooses_as_a_loop_does(seed, weight, depth, pool):
    page = random_page(seed)
    # Scores of which no difference equals a difference of penalties, so that rounding decides nothing.
    rng = np.random.default_rng(seed)
    page.scores[:] = np.where(page.present, -np.sort(-rng.random(page.scores.shape), axis=1), -np.inf)
    found = Diversity(weight=weight, depth=depth, pool=pool)(page, 8).order
    for row, order in enumerate(found):
        assert order[order >= 0].tolist() == by_loop(page, row, weight, min(depth, 8), pool)


def test_equals_keep_their_order_and_places_behind_the_list_stay():
    page = page_of([[0, 1, 2, 3]], [[1.0, 1.0, 1.0, 1.0]], content=[[1.0], [1.0], [0.0], [0.0]])
    rule = Diversity(weight=1.0, depth=4, pool=4)
    assert rule(page, 4).order.tolist() == [[0, 2, 3, 1]]
    assert rule(page, 1).order.tolist() == [[0, 1, 2, 3]]
