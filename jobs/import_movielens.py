"""Make raw logs of MovieLens ratings: each is an impression, a watch, and a like or a dislike when it is clear.

``python -m jobs.import_movielens DIR [--out DIR] [--force]`` reads the 100K, the 1M or the ``ratings.csv`` layout.
A rating of 4 or more is a like, of 2 or less a dislike; what is between was watched, but is neither. See docs/importers.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.importing import (
    DAY_US,
    Column,
    ImportReport,
    Rejected,
    Step,
    build_events,
    date_of,
    first_instants,
    read_numbers,
    run_command,
    write_log,
    write_snapshot,
)
from jobs.importing._movielens import Layout, Movie, Person, find_layout, read_movies, read_users
from schemas import RAW_USERS, RAW_VIDEOS, InteractionType
from schemas import columns as col

_LIKED, _DISLIKED = 4.0, 2.0
_SECOND_US = 1_000_000
_LATEST_SECONDS = 4_102_444_800  # the year 2100; larger numbers are milliseconds, or wrong
_COLUMNS = {
    "user": Column(0, "int64"),
    "movie": Column(1, "int64"),
    "rating": Column(2, "float64"),
    "timestamp": Column(3, "float64"),
}


def import_movielens(source: Path, out: Path) -> ImportReport:
    """Write the raw logs of one edition of MovieLens into a folder.

    Raises:
        ReelflowError: the folder is of no known layout, or holds no usable rating.
    """
    layout, rejected = find_layout(source), Rejected()
    movies, people = read_movies(source, layout, rejected), read_users(source, layout, rejected)
    user, movie, rating, at_us = _read_ratings(source / layout.ratings, layout, rejected)
    if not len(user):
        raise rejected.refuse_all(source / layout.ratings)
    seconds, micros = np.divmod(at_us, _SECOND_US)
    stamp = _stamps(seconds, micros)
    written = write_log(
        out,
        at_us,
        lambda part: build_events(
            prefix="ml", stamp=stamp[part], user=user[part], video=movie[part], at_us=at_us[part], steps=_steps(rating[part])
        ),
    )
    first_day = date_of(int(at_us[0]))
    videos = _videos(movies, *first_instants(movie, at_us), start_us=int(at_us[0]))
    users = _users(people, np.unique(user))
    write_snapshot(out, "videos", first_day, videos)
    write_snapshot(out, "users", first_day, users)
    rejected.write(out)
    return ImportReport(
        out=out, read=len(user) + rejected.count(layout.ratings), events=written.events, hours=written.hours, users=len(users),
        videos=len(videos), rejected=len(rejected), last_us=written.last_us,
    )  # fmt: skip


def _read_ratings(
    file: Path, layout: Layout, rejected: Rejected
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Users, movies, ratings and instants in microseconds, in order of time; one order whatever the file's."""
    raw = read_numbers(file, _COLUMNS, separator=layout.separator, width=4, header=layout.header is not None, rejected=rejected)
    sound = (raw["rating"] >= 0.5) & (raw["rating"] <= 5.0)
    dated = (raw["timestamp"] >= 0) & (raw["timestamp"] < _LATEST_SECONDS)
    for at in np.flatnonzero(~(sound & dated)).tolist():
        wrong = "timestamp out of range: expected seconds since 1970" if sound[at] else "rating out of range: expected 0.5 to 5"
        record = layout.separator.join(f"{raw[name][at]:.15g}" for name in _COLUMNS)
        rejected.add(file.name, int(raw["line"][at]), wrong, record)
    keep = sound & dated
    user, movie, rating = (raw[name][keep] for name in ("user", "movie", "rating"))
    at_us = np.round(raw["timestamp"][keep] * _SECOND_US).astype(np.int64)
    order = np.lexsort((movie, user, at_us))
    return user[order].astype(np.int64), movie[order].astype(np.int64), rating[order], at_us[order]


def _stamps(seconds: NDArray[np.int64], micros: NDArray[np.int64]) -> pa.Array:
    """The instants as text: whole seconds as the file has them, else with six decimals."""
    whole = pa.array(seconds).cast(pa.string())
    if not micros.any():
        return whole
    decimals = pc.utf8_lpad(pa.array(micros).cast(pa.string()), 6, "0")
    return pc.if_else(pa.array(micros == 0), whole, pc.binary_join_element_wise(whole, decimals, "."))


def _steps(rating: NDArray[np.float64]) -> tuple[Step, ...]:
    """The events of ratings: how long a movie was watched is not known, so only a like makes it relevant."""
    every = np.ones(len(rating), bool)
    return (
        Step(InteractionType.IMPRESSION, every, 0),
        Step(InteractionType.WATCH, every, _SECOND_US),
        Step(InteractionType.LIKE, rating >= _LIKED, 2 * _SECOND_US),
        Step(InteractionType.DISLIKE, rating <= _DISLIKED, 2 * _SECOND_US),
    )


def _videos(movies: dict[int, Movie], rated: NDArray[np.int64], first_us: NDArray[np.int64], *, start_us: int) -> pa.Table:
    """A row a movie that is rated or described; never uploaded later than its first rating."""
    first_rating = dict(zip(rated.tolist(), first_us.tolist(), strict=True))
    ids = sorted(first_rating.keys() | movies.keys())
    uploaded = []
    for number in ids:
        seen_us = first_rating.get(number, start_us)
        movie = movies.get(number)
        released = int(np.datetime64(movie.released, "us").astype(np.int64)) if movie and movie.released else None
        uploaded.append(seen_us // DAY_US * DAY_US if released is None else min(released, seen_us))
    known = {
        col.VIDEO_ID: pa.array(ids, pa.int64()),
        col.TITLE: pa.array([movies[number].title if number in movies else None for number in ids], pa.string()),
        col.TAGS: pa.array([movies[number].genres if number in movies else None for number in ids], pa.list_(pa.string())),
        col.DURATION_SECONDS: pa.array(np.zeros(len(ids))),
        col.UPLOADED_AT: pa.array(uploaded, pa.timestamp("us", tz="UTC")),
    }
    schema = RAW_VIDEOS.arrow
    return pa.table([known.get(field.name, pa.nulls(len(ids), field.type)) for field in schema], schema=schema)


def _users(people: dict[int, Person], rated: NDArray[np.int64]) -> pa.Table:
    """A row a user who rated or is described."""
    ids = sorted(set(rated.tolist()) | people.keys())
    nobody = Person(None, None)
    known = {
        col.USER_ID: pa.array(ids, pa.int64()),
        col.AGE: pa.array([people.get(number, nobody).age_years for number in ids], pa.int32()),
        col.GENDER: pa.array([people.get(number, nobody).gender for number in ids], pa.string()),
    }
    schema = RAW_USERS.arrow
    return pa.table([known.get(field.name, pa.nulls(len(ids), field.type)) for field in schema], schema=schema)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.import_movielens", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="DIR", help="folder of an unpacked edition")
    parser.add_argument("--out", type=Path, help="folder of the raw logs (default: raw in the workspace)")
    parser.add_argument("--force", action="store_true", help="replace whatever is in the folder")
    chosen = parser.parse_args(arguments)
    return run_command(
        "import_movielens", chosen.out, force=chosen.force, work=lambda out: import_movielens(chosen.source, out)
    )


if __name__ == "__main__":
    sys.exit(main())
