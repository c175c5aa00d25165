import gzip

import numpy as np
import pytest

from jobs.reading._lines import count_lines, read_lines

CONTENTS = {
    b"": [],
    b"\n\n": [],
    b"a": ["a"],
    b"a\nb": ["a", "b"],
    b"a\nb\n": ["a", "b"],
    b"a\r\nb\r\n": ["a", "b"],
    b"a\rb\r": ["a", "b"],
    b"\r\n\ra\n\r\nb": ["a", "b"],
    b" \t\x00\x1f\n a \n": [" a "],
    b"\xef\xbb\xbfa\n\xef\xbb\xbfb": ["a", "\ufeffb"],
    b"\xef\xbb\xbf": [],
    b"\xef\xbb\xbf\n": [],
    b"a\x0bb\x0cc\x1cd\xc2\x85e\xe2\x80\xa8f": ["a\x0bb\x0cc\x1cd\x85e\u2028f"],
    b"\xff\n\xc3\nb\xe2\x82": ["\ufffd", "\ufffd", "b\ufffd"],
    "é\n😀".encode(): ["é", "😀"],
}


@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("chunk", [1 << 20, 4, 3])
def test_lines_that_are_not_blank(tmp_path, monkeypatch, content, name, chunk):
    monkeypatch.setattr("jobs.reading._lines._CHUNK", chunk)
    monkeypatch.setattr("jobs.reading._lines._LOOKED_AT", chunk)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    blocks = list(read_lines(path, 100))
    assert [lines.text(line) for lines in blocks for line in range(len(lines))] == CONTENTS[content]
    assert all(len(lines) for lines in blocks)
    seen = []
    assert count_lines(path, lambda number, line: seen.append((number, line))) == len(CONTENTS[content])
    assert seen[:1] == [(0, CONTENTS[content][0])] if seen else not CONTENTS[content]
    assert all(CONTENTS[content][number] == line for number, line in seen)


def test_blocks_hold_no_more_lines_than_asked_for(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\n\n".join(str(n).encode() for n in range(10)))
    blocks = list(read_lines(tmp_path / "a.csv", 4))
    assert [[lines.text(line) for line in range(len(lines))] for lines in blocks] == [list("0123"), list("4567"), list("89")]
    assert [lines.data for lines in blocks] == [b"0\n\n1\n\n2\n\n3", b"4\n\n5\n\n6\n\n7", b"8\n\n9"]


def test_some_lines_are_joined_without_what_stands_between_them(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\n\na\nb\n\nc\r\n  \nd\ne")
    (lines,) = read_lines(tmp_path / "a.csv", 100)
    assert lines.joined().to_pybytes() == b"a\nb\nc\nd\ne"
    assert lines.joined(b"-,").to_pybytes() == b"a\nb\nc\nd\ne\n-,"
    assert lines.take(np.array([0, 2, 4])).joined().to_pybytes() == b"a\nc\ne"
    assert lines.take(slice(3, None)).joined().to_pybytes() == b"d\ne"
    assert lines.take(np.array([1])).joined(b"-").to_pybytes() == b"b\n-"


def test_places_of_a_text_lie_in_lines_or_in_none(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"ab\n   \ncd\n")
    (lines,) = read_lines(tmp_path / "a.csv", 100)
    assert lines.at([0, 1]).tolist() == [0, 0]
    assert lines.at([2, 3, 6]).tolist() == []
    assert lines.at([7, 8]).tolist() == [1, 1]
