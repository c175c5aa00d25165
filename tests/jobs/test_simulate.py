import csv
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import conf
from jobs.simulate import main
from jobs.simulation import Preferences, SimulateConfig, read_impressions
from jobs.simulation._behaviour import draw_outcomes
from jobs.simulation._preference import calibrate, sigmoid
from schemas import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS, InteractionType, RejectReason

START = dt.date(2026, 1, 2)
DAYS = 3
SMALL = {
    "users": 300,
    "videos": 400,
    "days": DAYS,
    "start": START.isoformat(),
    "sessions_per_user_day": 0.9,
    "new_videos_per_day": 0.05,
    "malformed_fraction": 0.004,
    "duplicate_fraction": 0.005,
}


def run(home: Path, settings: dict[str, object], *arguments: str) -> int:
    home.mkdir(parents=True, exist_ok=True)
    overlay = home / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"simulate": settings}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REELFLOW_CONF", str(overlay))
        patch.setenv("REELFLOW_HOME", str(home))
        return main(list(arguments))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    assert run(home, SMALL) == 0
    return home


def hour_files(world: Path) -> list[Path]:
    return sorted((world / "raw" / "interactions").glob("dt=*/hr=*/part-0.*"))


def read_hour(file: Path) -> list[dict[str, object]]:
    """The rows of a file that can be read at all, as text knows them; broken lines are dropped."""
    if file.suffix == ".parquet":
        rows = pq.ParquetFile(file).read().to_pylist()
        for row in rows:
            row["occurred_at"] = row["occurred_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return rows
    if file.suffix == ".jsonl":
        rows = []
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(dict.fromkeys(RAW_INTERACTIONS.columns) | json.loads(line))
            except json.JSONDecodeError:
                continue
        return rows
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["position"] is not None]
    return [
        {
            key: None if text == "" else int(text) if key in ("user_id", "video_id", "position") and text != "nobody"
            else float(text) if key in ("watch_seconds", "latitude", "longitude") else text
            for key, text in row.items()
        }
        for row in rows
    ]  # fmt: skip


@pytest.fixture(scope="module")
def rows(world):
    """Every readable row that is no planted one, repeats included."""
    found = pd.DataFrame([row | {"hour": str(file.parent)[-16:]} for file in hour_files(world) for row in read_hour(file)])
    planted = found.event_id.isna() | found.event_id.str.startswith("x")
    sound = found[~planted].copy()
    sound["at"] = pd.to_datetime(sound.occurred_at, utc=True)
    return sound.astype({"user_id": "int64"})


@pytest.fixture(scope="module")
def truth(world):
    return read_impressions(world / "truth").to_pandas()


def snapshot(world: Path, table: str, date: dt.date) -> pd.DataFrame:
    return pq.ParquetFile(world / "raw" / table / f"dt={date}" / "part-0.parquet").read().to_pandas()


def test_every_hour_has_one_file_of_its_format(world):
    files = hour_files(world)
    assert [str(file.parent)[-16:] for file in files] == [
        f"{START + dt.timedelta(days=day)}/hr={hour:02d}" for day in range(DAYS) for hour in range(24)
    ]
    for file in files:
        expected = {"hr=03": ".jsonl", "hr=04": ".csv"}.get(file.parent.name, ".parquet")
        assert file.suffix == expected


def test_the_tables_are_of_the_raw_contract(world):
    for table in (RAW_INTERACTIONS, RAW_VIDEOS, RAW_USERS):
        for file in sorted((world / "raw" / table.name).glob("**/*.parquet")):
            assert table.compare(pq.ParquetFile(file).schema_arrow) == []
    (text, *_) = (world / "raw" / "interactions").glob("dt=*/hr=04/part-0.csv")
    assert text.read_text(encoding="utf-8").splitlines()[0] == ",".join(RAW_INTERACTIONS.columns)


def test_snapshots_keep_the_null_and_value_rules(world):
    for table in (RAW_VIDEOS, RAW_USERS):
        for day in range(DAYS + 1):
            found = snapshot(world, table.name, START + dt.timedelta(days=day))
            for field in table.fields:
                if not field.nullable:
                    assert found[field.name].notna().all(), field.name
                if field.minimum is not None:
                    assert found[field.name].dropna().min() >= field.minimum, field.name
                if field.maximum is not None:
                    assert found[field.name].dropna().max() <= field.maximum, field.name
            assert found[table.key[0]].is_unique


def test_sound_rows_keep_the_contract(rows):
    assert (rows["at"].dt.strftime("%Y-%m-%d/hr=%H") == rows.hour).all()
    assert set(rows.interaction_type) == {kind.value for kind in InteractionType}
    assert (rows.video_id.isna() == (rows.interaction_type == "search")).all()
    assert (rows["query"].notna() == (rows.interaction_type == "search")).all()
    assert (rows["comment"].notna() == (rows.interaction_type == "comment")).all()
    assert (rows.watch_seconds.notna() == (rows.interaction_type == "watch")).all()
    assert rows.watch_seconds.dropna().between(0, 3_600).all()
    assert rows.position.dropna().between(0, 19).all()


def test_two_of_a_hundred_impressions_are_relevant(truth):
    assert truth.probability.mean() == pytest.approx(0.02, abs=1e-4)
    assert truth.relevant.mean() == pytest.approx(0.02, abs=0.003)


def test_what_is_drawn_agrees_with_the_true_probabilities(truth):
    bins = pd.qcut(truth.probability, 8)
    found = truth.groupby(bins, observed=True).agg(
        expected=("probability", "mean"), n=("relevant", "size"), drawn=("relevant", "mean")
    )
    deviation = (found.drawn - found.expected).abs() / np.sqrt(found.expected * (1 - found.expected) / found.n)
    assert (deviation < 4).all()  # standard errors; the seed is fixed


def test_the_truth_ranks_impressions(truth):
    rank = truth.probability.rank()
    positives = int(truth.relevant.sum())
    area = (rank[truth.relevant].mean() - (positives + 1) / 2) / (len(truth) - positives)
    assert area > 0.85


def test_the_logs_say_what_the_truth_drew(world, rows, truth):
    """Labels worked out from the logs alone, as the pipeline does, are the outcomes that were drawn."""
    last = pd.Timestamp(START + dt.timedelta(days=DAYS), tz="UTC") - pd.Timedelta(minutes=10)
    videos = snapshot(world, "videos", START + dt.timedelta(days=DAYS)).set_index("video_id")
    events = rows.drop_duplicates("event_id")
    actions = events[~events.interaction_type.isin(["impression", "search"])].astype({"video_id": "int64"})
    joined = truth.merge(actions, on=["user_id", "video_id"], suffixes=("", "_action"))
    joined = joined[(joined["at"] >= joined.occurred_at) & (joined["at"] <= joined.occurred_at + pd.Timedelta(minutes=10))]
    length = joined.video_id.map(videos.duration_seconds)
    half = (joined.interaction_type == "watch") & (length > 0) & (joined.watch_seconds >= 0.5 * length)
    liked = set(joined.event_id[(joined.interaction_type == "like") | half])
    disliked = set(joined.event_id[joined.interaction_type == "dislike"])
    label = truth.event_id.isin(liked - disliked)
    complete = truth.occurred_at < last
    assert (label[complete] == truth.relevant[complete]).all()
    assert len(liked & disliked) > 0  # some disliked what they had watched


def test_most_impressions_are_ignored_and_actions_follow_them(rows):
    counts = rows.drop_duplicates("event_id").interaction_type.value_counts()
    assert counts["impression"] / counts.sum() > 0.85
    assert 0.02 < counts["click"] / counts["impression"] < 0.12
    assert counts["watch"] > counts["like"] > counts["dislike"] > 0
    organic = rows[(rows.interaction_type == "watch") & rows.request_id.isna()]
    assert 0 < len(organic) < 0.01 * counts["impression"]


def test_every_video_stands_in_the_next_snapshot(world, rows):
    for day in range(DAYS):
        date = START + dt.timedelta(days=day)
        known = set(snapshot(world, "videos", date + dt.timedelta(days=1)).video_id)
        people = set(snapshot(world, "users", date + dt.timedelta(days=1)).user_id)
        today = rows[rows.hour.str.startswith(str(date))]
        assert set(today.video_id.dropna().astype("int64")) <= known
        assert set(today.user_id) <= people


def test_the_world_moves_on(world, rows):
    first, last = (snapshot(world, "videos", START + dt.timedelta(days=day)) for day in (0, DAYS))
    assert len(first) == 400
    assert len(last) == 460
    assert len(snapshot(world, "users", START + dt.timedelta(days=DAYS))) == 309
    watches = rows.drop_duplicates("event_id").query("interaction_type == 'watch'").video_id.value_counts()
    grown = last.set_index("video_id").view_count - first.set_index("video_id").view_count.reindex(last.video_id, fill_value=0)
    assert (grown[watches.index] >= watches).all()
    assert not first.removed.any()
    assert last.removed.any()


def test_nothing_is_shown_that_must_not_be(world, rows):
    shown = rows[rows.interaction_type == "impression"].drop_duplicates("event_id").astype({"video_id": "int64"})
    assert not shown.assign(day=shown["at"].dt.date).duplicated(["user_id", "video_id", "request_id"]).any()
    end = START + dt.timedelta(days=DAYS)
    videos, users = snapshot(world, "videos", end).set_index("video_id"), snapshot(world, "users", end).set_index("user_id")
    assert (shown["at"] > shown.video_id.map(videos.uploaded_at)).all()
    assert (shown["at"] > shown.user_id.map(users.registered_at)).all()
    blocked = shown.video_id.map(videos.blocked_countries)
    country = shown.user_id.map(users.country)
    assert blocked.notna().any()
    assert not any(where in countries for where, countries in zip(country, blocked, strict=True) if countries is not None)


def test_repeats_and_broken_rows_are_as_planted(world, rows):
    planted = json.loads((world / "truth" / "planted.json").read_text())
    total: dict[str, int] = {}
    for counts in planted.values():
        for kind, count in counts.items():
            total[kind] = total.get(kind, 0) + count
    assert int(rows.event_id.duplicated().sum()) == total.pop("duplicates")
    assert rows.drop(columns="at").drop_duplicates().event_id.is_unique  # repeats are exact, and in the same hour
    assert set(total) <= {reason.value for reason in RejectReason}
    assert rows.event_id.duplicated().mean() == pytest.approx(0.005, rel=0.3)
    assert sum(total.values()) / len(rows) == pytest.approx(0.004, rel=0.3)
    readable = [row for file in hour_files(world) for row in read_hour(file)]
    assert sum(row["interaction_type"] == "hover" for row in readable) == total["unknown_interaction_type"]
    assert sum(row["video_id"] == 900_000_000_000 for row in readable) == total["unknown_video"]
    assert sum(row["user_id"] is None or row["event_id"] is None for row in readable) == total["missing_value"]


def test_the_saved_truth_gives_the_probabilities_back(world, truth):
    """The drawn probabilities follow from the saved vectors, so any oracle list can be computed."""
    folder = world / "truth"
    preferences = Preferences.load(folder)
    users, videos = (pq.ParquetFile(folder / f"{name}.parquet").read().to_pandas() for name in ("users", "videos"))
    user = truth.user_id.map(users.set_index("user_id")["row"]).to_numpy()
    video = truth.video_id.map(videos.set_index("video_id")["row"]).to_numpy()
    at_us = truth.occurred_at.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    logits = preferences.pairs(user, video, at_us)
    exact = np.log(truth.probability / (1 - truth.probability))
    # What is missing is the position, the device and the day's offset.
    assert np.corrcoef(logits, exact)[0, 1] > 0.98
    whole = preferences.catalogue(user[:3], int(at_us[0]))
    assert whole.shape == (3, len(videos))
    np.testing.assert_allclose(whole[0, video[0]], logits[0], rtol=1e-4)


def test_the_same_configuration_gives_the_same_bytes(world, tmp_path):
    assert run(tmp_path, SMALL) == 0
    for name in ("raw", "truth"):
        one, two = (
            {path.relative_to(home / name): path.read_bytes() for path in (home / name).rglob("*") if path.is_file()}
            for home in (world, tmp_path)
        )
        assert one == two


def test_a_finished_simulation_is_left_alone(tmp_path, capsys):
    tiny = {"users": 20, "videos": 100, "days": 1}
    assert run(tmp_path, tiny) == 0
    assert "simulate: wrote" in capsys.readouterr().out
    marker = tmp_path / "raw" / "_simulation.json"
    before = marker.stat().st_mtime_ns
    assert run(tmp_path, tiny) == 0
    assert "simulate: up to date" in capsys.readouterr().out
    assert marker.stat().st_mtime_ns == before
    assert run(tmp_path, tiny | {"seed": 8}) == 0
    assert "simulate: wrote" in capsys.readouterr().out


def test_a_killed_simulation_leaves_nothing(tmp_path, monkeypatch):
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.simulation._run.write_truth", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"users": 20, "videos": 100, "days": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["overlay.yaml"]


def test_a_foreign_folder_is_not_replaced(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "logs.tar").touch()
    assert run(tmp_path, {"users": 20, "videos": 100, "days": 1}) == 2
    assert "found logs.tar, expected an empty folder or an earlier simulation or import" in capsys.readouterr().err
    assert (tmp_path / "raw" / "logs.tar").exists()


def test_a_wrong_setting_is_named(tmp_path, capsys):
    assert run(tmp_path, {"csv_hours": [3]}) == 2
    assert "hours [3] stand in jsonl_hours and in csv_hours" in capsys.readouterr().err


def test_the_default_configuration_is_complete():
    config = conf.load("simulate", into=SimulateConfig)
    assert (config.users, config.videos, config.days, config.start) == (6000, 12000, 14, dt.date(2025, 12, 26))


def test_calibration_finds_the_offset():
    logits = np.linspace(-6, 6, 1001)
    assert sigmoid(logits + calibrate(logits, 0.02)).mean() == pytest.approx(0.02, abs=1e-6)
    assert calibrate(np.zeros(10), 0.5) == pytest.approx(0.0, abs=1e-6)


def test_certain_outcomes():
    """Where relevance is certain every impression is liked or half watched; where it is impossible none is."""
    n = 2_000
    duration, bait = np.where(np.arange(n) % 10 == 0, 0.0, 100.0), np.zeros(n)
    yes = draw_outcomes(np.full(n, 1 - 1e-12), duration, bait, np.random.default_rng(1))
    no = draw_outcomes(np.full(n, 1e-12), duration, bait, np.random.default_rng(1))
    for outcome, expected in ((yes, True), (no, False)):
        like, dislike = outcome.reactions[InteractionType.LIKE], outcome.reactions[InteractionType.DISLIKE]
        half = (duration > 0) & (outcome.watch_seconds >= 0.5 * duration)
        assert (((like | half) & ~dislike) == expected).all()
    assert yes.engaged.all()
