"""What proposes candidates: each generator looks at a batch of users and gives the best videos of each, best first."""

from __future__ import annotations

from collections.abc import Mapping

from models.recommend._config import GENERATORS
from models.recommend._config import Generator as Name
from models.recommend.generators._fresh import fresh
from models.recommend.generators._nearest import retrieval, similar, wals
from models.recommend.generators._ranked import local, popular, trending
from models.recommend.generators._source import Generator, Proposals, World

__all__ = ["BY_NAME", "Generator", "Proposals", "World"]

BY_NAME: Mapping[Name, Generator] = {
    "retrieval": retrieval,
    "wals": wals,
    "similar": similar,
    "local": local,
    "trending": trending,
    "fresh": fresh,
    "popular": popular,
}

assert tuple(BY_NAME) == GENERATORS
