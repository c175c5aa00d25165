"""The simulated catalogue: what a snapshot shows of each video, and the qualities that it hides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.simulation._config import DAY_US, SimulateConfig
from jobs.simulation._places import COUNTRIES
from jobs.simulation._text import draw_tags, draw_titles
from jobs.simulation._users import STYLES, arrivals, external_ids, topic_popularity, unit_rows
from jobs.simulation._words import LANGUAGES, TOPICS
from schemas import RAW_VIDEOS
from schemas import columns as col

NEVER_US = np.iinfo(np.int64).max
_FORMER_DAYS = 45.0
_LANGUAGE_SHARES = (0.44, 0.18, 0.12, 0.09, 0.08, 0.09)
# KuaiRand-Pure: 7,583 videos have 6,510 authors; most upload once, the largest 26 times.
_CREATORS_PER_VIDEO = 0.86
# Quantiles of a real catalogue's durations (KuaiRand-Pure), in seconds; interpolated on the logarithm.
_DURATION_SHARE = (0.0, 0.01, 0.10, 0.25, 0.50, 0.75, 0.90, 0.99, 1.0)
_DURATION_SECONDS = (4.0, 7.0, 15.0, 32.0, 81.0, 148.0, 238.0, 510.0, 1_800.0)


@dataclass(frozen=True, slots=True)
class Videos:
    """All videos that exist by the end of the log, in order of upload; arrays of one row a video."""

    ids: NDArray[np.int64]
    creator_ids: NDArray[np.int64]
    """-1 where the log does not know."""
    titles: list[str]
    tags: list[list[str] | None]
    language: NDArray[np.int64]
    """Row of ``LANGUAGES``."""
    language_known: NDArray[np.bool_]
    duration_seconds: NDArray[np.float64]
    """0 where the log does not know."""
    uploaded_us: NDArray[np.int64]
    removed_us: NDArray[np.int64]
    """``NEVER_US`` for nearly all."""
    blocked: NDArray[np.bool_]
    """``(n, len(COUNTRIES))``."""
    misinformation: NDArray[np.float64]
    clickbait: NDArray[np.float64]
    sponsored_boost: NDArray[np.float64]
    former_views: NDArray[np.int64]
    """Views before the log begins."""
    topics: NDArray[np.float32]
    """``(n, len(TOPICS))``, rows of length 1."""
    main_topic: NDArray[np.int64]
    style: NDArray[np.float32]
    """``(n, STYLES)``, scaled so that its product with a user's style has variance 1."""
    quality: NDArray[np.float32]
    """Standardised; good for everybody."""
    reach: NDArray[np.float32]
    """Standardised; how widely the platform shows it. Half of it is quality."""

    def snapshot(self, midnight_us: int, views: NDArray[np.int64], likes: NDArray[np.int64]) -> pa.Table:
        """The videos uploaded before an instant, as the raw contract writes them.

        Args:
            midnight_us: the instant.
            views: watches of each video within the log so far.
            likes: likes of each video within the log so far.
        """
        n = int(np.searchsorted(self.uploaded_us, midnight_us))
        former_likes = (0.03 * self.former_views[:n]).astype(np.int64)
        columns = {
            col.VIDEO_ID: pa.array(self.ids[:n]),
            col.CREATOR_ID: pa.array(self.creator_ids[:n], mask=self.creator_ids[:n] < 0),
            col.TITLE: pa.array(self.titles[:n], pa.string()),
            col.TAGS: pa.array(self.tags[:n], pa.list_(pa.string())),
            col.LANGUAGE: pa.array(np.array(LANGUAGES, object)[self.language[:n]], pa.string(), mask=~self.language_known[:n]),
            col.DURATION_SECONDS: pa.array(self.duration_seconds[:n]),
            col.LIKE_COUNT: pa.array(former_likes + likes[:n]),
            col.VIEW_COUNT: pa.array(self.former_views[:n] + views[:n]),
            col.UPLOADED_AT: pa.array(self.uploaded_us[:n], pa.timestamp("us", tz="UTC")),
            col.BLOCKED_COUNTRIES: pa.array(
                [[COUNTRIES[at] for at in np.flatnonzero(row)] if row.any() else None for row in self.blocked[:n]],
                pa.list_(pa.string()),
            ),
            col.MISINFORMATION_SCORE: pa.array(self.misinformation[:n]),
            col.CLICKBAIT_SCORE: pa.array(self.clickbait[:n]),
            col.SPONSORED_BOOST: pa.array(self.sponsored_boost[:n], mask=self.sponsored_boost[:n] == 0),
            col.REMOVED: pa.array(self.removed_us[:n] < midnight_us),
        }
        return pa.table(columns, schema=RAW_VIDEOS.arrow)


def draw_videos(config: SimulateConfig, rng: np.random.Generator) -> Videos:
    """Everything that is uploaded before the end of the log."""
    uploaded_us = arrivals(config, config.videos, config.new_videos_per_day, _FORMER_DAYS, rng)
    n = len(uploaded_us)
    first_video = _first_video_of_creator(n, rng)
    language = np.where(
        rng.random(n) < 0.05,
        rng.integers(len(LANGUAGES), size=n),
        rng.choice(len(LANGUAGES), size=n, p=_LANGUAGE_SHARES)[first_video],
    )
    topics, main_topic = _draw_topics(first_video, rng)
    talent = rng.standard_normal(n)[first_video]
    quality = np.sqrt(0.4) * talent + np.sqrt(0.6) * rng.standard_normal(n)
    reach = 0.5 * quality + np.sqrt(0.75) * rng.standard_normal(n)
    log_seconds = np.interp(rng.random(n), _DURATION_SHARE, np.log(np.array(_DURATION_SECONDS)))
    duration: NDArray[np.float64] = np.round(np.exp(log_seconds), 3)
    duration[rng.random(n) < 0.005] = 0.0
    creator_ids = external_ids(n, 500_000, rng)[first_video]
    creator_ids[rng.random(n) < 0.003] = -1
    age_days = np.maximum(config.start_us - uploaded_us, 0) / DAY_US
    removed = rng.random(n) < 0.01
    return Videos(
        ids=external_ids(n, 2_000_000, rng),
        creator_ids=creator_ids,
        titles=draw_titles(language, topics, main_topic, rng),
        tags=draw_tags(language, topics, main_topic, rng),
        language=language,
        language_known=rng.random(n) > 0.02,
        duration_seconds=duration,
        uploaded_us=uploaded_us,
        removed_us=np.where(removed, rng.integers(config.start_us, config.end_us, size=n), NEVER_US),
        blocked=(rng.random(n) < 0.015)[:, None] & (rng.random((n, len(COUNTRIES))) < 0.3),
        misinformation=np.round(rng.beta(0.6, 12.0, size=n), 4),
        clickbait=np.round(rng.beta(1.2, 6.0, size=n), 4),
        sponsored_boost=np.where(rng.random(n) < 0.02, np.round(rng.uniform(0.1, 1.0, size=n), 2), 0.0),
        former_views=np.floor(40.0 * np.log1p(age_days) * np.exp(1.5 * reach)).astype(np.int64),
        topics=topics,
        main_topic=main_topic,
        style=(rng.standard_normal((n, STYLES)) / np.sqrt(STYLES)).astype(np.float32),
        quality=quality.astype(np.float32),
        reach=reach.astype(np.float32),
    )


def _first_video_of_creator(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each video the first one of its creator: a Simon process, so that a few creators have many videos.

    Every video starts a creator or joins the creator of a uniformly drawn earlier one; following those links to their
    roots by pointer doubling takes log2(n) rounds.
    """
    link = np.arange(n)
    joins = rng.random(n) > _CREATORS_PER_VIDEO
    earlier = np.floor(rng.random(n) * np.arange(n)).astype(np.int64)
    link[joins] = earlier[joins]
    while not np.array_equal(link, link[link]):
        link = link[link]
    return link


def _draw_topics(first_video: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Topic mixtures ``(n, len(TOPICS))`` and main topics; creators mostly stay with one topic."""
    n = len(first_video)
    of_creator = rng.choice(len(TOPICS), size=n, p=topic_popularity())[first_video]
    main = np.where(rng.random(n) < 0.15, rng.choice(len(TOPICS), size=n, p=topic_popularity()), of_creator)
    second = rng.choice(len(TOPICS), size=n, p=topic_popularity())
    mixture = np.full((n, len(TOPICS)), 0.02)
    mixture[np.arange(n), second] += np.where(rng.random(n) < 0.5, rng.uniform(0.2, 0.8, size=n), 0.0)
    mixture[np.arange(n), main] = 1.0
    return unit_rows(mixture), main
