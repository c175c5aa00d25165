"""The bodies of requests and answers, as OpenAPI describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from serving import Homepage, PublicationRecord, Recommendation, ServingStore, Snapshot, StoreError, Why
from serving._reads import read_live

__all__ = [
    "GREATEST_ID",
    "LEAST_ID",
    "TEXT",
    "Batch",
    "Fallback",
    "HomepageAnswer",
    "Homepages",
    "Ready",
    "fallback_list",
    "shown",
]

_MOST_USERS = 100
LEAST_ID, GREATEST_ID = -9_200_000_000_000_000_000, 9_200_000_000_000_000_000
"""What an id asked for may be: nearly 64 bits. OpenAPI's bounds are doubles, so they must be round to be read exactly."""
TEXT = r"^[^\x00-\x1f\x7f|]*$"
"""What a country, language or device may be: no control characters, and not what separates the parts of a segment."""
_ITEM = {
    "rank": 1,
    "video_id": 4711,
    "score": 1.84,
    "sources": "local:1",
    "reason": "popular in DE",
}
_LIST: dict[str, Any] = {
    "version": 12,
    "model_version": "2026-01-08T000000Z-4f1c9a",
    "as_of": "2026-01-08T00:00:00Z",
    "expires_at": "2026-01-10T00:00:00Z",
    "stale": False,
    "items": [_ITEM],
}
_PAGE = {"user_id": 42, "fallback": True, "why": "missing", "segment": "country=DE", **_LIST}
_ID = {"request_id": "0f8c1c5e6f9a4f5f8a52d6b9f1f3c2aa"}


class Item(BaseModel):
    """One video at its place."""

    rank: int = Field(description="1 is the top; without a gap.", ge=1)
    video_id: int = Field(description="The platform's video; at most once a list.")
    score: float = Field(description="Higher is better; comparable within one list only.")
    sources: str = Field(description="Which generators proposed it, with their rank: `retrieval:3|wals:17`.")
    reason: str = Field(description="Why it is here, for a person.")


class _List(BaseModel):
    version: int = Field(description="The version that was live.")
    model_version: str = Field(description="The model that ranked the list.")
    as_of: datetime = Field(description="The list knows every event before this moment, and none after.")
    expires_at: datetime = Field(description="From this moment on it is stale.")
    stale: bool = Field(description="Whether it was when this was answered: show it all the same.")
    items: list[Item] = Field(description="By rank.")


class _Page(_List):
    user_id: int = Field(description="The user asked for.")
    fallback: bool = Field(description="Whether the list is not the user's own.")
    why: Why = Field(description="`own`: it is; `missing`: there is none; `expired`: theirs is too old, and this one is not.")
    segment: str | None = Field(description="Which fallback list it is; null where it is none.")


class _Named(BaseModel):
    request_id: str = Field(description="Names this exposure: log it with what the user does, so that it can be attributed.")


class HomepageAnswer(_Page, _Named):
    """What a user's homepage shows."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_ID, **_PAGE}]})


class Homepages(_Named):
    """What the homepages of several users show, all of one version."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_ID, "homepages": [_PAGE]}]})

    homepages: list[_Page] = Field(description="One for each user, in the order asked for; a user asked for twice comes once.")


class Fallback(_List, _Named):
    """A fallback list."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_ID, "segment": "country=DE", **_LIST}]})

    segment: str = Field(description="The segment asked for.")


def _integral(value: object) -> object:
    """What JSON Schema takes for an integer, 7.0, is one; texts and booleans stay what they are, and are refused."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Batch(BaseModel):
    """Whose homepages are wanted."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"user_ids": [42, 43]}]})

    user_ids: list[Annotated[int, Field(ge=LEAST_ID, le=GREATEST_ID), BeforeValidator(_integral)]] = Field(
        description=f"1 to {_MOST_USERS} users.", min_length=1, max_length=_MOST_USERS
    )


class Ready(BaseModel):
    """What is live."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "fresh", **{name: _LIST[name] for name in ("version", "as_of", "expires_at")}}]
        }
    )

    status: str = Field(description="`fresh` or `stale`.")
    version: int = Field(description="The version that is live.")
    as_of: datetime = Field(description="What it knows until.")
    expires_at: datetime = Field(description="When it expires.")


def shown(page: Homepage) -> dict[str, Any]:
    """A homepage as its answer, but for the request's id."""
    return {
        "user_id": page.user_id,
        "version": page.version,
        "model_version": page.model_version,
        "as_of": page.as_of,
        "expires_at": page.expires_at,
        "stale": page.stale,
        "fallback": page.fallback,
        "why": page.why,
        "segment": page.segment,
        "items": page.rows,
    }


def fallback_list(store: ServingStore, segment: str, k: int, now: datetime) -> dict[str, Any] | None:
    """A segment's list as its answer, but for the request's id; None where there is none.

    Raises:
        StoreError: nothing is live, or the store cannot be read.
    """

    def read(snapshot: Snapshot) -> tuple[PublicationRecord, list[Recommendation]]:
        if snapshot.live is None:
            raise StoreError("recommendations: nothing has been published yet; expected a live version; run the publish stage")
        return snapshot.live, snapshot.read_fallback(segment, k)

    live, rows = read_live(store, read)
    if not rows:
        return None
    return {
        "segment": segment,
        "version": live.version,
        "model_version": live.model_version,
        "as_of": live.as_of,
        "expires_at": live.expires_at,
        "stale": now >= live.expires_at,
        "items": rows,
    }
