"""How much of an evaluation is drawn, and how it is cut into slices: section ``evaluation``."""

from __future__ import annotations

from pydantic import Field

from conf import Section


class EvaluationConfig(Section):
    """Section ``evaluation``."""

    max_users: int = Field(ge=1)
    """Users of the test split whose lists are judged, at most."""
    bootstrap_samples: int = Field(ge=1)
    """Replicates behind every interval."""
    confidence: float = Field(gt=0, lt=1)
    """How much of the replicates an interval holds."""
    min_slice_users: int = Field(ge=2)
    """Countries and languages of fewer judged users are counted together; slices of fewer users have no interval."""
    max_slice_values: int = Field(ge=1)
    """Countries and languages that are slices of their own, at most."""
    new_video_days: float = Field(gt=0)
    """A video that was uploaded at most so long before the test split is new."""
    source_depth: int = Field(ge=1)
    """The deepest recall at which each source of candidates is judged alone."""
    seed: int = Field(ge=0)
    """Of the bootstrap."""
