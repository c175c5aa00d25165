"""Two days of a small platform: what a repeat does, and what a broken model may not."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jobs import _bundles, evaluate, gate, index, publish, recommend, scan, summary
from models.bundle import open_bundle, seal
from serving import SqliteStore
from tests.builders import Workspace, tree
from tests.e2e.day import (
    AFTER_BOTH,
    AFTER_FIRST,
    FIRST,
    FIRST_DAY,
    SECOND,
    SECOND_DAY,
    STAGES,
    K,
    aliases,
    bundle_path,
    differences,
    log,
    published,
    read,
)

pytestmark = pytest.mark.spark


class TestAgain:
    def test_a_repeat_finds_everything_up_to_date(self, both):
        before = tree(both.home / "lake"), tree(both.home / "bundles"), published(both), log(both)
        assert {stage.__name__: both.run(stage, "--as-of", SECOND).up_to_date for stage in STAGES} == {
            stage.__name__: True for stage in STAGES
        }
        assert (tree(both.home / "lake"), tree(both.home / "bundles"), published(both), log(both)) == before
        assert aliases(both) == AFTER_BOTH

    def test_force_makes_the_same_bytes_and_a_new_generation(self, both):
        lake, bundles = tree(both.home / "lake"), tree(both.home / "bundles")
        rows, entries = published(both), log(both)
        for stage in STAGES:
            assert not both.run(stage, "--as-of", SECOND, "--force").up_to_date, stage.__name__
        changed = {name.split("/")[0] for name in differences(tree(both.home / "lake"), lake)}
        assert changed == {"publication_switches"}  # the same lists went live once more
        assert differences(tree(both.home / "bundles"), bundles) == []
        assert published(both) == rows
        assert log(both) == [entries[0], (*entries[1][:1], "retired", *entries[1][2:]), entries[1]]
        assert aliases(both) == AFTER_BOTH

    @pytest.mark.parametrize("force", [(), ("--force",)])
    def test_an_older_day_is_superseded(self, both, force):
        before = published(both)
        report = both.run(publish, "--as-of", FIRST, *force)
        assert report.facts["status"] == "superseded"
        assert "newer" in report.notes[0]
        assert published(both) == before
        assert SqliteStore(both.home / "store" / "recommendations.sqlite").live().as_of == SECOND_DAY
        assert aliases(both) == AFTER_BOTH


class TestSabotage:
    def test_shuffled_vectors_are_refused_and_nothing_moves(self, eve):
        before = published(eve)
        shuffle(eve)
        eve.run(evaluate, "--as-of", SECOND)
        report = eve.run(gate, "--as-of", SECOND)
        assert report.facts["passed"] is False
        assert report.notes[0].startswith("refused: correlation_with_incumbent: ")
        assert report.facts["ndcg@10"] > 0  # the holdout models are as good as before: only the comparison can tell
        for stage in (index, recommend, scan, publish):
            status, _, error = eve.command(stage, "--as-of", SECOND)
            assert status == 2
            assert f"the gate refused: {report.notes[0]}; what is live stays live" in error
        assert published(eve) == before
        assert [row[:2] for row in log(eve)] == [(FIRST_DAY, "live")]
        assert aliases(eve) == AFTER_FIRST
        user = before["rows"][0][0]
        page = read(eve, str(user))
        assert f"user {user}: {K} recommendations" in page
        assert "20260107T000000Z-" in page
        eve.run(summary, "--as-of", SECOND)
        said = (eve.home / "runs" / "20260108T000000Z" / "summary.txt").read_text(encoding="utf-8")
        assert "the gate refused this run's models; what was live before stays live" in said
        assert "publish       failed: verdict as of 2026-01-08T00:00:00Z: the gate refused" in said

    def test_the_untouched_models_pass_after_the_same_sealing(self, eve):
        """The refusal above is due to the shuffling, not to sealing bundles by hand."""
        digests = {kind: open_bundle(bundle_path(eve, kind), kind=kind).digest for kind in ("wals", "towers")}
        for kind, digest in digests.items():
            found = open_bundle(bundle_path(eve, kind), kind=kind)
            assert seal(found.path, kind=kind, properties=found.properties).digest == digest
        assert eve.run(gate, "--as-of", SECOND, "--force").facts["passed"] is True


def shuffle(space: Workspace) -> None:
    """Give every video the vectors of another one in the final models of the second day, and seal them like new."""
    rng = np.random.default_rng(0)
    wals, towers = (open_bundle(bundle_path(space, kind), kind=kind) for kind in ("wals", "towers"))
    factors = np.load(wals.path / "final" / "video_factors.npy")
    np.save(wals.path / "final" / "video_factors.npy", rng.permutation(factors))
    of_videos = [f"video.tower.{table}.weight" for table in ("ids.0", "ids.1", "categories")]
    tables = {"retrieval": ["video.weight", "bias.weight"], "ranker": [*of_videos, "content.components", "crosses.tables.0"]}
    for name, keys in tables.items():
        file = towers.path / "final" / name / "weights.safetensors"
        weights = load_file(file)
        for key in keys:
            weights[key] = np.ascontiguousarray(rng.permutation(weights[key], axis=int(key.startswith("crosses"))))
        save_file(weights, file)
    for found in (wals, towers):
        seal(found.path, kind=found.kind, properties=found.properties)
        assert open_bundle(found.path, kind=found.kind).digest != found.digest
    assert {wals.kind, towers.kind} == {_bundles.WALS, _bundles.TOWERS}
