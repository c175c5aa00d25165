import random

import numpy as np
import pyarrow as pa
import pytest

from jobs.reading._cast import cast
from jobs.reading._text import convert, trimmed
from schemas import Field

TEXTS = [
    "0", "-0", "1", "+1", "-1", "007", "1.0", "-1.0", "1.00", ".0", "1.0.0", "0x1F", "0X1.0", "1_0", "1e3", "1.5", ".5", "5.",
    "1e400", "1e-400", "127", "2147483647", "2147483648", "-2147483648", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "0" * 30 + "7", "9" * 30, "9" * 5000, "٣", "nan", "NaN", "-nan", "nan(1)", "inf", "-Infinity",
    "+inf", "infinit", "", " ", " 1 ", "\t1", "1d", "true", "TRUE", "t", "yes", "no", "on", "2026-01-07", "2026-01-07T10",
    "2026-01-07T10:00", "2026-01-07 10:00:00", "2026-01-07T10:00:00Z", "2026-01-07T10:00:00.123456Z",
    "2026-01-07T10:00:00.123456789Z", "2026-01-07T10:00:00.1234567", "2026-01-07T10:00:00+05", "2026-01-07T10:00:00-0530",
    "2026-01-07T10:00:00+05:30", "2026-01-07T10:00:00+24:00", "2026-01-07T10:00:00+05:60", "2026-02-29", "2028-02-29",
    "0000-01-01", "0001-01-01", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999999999", "9999-12-31T23:59:59-00:01",
    "10000-01-01", "2026-1-7", "now", "a|b", "|", "[]", '["a", 1, null]', "[1", "[" * 900, '{"a": 1}', "é",
]  # fmt: skip
TYPES = ["int32", "int64", "float64", "bool", "string", "timestamp", "list<string>"]


def both(texts, kind) -> list[tuple]:
    """Source and value of each text, in words, so that 0.0 is not -0.0."""
    source, values = cast(pa.array(texts, pa.string()), Field(name="x", type=kind, doc=""))
    assert values.type == Field(name="x", type=kind, doc="").arrow.type
    return list(zip(source.to_pylist(), map(str, values.to_pylist()), strict=True))


@pytest.mark.parametrize("kind", TYPES)
def test_a_text_means_the_same_whatever_stands_around_it(kind):
    alone = {text: both([text], kind)[0] for text in TEXTS}
    rng = random.Random(1)
    for texts in (TEXTS * 9, TEXTS[::-1], rng.sample(TEXTS * 20, 1500)):
        assert both(texts, kind) == [alone[text] for text in texts]
    for text in TEXTS:
        for other in ("1", "1.0", "2026-01-07", "2026-01-07T10:00:00Z", "a", None):
            assert both([other, text, other], kind)[1] == alone[text], other


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "int32",
            {"0": 0, "-0": 0, "1": 1, "+1": 1, "007": 7, "1.0": 1, "2147483647": 2147483647, "0" * 30 + "7": 7, " 1 ": 1},
        ),
        ("float64", {"+1": 1.0, "5.": 5.0, "1e3": 1000.0, "1e400": float("inf"), "-Infinity": float("-inf"), "0x1F": None}),
        ("bool", {"t": True, "TRUE": True, "yes": True, "1": True, "0": False, "no": False, "on": None, "1.0": None}),
        ("list<string>", {"a|b": ["a", "b"], "|": ["", ""], "[]": [], "[1": ["[1"], '["a", 1, null]': ["a", "1", None]}),
        ("string", {"": None, " ": None, " 1 ": " 1 ", "nan": "nan"}),
    ],
)
def test_what_a_text_means(kind, expected):
    _, values = cast(pa.array(list(expected)), Field(name="x", type=kind, doc=""))
    assert dict(zip(expected, values.to_pylist(), strict=True)) == expected


def test_blank_and_not_a_number_are_missing_and_not_wrong():
    source, values = cast(pa.array(["", " ", None, "NaN", "nan", "x", "-nan"]), Field(name="x", type="int64", doc=""))
    assert source.to_pylist() == [None] * 5 + ["x", "-nan"]
    assert values.null_count == 7
    assert cast(pa.array(["NaN"]), Field(name="x", type="string", doc=""))[0].to_pylist() == ["NaN"]


def test_only_the_pieces_that_do_not_fit_are_cast_one_by_one():
    asked = []

    def whole(values: pa.Array) -> pa.Array:
        if (np.array(values) == 5000).any():
            raise pa.ArrowInvalid("no")
        return values

    def single(value: int) -> int | None:
        asked.append(value)
        return None if value == 5000 else value

    found = convert(pa.array(range(10_000)), pa.int64(), whole, single)
    assert found.to_pylist() == [None if n == 5000 else n for n in range(10_000)]
    assert 5000 in asked
    assert len(asked) <= 256


def test_blanks_are_cut_from_both_ends_and_nowhere_else():
    texts = [" a b\t", "\x00", None, "", "é ", "\u00a0x"]
    assert trimmed(pa.array(texts)).to_pylist() == ["a b", "", None, "", "é", "\u00a0x"]
    assert trimmed(pa.array(["x ", *texts]).slice(1)).to_pylist() == ["a b", "", None, "", "é", "\u00a0x"]
    untouched = pa.array(["a b", "c"])
    assert trimmed(untouched) is untouched
