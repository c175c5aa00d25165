"""The logging policy: who visits when, and what the platform of that time showed them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.simulation._config import DAY_US, HOUR_US, SimulateConfig
from jobs.simulation._places import COUNTRIES, DEVICES, PLACES
from jobs.simulation._preference import Preferences
from jobs.simulation._users import Users, unit_rows
from jobs.simulation._videos import Videos
from jobs.simulation._words import LANGUAGES, TOPICS

_BLOCK = 256  # users at once: 256 x 16,000 candidates are 16 MB a matrix
# Share of visits by local hour, from midnight: low at night, a bump at noon, the peak in the evening.
_DIURNAL = np.array([3, 2, 1, 1, 1, 1, 2, 4, 5, 5, 5, 6, 8, 7, 6, 6, 6, 7, 9, 11, 13, 13, 10, 6], float)
_MAX_SESSIONS = 12


@dataclass(frozen=True, slots=True)
class Sessions:
    """The visits of a day; arrays of one row a visit, visits of one user adjacent and in order of time."""

    user: NDArray[np.int64]
    start_us: NDArray[np.int64]
    device: NDArray[np.int64]
    latitude: NDArray[np.float64]
    """NaN where the device does not tell."""
    longitude: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shown:
    """What was shown; arrays of one row an impression, in order of visit and place."""

    session: NDArray[np.int64]
    """Row of the sessions."""
    video: NDArray[np.int64]
    place: NDArray[np.int64]
    """Place within the visit, from 0."""


class Policy:
    """Shows a mixture of what it believes about a user, what is popular, and chance.

    It knows tastes only roughly, and nothing at all about who registered after the log began: those see what is popular.
    Removed, blocked and not yet uploaded videos are never shown, nor those that the user already clicked.
    """

    def __init__(
        self, config: SimulateConfig, users: Users, videos: Videos, truth: Preferences, rng: np.random.Generator
    ) -> None:
        self._config, self._users, self._videos, self._truth = config, users, videos, truth
        noise = 0.15 * rng.standard_normal(users.taste.shape)
        believed = unit_rows(np.maximum(users.taste + noise, 0.0) + 1e-3)
        believed[users.registered_us >= config.start_us] = users.taste.mean(axis=0)
        vectors = truth.user_vectors.copy()
        vectors[:, : len(TOPICS)] = config.taste.topic * believed
        vectors[:, len(TOPICS) : -len(LANGUAGES)] *= 0.5
        self._user_vectors = config.policy.personal * vectors
        self._appeal = config.policy.popularity * videos.reach + videos.sponsored_boost
        self._blocked_in = {country: np.flatnonzero(videos.blocked[:, at]) for at, country in enumerate(COUNTRIES)}

    def sessions(self, midnight_us: int, rng: np.random.Generator) -> Sessions:
        """Who visits on a day, when, and with what."""
        users = self._users
        registered = np.searchsorted(users.registered_us, midnight_us + DAY_US)
        visits = rng.poisson(self._config.sessions_per_user_day * users.activity[:registered])
        user = np.repeat(np.arange(registered), np.minimum(visits, _MAX_SESSIONS))
        offset = np.array([place.utc_offset_hours for place in PLACES])[users.place[user]]
        local = rng.choice(24, size=len(user), p=_DIURNAL / _DIURNAL.sum()) + rng.random(len(user))
        start_us = midnight_us + ((local - offset) % 24 * HOUR_US).astype(np.int64)
        order = np.lexsort((start_us, user))
        user, start_us = user[order], start_us[order]
        known = start_us > users.registered_us[user]
        user, start_us = user[known], start_us[known]
        device = (rng.random((len(user), 1)) > users.devices[user].cumsum(axis=1)).sum(axis=1)
        device = np.minimum(device, len(DEVICES) - 1)
        located = (rng.random(len(user)) < 0.4) & (DEVICES.index("tv") != device)
        home = np.array([(place.latitude, place.longitude) for place in PLACES])[users.place[user]]
        spot = np.where(located[:, None], np.round(home + 0.05 * rng.standard_normal(home.shape), 4), np.nan)
        return Sessions(user, start_us, device, spot[:, 0], spot[:, 1])

    def show(self, midnight_us: int, sessions: Sessions, clicked: NDArray[np.int64], rng: np.random.Generator) -> Shown:
        """What each visit of a day shows; no video twice to one user on one day.

        Args:
            midnight_us: start of the day.
            sessions: who visits.
            clicked: ascending ``user * videos + video`` of what was ever clicked; not shown again.
            rng: chance.
        """
        truth, videos = self._truth, self._videos
        live = np.flatnonzero((videos.uploaded_us < midnight_us + DAY_US) & (videos.removed_us > midnight_us + DAY_US))
        noon = np.full(len(videos.ids), midnight_us + DAY_US // 2)
        appeal = self._appeal + 0.5 * truth.momentum(np.arange(len(videos.ids)), noon)
        parts = [
            self._show_block(block, first, live=live, appeal=appeal, clicked=clicked, rng=rng)
            for first, block in _blocks(sessions.user, self._config)
        ]
        session, video, place = (np.concatenate([part[at] for part in parts] or [np.empty(0, np.int64)]) for at in range(3))
        uploaded = videos.uploaded_us[video] < sessions.start_us[session]
        session, video, place = session[uploaded], video[uploaded], place[uploaded]
        order = np.lexsort((place, session))
        session, video = session[order], video[order]
        return Shown(session, video, _rank_within(session))

    def _show_block(
        self,
        user: NDArray[np.int64],
        first: int,
        *,
        live: NDArray[np.int64],
        appeal: NDArray[np.float64],
        clicked: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Session rows, videos and places for the visits of a few users; ``user`` is one row a visit."""
        policy = self._config.policy
        if len(live) > policy.candidates:
            race = rng.standard_exponential(len(live)) / np.exp(0.5 * appeal[live])
            live = np.sort(live[np.argpartition(race, policy.candidates)[: policy.candidates]])
        people, visits = np.unique(user, return_counts=True)
        score = self._user_vectors[people] @ self._truth.video_vectors[live].T + appeal[live].astype(np.float32)
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        weight *= (1.0 - policy.exploration) / weight.sum(axis=1, keepdims=True)
        weight += policy.exploration / len(live)
        weight[self._forbidden(people, live, clicked)] = 1e-30
        # The smallest of Exp(1) / weight draws without replacement in proportion to the weights.
        race = rng.standard_exponential(weight.shape, dtype=np.float32) / weight
        wanted = np.minimum(visits * self._config.impressions_per_session, len(live) // 2)
        most = int(wanted.max())
        best = np.argpartition(race, most, axis=1)[:, :most]
        best = np.take_along_axis(best, np.take_along_axis(race, best, axis=1).argsort(axis=1), axis=1)
        person, rank = np.nonzero(np.arange(most) < wanted[:, None])
        begins = first + np.concatenate([[0], visits.cumsum()[:-1]])
        return begins[person] + rank % visits[person], live[best[person, rank]], rank // visits[person]

    def _forbidden(
        self, people: NDArray[np.int64], live: NDArray[np.int64], clicked: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the (people, live) matrix that must not be shown."""
        total = len(self._videos.ids)
        column = np.full(total, -1)
        column[live] = np.arange(len(live))
        low, high = np.searchsorted(clicked, people * total), np.searchsorted(clicked, (people + 1) * total)
        rows = [np.repeat(np.arange(len(people)), high - low)]
        columns = [column[clicked[low[0] : high[-1]][_inside(low, high)] % total]]
        countries = np.array([PLACES[place].country for place in self._users.place[people].tolist()])
        for country, videos in self._blocked_in.items():
            there = np.flatnonzero(countries == country)
            rows.append(np.repeat(there, len(videos)))
            columns.append(np.tile(column[videos], len(there)))
        row, at = np.concatenate(rows), np.concatenate(columns)
        return row[at >= 0], at[at >= 0]


def _inside(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of all ranges ``[low, high)``, counted from the first ``low``."""
    length = high - low
    return np.repeat(low - low[0] - np.concatenate([[0], length.cumsum()[:-1]]), length) + np.arange(length.sum())


def _blocks(user: NDArray[np.int64], config: SimulateConfig) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Runs of visits that hold at most ``_BLOCK`` users, with the row of their first visit."""
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    for at in range(0, len(starts), _BLOCK):
        first = int(starts[at])
        last = int(starts[at + _BLOCK]) if at + _BLOCK < len(starts) else len(user)
        yield first, user[first:last]


def _rank_within(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of each row within its run of equal values, from 0."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    lengths = np.diff(np.append(starts, len(group)))
    return np.arange(len(group)) - np.repeat(starts, lengths)
