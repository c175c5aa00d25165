"""The lists that are judged: the final one, and what each model alone would show (V1)."""

from __future__ import annotations

from models.ann import VectorIndex, build_flat
from models.ensemble import Ensemble, indexable
from models.recommend import Catalogue, RecommendConfig

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


def exact_index(ensemble: Ensemble, catalogue: Catalogue) -> VectorIndex:
    """An index over what retrieval may propose, that finds the nearest videos exactly."""
    positions = indexable(catalogue, ensemble.retrieval)
    return build_flat(catalogue.retrieval_vectors[positions], positions)
