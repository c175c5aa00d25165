"""The public routes: homepages, fallback lists, and how the server stands."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from serving import RecommendationReader, ServingStore, SqliteStore, StoreError, segments_of
from serving.freshness import State, check
from serving.http._answers import (
    GREATEST_ID,
    LEAST_ID,
    TEXT,
    Batch,
    Fallback,
    HomepageAnswer,
    Homepages,
    Ready,
    fallback_list,
    shown,
)
from serving.http._config import Clock, HttpConfig
from serving.http._errors import ProblemResponse, documented
from serving.http._metrics import Metrics
from serving.http._route import LeanRoute

__all__ = ["Reading", "add_api"]

_T = TypeVar("_T")
_SHOWN = 20  # videos a list, where the caller does not say
_KEPT = {"Cache-Control": "private, no-cache"}  # kept by the app's own cache, and asked about each time


@dataclass(frozen=True, slots=True)
class Reading:
    """How blocking reads are made from the event loop."""

    store: ServingStore

    async def __call__(self, work: Callable[[], _T]) -> _T:
        """Do ``work``: in place for SQLite, where a list takes less time than the way to a thread, else in a thread."""
        return work() if isinstance(self.store, SqliteStore) else await run_in_threadpool(work)


def add_api(router: APIRouter, store: ServingStore, config: HttpConfig, metrics: Metrics, clock: Clock) -> None:
    """Add the public routes over a store to an application's own router: one that is included is searched twice."""
    reader, reading = RecommendationReader(store), Reading(store)
    user = Path(description="The platform's user.", ge=LEAST_ID, le=GREATEST_ID, examples=[42])
    how_many = Query(min(_SHOWN, config.max_k), description="Videos at most.", ge=1, le=config.max_k)
    country = Query(None, description="Of a user without a fresh list.", max_length=64, pattern=TEXT, examples=["DE"])
    language = Query(None, description="Likewise.", max_length=64, pattern=TEXT, examples=["de"])
    device = Query(None, description="Likewise.", max_length=64, pattern=TEXT, examples=["tv"])
    segment_name = Path(
        description="The list's segment.", max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["country=DE"]
    )

    async def recommendations(
        request: Request,
        *,
        user_id: int = user,
        k: int = how_many,
        country: str | None = country,
        language: str | None = language,
        device: str | None = device,
    ) -> Response:
        """The user's own list, or the most specific fallback list where they have none, or only an expired one."""
        page = await reading(lambda: reader.get(user_id, k, segments_of(country, language, device), now=clock()))
        metrics.shown(page)
        return _answered(request, shown(page))

    router.add_api_route(
        "/users/{user_id}/recommendations",
        recommendations,
        methods=["GET"],
        summary="What a user's homepage shows",
        response_model=HomepageAnswer,
        responses={
            304: {"description": "What the app has is what is live; the header `X-Request-Id` names this exposure."},
            **documented(401, 429, 503),
        },
        tags=["recommendations"],
        route_class_override=LeanRoute,
    )

    @router.post(
        "/recommendations:batch",
        summary="What the homepages of up to 100 users show",
        response_model=Homepages,
        responses=documented(400, 401, 408, 413, 429, 503),
        tags=["recommendations"],
    )
    async def batch(
        request: Request,
        wanted: Batch,
        *,
        k: int = how_many,
        country: str | None = country,
        language: str | None = language,
        device: str | None = device,
    ) -> Response:
        """All of one version. Country, language and device are those of every user without a fresh list."""
        segments = segments_of(country, language, device)
        # Always in a thread: a hundred lists would hold up everybody else's one.
        pages = await run_in_threadpool(lambda: reader.get_many(wanted.user_ids, k, segments, now=clock()))
        for page in pages.values():
            metrics.shown(page)
        return _answered(request, {"homepages": [shown(page) for page in pages.values()]}, keep=False)

    @router.get(
        "/fallback/{segment}",
        summary="A fallback list",
        response_model=Fallback,
        responses={304: {"description": "What the app has is what is live."}, **documented(401, 404, 429, 503)},
        tags=["recommendations"],
    )
    async def fallback(request: Request, segment: str = segment_name, k: int = how_many) -> Response:
        """The list of exactly this segment, such as `country=DE|language=de`; `all` always exists."""
        found = await reading(lambda: fallback_list(store, segment, k, clock()))
        if found is None:
            return ProblemResponse(
                request.state.request_id, HTTPStatus.NOT_FOUND, which=f"segment {segment[:100]}", found="no list of it",
                expected="the name of a list that is live", do="ask for the segment without its last part, or for all",
            )  # fmt: skip
        return _answered(request, found)

    @router.get("/health", summary="Whether the server runs", tags=["operations"])
    async def health() -> dict[str, str]:
        """Says nothing of the store: a restart would not mend that."""
        return {"status": "ok"}

    @router.get(
        "/ready",
        summary="Whether there is something to serve",
        response_model=Ready,
        responses=documented(503),
        tags=["operations"],
    )
    async def ready(request: Request) -> Response:
        """Ready is a server that can read a live version, stale or not: a stale list is better than none."""
        found = await reading(lambda: check(store, clock()))
        if found.version is None:
            if found.state is State.UNREADABLE:
                raise StoreError(found.text)
            return ProblemResponse(
                request.state.request_id, HTTPStatus.SERVICE_UNAVAILABLE, which="the serving store", found="nothing is live",
                expected="a live version", do="run the pipeline once", headers={"Retry-After": "5"},
            )  # fmt: skip
        body = {"status": found.state, "version": found.version, "as_of": found.as_of, "expires_at": found.expires_at}
        return Response(to_json(body), media_type="application/json", headers={"Cache-Control": "no-store"})

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **documented(401, 429)},
        tags=["operations"],
    )
    async def figures() -> Response:
        """Requests, their times, fallbacks, and how fresh what is live is; the store is asked at each scrape."""
        return Response(await reading(metrics.text), headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})


def _answered(request: Request, body: dict[str, Any], *, keep: bool = True) -> Response:
    """An answer that names its request; 304 where the caller has the same one from before.

    The tag is a digest of all but the request's id, which differs each time: so it is a weak one. Whatever may change an
    answer changes it: another version, an expiry, an erasure.
    """
    encoded = to_json(body)
    headers = {"Cache-Control": "no-store"}
    if keep:
        tag = f'W/"{hashlib.blake2b(encoded, digest_size=12).hexdigest()}"'
        headers = {**_KEPT, "ETag": tag}
        if _matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    named = b'{"request_id":' + to_json(request.state.request_id) + b"," + encoded[1:]
    return Response(named, media_type="application/json", headers=headers)


def _matches(asked: str, tag: str) -> bool:
    """Whether one of the tags asked about is this one, compared weakly (RFC 9110, 13.1.2)."""
    wanted = tag.removeprefix("W/")
    return asked.strip() == "*" or any(one.strip().removeprefix("W/") == wanted for one in asked.split(","))
