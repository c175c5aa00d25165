"""The hidden truth: how probable it is that a user finds a video relevant at a moment, at a place on a page, on a device."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.simulation._config import DAY_US, HOUR_US, SimulateConfig
from jobs.simulation._users import Users
from jobs.simulation._videos import Videos
from jobs.simulation._words import LANGUAGES, TOPICS

# Logits by row of DEVICES, and how much a device favours videos longer than the median (per unit of log duration).
_DEVICE = np.array([0.0, -0.1, 0.3, 0.05])
_DEVICE_LENGTH = np.array([-0.25, 0.0, 0.35, 0.0])
_POSITION = 0.12  # logit lost per doubling of the position: lower places are looked at less
_LENGTH = 0.2  # logit lost per unit of log duration: half of a long video is much to watch
_AGE = 0.12  # logit lost per doubling of the age in days
_MEDIAN_LOG_SECONDS = float(np.log(81.0))


@dataclass(frozen=True, slots=True)
class Preferences:
    """True logits, up to a daily offset that fixes the relevant rate.

    ``logit = user_vectors @ video_vectors + user_bias + video_bias + momentum(video, time) + context``. The vectors hold
    topics, style and language side by side, so one matrix product gives a user's whole catalogue.
    """

    user_vectors: NDArray[np.float32]
    """``(users, dim)``"""
    video_vectors: NDArray[np.float32]
    """``(videos, dim)``"""
    user_bias: NDArray[np.float32]
    video_bias: NDArray[np.float32]
    log_duration: NDArray[np.float64]
    """Natural logarithm of each video's seconds over the median; 0 where unknown."""
    uploaded_us: NDArray[np.int64]
    viral_start_us: NDArray[np.int64]
    viral_height: NDArray[np.float64]
    """Logit at the height of a video's own trend; 0 for most."""
    viral_days: NDArray[np.float64]
    """The trend fades by ``e`` in this time."""
    topic_trend: NDArray[np.float64]
    """``(hours, len(TOPICS))``: logit of each topic's trend in each hour of the log."""
    topic_share: NDArray[np.float32]
    """``(videos, len(TOPICS))``"""
    start_us: int

    def momentum(self, videos: NDArray[np.int64], at_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """What changes with time: freshness, a video's own trend and its topics' trends.

        Args:
            videos: rows of videos, shape ``(n,)``.
            at_us: instants, shape ``(n,)``.
        """
        age_days = np.maximum(at_us - self.uploaded_us[videos], 0) / DAY_US
        since = np.maximum(at_us - self.viral_start_us[videos], 0) / DAY_US
        rise = 1.0 - np.exp(-since / 0.125)  # three hours
        viral = self.viral_height[videos] * rise * np.exp(-since / self.viral_days[videos])
        hour = np.clip((at_us - self.start_us) // HOUR_US, 0, len(self.topic_trend) - 1)
        topical = np.einsum("ij,ij->i", self.topic_trend[hour], self.topic_share[videos])
        momentum: NDArray[np.float64] = viral + topical - _AGE * np.log2(1.0 + age_days)
        return momentum

    def pairs(self, users: NDArray[np.int64], videos: NDArray[np.int64], at_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Logit of each (user, video, instant), without context and offset; all of shape ``(n,)``."""
        static = np.einsum("ij,ij->i", self.user_vectors[users], self.video_vectors[videos])
        logits: NDArray[np.float64] = static + self.user_bias[users] + self.video_bias[videos] + self.momentum(videos, at_us)
        return logits

    def catalogue(self, users: NDArray[np.int64], at_us: int) -> NDArray[np.float64]:
        """Logits of every video for some users at one instant, without context and offset; ``(n, videos)``."""
        every = np.arange(len(self.video_bias))
        shift = self.video_bias + self.momentum(every, np.full(len(every), at_us))
        logits: NDArray[np.float64] = self.user_vectors[users] @ self.video_vectors.T + self.user_bias[users, None] + shift
        return logits

    def context(self, videos: NDArray[np.int64], position: NDArray[np.int64], device: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the page and the device add to the logit; all of shape ``(n,)``."""
        length = _DEVICE_LENGTH[device] * self.log_duration[videos]
        added: NDArray[np.float64] = _DEVICE[device] + length - _POSITION * np.log2(1.0 + position)
        return added

    def save(self, path: Path) -> None:
        """Write every array as ``<name>.npy``."""
        for field in fields(self):
            if field.name != "start_us":
                np.save(path / f"{field.name}.npy", getattr(self, field.name))
        (path / "preferences.json").write_text(json.dumps({"start_us": self.start_us}) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Preferences:
        """Read what ``save`` wrote."""
        arrays = {field.name: np.load(path / f"{field.name}.npy") for field in fields(cls) if field.name != "start_us"}
        return cls(**arrays, **json.loads((path / "preferences.json").read_text(encoding="utf-8")))


def draw_preferences(config: SimulateConfig, users: Users, videos: Videos, rng: np.random.Generator) -> Preferences:
    """The truth about these users and these videos, and the trends of these days."""
    n, taste = len(videos.ids), config.taste
    spoken = np.full((len(users.ids), len(LANGUAGES)), -taste.foreign_language)
    rows = np.arange(len(users.ids))
    second = users.second_language >= 0
    spoken[rows[second], users.second_language[second]] = -0.25 * taste.foreign_language
    spoken[rows, users.language] = 0.0
    log_duration = np.log(np.where(videos.duration_seconds > 0, videos.duration_seconds, 81.0)) - _MEDIAN_LOG_SECONDS
    # Clickbait draws clicks, but fewer of them are worth it.
    bias = taste.quality * videos.quality - _LENGTH * log_duration - 1.0 * videos.clickbait
    goes_viral = rng.random(n) < 0.01 * config.days
    first = np.maximum(videos.uploaded_us, config.start_us - DAY_US)
    return Preferences(
        user_vectors=np.hstack([taste.topic * users.taste, taste.style * users.style, spoken]).astype(np.float32),
        video_vectors=np.hstack([videos.topics, videos.style, np.eye(len(LANGUAGES))[videos.language]]).astype(np.float32),
        user_bias=users.bias,
        video_bias=bias.astype(np.float32),
        log_duration=log_duration,
        uploaded_us=videos.uploaded_us,
        viral_start_us=(first + rng.random(n) * (config.end_us - first)).astype(np.int64),
        viral_height=np.where(goes_viral, rng.uniform(1.0, 3.0, size=n), 0.0),
        viral_days=rng.uniform(0.4, 1.5, size=n),
        topic_trend=_draw_topic_trends(config, rng),
        topic_share=(videos.topics**2).astype(np.float32),
        start_us=config.start_us,
    )


def _draw_topic_trends(config: SimulateConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Each topic trends about once in five days: up within hours, away within a day or two; ``(hours, len(TOPICS))``."""
    hours = 24 * config.days
    count = int(rng.poisson(len(TOPICS) * (config.days + 1) / 5))
    topic = rng.integers(len(TOPICS), size=count)
    begins = rng.uniform(-24.0, hours, size=count)
    height = rng.uniform(0.5, 1.6, size=count)
    fade_hours = rng.uniform(10.0, 36.0, size=count)
    since = np.maximum(np.arange(hours)[:, None] - begins, 0.0)
    boost = height * (1.0 - np.exp(-since / 4.0)) * np.exp(-since / fade_hours)
    trend = np.zeros((hours, len(TOPICS)))
    np.add.at(trend.T, topic, boost.T)
    return trend


def calibrate(logits: NDArray[np.float64], rate: float) -> float:
    """The offset with which the mean probability is ``rate``, by bisection to a millionth."""
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        if sigmoid(logits + middle).mean() < rate:
            low = middle
        else:
            high = middle
        if high - low < 1e-6:
            break
    return (low + high) / 2


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of logits."""
    probability: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-logits))
    return probability
