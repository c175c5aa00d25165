"""One flipped byte in any file of a bundle, or in the lists: whoever would load it refuses, and names the file."""

import pytest

from jobs import _bundles, evaluate, explain, gate, index, publish, recommend, scan
from jobs._registry import KINDS
from jobs._tables import MANIFEST, Lake, Partition, TableError
from jobs._window import DAY, iso
from models.bundle import MANIFEST as SEAL
from models.bundle import BundleError
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS
from schemas.errors import ReelflowError
from tests.builders import MADE_BY_HAND, stage_context
from tests.jobs.planted import SECOND, build_index, planted, train
from tests.jobs.publishing import rows_of

pytestmark = pytest.mark.slow

STAMP = "20260108T000000Z"
READERS = {
    "wals": (evaluate, gate, index, recommend, scan, publish),
    "towers": (evaluate, gate, index, recommend, scan, publish),
    "serving": (recommend, scan, publish),
}


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """Models and an index of a day, as their stages leave them, and some lists."""
    space = planted(tmp_path_factory.mktemp("judged"))
    train(space, SECOND)
    build_index(space, SECOND)
    today = Partition((SECOND - DAY).date())
    space.lake.write(RECOMMENDATIONS, today, rows_of({1: [101, 102]}), MADE_BY_HAND)
    space.lake.write(FALLBACK_RECOMMENDATIONS, today, FALLBACK_RECOMMENDATIONS.arrow.empty_table(), MADE_BY_HAND)
    return space


@pytest.fixture
def flip():
    """A function that flips a bit in the middle of a file until the test is over."""
    whole = {}

    def change(path):
        content = whole.setdefault(path, path.read_bytes())
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])

    def restore():
        for path, content in whole.items():
            path.write_bytes(content)
        whole.clear()

    change.restore = restore
    yield change
    restore()


def files_of(space, kind):
    return sorted(path for path in (space.home / "bundles" / kind / STAMP).rglob("*") if path.is_file() and path.stat().st_size)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_bundle_is_held_to_its_digest(space, flip, kind):
    files = [path for path in files_of(space, kind) if path.name != SEAL]
    endings = {path.suffix for path in files}
    assert endings >= {"wals": {".npy", ".json"}, "towers": {".safetensors", ".json"}, "serving": {".faiss", ".npy"}}[kind]
    with space.environment():
        context = stage_context("index", "--as-of", iso(SECOND))
        for path in files:
            flip(path)
            name = path.relative_to(space.home / "bundles" / kind / STAMP).as_posix()
            with pytest.raises(BundleError) as refused:
                _bundles.open_at(context, kind)
            assert f"file {name} has sha256 " in str(refused.value)
            assert str(refused.value).endswith("it is damaged: train it again")
            flip.restore()
            assert _bundles.open_at(context, kind).kind == kind
    print(f"{kind}: {len(files)} files, {sorted(endings)}")


@pytest.mark.parametrize(("kind", "stage"), [(kind, stage) for kind, stages in READERS.items() for stage in stages])
def test_every_stage_that_loads_it_refuses(space, flip, kind, stage):
    damaged = next(path for path in files_of(space, kind) if path.name != SEAL)
    flip(damaged)
    status, _, error = space.command(stage, "--as-of", iso(SECOND))
    assert status == 2
    assert f"{damaged.name} has sha256 " in error
    assert "it is damaged: train it again" in error


@pytest.mark.parametrize("kind", KINDS)
def test_so_does_what_explains_a_list(space, flip, kind):
    flip(next(path for path in files_of(space, kind) if path.name != SEAL))
    with space.environment(), pytest.raises(BundleError, match="it is damaged: train it again"):
        explain.run(stage_context("explain", "--as-of", iso(SECOND)), 1, 101)


@pytest.mark.parametrize("kind", ["wals", "towers"])
def test_a_seal_that_was_changed_is_another_bundle_than_the_gate_passed(space, flip, kind):
    seal = space.home / "bundles" / kind / STAMP / SEAL
    flip(seal)  # in the middle of some digest or property
    with space.environment(), pytest.raises(ReelflowError):
        index.run(stage_context("index", "--as-of", iso(SECOND), "--force"))


class TestLists:
    @pytest.fixture
    def lake(self, tmp_path):
        return Lake(tmp_path / "lake")

    def test_a_flipped_byte_in_a_partition_is_named(self, lake, flip):
        today = Partition((SECOND - DAY).date())
        lake.write(RECOMMENDATIONS, today, rows_of({1: [11, 12], 2: [21]}), MADE_BY_HAND)
        lake.require_undamaged(RECOMMENDATIONS, today)
        (file,) = lake.files(RECOMMENDATIONS, [today])
        flip(file)
        with pytest.raises(TableError) as refused:
            lake.require_undamaged(RECOMMENDATIONS, today)
        assert f"table recommendations, dt=2026-01-07: file {file}: found sha256 " in str(refused.value)
        assert str(refused.value).endswith("it is damaged: run the stage that writes it again with --force")

    def test_so_is_a_manifest_whose_digest_does_not_fit(self, lake):
        today = Partition((SECOND - DAY).date())
        made = lake.write(RECOMMENDATIONS, today, rows_of({1: [11]}), MADE_BY_HAND)
        path = lake.path(RECOMMENDATIONS, today) / MANIFEST
        path.write_text(path.read_text().replace(made.digest, "0" * 64))
        with pytest.raises(TableError, match="its digest does not fit its files"):
            lake.require_undamaged(RECOMMENDATIONS, today)

    def test_what_was_never_made_is_not_damaged(self, lake):
        lake.require_undamaged(RECOMMENDATIONS, Partition(SECOND.date()))
