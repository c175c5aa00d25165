"""Recommend: generators propose, components score, rules re-rank. Pure arrays in, arrays out."""

from models.recommend._batch import *  # noqa: F403
from models.recommend._fallback import *  # noqa: F403
