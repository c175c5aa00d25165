"""Ingest, labels and sampling as plain SQL for DuckDB: the yardstick of ``benchmarks.etl``, and an oracle for the stages.

It follows ``docs/data-rules.md`` in its own words and shares no code with ``jobs``. It is written for speed: an hour of the log
is decoded once and kept in memory; repeats are looked for among 64-bit hashes, and only rows whose hash came twice are
compared; windows see actions only, one row in twenty; impressions without an action of their pair are sampled while they are
read. It makes the same tables in the same order, and leaves out what a query cannot do: digests, manifests, atomic swaps, the
count of rows in against rows out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from string import Template

import duckdb

_HOUR = timedelta(hours=1)
_PARQUET = "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of ``ingest`` and ``examples``."""

    max_watch_seconds: float
    label_window_minutes: float
    relevant_watch_fraction: float
    negative_sample_rate: float
    sample_salt: str


def run_reference(raw: Path, out: Path, rules: Rules, threads: int = 2, hours_at_once: int = 24) -> None:
    """Make ``videos``, ``users``, ``interactions``, ``rejected`` and ``examples`` below ``out`` of all raw logs in ``raw``."""
    with connect(threads) as connection:
        ingest(connection, raw, out, rules)
        label(connection, out, rules, hours_at_once)


def connect(threads: int) -> duckdb.DuckDBPyConnection:
    """A database in memory that uses so many threads. No result depends on the order of rows in a file."""
    connection = duckdb.connect(config={"threads": threads, "preserve_insertion_order": False})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


# A blank text and a number that is none are missing. A text above '!' is not blank: most need no second look.
def _given(name: str) -> str:
    return f"CASE WHEN {name} < '!' AND trim({name}, ' ') = '' THEN NULL ELSE {name} END AS {name}"


def _number(name: str) -> str:
    return f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END AS {name}"


_TEXTS = ("event_id", "interaction_type", "query", "comment", "device", "request_id")
_CLEANED = ", ".join([*map(_given, _TEXTS), *map(_number, ("watch_seconds", "latitude", "longitude"))])

# The first flaw of each row, as reason and column.
_HOUR_OF_LOG = Template(f"""
DROP TABLE IF EXISTS log_before;
ALTER TABLE log RENAME TO log_before;
CREATE TEMP TABLE log AS
WITH given AS (
    SELECT * REPLACE ({_CLEANED}), filename AS path FROM read_parquet('$folder/*.parquet', hive_partitioning = false)
)
SELECT
    *,
    hash(event_id) AS id_hash,
    CASE
        WHEN event_id IS NULL THEN 'missing_value event_id'
        WHEN user_id IS NULL THEN 'missing_value user_id'
        WHEN interaction_type IS NULL THEN 'missing_value interaction_type'
        WHEN occurred_at IS NULL THEN 'missing_value occurred_at'
        WHEN interaction_type NOT IN (
            'impression', 'click', 'watch', 'like', 'dislike', 'share', 'save', 'comment', 'search'
        ) THEN 'unknown_interaction_type interaction_type'
        WHEN watch_seconds < 0 OR watch_seconds = 'infinity' THEN 'out_of_range watch_seconds'
        WHEN latitude NOT BETWEEN -90 AND 90 THEN 'out_of_range latitude'
        WHEN longitude NOT BETWEEN -180 AND 180 THEN 'out_of_range longitude'
        WHEN position < 0 THEN 'out_of_range position'
        WHEN video_id IS NULL AND interaction_type <> 'search' THEN 'missing_value video_id'
        WHEN watch_seconds > $max_watch_seconds THEN 'out_of_range watch_seconds'
        WHEN occurred_at < $start OR occurred_at >= $end THEN 'outside_partition occurred_at'
    END AS flaw
FROM given LEFT JOIN durations USING (video_id)
""")
_NO_LOG = "CREATE OR REPLACE TEMP TABLE log (id_hash UBIGINT, event_id VARCHAR, flaw VARCHAR)"


_REPEATS = """
CREATE OR REPLACE TEMP TABLE suspects AS
    SELECT id_hash
    FROM (SELECT id_hash FROM log UNION ALL SELECT id_hash FROM log_before)
    GROUP BY ALL HAVING count(*) > 1;
CREATE OR REPLACE TEMP TABLE repeats AS
    WITH rivals AS (
        SELECT event_id, 1 AS late, occurred_at, rowid AS place FROM log SEMI JOIN suspects USING (id_hash) WHERE flaw IS NULL
        UNION ALL
        SELECT event_id, 0, NULL, NULL FROM log_before SEMI JOIN suspects USING (id_hash) WHERE flaw IS NULL
    )
    SELECT place FROM rivals WHERE TRUE
    QUALIFY late = 1 AND row_number() OVER (PARTITION BY event_id ORDER BY late, occurred_at) > 1;
"""

_INTERACTIONS = """
    SELECT
        event_id, user_id, video_id, interaction_type, occurred_at, watch_seconds, query, device, request_id, position,
        duration_seconds
    FROM log
    WHERE flaw IS NULL AND (video_id IS NULL OR duration_seconds IS NOT NULL)
        AND NOT EXISTS (FROM repeats WHERE place = log.rowid)
    ORDER BY occurred_at, event_id
"""

_REJECTED = """
    WITH doubtful AS MATERIALIZED (
        SELECT *, rowid AS place FROM log WHERE flaw IS NOT NULL OR (duration_seconds IS NULL AND video_id IS NOT NULL)
    ),
    refused AS (
        SELECT * REPLACE (coalesce(flaw, 'unknown_video video_id') AS flaw) FROM doubtful
        WHERE flaw IS NOT NULL OR place NOT IN (FROM repeats)
    )
    SELECT
        'interactions' AS source,
        array_to_string(string_split(path, '/')[-4:], '/') AS file,
        split_part(flaw, ' ', 1) AS reason,
        split_part(flaw, ' ', 2) AS detail,
        CAST(to_json(struct_pack(
            event_id, user_id, video_id, interaction_type, occurred_at, watch_seconds, query, comment, latitude, longitude,
            device, request_id, position
        )) AS VARCHAR) AS record
    FROM refused
    ORDER BY ALL
"""

_VIDEO_IS_SOUND = """
    video_id IS NOT NULL AND uploaded_at IS NOT NULL AND duration_seconds >= 0 AND duration_seconds < 'infinity'
    AND coalesce(like_count >= 0, TRUE) AND coalesce(view_count >= 0, TRUE)
    AND coalesce(misinformation_score BETWEEN 0 AND 1, TRUE) AND coalesce(clickbait_score BETWEEN 0 AND 1, TRUE)
    AND coalesce(sponsored_boost >= 0 AND sponsored_boost < 'infinity', TRUE)
"""
_USER_IS_SOUND = "user_id IS NOT NULL AND coalesce(age BETWEEN 0 AND 150, TRUE)"


def ingest(connection: duckdb.DuckDBPyConnection, raw: Path, out: Path, rules: Rules) -> None:
    """Make ``videos`` and ``users`` of every day and ``interactions`` and ``rejected`` of every hour of the raw logs."""
    folders = sorted((raw / "interactions").glob("dt=*/hr=*"))
    for day in sorted({folder.parent.name.removeprefix("dt=") for folder in folders}):
        _snapshots(connection, raw, out, day)
    videos = f"read_parquet('{raw}/videos/*/*.parquet', hive_partitioning = true)"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE durations AS SELECT video_id, arg_min(duration_seconds, dt) AS duration_seconds "
        f"FROM {videos} WHERE {_VIDEO_IS_SOUND} GROUP BY video_id"
    )
    last = None
    for folder in folders:
        start = _hour_of(folder)
        if last is None or start - last > _HOUR:
            connection.execute(_NO_LOG)
        last = start
        limits = {"start": _literal(start), "end": _literal(start + _HOUR), "max_watch_seconds": rules.max_watch_seconds}
        connection.execute(_HOUR_OF_LOG.substitute(folder=folder, **limits))
        connection.execute(_REPEATS)
        _write(connection, _INTERACTIONS, out / "interactions" / folder.parent.name / folder.name)
        _write(connection, _REJECTED, out / "rejected" / folder.parent.name / folder.name)


def _snapshots(connection: duckdb.DuckDBPyConnection, raw: Path, out: Path, day: str) -> None:
    """The newest row of each video and user at the end of the day."""
    sources = (
        ("videos", "video_id", "", _VIDEO_IS_SOUND),
        ("users", "user_id", "username, time_zone, registered_at, ", _USER_IS_SOUND),
    )
    for name, key, hidden, sound in sources:
        query = f"""
            SELECT * EXCLUDE ({hidden}dt), CAST(dt AS VARCHAR) AS snapshot_date
            FROM read_parquet('{raw}/{name}/*/*.parquet', hive_partitioning = true)
            WHERE dt <= DATE '{day}' + 1 AND {sound}
            QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY dt DESC) = 1
            ORDER BY {key}
        """
        _write(connection, query, out / name / f"dt={day}")


_ACTIONS = Template("""
CREATE OR REPLACE TEMP TABLE actions AS
    SELECT
        event_id, user_id, video_id, interaction_type AS kind, occurred_at, device, position, duration_seconds,
        CASE WHEN interaction_type = 'watch' THEN watch_seconds END AS watch_seconds
    FROM read_parquet($files)
    WHERE interaction_type NOT IN ('impression', 'search') AND occurred_at >= $reach;
CREATE OR REPLACE TEMP TABLE pairs AS SELECT DISTINCT user_id, video_id FROM actions;
-- The impressions that an action may belong to.
CREATE OR REPLACE TEMP TABLE candidates AS
    SELECT event_id, user_id, video_id, occurred_at, device, position, duration_seconds
    FROM read_parquet($files) SEMI JOIN pairs USING (user_id, video_id)
    WHERE interaction_type = 'impression' AND occurred_at >= $reach;
""")

_OWNERS = Template("""
-- Of impressions at one instant the one with the greatest id is the latest.
CREATE OR REPLACE TEMP TABLE attributed AS
    WITH latest AS (
        SELECT user_id, video_id, occurred_at AS shown_at, arg_max(rowid, event_id) AS shown
        FROM candidates GROUP BY ALL
    ),
    preceded AS (
        SELECT
            *,
            rowid AS place,
            lag(occurred_at) OVER (PARTITION BY user_id, video_id ORDER BY occurred_at, event_id) AS before
        FROM actions
    )
    SELECT
        preceded.*,
        CASE WHEN occurred_at - shown_at <= $window THEN shown END AS shown,
        coalesce(occurred_at - before > $window, TRUE) AS after_silence
    FROM preceded ASOF LEFT JOIN latest
        ON preceded.user_id = latest.user_id AND preceded.video_id = latest.video_id
        AND preceded.occurred_at >= latest.shown_at;
-- Without an impression within W no impression is among the W before either: silence is a matter of actions alone.
CREATE OR REPLACE TEMP TABLE owned AS
    WITH orphans AS (
        SELECT
            *,
            max(CASE WHEN after_silence THEN (occurred_at, place) END) OVER (
                PARTITION BY user_id, video_id ORDER BY occurred_at, event_id ROWS UNBOUNDED PRECEDING
            ) AS beginning
        FROM attributed WHERE shown IS NULL
    )
    SELECT shown, NULL AS organic, kind, watch_seconds FROM attributed WHERE shown IS NOT NULL
    UNION ALL
    SELECT NULL, CASE WHEN occurred_at - beginning[1] <= $window THEN beginning[2] ELSE place END, kind, watch_seconds
    FROM orphans;
""")

_EXAMPLES = Template("""
CREATE OR REPLACE TEMP TABLE examples AS
    WITH outcomes AS (
        SELECT
            shown, organic,
            bool_or(kind IN ('click', 'watch')) AS clicked,
            coalesce(max(watch_seconds), 0) AS watch_seconds,
            bool_or(kind = 'like') AS liked,
            bool_or(kind IN ('share', 'save')) AS shared,
            bool_or(kind = 'dislike') AS disliked
        FROM owned GROUP BY shown, organic
    ),
    begun AS (
        SELECT
            candidates.*, 'impression' AS exposure,
            coalesce(clicked, FALSE) AS clicked, coalesce(watch_seconds, 0) AS watch_seconds, coalesce(liked, FALSE) AS liked,
            coalesce(shared, FALSE) AS shared, coalesce(disliked, FALSE) AS disliked
        FROM candidates LEFT JOIN outcomes ON candidates.rowid = outcomes.shown
        UNION ALL
        SELECT actions.* EXCLUDE (kind, watch_seconds), 'organic', outcomes.* EXCLUDE (shown, organic)
        FROM actions JOIN outcomes ON actions.rowid = outcomes.organic
    ),
    known AS (
        SELECT
            event_id, user_id, video_id, exposure, occurred_at, occurred_at + $window AS known_at, device, position, clicked,
            watch_seconds,
            CASE WHEN duration_seconds > 0 THEN least(1.0::DOUBLE, watch_seconds / duration_seconds) END AS watch_fraction,
            coalesce(watch_fraction >= 0.95, FALSE) AS completed, liked, shared, disliked,
            exposure = 'impression' AND NOT clicked AS missed,
            ((liked OR coalesce(watch_fraction >= $relevant_watch_fraction, FALSE)) AND NOT disliked)::INTEGER AS label,
            CASE WHEN label = 1 OR disliked THEN 1.0::DOUBLE ELSE $rate::DOUBLE END AS sample_rate
        FROM begun
    )
    SELECT *, 1 / sample_rate AS weight FROM known
    WHERE known_at >= $start AND known_at < $end AND (sample_rate = 1 OR $drawn);
-- All others: nobody acted on the pair, so nothing but the draw decides.
INSERT INTO examples
    SELECT
        event_id, user_id, video_id, 'impression', occurred_at, occurred_at + $window, device, position, FALSE, 0,
        CASE WHEN duration_seconds > 0 THEN 0 END, FALSE, FALSE, FALSE, FALSE, TRUE, 0, $rate, 1 / $rate::DOUBLE
    FROM read_parquet($files) ANTI JOIN pairs USING (user_id, video_id)
    WHERE interaction_type = 'impression' AND occurred_at >= $start - $window AND occurred_at < $end - $window AND $drawn;
""")


def label(connection: duckdb.DuckDBPyConnection, out: Path, rules: Rules, hours_at_once: int = 24) -> None:
    """Make ``examples`` of every hour of ``interactions``, so many hours at once, which bounds the memory."""
    folders = sorted((out / "interactions").glob("dt=*/hr=*"))
    window = timedelta(minutes=rules.label_window_minutes)
    parameters = {
        "window": f"INTERVAL {window // timedelta(microseconds=1)} MICROSECOND",
        "relevant_watch_fraction": rules.relevant_watch_fraction,
        "rate": rules.negative_sample_rate,
        "drawn": f"hash(event_id, '{rules.sample_salt}') <= {min(int(rules.negative_sample_rate * 2**64), 2**64 - 1)}",
    }
    for _, group in groupby(enumerate(folders), lambda item: item[0] // hours_at_once):
        batch = [folder for _, folder in group]
        start, end = _hour_of(batch[0]), _hour_of(batch[-1]) + _HOUR
        reach = start - 3 * window
        files = [f"{folder}/part.parquet" for folder in folders if reach - _HOUR < _hour_of(folder) < end]
        times = {"start": _literal(start), "end": _literal(end), "reach": _literal(reach)}
        for statement in (_ACTIONS, _OWNERS, _EXAMPLES):
            connection.execute(statement.substitute(files=files, **times, **parameters))
        _write_hours(connection, out, batch)


def _write_hours(connection: duckdb.DuckDBPyConnection, out: Path, folders: Sequence[Path]) -> None:
    for folder in folders:
        start = _hour_of(folder)
        within = f"known_at >= {_literal(start)} AND known_at < {_literal(start + _HOUR)}"
        query = f"FROM examples WHERE {within} ORDER BY occurred_at, event_id"
        _write(connection, query, out / "examples" / folder.parent.name / folder.name)


def _write(connection: duckdb.DuckDBPyConnection, query: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    connection.execute(f"COPY ({query}) TO '{folder}/part.parquet' {_PARQUET}")


def _hour_of(folder: Path) -> datetime:
    return datetime.strptime(f"{folder.parent.name} {folder.name}", "dt=%Y-%m-%d hr=%H").replace(tzinfo=UTC)


def _literal(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'"
