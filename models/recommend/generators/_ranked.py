"""Generators that propose the same videos to everybody, or to everybody of a place."""

from __future__ import annotations

import numpy as np

from models.recommend._catalogue import UserBatch
from models.recommend.generators._source import Ranked, World


def popular(world: World, users: UserBatch) -> Ranked:
    """Propose what most people watch."""
    catalogue = world.catalogue
    return Ranked(catalogue.popular_order[None], catalogue.log_popularity[None], np.zeros(len(users), dtype=np.int64))


def trending(world: World, users: UserBatch) -> Ranked:
    """Propose what is watched more than it was in the week before."""
    catalogue = world.catalogue
    return Ranked(catalogue.trending_order[None], catalogue.facts.trend[None], np.zeros(len(users), dtype=np.int64))


def local(world: World, users: UserBatch) -> Ranked:
    """Propose what people of the same country, language and city watch."""
    return Ranked(world.catalogue.local_order, world.catalogue.local, users.local)
