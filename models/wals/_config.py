"""Hyper-parameters of the factorization."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from conf import Section

Feedback = Literal["relevant", "like", "share", "watch"]


class WalsConfig(Section):
    """Hyper-parameters of the factorization: section ``wals``."""

    engine: Literal["implicit", "spark"]
    """What solves it: ``implicit`` on one machine, or Spark's ALS on a cluster, which needs ``regularization_exponent: 1``."""

    factors: int = Field(ge=1, le=1024)
    """Length of a user's and a video's vector."""

    iterations: int = Field(ge=1)
    """Rounds of solving for all users, then for all videos."""

    regularization: float = Field(ge=0)
    """L2 penalty on the vector of a user or video with one positive cell, where a cell without feedback weighs 1."""

    regularization_exponent: float = Field(ge=0, le=1)
    """The penalty grows with the number of positive cells to this power: 0 for the same penalty on all, 1 for one a cell."""

    unobserved_weight: float = Field(gt=0)
    """Weight of a (user, video) cell with no feedback, against 1 for one unit of feedback: alpha is its inverse."""

    feedback_weights: dict[Feedback, NonNegativeFloat]
    """What one example of each kind adds to the weight of its cell; `share` covers saves, `watch` is a click or a watch that
    was not relevant. 0 ignores a kind."""

    half_lives_days: tuple[PositiveFloat | None, ...] = Field(min_length=1)
    """Feedback weighs half after so long; ``null`` for feedback that does not age. Of several, training takes the one that
    foresees the validation split best; a fitted model names one."""

    cg_steps: int = Field(ge=1)
    """Conjugate-gradient steps of the engine `implicit` for each vector and iteration; Spark's solves exactly."""

    seed: int = Field(ge=0)
    """Start of the random vectors."""

    num_threads: int = Field(ge=0)
    """Threads of the solver; 0 for one a core. The result does not depend on it."""

    @property
    def half_life_days(self) -> float | None:
        """The half-life that weighs feedback: the first one."""
        return self.half_lives_days[0]

    def with_half_life(self, days: float | None) -> WalsConfig:
        """The same with one half-life."""
        return self.model_copy(update={"half_lives_days": (days,)})
