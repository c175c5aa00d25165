import json
from datetime import UTC, datetime

import pytest
from _runs import (
    BY_KIND,
    NO,
    STALE,
    YES,
    Kind,
    forced,
    kind_of,
    publishes,
    reason_for_no_shadow,
    reason_not_to_ask,
    refuse_common_end,
)
from _window import WindowError, window_of

STAGES = ("ingest", "train", "publish")
WINDOW = window_of(datetime(2026, 1, 7, tzinfo=UTC))


@pytest.mark.parametrize(
    ("run_type", "kind"),
    [
        ("scheduled", "live"),
        ("backfill", "backfill"),
        ("manual", "manual"),
        ("operator_triggered", "manual"),
        ("asset_triggered", "manual"),
    ],
)
def test_kinds(run_type, kind):
    from airflow.utils.types import DagRunType

    assert kind_of(run_type) == kind
    assert kind_of(DagRunType(run_type)) == kind


@pytest.mark.parametrize(
    ("recompute", "force", "redone"),
    [
        (STALE, False, set()),
        (STALE, True, {"ingest", "train", "publish", "summary"}),
        ("ingest", False, {"ingest", "train", "publish", "summary"}),
        ("train", False, {"train", "publish", "summary"}),
        ("train", True, {"ingest", "train", "publish", "summary"}),
        ("publish", False, {"publish", "summary"}),
    ],
)
def test_what_is_redone(recompute, force, redone):
    assert {stage for stage in (*STAGES, "summary") if forced(stage, STAGES, recompute, force)} == redone


@pytest.mark.parametrize(("wanted", "kinds"), [(BY_KIND, {Kind.LIVE, Kind.MANUAL}), (YES, set(Kind)), (NO, set())])
def test_which_runs_publish(wanted, kinds):
    assert {kind for kind in Kind if publishes(kind, wanted)} == kinds


@pytest.mark.parametrize(("wanted", "kinds"), [(BY_KIND, {Kind.LIVE, Kind.MANUAL}), (YES, set(Kind)), (NO, set())])
def test_which_runs_try_something(wanted, kinds):
    assert {kind for kind in Kind if reason_for_no_shadow(kind, wanted, "bigger-towers") is None} == kinds
    assert {reason_for_no_shadow(kind, wanted, None) for kind in Kind} == {"nothing is tried: shadow.name is null"}


def test_a_backfill_has_no_common_window():
    refuse_common_end(Kind.BACKFILL, None)
    refuse_common_end(Kind.MANUAL, "2026-01-08T00:00:00Z")
    with pytest.raises(WindowError, match="found in a backfill"):
        refuse_common_end(Kind.BACKFILL, "2026-01-08T00:00:00Z")


class TestAsking:
    @pytest.fixture
    def published(self, tmp_path):
        """Reports of ``publish`` of some ends of windows."""

        def write(**statuses):
            for folder, status in statuses.items():
                (tmp_path / folder[1:]).mkdir()
                (tmp_path / folder[1:] / "publish.json").write_text(json.dumps({"facts": {"status": status}}))
            return tmp_path

        return write

    def test_a_live_run_asks_and_so_does_a_person_s_own(self, published):
        runs = published(_20260107T000000Z="live", _20260108T000000Z="live")
        assert reason_not_to_ask(Kind.LIVE, WINDOW, runs, can_wait=True) is None
        assert reason_not_to_ask(Kind.MANUAL, WINDOW, runs, can_wait=True) is None

    def test_a_backfill_never_asks(self, tmp_path):
        assert reason_not_to_ask(Kind.BACKFILL, WINDOW, tmp_path, can_wait=True) == "a backfill never asks"

    def test_an_old_run_never_asks(self, published):
        runs = published(_20260109T000000Z="live")
        assert reason_not_to_ask(Kind.LIVE, WINDOW, runs, can_wait=True) == (
            "an old run never asks: a run as of 2026-01-09T00:00:00Z was published"
        )

    def test_newer_hours_and_runs_that_were_not_published_do_not_make_it_old(self, published):
        runs = published(_20260108T050000Z="live", _20260109T000000Z="superseded")
        (runs / "20260110T000000Z").mkdir()
        (runs / "20260110T000000Z" / "publish.json").write_text("{")
        assert reason_not_to_ask(Kind.LIVE, WINDOW, runs, can_wait=True) is None

    def test_nobody_is_asked_where_nobody_can_wait(self, tmp_path):
        assert reason_not_to_ask(Kind.LIVE, WINDOW, tmp_path, can_wait=False) == "airflow.approval_hours is 0"
