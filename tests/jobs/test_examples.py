import random
from collections import defaultdict
from datetime import timedelta

import pyarrow as pa
import pytest

from jobs import examples
from jobs._labels import ExamplesConfig, label, sample, sampled_examples
from schemas import EXAMPLES, INTERACTIONS
from tests.builders import arrow, interaction, moment, seconds, tree, window, write_interactions

CONFIG = ExamplesConfig(label_window_minutes=10, relevant_watch_fraction=0.5, negative_sample_rate=0.2, sample_salt="s")
START = moment("10:00")
LABELLED = [name for name in EXAMPLES.columns if name not in ("sample_rate", "weight")]


def as_rows(labelled):
    return {row["event_id"]: row for row in labelled.to_pylist()}


def out(**columns):
    return columns


# A case a user: what happened, as (kind, seconds after START, more), and what becomes of it.
# Ids are "<case>/<number>"; expected: id of the example -> the columns worth a look.
CASES = {
    "missed": (
        [("impression", 0, {})],
        {0: out(label=0, missed=True, clicked=False, exposure="impression", watch_seconds=0.0, watch_fraction=0.0)},
    ),
    "liked": ([("impression", 0, {}), ("like", 5, {})], {0: out(label=1, liked=True, missed=True, clicked=False)}),
    "clicked": ([("impression", 0, {}), ("click", 5, {})], {0: out(label=0, clicked=True, missed=False)}),
    "half": (
        [("impression", 0, {}), ("watch", 5, {"watch_seconds": 50.0})],
        {0: out(label=1, clicked=True, watch_seconds=50.0, watch_fraction=0.5, completed=False)},
    ),
    "less than half": (
        [("impression", 0, {}), ("watch", 5, {"watch_seconds": 49.9})],
        {0: out(label=0, clicked=True, watch_fraction=0.499)},
    ),
    "whole": ([("impression", 0, {}), ("watch", 5, {"watch_seconds": 95.0})], {0: out(label=1, completed=True)}),
    "longer than it is": (
        [("impression", 0, {}), ("watch", 5, {"watch_seconds": 500.0})],
        {0: out(watch_seconds=500.0, watch_fraction=1.0, completed=True)},
    ),
    "longest": (
        [("impression", 0, {}), ("watch", 5, {"watch_seconds": 70.0}), ("watch", 99, {"watch_seconds": 3.0})],
        {0: out(watch_seconds=70.0, label=1)},
    ),
    "two halves": (
        [("impression", 0, {}), ("watch", 5, {"watch_seconds": 30.0}), ("watch", 99, {"watch_seconds": 30.0})],
        {0: out(watch_seconds=30.0, label=0)},
    ),
    "watch of no length": ([("impression", 0, {}), ("watch", 5, {})], {0: out(watch_seconds=0.0, clicked=True, label=0)}),
    "seconds on a click": (
        [("impression", 0, {}), ("click", 5, {"watch_seconds": 90.0})],
        {0: out(watch_seconds=0.0, label=0)},
    ),
    "dislike wins": (
        [("impression", 0, {}), ("watch", 5, {"watch_seconds": 100.0}), ("like", 6, {}), ("dislike", 7, {})],
        {0: out(label=0, liked=True, disliked=True, completed=True)},
    ),
    "shared": ([("impression", 0, {}), ("share", 5, {})], {0: out(label=0, shared=True, missed=True)}),
    "saved": ([("impression", 0, {}), ("save", 5, {})], {0: out(label=0, shared=True)}),
    "comment": ([("impression", 0, {}), ("comment", 5, {})], {0: out(label=0, missed=True, shared=False)}),
    "unknown duration": (
        [("impression", 0, {"duration_seconds": 0.0}), ("watch", 5, {"watch_seconds": 500.0, "duration_seconds": 0.0})],
        {0: out(label=0, watch_fraction=None, completed=False, clicked=True)},
    ),
    "unknown duration, liked": (
        [("impression", 0, {"duration_seconds": 0.0}), ("like", 5, {"duration_seconds": 0.0})],
        {0: out(label=1)},
    ),
    "after 600 s": ([("impression", 0, {}), ("click", 600, {})], {0: out(clicked=True, missed=False)}),
    "after 601 s": (
        [("impression", 0, {}), ("click", 601, {})],
        {0: out(clicked=False, missed=True), 1: out(exposure="organic", clicked=True)},
    ),
    "a microsecond late": (
        [("impression", 0, {}), ("click", 600.000001, {})],
        {0: out(missed=True), 1: out(exposure="organic")},
    ),
    "at once": ([("impression", 0, {}), ("click", 0, {})], {0: out(clicked=True)}),
    "two impressions": (
        [("impression", 0, {}), ("impression", 60, {"position": 7}), ("like", 120, {})],
        {0: out(label=0, missed=True), 1: out(label=1, position=7)},
    ),
    "between two": (
        [("impression", 0, {}), ("like", 30, {}), ("impression", 60, {})],
        {0: out(label=1), 2: out(label=0, missed=True)},
    ),
    "action before": (
        [("like", 0, {"device": "tv"}), ("impression", 10, {})],
        {0: out(exposure="organic", label=1, device="tv"), 1: out(label=0, missed=True)},
    ),
    "organic": (
        [("watch", 0, {"watch_seconds": 60.0}), ("like", 300, {}), ("click", 600, {})],
        {0: out(exposure="organic", label=1, liked=True, clicked=True, watch_seconds=60.0)},
    ),
    "late like": (
        [("impression", 0, {}), ("watch", 5, {"watch_seconds": 10.0}), ("like", 960, {})],
        {0: out(label=0, clicked=True, liked=False), 2: out(exposure="organic", label=1, clicked=False, missed=False)},
    ),
    "chain": (
        [("click", 0, {}), ("click", 540, {}), ("like", 1080, {}), ("dislike", 1620, {})],
        {
            0: out(exposure="organic", clicked=True, label=0),
            2: out(exposure="organic", label=1, disliked=False),
            3: out(label=0, disliked=True),
        },
    ),
    "chain from an impression": (
        [("impression", 0, {}), ("watch", 590, {"watch_seconds": 90.0}), ("like", 1100, {}), ("share", 1200, {})],
        {
            0: out(label=1, liked=False, shared=False),
            2: out(exposure="organic", label=1),
            3: out(exposure="organic", shared=True),
        },
    ),
    "search": ([("search", 0, {"video": None}), ("search", 5, {}), ("impression", 9, {})], {2: out(missed=True)}),
}


@pytest.fixture(scope="module")
def labelled():
    """All cases at once, each with a user of its own and a bystander who saw another video."""
    rows = []
    for user, (name, (events, _)) in enumerate(CASES.items(), start=1):
        made = [(f"{name}/{n}", kind, START + seconds(after), more) for n, (kind, after, more) in enumerate(events)]
        rows += [interaction(key, kind, at, user=user, **more) for key, kind, at, more in made]
        rows.append(interaction(f"{name}/other", "impression", START, user=user, video=11))
    found = as_rows(label(arrow(INTERACTIONS, rows), CONFIG))
    by_case = defaultdict(dict)
    for key, row in found.items():
        by_case[key.split("/")[0]][key.split("/")[1]] = row
    return by_case


@pytest.mark.parametrize("name", CASES)
def test_the_rules_by_hand(labelled, name):
    found = dict(labelled[name])
    other = found.pop("other")
    assert (other["label"], other["missed"], other["clicked"]) == (0, True, False)
    expected = {str(number): columns for number, columns in CASES[name][1].items()}
    assert {number: {column: row[column] for column in expected.get(number, {})} for number, row in found.items()} == expected
    assert all(row["known_at"] == row["occurred_at"] + timedelta(minutes=10) for row in found.values())


def twin(events):
    """The rules once more, event by event: who owns an action is looked up in all that came before it."""
    span, order = timedelta(minutes=10), {"impression": 0}
    actions = {"click", "watch", "like", "dislike", "share", "save", "comment"}
    pairs = defaultdict(list)
    for row in sorted(events, key=lambda row: (row["occurred_at"], order.get(row["interaction_type"], 1), row["event_id"])):
        if row["interaction_type"] in actions | {"impression"}:
            pairs[row["user_id"], row["video_id"]].append(row)
    found = {}
    for rows in pairs.values():

        def owner(place, rows=rows):
            row, earlier = rows[place], rows[:place]
            if row["interaction_type"] == "impression":
                return place
            shown = [n for n, other in enumerate(earlier) if other["interaction_type"] == "impression"]
            if shown and row["occurred_at"] - rows[shown[-1]]["occurred_at"] <= span:
                return shown[-1]
            near = [n for n, other in enumerate(earlier) if row["occurred_at"] - other["occurred_at"] <= span]
            return next(
                (n for n in near if not any(rows[n]["occurred_at"] - o["occurred_at"] <= span for o in rows[:n])), place
            )

        groups = defaultdict(list)
        for place, row in enumerate(rows):
            groups[owner(place)].append(row)
        for place, members in groups.items():
            own, kinds = rows[place], {row["interaction_type"] for row in members}
            longest = max([row["watch_seconds"] or 0.0 for row in members if row["interaction_type"] == "watch"], default=0.0)
            known = own["duration_seconds"] > 0
            fraction = min(1.0, longest / own["duration_seconds"]) if known else None
            relevant = ("like" in kinds or (known and fraction >= 0.5)) and "dislike" not in kinds
            found[own["event_id"]] = {
                "event_id": own["event_id"], "user_id": own["user_id"], "video_id": own["video_id"],
                "exposure": "impression" if own["interaction_type"] == "impression" else "organic",
                "occurred_at": own["occurred_at"], "known_at": own["occurred_at"] + span,
                "device": own["device"], "position": own["position"],
                "clicked": bool(kinds & {"click", "watch"}), "watch_seconds": longest, "watch_fraction": fraction,
                "completed": known and fraction >= 0.95, "liked": "like" in kinds, "shared": bool(kinds & {"share", "save"}),
                "disliked": "dislike" in kinds, "label": int(relevant),
                "missed": own["interaction_type"] == "impression" and not kinds & {"click", "watch"},
            }  # fmt: skip
    return found


def random_events(seed, count, users=6, videos=5, span=4 * 3600):
    """Events on few pairs, many of them at exactly the window's borders."""
    rng = random.Random(seed)
    kinds = ["impression"] * 6 + ["click", "watch", "watch", "like", "dislike", "share", "save", "comment", "search"]
    duration = {n: rng.choice([0.0, 60.0, 100.0]) for n in range(videos)}
    rows = []
    for n in range(count):
        kind, video = rng.choice(kinds), rng.randrange(videos)
        row = interaction(f"e{n:05d}", kind, START + seconds(rng.randrange(0, span, 100)), rng.randrange(users), video)
        watched = rng.choice([None, 0.0, 10.0, 30.0, 50.0, 57.0, 99.0]) if kind == "watch" else None
        more = {"watch_seconds": watched, "device": rng.choice([None, "tv", "phone"]), "position": rng.choice([None, 1, 2])}
        rows.append({**row, **more, "duration_seconds": duration[video]})
    return rows


def test_labels_agree_with_a_twin_on_random_events():
    events = random_events(5, 700)
    expected = twin(events)
    random.Random(1).shuffle(events)
    found = as_rows(label(arrow(INTERACTIONS, events), CONFIG))
    assert found.keys() == expected.keys()
    assert {key: row for key, row in found.items() if row != expected[key]} == {}
    assert list(next(iter(found.values()))) == LABELLED
    kinds = {(row["exposure"], row["label"], row["missed"]) for row in found.values()}
    assert len(kinds) == 6  # an organic example is never missed


def labelled_rows(ids):
    """Labelled negatives: the first 50 become positives, the next 50 dislikes."""
    blank = {field.name: False if field.type == "bool" else None for field in EXAMPLES.fields}
    rows = [{**blank, "event_id": key, "label": int(n < 50), "disliked": 50 <= n < 100} for n, key in enumerate(ids)]
    return pa.Table.from_pylist(rows, pa.schema([EXAMPLES.field(name).arrow.with_nullable(True) for name in LABELLED]))


class TestSampling:
    IDS = tuple(f"e{n}" for n in range(20_100))

    @pytest.fixture(scope="class")
    def kept(self):
        """20,000 negatives, 50 positives and 50 dislikes, sampled."""
        return as_rows(sample(labelled_rows(self.IDS), CONFIG))

    def test_positives_and_dislikes_are_all_kept(self, kept):
        always = {key: row for key, row in kept.items() if row["label"] == 1 or row["disliked"]}
        assert always.keys() == {f"e{n}" for n in range(100)}
        assert {(row["sample_rate"], row["weight"]) for row in always.values()} == {(1.0, 1.0)}

    def test_others_are_kept_at_the_rate_with_its_inverse_as_weight(self, kept):
        others = [row for row in kept.values() if row["label"] == 0 and not row["disliked"]]
        # Four standard deviations of a binomial of 20,000 draws at 0.2.
        assert abs(len(others) - 4000) < 4 * (20_000 * 0.2 * 0.8) ** 0.5
        assert {(row["sample_rate"], row["weight"]) for row in others} == {(0.2, 5.0)}

    def test_who_is_kept_does_not_depend_on_the_company_but_on_the_salt(self, kept):
        some = as_rows(sample(labelled_rows(self.IDS[:100] + self.IDS[:99:-7]), CONFIG))
        assert set(some) == set(kept) & {*self.IDS[:100], *self.IDS[:99:-7]}
        other = set(as_rows(sample(labelled_rows(self.IDS), CONFIG.model_copy(update={"sample_salt": "t"}))))
        assert len(set(kept) & other) - 100 == pytest.approx(20_000 * 0.2 * 0.2, rel=0.2)


def test_sampling_before_labelling_keeps_what_sampling_after_it_keeps():
    events = arrow(INTERACTIONS, random_events(9, 3000, users=60, videos=40))
    expected = as_rows(sample(label(events, CONFIG), CONFIG))
    found = sampled_examples(events, CONFIG).to_pylist()
    assert {row["event_id"]: row for row in found} == expected
    assert found == sorted(found, key=lambda row: (row["occurred_at"], row["event_id"]))


SETTINGS = {"examples": {"negative_sample_rate": 1.0}}
HOURS = window("10:00", "15:00")


@pytest.fixture(scope="module")
def written(new_workspace):
    """Random events of 10:00 to 14:00 and their examples, made in one run."""
    space = new_workspace(SETTINGS)
    write_interactions(space.lake, random_events(6, 300), HOURS)
    space.run(examples, "--start", "2026-01-07T10:00:00Z", "--end", "2026-01-07T15:00:00Z")
    return space


def test_the_table_holds_what_the_rules_say_in_the_hour_in_which_it_was_known(written):
    expected = twin(random_events(6, 300))
    rows = written.rows(EXAMPLES, HOURS)
    assert {row["event_id"]: {name: row[name] for name in LABELLED} for row in rows} == expected
    assert len(rows) == len(expected)
    assert all((row["sample_rate"], row["weight"]) == (1.0, 1.0) for row in rows)
    for partition in written.lake.partitions(EXAMPLES, HOURS):
        part = written.lake.read(EXAMPLES, [partition]).to_pylist()
        assert {row["known_at"].hour for row in part} <= {partition.hr}
        assert part == sorted(part, key=lambda row: (row["occurred_at"], row["event_id"]))


def test_hours_do_not_depend_on_the_window_that_was_run(written, new_workspace):
    other = new_workspace(SETTINGS)
    write_interactions(other.lake, random_events(6, 300), HOURS)
    for start, end in (("14", "15"), ("12", "13"), ("10", "12"), ("13", "14")):
        other.run(examples, "--start", f"2026-01-07T{start}:00:00Z", "--end", f"2026-01-07T{end}:00:00Z")
    assert tree(other.lake.root / "examples") == tree(written.lake.root / "examples")


def test_a_rerun_is_up_to_date_until_a_setting_or_an_hour_changes(written):
    arguments = ("--start", "2026-01-07T10:00:00Z", "--end", "2026-01-07T15:00:00Z")
    assert written.run(examples, *arguments).up_to_date
    before = tree(written.lake.root / "examples")
    old = written.rows(INTERACTIONS, window("11:00", "12:00"))
    write_interactions(written.lake, [*old, interaction("new", "click", moment("11:30"), user=99)], window("11:00", "12:00"))
    report = written.run(examples, *arguments)
    assert not report.up_to_date
    after = tree(written.lake.root / "examples")
    changed = {name.split("/")[1] for name in after if name.endswith(".parquet") and name not in before}
    assert changed == {"hr=11"}
    assert [row["exposure"] for row in written.rows(EXAMPLES, HOURS) if row["event_id"] == "new"] == ["organic"]


def test_an_impression_before_midnight_is_known_on_the_next_day(new_workspace):
    space = new_workspace()
    late = [interaction("i", "impression", moment("23:55")), interaction("l", "like", moment("2026-01-08T00:03"))]
    hours = window("23:00", "2026-01-08T01:00")
    write_interactions(space.lake, late, hours)
    space.run(examples, "--start", "2026-01-07T23:00:00Z", "--end", "2026-01-08T00:00:00Z")
    assert space.rows(EXAMPLES, hours) == []
    space.run(examples, "--start", "2026-01-08T00:00:00Z", "--end", "2026-01-08T01:00:00Z")
    (row,) = space.rows(EXAMPLES, hours)
    assert (row["event_id"], row["label"], row["known_at"]) == ("i", 1, moment("2026-01-08T00:05"))
    assert [p.path for p in space.lake.partitions(EXAMPLES, hours)] == ["dt=2026-01-07/hr=23", "dt=2026-01-08/hr=00"]
    assert space.rows(EXAMPLES, window("2026-01-08T00:00", "2026-01-08T01:00")) == [row]


def test_without_interactions_there_is_a_clear_error(workspace):
    status, _, error = workspace.command(examples, "--start", "2026-01-07T10:00:00Z", "--end", "2026-01-07T11:00:00Z")
    assert status == 2
    assert (
        "table interactions: no partition from 2026-01-07T10:00:00Z to 2026-01-07T11:00:00Z; run ingest for that window"
        in error
    )
