"""The side files of MovieLens: movies and users, in the three layouts in which GroupLens publishes them."""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.importing._rejected import Rejected
from schemas.errors import ReelflowError

_NO_GENRE = frozenset({"(no genres listed)", "unknown", ""})
_YEAR = re.compile(r"\((\d{4})\)\s*$")


@dataclass(frozen=True, slots=True)
class Layout:
    """How one edition of MovieLens names and separates its files."""

    ratings: str
    separator: str
    movies: str
    users: str | None
    encoding: str
    header: str | None = None
    """First line of the ratings file."""


LAYOUTS = (
    Layout("u.data", "\t", "u.item", "u.user", "latin-1"),
    Layout("ratings.dat", "::", "movies.dat", "users.dat", "latin-1"),
    Layout("ratings.csv", ",", "movies.csv", None, "utf-8", "userId,movieId,rating,timestamp"),
)


@dataclass(frozen=True, slots=True)
class Movie:
    """What MovieLens says about a movie."""

    title: str
    genres: list[str]
    released: dt.date | None


@dataclass(frozen=True, slots=True)
class Person:
    """What MovieLens says about a user; the editions differ in what an age means (see docs/importers.md)."""

    age_years: int | None
    gender: str | None


def find_layout(folder: Path) -> Layout:
    """The edition whose ratings file a folder holds.

    Raises:
        ReelflowError: no ratings file, several, or one with another header.
    """
    found = [layout for layout in LAYOUTS if (folder / layout.ratings).is_file()]
    if len(found) != 1:
        names = ", ".join(layout.ratings for layout in found) or (
            ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing" if folder.is_dir() else "no such folder"
        )
        raise ReelflowError(
            f"MovieLens folder {folder}: found {names}; expected exactly one of u.data, ratings.dat and ratings.csv; "
            "name the unpacked folder of one edition"
        )
    layout = found[0]
    if layout.header:
        with (folder / layout.ratings).open(encoding="utf-8-sig", errors="replace") as stream:
            first = stream.readline().strip()
        if first != layout.header:
            raise ReelflowError(f"{folder / layout.ratings}: found first line {first[:80]!r}, expected {layout.header!r}")
    return layout


def read_movies(folder: Path, layout: Layout, rejected: Rejected) -> dict[int, Movie]:
    """The movies by id; none when the edition's file is missing."""
    names = _genre_names(folder) if layout.movies == "u.item" else []
    movies = {}
    for line, cells, record in _records(folder / layout.movies, layout):
        if line == 1 and cells[0] == "movieId":
            continue
        try:
            movies[int(cells[0])] = _item(cells, names) if layout.movies == "u.item" else _movie(cells)
        except (ValueError, IndexError) as error:
            rejected.add(layout.movies, line, f"not a movie: {error}", record)
    return movies


def read_users(folder: Path, layout: Layout, rejected: Rejected) -> dict[int, Person]:
    """The users by id; none when the edition has no such file or it is missing."""
    users: dict[int, Person] = {}
    if layout.users is None:
        return users
    # u.user: id|age|gender|...   users.dat: id::gender::age::...
    age_at, gender_at = (1, 2) if layout.users == "u.user" else (2, 1)
    for line, cells, record in _records(folder / layout.users, layout):
        try:
            age = int(cells[age_at]) if cells[age_at] else None
            if age is not None and not 0 <= age <= 150:
                raise ValueError(f"found age {age}, expected 0 to 150")
            users[int(cells[0])] = Person(age, cells[gender_at] or None)
        except (ValueError, IndexError) as error:
            rejected.add(layout.users, line, f"not a user: {error}", record)
    return users


def _records(file: Path, layout: Layout) -> Iterator[tuple[int, list[str], str]]:
    """Line number, cells and text of each record of a side file; blank lines hold none."""
    if not file.is_file():
        return
    with file.open(encoding=layout.encoding, errors="replace", newline="") as stream:
        if layout.separator == ",":
            reader = csv.reader(stream)
            yield from ((reader.line_num, cells, ",".join(cells)) for cells in reader if cells)
            return
        separator = "|" if layout.separator == "\t" else layout.separator
        for line, text in enumerate(stream, start=1):
            record = text.rstrip("\r\n")
            if record:
                yield line, record.split(separator), record


def _genre_names(folder: Path) -> list[str]:
    """Genres of ``u.genre`` in the order of u.item's flags."""
    file = folder / "u.genre"
    if not file.is_file():
        return []
    pairs = [line.rsplit("|", 1) for line in file.read_text(encoding="latin-1").splitlines() if "|" in line]
    return [name for name, _ in sorted(pairs, key=lambda pair: int(pair[1]))]


def _item(cells: list[str], names: list[str]) -> Movie:
    """A line of u.item: id|title|release date|video release date|URL|a flag for each genre."""
    genres = [name for name, flag in zip(names, cells[5:], strict=False) if flag == "1" and name not in _NO_GENRE]
    released = dt.datetime.strptime(cells[2], "%d-%b-%Y").replace(tzinfo=dt.UTC).date() if cells[2] else None
    return Movie(cells[1], genres, released)


def _movie(cells: list[str]) -> Movie:
    """A line of movies.dat or movies.csv: id, title with its year, genres separated by a bar."""
    year = _YEAR.search(cells[1])
    genres = [genre for genre in cells[2].split("|") if genre not in _NO_GENRE]
    return Movie(cells[1], genres, dt.date(int(year[1]), 1, 1) if year and int(year[1]) > 0 else None)
