"""Raw logs by the million: the same bytes for the same arguments, and every case that the rules of the stages tell apart.

Of 100 rows about 95 are impressions, in requests of 20 by one user. Three of 100 impressions are acted on within ten minutes,
some later, a few at exactly ten minutes or at the impression's own instant; some actions have no impression; labels cross
hours and midnight. Planted are repeats of an event in its own hour, the next and the one after, and rows with every flaw.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS, InteractionType

START = datetime(2026, 1, 6, 22, tzinfo=UTC)
"""Two hours before a midnight, so that short logs cross it too."""

_MINUTE, _HOUR = 60_000_000, 3_600_000_000
_LABEL_WINDOW = 10 * _MINUTE
_REQUEST = 20
_KINDS = [*(kind.value for kind in InteractionType), "teleport"]
_IMPRESSION, _CLICK, _WATCH, _LIKE, _DISLIKE, _SHARE, _SAVE, _COMMENT, _SEARCH, _UNKNOWN = range(len(_KINDS))
_DEVICES = ["phone", "tv", "desktop", "tablet", " "]
_QUERIES = ["", *(f"{what} {n}" for what in ("cats", "how to", "live music", "match of the day") for n in range(100))]
_COMMENTS = [f"{what} {n}" for what in ("so good", 'he said "no"', "schön", "first!") for n in range(50)]
_NONE = np.iinfo(np.int32).min
_BLANK: dict[str, Any] = {
    "id": 0, "at": _NONE, "user": _NONE, "video": _NONE, "kind": _IMPRESSION, "watch": _NONE, "query": -1, "comment": -1,
    "latitude": _NONE, "longitude": _NONE, "device": -1, "request": _NONE, "position": _NONE,
}  # fmt: skip
_EVENT = np.dtype(
    [
        ("id", "u8"), ("at", "i8"), ("user", "i8"), ("video", "i8"), ("kind", "i1"), ("watch", "f8"), ("query", "i2"),
        ("comment", "i2"), ("latitude", "f8"), ("longitude", "f8"), ("device", "i1"), ("request", "i8"), ("position", "i4"),
    ]
)  # fmt: skip

# What is planted into a row; `at` counts from the beginning of the row's hour. With two flaws the rules say which one counts.
_FLAWS: tuple[dict[str, Any], ...] = (
    {"kind": _UNKNOWN}, {"watch": -3.5}, {"user": _NONE}, {"watch": 90_000.0}, {"at": _HOUR}, {"at": -1}, {"at": 30 * _HOUR},
    {"latitude": 90.5}, {"longitude": -200.25}, {"id": 0}, {"at": None}, {"watch": np.inf}, {"position": -5}, {"video": _NONE},
    {"kind": _UNKNOWN, "watch": -1.0}, {"user": _NONE, "latitude": 95.0}, {"watch": 1e6, "longitude": 181.0},
    {"video": _NONE, "watch": 90_000.0}, {"at": _HOUR, "watch": 90_000.0}, {"video": 10**12, "at": -1},
)  # fmt: skip
_UNKNOWN_VIDEO = {"video": 10**12}
# Odd but sound: a missing number as some writers put it, limits, blanks.
_ODD: tuple[dict[str, Any], ...] = (
    {"watch": np.nan}, {"watch": 86_400.0}, {"latitude": 90.0, "longitude": -180.0}, {"device": 4}, {"query": 0},
)  # fmt: skip


def write_events(
    folder: Path, hours: int, events_per_hour: int, seed: int, *, users: int = 200_000, videos: int = 20_000
) -> int:
    """Write raw logs of the hours from :data:`START` on, two files each, and one snapshot of videos and users.

    Args:
        folder: the raw folder, with ``interactions``, ``videos`` and ``users`` below it.
        hours: how many.
        events_per_hour: about how many.
        seed: of everything drawn.
        users: how many accounts; few of them are very active.
        videos: how many; few of them are shown very often.

    Returns:
        How many interactions were written.
    """
    world = _World(np.random.default_rng(seed), users, videos)
    world.write(folder)
    rows, waiting = 0, _blank(0)
    for hour in range(hours):
        rng = np.random.default_rng([seed, hour])
        begin = int(START.timestamp() * 1_000_000) + hour * _HOUR
        fresh = np.concatenate([_shown(rng, world, events_per_hour, begin), _unasked(rng, world, events_per_hour, begin)])
        fresh["id"] = (np.uint64(hour) << np.uint64(32)) + np.arange(1, len(fresh) + 1, dtype=np.uint64)
        located = rng.random(len(fresh)) < 0.1
        fresh["latitude"][located] = rng.uniform(-90, 90, located.sum()).round(5)
        fresh["longitude"][located] = rng.uniform(-180, 180, located.sum()).round(5)
        _plant(rng.choice(len(fresh), max(len(_ODD), len(fresh) // 5_000), replace=False), fresh, _ODD, begin)
        pool = np.concatenate([waiting, fresh])
        due = pool["at"] < begin + _HOUR
        events, again = _repeated(rng, pool[due], begin)
        waiting = np.concatenate([pool[~due], again])
        events = _flawed(rng, events, again["id"], begin)
        second = rng.random(len(events)) < 0.5
        target = folder / RAW_INTERACTIONS.name / (START + hour * timedelta(hours=1)).strftime("dt=%Y-%m-%d/hr=%H")
        target.mkdir(parents=True)
        for name, part in (("log-0", events[~second]), ("log-1", events[second])):
            pq.write_table(_arrow(part), target / f"{name}.parquet", compression="zstd", row_group_size=1 << 17)
        rows += len(events)
    return rows


class _World:
    """Users and videos: how often each turns up, how long a video is, and which device a user has."""

    def __init__(self, rng: np.random.Generator, users: int, videos: int) -> None:
        self._users = _skewed(users, 50, 0.6)
        self._videos = _skewed(videos, 10, 0.9)
        self._user_ids, self._video_ids = rng.permutation(users) + 1_000, rng.permutation(videos) + 50_000
        self.devices = np.where(rng.random(users) < 0.05, -1, rng.integers(0, 4, users)).astype(np.int8)
        self.durations = np.where(rng.random(videos) < 0.02, 0.0, rng.integers(5, 900, videos) + rng.integers(0, 2, videos) / 2)

    def draw_users(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and devices of users, (count,) each."""
        place = np.searchsorted(self._users, rng.random(count))
        return self._user_ids[place], self.devices[place]

    def draw_videos(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Ids of videos, (count,)."""
        return self._video_ids[np.searchsorted(self._videos, rng.random(count))]

    def watches(self, rng: np.random.Generator, video_ids: np.ndarray) -> np.ndarray:
        """How long a watch of each video lasts, (n,), in seconds; some are not known."""
        by_id = np.empty(len(self.durations))
        by_id[self._video_ids - 50_000] = self.durations
        lengths = (by_id[video_ids - 50_000] * rng.uniform(0, 1.3, len(video_ids))).round(1)
        return np.where(rng.random(len(video_ids)) < 0.03, _NONE, lengths)

    def write(self, folder: Path) -> None:
        """Write the snapshots of the day of :data:`START`."""
        n, m = len(self._video_ids), len(self._user_ids)
        since = pa.array([datetime(2025, 12, 1, tzinfo=UTC)] * max(n, m), pa.timestamp("us", tz="UTC"))
        videos = {
            "video_id": self._video_ids, "creator_id": self._video_ids // 7, "title": [f"video {i}" for i in range(n)],
            "tags": [["a", f"b{i % 40}"] for i in range(n)], "language": ["en", "de"] * (n // 2) + ["en"] * (n % 2),
            "duration_seconds": self.durations, "uploaded_at": since[:n],
        }  # fmt: skip
        users = {
            "user_id": self._user_ids, "username": [f"user{i}" for i in range(m)], "age": np.arange(m) % 80 + 13,
            "country": ["DE", "FR"] * (m // 2) + ["DE"] * (m % 2), "registered_at": since[:m],
        }  # fmt: skip
        for table, columns in ((RAW_VIDEOS, videos), (RAW_USERS, users)):
            target = folder / table.name / f"dt={START:%Y-%m-%d}"
            target.mkdir(parents=True)
            rows = pa.table({name: pa.array(columns[name]) if name in columns else pa.nulls(n if table is RAW_VIDEOS else m)
                             for name in table.columns})  # fmt: skip
            pq.write_table(rows.cast(table.arrow), target / "all.parquet", compression="zstd")


def _skewed(count: int, flat: int, power: float) -> np.ndarray:
    """Cumulative shares, (count,), that fall with the rank's power after a flat head."""
    shares = (np.arange(count) + flat) ** -power
    return np.cumsum(shares / shares.sum())[:-1]


def _blank(count: int, **columns: Any) -> np.ndarray:
    events = np.empty(count, dtype=_EVENT)
    for name, value in {**_BLANK, **columns}.items():
        events[name] = value
    return events


def _shown(rng: np.random.Generator, world: _World, events_per_hour: int, begin: int) -> np.ndarray:
    """Requests of one hour with their impressions, and what users did about some of them."""
    requests = round(events_per_hour * 0.95 / _REQUEST)
    user, device = world.draw_users(rng, requests)
    n, position = requests * _REQUEST, np.tile(np.arange(_REQUEST), requests)
    # Half of the pages are logged at once, half as the user scrolls.
    gap = np.where(np.repeat(rng.random(requests) < 0.5, _REQUEST), 0, position * 2_500_000 + rng.integers(0, 1_000_000, n))
    impressions = _blank(
        n, at=np.repeat(begin + rng.integers(0, _HOUR, requests), _REQUEST) + gap, user=np.repeat(user, _REQUEST),
        video=world.draw_videos(rng, n), device=np.repeat(device, _REQUEST), position=position,
        request=np.repeat(begin // _HOUR * 2**24 + np.arange(requests), _REQUEST),
    )  # fmt: skip
    acted = impressions[rng.random(n) < 0.03]
    actions = [
        _followed(rng, world, acted, 0.6, [_CLICK]),
        _followed(rng, world, acted, 0.5, [_WATCH]),
        _followed(rng, world, acted, 0.2, [_LIKE, _LIKE, _LIKE, _DISLIKE, _SHARE, _SAVE, _COMMENT]),
        _followed(rng, world, acted, 0.1, [_CLICK, _WATCH, _LIKE, _SHARE], late=True),
    ]
    return np.concatenate([impressions, *actions])


def _unasked(rng: np.random.Generator, world: _World, events_per_hour: int, begin: int) -> np.ndarray:
    """Actions of one hour that no impression led to, some of them in chains, and searches."""
    n, m = round(events_per_hour * 0.004), round(events_per_hour * 0.005)
    user, device = world.draw_users(rng, n)
    first = _blank(
        n, at=begin + rng.integers(0, _HOUR, n), user=user, device=device, video=world.draw_videos(rng, n), kind=_CLICK
    )  # fmt: skip
    any_kind = [_CLICK, _WATCH, _WATCH, _LIKE, _DISLIKE, _SHARE, _COMMENT]
    first = _acting(rng, world, first, any_kind)
    chain = [first]
    for _ in range(3):
        chain.append(_followed(rng, world, chain[-1], 0.5, any_kind, late=None))
    user, device = world.draw_users(rng, m)
    video = np.where(rng.random(m) < 0.8, _NONE, world.draw_videos(rng, m))
    query = rng.integers(1, len(_QUERIES), m)
    searches = _blank(
        m, at=begin + rng.integers(0, _HOUR, m), user=user, device=device, video=video, kind=_SEARCH, query=query
    )  # fmt: skip
    return np.concatenate([*chain, searches])


def _followed(
    rng: np.random.Generator, world: _World, events: np.ndarray, share: float, kinds: list[int], *, late: bool | None = False
) -> np.ndarray:
    """Actions that follow a share of the events: within nine minutes, later than the label window, or (None) either."""
    chosen = events[rng.random(len(events)) < share].copy()
    longest = {False: 9, True: 25, None: 15}[late] * _MINUTE
    delay = rng.integers(_LABEL_WINDOW + 1 if late else 0, longest, len(chosen))
    if not late:
        exact = rng.random(len(chosen))
        delay = np.select([exact < 0.02, exact < 0.04, exact < 0.05], [0, _LABEL_WINDOW, _LABEL_WINDOW + 1], delay)
    chosen["at"] += delay
    chosen["position"] = _NONE
    return _acting(rng, world, chosen, kinds)


def _acting(rng: np.random.Generator, world: _World, events: np.ndarray, kinds: list[int]) -> np.ndarray:
    """Give the events kinds, and what belongs to these."""
    kind = rng.choice(kinds, len(events))
    events["kind"] = kind
    timed = (kind == _WATCH) | (rng.random(len(events)) < 0.02)  # some platforms send a time with other actions too
    events["watch"] = np.where(timed, world.watches(rng, events["video"]), _NONE)
    events["comment"] = np.where(kind == _COMMENT, rng.integers(0, len(_COMMENTS), len(events)), -1)
    return events


def _repeated(rng: np.random.Generator, events: np.ndarray, begin: int) -> tuple[np.ndarray, np.ndarray]:
    """Plant repeats: one event in 500, as it is or a little later, and in later hours.

    Rows of unknown videos are planted here, because they compete with their repeats; those with other flaws do not.

    Returns:
        The hour's events, and repeats for hours to come.
    """
    chosen = rng.choice(len(events), 2 * (len(events) // 1_000), replace=False)
    strange = events[events["kind"] != _SEARCH]
    strange = strange[rng.choice(len(strange), max(1, len(events) // 40_000), replace=False)]
    places = np.flatnonzero(np.isin(events["id"], strange["id"]))
    _plant(places, events, (_UNKNOWN_VIDEO,), begin)
    copies = np.concatenate([events[chosen], events[places[:1]]])
    what = np.arange(len(copies)) % 16
    soon = copies["at"] + rng.integers(1, 5_000_000, len(copies))
    copies["at"] = np.where((what >= 8) & (what < 12) & (soon < begin + _HOUR), soon, copies["at"])
    # In the next hour; there and in the one after that, so that each is a repeat; and only after a pause, an event of its own.
    next_hour, both = copies[(what == 12) | (what == 13)], copies[what == 14]
    begun = events[(events["kind"] != _SEARCH) & (events["request"] == _NONE)]
    pause = np.concatenate([copies[what == 15], begun[: max(1, len(events) // 5_000)]])
    waiting = np.concatenate([next_hour, both, both, pause])
    waiting["at"] += np.repeat([_HOUR, _HOUR, 2 * _HOUR, 2 * _HOUR], [len(next_hour), len(both), len(both), len(pause)])
    return np.concatenate([events, copies[what < 12]]), waiting


def _flawed(rng: np.random.Generator, events: np.ndarray, again: np.ndarray, begin: int) -> np.ndarray:
    """Plant flaws, half of them into rows and half into copies of sound ones.

    Args:
        rng: draws the rows.
        events: of one hour.
        again: ids of events that later hours repeat; some get a flaw here, so that it is the repeat that counts.
        begin: of the hour.

    Returns:
        The events and the copies in order of time.
    """
    n = max(len(_FLAWS), len(events) // 4_000)
    events = events[np.argsort(events["at"], kind="stable")]
    # A search needs no video, and may become sound where another row would not.
    able = rng.permutation(np.flatnonzero(events["kind"] != _SEARCH))
    coming = able[np.isin(events["id"][able], again)][: n // 5]
    able = np.concatenate([coming, able[~np.isin(able, coming)][: 2 * n - len(coming)]])
    copies = events[able[n:]].copy()
    moments = np.concatenate([events["at"], copies["at"]])
    _plant(able[:n], events, _FLAWS, begin)
    _plant(np.arange(n), copies, _FLAWS, begin)
    return np.concatenate([events, copies])[np.argsort(moments, kind="stable")]


def _plant(places: np.ndarray, events: np.ndarray, kinds: tuple[dict[str, Any], ...], begin: int) -> None:
    """Write each kind of oddity in turn into the given rows."""
    for number, kind in enumerate(kinds):
        for name, value in kind.items():
            moved = begin + value if name == "at" and value is not None else value
            events[name][places[number :: len(kinds)]] = _NONE if moved is None else moved


def _arrow(events: np.ndarray) -> pa.Table:
    """The events in the raw contract."""
    columns = {
        "event_id": _event_ids(events["id"]),
        "user_id": _known(events["user"]),
        "video_id": _known(events["video"]),
        "interaction_type": _words(events["kind"], _KINDS),
        "occurred_at": _known(events["at"]).cast(pa.timestamp("us", tz="UTC")),
        "watch_seconds": _known(events["watch"]),
        "query": _words(events["query"], _QUERIES),
        "comment": _words(events["comment"], _COMMENTS),
        "latitude": _known(events["latitude"]),
        "longitude": _known(events["longitude"]),
        "device": _words(events["device"], _DEVICES),
        "request_id": _text(
            _hexadecimal(events["request"].view(np.uint64)), np.full(len(events), 16), events["request"] == _NONE
        ),
        "position": _known(events["position"]),
    }
    return pa.table(columns, schema=pa.schema([field.with_nullable(True) for field in RAW_INTERACTIONS.arrow]))


def _known(values: np.ndarray) -> pa.Array:
    return pa.array(np.ascontiguousarray(values), mask=values == _NONE)


def _words(codes: np.ndarray, words: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(words)).dictionary_decode()


def _event_ids(numbers: np.ndarray) -> pa.Array:
    """Unique texts of 16 to 32 hexadecimal digits, null for 0."""
    mixed = _mixed(np.ascontiguousarray(numbers))
    digits = np.concatenate([_hexadecimal(mixed), _hexadecimal(_mixed(mixed))], axis=1)
    return _text(digits, 16 + (mixed % np.uint64(17)).astype(np.int64), numbers == 0)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64, which maps no two numbers to one."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


def _hexadecimal(numbers: np.ndarray) -> np.ndarray:
    """Characters, uint8 (n, 16), of unsigned numbers (n,)."""
    pairs = np.frombuffer(b"".join(b"%02x" % value for value in range(256)), dtype=np.uint16)
    octets = np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 8)
    return pairs[octets].view(np.uint8)


def _text(characters: np.ndarray, lengths: np.ndarray, missing: np.ndarray) -> pa.Array:
    """The first characters of each row of uint8 (n, width) as strings."""
    lengths = np.where(missing, 0, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    content = characters[np.arange(characters.shape[1]) < lengths[:, None]]
    valid = np.packbits(~missing, bitorder="little")
    buffers = [pa.py_buffer(valid), pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(lengths), buffers)
