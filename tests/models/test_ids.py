import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ids import IdMap
from schemas.errors import ReelflowError


def test_dense_ids_follow_the_order_of_the_external_ones():
    ids = IdMap.of(np.array([30, 10, 20, 10]))
    assert ids.ids.tolist() == [10, 20, 30]
    assert len(ids) == 3
    assert ids.lookup(np.array([20, 99, 10, -5])).tolist() == [1, -1, 0, -1]
    assert ids.ids[ids.lookup(np.array([30, 10]))].tolist() == [30, 10]


def test_an_empty_map_knows_nothing():
    ids = IdMap.of(np.array([], dtype=np.int64))
    assert ids.lookup(np.array([1, 2])).tolist() == [-1, -1]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_lookup_agrees_with_a_dictionary(known, asked):
    ids = IdMap.of(np.array(known, dtype=np.int64))
    position = {external: dense for dense, external in enumerate(sorted(set(known)))}
    asked += known
    assert ids.lookup(np.array(asked, dtype=np.int64)).tolist() == [position.get(external, -1) for external in asked]


def test_a_map_survives_the_disk_and_cannot_be_changed(tmp_path):
    ids = IdMap.of(np.array([2**62, 5]))
    ids.save(tmp_path / "ids.npy")
    assert IdMap.load(tmp_path / "ids.npy") == ids
    with pytest.raises(ValueError, match="read-only"):
        ids.ids[0] = 1


def test_what_is_no_id_column_is_refused(tmp_path):
    with pytest.raises(ReelflowError, match="strictly ascending"):
        IdMap(np.array([2, 1]))
    with pytest.raises(ReelflowError, match="expected integers"):
        IdMap.of(np.array([1.5, np.nan]))
    with pytest.raises(ReelflowError, match="cannot be read"):
        IdMap.load(tmp_path / "none.npy")
