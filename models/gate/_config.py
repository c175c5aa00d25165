"""Settings of the section ``gate``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from conf import Section
from models.gate._functional import FunctionalConfig
from models.gate._invariance import InvarianceConfig
from models.recommend import Component

SegmentKind = Literal["segment", "users", "language", "country", "videos"]


class SegmentThreshold(Section):
    """A way of cutting users, or videos, each part of which must correlate."""

    by: SegmentKind
    """``segment`` of ``recommend.segments``, ``users`` known to the incumbent or new, ``language``, ``country``, ``videos`` new
    or older."""

    min_correlation: float = Field(ge=-1, le=1)
    """Pooled Pearson of each part that has enough users, at least."""


class DifferentialConfig(Section):
    """What else is compared with the incumbent, beside the pooled correlation."""

    components: dict[Component, float]
    """Pooled Pearson of one model's own scores, at least, by component. A model that hardly weighs is held to it too."""

    segments: tuple[SegmentThreshold, ...]
    """Kinds of segments that are held to a threshold of their own; the others are reported."""

    min_segment_users: int = Field(ge=2)
    """Smaller segments are reported and never refuse."""

    new_video_days: float = Field(gt=0)
    """A video uploaded at most so long before is new."""

    top: int = Field(ge=1)
    """Places of the lists that Jaccard and ``kept`` look at."""

    depth: int = Field(ge=2)
    """Places that rank-biased overlap looks at, and from which examples are taken."""

    persistence: float = Field(gt=0, lt=1)
    """p of rank-biased overlap."""

    tie: float = Field(ge=0)
    """Scores, in standard deviations, so close to the last place that counts are a tie: ``kept`` forgives them."""

    min_kept: float = Field(ge=0, le=1)
    """Mean over users of the share of the first ``top`` places that both models keep within ties, at least."""

    shown: int = Field(ge=0)
    """Users and videos that moved most, which the verdict names."""


class FloorsConfig(Section):
    """G5: how good the lists must be, by metric on the test split; intervals are bootstrapped over users."""

    alpha: float = Field(gt=0, lt=0.5)
    """Chance of refusing for a slice, or for the incumbent, where nothing is wrong: of all such tests together (Holm)."""

    min_users: int = Field(ge=2)
    """Fewer judged users are too few to tell: overall they refuse, in a slice they are listed."""

    baselines: dict[str, float]
    """Least ratio of the final list's nDCG@10 to a baseline's beside popularity: the lower end of the interval clears it."""

    min_slice_ratio: float = Field(ge=0)
    """Ratio to each baseline that no slice may be significantly below."""

    metrics: tuple[str, ...] = Field(min_length=1)
    """By which candidate and incumbent are compared, overall and in each slice."""

    margin: float = Field(ge=0, lt=1)
    """Share of the incumbent's figure by which the candidate may be worse before being significantly so refuses it."""

    max_ratio_to_incumbent: float = Field(gt=1)
    """Figures significantly above so many times the incumbent's are too good to be true: a label has leaked."""

    max_roc_auc: float = Field(gt=0.5, le=1)
    """A ranker that separates the test split better than this has seen the answer."""


class GateConfig(Section):
    """Thresholds and sample sizes: section ``gate``. A threshold of ``null``, or a missing check, can never be met."""

    min_correlation: float | None = Field(ge=-1, le=1)
    """G1: pooled Pearson correlation with the incumbent on unseen pairs, at least."""

    correlation_users: int = Field(ge=2)
    """Users whose predictions are correlated."""

    correlation_videos: int = Field(ge=2)
    """Videos for which each of them is scored."""

    min_ratio_to_popularity: float | None = Field(ge=0)
    """Floor: nDCG@10 of the final list over that of the popularity baseline; the lower end of the interval clears it."""

    accept_unreadable_incumbent: bool
    """Whether an incumbent that this code cannot read counts as none, instead of refusing the candidate."""

    noise_floor_days: int = Field(ge=1)
    """G2: so many days a measured noise floor is used again, while code, settings and the volume of data are the same."""

    differential: DifferentialConfig

    floors: FloorsConfig

    functional: tuple[Annotated[FunctionalConfig, Field(discriminator="check")], ...]
    """G3: each must pass; none declared refuses."""

    invariance: tuple[Annotated[InvarianceConfig, Field(discriminator="check")], ...]
    """G4: likewise."""

    @field_validator("invariance")
    @classmethod
    def _once(cls, checks: tuple[InvarianceConfig, ...]) -> tuple[InvarianceConfig, ...]:
        if len({one.check for one in checks}) < len(checks):
            raise ValueError("expected each check once")
        return checks
