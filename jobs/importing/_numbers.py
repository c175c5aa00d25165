"""Large delimited files of numbers, read in blocks; lines that do not parse are kept with their number and the reason."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray
from tqdm import tqdm

from jobs.importing._rejected import Rejected

_BLOCK_BYTES = 32 << 20
_NUMBER = {"int64": re.compile(r"-?\d{1,18}"), "float64": re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")}
_WORDS = {"int64": "a whole number", "float64": "a number"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column to read: where it stands, counted from 0, and what it holds."""

    position: int
    type: str
    """``int64`` or ``float64``."""


def read_numbers(
    file: Path, columns: Mapping[str, Column], *, separator: str, width: int, header: bool, rejected: Rejected
) -> dict[str, NDArray[np.float64]]:
    """Columns of numbers, and ``line``: the line each row stands on.

    Args:
        file: one record a line, no quotes around the columns that are read.
        columns: what to read, by the name it gets.
        separator: between columns; may be longer than a character.
        width: columns that a line must have.
        header: whether the first line is to be skipped.
        rejected: takes the lines that are not ``width`` columns, or not numbers where numbers are read.
    """
    parts: list[dict[str, NDArray[np.float64]]] = []
    first_line = 1
    with tqdm(total=file.stat().st_size, desc=file.name, unit="B", unit_scale=True, leave=False, disable=None) as progress:
        for block in _blocks(file):
            progress.update(len(block))
            count = block.count(b"\n") + (not block.endswith(b"\n"))
            skip = int(header and first_line == 1)
            body = block.split(b"\n", 1)[1] if skip and b"\n" in block else b"" if skip else block
            if body:
                shape = (columns, separator, width, first_line + skip)
                fast = _parse_fast(body, *shape)
                parts.append(fast or _parse_slow(body, *shape, name=file.name, rejected=rejected))
            first_line += count
    names = ["line", *columns]
    types = {"line": "int64"} | {name: column.type for name, column in columns.items()}
    return {name: np.concatenate([part[name] for part in parts] or [np.empty(0)]).astype(types[name]) for name in names}


def _blocks(file: Path) -> Iterator[bytes]:
    """The file in pieces that end with a line."""
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block + stream.readline()


def _parse_fast(
    body: bytes, columns: Mapping[str, Column], separator: str, width: int, first_line: int
) -> dict[str, NDArray[np.float64]] | None:
    """The block as Arrow reads it, or None when any line of it is not as expected."""
    if len(body.split(b"\n", 1)[0].split(separator.encode())) != width:
        return None
    if len(separator) > 1:
        body, separator = body.replace(separator.encode(), b"\t"), "\t"
    wanted = {f"f{column.position}": pa.type_for_alias(column.type) for column in columns.values()}
    try:
        table = pa_csv.read_csv(
            io.BytesIO(body),
            read_options=pa_csv.ReadOptions(autogenerate_column_names=True, block_size=_BLOCK_BYTES + (1 << 20)),
            parse_options=pa_csv.ParseOptions(delimiter=separator, quote_char=False, ignore_empty_lines=False),
            convert_options=pa_csv.ConvertOptions(include_columns=list(wanted), column_types=wanted, null_values=[]),
        )
    except pa.ArrowException:
        return None
    found = {name: table[f"f{column.position}"].to_numpy() for name, column in columns.items()}
    found["line"] = first_line + np.arange(len(table))
    return found if all(np.isfinite(values).all() for values in found.values()) else None


def _parse_slow(
    body: bytes, columns: Mapping[str, Column], separator: str, width: int, first_line: int, *, name: str, rejected: Rejected
) -> dict[str, NDArray[np.float64]]:
    """The block line by line, so that each bad one is known; blank lines hold no record."""
    rows: list[list[float]] = []
    lines: list[int] = []
    for line, text in enumerate(body.decode("utf-8", errors="replace").split("\n"), start=first_line):
        record = text.rstrip("\r")
        if not record.strip():
            continue
        cells = record.split(separator)
        problem = _problem(cells, columns, width)
        if problem:
            rejected.add(name, line, problem, record)
            continue
        lines.append(line)
        rows.append([int(cells[c.position]) if c.type == "int64" else float(cells[c.position]) for c in columns.values()])
    values: Sequence[Sequence[float]] = list(zip(*rows, strict=True)) or [()] * len(columns)
    found = {key: np.array(value, dtype=column.type) for (key, column), value in zip(columns.items(), values, strict=True)}
    return found | {"line": np.array(lines, np.int64)}


def _problem(cells: list[str], columns: Mapping[str, Column], width: int) -> str | None:
    if len(cells) != width:
        return f"found {len(cells)} columns, expected {width}"
    for name, column in columns.items():
        if not _NUMBER[column.type].fullmatch(cells[column.position].strip()):
            return f"{name}: found {cells[column.position]!r}, expected {_WORDS[column.type]}"
    return None
