"""What the PostgreSQL store keeps: the tables of schema ``reelflow``, and the views that apps read.

A user's list is one row whose columns are arrays, the first element of each for rank 1: a hundredth of the rows, half the
size, and a homepage is one tuple. The view ``recommendations`` makes a row a video of it. Lists of a full publication lie in a
partition of their own, which goes with one ``DROP`` when nobody can read it any more; those of deltas, which are few, lie in
one table.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, Field
from schemas import columns as col
from serving._protocol import StoreError

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["LISTED", "SCHEMA_VERSION", "STORAGE", "create", "is_ours", "relation", "settled"]

SCHEMA_VERSION = 2

_TYPES = {"int32": "integer", "int64": "bigint", "float32": "real", "float64": "double precision", "string": "text"}
"""The server's type of each type of ``schemas``."""

LISTED = tuple(field for field in RECOMMENDATIONS.fields if field.name not in (col.USER_ID, col.RANK))
"""What a list holds of each video."""

STORAGE = "WITH (toast_tuple_target = 8160)"
"""A list of 100 videos is one page, read at once. By default it is compressed further: a third of the load's time."""

_LAST = tuple(field.name for field in LISTED if field.name not in FALLBACK_RECOMMENDATIONS.columns)
"""Columns that came later: the last of the view, so that apps that read `SELECT *` by position go on as before."""


def _column(field: Field, *, many: bool = False) -> str:
    return f"{field.name} {_TYPES[field.type]}{'[]' if many else ''}{'' if field.nullable else ' NOT NULL'}"


_LISTS = f"""
    version integer NOT NULL,
    user_id bigint NOT NULL,
    rows    integer NOT NULL,
    {", ".join(_column(field, many=True) for field in LISTED)},
    PRIMARY KEY (version, user_id)"""
_UNNESTED = f"""LATERAL ROWS FROM ({", ".join(f"unnest(l.{field.name})" for field in LISTED)})
        WITH ORDINALITY AS r ({", ".join(field.name for field in LISTED)}, rank)"""
_ROW = ", ".join(
    (
        "l.user_id, r.rank::integer AS rank, r.video_id, r.score, r.sources, r.reason, p.model_version, p.as_of, p.expires_at",
        *(f"r.{name}" for name in _LAST),
    )
)

_TABLES = (
    "CREATE TABLE schema_version (version integer NOT NULL)",
    f"INSERT INTO schema_version VALUES ({SCHEMA_VERSION})",
    """
    CREATE TABLE publication_log (
        version         integer PRIMARY KEY,
        as_of           timestamptz NOT NULL,
        generation      bigint NOT NULL,
        model_version   text NOT NULL,
        expires_at      timestamptz NOT NULL,
        status          text NOT NULL,
        users           bigint NOT NULL DEFAULT 0,
        rows            bigint NOT NULL DEFAULT 0,
        published_at    timestamptz,
        base            integer,
        root            integer NOT NULL,
        root_as_of      timestamptz NOT NULL,
        root_generation bigint NOT NULL,
        layers          integer NOT NULL DEFAULT 1,
        has_rows        boolean NOT NULL DEFAULT true,
        removed_by      xid8
    )""",
    # At most one live version, whatever the code does; and the views find it in one step.
    "CREATE UNIQUE INDEX one_live ON publication_log (status) WHERE status = 'live'",
    f"CREATE TABLE full_lists ({_LISTS}) PARTITION BY LIST (version)",
    f"CREATE TABLE delta_lists ({_LISTS}) {STORAGE}",
    # Rows that came in no order, until all are there. What a crash of the server takes of it, its publisher loses anyway.
    f"""
    CREATE UNLOGGED TABLE staged_rows (
        version  integer NOT NULL,
        position bigint NOT NULL,
        {", ".join(_column(field) for field in RECOMMENDATIONS.fields)}
    )""",
    # Of a version that loads: the parts that are in it, so that one that is tried again is not loaded twice; and the users who
    # were erased meanwhile, whose rows may come with a part that was begun before.
    """
    CREATE TABLE loaded_parts (
        version integer NOT NULL,
        part    text NOT NULL,
        rows    bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (version, part)
    )""",
    "CREATE TABLE erased_users (version integer NOT NULL, user_id bigint NOT NULL, PRIMARY KEY (version, user_id))",
    "CREATE INDEX staged_users ON staged_rows (version, user_id, rank)",
    f"""
    CREATE TABLE fallback_rows (
        version integer NOT NULL,
        {", ".join(_column(field) for field in FALLBACK_RECOMMENDATIONS.fields)},
        PRIMARY KEY (version, segment, rank)
    )""",
    # serving/postgres/_layers.py says what these are.
    """
    CREATE TABLE version_layers (
        version  integer NOT NULL,
        layer    integer NOT NULL,
        position integer NOT NULL,
        PRIMARY KEY (version, position)
    )""",
    "CREATE TABLE live_lists (user_id bigint PRIMARY KEY, layer integer NOT NULL)",
    """
    CREATE TABLE switch_log (
        id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at           timestamptz NOT NULL,
        action       text NOT NULL,
        from_version integer,
        to_version   integer NOT NULL,
        reason       text NOT NULL
    )""",
    "CREATE TABLE generation_counter (value bigint NOT NULL)",
    "INSERT INTO generation_counter VALUES (0)",
    f"""
    CREATE VIEW recommendations AS
    SELECT {_ROW}
    FROM publication_log AS v JOIN publication_log AS p ON p.version = v.root
    JOIN full_lists AS l ON l.version = v.root CROSS JOIN {_UNNESTED}
    WHERE v.status = 'live' AND NOT EXISTS (SELECT FROM live_lists AS d WHERE d.user_id = l.user_id)
    UNION ALL
    SELECT {_ROW}
    FROM live_lists AS d JOIN publication_log AS p ON p.version = d.layer
    JOIN delta_lists AS l ON l.version = d.layer AND l.user_id = d.user_id CROSS JOIN {_UNNESTED}""",
    """
    CREATE VIEW fallback_recommendations AS
    SELECT r.segment, r.rank, r.video_id, r.score, r.sources, r.reason, p.model_version, p.as_of, p.expires_at, r.parent
    FROM publication_log AS p JOIN fallback_rows AS r ON r.version = p.version
    WHERE p.status = 'live'""",
    """
    CREATE VIEW publications AS
    SELECT version, as_of, model_version, status, users, rows, published_at, base
    FROM publication_log ORDER BY version DESC""",
)


def relation(version: int, *, delta: bool) -> str:
    """The table that a version's own lists are written to."""
    return "delta_lists" if delta else f"full_lists_{version:d}"


def is_ours(connection: Connection[Any], server: str) -> bool:
    """Whether the database holds a store of the version that this code knows; False where it holds none.

    Raises:
        StoreError: the schema is another application's, or of another version.
    """
    found = connection.execute(
        "SELECT to_regclass('reelflow.schema_version') IS NOT NULL, EXISTS (SELECT FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = 'reelflow' AND c.relkind IN ('r', 'p', 'v', 'm'))"
    ).fetchone()
    ours, others = found or (False, False)
    if not ours and others:
        raise StoreError(
            f"store {server}: found a schema reelflow of another application, expected one that reelflow made; use another "
            "database, or rename that schema"
        )
    if not ours:
        return False
    row = connection.execute("SELECT version FROM reelflow.schema_version").fetchone()
    version = int(row[0]) if row else 0
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"store {server}: found schema version {version}, expected {SCHEMA_VERSION}; "
            f"{'an older' if version < SCHEMA_VERSION else 'a newer'} reelflow wrote it: use that one, or rename the schema "
            "reelflow and publish again"
        )
    return True


def create(connection: Connection[Any]) -> None:
    """Make the schema where there is none, and all its relations, inside the caller's transaction."""
    if (connection.execute("SELECT to_regnamespace('reelflow') IS NULL").fetchone() or (False,))[0]:
        connection.execute("CREATE SCHEMA reelflow")
    for statement in _TABLES:
        connection.execute(statement)
    for table in ("full_lists", "delta_lists"):
        settled(connection, table)
    connection.execute(files("serving.postgres").joinpath("grants.sql").read_text(encoding="utf-8"))


def settled(connection: Connection[Any], table: str) -> None:
    """Keep ANALYZE from looking into the arrays of a table of lists: it would take minutes, for what no plan depends on."""
    columns = ", ".join(f"ALTER COLUMN {field.name} SET STATISTICS 0" for field in LISTED)
    connection.execute(f"ALTER TABLE {table} {columns}")
