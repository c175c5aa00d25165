"""Hours over a live day: who gets a new list, what stays byte by byte, and what no order of runs may change."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from jobs import _bundles, _due, explain, gate, index, ingest, plan, publish, recommend, refresh, scan
from jobs._recipe import State, Status
from jobs._tables import Partition, Unit
from jobs._window import DAY, HOUR, Window, iso
from models.wals import FittedWals, confidence
from schemas import EXAMPLES, RECOMMENDATIONS, VIDEO_FEATURES
from schemas.errors import ReelflowError
from tests.builders import stage_context, tree
from tests.jobs.hours import HOURS, SETTINGS, happened, live_day, row_of, rows_of, run_hour, store, write_log, write_state
from tests.jobs.planted import FIRST, SECOND, train

pytestmark = [pytest.mark.slow, pytest.mark.spark]

FIVE, SIX, SEVEN = (FIRST + hours * HOUR for hours in (5, 6, 7))
ACTIVE = {3: 110, 4: 111}


@pytest.fixture(scope="module")
def day(spark, tmp_path_factory):
    """The day that ends at FIRST is live, and nothing happened since."""
    return live_day(tmp_path_factory.mktemp("day") / "home")


@pytest.fixture(scope="module")
def after_five(day, tmp_path_factory):
    """Users 3 and 4 watched something before five, and the hour published it."""
    space = day.copy_to(tmp_path_factory.mktemp("five") / "home", SETTINGS)
    happened(space, FIVE, ACTIVE)
    run_hour(space, FIVE)
    return space


@pytest.fixture
def space(after_five, tmp_path):
    return after_five.copy_to(tmp_path / "home", SETTINGS)


@pytest.fixture
def eve(day, tmp_path):
    """Before the first hour."""
    return day.copy_to(tmp_path / "eve", SETTINGS)


def hourly(stage, as_of):
    return stage_context(stage.__name__.removeprefix("jobs."), "--lane", "hourly", "--as-of", iso(as_of))


def wals(space, as_of):
    folder = "20260107T000000Z" if as_of == FIRST else f"20260107T{as_of.hour:02d}0000Z"
    return FittedWals.load(space.home / "bundles" / "wals" / folder / "final")


class TestAnHour:
    def test_active_users_get_new_lists_and_all_others_keep_theirs(self, day, after_five):
        before, after = rows_of(day), rows_of(after_five)
        assert set(after) == set(before) == set(range(1, 41))
        for user, rows in after.items():
            if user in ACTIVE:
                assert {(row[8][:16], row[9], row[10]) for row in rows} == {
                    ("20260107T050000Z", "2026-01-07T05:00:00Z", "2026-01-09T05:00:00Z")
                }
                assert [row[1] for row in rows] == list(range(1, 11))
                assert ACTIVE[user] not in [row[2] for row in rows]  # watched by now
            else:
                assert rows == before[user]

    def test_the_day_in_the_lake_stays_what_it_was(self, day, after_five):
        yesterday = Partition((FIRST - DAY).date())
        assert after_five.lake.manifest(RECOMMENDATIONS, yesterday) == day.lake.manifest(RECOMMENDATIONS, yesterday)
        assert after_five.lake.manifest(RECOMMENDATIONS, Partition(FIRST.date())) is None

    def test_it_is_on_record(self, after_five):
        live = store(after_five).live()
        assert (live.version, live.base, live.as_of, live.root_as_of) == (2, 1, FIVE, FIRST)
        assert (live.users, live.rows) == (40, 400)
        verdict = json.loads((after_five.home / "runs/20260107T050000Z/verdict.json").read_text())
        assert (verdict["passed"], verdict["lane"]) == (True, "hourly")
        assert verdict["incumbent"] == {"wals": "2026-01-07T00:00:00Z", "towers": "2026-01-07T00:00:00Z"}
        scanned = json.loads((after_five.home / "runs/20260107T050000Z/last_scan.json").read_text())
        assert (scanned["figures"]["lists"], scanned["figures"]["active users"]) == (2, 2)

    def test_models_of_an_hour_are_apart_from_those_of_days(self, after_five):
        client = MlflowClient(f"sqlite:///{after_five.home}/mlflow/mlflow.db")
        of_day = client.get_model_version_by_alias("reelflow-wals", "champion")
        of_hour = client.get_model_version_by_alias("reelflow-wals-hourly", "candidate")
        assert (of_day.tags["as_of"], of_hour.tags["as_of"]) == ("2026-01-07T00:00:00Z", "2026-01-07T05:00:00Z")
        assert len(client.search_model_versions("name='reelflow-wals'")) == 1

    def test_the_fold_in_is_the_least_squares_of_all_that_a_user_did(self, day, after_five):
        """Against the normal equations of one user, solved densely."""
        old, new = wals(day, FIRST), wals(after_five, FIVE)
        data = after_five.lake.read(EXAMPLES, after_five.lake.partitions(EXAMPLES, stage_window()))
        users, videos, weights = confidence(data, old.config, FIVE)
        for user in ACTIVE:
            cells = {}
            for video, weight in zip(videos[users == user].tolist(), weights[users == user].tolist(), strict=True):
                cells[video] = cells.get(video, 0.0) + weight
            known = [video for video in cells if old.videos.lookup(np.array([video]))[0] >= 0]
            factors = old.video_factors.astype(np.float64)
            theirs = old.video_vectors(np.array(known)).astype(np.float64)
            extra = np.array([cells[video] for video in known]) / old.config.unobserved_weight
            penalty = old.config.regularization * 2.0 ** np.round(old.config.regularization_exponent * np.log2(len(known)))
            left = factors.T @ factors + theirs.T @ (theirs * extra[:, None]) + penalty * np.eye(old.config.factors)
            expected = np.linalg.solve(left, theirs.T @ (1 + extra))
            np.testing.assert_allclose(new.user_vectors(np.array([user]))[0], expected, rtol=1e-3, atol=1e-4)
        others = np.array([user for user in old.users.ids.tolist() if user not in ACTIVE])
        assert new.user_vectors(others).tobytes() == old.user_vectors(others).tobytes()
        assert new.video_factors.tobytes() == old.video_factors.tobytes()

    def test_a_list_of_it_can_be_explained(self, after_five):
        user = next(iter(ACTIVE))
        with after_five.environment():
            said = explain.run(hourly(explain, FIVE), user, rows_of(after_five)[user][0][2])
        assert said.splitlines()[0].startswith(f"user {user}, video ")
        assert ": rank 1 of the list (segment " in said
        assert "made otherwise" not in said

    def test_run_again_it_does_nothing(self, space):
        before, published = rows_of(space), store(space).publications()
        reports = run_hour(space, FIVE)
        assert all(report.up_to_date for report in reports.values()), reports
        assert (rows_of(space), store(space).publications()) == (before, published)

    def test_forced_it_makes_the_same_again(self, space):
        before = {user: [row[:8] for row in rows] for user, rows in rows_of(space).items()}
        digests = [_bundles.models(_context(space, refresh)).get(kind).digest for kind in ("wals", "towers")]
        for stage in (refresh, gate, index):
            space.run(stage, "--lane", "hourly", "--as-of", iso(FIVE), "--force")
        assert [_bundles.models(_context(space, refresh)).get(kind).digest for kind in ("wals", "towers")] == digests
        assert {user: [row[:8] for row in rows] for user, rows in rows_of(space).items()} == before

    def test_what_happens_at_or_after_the_hour_changes_nothing(self, eve, after_five):
        happened(eve, FIVE, ACTIVE)
        write_log(eve, [row_of(7, 112, FIVE + HOUR / 2), row_of(3, 113, FIVE + HOUR / 2)], Window(FIVE, SIX))
        run_hour(eve, FIVE)
        assert rows_of(eve) == rows_of(after_five)


class TestHourAfterHour:
    def test_lists_are_new_for_whom_something_happened_since_their_own(self, space):
        first = rows_of(space)
        happened(space, SIX, {4: 112, 7: 113})
        reports = run_hour(space, SIX)
        assert reports["recommend"].read == {"users": 2}
        second = rows_of(space)
        changed = {user for user in second if second[user] != first[user]}
        assert changed == {4, 7}
        assert {user: rows[0][9] for user, rows in second.items() if rows[0][9] != iso(FIRST)} == {
            3: iso(FIVE), 4: iso(SIX), 7: iso(SIX)
        }  # fmt: skip

    def test_an_hour_that_never_ran_is_made_up_for(self, space):
        happened(space, SIX, {8: 112})
        happened(space, SEVEN, {9: 113})
        assert run_hour(space, SEVEN)["recommend"].read == {"users": 2}
        assert {user: rows[0][9] for user, rows in rows_of(space).items() if rows[0][9] != iso(FIRST)} == {
            3: iso(FIVE), 4: iso(FIVE), 8: iso(SEVEN), 9: iso(SEVEN)
        }  # fmt: skip

    def test_it_always_begins_at_the_model_of_the_day(self, space, eve):
        happened(space, SIX, {8: 112})
        run_hour(space, SIX)
        happened(eve, FIVE, ACTIVE)
        happened(eve, SIX, {8: 112})
        run_hour(eve, SIX)
        assert wals(space, SIX).user_factors.tobytes() == wals(eve, SIX).user_factors.tobytes()
        lists = [rows_of(one) for one in (space, eve)]
        for user in set(lists[0]) - set(ACTIVE):  # theirs are as of five in one, as of six in the other
            assert [row[:8] for row in lists[0][user]] == [row[:8] for row in lists[1][user]]

    def test_an_hour_in_which_nothing_happened_brings_fallback_lists_alone(self, space):
        happened(space, SIX, {})
        before = rows_of(space)
        reports = run_hour(space, SIX)
        assert (reports["recommend"].read, reports["publish"].facts["status"]) == ({"users": 0}, "live")
        assert rows_of(space) == before
        assert store(space).live().as_of == SIX

    def test_a_list_that_shows_what_was_removed_since_is_made_again(self, space):
        before = rows_of(space)
        shown = before[20][0][2]
        theirs = {user for user, rows in before.items() if shown in [row[2] for row in rows]}
        write_state(space, happened(space, SIX, {}), SIX, removed=[shown])
        reports = run_hour(space, SIX)
        after = rows_of(space)
        assert theirs == {user for user in after if after[user] != before[user]}
        assert all(shown not in [row[2] for row in rows] for rows in after.values())
        assert reports["recommend"].read == {"users": len(theirs)}

    def test_lists_that_expire_soon_are_made_again(self, space):
        settings = {**SETTINGS, "hourly": {**SETTINGS["hourly"], "renew_hours": 45.0}}
        space = type(space)(space.home, settings)
        happened(space, SIX, {})  # expires at midnight two days after FIRST: within 45 hours of six
        assert run_hour(space, SIX)["recommend"].read == {"users": 38}


class TestPlan:
    """What ``jobs.plan`` says of hours; their log is changed by writing one of its partitions anew."""

    def planned(self, space, as_of):
        with space.environment():
            steps = list(plan.plan(hourly(plan, as_of), plan.HOUR_STAGES))
        units = {unit.name: (str(unit.status.state), unit.status.why) for step in steps for unit in step.units}
        return units, {step.stage: step.waits_for for step in steps if step.waits_for}

    def past(self, space, *steps):
        with space.environment():
            found = plan.past_hours(stage_context("plan", "--as-of", iso(SECOND)), steps)
        return {unit.partition.path: (str(unit.status.state), unit.status.why) for unit in found.units}

    def written(self, space):
        """Every file but the store's, where SQLite moves its own pages about, and what the store holds."""
        files = {name: content for name, content in tree(space.home).items() if not name.startswith("store/")}
        return files, rows_of(space), store(space).publications()

    def late(self, space):
        """Something more happened between three and four."""
        write_log(space, [row_of(9, 114, FIVE - 1.5 * HOUR)], Window(FIVE - 2 * HOUR, FIVE - HOUR))

    def test_of_a_published_hour_all_is_up_to_date(self, space):
        before = self.written(space)
        found, waiting = self.planned(space, FIVE)
        assert found == dict.fromkeys(
            ("bundle wals", "bundle towers", "verdict", "bundle serving", "recommendations", "last scan", "live version"),
            ("up to date", ""),
        )
        assert not waiting
        assert self.written(space) == before, "a plan writes nothing"

    def test_what_is_due_is_found_without_being_kept(self, space):
        happened(space, SIX, {8: 112})
        for stage in (refresh, gate, index):
            space.run(stage, "--lane", "hourly", "--as-of", iso(SIX))
        found, waiting = self.planned(space, SIX)
        assert found["recommendations"] == ("missing", "never made")
        assert waiting == {"scan": "recommend", "publish": "recommend"}
        assert not (space.lake.root / "_hourly/20260107T060000Z").exists()

    def test_a_late_file_makes_the_hour_stale(self, space):
        assert self.past(space) == {"dt=2026-01-07/hr=04": ("up to date", "")}
        self.late(space)
        why = "input examples changed; input example_features changed; input interactions changed"
        assert self.past(space) == {"dt=2026-01-07/hr=04": ("stale", why)}
        found, waiting = self.planned(space, FIVE)
        assert {name: state for name, (state, _) in found.items()} == {"bundle wals": "stale", "bundle towers": "stale"}
        assert waiting == dict.fromkeys(plan.HOUR_STAGES[1:], "refresh")

    def test_so_does_one_that_is_yet_to_be_taken_in(self, space):
        hour = Partition.hour(FIVE - 2 * HOUR)
        step = plan.Step("ingest", [Unit("interactions", hour, Status(State.STALE, "input interactions changed"))])
        why = "reads interactions dt=2026-01-07/hr=03, which is to be made"
        assert self.past(space, step) == {"dt=2026-01-07/hr=04": ("stale", why)}

    def test_an_hour_that_a_later_one_went_over_is_no_work(self, space):
        happened(space, SIX, {8: 112})
        run_hour(space, SIX)
        assert set(self.past(space).values()) == {("up to date", "")}
        self.late(space)
        found = self.past(space)
        assert [state for state, _ in found.values()] == ["up to date", "stale"]
        assert found["dt=2026-01-07/hr=04"][1].endswith("input interactions changed; a later run went over it")

    def test_an_hour_whose_turn_is_over_is_one_line(self, space):
        found, waiting = self.planned(space, SECOND)
        assert found == {"hour": ("up to date", "nothing to do: as of 2026-01-08T00:00:00Z, a midnight, is the daily run's")}
        assert not waiting


class TestSuperseded:
    def test_an_older_hour_changes_nothing(self, space):
        happened(space, SIX, {8: 112})
        run_hour(space, SIX)
        before = rows_of(space)
        reports = run_hour(space, FIVE)
        assert reports["publish"].facts["status"] == "superseded"
        assert rows_of(space) == before

    def test_a_day_that_became_live_meanwhile_is_not_spoilt(self, space):
        happened(space, SIX, {8: 112})
        for stage in HOURS[:-1]:
            space.run(stage, "--lane", "hourly", "--as-of", iso(SIX))
        space.run(publish, "--as-of", iso(FIRST), "--force")
        before = rows_of(space)
        report = space.run(publish, "--lane", "hourly", "--as-of", iso(SIX))
        assert report.facts == {"status": "superseded"}
        assert "version 3 is live, these lists go over version 2" in report.notes[0]
        assert rows_of(space) == before
        # The late day went under what the hour before it knew.
        assert {user for user, rows in before.items() if rows[0][9] == iso(FIVE)} == set(ACTIVE)

    def test_the_next_day_replaces_all(self, space):
        train(space, SECOND)
        for stage in (index, recommend, scan, publish):
            space.run(stage, "--as-of", iso(SECOND))
        assert {row[9] for rows in rows_of(space).values() for row in rows} == {iso(SECOND)}
        verdict = json.loads((space.home / "runs/20260108T000000Z/verdict.json").read_text())
        assert verdict["incumbent"]["wals"] == iso(FIRST)  # not the hour's

    def test_after_a_rollback_the_hour_goes_on_from_what_is_live(self, space):
        store(space).rollback()
        happened(space, SIX, {8: 112})
        assert run_hour(space, SIX)["recommend"].read == {"users": 3}  # 3 and 4 are behind again
        assert store(space).live().base == 1


class TestTurns:
    def test_midnight_is_the_days(self, eve):
        status, out, _ = eve.command(ingest, "--lane", "hourly", "--as-of", iso(SECOND))
        assert (status, out.strip()) == (
            0, "reelflow | ingest | nothing to do: as of 2026-01-08T00:00:00Z, a midnight, is the daily run's"
        )  # fmt: skip

    def test_an_hour_that_its_day_has_overtaken_touches_nothing(self, space):
        for later in (SIX, SECOND):
            folder = space.home / "runs" / f"{later:%Y%m%dT%H%M%SZ}"
            folder.mkdir(exist_ok=True)
            (folder / "begun").touch()
            before = space.lake.manifest(VIDEO_FEATURES, Partition(FIVE.date()))
            status, out, _ = space.command(refresh, "--lane", "hourly", "--as-of", iso(FIVE))
            assert (status, f"superseded: the run as of {iso(later)} of the same day has begun" in out) == (0, True)
            assert space.lake.manifest(VIDEO_FEATURES, Partition(FIVE.date())) == before

    def test_the_day_before_does_not_overtake(self, space):
        folder = space.home / "runs" / f"{FIRST:%Y%m%dT%H%M%SZ}"
        (folder / "begun").touch()
        status, out, _ = space.command(refresh, "--lane", "hourly", "--as-of", iso(FIVE))
        assert (status, "up to date" in out) == (0, True)


def test_without_a_published_day_there_is_nothing_to_go_on_from(day, tmp_path):
    space = day.copy_to(tmp_path / "home", SETTINGS)
    (space.home / "store" / "recommendations.sqlite").unlink()
    (space.home / "mlflow" / "mlflow.db").unlink()
    happened(space, FIVE, ACTIVE)
    with pytest.raises(ReelflowError, match="found no models that were published together by 2026-01-07T05:00:00Z"):
        space.run(refresh, "--lane", "hourly", "--as-of", iso(FIVE))


def test_a_model_that_went_astray_is_refused(space):
    strict = type(space)(space.home, {**SETTINGS, "hourly": {**SETTINGS["hourly"], "min_correlation": 1.0}})
    report = strict.run(gate, "--lane", "hourly", "--as-of", iso(FIVE))
    assert report.facts["passed"] is False
    assert "correlation_with_base" in report.notes[0]
    with pytest.raises(ReelflowError, match="the gate refused"):
        strict.run(index, "--lane", "hourly", "--as-of", iso(FIVE))
    without = type(space)(space.home, {**SETTINGS, "hourly": {**SETTINGS["hourly"], "min_correlation": None}})
    assert "no threshold: set hourly.min_correlation" in without.run(gate, "--lane", "hourly", "--as-of", iso(FIVE)).notes[0]


def test_the_scan_finds_who_is_missing_and_who_is_not_due(space):
    with space.environment():
        due = _due.standing(hourly(scan, FIVE))
        assert due.users.tolist() == [3, 4]
        _due.write_at(hourly(scan, FIVE).lists.root, _due.Due(due.base, np.array([3, 9]), due.reasons))
    with pytest.raises(
        ReelflowError, match=r"coverage.*user_id=9.*strangers.*user_id=4|strangers.*user_id=4.*coverage.*user_id=9"
    ):
        space.run(scan, "--lane", "hourly", "--as-of", iso(FIVE))


def _context(space, stage):
    with space.environment():
        return hourly(stage, FIVE)


def stage_window():
    return Window(FIRST - 3 * DAY, FIVE)
