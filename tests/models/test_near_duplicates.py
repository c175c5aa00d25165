import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models import near_duplicates
from models.near_duplicates import same_as, text_vectors


def normalised(vectors):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def by_loop(vectors, order, threshold):
    leaders, found = [], list(range(len(vectors)))
    for video in order:
        close = [leader for leader in leaders if vectors[leader] @ vectors[video] >= threshold]
        if vectors[video].any() and close:
            found[video] = close[0]
        else:
            leaders.append(video)
    return found


def test_a_video_joins_the_first_that_it_is_close_to_and_not_a_follower():
    angles = np.radians([0, 20, 40, 60, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    limit = np.cos(np.radians(25))
    assert same_as(vectors, np.array([0, 1, 2, 3, 4]), limit).tolist() == [0, 0, 2, 2, 4]
    assert same_as(vectors, np.array([4, 3, 2, 1, 0]), limit).tolist() == [1, 1, 3, 3, 4]


def test_videos_without_text_are_alone_and_equal_ones_are_one():
    vectors = normalised(np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [3.0, 4.0], [4.0, 3.0]]))
    assert same_as(vectors, np.arange(5), 1.0).tolist() == [0, 1, 2, 1, 4]
    assert same_as(np.zeros((3, 1), dtype=np.float32), np.arange(3), 0.9).tolist() == [0, 1, 2]
    assert same_as(np.zeros((0, 4), dtype=np.float32), np.arange(0), 0.9).tolist() == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.7, 0.9, 0.98]))
def test_blocks_and_sketches_decide_as_a_loop_does(seed, threshold):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, 80))
    vectors = normalised(centres[rng.integers(0, 12, 60)] + rng.exponential(0.3) * rng.standard_normal((60, 80)))
    vectors[rng.random(60) < 0.1] = 0
    order = rng.permutation(60)
    sizes = {"_ROWS": 7, "_LEADERS": 4, "_PAIRS": 5, "_DIRECTIONS": 9}
    before = {name: getattr(near_duplicates, name) for name in sizes}
    try:
        for name, size in sizes.items():
            setattr(near_duplicates, name, size)
        found = same_as(vectors, order, threshold)
    finally:
        for name, size in before.items():
            setattr(near_duplicates, name, size)
    assert found.tolist() == by_loop(vectors.astype(float), order.tolist(), threshold)


def test_the_product_of_joined_vectors_is_the_mean_cosine():
    titles = normalised(np.array([[1.0, 0], [1, 1], [0, 0], [1, 0], [1, 0]]))
    tags = normalised(np.array([[1.0, 0], [1, 0], [1, 0], [0, 0], [0, 0]]))
    joined = text_vectors(titles, tags)
    assert np.allclose(joined[0] @ joined[1], (np.sqrt(0.5) + 1) / 2)
    assert not joined[2].any()  # tags without a title say too little
    assert np.allclose(joined[3] @ joined[4], 1)
    assert np.allclose(joined[0] @ joined[3], np.sqrt(0.5))
