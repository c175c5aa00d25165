import pytest

from jobs import _bundles
from jobs._recipe import Recipe
from models.bundle import BundleError
from tests.builders import moment, stage_context, tree

RECIPE = Recipe({"examples": "abc"}, "code", {"seed": 1, "hidden": (128, 64)})
LIVE = "bundles/wals/20260108T000000Z"


def context_of(*more):
    return stage_context("train_wals", "--as-of", "2026-01-08T00:00:00Z", *more)


def commit(content=b"one", recipe=RECIPE, **properties):
    def write(folder):
        (folder / "final").mkdir()
        (folder / "final" / "a.npy").write_bytes(content)

    return _bundles.commit(context_of(), "wals", recipe, write, properties)


def test_a_bundle_lies_below_its_kind_and_as_of(workspace):
    assert _bundles.location(context_of(), "wals") == workspace.home / LIVE
    assert _bundles.location(context_of(), "towers", moment("2026-01-07T06:00")) == (
        workspace.home / "bundles" / "towers" / "20260107T060000Z"
    )


def test_what_was_committed_opens_again(workspace):
    made = commit(metrics={"loss": 0.5})
    found = _bundles.open_at(context_of(), "wals")
    assert found == made
    assert (found.path, found.kind) == (workspace.home / LIVE, "wals")
    assert found.properties == {
        "as_of": "2026-01-08T00:00:00Z",
        "metrics": {"loss": 0.5},
        "recipe": {"inputs": {"examples": "abc"}, "code_version": "code", "parameters": {"seed": 1, "hidden": [128, 64]}},
    }
    assert (found.path / "final" / "a.npy").read_bytes() == b"one"
    assert [path.name for path in (workspace.home / "bundles" / "wals").iterdir()] == ["20260108T000000Z"]


def test_equal_content_gives_equal_bytes(workspace):
    first, files = commit(), tree(workspace.home / "bundles")
    assert commit().digest == first.digest
    assert tree(workspace.home / "bundles") == files


@pytest.mark.parametrize(
    "changed",
    [
        {"content": b"two"},
        {"recipe": Recipe({"examples": "other"}, "code", RECIPE.parameters)},
        {"metrics": {"loss": 0.25}},
    ],
)
def test_any_other_content_has_another_digest(workspace, changed):
    assert commit().digest != commit(**changed).digest


def test_a_new_bundle_replaces_all_of_the_old_one(workspace):
    commit()
    (workspace.home / LIVE / "stray").write_text("left by somebody")
    commit(b"two")
    assert set(tree(workspace.home / LIVE)) == {"bundle.json", "final/a.npy"}
    assert tree(workspace.home / LIVE)["final/a.npy"] == b"two"
    assert [path.name for path in (workspace.home / "bundles" / "wals").iterdir()] == ["20260108T000000Z"]


def test_a_failed_commit_leaves_the_old_bundle(workspace):
    before = commit()

    def fail(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("no space left")

    with pytest.raises(RuntimeError, match="no space left"):
        _bundles.commit(context_of(), "wals", RECIPE, fail, {})
    assert _bundles.open_at(context_of(), "wals") == before
    commit()  # what the failure left behind does not get into the next one
    assert set(tree(workspace.home / LIVE)) == {"bundle.json", "final/a.npy"}


class TestCurrent:
    def test_the_same_recipe_finds_the_bundle(self, workspace):
        made = commit()
        assert _bundles.current(context_of(), "wals", RECIPE) == made

    @pytest.mark.parametrize(
        "other",
        [
            Recipe({"examples": "xyz"}, "code", RECIPE.parameters),
            Recipe(RECIPE.inputs, "newer code", RECIPE.parameters),
            Recipe(RECIPE.inputs, "code", {**RECIPE.parameters, "seed": 2}),
            Recipe(RECIPE.inputs, "code", {"seed": 1}),
        ],
    )
    def test_another_recipe_does_not(self, workspace, other):
        commit()
        assert _bundles.current(context_of(), "wals", other) is None

    def test_force_finds_nothing(self, workspace):
        commit()
        assert _bundles.current(context_of("--force"), "wals", RECIPE) is None

    def test_no_bundle_is_nothing(self, workspace):
        assert _bundles.current(context_of(), "wals", RECIPE) is None
        with pytest.raises(BundleError, match=r"found no bundle\.json; expected a sealed wals bundle"):
            _bundles.open_at(context_of(), "wals")

    def test_a_damaged_bundle_is_made_again(self, workspace):
        made = commit()
        (made.path / "final" / "a.npy").write_bytes(b"0ne")
        assert _bundles.current(context_of(), "wals", RECIPE) is None
        assert commit().digest == made.digest
        assert _bundles.current(context_of(), "wals", RECIPE) == made
