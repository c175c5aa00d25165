"""The Spark session: one builder for a laptop and a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as t

from conf import Section, load
from schemas import Table, Type

_SPARK_TYPES: dict[Type, t.DataType] = {
    "int32": t.IntegerType(),
    "int64": t.LongType(),
    "float32": t.FloatType(),
    "float64": t.DoubleType(),
    "string": t.StringType(),
    "bool": t.BooleanType(),
    "timestamp": t.TimestampType(),
    "list<string>": t.ArrayType(t.StringType()),
    "list<int32>": t.ArrayType(t.IntegerType()),
    "list<int64>": t.ArrayType(t.LongType()),
    "list<float32>": t.ArrayType(t.FloatType()),
    "list<timestamp>": t.ArrayType(t.TimestampType()),
}
_CLASSES = Path(sys.prefix) / "spark-classes.jsa"


class SparkConfig(Section):
    """Section ``spark``."""

    master: str
    """Spark master; spark-submit's own ``--master`` wins."""
    driver_memory: str
    """Heap of the driver, which in local mode does all the work."""
    shuffle_partitions: int
    """Partitions after a shuffle; about twice the cores."""
    arrow_batch_rows: int
    """Rows in one Arrow batch handed to Python."""
    extra: dict[str, str | int | float | bool]
    """Further settings, passed on as they are."""


def spark_session(name: str) -> SparkSession:
    """The session of this process, made on first use: UTC, ANSI, this interpreter for Python workers, quiet."""
    config = load("spark", SparkConfig)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    if _CLASSES.exists():  # a session and its first query then start in 6 s instead of 11 (scripts/archive_classes.py)
        os.environ.setdefault("SPARK_SUBMIT_OPTS", f"-XX:SharedArchiveFile={_CLASSES} -Xlog:disable -Xlog:all=error:stderr")
    builder = SparkSession.builder.appName(f"reelflow {name}")
    if "SPARK_SUBMIT_MODE" not in os.environ and "PYSPARK_GATEWAY_PORT" not in os.environ:
        builder = builder.master(config.master).config("spark.driver.memory", config.driver_memory)
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": True,
        "spark.sql.shuffle.partitions": config.shuffle_partitions,
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.execution.arrow.maxRecordsPerBatch": config.arrow_batch_rows,
        # Partitions are known from manifests: thousands of small paths need no listing job, and pack well into tasks.
        "spark.sql.sources.parallelPartitionDiscovery.threshold": 1_000_000,
        "spark.sql.files.openCostInBytes": 131_072,
        "spark.sql.adaptive.coalescePartitions.parallelismFirst": False,
        "spark.ui.enabled": False,
        "spark.ui.showConsoleProgress": False,
        "spark.sql.catalogImplementation": "in-memory",
        **config.extra,
    }
    for key, value in settings.items():
        builder = builder.config(key, str(value).lower() if isinstance(value, bool) else str(value))
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def jvm_pid() -> int | None:
    """Process id of the session's JVM, or None when no session runs."""
    session = SparkSession.getActiveSession()
    jvm = session.sparkContext._jvm if session else None
    return int(jvm.java.lang.ProcessHandle.current().pid()) if jvm is not None else None


def struct_of(table: Table, columns: Iterable[str] | None = None) -> t.StructType:
    """A table's columns as a Spark schema."""
    fields = [table.field(name) for name in columns] if columns else table.fields
    return t.StructType([t.StructField(field.name, _SPARK_TYPES[field.type], True) for field in fields])


def read_files(spark: SparkSession, table: Table, files: Iterable[Path]) -> DataFrame:
    """The rows of Parquet files of a table; an empty frame when there are none."""
    paths = [str(file) for file in files]
    schema = struct_of(table)
    return spark.read.schema(schema).parquet(*paths) if paths else spark.createDataFrame([], schema)
