"""Settings of the simulator; every value stands in ``conf/base.yaml``."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import Field, model_validator

import conf

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Hour = Annotated[int, Field(ge=0, le=23)]


class TasteConfig(conf.Section):
    """How strongly each hidden cause moves the true logit of relevance."""

    topic: float = Field(ge=0.0)
    """Logit between a video wholly off a user's topics and one wholly on them."""
    style: float = Field(ge=0.0)
    """Standard deviation of the part that only behaviour shows: no tag, title or attribute tells it."""
    quality: float = Field(ge=0.0)
    """Standard deviation of what is good for everybody."""
    foreign_language: float = Field(ge=0.0)
    """Logit lost when the video is in a language the user does not speak; a second language loses a quarter of it."""


class PolicyConfig(conf.Section):
    """The policy that chose what the logs show."""

    personal: float = Field(ge=0.0)
    """Weight of the policy's noisy estimate of the user's taste; 1 shows what the estimate believes."""
    popularity: float = Field(ge=0.0)
    """Standard deviation of the logarithm of a video's reach: larger means more skew."""
    exploration: Share
    """Share of the impressions that are drawn uniformly."""
    candidates: int = Field(ge=100)
    """Videos considered at once; a larger catalogue is sampled down to this for every block of users."""


class SimulateConfig(conf.Section):
    """A simulated platform."""

    users: int = Field(ge=10)
    """Accounts that exist when the log begins."""
    videos: int = Field(ge=100)
    """Videos that exist when the log begins."""
    days: int = Field(ge=1, le=3660)
    """Days of log."""
    start: dt.date
    """First day, UTC."""
    sessions_per_user_day: float = Field(gt=0.0)
    """Mean number of visits."""
    impressions_per_session: int = Field(ge=1, le=500)
    """Videos shown in one visit."""
    impressions_per_request: int = Field(ge=1)
    """Videos in one answer of the recommender; ``position`` counts within it."""
    new_users_per_day: float = Field(ge=0.0)
    """Registrations a day, as a share of ``users``."""
    new_videos_per_day: float = Field(ge=0.0)
    """Uploads a day, as a share of ``videos``."""
    relevant_rate: float = Field(gt=0.0, lt=0.5)
    """Share of the impressions that turn out relevant."""
    malformed_fraction: Share
    """Broken rows planted, as a share of the events."""
    duplicate_fraction: Share
    """Exact repeats planted, as a share of the events."""
    jsonl_hours: tuple[Hour, ...]
    """Hours of each day whose interactions are written as JSON Lines."""
    csv_hours: tuple[Hour, ...]
    """Hours of each day whose interactions are written as CSV; all others are Parquet."""
    taste: TasteConfig
    """The hidden preferences."""
    policy: PolicyConfig
    """What the logs were made with."""
    seed: int = Field(ge=0)
    """The only source of chance."""

    @model_validator(mode="after")
    def _one_format_an_hour(self) -> SimulateConfig:
        if both := sorted(set(self.jsonl_hours) & set(self.csv_hours)):
            raise ValueError(f"hours {both} stand in jsonl_hours and in csv_hours; an hour has one format")
        return self

    @property
    def start_us(self) -> int:
        """First instant of the log, microseconds since 1970 UTC."""
        return midnight_us(self.start)

    @property
    def end_us(self) -> int:
        """First instant after the log, microseconds since 1970 UTC."""
        return midnight_us(self.start + dt.timedelta(days=self.days))


SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US


def midnight_us(date: dt.date) -> int:
    """00:00 UTC of a date in microseconds since 1970."""
    return (date - dt.date(1970, 1, 1)).days * DAY_US
