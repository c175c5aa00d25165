"""How a user's list is written in Redis: JSON by columns for everybody, and packed numbers for what led to it.

A list is ``{"rows":3,"videos":[..],"scores":[..],"sources":[..],"reasons":["popular in DE",..],"reason":[0,0,1]}``: place 1 is
rank 1, and ``reason`` says which of the list's ``reasons`` each row has. What led to it is a line of JSON, the rules of each
row, and after the newline ``PACKED`` for each row. Both are made of whole columns at once: a row costs about 0.3 microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas import RECOMMENDATIONS, SCORE_PARTS
from schemas import columns as col
from serving._protocol import Recommendation

__all__ = ["HEAD_BYTES", "PACKED", "count", "encode", "encode_rows", "full_row", "full_rows", "recommendations"]

PACKED = np.dtype([(col.PROPENSITY, "<f8"), *((name, "<f4") for name in SCORE_PARTS)])
"""A row of what led to a list: 40 bytes, little-endian, nothing between."""

HEAD_BYTES = 32
"""So much of a list says how many rows it has."""

_HEAD = '{"rows":'


def encode(table: pa.Table, starts: npt.NDArray[np.int64], *, ranks: bool = False) -> tuple[list[bytes], list[bytes]]:
    """Write the lists of whole users.

    Args:
        table: rows of ``RECOMMENDATIONS`` by user and rank, without chunks.
        starts: the first row of each user, and the number of rows, int64 (n_users + 1,).
        ranks: whether to write them down, as they are not 1, 2, ...

    Returns:
        Each user's list, and what led to it.
    """
    columns = {name: table[name].chunk(0) for name in RECOMMENDATIONS.columns}
    reasons, reason = _interned(columns[col.REASON], starts)
    parts: list[Any] = [_HEAD, pc.cast(pa.array(np.diff(starts)), pa.string())]
    if ranks:
        parts += [',"ranks":[', _joined(_digits(columns[col.RANK]), starts, ","), "]"]
    parts += [',"videos":[', _joined(_digits(columns[col.VIDEO_ID]), starts, ",")]
    parts += ['],"scores":[', _joined(_digits(columns[col.SCORE]), starts, ",")]
    parts += ['],"sources":["', _joined(_escaped(columns[col.SOURCES]), starts, '","')]
    parts += ['"],"reasons":["', reasons, '"],"reason":[', reason, "]}"]
    lists = pc.binary_join_element_wise(*parts, "").cast(pa.binary()).to_pylist()
    rules = pc.binary_join_element_wise('["', _joined(_escaped(columns[col.RULES]), starts, '","'), '"]\n', "")
    packed = np.empty(table.num_rows, PACKED)
    for name in PACKED.names or ():
        packed[name] = columns[name].to_numpy()
    numbers = memoryview(packed.tobytes())
    bounds = (starts * PACKED.itemsize).tolist()
    lines = rules.cast(pa.binary()).to_pylist()
    return lists, [line + numbers[start:end] for line, start, end in zip(lines, bounds, bounds[1:], strict=False)]


def encode_rows(rows: Sequence[Sequence[Any]]) -> str:
    """Write a fallback list: (video, score, sources, reason) by rank."""
    videos, scores, sources, reasons = (list(column) for column in zip(*rows, strict=True))
    texts = list(dict.fromkeys(reasons))
    value = {"rows": len(rows), "videos": videos, "scores": scores, "sources": sources, "reasons": texts}
    return json.dumps({**value, "reason": [texts.index(text) for text in reasons]}, ensure_ascii=False, separators=(",", ":"))


def count(head: bytes) -> int:
    """How many rows a list has, by its first ``HEAD_BYTES``; 0 where there is none."""
    return int(head[len(_HEAD) :].partition(b",")[0]) if head else 0


def recommendations(value: bytes, k: int) -> list[Recommendation]:
    """Read the first ``k`` rows of a list."""
    read = json.loads(value)
    texts = read["reasons"]
    scores, reasons = map(float, read["scores"]), map(texts.__getitem__, read["reason"])
    return list(map(Recommendation, range(1, k + 1), read["videos"], scores, read["sources"], reasons))


def full_row(user_id: int, value: bytes, why: bytes, video_id: int) -> dict[str, Any] | None:
    """Read every column of a list's row of a video; None where it is not in it."""
    return next((row for row in full_rows(user_id, value, why) if row[col.VIDEO_ID] == video_id), None)


def full_rows(user_id: int, value: bytes, why: bytes) -> list[dict[str, Any]]:
    """Read every column of a list."""
    read = json.loads(value)
    line, _, numbers = why.partition(b"\n")
    rules, packed = json.loads(line), np.frombuffer(numbers, PACKED)
    ranks = read.get("ranks") or range(1, read["rows"] + 1)
    return [
        {
            col.USER_ID: user_id,
            col.RANK: rank,
            col.VIDEO_ID: read["videos"][place],
            col.SCORE: float(read["scores"][place]),
            col.SOURCES: read["sources"][place],
            col.REASON: read["reasons"][read["reason"][place]],
            col.RULES: rules[place],
            **{name: packed[place][name].item() for name in PACKED.names or ()},
        }
        for place, rank in enumerate(ranks)
    ]


def _interned(texts: pa.StringArray, starts: npt.NDArray[np.int64]) -> tuple[pa.StringArray, pa.StringArray]:
    """Each user's different texts, in the order in which they come, joined; and which of them each row has, joined."""
    coded = texts.dictionary_encode()
    users = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    pairs = pa.array(users * len(coded.dictionary) + coded.indices.to_numpy()).dictionary_encode()
    user_of_pair, text_of_pair = np.divmod(pairs.dictionary.to_numpy(), len(coded.dictionary))
    first_pairs = np.searchsorted(user_of_pair, np.arange(len(starts)))
    places = pairs.indices.to_numpy() - first_pairs[users]
    digits = pa.array([str(place) for place in range(int(places.max(initial=0)) + 1)], pa.string())
    own = _escaped(coded.dictionary).take(pa.array(text_of_pair))
    return _joined(own, first_pairs, '","'), _joined(digits.take(pa.array(places)), starts, ",")


def _digits(numbers: pa.Array) -> pa.StringArray:
    """Numbers as JSON; of a float the shortest digits that give the same float again."""
    return pc.cast(numbers, pa.string())


def _joined(texts: pa.StringArray, starts: npt.NDArray[np.int64], separator: str) -> pa.StringArray:
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(starts, pa.int32()), texts), separator)


def _escaped(texts: pa.StringArray) -> pa.StringArray:
    """Texts as they stand between the quotes of JSON; most need no change."""
    _, offsets, data = texts.buffers()
    if data is None:
        return texts
    bounds = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]]
    letters = np.frombuffer(data, np.uint8)[bounds[0] : bounds[1]]
    if not ((letters < 0x20) | (letters == ord('"')) | (letters == ord("\\"))).any():
        return texts
    coded = texts.dictionary_encode()
    escaped = [json.dumps(text, ensure_ascii=False)[1:-1] for text in coded.dictionary.to_pylist()]
    return pa.array(escaped, pa.string()).take(coded.indices)
