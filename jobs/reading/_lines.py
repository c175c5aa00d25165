"""Text files by the line: plain or gzipped, any line ends, without byte order mark, as valid UTF-8, in bounded memory."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.reading._text import BLANKS

_CHUNK = 16 << 20
_LOOKED_AT = 1 << 20
_MARK = b"\xef\xbb\xbf"
_BLANK_BYTES = BLANKS.encode()


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that are not blank: UTF-8 with newlines as the only line ends, and where each line begins and ends in it."""

    data: bytes
    starts: NDArray[np.int64]
    """int64 (n_lines,)"""
    ends: NDArray[np.int64]
    """int64 (n_lines,); the line end itself is left out."""

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, line: int) -> str:
        """One line."""
        return self.data[self.starts[line] : self.ends[line]].decode()

    def at(self, places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The lines that hold these bytes of ``data``, int64; places between lines are left out."""
        places = np.asarray(places, np.int64)
        found = np.searchsorted(self.starts, places, side="right") - 1
        return found[(found >= 0) & (places < self.ends[found])]

    def take(self, which: slice | NDArray[np.int64]) -> Lines:
        """Some of the lines, in their order."""
        return Lines(self.data, self.starts[which], self.ends[which])

    def alone(self) -> Lines:
        """The same lines without what stands before and after them."""
        start, end = self.starts[0], self.ends[-1]
        return Lines(self.data[start:end], self.starts - start, self.ends - start)

    def joined(self, last: bytes = b"") -> pa.Buffer:
        """The lines and another ``last`` one as one text, without a line end after it; nothing is copied that need not be."""
        breaks = np.flatnonzero(self.starts[1:] != self.ends[:-1] + 1)
        if not len(breaks) and not last:
            return pa.py_buffer(self.data).slice(self.starts[0], self.ends[-1] - self.starts[0])
        firsts = self.starts[np.concatenate([[0], breaks + 1])].tolist()
        ends = self.ends[np.concatenate([breaks, [-1]])].tolist()
        runs = [self.data[start:end] for start, end in zip(firsts, ends, strict=True)]
        return pa.py_buffer(b"\n".join([*runs, last] if last else runs))


def read_lines(path: Path, max_lines: int) -> Iterator[Lines]:
    """The lines of a file that are not blank, at most ``max_lines`` at a time.

    Raises:
        OSError, EOFError, zlib.error: the file cannot be read, or its gzip stream is damaged.
    """
    for data in _pieces(path):
        lines = _split(data)
        for first in range(0, len(lines), max_lines):
            yield lines.take(slice(first, first + max_lines)).alone() if len(lines) > max_lines else lines


def count_lines(path: Path, look: Callable[[int, str], None]) -> int:
    """How many lines of a file are not blank, by another way than ``read_lines``.

    Args:
        path: the file; it is read to its end, so that damage at any point is found.
        look: is shown the first line that is not blank, with number 0, and one of every few thousand after it.

    Raises:
        OSError, EOFError, zlib.error: as ``read_lines``.
    """
    count = 0
    with _opened(path) as stream:
        block = stream.readline().removeprefix(_MARK)
        while block:
            found, first = _count(block)
            if found:
                look(count, first.decode("utf-8", errors="replace"))
            count += found
            block = stream.read(_LOOKED_AT) + stream.readline()
    return count


def _count(block: bytes) -> tuple[int, bytes]:
    """How many lines are not blank, and the first of those."""
    ends = np.frombuffer(block, np.uint8) == ord("\n")
    begins = np.frombuffer(block, np.uint8, offset=1)[ends[:-1]]
    if b"\r" not in block and block[0] > 0x20 and begins.min(initial=0xFF) > 0x20:
        return len(begins) + 1, block[: block.find(b"\n")] if ends.any() else block
    filled = [line for line in block.splitlines() if line.strip(_BLANK_BYTES)]
    return len(filled), filled[0] if filled else b""


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _pieces(path: Path) -> Iterator[bytes]:
    """The file in pieces that end with a line."""
    rest: list[bytes] = []
    with _opened(path) as stream:
        chunk = stream.read(len(_MARK)).removeprefix(_MARK) + stream.read(_CHUNK)
        while chunk:
            following = stream.read(_CHUNK)
            cut = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1 if following else len(chunk)
            if cut:
                yield b"".join([*rest, memoryview(chunk)[:cut]])
                rest = []
            rest.append(chunk[cut:])
            chunk = following


def _split(data: bytes) -> Lines:
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.isascii():
        data = data.decode("utf-8", errors="replace").encode()
    array = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(array == ord("\n"))
    starts, ends = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(data)]])
    filled = ends > starts
    starts, ends = starts[filled], ends[filled]
    sound = np.ones(len(starts), np.bool_)
    for line in np.flatnonzero(array[starts] <= 0x20):
        sound[line] = bool(data[starts[line] : ends[line]].strip(_BLANK_BYTES))
    return Lines(data, starts[sound], ends[sound])
