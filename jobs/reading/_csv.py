"""CSV with a header line: a record is one line; ``"`` quotes and doubles; blanks around a value do not belong to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from jobs.reading._lines import Lines
from jobs.reading._text import BLANKS, trimmed
from schemas import Table

# A quoted field, and whatever follows its closing quote; or a plain one. A quote that is never closed matches neither.
_FIELD = re.compile(r' *+(?:"([^"]*+(?:""[^"]*+)*+)"([^,]*+)|(?!")([^,]*+))(,|$)')
_SPACED_QUOTE = re.compile(rb'(?:^|,) ++"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Csv:
    """How lines become columns: how many fields a line has, and where those of the contract stand."""

    piece: ClassVar[int] = 8192
    width: int
    positions: dict[str, int]

    @classmethod
    def of(cls, header: str, table: Table) -> Csv:
        """For a file with this header line; of two columns of one name the first counts."""
        names = header_names(header)
        return cls(len(names), {name: names.index(name) for name in table.columns if name in names})

    def odd(self, lines: Lines) -> NDArray[np.bool_]:
        """Lines with an odd number of quotes, and those where blanks come before a quote, which Arrow takes for text."""
        odd = np.zeros(len(lines), np.bool_)
        quotes = np.flatnonzero(np.frombuffer(lines.data, np.uint8) == ord('"'))
        if len(quotes):
            counts = np.searchsorted(quotes, lines.ends) - np.searchsorted(quotes, lines.starts)
            odd |= counts % 2 == 1
        if b' "' in lines.data:
            odd[lines.at([match.end() - 1 for match in _SPACED_QUOTE.finditer(lines.data)])] = True
        return odd

    def fast(self, lines: Lines) -> tuple[pa.Table, NDArray[np.bool_]] | int:
        """The lines of the right width, or -1 when there are not as many records as lines.

        A quote that is not closed swallows at least one line end, and nothing else lessens the records; a last line of its
        own stands at the end to be swallowed.
        """
        names = [str(position) for position in range(self.width)]
        wanted = {name: names[position] for name, position in self.positions.items()}
        wrong: list[int] = []

        def refuse(row: pa_csv.InvalidRow) -> str:
            wrong.append(row.number - 1)
            return "skip"

        data = lines.joined(b"-" + b"," * (self.width - 1))
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(data),
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=data.size + 1, column_names=names),
                parse_options=pa_csv.ParseOptions(invalid_row_handler=refuse),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    include_columns=list(wanted.values()) or names[:1],
                    null_values=[],
                    strings_can_be_null=False,
                    check_utf8=False,
                ),
            )
        except pa.ArrowException:
            return -1
        if table.num_rows + len(wrong) != len(lines) + 1:
            return -1
        sound = np.ones(len(lines), np.bool_)
        sound[wrong] = False
        columns = [trimmed(table[position].combine_chunks()).slice(0, len(table) - 1) for position in wanted.values()]
        return _table(columns, list(wanted), len(table) - 1), sound

    def slow(self, texts: Sequence[str]) -> tuple[pa.Table, NDArray[np.bool_]]:
        """The same by a regular expression, line by line."""
        records = [fields(text) for text in texts]
        sound = np.array([record is not None and len(record) == self.width for record in records], np.bool_)
        rows = [record for record in records if record is not None and len(record) == self.width]
        columns = [pa.array([row[position] for row in rows], pa.string()) for position in self.positions.values()]
        return _table(columns, list(self.positions), len(rows)), sound


def header_names(line: str) -> list[str]:
    """The column names of a header line, as far as it can be read."""
    return fields(line) or [name.strip(BLANKS) for name in line.split(",")]


def fields(line: str) -> list[str] | None:
    """The fields of a line without blanks around them; None when a quote is not closed."""
    found = []
    end = 0
    while (match := _FIELD.match(line, end)) is not None:
        quoted, after, text = match[1], match[2], match[3]
        found.append((text if quoted is None else quoted.replace('""', '"') + after).strip(BLANKS))
        if not match[4]:
            return found
        end = match.end()
    return None


def _table(columns: list[pa.Array], names: list[str], rows: int) -> pa.Table:
    if names:
        return pa.table(columns, names)
    return pa.table([pa.nulls(rows)], [""])
