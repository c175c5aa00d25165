"""Two days of trained and published models, out of which a user is erased."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from jobs import _bundles, gate, noise_floor, publish, train_towers, train_wals
from jobs._registry import KINDS
from jobs._tables import Partition
from jobs._tracking import Tracker
from jobs._window import DAY, iso
from models.bundle import BundleError, open_bundle
from models.logistic import FittedLogistic
from models.towers import FittedRanker, FittedRetrieval
from models.wals import FittedWals
from schemas import QUERY_TEXT, USER_FEATURES
from tests.jobs import planted
from tests.jobs.erasing import WHO, command, receipts, removed
from tests.jobs.mentions import mentions
from tests.jobs.planted import FIRST, SECOND, SETTINGS, train
from tests.jobs.test_publish import index_by_hand, store, write_rows
from tests.jobs.test_rollback import back, champions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A workspace before the erasure, and the one in which it took place: MLflow knows its artifacts by their place.

    ``WHO`` is one of forty users, and has one of the two published lists.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "USERS", [*range(1, 40), WHO])
        space = planted.planted(tmp_path_factory.mktemp("erased") / "home")
    for end, shift in ((FIRST, 5), (SECOND, 0)):
        train(space, end)
        index_by_hand(space, end)
        write_rows(space, end, shift, users=(1, WHO))
        space.run(publish, "--as-of", iso(end))
    before = space.copy_to(tmp_path_factory.mktemp("before") / "home", SETTINGS)
    assert command(space, "--user", str(WHO)) == 0
    return before, space


@pytest.fixture(scope="module")
def before(both):
    return both[0]


@pytest.fixture(scope="module")
def erased(both):
    return both[1]


@pytest.fixture
def space(erased, tmp_path):
    return erased.copy_to(tmp_path / "home", SETTINGS)


def bundle(space, kind, end=SECOND):
    return open_bundle(space.home / "bundles" / kind / iso(end).replace("-", "").replace(":", ""), kind=kind)


def people(space):
    rows = space.lake.read(USER_FEATURES, [Partition((SECOND - DAY).date())])
    return rows, space.lake.read(QUERY_TEXT, [Partition((SECOND - DAY).date())])


def renamed(rows, user_id):
    ids = pa.array([user_id if user == WHO else user for user in rows["user_id"].to_pylist()], pa.int64())
    return rows.set_column(rows.schema.get_field_index("user_id"), rows.schema.field("user_id"), ids)


def test_no_file_knows_the_user(before, erased):
    known = {name.split("/")[0] for name in mentions(before.home, WHO)}
    assert known >= {"lake", "store", "bundles", "mlflow"}
    assert mentions(erased.home, WHO) == []
    (receipt,) = receipts(erased)
    found = removed(receipt, "models")
    in_workspace = {name: count for name, count in found.items() if name.startswith("bundles/")}
    days = ("20260107T000000Z", "20260108T000000Z")
    assert in_workspace == {f"bundles/{kind}/{day}": count for kind, count in (("wals", 3), ("towers", 7)) for day in days}
    assert sum(found.values()) == 2 * sum(in_workspace.values())  # MLflow has a copy of each
    assert removed(receipt, "store") == {"store/version 1": 3, "store/version 2": 3}


def test_bundles_are_the_same_ones_less_the_user(before, erased):
    for kind in KINDS:
        for end in (FIRST, SECOND):
            was, now = bundle(before, kind, end), bundle(erased, kind, end)
            assert (now.digest, now.properties) == (was.digest, was.properties)
            assert bool(now.erasures) == (kind != "serving")


@pytest.mark.parametrize("part", ["early", "holdout", "final"])
def test_others_are_predicted_as_before_and_the_user_as_a_stranger(before, erased, part):
    rows, queries = people(before)
    others = np.array([user != WHO for user in rows["user_id"].to_pylist()])
    stranger = renamed(rows, WHO + 1)
    was, now = (FittedWals.load(bundle(one, "wals").path / part) for one in (before, erased))
    ids = rows["user_id"].to_numpy()
    assert np.array_equal(was.user_vectors(ids)[others], now.user_vectors(ids)[others])
    assert was.user_vectors(ids)[~others].any()
    assert not now.user_vectors(ids)[~others].any()
    assert np.array_equal(was.video_factors, now.video_factors)
    for name, kind in (("retrieval", FittedRetrieval), ("ranker", FittedRanker)):
        old, new = (kind.load(bundle(one, "towers").path / part / name) for one in (before, erased))
        vectors = [old.user_vectors(rows, queries, SECOND), new.user_vectors(rows, queries, SECOND)]
        assert np.array_equal(vectors[0][others], vectors[1][others])
        assert not np.array_equal(vectors[0][~others], vectors[1][~others])
        assert np.array_equal(vectors[1], old.user_vectors(stranger, queries, SECOND))


def test_the_baseline_forgets_too(before, erased):
    was, now = (FittedLogistic.load(bundle(one, "towers").path / train_towers.LOGISTIC) for one in (before, erased))
    assert len(now.weights) == len(was.weights) - 1
    assert WHO not in now.spec.vocabularies["user_id"].values.to_pylist()


def test_nothing_has_to_be_made_again(space):
    for stage in (train_wals, train_towers, noise_floor, gate, publish):
        assert space.run(stage, "--as-of", iso(SECOND)).up_to_date
    assert champions(space) == {SECOND}


def goes_back_without_the_user(space, capsys):
    """A rollback of a workspace that lacks a bundle of the day before fetches it, and brings nobody back."""
    shutil.rmtree(space.home / "bundles" / "wals" / "20260107T000000Z")
    code, said = back(space, capsys, "--by", "ann", "--reason", "too many cats")
    assert code == 0
    assert "bundles put back from the artifact store: wals" in said
    assert champions(space) == {FIRST}
    assert store(space).read(WHO, 5) == []
    assert store(space).read(1, 5) != []
    assert mentions(space.home, WHO) == []


def test_a_rollback_goes_back_and_brings_nobody_back(space, capsys):
    goes_back_without_the_user(space, capsys)


def test_what_was_published_can_be_fetched_and_is_verified(erased, tmp_path):
    with erased.environment():
        tracker = Tracker.open()
        published = tracker.at(_bundles.WALS, "champion")
        fetched = tracker.fetch(published)
        assert (fetched.digest, len(fetched.erasures)) == (published.digest, 1)
    copy = shutil.copytree(fetched.path, tmp_path / "copy")
    with (copy / "final" / "users.npy").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match=r"final/users\.npy has sha256"):
        open_bundle(copy, kind=_bundles.WALS)


def test_a_bundle_that_cannot_be_read_is_left_and_said(before, tmp_path, capsys):
    space = before.copy_to(tmp_path / "home", SETTINGS)
    broken = bundle(space, "wals").path
    (broken / "final" / "users.npy").write_bytes(b"nonsense")
    assert command(space, "--user", str(WHO)) == 2
    error = capsys.readouterr().err
    assert "1 things are not erased" in error
    assert f"if nothing needs that bundle, delete {broken}" in error
    shutil.rmtree(broken)
    assert command(space, "--user", str(WHO)) == 0
    assert mentions(space.home, WHO) == []
