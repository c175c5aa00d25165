"""Raw logs as frames: any mix of Parquet, JSON Lines and CSV, read so that no row is lost and every flaw has a name.

Each row comes back with its contract columns cast (null where that failed), the file and partition that it came from, its
original text, and ``_flaw``: null, or the first reason for which it does not fit the contract. Casting never raises.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql import types as t
from pyspark.sql.pandas.types import from_arrow_type

from jobs._session import spark_type, struct_of
from models.bundle import sha256
from schemas import Field, RejectReason, Table
from schemas import columns as col

FLAW = "_flaw"
RECORD = "_record"
SOURCE_FILE = "_file"

_CORRUPT = "_corrupt_record"
_FORMATS = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv"}
_FLAW_TYPE = "struct<reason:string,detail:string>"
# A line of nothing but these is blank to Spark's CSV reader (Java's trim); here and for JSON Lines the same, or counts differ.
_BLANK = "".join(map(chr, range(0x21)))
_NAN = ("NaN", '"NaN"', "nan")  # a missing number, as Python writes it; from_json keeps quotes around a bare NaN


@dataclass(frozen=True, slots=True)
class RawFile:
    """One raw file: its path, its format, and its header: column names, or an Arrow schema for Parquet.

    ``rows`` is counted here, without Spark, so that what Spark later makes of the file can be checked against it. ``problem``
    says why the file cannot be read at all; such a file counts as one row.
    """

    path: Path
    format: str
    header: tuple[str, ...] = ()
    schema: pa.Schema | None = None
    rows: int = 1
    problem: str | None = None

    def digest(self) -> str:
        """sha256 of the file's content."""
        return sha256(self.path)


@dataclass(frozen=True, slots=True)
class RawRows:
    """All rows of some raw files, and the contract columns they did not know."""

    frame: DataFrame
    unknown_columns: dict[str, int]
    unreadable: tuple[RawFile, ...]


def partition_files(folder: Path) -> list[RawFile]:
    """The files of one raw partition directory, by name; hidden and underscored names are not data."""
    if not folder.is_dir():
        return []
    return [_probe(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] not in "._"]


def snapshot_dates(source: Path) -> list[str]:
    """The dates of the ``dt=`` directories of a raw source, ascending."""
    return sorted(match[1] for path in source.glob("dt=*") if (match := re.fullmatch(r"dt=(\d{4}-\d{2}-\d{2})", path.name)))


def read_raw(spark: SparkSession, files: Sequence[RawFile], table: Table) -> RawRows:
    """Read raw files of one source into contract columns plus ``_file``, ``_record`` and ``_flaw``.

    Files that cannot be opened become one row each, with reason ``unreadable_file``.
    """
    spark.conf.set("spark.sql.caseSensitive", True)  # a log may hold `tag` beside `Tag`
    readable = [file for file in files if file.problem is None]
    unreadable = tuple(file for file in files if file.problem is not None)
    known = set(table.columns)
    unknown: dict[str, int] = defaultdict(int)
    for file in readable:
        for name in set(file.header) - known:
            unknown[name] += 1
    frames = [
        *_parquet_frames(spark, [file for file in readable if file.format == "parquet"], table),
        *_json_frames(spark, [file for file in readable if file.format == "jsonl"], table),
        *_csv_frames(spark, [file for file in readable if file.format == "csv" and file.rows], table),
    ]
    if unreadable or not frames:
        frames.append(_unreadable_frame(spark, unreadable, table))
    return RawRows(reduce(DataFrame.unionByName, frames), dict(unknown), unreadable)


def range_flaw(table: Table) -> Column:
    """The first column whose value lies outside its declared range or list, as a flaw; null when there is none."""
    checks: list[Column] = []
    for field in table.fields:
        value = f.col(field.name)
        if field.allowed is not None:
            checks.append(flaw(~value.isin(*field.allowed), RejectReason.UNKNOWN_INTERACTION_TYPE, shown(field.name)))
        bounds = [value < field.minimum] if field.minimum is not None else []
        bounds += [value > field.maximum] if field.maximum is not None else []
        if field.type in ("float64", "float32"):
            bounds += [value == float("inf"), value == float("-inf")]
        if bounds:
            checks.append(flaw(reduce(Column.__or__, bounds), RejectReason.OUT_OF_RANGE, shown(field.name)))
    return f.coalesce(*checks)


def flaw(condition: Column, reason: RejectReason, detail: Column) -> Column:
    """A flaw where the condition holds, else null."""
    made = f.struct(f.lit(reason.value).alias(col.REASON), detail.alias(col.DETAIL)).cast(_FLAW_TYPE)
    return f.when(condition, made)


def written_down(table: Table, flawed: Column) -> Column:
    """The record of rows that a later rule found flawed: what ``read_raw`` kept, or the contract columns as JSON."""
    return f.when(flawed, f.coalesce(f.col(RECORD), _as_json(table.columns)))


def file_name(levels: int) -> Column:
    """The last ``levels`` parts of the path of the row's file, as a person would type them."""
    tail = f.substring_index(SOURCE_FILE, "/", -levels)
    return f.url_decode(f.regexp_replace(tail, r"\+", "%2B"))


def partition_value(key: str, level: int, length: int) -> Column:
    """The value of ``key=`` in the row's path, ``level`` parts from its end, of a known length; no regular expression a row."""
    part = f.substring_index(f.substring_index(SOURCE_FILE, "/", -level), "/", 1)
    return f.substring(part, len(key) + 2, length)


def shown(name: str) -> Column:
    """``name = value`` for a flaw's detail, at most 100 characters of the value."""
    return f.concat(f.lit(f"{name} = "), f.coalesce(f.substring(f.col(name).cast("string"), 1, 100), f.lit("null")))


def _probe(path: Path) -> RawFile:
    """Look at a file's header on the driver: formats, column names, and whether it can be opened at all."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = suffixes[-2] if zipped and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")
    kind = _FORMATS.get(suffix)
    if kind is None or (zipped and kind == "parquet"):
        return RawFile(path, "unknown", problem=f"unknown format {path.name!r}; expected .parquet, .jsonl or .csv")
    if ":" in path.name:
        return RawFile(path, kind, problem=f"name {path.name!r} holds a colon, which Spark cannot open; rename the file")
    try:
        if kind == "parquet":
            metadata = pq.read_metadata(path)
            schema = metadata.schema.to_arrow_schema()
            return RawFile(path, kind, tuple(schema.names), schema.remove_metadata(), metadata.num_rows)
        opener = gzip.open if zipped else open
        with opener(path, "rt", encoding="utf-8-sig", errors="replace") as stream:
            lines = (line for line in stream if line.strip(_BLANK))
            first = next(lines, "")
            others = sum(1 for _ in lines)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        return RawFile(path, kind, problem=f"cannot be read: {(str(error).splitlines() or ['damaged'])[0][:200]}")
    if kind == "csv":
        header = next(csv.reader([first]), [])
        return RawFile(path, kind, tuple(name.strip() for name in header), rows=others)
    return RawFile(path, kind, _json_keys(first), rows=others + bool(first))


def _json_keys(line: str) -> tuple[str, ...]:
    try:
        record = json.loads(line)
    except ValueError:
        return ()
    return tuple(record) if isinstance(record, dict) else ()


def _grouped(files: Iterable[RawFile], by_schema: bool) -> list[list[RawFile]]:
    groups: dict[str, list[RawFile]] = defaultdict(list)
    for file in files:
        groups[str(file.schema) if by_schema else "\0".join(file.header)].append(file)
    return list(groups.values())


def _parquet_frames(spark: SparkSession, files: Sequence[RawFile], table: Table) -> list[DataFrame]:
    frames = []
    for group in _grouped(files, by_schema=True):
        schema = group[0].schema
        assert schema is not None
        foreign = {item.name: str(item.type) for item in schema if _is_foreign(item)}
        reader = spark.read
        if foreign:
            reader = reader.schema(_spark_schema(item for item in schema if item.name not in foreign))
        raw = reader.parquet(*[_literal(file.path) for file in group])
        nanos = {item.name for item in schema if pa.types.is_timestamp(item.type) and item.type.unit == "ns"}
        for name in nanos & set(raw.columns):  # Spark reads nanoseconds as a plain long
            raw = raw.withColumn(name, f.timestamp_micros(f.floor(_quoted(name).cast("decimal(20,0)") / 1000).cast("long")))
        frames.append(_conform(raw, table, _as_json(raw.columns), f.lit(False), foreign))
    return frames


def _json_frames(spark: SparkSession, files: Sequence[RawFile], table: Table) -> list[DataFrame]:
    if not files:
        return []
    lines = spark.read.text([_literal(file.path) for file in files]).where(f.trim("value", f.lit(_BLANK)) != "")
    shape = t.StructType([t.StructField(name, t.StringType()) for name in (*table.columns, _CORRUPT)])
    parsed = f.from_json("value", shape, {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT})
    raw = lines.select("value", "_metadata", parsed.alias("row"))
    # The parser stops at the end of the first object: a line may hold a second one that a lost line break glued to it. Only a
    # line whose first brace does not end it is parsed once more, in brackets.
    alone = f.from_json(f.concat(f.lit("["), "value", f.lit("]")), t.ArrayType(t.MapType(t.StringType(), t.StringType())))
    odd = (f.instr("value", "}") != f.length(f.rtrim("value"))) & (f.coalesce(f.size(alone), f.lit(0)) != 1)
    broken = f.col("row").isNull() | f.col(f"row.{_CORRUPT}").isNotNull() | odd
    raw = raw.select(
        f.col("_metadata"),
        f.make_valid_utf8("value").alias(RECORD),
        broken.alias("_broken"),
        *[f.col(f"row.{c}") for c in table.columns],
    )
    return [_conform(raw, table, f.col(RECORD), f.col("_broken"))]


def _csv_frames(spark: SparkSession, files: Sequence[RawFile], table: Table) -> list[DataFrame]:
    frames = []
    for group in _grouped(files, by_schema=False):
        names = group[0].header
        taken = ("", "_metadata", _CORRUPT)
        header = [name if name not in taken and names.index(name) == i else f"_column_{i}" for i, name in enumerate(names)]
        shape = t.StructType([t.StructField(name, t.StringType()) for name in (*header, _CORRUPT)])
        raw = spark.read.csv(
            [_literal(file.path) for file in group],
            schema=shape, header=True, mode="PERMISSIVE", columnNameOfCorruptRecord=_CORRUPT, enforceSchema=True,
            quote='"', escape='"', ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True, maxCharsPerColumn=-1,
        )  # fmt: skip
        broken = f.col(_CORRUPT).isNotNull()
        record = f.coalesce(f.col(_CORRUPT), _as_json(header))
        frames.append(_conform(raw, table, record, broken))
    return frames


def _unreadable_frame(spark: SparkSession, files: Sequence[RawFile], table: Table) -> DataFrame:
    shape = t.StructType(
        [
            *struct_of(table).fields,
            t.StructField(SOURCE_FILE, t.StringType()),
            t.StructField(RECORD, t.StringType()),
            t.StructField(FLAW, t.StructType([t.StructField(n, t.StringType()) for n in (col.REASON, col.DETAIL)])),
        ]
    )
    blank = [None] * len(table.columns)
    rows = [
        (*blank, quote(str(file.path), safe="/="), None, (RejectReason.UNREADABLE_FILE.value, file.problem)) for file in files
    ]
    return spark.createDataFrame(rows, shape)


def _conform(
    raw: DataFrame, table: Table, record: Column, broken: Column, foreign: Mapping[str, str] | None = None
) -> DataFrame:
    """Cast a frame of any shape to the contract's columns, with the first flaw of each row.

    ``foreign`` names columns of the file that the frame lacks because Spark does not know their types.
    """
    types = {field.name: field.dataType for field in raw.schema}
    flaws = [flaw(broken, RejectReason.MALFORMED_RECORD, f.lit("the record cannot be parsed"))]
    columns = []
    for field in table.fields:
        if field.name not in types:
            columns.append(f.lit(None).cast(spark_type(field.type)).alias(field.name))
            if foreign and field.name in foreign:
                detail = f"{field.name}: found {foreign[field.name]}; expected {field.type}"
                flaws.append(flaw(f.lit(True), RejectReason.WRONG_TYPE, f.lit(detail)))
            elif not field.nullable:
                flaws.append(flaw(f.lit(True), RejectReason.MISSING_VALUE, f.lit(f"{field.name}: no such column in the file")))
            continue
        source, value = _cast(field, types[field.name])
        columns.append(value.alias(field.name))
        if not field.nullable:
            flaws.append(flaw(source.isNull(), RejectReason.MISSING_VALUE, f.lit(f"{field.name} is null")))
        flaws.append(flaw(source.isNotNull() & value.isNull(), RejectReason.WRONG_TYPE, _shown_as(field, source)))
    found = f.coalesce(*flaws)
    # Making JSON of a row costs more than all of its casts: only flawed rows are written down.
    return raw.select(
        *columns,
        f.col("_metadata.file_path").alias(SOURCE_FILE),
        f.when(found.isNotNull(), record).alias(RECORD),
        found.alias(FLAW),
    )


def _shown_as(field: Field, source: Column) -> Column:
    text = f.substring(source.cast("string"), 1, 100)
    return f.concat(f.lit(f"{field.name} = "), text, f.lit(f"; expected {field.type}"))


def _cast(field: Field, found: t.DataType) -> tuple[Column, Column]:
    """The raw value (null where blank) and the value cast to the contract's type (null where that cannot be done)."""
    if isinstance(found, t.StringType):
        return _cast_text(field)
    source = _quoted(field.name)
    target = spark_type(field.type)
    inexact = isinstance(found, t.DoubleType | t.FloatType)
    if inexact:
        source = f.when(~f.isnan(source), source)
    if field.type in ("int32", "int64") and (inexact or isinstance(found, t.DecimalType)):
        whole = source.try_cast(target)
        return source, f.when(whole.cast("double") == source.cast("double"), whole)
    impossible = (
        isinstance(found, t.StructType | t.MapType | t.BinaryType)
        or isinstance(target, t.ArrayType) != isinstance(found, t.ArrayType)
        or (isinstance(found, t.BooleanType) and not isinstance(target, t.BooleanType))
        or (field.type == "timestamp" and not isinstance(found, t.TimestampType | t.TimestampNTZType | t.DateType))
    )
    return source, f.lit(None).cast(target) if impossible else source.try_cast(target)


def _cast_text(field: Field) -> tuple[Column, Column]:
    """The same of a column of text."""
    source = _quoted(field.name)
    target = spark_type(field.type)
    source = f.when(f.trim(source) != "", f.trim(source) if field.type != "string" else source)
    if field.type == "timestamp":
        # Spark would also take a year alone, and a time alone as one of today.
        dated = (f.substring(source, 5, 1) == "-") & (f.substring(source, 8, 1) == "-") & (source >= "0001")
        return source, f.when(dated, f.try_to_timestamp(source))
    if field.type == "list<string>":
        listed = f.try_parse_json(source).isNotNull() & source.startswith("[")
        return source, f.when(listed, f.from_json(source, t.ArrayType(t.StringType()))).otherwise(f.split(source, r"\|"))
    if field.type in ("int32", "int64"):
        source = f.when(~source.isin(*_NAN), source)
        # pandas writes 10 as 10.0 when another row has none.
        whole = f.when(source.endswith(".0"), f.substring_index(source, ".", 1).try_cast(target))
        return source, f.coalesce(source.try_cast(target), whole)
    if field.type in ("float32", "float64"):
        source = f.when(~source.isin(*_NAN), source)
        return source, f.nanvl(source.try_cast(target), f.lit(None).cast(target))
    return source, source.try_cast(target)


def _literal(path: Path) -> str:
    """A path for Spark, which would take brackets and stars for a pattern."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", str(path))


def _is_foreign(item: pa.Field) -> bool:
    """Whether Spark cannot read a Parquet column: a type that it does not know, or the name of its own hidden column."""
    return bool(item.name == "_metadata" or pa.types.is_time(item.type) or pa.types.is_float16(item.type))


def _spark_schema(fields: Iterable[pa.Field]) -> t.StructType:
    """Arrow fields as Spark reads them from Parquet."""
    unsigned: dict[pa.DataType, t.DataType] = {
        pa.uint8(): t.ShortType(),
        pa.uint16(): t.IntegerType(),
        pa.uint32(): t.LongType(),
        pa.uint64(): t.DecimalType(20, 0),
    }
    found = []
    for item in fields:
        nanos = pa.types.is_timestamp(item.type) and item.type.unit == "ns"
        kind = t.LongType() if nanos else unsigned.get(item.type) or from_arrow_type(item.type, prefer_timestamp_ntz=True)
        found.append(t.StructField(item.name, kind))
    return t.StructType(found)


def _as_json(columns: Iterable[str]) -> Column:
    return f.to_json(f.struct(*[_quoted(name) for name in columns]))


def _quoted(name: str) -> Column:
    return f.col("`" + name.replace("`", "``") + "`")
