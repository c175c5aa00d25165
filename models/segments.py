"""Popularity by segment: what the people of a country, a language, a city or a device watch, as far as it is known (M1).

Segments are chains, each the parent of the next: everybody, ``country=DE``, ``country=DE|language=de``, and so on. A relevant
example weighs ``0.5 ** (age_days / half_life_days)`` and counts in every segment that its user belonged to then. A segment's
share of a video is that of its own examples mixed with its parent's, as if ``segment_prior_events`` more had been counted
at the parent's shares: the posterior mean of a hierarchical Dirichlet model (MacKay & Peto, "A hierarchical Dirichlet
language model", 1995). So a segment with few events is nearly its parent, and one with many stands on its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field, field_validator

from conf import Section
from models.ids import IdMap
from models.rows import one_chunk, rows_as_of
from schemas import columns as col
from schemas.errors import ReelflowError
from schemas.segments import ALL, SEPARATOR, parent_of

FORMAT_VERSION = 2
EVERYBODY = 0
"""Row of the segment of everybody."""

Kind = Literal["country", "language", "city", "device"]
Chain = tuple[Kind, ...]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_MICROS_PER_DAY = 86_400_000_000
_JSON = "popularity.json"
_ARRAYS = ("parents", "data", "indices", "indptr")


class PopularityConfig(Section):
    """Section ``popularity``."""

    chains: tuple[Chain, ...] = Field(min_length=1)
    """What divides users into segments: each kind divides those of the kinds before it. The baseline list of the evaluation
    follows the first chain."""
    segment_prior_events: float = Field(gt=0)
    """Decayed relevant examples that the parent's shares count for in a segment: a segment with as many of its own is half its
    own and half its parent's."""
    min_events: float = Field(ge=0)
    """Decayed relevant examples that a segment needs to be one; the users of a smaller one belong to its parent."""

    @field_validator("chains")
    @classmethod
    def _each_kind_once(cls, chains: tuple[Chain, ...]) -> tuple[Chain, ...]:
        for chain in chains:
            if not chain or len(set(chain)) < len(chain):
                raise ValueError(f"found the chain {list(chain)}, expected at least one kind, and each once")
        return chains


@dataclass(frozen=True, slots=True, eq=False)
class FittedPopularity:
    """Decayed relevant examples of each video, in each segment.

    Attributes:
        config: what it was fitted with.
        half_life_days: age at which an example weighs half.
        videos: the videos with a relevant example.
        segments: names; ``all`` first, the others ascending, so that a parent stands before its children.
        parents: int64 ``(n_segments,)`` row of each segment's parent; 0, everybody's, is its own.
        counts: float64 CSR ``(n_segments, n_videos)``.
    """

    config: PopularityConfig
    half_life_days: float
    videos: IdMap
    segments: tuple[str, ...]
    parents: Ints
    counts: sp.csr_matrix

    def scores(self, video_ids: Ints, rows: Ints | None = None) -> Floats:
        """How popular videos are in segments, float32 ``(n_segments, n)`` in the order asked; 0 for an unknown video.

        On the scale of everybody's decayed counts, whatever the segment's size. The result is dense, 4 bytes a cell: ask for
        some rows at a time where segments times videos are many.

        Args:
            video_ids: int64 ``(n,)``.
            rows: int64 of which segments; all of them by default.
        """
        wanted = np.arange(len(self.segments)) if rows is None else np.asarray(rows, dtype=np.int64)
        needed = self._with_ancestors(wanted)
        parents = np.searchsorted(needed, self.parents[needed])
        dense = self.videos.lookup(video_ids)
        places = np.flatnonzero(dense >= 0)
        own = self.counts[needed]
        events = np.asarray(own.sum(axis=1), dtype=np.float64).ravel()
        own, total, prior = own[:, dense[places]], float(self.counts[EVERYBODY].sum()), self.config.segment_prior_events
        found = np.zeros((len(needed), len(video_ids)), dtype=np.float32)
        for row, parent in enumerate(parents):
            cells = slice(own.indptr[row], own.indptr[row + 1])
            share = 1.0
            if needed[row] != EVERYBODY:
                share = total / (events[row] + prior)
                found[row] = found[parent] * np.float32(prior / (events[row] + prior))
            found[row, places[own.indices[cells]]] += own.data[cells] * share
        return found if np.array_equal(needed, wanted) else found[np.searchsorted(needed, wanted)]

    def row_of(self, users: pa.Table, chain: Sequence[str]) -> Ints:
        """The deepest segment of each user along a chain that is known: int64 ``(n_users,)``; 0 for everybody.

        A user whose country is not known is of no segment below a country.

        Args:
            users: with a column for each kind of the chain.
            chain: the beginning of one of ``config.chains``, or the whole of it.

        Raises:
            ReelflowError: no segments of such a chain were counted.
        """
        self._refuse_unless_counted(chain)
        distinct, of_user = _distinct(users, sorted(set(chain)))
        segments, deepest = pa.array(self.segments), np.zeros(distinct.num_rows, dtype=np.int64)
        for depth in range(1, len(chain) + 1):
            found = pc.index_in(_names(distinct, chain[:depth]), value_set=segments).fill_null(EVERYBODY).to_numpy()
            deepest = np.where(found > EVERYBODY, found, deepest)
        return np.asarray(deepest[of_user], dtype=np.int64)

    def rows_of_chain(self, chain: Sequence[str]) -> Ints:
        """Every known segment along a chain, without everybody's: int64 rows, ascending.

        Raises:
            ReelflowError: no segments of such a chain were counted.
        """
        self._refuse_unless_counted(chain)
        kinds = [tuple(part.partition("=")[0] for part in name.split(SEPARATOR)) for name in self.segments]
        return np.array([row for row, own in enumerate(kinds) if row and own == tuple(chain)[: len(own)]], dtype=np.int64)

    def save(self, directory: Path) -> None:
        """Write ``popularity.json`` and five ``.npy`` files into an existing directory."""
        facts = {
            "format_version": FORMAT_VERSION,
            "config": self.config.model_dump(mode="json"),
            "half_life_days": self.half_life_days,
            "segments": list(self.segments),
        }
        (directory / _JSON).write_text(json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        self.videos.save(directory / "videos.npy")
        arrays = (self.parents, self.counts.data, self.counts.indices, self.counts.indptr)
        for name, array in zip(_ARRAYS, arrays, strict=True):
            with (directory / f"{name}.npy").open("wb") as stream:
                np.save(stream, array, allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> FittedPopularity:
        """Read what :meth:`save` wrote.

        Raises:
            ReelflowError: a file is missing, of another format version, or does not match the others.
        """
        try:
            facts = json.loads((directory / _JSON).read_text(encoding="utf-8"))
            found = facts.get("format_version")
            if found != FORMAT_VERSION:
                raise ReelflowError(f"popularity {directory}: found format {found}, expected {FORMAT_VERSION}; train it again")
            parents, *cells = [np.load(directory / f"{name}.npy", allow_pickle=False) for name in _ARRAYS]
        except (OSError, ValueError) as error:
            raise ReelflowError(f"popularity {directory}: cannot be read ({error}); train it again") from error
        videos, segments = IdMap.load(directory / "videos.npy"), tuple(facts["segments"])
        shape = (len(cells[2]) - 1, int(cells[1].max(initial=-1)) + 1)
        if {len(parents), shape[0]} != {len(segments)} or shape[1] > len(videos):
            raise ReelflowError(
                f"popularity {directory}: found counts of {shape[1]} videos and {shape[0]} segments with {len(parents)} "
                f"parents, expected {len(videos)} and {len(segments)}; train it again"
            )
        counts = sp.csr_matrix(tuple(cells), shape=(len(segments), len(videos)))
        return cls(PopularityConfig.model_validate(facts["config"]), facts["half_life_days"], videos, segments, parents, counts)

    def _refuse_unless_counted(self, chain: Sequence[str]) -> None:
        if tuple(chain) not in set(_prefixes(self.config.chains)):
            known = "; ".join(", ".join(one) for one in self.config.chains)
            raise ReelflowError(
                f"popularity: found the chain {', '.join(chain)}, expected the beginning of one of: {known}; name it in "
                "popularity.chains and train WALS again"
            )

    def _with_ancestors(self, rows: Ints) -> Ints:
        """Rows and all that they descend from, ascending."""
        needed = np.unique(np.append(rows, EVERYBODY))
        while len(more := np.setdiff1d(self.parents[needed], needed)):
            needed = np.union1d(needed, more)
        return needed


def fit_popularity(
    config: PopularityConfig, examples: pa.Table, users: pa.Table, *, at: datetime, half_life_days: float
) -> FittedPopularity:
    """Count the relevant examples whose label was known at a moment, each in the segments that its user belonged to then.

    Args:
        config: section ``popularity``.
        examples: EXAMPLES of the look-back.
        users: USER_VERSIONS.
        at: the moment, with a time zone.
        half_life_days: age at which an example weighs half.
    """
    known = pc.less_equal(examples[col.KNOWN_AT], pa.scalar(at, pa.timestamp("us", tz="UTC")))
    relevant = examples.filter(pc.and_(known, pc.equal(examples[col.LABEL], 1)))
    age_days = (at.timestamp() * 1e6 - _micros(relevant[col.KNOWN_AT])) / _MICROS_PER_DAY
    weight = relevant[col.WEIGHT].to_numpy() * 0.5 ** (age_days / half_life_days)
    videos = IdMap.of(relevant[col.VIDEO_ID].to_numpy())
    video = videos.lookup(relevant[col.VIDEO_ID].to_numpy())
    people, person = _distinct(_then(relevant, users), sorted({kind for chain in config.chains for kind in chain}))
    by_people = sp.csr_matrix((weight, (person, video)), shape=(people.num_rows, len(videos)), dtype=np.float64)
    names, member = _memberships(people, config.chains)
    counts = (member @ by_people).tocsr()
    counts.sort_indices()
    kept = _large_enough(names, np.asarray(counts.sum(axis=1)).ravel(), config.min_events)
    segments = tuple(names[row] for row in kept)
    places = {name: row for row, name in enumerate(segments)}
    parents = np.array([places[parent_of(name) or ALL] for name in segments], dtype=np.int64)
    return FittedPopularity(config, half_life_days, videos, segments, parents, counts[kept])


def _then(examples: pa.Table, users: pa.Table) -> pa.Table:
    """What each example's user was at its time; the device is the example's own."""
    rows = rows_as_of(examples[col.USER_ID].to_numpy(), _micros(examples[col.OCCURRED_AT]), users, col.USER_ID)
    then = users.select([col.COUNTRY, col.LANGUAGE, col.CITY]).take(pa.array(rows, mask=rows < 0))
    return then.append_column(col.DEVICE, examples[col.DEVICE])


def _distinct(users: pa.Table, kinds: Sequence[str]) -> tuple[pa.Table, Ints]:
    """The distinct rows of some users, and which of them each user has.

    Names are made of those alone: a few thousand combinations stand for millions of users. A value that holds the separator of
    names becomes null: not known.
    """
    code, values = np.zeros(users.num_rows, dtype=np.int64), []
    for kind in kinds:
        coded = pc.dictionary_encode(one_chunk(users[kind]).cast(pa.string()))
        values.append(coded.dictionary)
        code = code * (len(coded.dictionary) + 1) + coded.indices.fill_null(-1).to_numpy(zero_copy_only=False) + 1
    distinct, of_user = np.unique(code, return_inverse=True)
    columns, rest = {}, distinct
    for kind, dictionary in zip(reversed(kinds), reversed(values), strict=True):
        rest, own = np.divmod(rest, len(dictionary) + 1)
        column = dictionary.take(pa.array(own - 1, mask=own == 0))
        columns[kind] = pc.if_else(pc.match_substring(column, SEPARATOR), pa.scalar(None, pa.string()), column)
    return pa.table(columns), of_user.reshape(-1).astype(np.int64)


def _names(people: pa.Table, kinds: Sequence[str]) -> pa.Array:
    """What the segment of each row is called; null where a value is not known."""
    parts = [pc.binary_join_element_wise(kind, one_chunk(people[kind]), "=") for kind in kinds]
    return pc.binary_join_element_wise(*parts, SEPARATOR)


def _memberships(people: pa.Table, chains: Sequence[Chain]) -> tuple[list[str], sp.csr_matrix]:
    """Names, ``all`` first and the others ascending, and which rows belong to each: ``(n_segments, n_people)``."""
    pairs = [(ALL, row) for row in range(people.num_rows)]
    for kinds in _prefixes(chains):
        pairs += [(name, row) for row, name in enumerate(_names(people, kinds).to_pylist()) if name is not None]
    names = [ALL, *sorted({name for name, _ in pairs} - {ALL})]
    places = {name: row for row, name in enumerate(names)}
    segments, rows = [places[name] for name, _ in pairs], [row for _, row in pairs]
    return names, sp.csr_matrix((np.ones(len(rows)), (segments, rows)), shape=(len(names), people.num_rows))


def _large_enough(names: Sequence[str], events: NDArray[np.float64], least: float) -> Ints:
    """Rows of everybody and of the segments with enough events whose ancestors have them too."""
    kept: dict[str, int] = {ALL: EVERYBODY}
    for row, name in enumerate(names):
        if row and events[row] >= least and parent_of(name) in kept:
            kept[name] = row
    return np.array(list(kept.values()), dtype=np.int64)


def _prefixes(chains: Sequence[Chain]) -> Iterator[Chain]:
    """Every beginning of every chain, once, in order."""
    yield from sorted({chain[:depth] for chain in chains for depth in range(1, len(chain) + 1)})


def _micros(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.cast(pa.int64()))
