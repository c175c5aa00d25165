"""Numbers that depend on an id or a text alone, the same in any company: initial values, samples, pairs to compare.

Everything ends in SplitMix64's output function (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA
2014).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_BLOCK = 16_384


def hashed_uniform(ids: NDArray[np.int64], columns: int, seed: int) -> NDArray[np.float64]:
    """Uniform numbers in [-1, 1) for each id, float64 ``(n, columns)``, the same in any company.

    Models that start from these end close together when their data are close: WALS predictions of two consecutive days
    correlated 0.84, and 0.61 when the start was drawn by row.

    Args:
        ids: int64 ``(n,)``.
        columns: how many numbers an id gets.
        seed: another seed, other numbers.
    """
    offset = np.uint64((seed * 0xD1342543DE82EF95) & _WORD)
    steps = (np.arange(1, columns + 1, dtype=np.uint64) + offset) * np.uint64(_GOLDEN)
    state = (np.asarray(ids).astype(np.uint64)[:, None] * np.uint64(0x2545F4914F6CDD1D)) ^ steps[None, :]
    return (_mixed(state) >> np.uint64(11)).astype(np.float64) / 2**52 - 1.0


def hashed_pairs(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One 64-bit hash for each pair of ids, uint64 ``(n,)``; ``(a, b)`` and ``(b, a)`` differ."""
    state = _mixed(np.asarray(first).astype(np.uint64) * np.uint64(_GOLDEN))
    return _mixed(state + np.asarray(second).astype(np.uint64) * np.uint64(_GOLDEN))


def hashed_text(texts: pa.Array | pa.ChunkedArray, salt: str) -> NDArray[np.uint64]:
    """A 64-bit hash of each text's UTF-8 bytes, uint64 ``(n,)``; another salt, other hashes.

    The bytes are taken as little-endian words of 8, the last one padded with zeros; the length is hashed too.

    Args:
        texts: Arrow string array without nulls.
        salt: any text.
    """
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    if isinstance(array, pa.ChunkedArray):  # what combine_chunks makes of no chunks
        array = pa.array([], pa.string())
    array = array.cast(pa.large_string())
    count = len(array)
    state = np.full(count, _salted(salt), dtype=np.uint64)
    if not count:
        return state
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[array.offset : array.offset + count + 1]
    lengths = np.diff(offsets)
    state = _mixed(state ^ lengths.astype(np.uint64))
    # Words are read past the end of a text, and of the last one past the end of the buffer; what lies there is cut off.
    content = np.zeros(int(offsets[-1]) + 8, dtype=np.uint8)
    if offsets[-1]:
        content[: offsets[-1]] = np.frombuffer(data, dtype=np.uint8)[: offsets[-1]]
    words = np.ndarray(len(content) - 7, dtype="<u8", buffer=content, strides=(1,))
    for first in range(0, count, _BLOCK):  # blocks stay in the cache
        block = slice(first, first + _BLOCK)
        _add_words(state[block], words, offsets[:-1][block], lengths[block])
    return state


def _add_words(
    state: NDArray[np.uint64], words: NDArray[np.uint64], offsets: NDArray[np.int64], lengths: NDArray[np.int64]
) -> None:
    """Mix the words of each text into its state, in place."""
    for start in range(0, int(lengths.max()), 8):
        rest = np.clip(lengths - start, 0, 8).astype(np.uint64)
        # Shifting out what does not belong, and back; a shift by a whole word is none, so those without a rest are left out.
        unwanted = (np.uint64(8) - rest) * np.uint64(8)
        word = (words[np.minimum(offsets + start, len(words) - 1)] << unwanted) >> unwanted
        np.copyto(state, _mixed(state ^ (word * np.uint64(_GOLDEN))), where=rest > 0)


def _salted(salt: str) -> int:
    """FNV-1a (Fowler, Noll, Vo) of the salt."""
    state = 0xCBF29CE484222325
    for byte in salt.encode():
        state = (state ^ byte) * 0x100000001B3 & _WORD
    return state


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    mixed: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return mixed
