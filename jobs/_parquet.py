"""Parquet files of the lake: read, checked against their schema, and written so that equal rows are equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import Table


def read_columns(file: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of one file, in the given order. Without the dataset machinery, which costs more than a small file."""
    with pq.ParquetFile(file) as source:
        return source.read(columns=list(columns)).select(columns)


def normalise(file: Path) -> int:
    """Write a Parquet file again, row group by row group, so that its bytes depend on its rows alone; returns the rows.

    Spark's writer lists a column's encodings in an order that differs from one JVM to the next, and the digest with it.
    """
    with pq.ParquetFile(file) as source:
        schema = source.schema_arrow.remove_metadata()
        again = file.with_suffix(".again")
        with pq.ParquetWriter(again, schema, compression="zstd") as target:
            for group in range(source.num_row_groups):
                target.write_table(source.read_row_group(group).cast(schema))
        rows = int(source.metadata.num_rows)
    again.replace(file)
    return rows


def check_file(table: Table, file: Path) -> list[str]:
    """Every way in which a Parquet file breaks its schema: columns, types, nulls, ranges and values.

    Column statistics in the footer tell null counts and extremes without reading a row; only enumerated columns are read, as
    dictionaries.
    """
    with pq.ParquetFile(file) as source:
        metadata, schema = source.metadata, source.schema_arrow
    problems = table.compare(schema)
    indices = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    for column in table.fields:
        if column.name not in indices or schema.field(column.name).type != column.arrow.type:
            continue
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(indices[column.name]).statistics
            if statistics is None:
                continue
            if not column.nullable and statistics.has_null_count and statistics.null_count:
                problems.append(f"column {column.name}: {statistics.null_count} nulls, expected none")
            if not statistics.has_min_max:
                continue
            if column.minimum is not None and statistics.min < column.minimum:
                problems.append(f"column {column.name}: minimum {statistics.min}, expected at least {column.minimum}")
            if column.maximum is not None and statistics.max > column.maximum:
                problems.append(f"column {column.name}: maximum {statistics.max}, expected at most {column.maximum}")
        if column.allowed is not None:
            with pq.ParquetFile(file, read_dictionary=[column.name]) as source:
                values = source.read(columns=[column.name])
            strange = set(pc.unique(values[column.name]).to_pylist()) - {*column.allowed, None}
            if strange:
                problems.append(f"column {column.name}: found {sorted(strange)}, expected one of {column.allowed}")
    return problems
