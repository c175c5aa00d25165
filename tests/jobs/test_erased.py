import hmac
import json
import stat

import numpy as np
import pyarrow as pa
import pytest

from jobs import _erased
from jobs._erased import NOBODY, users_in
from schemas.errors import ReelflowError


def test_a_list_holds_keyed_hashes_and_no_ids(tmp_path):
    assert _erased.add(tmp_path, 987654321012)
    key = bytes.fromhex((tmp_path / "key").read_text())
    assert (tmp_path / "users").read_text() == hmac.digest(key, b"987654321012", "sha256").hex() + "\n"
    assert _erased.name_of(tmp_path, 987654321012) == (tmp_path / "users").read_text().strip()
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert len(key) == 32


def test_each_user_is_on_the_list_once(tmp_path):
    assert [_erased.add(tmp_path, user) for user in (5, 6, 5, -6)] == [True, True, False, True]
    found = _erased.read(tmp_path)
    assert len(found.hashes) == 3
    assert found.holds(pa.array([6, 1, 5, 6, -6, 7])).tolist() == [True, False, True, True, True, False]
    assert found.holds(pa.chunked_array([[5], [], [1]])).tolist() == [True, False]
    assert found.holds(pa.array([], pa.int64())).tolist() == []


def test_nobody_is_erased_where_there_is_no_list(tmp_path):
    found = _erased.read(tmp_path / "none")
    assert not found
    assert found == NOBODY
    assert np.array_equal(found.holds(pa.array([1, 2])), [False, False])
    assert not found.in_record('{"user_id": 1}')


def test_two_workspaces_call_a_user_by_different_names(tmp_path):
    for name in "ab":
        _erased.add(tmp_path / name, 5)
    assert _erased.name_of(tmp_path / "a", 5) != _erased.name_of(tmp_path / "b", 5)


def test_a_line_that_a_crash_tore_is_nobodys_and_does_not_spoil_the_next(tmp_path):
    _erased.add(tmp_path, 5)
    with (tmp_path / "users").open("a") as stream:
        stream.write("ab12")
    assert _erased.read(tmp_path).holds(pa.array([5, 6])).tolist() == [True, False]
    _erased.add(tmp_path, 6)
    _erased.add(tmp_path, 7)
    assert _erased.read(tmp_path).holds(pa.array([5, 6, 7, 8])).tolist() == [True, True, True, False]


@pytest.mark.parametrize("key", [None, "", "abc", "00"])
def test_a_list_without_its_key_is_refused(tmp_path, key):
    _erased.add(tmp_path, 5)
    (tmp_path / "key").unlink()
    if key is not None:
        (tmp_path / "key").write_text(key)
    for asked in (lambda: _erased.read(tmp_path), lambda: _erased.add(tmp_path, 6)):
        with pytest.raises(ReelflowError, match=r"found no key of 32 bytes.*put it back from a backup"):
            asked()


@pytest.mark.parametrize(
    ("record", "users"),
    [
        (None, set()),
        ("", set()),
        (json.dumps({"user_id": 57, "video_id": 58}), {57}),
        (json.dumps({"user_id": "57"}), {57}),
        (json.dumps({"user_id": 57.0}), {57}),
        (json.dumps({"user_id": 57.5, "position": 57}), set()),
        (json.dumps({"user_id": None, "comment": "57"}), set()),
        (json.dumps({"video_id": 57}), set()),
        (json.dumps({"user_id": [57]}), set()),
        ("e1,57,10,click,2026-01-07T10:00:00Z,-3", {57, 10, -3}),
        ('{"event_id": "e1", "user_id": 57, "vid', {57}),
        ("57", {57}),
        ("u57 57x 5.7 -57", {-57}),
        ("9" * 30, set()),
        ("[" * 100_000, set()),
    ],
)
def test_whom_a_refused_row_may_be_of(record, users):
    assert users_in(record) == users
