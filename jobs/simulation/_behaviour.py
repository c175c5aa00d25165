"""What users do with what they are shown: clicks, watches, reactions, searches, and when each happens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.simulation._config import DAY_US, SECOND_US
from jobs.simulation._events import CODE, Events
from jobs.simulation._policy import Sessions, Shown
from jobs.simulation._preference import sigmoid
from jobs.simulation._text import draw_comments, draw_queries
from jobs.simulation._users import Users
from jobs.simulation._videos import Videos
from schemas import InteractionType

_LAST_CLICK_SECONDS = 470.0  # under the 8 minutes within which a click counts as an answer to the page
_LAST_ACTION_SECONDS = 590.0  # under the 10 minutes after which an impression's label is settled
_BELOW_HALF = 0.48  # an irrelevant watch ends before this share; relevant ones reach half


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each impression; arrays of one row an impression."""

    relevant: NDArray[np.bool_]
    clicked: NDArray[np.bool_]
    watched: NDArray[np.bool_]
    watch_seconds: NDArray[np.float64]
    """0 where not watched."""
    reactions: dict[InteractionType, NDArray[np.bool_]]
    """Like, dislike, share, save and comment."""

    @property
    def engaged(self) -> NDArray[np.bool_]:
        """Clicked or watched."""
        return self.clicked | self.watched


def draw_outcomes(
    probability: NDArray[np.float64],
    duration_seconds: NDArray[np.float64],
    clickbait: NDArray[np.float64],
    rng: np.random.Generator,
) -> Outcome:
    """What follows from each impression, so that it is relevant with its ``probability``.

    Relevant means liked or watched at least half, and not disliked; an impression is drawn relevant first, then actions are
    drawn that say so. A video of unknown duration has no watch fraction: there only a like can tell.
    """
    n = len(probability)
    relevant = rng.random(n) < probability
    irrelevant_click = sigmoid(-3.7 + 2.0 * clickbait + 0.25 * np.log(probability / 0.02))
    engaged = relevant | (rng.random(n) < irrelevant_click)
    bounced = engaged & ~relevant
    # One in twelve relevant videos is liked without having been watched to the half.
    short_like = relevant & ((rng.random(n) < 0.08) | (duration_seconds == 0))
    long_watch = relevant & ~short_like
    # Half of those who dislike after a click watched it to the end of their patience: the dislike overrules the watch.
    disliked = bounced & (rng.random(n) < 0.015) | (~engaged & (rng.random(n) < 0.0002))
    regretted = disliked & engaged & (rng.random(n) < 0.5)
    finished = rng.random(n) < 0.35
    upper = np.where(finished, rng.uniform(0.95, 1.05, size=n), 0.5 + 0.5 * rng.beta(1.2, 1.2, size=n))
    lower = _BELOW_HALF * rng.beta(1.0, 3.0, size=n)
    fraction = np.where(long_watch | regretted, upper, lower)
    length = np.where(duration_seconds > 0, duration_seconds, 60.0)
    seconds = np.where(long_watch | regretted, np.ceil(fraction * length * 1e3), np.floor(fraction * length * 1e3)) / 1e3
    watched = engaged & (relevant | regretted | (rng.random(n) < 0.93))
    clicked = engaged & ((rng.random(n) < 0.9) | ~watched)
    warm, cool = relevant, bounced & ~disliked
    reactions = {
        InteractionType.LIKE: short_like | (long_watch & (rng.random(n) < 0.22)),
        InteractionType.DISLIKE: disliked,
        InteractionType.SHARE: (warm & (rng.random(n) < 0.04)) | (cool & (rng.random(n) < 0.002)),
        InteractionType.SAVE: (warm & (rng.random(n) < 0.05)) | (cool & (rng.random(n) < 0.004)),
        InteractionType.COMMENT: (warm & (rng.random(n) < 0.03)) | (bounced & (rng.random(n) < 0.004)),
    }
    return Outcome(relevant, clicked, watched, np.where(watched, seconds, 0.0), reactions)


def impression_events(
    sessions: Sessions,
    shown: Shown,
    outcome: Outcome,
    *,
    users: Users,
    videos: Videos,
    per_request: int,
    first_serial: int,
    rng: np.random.Generator,
) -> Events:
    """The impressions of a day, in the order of ``shown``, then everything that was done with them."""
    n = len(shown.video)
    delay = np.clip(rng.lognormal(np.log(5.0), 1.0, size=n), 0.8, _LAST_CLICK_SECONDS)
    shown_us = _times_shown(sessions, shown, outcome, delay, rng)
    click_us = shown_us + _us(delay)
    begin_us = click_us + np.where(outcome.clicked, _us(rng.uniform(0.2, 1.5, size=n)), 0)
    page, position = np.divmod(shown.place, per_request)
    pages = np.diff(page, prepend=-1) != 0
    new_request = pages | (np.diff(shown.session, prepend=-1) != 0)
    request = first_serial + np.cumsum(new_request) - 1
    everything = np.arange(n)
    parts = [(InteractionType.IMPRESSION, everything, shown_us)]
    for kind, mask, at_us in (
        (InteractionType.CLICK, outcome.clicked, click_us),
        (InteractionType.WATCH, outcome.watched, begin_us),
    ):
        parts.append((kind, everything[mask], at_us[mask]))
    for kind, mask in outcome.reactions.items():
        rows = everything[mask]
        # During the watch or soon after it, but before the label is settled; without a watch, right after the impression.
        patience = rng.uniform(0.3, 1.0, size=len(rows)) * outcome.watch_seconds[rows] + rng.uniform(0.5, 4.0, size=len(rows))
        latest = (
            shown_us[rows] + _us(np.full(len(rows), _LAST_ACTION_SECONDS)) - rng.integers(0, 30 * SECOND_US, size=len(rows))
        )
        parts.append((kind, rows, np.minimum(begin_us[rows] + _us(patience), latest)))
    kind_of = np.concatenate([np.full(len(rows), CODE[kind]) for kind, rows, _ in parts])
    row = np.concatenate([rows for _, rows, _ in parts])
    session = shown.session[row]
    user, video = sessions.user[session], shown.video[row]
    text = np.full(len(row), None, object)
    comments = kind_of == CODE[InteractionType.COMMENT]
    text[comments] = draw_comments(users.language[user[comments]], videos.main_topic[video[comments]], rng)
    return Events(
        serial=first_serial + np.arange(len(row)),
        kind=kind_of,
        user=user,
        video=video,
        at_us=np.concatenate([at_us for _, _, at_us in parts]),
        watch_seconds=np.where(kind_of == CODE[InteractionType.WATCH], outcome.watch_seconds[row], np.nan),
        text=text,
        latitude=sessions.latitude[session],
        longitude=sessions.longitude[session],
        device=sessions.device[session],
        request=request[row],
        position=position[row],
    )


def search_events(
    sessions: Sessions, seen: NDArray[np.int64], *, users: Users, videos: Videos, first_serial: int, rng: np.random.Generator
) -> Events:
    """Searches of a day, and what was watched because of them: actions without an impression.

    Args:
        sessions: the visits; one in eight searches before it looks at the page.
        seen: ascending ``user * videos + video`` of what was shown that day or clicked ever; not chosen here, so that no
            action can be taken for the answer to an impression.
        users: the accounts.
        videos: the catalogue.
        first_serial: serial number of the first event.
        rng: chance.
    """
    session = np.flatnonzero(rng.random(len(sessions.user)) < 0.12)
    user, n = sessions.user[session], len(session)
    taste = np.maximum(users.taste[user], 1e-6) ** 2
    topic = (rng.random((n, 1)) * taste.sum(axis=1, keepdims=True) > taste.cumsum(axis=1)).sum(axis=1)
    topic = np.minimum(topic, taste.shape[1] - 1)
    search_us = sessions.start_us[session] - _us(rng.uniform(20.0, 60.0, size=n))
    today_us = sessions.start_us[session] // DAY_US * DAY_US  # yesterday's files are written
    search_us = np.maximum(search_us, np.maximum(users.registered_us[user], today_us))
    video = _find(topic, users.language[user], videos, rng)
    begin_us = search_us + _us(rng.uniform(3.0, 15.0, size=n))
    known = (videos.uploaded_us[video] < search_us) & (videos.removed_us[video] > begin_us)
    key = user * len(videos.ids) + video
    blocked = videos.blocked[video].any(axis=1)
    watched = (rng.random(n) < 0.6) & known & ~np.isin(key, seen) & ~blocked
    length = np.where(videos.duration_seconds[video] > 0, videos.duration_seconds[video], 60.0)
    fraction = np.where(rng.random(n) < 0.45, rng.uniform(0.5, 1.0, size=n), _BELOW_HALF * rng.random(n))
    row = np.concatenate([np.arange(n), np.flatnonzero(watched)])
    is_search = np.arange(len(row)) < n
    text = np.full(len(row), None, object)
    text[:n] = draw_queries(users.language[user], topic, rng)
    return Events(
        serial=first_serial + np.arange(len(row)),
        kind=np.where(is_search, CODE[InteractionType.SEARCH], CODE[InteractionType.WATCH]),
        user=user[row],
        video=np.where(is_search, -1, video[row]),
        at_us=np.where(is_search, search_us[row], begin_us[row]),
        watch_seconds=np.where(is_search, np.nan, np.ceil(fraction * length * 1e3)[row] / 1e3),
        text=text,
        latitude=sessions.latitude[session][row],
        longitude=sessions.longitude[session][row],
        device=sessions.device[session][row],
        request=np.full(len(row), -1),
        position=np.full(len(row), -1),
    )


def _times_shown(
    sessions: Sessions, shown: Shown, outcome: Outcome, delay: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """When each impression appears: after the last one was looked at, and watched if it was."""
    look = 0.5 + rng.exponential(2.5, size=len(delay))
    look += np.where(outcome.engaged, np.minimum(delay, 30.0) + np.minimum(outcome.watch_seconds, 240.0), 0.0)
    elapsed = np.concatenate([[0.0], look.cumsum()[:-1]]) if len(look) else look
    starts = np.diff(shown.session, prepend=-1) != 0
    base = elapsed[starts].repeat(np.diff(np.append(np.flatnonzero(starts), len(look)))) if len(look) else elapsed
    return sessions.start_us[shown.session] + _us(elapsed - base)


def _find(topic: NDArray[np.int64], language: NDArray[np.int64], videos: Videos, rng: np.random.Generator) -> NDArray[np.int64]:
    """A video a search, of its topic and language where there is one, in proportion to reach."""
    found = rng.integers(len(videos.ids), size=len(topic))
    group = topic * 100 + language
    catalogue = videos.main_topic * 100 + videos.language
    for value in np.unique(group):
        rows, offered = np.flatnonzero(group == value), np.flatnonzero(catalogue == value)
        if len(offered):
            weight = np.exp(videos.reach[offered].astype(float))
            found[rows] = rng.choice(offered, size=len(rows), p=weight / weight.sum())
    return found


def _us(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    return (seconds * SECOND_US).astype(np.int64)
