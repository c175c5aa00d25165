"""What two generations of models predict for the same drawn users and videos: what every comparison of G1 is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models import evaluation
from models.ensemble import Ensemble
from models.gate._correlation import Correlation, correlation
from models.gate._scene import Scene, eligible
from models.ids import IdMap
from models.recommend import RecommendConfig, UserBatch, score_matrix

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32]

TRAINED = ("ranker", "retrieval", "wals")
"""Components that are models: the others are counters, on which two trainings agree anyway."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Drawn users and videos, and both generations of models to score them with.

    Attributes:
        users: USER_FEATURES of the drawn users, ascending.
        positions: int64 ``(n,)`` drawn videos, ascending.
        unseen: bool ``(n_users, n)``, false where the user has met the video.
        sides: scene and drawn users by the candidate, and by the other models; both weigh their models alone.
    """

    users: pa.Table
    positions: Ints
    unseen: Mask
    sides: tuple[tuple[Scene, UserBatch], tuple[Scene, UserBatch]]

    @classmethod
    def draw(cls, scene: Scene, old: Ensemble, *, users: int, videos: int) -> Predictions:
        """Draw by the scene's seed.

        Args:
            scene: the candidate, and the rows that both read.
            old: the models that it is compared with.
            users: how many of those who did anything within the look-back, at most.
            videos: how many of those that may be shown, at most.
        """
        rng, active = np.random.default_rng(scene.seed), scene.active
        asked = active.take(pa.array(np.sort(rng.permutation(active.num_rows)[:users])))
        positions = np.sort(rng.permutation(np.flatnonzero(eligible(scene)))[:videos])
        # Popularity is no part of the comparison; that of the older models may be of other segments.
        new = scene.with_models(scene.models, _models_only(scene.ranking))
        other = new.with_models(replace(old, popularity=scene.models.popularity))
        batch = new.batch(asked)
        return cls(asked, positions, ~_met(new, batch)[:, positions], ((new, batch), (other, other.batch(asked))))

    def scores(self, ranking: RecommendConfig | None = None) -> tuple[Scores, Scores]:
        """Of the candidate and of the other models, by these weights or those of the models alone: float32 ``(n_users, n)``."""
        new, old = (
            score_matrix(ranking or scene.ranking, scene.catalogue, batch, self.positions) for scene, batch in self.sides
        )
        return new, old


def agreement(scene: Scene, old: Ensemble, *, users: int, videos: int) -> Correlation:
    """G1 alone: how alike two generations of models score pairs that the user has not met. Arguments are those of ``draw``."""
    drawn = Predictions.draw(scene, old, users=users, videos=videos)
    return correlation(*drawn.scores(), drawn.unseen)


def _models_only(ranking: RecommendConfig) -> RecommendConfig:
    """The weights of the components that are models."""
    trained = {
        name: {part: weight for part, weight in parts.items() if part in TRAINED} for name, parts in ranking.weights.items()
    }
    return ranking.weighed(trained)


def _met(scene: Scene, batch: UserBatch) -> Mask:
    """Pairs that the user has watched or that are an example of the look-back, bool ``(n_users, n_videos)``."""
    ids = IdMap(scene.catalogue.video_ids)
    met: Mask = evaluation.pairs(scene.examples, IdMap(batch.user_ids), ids).toarray()
    met[np.repeat(np.arange(len(batch)), np.diff(batch.watched_indptr)), batch.watched] = True
    return met
