import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.hashing import hashed_pairs, hashed_text, hashed_uniform

ids = st.integers(-(2**63), 2**63 - 1)
MASK = (1 << 64) - 1


def one(identifier, column, seed):
    """The number of one id and column in plain integers: SplitMix64's output function."""
    step = (column + 1 + seed * 0xD1342543DE82EF95) * 0x9E3779B97F4A7C15 & MASK
    state = (identifier & MASK) * 0x2545F4914F6CDD1D & MASK ^ step
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
    state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK
    state ^= state >> 31
    return (state >> 11) / 2**52 - 1.0


@settings(deadline=None)
@given(st.lists(ids, max_size=20), st.integers(1, 8), st.integers(0, 2**31))
def test_numbers_are_those_of_plain_integers(identifiers, columns, seed):
    found = hashed_uniform(np.array(identifiers, dtype=np.int64), columns, seed)
    assert found.shape == (len(identifiers), columns)
    assert found.dtype == np.float64
    assert found.tolist() == [[one(identifier, column, seed) for column in range(columns)] for identifier in identifiers]


@settings(deadline=None)
@given(st.lists(ids, min_size=1, max_size=30, unique=True), st.data())
def test_an_id_has_the_same_numbers_in_any_company(identifiers, data):
    everyone = np.array(identifiers, dtype=np.int64)
    numbers = hashed_uniform(everyone, 5, 3)
    some = np.array(data.draw(st.lists(st.integers(0, len(identifiers) - 1), max_size=30)), dtype=np.int64)
    assert np.array_equal(hashed_uniform(everyone[some], 5, 3), numbers[some])


def test_fewer_columns_are_the_first_of_more():
    identifiers = np.arange(100)
    assert np.array_equal(hashed_uniform(identifiers, 3, 1), hashed_uniform(identifiers, 8, 1)[:, :3])


@pytest.mark.parametrize("first", [0, 10**12, -50_000])
def test_neighbouring_ids_get_uniform_independent_numbers(first):
    numbers = hashed_uniform(np.arange(first, first + 100_000), 4, 1)
    assert -1 <= numbers.min() < -0.999
    assert 0.999 < numbers.max() < 1
    assert np.abs(numbers.mean(axis=0)).max() < 0.01  # 5 standard errors of 0.577 / sqrt(100,000)
    assert numbers.var(axis=0) == pytest.approx(np.full(4, 1 / 3), abs=0.01)
    between = np.corrcoef(numbers, rowvar=False) - np.eye(4)
    assert np.abs(between).max() < 0.02
    along = [np.corrcoef(numbers[:-1, column], numbers[1:, column])[0, 1] for column in range(4)]
    assert np.abs(along).max() < 0.02


def test_no_two_ids_share_their_numbers():
    identifiers = np.concatenate([np.arange(100_000), 10**9 * np.arange(1, 50_000), -np.arange(1, 50_000)])
    assert len(np.unique(hashed_uniform(identifiers, 1, 1))) == len(identifiers)


@pytest.mark.parametrize("other", [2, 3, 4, 100])
def test_another_seed_gives_other_numbers(other):
    identifiers = np.arange(10_000)
    first, second = hashed_uniform(identifiers, 8, 1), hashed_uniform(identifiers, 8, other)
    assert not np.isin(first, second).any()  # not even shifted by a column
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


def mixed(state):
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
    state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK
    return state ^ state >> 31


def of_text(text, salt):
    """The hash of one text in plain integers, byte by byte."""
    state = 0xCBF29CE484222325
    for byte in salt.encode():
        state = (state ^ byte) * 0x100000001B3 & MASK
    content = text.encode()
    state = mixed(state ^ len(content))
    for start in range(0, len(content), 8):
        word = int.from_bytes(content[start : start + 8], "little")
        state = mixed(state ^ word * 0x9E3779B97F4A7C15 & MASK)
    return state


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=20), st.text(max_size=5), st.integers(0, 3))
def test_hashes_of_texts_are_those_of_plain_integers(texts, salt, offset):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    expected = [of_text(text, salt) for text in texts]
    assert hashed_text(pa.array(texts, pa.string()), salt).tolist() == expected
    assert hashed_text(pa.array(texts, pa.string()).slice(offset), salt).tolist() == expected[offset:]
    halves = pa.chunked_array([texts[:offset], texts[offset:]], pa.string())
    assert hashed_text(halves, salt).tolist() == expected


def test_hashes_of_texts_are_even_and_the_salt_matters():
    texts = pa.array([f"event-{n}" for n in range(20_000)])
    one, other = hashed_text(texts, "a"), hashed_text(texts, "b")
    assert len(set(one.tolist())) == len(texts)
    share = (one >> np.uint64(60)).astype(int)
    counts = np.bincount(share, minlength=16)
    assert ((counts - 1250) ** 2 / 1250).sum() < 38  # chi-square with 15 degrees of freedom at 0.001
    assert not (one == other).any()


def test_hashes_of_pairs_are_those_of_plain_integers_and_know_the_order():
    first, second = [1, 2, -1, 2**62], [2, 1, 5, -(2**62)]
    expected = [
        mixed(mixed((a & MASK) * 0x9E3779B97F4A7C15 & MASK) + (b & MASK) * 0x9E3779B97F4A7C15 & MASK)
        for a, b in zip(first, second, strict=True)
    ]
    found = hashed_pairs(np.array(first), np.array(second)).tolist()
    assert found == expected
    assert found[0] != found[1]
