"""The homepage for the team: its files, and what it reads beside the public routes. On this machine only, see the guard."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, HTTPException, Query, Response
from fastapi import Path as InPath
from pydantic_core import to_json, to_jsonable_python
from starlette.concurrency import run_in_threadpool

from schemas import columns as col
from schemas.errors import ReelflowError
from serving import PublicationRecord, RecommendationReader, ServingStore, Status, StoreError, segments_of
from serving.freshness import check
from serving.http._answers import GREATEST_ID, LEAST_ID, TEXT, fallback_list, shown
from serving.http._config import Clock, HttpConfig
from serving.http._lake import TeamLake

__all__ = ["page"]

_FOLDER = Path(__file__).resolve().parent / "page"
_SAMPLES = 8  # users to begin with
_VERSIONS = 6  # newest publications
_IDS = frozenset({col.USER_ID, col.VIDEO_ID, col.CREATOR_ID})
_T = TypeVar("_T")


def page(store: ServingStore, config: HttpConfig, lake_folder: Path | None, clock: Clock) -> APIRouter:
    """The page's routes; none of them is part of the public interface."""
    router, reader, lake = APIRouter(include_in_schema=False), RecommendationReader(store), TeamLake(lake_folder)
    files = {file.name: file for file in _FOLDER.iterdir()}

    @router.get("/")
    def index() -> Response:
        return _file(files["index.html"])

    @router.get("/page/{name}")
    def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return _file(files[name])

    @router.get("/page-data/start")
    async def start() -> Response:
        return await _made(lambda: _start(store, reader, lake, clock()))

    @router.get("/page-data/homepage")
    async def homepage(
        user_id: int | None = Query(None, ge=LEAST_ID, le=GREATEST_ID),
        country: str = Query("", max_length=64, pattern=TEXT),
        language: str = Query("", max_length=64, pattern=TEXT),
        device: str = Query("", max_length=64, pattern=TEXT),
    ) -> Response:
        return await _made(
            lambda: _homepage(
                store,
                reader,
                lake,
                user_id=user_id,
                segments=segments_of(country, language, device),
                k=config.max_k,
                now=clock(),
            )
        )

    @router.get("/page-data/users/{user_id}/videos/{video_id}")
    async def row(
        user_id: int = InPath(ge=LEAST_ID, le=GREATEST_ID), video_id: int = InPath(ge=LEAST_ID, le=GREATEST_ID)
    ) -> Response:
        return await _made(lambda: {"row": store.read_row(user_id, video_id)})

    return router


def _start(store: ServingStore, reader: RecommendationReader, lake: TeamLake, now: datetime) -> dict[str, Any]:
    """What is live, what was before, and whom one could look at: never a list of all users."""
    finding = check(store, now)
    users, no_users = _asked(lambda: lake.busy(_SAMPLES), list[tuple[int, int]])
    segments, no_segments = _asked(lake.segments, dict[str, list[str]])
    live = finding.version is not None
    own = reader.get_many([user for user, _ in users], 1, now=now) if users and live else {}
    return {
        "live": asdict(finding),
        "publications": _newest(store.publications()) if live else [],
        "users": [{"user_id": user, "actions": actions} for user, actions in users if user in own and own[user].why == "own"],
        "segments": segments,
        "remarks": sorted({no_users, no_segments} - {""}),
    }


def _newest(publications: list[PublicationRecord]) -> list[PublicationRecord]:
    """The newest, and the live one, which may lie far back after backfills or a rollback."""
    return [one for place, one in enumerate(publications) if place < _VERSIONS or one.status is Status.LIVE]


def _homepage(
    store: ServingStore,
    reader: RecommendationReader,
    lake: TeamLake,
    *,
    user_id: int | None,
    segments: tuple[str, ...],
    k: int,
    now: datetime,
) -> dict[str, Any]:
    """A user's homepage, or a visitor's; what its videos are; what the user watched; and the list of the day before."""
    if user_id is None:
        found = next((list_ for name in segments if (list_ := fallback_list(store, name, k, now))), None)
        if found is None:
            raise StoreError("fallback lists: found none of all; expected one; publish again")
        body = {"user_id": None, "fallback": True, "why": "missing", **found}
        watched: list[tuple[int, datetime]] = []
        no_history = ""
    else:
        body = shown(reader.get(user_id, k, segments, now=now))
        watched, no_history = _asked(lambda: lake.watched(user_id, body["as_of"]), list[tuple[int, datetime]])
    day = (body["as_of"] - timedelta(microseconds=1)).date() - timedelta(days=1)
    before, no_list = _asked(lambda: lake.listed(day, user_id, body["segment"]), list[int])
    wanted = {item.video_id for item in body["items"]} | {video for video, _ in watched} | set(before)
    videos, no_facts = _asked(lambda: lake.videos(wanted), dict[int, dict[str, Any]])
    return {
        "homepage": body,
        "videos": videos,
        "watched": {"videos": [{"video_id": video, "at": at} for video, at in watched], "remark": no_history},
        "before": {"day": day, "videos": [str(video) for video in before], "remark": no_list},
        "remarks": sorted({no_facts} - {""}),
    }


def _asked(ask: Callable[[], _T], nothing: Callable[[], _T]) -> tuple[_T, str]:
    """What the lake says, or nothing and a remark why it does not."""
    try:
        return ask(), ""
    except ReelflowError as error:
        return nothing(), str(error)


async def _made(make: Callable[[], Any]) -> Response:
    """An answer to the page, made in a thread: the lake takes its time."""
    body = await run_in_threadpool(make)
    exact = to_json(_exact(to_jsonable_python(body)))
    return Response(exact, media_type="application/json", headers={"Cache-Control": "no-store"})


def _exact(value: Any, name: str = "") -> Any:
    """A JSON value with its ids as texts: JavaScript's numbers are exact up to 53 bits, ids have 64."""
    if isinstance(value, dict):
        return {key: _exact(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner) for inner in value]
    return str(value) if name in _IDS and value is not None else value


def _file(file: Path) -> Response:
    """A file as a whole, whichever ranges of it are asked for."""
    kind, _ = mimetypes.guess_type(file.name)
    return Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})
