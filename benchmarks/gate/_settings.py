"""Sizes for the small platforms of the study."""

from __future__ import annotations

from conf import load
from models.gate import GateConfig


def config() -> GateConfig:
    """Section ``gate`` with its own thresholds, and drawn users, videos and topics as a platform of this size has them."""
    found = load("gate", GateConfig)
    few = {"users": 20, "videos": 60, "topics": 5, "history": 6, "min_videos": 20}
    asked = {
        kind: tuple(
            one.model_copy(update={name: size for name, size in few.items() if name in type(one).model_fields})
            for one in getattr(found, kind)
        )
        for kind in ("functional", "invariance")
    }
    asked["functional"] = tuple(
        one.model_copy(update={"users": 300}) if one.check == "own_likes" else one for one in asked["functional"]
    )
    return found.model_copy(update={**asked, "correlation_users": 150, "correlation_videos": 150})
