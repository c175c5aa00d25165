"""JSON values as text: what a log wrote as a number, a flag or a list, for casts that start from text."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_MAX_DEPTH = 500  # Python's parser gives up at about 1,000, less what the stack holds already
_MAX_DIGITS = 400  # int() refuses more than 4,300; no column of the contract holds more than 19
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]')
_SURROGATES = re.compile("[\ud800-\udfff]")


def parse(text: str) -> Any:
    """The value that ``text`` holds.

    Raises:
        ValueError: it is not one JSON value, or nested more than 500 deep.
    """
    if text.count("[") + text.count("{") > _MAX_DEPTH and _depth(text) > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    return json.loads(text, parse_int=_int)


def may_be_deep(data: bytes) -> bool:
    """Whether ``parse`` could refuse this line for its depth."""
    return data.count(b"[") + data.count(b"{") > _MAX_DEPTH


def as_text(value: Any) -> str:
    """A JSON value as the text of a column: a string as it is, a number as Python writes it, anything else as JSON.

    Halves of surrogate pairs, which no encoding can hold, become U+FFFD.
    """
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, dict | list):
        return _SURROGATES.sub("\ufffd", json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))
    return "null" if value is None else str(value)


def float_text(value: float) -> str:
    """A float as JSON writes it, and ``Infinity``, ``-Infinity`` and ``NaN``."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _int(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_DIGITS else digits


def _depth(text: str) -> int:
    depth = deepest = 0
    for token in _TOKENS.findall(text):
        depth += (token in "[{") - (token in "]}")
        deepest = max(deepest, depth)
    return deepest
