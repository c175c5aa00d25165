"""Settings of the section ``recommend``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from conf import Section
from models.recommend.rules import RuleConfig
from schemas import columns as col

Generator = Literal["retrieval", "wals", "similar", "local", "trending", "fresh", "popular"]
GENERATORS: tuple[Generator, ...] = get_args(Generator)
"""What proposes candidates, in the order of every generator axis; the last one also fills lists up."""
Component = Literal["ranker", "retrieval", "wals", "popular", "local", "trend", "fresh", "sponsored"]
COMPONENTS: tuple[Component, ...] = get_args(Component)
"""What the ensemble adds up, in the order of every component axis."""


class SegmentConfig(Section):
    """A segment of users: who belongs to it, which is everybody who meets all conditions that are given, and its weights."""

    name: str = Field(min_length=1)

    max_watched: int | None = Field(default=None, ge=0)
    """At most so many videos acted on within the look-back."""

    countries: tuple[str, ...] | None = None
    """One of these countries, ISO 3166-1 alpha-2."""

    languages: tuple[str, ...] | None = None
    """One of these languages, ISO 639-1."""

    devices: tuple[str, ...] | None = None
    """One of these devices was used last."""

    weights: dict[Component, float]
    """S3: weight of each component's score, standardised over the user's candidates; ``sponsored`` is added as it is. A
    component that is not named weighs 0."""

    @field_validator("weights")
    @classmethod
    def _some_weight(cls, weights: dict[Component, float]) -> dict[Component, float]:
        if not all(np.isfinite(weight) and weight >= 0 for weight in weights.values()) or not any(weights.values()):
            raise ValueError("expected finite weights of at least 0, and one above 0")
        return weights

    @property
    def everybody(self) -> bool:
        """Whether there is no condition."""
        return self.max_watched is None and self.countries is None and self.languages is None and self.devices is None

    def members(self, users: pa.Table) -> NDArray[np.bool_]:
        """Which rows of USER_FEATURES belong to it, bool ``(n,)``."""
        inside = np.ones(users.num_rows, dtype=bool)
        if self.max_watched is not None:
            inside &= pc.list_value_length(users[col.WATCHED]).fill_null(0).to_numpy() <= self.max_watched
        for name, allowed in ((col.COUNTRY, self.countries), (col.LANGUAGE, self.languages), (col.DEVICE, self.devices)):
            if allowed is not None:
                inside &= pc.is_in(users[name], pa.array(allowed, pa.string())).to_numpy()
        return inside


class CatalogueConfig(Section):
    """Section ``recommend.catalogue``: what is known of videos beside the models."""

    content_dim: int = Field(ge=1)
    """Numbers that a video's title and tags are pressed into, for similar videos and for diversity."""

    near_duplicate_similarity: float = Field(gt=0, le=1)
    """Cosine of title and tags from which on two videos count as one."""

    trend_half_life_hours: float = Field(gt=0)
    """Age at which a view counts half in a video's velocity."""

    local_chain: tuple[str, ...] = Field(min_length=1)
    """S2: whose popularity is local: the beginning of one of ``popularity.chains``."""


class ExplorationConfig(Section):
    """Places of the list that show what is not known well yet."""

    slots: tuple[int, ...]
    """Ranks, ascending, from 1; empty explores nothing."""

    new_days: float = Field(gt=0)
    """A video uploaded at most so long ago may be explored."""

    uncertain_impressions: float = Field(ge=0)
    """So may an older one that was shown fewer times within the look-back."""

    temperature: float = Field(gt=0)
    """Of the softmax over ensemble scores that candidates are drawn by: near 0 draws the best one, large values draw evenly."""

    salt: str
    """Another one, other draws."""

    @field_validator("slots")
    @classmethod
    def _ascending(cls, slots: tuple[int, ...]) -> tuple[int, ...]:
        if any(slot < 1 for slot in slots) or list(slots) != sorted(set(slots)):
            raise ValueError("expected ascending ranks from 1, each once")
        return slots


class RecommendConfig(Section):
    """How lists are made: section ``recommend``."""

    k: int = Field(ge=1)
    """Videos in a user's list."""

    generators: dict[Generator, int]
    """S2: best videos of each generator that become candidates; 0, or not named, switches it off."""

    similar_history: int = Field(ge=1)
    """Newest liked videos (newest watched ones of a user who liked none) whose mean content looks for similar ones."""

    fresh_days: float = Field(gt=0)
    """Videos uploaded at most so long ago are what the generator ``fresh`` proposes, best first by the ranker."""

    fresh_half_life_days: float = Field(gt=0)
    """Of the component ``fresh``: a video so old counts half of one uploaded just now."""

    rerank_pool: int = Field(ge=1)
    """Best candidates that the rules look at; all of a user's where these are too few for ``k``."""

    users_per_batch: int = Field(ge=1)
    """Users that one call handles; memory is about 120 bytes a user and candidate."""

    user_partitions: int = Field(ge=1)
    """Parts of the users: each is a file of the table, and made only once where a run is killed and started
    again. They are whole batches, so there are at most as many; lists do not depend on it."""

    segments: tuple[SegmentConfig, ...]
    """Segments of users, each with its own weights: a user is of the first whose conditions hold; the last takes everybody."""

    learn_weights: bool
    """Whether the validation split may set other weights than those of the segments; see ``models.blend``."""

    rules: tuple[RuleConfig, ...]
    """S6: what re-ranks the best candidates, in this order; see ``models.recommend.rules``."""

    exploration: ExplorationConfig

    catalogue: CatalogueConfig

    @field_validator("generators")
    @classmethod
    def _limits(cls, limits: dict[Generator, int]) -> dict[Generator, int]:
        if any(limit < 0 for limit in limits.values()):
            raise ValueError("expected limits of at least 0")
        return limits

    @field_validator("segments")
    @classmethod
    def _of_everybody(cls, segments: tuple[SegmentConfig, ...]) -> tuple[SegmentConfig, ...]:
        if not segments or not segments[-1].everybody:
            raise ValueError("expected a last segment without conditions, so that it takes everybody")
        if len({segment.name for segment in segments}) < len(segments):
            raise ValueError("expected each name once")
        return segments

    @model_validator(mode="after")
    def _something_to_rerank(self) -> RecommendConfig:
        if self.rerank_pool <= self.k:
            raise ValueError(f"rerank_pool: found {self.rerank_pool}, expected more than k, which is {self.k}")
        return self

    @property
    def weights(self) -> dict[str, dict[Component, float]]:
        """Weights by the name of their segment."""
        return {segment.name: dict(segment.weights) for segment in self.segments}

    def weighed(self, weights: Mapping[str, Mapping[Component, float]]) -> RecommendConfig:
        """The same with other weights, by the name of their segment; those of segments that are not named stay."""
        segments = [one.model_copy(update={"weights": dict(weights.get(one.name, one.weights))}) for one in self.segments]
        return self.model_copy(update={"segments": tuple(segments)})

    def weighing(self, weights: Mapping[Component, float]) -> RecommendConfig:
        """The same with these weights in every segment."""
        return self.weighed({segment.name: weights for segment in self.segments})

    def limit(self, generator: Generator) -> int:
        """How many candidates a generator may propose."""
        return self.generators.get(generator, 0)

    def segment_of(self, users: pa.Table) -> NDArray[np.int64]:
        """Place of each user's segment among ``segments``, int64 ``(n,)``.

        Args:
            users: rows of USER_FEATURES.
        """
        found = np.full(users.num_rows, len(self.segments) - 1, dtype=np.int64)
        for place, segment in reversed(list(enumerate(self.segments))):
            found[segment.members(users)] = place
        return found

    def unexplored(self) -> RecommendConfig:
        """The same without exploration."""
        return self.model_copy(update={"exploration": self.exploration.model_copy(update={"slots": ()})})

    def bare(self) -> RecommendConfig:
        """The same without rules and exploration: the order of the scores."""
        return self.unexplored().model_copy(update={"rules": ()})

    def alone(self, generator: Generator, component: Component, depth: int) -> RecommendConfig:
        """What one generator proposes, in the order of one component; popularity fills what it leaves empty."""
        only = self.bare().weighing({component: 1.0})
        return only.model_copy(update={"generators": {generator: depth}, "learn_weights": False})

    def weight_matrix(self) -> NDArray[np.float64]:
        """Weights of every segment, float64 ``(n_segments, n_components)``."""
        return np.array([[one.weights.get(part, 0.0) for part in COMPONENTS] for one in self.segments])
