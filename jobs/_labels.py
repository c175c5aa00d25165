"""Labels of interactions and the sampling of negatives: the rules of ``jobs.examples`` on Arrow tables, without an engine."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from conf import Section
from jobs._arrow import in_order_of_time, mask
from models.hashing import hashed_pairs, hashed_text
from schemas import EXAMPLES, InteractionType
from schemas import columns as col

COMPLETE = 0.95
"""Watched at least this much is watched to the end: credits are rarely watched."""
LABELLED = tuple(name for name in EXAMPLES.columns if name not in (col.SAMPLE_RATE, col.WEIGHT))
EVENT_COLUMNS = (
    col.EVENT_ID, col.USER_ID, col.VIDEO_ID, col.INTERACTION_TYPE, col.OCCURRED_AT, col.WATCH_SECONDS, col.DEVICE,
    col.POSITION, col.DURATION_SECONDS,
)  # fmt: skip
"""What the rules read of ``interactions``."""
_ACTIONS = tuple(kind.value for kind in InteractionType if kind not in (InteractionType.IMPRESSION, InteractionType.SEARCH))
_OWN = (col.EVENT_ID, col.USER_ID, col.VIDEO_ID, col.OCCURRED_AT, col.DEVICE, col.POSITION)

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class ExamplesConfig(Section):
    """Section ``examples``."""

    label_window_minutes: float = Field(gt=0, le=20)
    """W: an impression without click or watch within it is a missed recommendation (L2)."""
    relevant_watch_fraction: float = Field(gt=0, le=1)
    """Watched at least this much is relevant (L1)."""
    negative_sample_rate: float = Field(gt=0, le=1)
    """Share of the negatives that is kept (L3)."""
    sample_salt: str
    """Changes which negatives are kept."""

    @property
    def label_window(self) -> timedelta:
        """W as a time span."""
        return timedelta(minutes=self.label_window_minutes)


def sampled_examples(events: pa.Table, config: ExamplesConfig) -> pa.Table:
    """Label events and down-sample the negatives.

    98 of 100 impressions have no action of their user on their video. They are negatives, so they are sampled before anything
    else is done with them.

    Args:
        events: ``EVENT_COLUMNS`` of ``interactions``; the 2 W before the first wanted example must be among them.
        config: the rules.

    Returns:
        Rows of EXAMPLES in order of ``(occurred_at, event_id)``.
    """
    quiet, busy = _split(events)
    quiet = quiet.filter(pa.array(_drawn(quiet, config)))
    alone = _fold(quiet, np.arange(quiet.num_rows), config)
    return in_order_of_time(pa.concat_tables([sample(alone, config), sample(label(busy, config), config)]))


def label(events: pa.Table, config: ExamplesConfig) -> pa.Table:
    """All examples of the given events, labelled, none dropped.

    Args:
        events: ``EVENT_COLUMNS`` of ``interactions`` in any order.
        config: the rules.

    Returns:
        The columns of EXAMPLES without ``sample_rate`` and ``weight``, one row an example, in order of the pair and time.
    """
    events = events.filter(pc.is_in(events[col.INTERACTION_TYPE], pa.array([InteractionType.IMPRESSION.value, *_ACTIONS])))
    events = events.append_column("_rank", pa.array(np.where(_is(events, InteractionType.IMPRESSION), 0, 1).astype(np.int8)))
    order = [col.USER_ID, col.VIDEO_ID, col.OCCURRED_AT, "_rank", col.EVENT_ID]
    events = events.sort_by([(name, "ascending") for name in order]).combine_chunks()
    return _fold(events, _starts(events, config), config)


def _fold(events: pa.Table, starts: Ints, config: ExamplesConfig) -> pa.Table:
    """One labelled row for each run of events that begins at one of ``starts``."""
    own = events.select(_OWN).take(pa.array(starts))
    clicked = _any(events, starts, InteractionType.CLICK, InteractionType.WATCH)
    liked = _any(events, starts, InteractionType.LIKE)
    disliked = _any(events, starts, InteractionType.DISLIKE)
    shown = _is(events, InteractionType.IMPRESSION)[starts]
    seconds = _longest_watch(events, starts)
    duration = _floats(events[col.DURATION_SECONDS])[starts]
    measured = duration > 0
    fraction = np.minimum(1.0, np.divide(seconds, duration, out=np.zeros_like(seconds), where=measured))
    watched = measured & (fraction >= config.relevant_watch_fraction)
    known_at = pc.add(own[col.OCCURRED_AT], pa.scalar(config.label_window, pa.duration("us")))
    made = {
        **{name: own[name] for name in _OWN},
        col.EXPOSURE: pa.array(np.where(shown, "impression", "organic"), pa.string()),
        col.KNOWN_AT: known_at,
        col.CLICKED: pa.array(clicked),
        col.WATCH_SECONDS: pa.array(seconds),
        col.WATCH_FRACTION: pa.array(fraction, mask=~measured),
        col.COMPLETED: pa.array(measured & (fraction >= COMPLETE)),
        col.LIKED: pa.array(liked),
        col.SHARED: pa.array(_any(events, starts, InteractionType.SHARE, InteractionType.SAVE)),
        col.DISLIKED: pa.array(disliked),
        col.MISSED: pa.array(shown & ~clicked),
        col.LABEL: pa.array(((liked | watched) & ~disliked).astype(np.int32)),
    }
    schema = pa.schema([EXAMPLES.field(name).arrow for name in LABELLED])
    return pa.table({name: made[name] for name in LABELLED}).cast(schema)


def sample(examples: pa.Table, config: ExamplesConfig) -> pa.Table:
    """Down-sample negatives by a hash of their id, which no re-run and no order of the rows changes (L3).

    Positives and dislikes are all kept. Returns the columns of EXAMPLES, the rows in their order.
    """
    always = (examples[col.LABEL].to_numpy() == 1) | mask(examples[col.DISLIKED])
    kept = always | _drawn(examples, config)
    rate = np.where(always, 1.0, config.negative_sample_rate)[kept]
    rows = examples.filter(pa.array(kept))
    return rows.append_column(EXAMPLES.field(col.SAMPLE_RATE).arrow, pa.array(rate)).append_column(
        EXAMPLES.field(col.WEIGHT).arrow, pa.array(1.0 / rate)
    )


def _drawn(rows: pa.Table, config: ExamplesConfig) -> Mask:
    draw = hashed_text(rows[col.EVENT_ID], config.sample_salt) >> np.uint64(11)
    drawn: Mask = draw.astype(np.float64) / 2.0**53 < config.negative_sample_rate
    return drawn


def _split(events: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Impressions whose user did nothing with their video, and all other events but searches.

    Pairs are compared by a 64-bit hash: a collision only sends an impression to where pairs are compared in full.
    """
    acts = mask(pc.is_in(events[col.INTERACTION_TYPE], pa.array(_ACTIONS)))
    shown = _is(events, InteractionType.IMPRESSION)
    actions = events.filter(pa.array(acts))
    impressions = events.filter(pa.array(shown))
    answered = pc.is_in(pa.array(_pairs(impressions)), pc.unique(pa.array(_pairs(actions))))
    return impressions.filter(pc.invert(answered)), pa.concat_tables([impressions.filter(answered), actions])


def _pairs(rows: pa.Table) -> npt.NDArray[np.uint64]:
    return hashed_pairs(rows[col.USER_ID].to_numpy(), rows[col.VIDEO_ID].to_numpy())


def _starts(events: pa.Table, config: ExamplesConfig) -> Ints:
    """Where each example begins among events in order of user, video, time, impressions first.

    First an impression, or an action after W of silence; then any action that these leave more than W behind.
    """
    if not events.num_rows:
        return np.empty(0, dtype=np.int64)
    span = config.label_window // timedelta(microseconds=1)
    at = events[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
    user, video = events[col.USER_ID].to_numpy(), events[col.VIDEO_ID].to_numpy()
    new_pair = np.concatenate([[True], (user[1:] != user[:-1]) | (video[1:] != video[:-1])])
    silence = np.concatenate([[True], at[1:] > at[:-1] + span])
    start = _is(events, InteractionType.IMPRESSION) | new_pair | silence
    place = np.arange(len(at))
    anchor = np.maximum.accumulate(np.where(start, place, 0))
    found: Ints = np.flatnonzero(start | (at > at[anchor] + span))
    return found


def _any(events: pa.Table, starts: Ints, *kinds: InteractionType) -> Mask:
    """Whether an example has an event of one of the kinds."""
    return np.logical_or.reduceat(_is(events, *kinds), starts) if len(starts) else np.empty(0, dtype=bool)


def _longest_watch(events: pa.Table, starts: Ints) -> Floats:
    if not len(starts):
        return np.empty(0)
    seconds = np.where(_is(events, InteractionType.WATCH), _floats(events[col.WATCH_SECONDS]), np.nan)
    longest: Floats = np.nan_to_num(np.fmax.reduceat(seconds, starts), nan=0.0)
    return longest


def _is(events: pa.Table, *kinds: InteractionType) -> Mask:
    found: Mask = pc.is_in(events[col.INTERACTION_TYPE], pa.array([kind.value for kind in kinds])).to_numpy(
        zero_copy_only=False
    )
    return found


def _floats(column: pa.ChunkedArray) -> Floats:
    """Numbers, NaN for null."""
    found: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found
