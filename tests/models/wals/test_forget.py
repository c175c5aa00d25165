import numpy as np

from models.ids import IdMap
from models.wals import FittedWals, forget_user
from tests.models.wals.contract import config


def model(ids):
    users = IdMap.of(np.array(ids))
    factors = np.arange(2 * len(users), dtype=np.float32).reshape(-1, 2)
    return FittedWals(config(factors=2), users, IdMap.of(np.array([10, 11])), factors, np.ones((2, 2), dtype=np.float32))


def test_a_user_is_forgotten_and_nobody_else(tmp_path):
    model([5, 7, 9]).save(tmp_path)
    assert forget_user(tmp_path, 7)
    found = FittedWals.load(tmp_path)
    assert found.users.ids.tolist() == [5, 9]
    assert found.user_vectors(np.array([5, 7, 9])).tolist() == [[0, 1], [0, 0], [4, 5]]
    assert found.video_factors.tolist() == [[1, 1], [1, 1]]
    assert not forget_user(tmp_path, 7)


def test_the_only_user_leaves_a_model_of_nobody(tmp_path):
    model([5]).save(tmp_path)
    assert forget_user(tmp_path, 5)
    assert FittedWals.load(tmp_path).user_factors.shape == (0, 2)


def test_files_that_are_linked_from_elsewhere_stay(tmp_path):
    (tmp_path / "other").mkdir()
    model([5, 7]).save(tmp_path)
    for file in tmp_path.glob("*.npy"):
        (tmp_path / "other" / file.name).hardlink_to(file)
    before = {file.name: file.read_bytes() for file in (tmp_path / "other").iterdir()}
    assert forget_user(tmp_path, 5)
    assert {file.name: file.read_bytes() for file in (tmp_path / "other").iterdir()} == before
