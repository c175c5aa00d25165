"""The simulated accounts: what a snapshot shows of them, and the tastes that it hides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.simulation._config import DAY_US, SimulateConfig
from jobs.simulation._places import DEVICES, PLACES
from jobs.simulation._words import LANGUAGES, TOPICS
from schemas import RAW_USERS
from schemas import columns as col

STYLES = 8
_FORMER_DAYS = 200.0


@dataclass(frozen=True, slots=True)
class Users:
    """All accounts that exist by the end of the log, in order of registration; arrays of one row a user."""

    ids: NDArray[np.int64]
    place: NDArray[np.int64]
    """Row of ``PLACES``."""
    language: NDArray[np.int64]
    """Row of ``LANGUAGES``."""
    second_language: NDArray[np.int64]
    """Row of ``LANGUAGES``, or -1."""
    age_years: NDArray[np.int64]
    """-1 where the account does not tell."""
    gender: NDArray[np.int64]
    """0 female, 1 male, 2 not told."""
    registered_us: NDArray[np.int64]
    activity: NDArray[np.float64]
    """Visits relative to the mean user's."""
    devices: NDArray[np.float64]
    """``(n, len(DEVICES))``: how often each device is used; rows sum to 1."""
    taste: NDArray[np.float32]
    """``(n, len(TOPICS))``, rows of length 1: few topics a user."""
    style: NDArray[np.float32]
    """``(n, STYLES)``: the part of taste that no attribute tells."""
    bias: NDArray[np.float32]
    """How easily the user is pleased, in logits."""

    def snapshot(self, midnight_us: int) -> pa.Table:
        """The accounts registered before an instant, as the raw contract writes them."""
        n = int(np.searchsorted(self.registered_us, midnight_us))
        places = [PLACES[row] for row in self.place[:n].tolist()]
        ages = self.age_years[:n]
        columns = {
            col.USER_ID: pa.array(self.ids[:n]),
            col.USERNAME: pa.array([f"user{number}" for number in self.ids[:n].tolist()]),
            col.AGE: pa.array(ages.astype(np.int32), mask=ages < 0),
            col.GENDER: pa.array([("female", "male", None)[row] for row in self.gender[:n].tolist()], pa.string()),
            col.CITY: pa.array([place.city for place in places], pa.string()),
            col.COUNTRY: pa.array([place.country for place in places], pa.string()),
            col.LANGUAGE: pa.array([LANGUAGES[row] for row in self.language[:n].tolist()], pa.string()),
            col.TIME_ZONE: pa.array([place.time_zone for place in places], pa.string()),
            col.REGISTERED_AT: pa.array(self.registered_us[:n], pa.timestamp("us", tz="UTC")),
        }
        return pa.table(columns, schema=RAW_USERS.arrow)


def draw_users(config: SimulateConfig, rng: np.random.Generator) -> Users:
    """Everyone who registers before the end of the log."""
    registered_us = arrivals(config, config.users, config.new_users_per_day, _FORMER_DAYS, rng)
    n = len(registered_us)
    weights = np.array([place.weight for place in PLACES])
    place = rng.choice(len(PLACES), size=n, p=weights / weights.sum())
    native = np.array([LANGUAGES.index(where.language) for where in PLACES])[place]
    # One in twenty-five speaks another language than the place does; three in ten of the non-English also watch in English.
    language = np.where(rng.random(n) < 0.04, rng.integers(len(LANGUAGES), size=n), native)
    english, spanish = LANGUAGES.index("en"), LANGUAGES.index("es")
    bilingual = rng.random(n) < np.where(language == english, 0.08, 0.3)
    second = np.where(bilingual, np.where(language == english, spanish, english), -1)
    age = np.clip(np.round(13 + rng.gamma(2.2, 9.0, size=n)), 13, 90).astype(np.int64)
    age[rng.random(n) < 0.05] = -1
    devices = rng.dirichlet((3.0, 1.0, 0.6, 0.3), size=n)
    assert devices.shape[1] == len(DEVICES)
    return Users(
        ids=external_ids(n, 100_000, rng),
        place=place,
        language=language,
        second_language=second,
        age_years=age,
        gender=rng.choice(3, size=n, p=(0.46, 0.46, 0.08)),
        registered_us=registered_us,
        activity=rng.lognormal(-0.32, 0.8, size=n),  # mean 1
        devices=devices,
        taste=_draw_tastes(n, rng),
        style=rng.standard_normal((n, STYLES), dtype=np.float32),
        bias=(0.4 * rng.standard_normal(n)).astype(np.float32),
    )


def _draw_tastes(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Two to four topics a user, popular topics more often, over a faint background; ``(n, len(TOPICS))``."""
    attraction = topic_popularity()
    # The largest of log-weight + Gumbel noise draws topics without replacement.
    order = np.argsort(-(np.log(attraction) + rng.gumbel(size=(n, len(TOPICS)))), axis=1)
    count = rng.choice((2, 3, 4), size=n, p=(0.4, 0.4, 0.2))
    ranks = np.argsort(order, axis=1)
    strength = rng.uniform(0.4, 1.0, size=(n, len(TOPICS)))
    taste = np.where(ranks < count[:, None], strength, 0.03 * strength)
    return unit_rows(taste)


def topic_popularity() -> NDArray[np.float64]:
    """Share of users and videos that each topic draws: falls with the square root of its rank."""
    weights = 1.0 / np.sqrt(1.0 + np.arange(len(TOPICS)))
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def unit_rows(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows scaled to length 1."""
    unit: NDArray[np.float32] = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
    return unit


def arrivals(
    config: SimulateConfig, initial: int, per_day_share: float, mean_former_days: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Ascending instants: ``initial`` of them before the log begins, then a steady share a day until it ends."""
    former = rng.exponential(mean_former_days, size=initial) * DAY_US
    before = config.start_us - 1 - np.minimum(former, 1_500 * DAY_US).astype(np.int64)
    arriving = round(initial * per_day_share * config.days)
    during = rng.integers(config.start_us, config.end_us, size=arriving)
    return np.sort(np.concatenate([before, during]))


def external_ids(n: int, first: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Unique ascending ids with gaps, as real ones have."""
    return first + np.cumsum(rng.integers(1, 6, size=n))
