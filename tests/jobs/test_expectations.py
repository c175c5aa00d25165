"""Tables with planted defects: each fails exactly the expectation that it breaks, and stops what comes after it."""

import json
import os
import re
import shutil
import subprocess
import sys
import types
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from jobs import _expectations, _tables, data_docs, summary
from jobs._stage import Report
from jobs._tables import Partition
from jobs._window import iso
from schemas import (
    EXAMPLES,
    FALLBACK_RECOMMENDATIONS,
    INTERACTIONS,
    RECOMMENDATIONS,
    REJECTED,
    REJECTED_SNAPSHOTS,
    SCORE_PARTS,
)
from tests.builders import MADE_BY_HAND, Workspace, arrow, interaction, moment, write_catalogue

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
AS_OF = ("--as-of", "2026-01-08")
# Days of 20 events in place of thousands; all rates of the good tables are well inside the limits of base.yaml.
SMALL = {"min_rows": 10}
DAYS = [moment("2026-01-03T09:00") + timedelta(days=day) for day in range(5)]
TODAY, NINE = DAYS[-1], Partition.hour(DAYS[-1])


def stage(name):
    """A stage of this name that finds everything up to date."""
    return types.SimpleNamespace(__name__=f"jobs.{name}", __doc__="Stand in.", run=lambda _: Report(up_to_date=True))


def write_hour(lake, hour, *, events=None, refused=0, **counts):
    """An hour of interactions and of what was refused with them."""
    events = [event(hour, number) for number in range(20)] if events is None else events
    facts = {"read": len(events) + refused + counts.get("duplicate", 0), "kept": len(events), "rejected": refused, **counts}
    row = {"source": "interactions", "file": "f", "reason": "wrong_type", "detail": "user_id"}
    lake.write(REJECTED, Partition.hour(hour), arrow(REJECTED, [row] * refused), MADE_BY_HAND, facts)
    lake.write(INTERACTIONS, Partition.hour(hour), arrow(INTERACTIONS, events), MADE_BY_HAND, facts)


def event(hour, number, **more):
    """A watch, the tenth of an hour's being a search."""
    kind = {"kind": "search", "video": None, "query": "q"} if number == 10 else {"kind": "watch", "device": "tv"}
    row = interaction(f"{iso(hour)}-{number}", at=hour + timedelta(minutes=number), user=number, **kind)
    return {**row, **more}


def write_examples(lake, hour, positives=1, rows=20):
    """Examples of which so many are relevant; a negative stands for five."""
    basic = {
        "exposure": "impression",
        "occurred_at": hour,
        "known_at": hour,
        "watch_seconds": 0.0,
        "user_id": 1,
        "video_id": 10,
    }
    flags = dict.fromkeys(("clicked", "completed", "liked", "shared", "disliked", "missed"), False)
    made = [
        {**basic, **flags, "event_id": f"{iso(hour)}-{n}", "label": int(n < positives), "sample_rate": r, "weight": 1 / r}
        for n in range(rows)
        for r in (1.0 if n < positives else 0.2,)
    ]
    lake.write(EXAMPLES, Partition.hour(hour), arrow(EXAMPLES, made), MADE_BY_HAND)


def write_lists(lake, lengths):
    """A list of recommendations of each length, one a user."""
    more = {"rules": "", "propensity": 1.0, **dict.fromkeys(SCORE_PARTS, 0.0)}
    rows = [
        {"user_id": user, "rank": rank, "video_id": rank, "score": 1.0, "sources": "s", "reason": "r", **more}
        for user, length in enumerate(lengths)
        for rank in range(1, length + 1)
    ]
    lake.write(RECOMMENDATIONS, Partition(TODAY.date()), arrow(RECOMMENDATIONS, rows), MADE_BY_HAND)


def good(space):
    """Five days that pass every suite."""
    for hour in DAYS:
        write_hour(space.lake, hour, refused=0)
        write_examples(space.lake, hour)
        write_catalogue(space.lake, hour, [{"video_id": number, "title": "t"} for number in range(20)], [{"user_id": 1}])
        space.lake.write(REJECTED_SNAPSHOTS, Partition(hour.date()), arrow(REJECTED_SNAPSHOTS, []), MADE_BY_HAND)
    write_lists(space.lake, [3] * 20)
    fallback = {"segment": "all", "rank": 1, "video_id": 1, "score": 1.0, "sources": "s", "reason": "r"}
    lists = arrow(FALLBACK_RECOMMENDATIONS, [fallback])
    space.lake.write(FALLBACK_RECOMMENDATIONS, Partition(TODAY.date()), lists, MADE_BY_HAND)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    space = Workspace(tmp_path_factory.mktemp("made") / "home")
    good(space)
    return space


@pytest.fixture
def space(made, tmp_path):
    return made.copy_to(tmp_path / "home", {"expectations": SMALL})


def configured(space, **settings):
    """The same workspace with other limits."""
    return Workspace(space.home, {"expectations": {**SMALL, **settings}})


def stored(space, run="20260108T000000Z"):
    files = sorted((space.home / "runs" / run / "expectations").glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in files}


def failures(space):
    """What Great Expectations found to be broken, in any table."""
    return {f"{name}:{one['expectation']}@{one['where']}" for name, found in stored(space).items() for one in found["failures"]}


def unchecked(monkeypatch, lake, table, rows):
    """Write a partition that the commit's own checks would refuse."""
    with monkeypatch.context() as patch:
        patch.setattr(_tables, "check_file", lambda *_: [])
        staged = lake.staging(table)
        staged.mkdir(parents=True)
        schema = pa.schema([field.with_nullable(True) for field in table.arrow])
        content = pa.Table.from_pylist([{name: row.get(name) for name in table.columns} for row in rows], schema=schema)
        pa.parquet.write_table(content, staged / "x.parquet")
        lake.commit(table, NINE, staged, MADE_BY_HAND, {"read": len(rows)}, by_spark=False)


def run_writers(space):
    """The stages that write, as from the command line; returns their exit statuses."""
    return {name: space.command(stage(name), *AS_OF)[0] for name in ("ingest", "examples", "recommend")}


def test_good_tables_pass(space):
    assert run_writers(space) == {"ingest": 0, "examples": 0, "recommend": 0}
    found = stored(space)
    assert set(found) == {
        "interactions", "rejected", "rejected_snapshots", "videos", "users", "examples", "recommendations",
        "fallback_recommendations",
    }  # fmt: skip
    assert all(result["passed"] and not result["failures"] and result["result"]["success"] for result in found.values())
    counted = found["interactions"]["result"]["statistics"]
    assert counted["evaluated_expectations"] == len(found["interactions"]["rules"]) > 10


def spoil_null(space, monkeypatch):
    unchecked(
        monkeypatch, space.lake, INTERACTIONS, [event(TODAY, n, **({"user_id": None} if n == 3 else {})) for n in range(20)]
    )


def spoil_key(space, _):
    write_hour(space.lake, TODAY, events=[event(TODAY, min(number, 18)) for number in range(20)])


def spoil_range(space, monkeypatch):
    unchecked(
        monkeypatch,
        space.lake,
        INTERACTIONS,
        [event(TODAY, n, **({"watch_seconds": -1.0} if n == 3 else {})) for n in range(20)],
    )


def spoil_value(space, monkeypatch):
    unchecked(
        monkeypatch,
        space.lake,
        INTERACTIONS,
        [event(TODAY, n, **({"interaction_type": "stare"} if n == 3 else {})) for n in range(20)],
    )


def spoil_quarantine(space, _):
    write_hour(space.lake, TODAY, refused=20)


def spoil_duplicates(space, _):
    write_hour(space.lake, TODAY, duplicate=10)


def spoil_volume(space, _):
    write_hour(space.lake, TODAY, events=[event(TODAY, 0)])


def spoil_column(space, _):
    write_hour(space.lake, TODAY, events=[event(TODAY, number, device=None) for number in range(20)])


def spoil_freshness(space, monkeypatch):
    write_hour(space.lake, TODAY, events=[])
    write_hour(space.lake, DAYS[-2], events=[])


def spoil_label_rate(space, _):
    write_examples(space.lake, TODAY, positives=20)


def spoil_catalogue(space, _):
    row = {"source": "videos", "file": "f", "reason": "wrong_type", "detail": "video_id"}
    refused = arrow(REJECTED_SNAPSHOTS, [row] * 21)
    space.lake.write(REJECTED_SNAPSHOTS, Partition(TODAY.date()), refused, MADE_BY_HAND)


def spoil_lists(space, _):
    write_lists(space.lake, [3] * 18 + [1] * 2)


def spoil_fallback(space, _):
    lists = arrow(FALLBACK_RECOMMENDATIONS, [])
    space.lake.write(FALLBACK_RECOMMENDATIONS, Partition(TODAY.date()), lists, MADE_BY_HAND)


HOUR, DAY = "dt=2026-01-07/hr=09", "dt=2026-01-07"
DEFECTS = {
    spoil_null: {f"interactions:user_id_nulls@{HOUR}"},
    spoil_key: {f"interactions:repeated_keys@{HOUR}"},
    spoil_range: {f"interactions:watch_seconds_minimum@{HOUR}"},
    spoil_value: {f"interactions:interaction_type_strangers@{HOUR}"},
    spoil_quarantine: {f"rejected:rejected_share@{DAY}"},
    spoil_duplicates: {f"interactions:duplicate_share@{DAY}"},
    spoil_volume: {f"interactions:volume_ratio@{DAY}"},
    spoil_column: {f"interactions:device_null_rise@{DAY}"},
    # the second silent day is the newest event's, so 2.6 days; the first silent day is not what this run is for
    spoil_freshness: {f"interactions:hours_since_newest_event@{DAY}", f"interactions:volume_ratio@{DAY}"},
    spoil_label_rate: {f"examples:label_rate@{DAY}"},
    spoil_catalogue: {f"rejected_snapshots:rejected_share@{DAY}"},
    spoil_lists: {f"recommendations:full_list_share@{DAY}"},
    spoil_fallback: {f"fallback_recommendations:lists@{DAY}"},
}


@pytest.mark.parametrize("spoil", DEFECTS, ids=lambda spoil: spoil.__name__)
def test_a_defect_fails_its_expectation_and_no_other(space, monkeypatch, spoil):
    spoil(space, monkeypatch)
    statuses = run_writers(space)
    assert failures(space) == DEFECTS[spoil]
    assert {name for name, found in stored(space).items() if not found["passed"]} == {
        name.split(":")[0] for name in DEFECTS[spoil]
    }
    assert 2 in statuses.values()


def test_a_day_that_is_missing_altogether_has_no_volume(space):
    shutil.rmtree(space.lake.path(INTERACTIONS, NINE))
    assert space.command(stage("ingest"), *AS_OF)[0] == 2
    assert failures(space) == {f"interactions:volume_ratio@{DAY}"}
    write_hour(space.lake, TODAY)
    assert space.command(stage("examples"), *AS_OF)[0] == 0  # it came


def test_every_day_of_a_range_is_judged(space):
    for hour in DAYS[2:4]:
        write_hour(space.lake, hour, refused=20)
    assert space.command(stage("ingest"), *AS_OF)[0] == 0  # its last day is good
    assert space.command(stage("ingest"), "--start", "2026-01-03", "--end", "2026-01-08")[0] == 2
    assert failures(space) == {"rejected:rejected_share@dt=2026-01-05", "rejected:rejected_share@dt=2026-01-06"}


def test_what_cannot_be_evaluated_is_broken():
    from jobs._quality import broken

    config = {"meta": {"name": "a_nulls"}}
    result = {"results": [{"success": False, "expectation_config": config, "result": {}}]}
    assert list(broken(result)) == [("a_nulls", "", None)]


class TestDaysThatSayNothing:
    def test_few_rows(self, space):
        spoil_quarantine(space, None)
        spoil_label_rate(space, None)
        spoil_volume(space, None)
        assert set(run_writers(configured(space, min_rows=1000)).values()) == {0}

    def test_few_trailing_days(self, space):
        spoil_volume(space, None)
        assert set(run_writers(configured(space, min_trailing_days=5)).values()) == {0}

    def test_an_hour_is_compared_with_the_same_hour(self, space):
        for hour in DAYS[:-1]:  # busy nights; nine o'clock stays as it was
            later = hour + timedelta(hours=11)
            write_hour(space.lake, later, events=[event(later, number) for number in range(59)])
        window = ("--start", "2026-01-07T09:00:00Z", "--end", "2026-01-07T10:00:00Z")
        assert space.command(stage("ingest"), *window)[0] == 0
        assert "volume_ratio" in json.dumps(stored(space, "20260107T100000Z")["interactions"]["rules"])

    def test_a_limit_that_is_switched_off(self, space):
        spoil_quarantine(space, None)
        assert set(run_writers(configured(space, max_rejected_share=None)).values()) == {0}


class TestAFailure:
    @pytest.fixture
    def failed(self, space):
        spoil_quarantine(space, None)
        return space

    def test_says_what_was_found_and_what_to_do(self, failed):
        status, _, error = failed.command(stage("ingest"), *AS_OF)
        assert status == 2
        assert error == (
            "reelflow | ingest | error: table rejected failed its suite as of 2026-01-08T00:00:00Z: dt=2026-01-07: expectation "
            "rejected_share: found 0.5, expected at most 0.05; nothing after ingest reads it. Mend what it is made from and "
            "run ingest again, or accept it by adding 'rejected:rejected_share@dt=2026-01-07' to expectations.accept "
            "(docs/operations.md, a suite failed)\n"
        )

    def test_stops_a_stage_that_is_started_by_hand_before_it_reads(self, failed):
        failed.command(stage("ingest"), *AS_OF)
        ran = []
        downstream = stage("examples")
        downstream.run = ran.append
        status, _, error = failed.command(downstream, *AS_OF)
        assert (status, ran) == (2, [])
        assert "dt=2026-01-07: expectation rejected_share: found 0.5, expected at most 0.05; examples does not read it" in error

    def test_stops_later_runs_and_windows_that_hold_it_but_no_others(self, failed):
        failed.command(stage("ingest"), *AS_OF)
        assert failed.command(stage("examples"), "--as-of", "2026-01-10")[0] == 2
        assert failed.command(stage("examples"), "--start", "2026-01-07T09:00:00Z", "--end", "2026-01-07T12:00:00Z")[0] == 2
        assert failed.command(stage("examples"), "--as-of", "2026-01-07")[0] == 0
        assert failed.command(stage("index"), *AS_OF)[0] == 0  # reads neither table

    def test_is_not_forgotten_when_nothing_has_changed(self, failed):
        first = failed.command(stage("ingest"), *AS_OF)
        assert failed.command(stage("ingest"), *AS_OF)[::2] == first[::2]
        assert first[0] == 2

    def test_ends_when_the_data_are_mended(self, failed):
        failed.command(stage("ingest"), *AS_OF)
        write_hour(failed.lake, TODAY)
        assert failed.command(stage("examples"), *AS_OF)[0] == 0  # not these partitions any more
        assert failed.command(stage("ingest"), *AS_OF)[0] == 0
        assert failures(failed) == set()

    def test_ends_when_the_limit_is_changed(self, failed):
        failed.command(stage("ingest"), *AS_OF)
        lenient = configured(failed, max_rejected_share=0.6)
        assert lenient.command(stage("examples"), *AS_OF)[0] == 0
        assert lenient.command(stage("ingest"), *AS_OF)[0] == 0

    @pytest.mark.parametrize("name", ["rejected:rejected_share", "rejected:rejected_share@dt=2026-01-07"])
    def test_is_accepted_by_name(self, failed, name):
        failed.command(stage("ingest"), *AS_OF)
        accepting = configured(failed, accept=[name])
        assert accepting.command(stage("examples"), *AS_OF)[0] == 0
        status, out, _ = accepting.command(stage("ingest"), *AS_OF)
        assert status == 0
        assert "rejected:rejected_share@dt=2026-01-07 fails and is accepted by the configuration" in out
        assert stored(failed)["rejected"]["accepted"] == ["rejected_share@dt=2026-01-07"]
        assert configured(failed).command(stage("examples"), *AS_OF)[0] == 2  # the acceptance is withdrawn

    @pytest.mark.parametrize("name", ["rejected:rejected_share@dt=2026-01-06", "interactions:duplicate_share"])
    def test_is_not_accepted_by_another_name(self, failed, name):
        assert configured(failed, accept=[name]).command(stage("ingest"), *AS_OF)[0] == 2

    def test_a_misspelt_acceptance_is_named(self, failed):
        _, _, error = configured(failed, accept=["rejected:rejectd_share"]).command(stage("ingest"), *AS_OF)
        assert "'rejected:rejectd_share' is no table:expectation of any suite; did you mean 'rejected:rejected_share'?" in error

    def test_of_a_longer_window_survives_the_run_of_its_last_day(self, failed):
        spoil = DAYS[-2]
        write_hour(failed.lake, TODAY)
        write_hour(failed.lake, spoil, refused=20)
        assert failed.command(stage("ingest"), "--start", "2026-01-03", "--end", "2026-01-08")[0] == 2
        assert failed.command(stage("ingest"), *AS_OF)[0] == 2
        assert failures(failed) == {"rejected:rejected_share@dt=2026-01-06"}

    def test_a_damaged_result_is_an_error(self, failed):
        failed.command(stage("ingest"), *AS_OF)
        path = failed.home / "runs/20260108T000000Z/expectations/rejected.json"
        path.write_text("{")
        assert "not valid JSON" in failed.command(stage("examples"), *AS_OF)[2]


def loaded_after(space, name):
    """Whether a process that ran a stage has imported great_expectations."""
    code = (
        "import sys, types; from jobs import _stage; from jobs._stage import Report\n"
        f"_stage.main({name!r}, lambda _: Report(up_to_date=True), None, ['--as-of', '2026-01-08'])\n"
        "print('great_expectations' in sys.modules)"
    )
    environment = {**os.environ, **space.variables, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.splitlines()[-1] == "True"


def test_great_expectations_is_imported_only_where_something_has_to_be_validated(space):
    assert loaded_after(space, "ingest")
    assert not loaded_after(space, "ingest")
    assert not loaded_after(space, "train_wals")
    write_hour(space.lake, TODAY)  # the same bytes again
    assert not loaded_after(space, "ingest")
    write_hour(space.lake, TODAY, duplicate=1)
    assert loaded_after(space, "ingest")


def test_a_partition_from_before_there_were_profiles_is_measured(space):
    path = space.lake.path(INTERACTIONS, NINE) / _tables.MANIFEST
    spoil_key(space, None)
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "profile"}))
    assert space.command(stage("ingest"), *AS_OF)[0] == 2
    assert failures(space) == {f"interactions:repeated_keys@{HOUR}"}


def test_results_are_the_same_bytes_again(space):
    space.command(stage("ingest"), *AS_OF)
    folder = space.home / "runs/20260108T000000Z/expectations"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    space.command(stage("ingest"), *AS_OF)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


class TestDataDocs:
    def test_a_page_names_every_table(self, space):
        spoil_quarantine(space, None)
        run_writers(space)
        status, out, _ = space.command(data_docs, *AS_OF)
        assert status == 0
        assert "wrote 7 suites; failed: rejected; open " in out
        folder = space.home / "runs/20260108T000000Z/data_docs"
        page = (folder / "index.html").read_text()
        assert all(name in page for name in stored(space))
        links = dict(re.findall(r'<li><a href="([^"]+)">\w+</a>: (\w+)</li>', page))
        assert {link.split("/")[1]: said for link, said in links.items()} == {
            name: "passed" if name != "rejected" else "FAILED" for name in stored(space)
        }
        assert all((folder / link).is_file() for link in links)
        assert not any("great-expectations-web-assets" in path.read_text() for path in folder.rglob("*.html"))
        (result,) = (folder / "validations/rejected").rglob("*.html")
        assert "Rejected rows over rows read: at most 0.05, each day." in result.read_text()
        assert not (folder.parent / "data_docs.tmp").exists()

    def test_is_built_again_only_for_other_results(self, space):
        space.command(stage("ingest"), *AS_OF)
        space.command(data_docs, *AS_OF)
        assert "up to date" in space.command(data_docs, *AS_OF)[1]
        space.command(stage("examples"), *AS_OF)
        assert "wrote 6 suites" in space.command(data_docs, *AS_OF)[1]

    def test_nothing_to_show(self, space):
        assert "no suite has run yet" in space.command(data_docs, *AS_OF)[1]

    def test_the_summary_says_what_failed_and_where_the_pages_are(self, space):
        spoil_quarantine(space, None)
        run_writers(space)
        space.command(data_docs, *AS_OF)
        space.command(summary, *AS_OF)
        text = (space.home / "runs/20260108T000000Z/summary.txt").read_text()
        assert "on 7 tables: failed on rejected" in text
        assert f"{space.home}/runs/20260108T000000Z/data_docs/index.html" in text


def test_every_rule_of_the_configuration_is_used():
    from schemas.expectations import NULL_RISE, RATES

    limits = {limit for rate in (*RATES, NULL_RISE) for limit in (rate.minimum, rate.maximum) if limit}
    others = {"accept", "min_rows", "trailing_days", "min_trailing_days"}
    assert limits | others == set(_expectations.ExpectationsConfig.model_fields)
