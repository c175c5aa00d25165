"""One user's homepage at the terminal: ``python -m serving.reader USER_ID [--k 20] [--country DE] [--explain VIDEO_ID]``."""

from __future__ import annotations

import argparse
import signal
import sys
import unicodedata
from collections.abc import Sequence

from conf import ConfigError
from conf.paths import paths
from schemas.errors import ReelflowError
from serving._explain import explain_absence, explain_row
from serving._homepage import Homepage, RecommendationReader, Why, segments_of
from serving._open import open_store, store_at
from serving._protocol import ServingStore, moment_of, to_text
from serving._videos import titles

__all__ = ["Homepage", "RecommendationReader", "main", "render"]

_TITLE_WIDTH = 48
_WHY: dict[Why, str] = {"own": "", "missing": "no list of their own", "expired": "their own list has expired"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a homepage; returns the exit status, 2 for what the user can mend."""
    options = _parser().parse_args(arguments)
    try:
        user_id, now = _integer(options.user_id), moment_of(options.at)
        store = store_at(options.store) if options.store else open_store()
        if options.explain is not None:
            print(_explained(store, user_id, _integer(options.explain, "--explain, a video_id")))
            return 0
        segments = segments_of(options.country, options.language, options.device)
        page = RecommendationReader(store).get(user_id, options.k, segments, now=now)
        names, remark = titles(paths().lake, [row.video_id for row in page.rows])
    except (ReelflowError, ConfigError) as error:
        print(f"reader: {error}", file=sys.stderr)
        return 2
    print(render(page, names))
    if remark:
        print(remark)
    return 0


def _explained(store: ServingStore, user_id: int, video_id: int) -> str:
    """Why a video is, or is not, on a user's homepage."""
    row = store.read_row(user_id, video_id)
    told = explain_absence(store, user_id, video_id) if row is None else explain_row(row)
    name = titles(paths().lake, [video_id])[0].get(video_id)
    video = f"video {video_id}"
    return told.replace(video, f"{video} {_short(name)!r}", 1) if name else told


def render(page: Homepage, names: dict[int, str]) -> str:
    """Lay a homepage out as text: what it is, how fresh it is, and an aligned table."""
    heading = f"user {page.user_id}: {_WHY[page.why]}"
    if page.fallback:
        heading += f"; fallback list {page.segment!r}" if page.segment else ", and no fallback list either"
    else:
        heading += f"{len(page.rows)} recommendations"
    freshness = f"STALE since {to_text(page.expires_at)}" if page.stale else f"fresh until {to_text(page.expires_at)}"
    as_of = to_text(page.as_of)
    cells = [("rank", "video", "title", "score", "sources", "as_of")]
    cells += [
        (str(row.rank), str(row.video_id), _short(names.get(row.video_id, "-")), f"{row.score:.4f}", row.sources, as_of)
        for row in page.rows
    ]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            _pad(cell, width, right=index in (0, 1, 3)) for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join(
        [heading, f"version {page.version} of model {page.model_version}, {freshness}", "", *map(str.rstrip, lines)]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.reader", description="Print what a user's homepage shows.")
    parser.add_argument("user_id", metavar="USER_ID", help="the user, an integer")
    parser.add_argument("--k", type=int, default=20, help="how many videos (default 20)")
    parser.add_argument("--store", metavar="URL|FILE", help="the store, or its SQLite file (default: the configured one)")
    parser.add_argument("--explain", metavar="VIDEO_ID", help="say why this video is, or is not, in the user's list")
    parser.add_argument("--country", help="of a user without a list of their own, for example DE")
    parser.add_argument("--language", help="likewise, for example de")
    parser.add_argument("--device", help="likewise, for example tv")
    parser.add_argument(
        "--at", metavar="ISO", help="judge freshness at this time, for example 2026-01-08T06:00:00Z (default: now)"
    )
    return parser


def _integer(text: str, what: str = "user, a user_id") -> int:
    try:
        return int(text)
    except ValueError:
        raise ReelflowError(f"{what}: found {text!r}, expected an integer, for example 42") from None


def _short(text: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in text)
    while _width(text) > _TITLE_WIDTH:
        text = text[:-2] + "…"
    return text


def _width(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    sys.exit(main())
