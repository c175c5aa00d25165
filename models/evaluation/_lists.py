"""The lists that are judged: the final one, and what each model alone would show (V1)."""

from __future__ import annotations

from models.ensemble import Ensemble, indexable
from models.recommend import Catalogue, Indexes, RecommendConfig

FINAL, POPULARITY, BY_SEGMENT = "final", "popularity", "popularity_by_segment"
_DEPTH = 100


def variants(config: RecommendConfig, *, local: bool = False) -> dict[str, RecommendConfig]:
    """Whose lists are judged, the baseline first and the final list last.

    ``popularity``, ``wals`` and ``retrieval`` show what they propose themselves; popularity fills the places that they leave
    empty. ``ranker`` alone orders the candidates of all generators.

    Args:
        config: of the final list.
        local: whether anybody belongs to a segment, so that popularity with people like them is a baseline too.
    """
    return {
        POPULARITY: config.alone("popular", "popular", _DEPTH),
        **({BY_SEGMENT: config.alone("local", "local", _DEPTH)} if local else {}),
        "wals": config.alone("wals", "wals", _DEPTH),
        "retrieval": config.alone("retrieval", "retrieval", _DEPTH),
        "ranker": config.bare().weighing({"ranker": 1.0}),
        FINAL: config,
    }


def exact_indexes(ensemble: Ensemble, catalogue: Catalogue) -> Indexes:
    """Indexes that find the best videos exactly, so that lists are judged by the models alone."""
    return Indexes.exact(catalogue, indexable(catalogue, ensemble.retrieval))
