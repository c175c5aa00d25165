"""What training encodes for an example is what inference encodes for the same user and video at that second.

Two runs over one raw world: the later one holds examples of a midnight, and the earlier one ends at it. Everything that a
tower sees of those examples must be the same to the last bit, whichever of the two it comes from (F5, L4).
"""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
import torch

import conf
from jobs import _snapshots, _training, features, text
from jobs._stage import Context
from jobs._tables import Partition
from jobs._window import DAY, HOUR, floor_hour
from models import evaluation
from models.facts import video_facts
from models.features import FeatureSpec, Number, Sequence, TextMean, with_text
from models.recommend import RecommendConfig
from models.recommend.rules import Clickbait
from models.rows import rows_as_of
from models.towers import TowerData
from models.towers._data import encode_examples, encode_users_at, encode_videos_at
from models.towers._windows import windows
from schemas import (
    EXAMPLES,
    HISTORY_FIELDS,
    QUERY_TEXT,
    TREND_FIELDS,
    USER_FEATURES,
    USER_VERSIONS,
    VIDEO_FEATURES,
    VIDEO_TEXT,
    VIDEO_VERSIONS,
)
from tests.builders import (
    MADE_BY_HAND,
    arrow,
    interaction,
    moment,
    stage_context,
    video,
    window,
    write_interactions,
    write_raw,
)
from tests.jobs.test_features import example

pytestmark = pytest.mark.slow

T, END = moment("2026-01-07T00:00"), moment("2026-01-08T00:00")
LOG, DAYS = window("2025-12-28T00:00", "2026-01-08T00:00"), window("2026-01-05T00:00", "2026-01-08T00:00")
START = "2026-01-05T00:00:00Z"
CHANGED, UNKNOWN, SILENT, USERS = 1, 8, 9, range(1, 10)
RENAMED, VIDEOS = 10, range(10, 20)
CLICKBAIT = {"05": 0.1, "07": 0.5, "08": 0.99}
"""What snapshots of January said of the renamed video."""
PAIRS = [(user, 10 + (3 * user + n) % 10) for user in USERS for n in range(2)]
"""Whom and what the examples of the midnight ``T`` are about."""


def a_log():
    """Eleven days of all users but the silent one, and what was shown to whom on the last three."""
    rng = random.Random(7)
    rows = []
    for n in range(900):
        at = LOG.start + timedelta(seconds=rng.randrange(11 * 86_400), microseconds=rng.choice([0, 1, 999_999]))
        if rng.random() < 0.3:
            at = T + rng.choice([-HOUR, -DAY, -7 * DAY, timedelta(0), HOUR]) + timedelta(microseconds=rng.choice([-1, 0, 1]))
        kind = rng.choice(["impression", "watch", "like", "search", "click"])
        asked = {"query": f"Clip  {rng.randrange(10, 25)}"} if kind == "search" else {}
        thing = None if kind == "search" else rng.choice(VIDEOS)
        rows.append(interaction(f"f{n:04}", kind, at, rng.choice(USERS[:-1]), thing, device=rng.choice(["tv", "web"]), **asked))
    shown = [interaction(f"e{n:04}", "impression", T, user, thing) for n, (user, thing) in enumerate(PAIRS)]
    devices = newest_devices(rows)
    shown = [{**row, "device": devices.get(row["user_id"])} for row in shown]
    others = [row for row in rows if row["interaction_type"] == "impression" and DAYS.start <= row["occurred_at"]]
    return rows + shown, sorted(shown + others, key=lambda row: (row["occurred_at"], row["event_id"]))


def newest_devices(rows):
    before = sorted((row for row in rows if row["occurred_at"] < T), key=lambda row: (row["occurred_at"], row["event_id"]))
    return {row["user_id"]: row["device"] for row in before}


def write_examples(lake, shown):
    rng = random.Random(8)
    known = []
    for row in shown:
        liked = rng.random() < 0.4
        one = example(row["event_id"], row["occurred_at"] + timedelta(minutes=10), row["video_id"], clicked=liked, liked=liked)
        known.append({**one, "user_id": row["user_id"], "device": row["device"], "label": int(liked), "missed": not liked})
    for hour in DAYS.hours():
        mine = [one for one in known if floor_hour(one["known_at"]) == hour]
        lake.write(EXAMPLES, Partition.hour(hour), arrow(EXAMPLES, mine), MADE_BY_HAND)


def write_snapshots(raw):
    """A user and a video that change before ``T``, at it and after it; a user whom no snapshot names."""
    known = {n: {**video(n), "creator_id": n % 3, "title": f"clip {n}", "tags": ["x", "y", "z"][: n % 4]} for n in VIDEOS}
    known[RENAMED]["tags"] = None  # another version of it must not be another corpus for the tags
    users = {n: {"user_id": n, "age": 10 + 7 * n, "country": "DE", "city": "Ulm"} for n in USERS if n != UNKNOWN}
    write_raw(raw, [], known.values(), users.values(), "2026-01-02")
    for day, age, title in (("05", 30, "how to bake bread"), ("07", 60, "football goals"), ("08", 17, "something else")):
        known[RENAMED] |= {"title": title, "duration_seconds": 10.0 * age, "language": title[:2]}
        known[RENAMED] |= {"clickbait_score": CLICKBAIT[day], "misinformation_score": None, "sponsored_boost": age / 100}
        write_raw(raw, [], [known[RENAMED]], [{**users[CHANGED], "age": age, "city": title}], f"2026-01-{day}")


@pytest.fixture(scope="module")
def made(new_workspace):
    """The lake after the runs that end at ``T`` and a day later."""
    space = new_workspace({"window": {"history_days": 8}})
    rows, shown = a_log()
    write_interactions(space.lake, rows, LOG)
    write_examples(space.lake, shown)
    write_snapshots(space.raw)
    for end in (T, END):
        with space.environment():
            given = context("ingest", end)
            _snapshots.run(given, _snapshots.plan(given))
        for stage in (text, features):
            space.run(stage, "--start", START, "--end", end.isoformat())
    return space


def context(stage, end) -> Context:
    return stage_context(stage, "--start", START, "--end", end.isoformat())


@pytest.fixture(scope="module")
def data(made):
    with made.environment():
        return _training.read(context("train_towers", END))


@pytest.fixture(scope="module")
def towers(data):
    """The data of the towers, and the examples of ``T``."""
    at = np.array([moment == T for moment in data.examples["occurred_at"].to_pylist()])
    everything = np.ones(len(at), dtype=bool)
    versions = (data.user_versions, data.video_versions)
    found = TowerData(data.examples, *versions, data.queries, data.watches, everything, everything, data.histories)
    return found, at & np.array([key.startswith("e") for key in data.examples["event_id"].to_pylist()])


def side_by_side(spec, videos):
    """All vectors of texts."""
    return torch.cat([torch.from_numpy(part) for part in spec.vectors(videos).values()], dim=1)


@pytest.fixture(scope="module")
def spec(towers) -> FeatureSpec:
    return towers[0].fit_spec(min_count=1, leave_out=())


@pytest.fixture(scope="module")
def trained(spec, towers):
    """What training encodes: inputs of users and of videos, a row for each of ``PAIRS``."""
    encoded = encode_examples(spec, *towers, partial(side_by_side, spec))
    examples = towers[0].examples.filter(towers[1].tolist())
    assert list(zip(examples["user_id"].to_pylist(), examples["video_id"].to_pylist(), strict=True)) == PAIRS
    every = torch.arange(len(encoded))
    return encoded.user_inputs(every), encoded.video_inputs(every)


def as_of_t(space, table):
    return space.lake.read(table, [Partition((T - DAY).date())])


@pytest.fixture(scope="module")
def served(made, spec):
    """What inference encodes as of ``T``, from nothing but what the run that ended there wrote."""
    users, videos = as_of_t(made, USER_FEATURES), with_text(as_of_t(made, VIDEO_FEATURES), as_of_t(made, VIDEO_TEXT))
    of_user = [users["user_id"].to_pylist().index(user) for user, _ in PAIRS]
    of_video = [videos["video_id"].to_pylist().index(thing) for _, thing in PAIRS]
    return (
        encode_users_at(spec, users.take(of_user), as_of_t(made, QUERY_TEXT), T),
        encode_videos_at(spec, partial(side_by_side, spec), videos.take(of_video), T),
    )


def same(one, two):
    assert one.dtype == two.dtype
    assert one.shape == two.shape
    assert one.numpy().tobytes() == two.numpy().tobytes()


def test_codes_of_users_and_contexts(trained, served, spec):
    same(trained[0].codes, served[0].codes)
    assert trained[0].codes.shape == (len(PAIRS), len(spec.coded("user", "context")))


def test_histories(trained, served, spec):
    assert len(trained[0].histories) == len(served[0].histories) == len(spec.of(Sequence)) == 3
    for one, two in zip(trained[0].histories, served[0].histories, strict=True):
        same(one[0], two[0])
        same(one[1], two[1])


def test_the_watches_of_a_window(towers, made, spec):
    """What the sequence encoder reads before an example is the newest part of the history that inference reads."""
    length = 6
    codes = spec.vocabularies["video_id"].encode(towers[0].watches["video_id"])
    laid = windows(towers[0].examples.filter(towers[1].tolist()), towers[0].watches, codes, length)
    users = as_of_t(made, USER_FEATURES)
    served = spec.history(users, "watched", length)
    seen = 0
    for row, (user, _) in enumerate(PAIRS):
        newest_first = laid.codes[laid.window[row], : laid.place[row]].tolist()[::-1]
        of_user = users["user_id"].to_pylist().index(user)
        known = served.codes[of_user][served.ages[of_user] > 0].tolist()
        assert newest_first == known[: len(newest_first)]
        assert len(newest_first) >= min(len(known), length // 2 + 1)
        seen += len(newest_first)
    assert seen > 20


def test_searches(trained, served, spec):
    """As the vectors that they stand for: the later run knows more queries, so their rows differ."""
    assert len(trained[0].texts) == len(served[0].texts) == len(spec.of(TextMean)) == 1
    for place in range(len(trained[0].texts)):
        one, two = (inputs.text_vectors[place][inputs.texts[place].long()] for inputs in (trained[0], served[0]))
        same(one, two)
        assert one.any()


def test_codes_of_videos(trained, served, spec):
    same(trained[1].codes, served[1].codes)
    assert trained[1].codes.shape == (len(PAIRS), len(spec.coded("video")))


def test_numbers(trained, served, spec):
    same(trained[1].numbers, served[1].numbers)
    varied = {f.name for f, column in zip(spec.of(Number), trained[1].numbers.T, strict=True) if len(column.unique()) > 1}
    assert {
        "log_duration",
        "log_views",
        "log_popularity",
        "relevance_rate",
        "log_views_last_day",
        "view_rate_last_week",
    } <= varied


def test_vectors_of_titles_and_tags(trained, served, spec):
    same(trained[1].about, served[1].about)
    parts = trained[1].about.split([spec.dims[name] for name in ("title", "tags")], dim=1)
    assert all(part.any() for part in parts)


def test_the_world_is_one_in_which_it_could_go_wrong(made, data, trained, spec):
    """Attributes that change at ``T`` and after it, an unknown user, a silent one, and long histories."""
    own = {pair: place for place, pair in enumerate(PAIRS)}
    of = {user: next(place for pair, place in own.items() if pair[0] == user) for user in USERS}
    columns = {name: place for place, name in enumerate(spec.coded("user", "context"))}
    ages = {user: int(trained[0].codes[row, columns["age"]]) for user, row in of.items()}
    versions = [row for row in data.user_versions.to_pylist() if row["user_id"] == CHANGED]
    assert [row["age"] for row in versions] == [17, 30, 60, 17]
    assert ages[CHANGED] == 7  # 60, from T on; 17 later
    assert ages[UNKNOWN] == 0
    histories = [codes for codes, _ in trained[0].histories]
    assert all((codes[of[SILENT]] == 0).all() for codes in histories)
    assert all((codes[of[UNKNOWN]] > 0).any() for codes in histories)
    assert any((codes[:, -1] > 0).any() for codes in histories)  # full to the end
    titles = [row["title_vector"] for row in data.video_versions.to_pylist() if row["video_id"] == RENAMED]
    row = next(place for (_, thing), place in own.items() if thing == RENAMED)
    assert trained[1].about[row][: len(titles[2])].tolist() == titles[2]
    assert titles[2] not in (titles[1], titles[3])


def test_the_gates_world_is_that_of_the_run_that_ended_there(made, data):
    """The later run, put back to ``T``, knows of users and videos what the earlier one wrote."""
    with made.environment():
        users, videos = _training.world_at(context("gate", END), data, T)
    facts = [name for name in USER_VERSIONS.columns if name not in ("user_id", "valid_from")]
    then = as_of_t(made, USER_FEATURES)
    of = [users["user_id"].to_pylist().index(user) for user in then["user_id"].to_pylist()]
    names = ["user_id", *facts, *(field.name for field in HISTORY_FIELDS)]
    assert users.take(of).select(names).to_pylist() == then.select(names).to_pylist()

    then = with_text(as_of_t(made, VIDEO_FEATURES), as_of_t(made, VIDEO_TEXT))
    names = ["video_id", "creator_id", "language", "duration_seconds", "uploaded_at", "misinformation_score"]
    names += ["clickbait_score", "sponsored_boost", *(f.name for f in TREND_FIELDS)]
    names += ["title_vector", "tags_vector"]
    assert set(names[1:8]) < set(VIDEO_VERSIONS.columns)
    assert videos.select(names).to_pylist() == then.select(names).to_pylist()


def test_a_video_is_judged_by_the_scores_of_the_split(made, data):
    """Its clickbait score rose after it, over the limit: no list of that time may miss it for that."""
    with made.environment():
        then = _training.world_at(context("evaluate", END), data, T)
    moments = {"at": T, "half_life_days": 3.0, "max_users": 100}
    world = evaluation.holdout(*then, data.queries, data.counts, data.examples, **moments)
    place = VIDEOS.index(RENAMED)
    known = {
        name: (table["clickbait_score"][place].as_py(), table["sponsored_boost"][place].as_py())
        for name, table in {"then": world.videos, "now": data.videos}.items()
    }
    assert known == {"then": (CLICKBAIT["07"], 0.6), "now": (CLICKBAIT["08"], 0.17)}
    config = conf.load("recommend", RecommendConfig)
    (limit,) = (rule.max_score for rule in config.rules if isinstance(rule, Clickbait))
    shown = {
        name: float(video_facts(config.catalogue, table, ("en",), T).clickbait[place]) <= limit
        for name, table in {"then": world.videos, "now": data.videos}.items()
    }
    assert shown == {"then": True, "now": False}


def test_an_example_is_of_the_version_at_its_second(data):
    found = rows_as_of(
        np.array([CHANGED] * 3),
        np.array([int(at.timestamp() * 1e6) for at in (T - timedelta(microseconds=1), T, END)]),
        data.user_versions,
        "user_id",
    )
    assert data.user_versions.take(found.tolist())["age"].to_pylist() == [30, 60, 17]
