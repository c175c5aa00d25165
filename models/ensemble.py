"""The three models that rank together, and the arrays that the recommend core needs from them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.facts import mean_content, video_facts
from models.ids import IdMap
from models.recommend import Catalogue, CatalogueConfig, RecommendConfig, UserBatch, VideoFacts
from models.rows import one_chunk
from models.segments import EVERYBODY, FittedPopularity
from models.towers import FittedRanker, FittedRetrieval
from models.wals import FittedWals
from schemas import columns as col
from schemas.errors import ReelflowError

POPULARITY = "popularity"
"""Where the popularity by segment lies, below each WALS model."""

_ARRAYS = ("video_ids", "popularity", "retrieval_vectors", "wals_vectors", "ranker_vectors", "eligible", "blocked", "local")
_FACTS = tuple(field.name for field in fields(VideoFacts))
_NAMES = ("countries", "languages", "local_segments")
_JSON = "names.json"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The models of one ``as_of``."""

    wals: FittedWals
    retrieval: FittedRetrieval
    ranker: FittedRanker
    popularity: FittedPopularity

    @staticmethod
    def load(wals: Path, towers: Path) -> Ensemble:
        """Read the models from the directories that the training stages wrote."""
        return Ensemble(
            FittedWals.load(wals),
            FittedRetrieval.load(towers / "retrieval"),
            FittedRanker.load(towers / "ranker"),
            FittedPopularity.load(wals / POPULARITY),
        )

    def catalogue(self, config: CatalogueConfig, videos: pa.Table, at: datetime) -> Catalogue:
        """Every video's vectors and facts at a moment, in ascending order of the id.

        Args:
            config: section ``recommend.catalogue``.
            videos: VIDEO_FEATURES with VIDEO_TEXT.
            at: when the recommendations will be shown.
        """
        videos = videos.sort_by(col.VIDEO_ID)
        ids = videos[col.VIDEO_ID].to_numpy()
        countries, blocked = _blocked(videos[col.BLOCKED_COUNTRIES].combine_chunks())
        local = self._local_rows(config)
        languages = tuple(sorted(pc.unique(videos[col.LANGUAGE]).drop_null().to_pylist()))
        return Catalogue(
            video_ids=ids,
            popularity=videos[col.POPULARITY].to_numpy().copy(),
            retrieval_vectors=self.retrieval.video_vectors(ids),
            wals_vectors=self.wals.video_vectors(ids),
            ranker_vectors=self.ranker.video_vectors(videos, at),
            eligible=~videos[col.REMOVED].to_numpy(zero_copy_only=False),
            countries=countries,
            blocked=blocked,
            languages=languages,
            local_segments=tuple(self.popularity.segments[row] for row in local),
            local=self.popularity.scores(ids, local),
            facts=video_facts(config, videos, languages, at),
        )

    def users(
        self, config: RecommendConfig, users: pa.Table, queries: pa.Table, catalogue: Catalogue, at: datetime
    ) -> UserBatch:
        """The vectors of some users at a moment, and what each has watched.

        Args:
            config: segments, what is local, and how many liked videos count.
            users: USER_FEATURES, in the order wanted.
            queries: QUERY_TEXT.
            catalogue: gives positions to videos and countries.
            at: when the recommendations will be shown.
        """
        ids = users[col.USER_ID].to_numpy()
        deepest = self.popularity.row_of(users, config.catalogue.local_chain)
        rows = {name: row for row, name in enumerate(catalogue.local_segments)}
        places = np.array([rows.get(name, EVERYBODY) for name in self.popularity.segments], dtype=np.int64)
        indptr, watched = watched_positions(users[col.WATCHED], catalogue.video_ids)
        return UserBatch(
            user_ids=ids,
            retrieval=self.retrieval.user_vectors(users, queries, at),
            wals=self.wals.user_vectors(ids),
            ranker=self.ranker.user_vectors(users, queries, at),
            content=_taste(users, catalogue, config.similar_history),
            country=catalogue.country_index(users[col.COUNTRY].to_pylist()),
            language=catalogue.language_index(users[col.LANGUAGE].to_pylist()),
            local=places[deepest],
            segment=config.segment_of(users),
            watched_indptr=indptr,
            watched=watched,
        )

    def _local_rows(self, config: CatalogueConfig) -> npt.NDArray[np.int64]:
        """Rows of ``popularity`` that are local segments, everybody's first."""
        return np.append(EVERYBODY, self.popularity.rows_of_chain(config.local_chain))


def indexable(catalogue: Catalogue, retrieval: FittedRetrieval) -> npt.NDArray[np.int64]:
    """Positions of the videos that the retrieval index holds: eligible, and seen in training (n,).

    Videos that training did not see share one vector; retrieval cannot tell them apart and must not propose them.
    """
    return np.flatnonzero(catalogue.eligible & retrieval.known_videos(catalogue.video_ids))


def save_catalogue(catalogue: Catalogue, directory: Path) -> None:
    """Write a catalogue as one array a file, so that workers can map the same pages."""
    directory.mkdir(parents=True, exist_ok=True)
    for owner, names in ((catalogue, _ARRAYS), (catalogue.facts, _FACTS)):
        for name in names:
            np.save(directory / f"{name}.npy", np.ascontiguousarray(getattr(owner, name)), allow_pickle=False)
    text = json.dumps({name: getattr(catalogue, name) for name in _NAMES}, ensure_ascii=False)
    (directory / _JSON).write_text(text + "\n", encoding="utf-8")


def load_catalogue(directory: Path) -> Catalogue:
    """Map a catalogue that ``save_catalogue`` wrote.

    Raises:
        ReelflowError: a file is missing.
    """
    try:
        arrays = {name: np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in (*_ARRAYS, *_FACTS)}
        names = json.loads((directory / _JSON).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReelflowError(f"catalogue {directory}: found no {error.filename}; run the index stage again") from error
    facts = VideoFacts(**{name: arrays.pop(name) for name in _FACTS})
    countries, languages, local_segments = (tuple(names[name]) for name in _NAMES)
    return Catalogue(**arrays, countries=countries, languages=languages, local_segments=local_segments, facts=facts)


def _taste(users: pa.Table, catalogue: Catalogue, length: int) -> npt.NDArray[np.float32]:
    """Mean content of what each user liked last; of what a user watched last who liked nothing."""
    content, ids = catalogue.facts.content, IdMap(catalogue.video_ids)

    def of(name: str) -> npt.NDArray[np.float32]:
        lists = one_chunk(users[name])
        return mean_content(lists, ids.lookup(pc.list_flatten(lists).to_numpy()), content, length)

    liked = of(col.LIKED_HISTORY)
    return np.where(liked.any(axis=1, keepdims=True), liked, of(col.WATCHED_HISTORY))


def _blocked(lists: pa.ListArray) -> tuple[tuple[str, ...], npt.NDArray[np.bool_]]:
    """Countries that block anything, ascending, and a mask (n_countries, n_videos)."""
    rows = pc.list_parent_indices(lists).to_numpy()
    names = pc.list_flatten(lists)
    countries = sorted(pc.unique(names).drop_null().to_pylist())
    mask = np.zeros((len(countries), len(lists)), dtype=bool)
    if countries:
        codes = pc.index_in(names, pa.array(countries)).to_numpy()
        mask[codes, rows] = True
    return tuple(countries), mask


def watched_positions(
    lists: pa.ChunkedArray, video_ids: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Watched videos as (indptr, positions); those that left the catalogue are dropped."""
    flat = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    rows = pc.list_parent_indices(flat).to_numpy()
    positions = IdMap(video_ids).lookup(pc.list_flatten(flat).to_numpy())
    known = positions >= 0
    counts = np.bincount(rows[known], minlength=len(flat))
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return indptr, positions[known]
