import json
import math

import pyarrow.parquet as pq
import pytest

from conf import ConfigError
from jobs import _shadow_report, plan, shadow
from jobs._lane import SHADOW
from jobs._tables import Partition
from jobs._tracking import CANDIDATE, CHAMPION, Tracker
from jobs._window import DAY, iso
from schemas import EXAMPLE_FEATURES, EXAMPLES
from schemas.errors import ReelflowError
from tests.builders import MADE_BY_HAND, Workspace, moment, stage_context, tree, window
from tests.jobs.planted import FIRST, SECOND, SETTINGS, planted, publish_by_hand, train

pytestmark = pytest.mark.slow

RUNS = {FIRST: "20260107T000000Z", SECOND: "20260108T000000Z"}
POPULAR_ONLY = {"recommend": {"learn_weights": False, "segments": [{"name": "all", "weights": {"popular": 1.0}}]}}
MORE_FACTORS = {"wals": {"factors": 8}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Models of two days that passed the gate; the first day's count as published, and are the champions."""
    space = planted(tmp_path_factory.mktemp("trained"))
    train(space, FIRST)
    publish_by_hand(space, FIRST)
    train(space, SECOND)
    with space.environment():
        tracker = Tracker.open()
        for kind in ("wals", "towers"):
            tracker.point(kind, CHAMPION, tracker.of_publication(kind, "by-hand"))
    return space


@pytest.fixture
def tried(trained, tmp_path):
    """A function that makes a copy of it in which something is tried, or goes on with one."""

    def one(settings=None, name="bigger", home=None, **more):
        own = {"name": name, "settings": settings or {}, "runs": 2, **more}
        if home is not None:
            return Workspace(home, {**SETTINGS, "shadow": own})
        return trained.copy_to(tmp_path / "home", {**SETTINGS, "shadow": own})

    return one


def run(space, end, *arguments):
    return space.run(shadow, "--as-of", iso(end), *arguments)


def report(space, end):
    return json.loads((space.home / "runs" / RUNS[end] / "shadow" / "report.json").read_text())


def kept(space, end):
    (folder,) = (path.parent for path in (space.home / "runs" / RUNS[end] / "shadow").glob("*/kept.json"))
    return json.loads((folder / "kept.json").read_text()), pq.read_table(folder / "lists.parquet").to_pylist()


def change_verdict(space, end, **changes):
    path = space.home / "runs" / RUNS[end] / "verdict.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class TestOutcome:
    def test_the_same_settings_make_the_same_lists_and_train_nothing(self, tried):
        space = tried()
        run(space, FIRST)
        run(space, SECOND)
        found, (day, _) = report(space, SECOND), report(space, SECOND)["days"]
        assert (day["lists_alike"], day["pearson"], day["trained"]) == (
            {"jaccard@5": 1.0, "rbo": pytest.approx(1)},
            pytest.approx(1),
            [],
        )
        assert day["gate"] == {"asked": 5, "refused": []}
        assert all(row["champion"] == row["candidate"] for row in kept(space, FIRST)[1])
        for name in ("ndcg@10", "recall@100"):
            assert [found["figures"][name][end] for end in ("difference", "low", "high")] == [0, 0, 0]
        assert found["figures"]["users"] > 20

    def test_a_champion_of_other_data_is_said(self, tried):
        space = tried()
        hour = Partition.hour(moment("2026-01-06T10:00"))
        assert space.lake.read(EXAMPLES, [hour]).num_rows > 1
        for of in (EXAMPLES, EXAMPLE_FEATURES):
            space.lake.write(of, hour, space.lake.read(of, [hour]).slice(1), MADE_BY_HAND)
        run(space, FIRST)
        (day,) = report(space, FIRST)["days"]
        assert day["trained"] == ["towers", "wals"]
        assert day["stale"] == [
            f"bundle {kind}: input example_features changed; input examples changed" for kind in ("wals", "towers")
        ]
        page = (space.home / "runs" / RUNS[FIRST] / "shadow" / "index.html").read_text()
        assert "the champion is not what would be made now: bundle wals: input example_features changed" in page

    def test_figures_are_those_of_what_users_did_the_day_after(self, tried, trained):
        space = tried(POPULAR_ONLY)
        run(space, FIRST)
        run(space, SECOND)
        events = trained.rows(EXAMPLES, window("2026-01-07T00:00", "2026-01-08T00:00"))
        events = [row for row in events if row["label"] == 1 and row["occurred_at"] >= FIRST]
        gains = {"champion": [], "candidate": []}
        recalls = {"champion": [], "candidate": []}
        for row in kept(space, FIRST)[1]:
            wanted = {one["video_id"] for one in events if one["user_id"] == row["user_id"]} - set(row["watched"])
            if not wanted:
                continue
            for side, own in gains.items():
                best = sum(1 / math.log2(place + 2) for place in range(min(10, len(wanted))))
                gain = sum(1 / math.log2(place + 2) for place, video in enumerate(row[side][:10]) if video in wanted)
                own.append(gain / best)
                recalls[side].append(len(wanted & set(row[side])) / len(wanted))
        found = report(space, SECOND)["days"][0]["judged"]
        assert found["users"] == len(gains["champion"])
        for side, values in gains.items():
            assert found[side]["ndcg@10"] == pytest.approx(sum(values) / len(values))
            assert found[side]["recall@100"] == pytest.approx(sum(recalls[side]) / len(values))

    def test_a_worse_candidate_is_called_worse(self, tried):
        # Users like the videos of their own half; popularity is the same for all of them.
        space = tried(POPULAR_ONLY, runs=1)
        assert run(space, FIRST).facts["state"] == "running"
        done = run(space, SECOND)
        assert done.facts["state"] == "worse"
        assert done.facts["ndcg@10_high"] < 0
        assert "not counted: 1 of 1 runs have been made" in done.notes
        assert report(space, SECOND)["said"].startswith("bigger: worse, 1 of 1 runs; over 1 judged: ndcg@10 -")

    def test_a_better_candidate_is_called_better(self, tried):
        space = tried(runs=1)
        change_verdict(space, FIRST, weights={segment: {"popular": 1.0} for segment in ("new", "light", "heavy")})
        run(space, FIRST)
        assert kept(space, FIRST)[0]["recipe"]["parameters"]["champion"]["weights"]["new"] == {"popular": 1.0}
        assert run(space, SECOND).facts["state"] == "better"
        assert report(space, SECOND)["figures"]["ndcg@10"]["low"] > 0
        assert "move shadow.settings to their sections" in report(space, SECOND)["next"]


class TestNothingElseIsTouched:
    def test_store_lake_models_and_aliases_stay_byte_for_byte(self, tried):
        space = tried(MORE_FACTORS)

        def outside():
            files = tree(space.home).items()
            return {
                name: content
                for name, content in files
                if not name.startswith(("mlflow/", "bundles/shadow/")) and "/shadow" not in name
            }

        def aliases(model):
            with space.environment():
                return dict(Tracker.open()._aliases(model))

        before = outside(), {kind: aliases(f"reelflow-{kind}") for kind in ("wals", "towers")}
        assert set(before[1]["wals"]) == {CHAMPION, CANDIDATE}
        run(space, FIRST)
        run(space, SECOND)
        assert (outside(), {kind: aliases(f"reelflow-{kind}") for kind in ("wals", "towers")}) == before
        with space.environment():
            versions = list(Tracker.open()._versions(f"reelflow-wals-{SHADOW}"))
        assert [version.tags["as_of"] for version in versions] == [iso(SECOND)]  # the older one was removed
        assert versions[0].tags["shadow"] == report(space, SECOND)["trial"]
        assert aliases(f"reelflow-towers-{SHADOW}") == {}  # the trial does not change them
        assert [path for path in (space.home / "bundles" / "shadow").rglob("*") if path.is_file()] == []
        assert kept(space, SECOND)[0]["trained"] == ["wals"]

    def test_mlflow_has_a_run_of_each_report(self, tried):
        space = tried()
        run(space, FIRST)
        with space.environment():
            tracker = Tracker.open()
            (found,) = tracker._client.search_runs([tracker._experiment_id], "tags.shadow != ''")
        assert found.data.tags["shadow.state"] == "running"
        assert (found.data.metrics["shadow_runs"], found.data.metrics["rbo"]) == (1.0, pytest.approx(1))


class TestRuns:
    def test_a_second_run_is_up_to_date_and_a_forced_one_makes_the_same_bytes(self, tried):
        space = tried(MORE_FACTORS)
        run(space, FIRST)
        run(space, SECOND)
        folders = [space.home / "runs" / name / "shadow" for name in RUNS.values()]
        before = [tree(folder) for folder in folders]
        assert all(run(space, end).up_to_date for end in RUNS)
        # The first day's report knows nothing of the second, however late it is made.
        assert not any(run(space, end, "--force").up_to_date for end in RUNS)
        assert [tree(folder) for folder in folders] == before
        assert report(space, FIRST)["runs"] == {"of": 2, "kept": 1, "judged": 0}
        assert report(space, SECOND)["runs"] == {"of": 2, "kept": 2, "judged": 1}
        assert report(space, FIRST)["days"][0]["waits"] == f"the day after it is known at {iso(FIRST + DAY)}"

    def test_lists_wait_while_the_day_after_is_not_in_the_lake(self, tried):
        space = tried(runs=1)
        run(space, FIRST)
        (space.home / "lake" / "examples" / "dt=2026-01-07" / "hr=13").rename(space.home / "away")
        assert run(space, SECOND).facts["state"] == "running"
        assert report(space, SECOND)["days"][0]["waits"] == "examples of 2026-01-07T13:00:00Z are not in the lake"

    def test_after_its_end_a_trial_says_the_same_without_the_log(self, tried, monkeypatch):
        space = tried(runs=1)
        run(space, FIRST)
        run(space, SECOND)
        before = report(space, SECOND)
        with space.environment():
            config = shadow.load("shadow", shadow.ShadowConfig)
            later = stage_context("shadow", "--as-of", iso(SECOND + DAY))
            over = _shadow_report.ended(later, config)
            found = _shadow_report.again(later, over)
            longer = _shadow_report.ended(later, config.model_copy(update={"runs": 2}))
        assert (before["state"], over, longer) == ("no difference", before, None)
        assert {name for name in found if found[name] != before[name]} == {"as_of", "left_out", "basis"}
        assert found["left_out"] == "the trial ended with the run as of 2026-01-08T00:00:00Z"

        def refused(*_, **__):
            raise AssertionError("the log was read")

        monkeypatch.setattr(_shadow_report, "content", refused)
        with space.environment():
            done = shadow.run(later)
            again = shadow.run(later)
        assert (done.up_to_date, again.up_to_date, done.facts["state"]) == (False, True, "no difference")

    def test_other_settings_are_another_trial(self, tried):
        space = tried(runs=1)
        run(space, FIRST)
        other = tried(POPULAR_ONLY, home=space.home, runs=1)
        assert "not counted" not in " ".join(run(other, SECOND).notes)
        assert report(other, SECOND)["runs"] == {"of": 1, "kept": 1, "judged": 0}

    def test_a_day_whose_own_models_were_refused_is_not_counted(self, tried):
        space = tried()
        change_verdict(space, FIRST, passed=False, reason="refused: planted")
        done = run(space, FIRST)
        assert done.notes[:2] == [
            "not counted: the gate refused the day's own models",
            "bigger: running, 0 of 2 runs, no day is judged yet",
        ]
        assert report(space, FIRST)["days"] == []

    def test_plan_names_what_would_be_made(self, tried):
        def units(space):
            with space.environment():
                steps = plan.plan(stage_context("plan", "--as-of", iso(FIRST)), ["shadow"])
                return [(unit.name, str(unit.status.state)) for step in steps for unit in step.units]

        space = tried()
        assert units(space) == [("shadow bigger", "missing")]
        run(space, FIRST)
        assert units(space) == [("shadow bigger", "up to date")]
        assert units(tried(name=None, home=space.home)) == []


class TestRefusals:
    def test_where_nothing_is_tried_nothing_is_done(self, workspace):
        assert workspace.run(shadow, "--as-of", iso(SECOND)).notes == ["nothing is tried: shadow.name is null"]
        assert not (workspace.home / "runs").exists()

    def test_an_hour_tries_nothing(self, workspace):
        with pytest.raises(ReelflowError, match="found the lane hourly, expected the daily one"):
            workspace.run(shadow, "--as-of", "2026-01-08T05:00:00Z", "--lane", "hourly")

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"features": {"popularity_half_life_days": 1.0}}, "found features, expected some of logistic, popularity"),
            ({"wals": {"factor": 8}}, "shadow.settings: unknown key 'wals.factor'; did you mean 'factors'"),
            ({"wals": {"factors": -1}}, "wals.factors = -1"),
        ],
    )
    def test_settings_that_cannot_be_tried(self, tried, settings, said):
        with pytest.raises(ConfigError, match=said):
            run(tried(settings), FIRST)

    def test_without_a_verdict_there_is_nothing_to_compare_with(self, tried):
        space = tried()
        (space.home / "runs" / RUNS[FIRST] / "verdict.json").unlink()
        with pytest.raises(ReelflowError, match=r"run gate --as-of 2026-01-07T00:00:00Z first"):
            run(space, FIRST)
