"""Features as of each example's second as plain SQL for DuckDB: the yardstick of ``benchmarks.features``, and an oracle.

It follows ``docs/data-rules.md`` in its own words and shares no code with ``jobs``. It is written for speed: events are counted
up once by user and by video, so that what lay before a moment is one number that an ``ASOF`` join finds, and a span is the
difference of two; the lists of a user are cut into blocks of their full length, each kept with the block before it, so that
every history is a slice of one block. It makes the same three tables in the same order, and leaves out what a query cannot do:
digests, manifests, atomic swaps, profiles of what was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from string import Template

import duckdb

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_PARQUET = "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
_KINDS = {"watched": "watch", "liked": "like", "seen": "impression", "searched": "search"}
_COUNTERS = {"impressions": "impression", "views": "watch", "likes": "like"}
_SPANS = {"hour": 1, "day": 24, "week": 168}


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of ``features`` and ``window``."""

    lengths: Mapping[str, int]
    """Of each history."""
    history_days: int


def run_reference(
    lake: Path, out: Path, limits: Limits, *, threads: int = 2, memory: str = "4GB", hours_at_once: int = 24
) -> None:
    """Make ``video_hours``, ``user_history`` and ``example_features`` below ``out`` of all that the lake holds.

    Args:
        lake: with ``interactions`` and ``examples``.
        out: a new folder.
        limits: how far histories look back.
        threads: of the engine.
        memory: that it may use; what needs more goes to ``out``.
        hours_at_once: of examples whose lists are held in memory.
    """
    out.mkdir(parents=True)
    settings: dict[str, str | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": memory,
        "temp_directory": str(out / "spilt"),
    }
    with duckdb.connect(config={**settings, "preserve_insertion_order": False}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(_EVENTS.substitute(lake=lake, kinds=", ".join(f"'{kind}'" for kind in _KINDS.values())))
        hours = [found[0] for found in connection.execute("SELECT DISTINCT hour FROM events ORDER BY hour").fetchall()]
        _video_hours(connection, out, hours)
        _user_history(connection, out, limits, hours)
        connection.execute(_EXAMPLES.substitute(lake=lake))
        _count(connection, limits)
        for name in _KINDS:
            _blocks(connection, name, limits.lengths[name])
        _example_features(connection, lake, out, limits, hours_at_once)


_EVENTS = Template("""
CREATE TEMP TABLE events AS
    SELECT
        event_id, user_id, video_id, interaction_type AS kind, query, epoch_us(occurred_at) AS moment,
        date_trunc('hour', occurred_at) AS hour
    FROM read_parquet('$lake/interactions/*/*/*.parquet', hive_partitioning = false)
    WHERE interaction_type IN ($kinds);
""")

_EXAMPLES = Template("""
CREATE TEMP TABLE examples AS
    SELECT
        event_id, user_id, video_id, epoch_us(occurred_at) AS moment, date_trunc('hour', known_at) AS hour,
        row_number() OVER () AS place
    FROM read_parquet('$lake/examples/*/*/*.parquet', hive_partitioning = false);
""")


def _video_hours(connection: duckdb.DuckDBPyConnection, out: Path, hours: Sequence[datetime]) -> None:
    counts = ", ".join(f"count(*) FILTER (kind = '{kind}') AS {counter}" for counter, kind in _COUNTERS.items())
    kinds = ", ".join(f"'{kind}'" for kind in _COUNTERS.values())
    connection.execute(
        f"CREATE TEMP TABLE counted AS SELECT hour, video_id, {counts} FROM events WHERE kind IN ({kinds}) GROUP BY ALL"
    )
    for hour in hours:
        query = f"SELECT * EXCLUDE (hour) FROM counted WHERE hour = {_literal(hour)} ORDER BY video_id"
        _write(connection, query, _folder(out / "video_hours", hour))
    connection.execute("DROP TABLE counted")


def _user_history(connection: duckdb.DuckDBPyConnection, out: Path, limits: Limits, hours: Sequence[datetime]) -> None:
    """Each day's last events: of those of the day before, and its own."""
    longest = " ".join(f"WHEN '{kind}' THEN {limits.lengths[name]}" for name, kind in _KINDS.items())
    connection.execute("CREATE TEMP TABLE last AS SELECT * EXCLUDE (hour) FROM events LIMIT 0")
    for day, group in groupby(hours, lambda hour: hour.date()):
        first = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = min(first + _DAY, max(group) + _HOUR)
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE last AS
            SELECT * FROM (
                FROM last UNION ALL
                SELECT * EXCLUDE (hour) FROM events WHERE hour >= {_literal(first)} AND hour < {_literal(end)}
            )
            QUALIFY
                row_number() OVER (PARTITION BY user_id, kind ORDER BY moment DESC, event_id DESC) <= CASE kind {longest} END
        """)
        since = _micros(end - limits.history_days * _DAY)
        query = f"""
            SELECT user_id, kind AS interaction_type, make_timestamptz(moment) AS occurred_at, video_id, query
            FROM last WHERE moment >= {since} ORDER BY moment, event_id
        """
        _write(connection, query, out / "user_history" / f"dt={day}")
    connection.execute("DROP TABLE last")


def _count(connection: duckdb.DuckDBPyConnection, limits: Limits) -> None:
    """For each example how many events lay before its second, and before each span that ends there."""
    first, last = connection.execute("SELECT min(moment), max(moment) FROM events").fetchall()[0]
    reach = limits.history_days * _DAY // timedelta(microseconds=1)
    backs = {"now": 0, **({"reach": reach} if last - first > reach else {})}  # in a shorter log nothing lies before it
    _cumulate(connection, "by_user", "user_id", dict(_KINDS))
    _look_up(connection, "before_user", "by_user", "user_id", tuple(_KINDS), backs=backs)
    _cumulate(connection, "by_video", "video_id", dict(_COUNTERS))
    backs = {"now": 0, **{span: hours * (_HOUR // timedelta(microseconds=1)) for span, hours in _SPANS.items()}}
    _look_up(connection, "before_video", "by_video", "video_id", tuple(_COUNTERS), backs=backs)


def _cumulate(connection: duckdb.DuckDBPyConnection, table: str, key: str, kinds: Mapping[str, str]) -> None:
    """How many events of each kind there were up to each moment at which there was one."""
    counts = ", ".join(f"count(*) FILTER (kind = '{kind}') AS {name}" for name, kind in kinds.items())
    sums = ", ".join(f"(sum({name}) OVER w)::INTEGER AS {name}" for name in kinds)
    wanted = ", ".join(f"'{kind}'" for kind in kinds.values())
    connection.execute(f"""
        CREATE TEMP TABLE {table} AS SELECT {key}, moment, {sums}
        FROM (SELECT {key}, moment, {counts} FROM events WHERE kind IN ({wanted}) GROUP BY ALL)
        WINDOW w AS (PARTITION BY {key} ORDER BY moment ROWS UNBOUNDED PRECEDING)
    """)


def _look_up(
    connection: duckdb.DuckDBPyConnection, table: str, sums: str, key: str, names: Sequence[str], *, backs: Mapping[str, int]
) -> None:
    """The sums strictly before each example's moment, and before those a while back; one join each."""
    for back, micros in backs.items():
        found = ", ".join(f"coalesce(s.{name}, 0) AS {name}_{back}" for name in names)
        connection.execute(f"""
            CREATE TEMP TABLE {table}_{back} AS SELECT place, {found}
            FROM (SELECT place, {key}, moment - {micros} AS moment FROM examples) x
            ASOF LEFT JOIN {sums} s ON x.{key} = s.{key} AND x.moment > s.moment
        """)
    joins = " ".join(f"JOIN {table}_{back} USING (place)" for back in [*backs][1:])
    connection.execute(f"CREATE TEMP TABLE {table} AS FROM {table}_now {joins}")
    for back in backs:
        connection.execute(f"DROP TABLE {table}_{back}")
    connection.execute(f"DROP TABLE {sums}")


def _blocks(connection: duckdb.DuckDBPyConnection, name: str, length: int) -> None:
    """A user's events of one kind, oldest first, in blocks of ``length``; each with those of the block before it."""
    value = "coalesce(query, '')" if name == "searched" else "video_id"
    connection.execute(f"""
        CREATE TEMP TABLE {name}_blocks AS
        WITH numbered AS (
            SELECT user_id, moment, {value} AS value, row_number() OVER (PARTITION BY user_id ORDER BY moment, event_id) AS n
            FROM events WHERE kind = '{_KINDS[name]}'
        ),
        blocks AS (
            SELECT user_id, (n - 1) // {length} AS block, list(value ORDER BY n) AS items, list(moment ORDER BY n) AS times
            FROM numbered GROUP BY ALL
        )
        SELECT
            now.user_id, now.block, coalesce(before.items, []) || now.items AS items,
            coalesce(before.times, []) || now.times AS times
        FROM blocks now LEFT JOIN blocks before ON before.user_id = now.user_id AND before.block = now.block - 1
    """)


def _example_features(connection: duckdb.DuckDBPyConnection, lake: Path, out: Path, limits: Limits, hours_at_once: int) -> None:
    columns = connection.execute("SELECT column_name FROM (DESCRIBE before_user)").fetchall()
    reach = ("watched_reach",) in columns
    wanted, joins = [], []
    for name in _KINDS:
        length = limits.lengths[name]
        # The place in the block and its predecessor of the newest event before the moment, and how many count.
        newest = f"(({name}_now - 1) % {length} + 1 + CASE WHEN {name}_now > {length} THEN {length} ELSE 0 END)"
        count = f"least({length}, {name}_now - {f'{name}_reach' if reach else 0})"
        cut = f"[{newest} - {count} + 1 : {newest}]"
        some = f"{count} > 0"
        own = f"{name}.user_id = x.user_id AND {name}.block = ({name}_now - 1) // {length}"
        joins.append(f"LEFT JOIN {name}_blocks {name} ON {own}")
        wanted.append(f"CASE WHEN {some} THEN list_reverse({name}.items{cut}) ELSE [] END AS {name}_history")
        wanted.append(f"""
            CASE WHEN {some}
            THEN list_transform(list_reverse({name}.times{cut}), lambda t: ((x.moment - t) // 1000000)::INTEGER)
            ELSE [] END AS {name}_ages_seconds
        """)
    for counter in _COUNTERS:
        wanted += [f"{counter}_now - {counter}_{span} AS {counter}_last_{span}" for span in _SPANS]
    folders = sorted((lake / "examples").glob("dt=*/hr=*"))
    hours = [datetime.strptime(f"{f.parent.name} {f.name}", "dt=%Y-%m-%d hr=%H").replace(tzinfo=UTC) for f in folders]
    for start in range(0, len(hours), hours_at_once):
        batch = hours[start : start + hours_at_once]
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE found AS SELECT x.hour, x.moment, x.event_id, {", ".join(wanted)}
            FROM examples x JOIN before_user USING (place) JOIN before_video USING (place) {" ".join(joins)}
            WHERE x.hour >= {_literal(batch[0])} AND x.hour <= {_literal(batch[-1])}
        """)
        for hour in batch:
            query = f"SELECT * EXCLUDE (hour, moment) FROM found WHERE hour = {_literal(hour)} ORDER BY moment, event_id"
            _write(connection, query, _folder(out / "example_features", hour))


def _folder(table: Path, hour: datetime) -> Path:
    return table / hour.astimezone(UTC).strftime("dt=%Y-%m-%d/hr=%H")


def _write(connection: duckdb.DuckDBPyConnection, query: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    connection.execute(f"COPY ({query}) TO '{folder}/part.parquet' {_PARQUET}")


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def _literal(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.astimezone(UTC).isoformat(sep=' ')}'"
