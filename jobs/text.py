"""Titles, tags and search queries as vectors: titles and queries through a sentence encoder, tags through CBOW.

Reads ``video_versions`` of the last day and ``interactions`` of the look-back; writes ``video_text`` and ``query_text`` for the
last day. No text is encoded twice: vectors go into a cache (``text.cache``) in chunks, so a killed run loses one chunk at most.
See ``docs/text.md``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conf import home, load
from jobs import _stage
from jobs._recipe import CURRENT, MISSING, Recipe, code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit, after
from models.text import (
    Encoder,
    EncoderFiles,
    TagsConfig,
    TextConfig,
    VectorCache,
    find_encoder,
    known_tags,
    mean_vectors,
    normalised,
    normalised_tags,
    train_tags,
    training_space,
)
from schemas import INTERACTIONS, QUERY_TEXT, VIDEO_TEXT, VIDEO_VERSIONS, Table
from schemas import columns as col
from schemas.errors import ReelflowError

_CODE = ("jobs/text.py", "models/text", "models/hashing.py", "schemas")
_TABLES = ((VIDEO_TEXT, VIDEO_VERSIONS), (QUERY_TEXT, INTERACTIONS))
_ROWS_AT_ONCE = 65_536  # 100 MB of vectors of 384 numbers; Arrow's lists hold at most 2^31 numbers in one piece
_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """What the videos say, and said: rows of ``video_versions`` ``(n,)``, normalised titles or None, normalised tags."""

    versions: pa.Table
    """``video_id`` and ``valid_from``."""
    titles: Sequence[str | None]
    tags: Sequence[Sequence[str]]

    def newest_tags(self) -> list[Sequence[str]]:
        """The tags of each video as they are by now: what tags are learned from, so that a new title teaches nothing."""
        ids = self.versions[col.VIDEO_ID].to_numpy()
        newest = np.append(ids[1:] != ids[:-1], True)[: len(ids)]
        return [self.tags[place] for place in np.flatnonzero(newest).tolist()]


def run(context: Context) -> Report:
    """Bring the vectors of the last day's catalogue, and of the queries of the look-back, up to date."""
    config = load("text", TextConfig)
    encoder = find_encoder(config.encoder, home())
    today = Partition(context.last_day)
    recipes = {table: _recipe(context, config, encoder, table) for table, _ in _TABLES}
    if not context.force and all(context.lake.status(table, today, recipes[table]).current for table in recipes):
        return Report(up_to_date=True)
    catalogue, queries = _read_catalogue(context, config), _read_queries(context, config)
    texts = sorted({*queries, *(title for title in catalogue.titles if title is not None)})
    with VectorCache.open(home() / Path(config.cache).expanduser()) as cache:
        encoded = _encode(context, config, encoder, cache, texts)
        known, vectors, trained = _tag_vectors(context, config.tags, cache, catalogue.newest_tags())
        tags = mean_vectors(catalogue.tags, known, vectors)
        video_rows = _video_rows(cache, encoder, catalogue, tags)
        query_rows = _query_rows(cache, encoder, queries)
    for table, rows in ((VIDEO_TEXT, video_rows), (QUERY_TEXT, query_rows)):
        context.lake.write(table, today, rows, recipes[table])
    return Report(
        read={"video versions": catalogue.versions.num_rows, "queries": len(queries)},
        wrote={"video text": video_rows.num_rows, "query text": query_rows.num_rows},
        notes=[
            f"encoded {encoded:,} of {len(texts):,} texts",
            f"{len(known):,} tags {'trained' if trained else 'as before'}",
        ],
        facts={"texts": len(texts), "encoded": encoded, "tags": len(known), "tags_trained": trained},
    )


def plan(context: Context, pending: Pending) -> list[Unit]:
    """How the vectors of the last day stand."""
    config = load("text", TextConfig)
    encoder = find_encoder(config.encoder, home())
    today = Partition(context.last_day)
    units = []
    for table, read in _TABLES:
        if coming := list(pending.get(read.name, ())):
            known = MISSING if context.lake.manifest(table, today) is None else CURRENT
            status = after(known, read, coming)
        else:
            status = context.lake.status(table, today, _recipe(context, config, encoder, table))
        units.append(Unit(table.name, today, status))
    return units


def _recipe(context: Context, config: TextConfig, encoder: EncoderFiles, table: Table) -> Recipe:
    """What determines a table. Where the encoder and the cache lie, and how the work is cut, is no part of it."""
    today = Partition(context.last_day)
    parameters = {"max_characters": config.max_characters}
    if table is QUERY_TEXT:
        events = context.lake.digest(INTERACTIONS, context.lake.partitions(INTERACTIONS, context.window))
        return Recipe({INTERACTIONS.name: events, "encoder": encoder.digest}, code_version(*_CODE), parameters)
    if context.lake.manifest(VIDEO_VERSIONS, today) is None:
        raise ReelflowError(f"table {VIDEO_VERSIONS.name}: no partition {today.path}; run ingest as of {context.as_of} first")
    inputs = {VIDEO_VERSIONS.name: context.lake.digest(VIDEO_VERSIONS, [today]), "encoder": encoder.digest}
    return Recipe(inputs, code_version(*_CODE), {**parameters, "tags": config.tags.model_dump()})


def _read_catalogue(context: Context, config: TextConfig) -> _Catalogue:
    names = (col.VIDEO_ID, col.VALID_FROM, col.TITLE, col.TAGS)
    videos = context.lake.read(VIDEO_VERSIONS, [Partition(context.last_day)], names)
    titles = [normalised(title, config.max_characters) for title in videos[col.TITLE].to_pylist()]
    return _Catalogue(videos.select(names[:2]), titles, [normalised_tags(tags) for tags in videos[col.TAGS].to_pylist()])


def _read_queries(context: Context, config: TextConfig) -> list[str]:
    """The distinct queries of the look-back, normalised, ascending."""
    found: set[str | None] = set()
    for partition in context.lake.partitions(INTERACTIONS, context.window):
        queries = context.lake.read(INTERACTIONS, [partition], [col.QUERY])[col.QUERY]
        found.update(normalised(query, config.max_characters) for query in pc.unique(queries.drop_null()).to_pylist())
    return sorted(query for query in found if query is not None)


def _encode(context: Context, config: TextConfig, files: EncoderFiles, cache: VectorCache, texts: Sequence[str]) -> int:
    """Encode those of the texts that the cache does not hold, and put them there; returns how many."""
    if not cache.missing(files.space, texts):
        return 0
    with _alone(context, cache):
        missing = cache.missing(files.space, texts)  # less, if another run was waited for
        if not missing:
            return 0
        context.say(f"encoding {len(missing):,} of {len(texts):,} texts")
        encoder = Encoder.load(files, config.threads)
        done, started = 0, time.monotonic()
        said = started
        for some, vectors in encoder.encode(missing, config.chunk):
            cache.put(files.space, some, vectors)
            done += len(some)
            now = time.monotonic()
            if now - said >= _SECONDS_BETWEEN_LINES:
                context.say(f"{done:,} of {len(missing):,} texts encoded, {done / (now - started):,.0f} a second")
                said = now
    return done


def _alone(context: Context, cache: VectorCache) -> AbstractContextManager[None]:
    return cache.alone(lambda: context.say("another run fills the cache; waiting for it"))


def _tag_vectors(
    context: Context, config: TagsConfig, cache: VectorCache, lists: Sequence[Sequence[str]]
) -> tuple[list[str], NDArray[np.float32], bool]:
    """The known tags, their vectors float32 ``(n, dim)``, and whether they had to be trained: once for each corpus."""
    known = known_tags(lists, config.min_count)
    corpus = [tags for tags in lists if tags]
    space = training_space(config, corpus)
    trained = False
    if cache.missing(space, known):
        with _alone(context, cache):
            if trained := bool(cache.missing(space, known)):
                context.say(f"training {len(known):,} tags on {len(corpus):,} tag lists")
                cache.put(space, known, train_tags(config, corpus))
    return known, cache.get(space, known), trained


def _video_rows(cache: VectorCache, encoder: EncoderFiles, catalogue: _Catalogue, tags: NDArray[np.float32]) -> pa.Table:
    """The rows of ``video_text``."""
    parts = [VIDEO_TEXT.arrow.empty_table()]
    for start in range(0, catalogue.versions.num_rows, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        titles = catalogue.titles[part]
        distinct = sorted({title for title in titles if title is not None})
        place = {title: position for position, title in enumerate(distinct)}
        places = np.array([-1 if title is None else place[title] for title in titles])
        own = catalogue.versions.slice(start, len(titles)).combine_chunks().columns
        columns = [*own, _lists(cache.get(encoder.space, distinct), places), _lists(tags[part])]
        parts.append(pa.table(columns, schema=VIDEO_TEXT.arrow))
    return pa.concat_tables(parts)


def _query_rows(cache: VectorCache, encoder: EncoderFiles, queries: Sequence[str]) -> pa.Table:
    """The rows of ``query_text``."""
    parts = [QUERY_TEXT.arrow.empty_table()]
    for start in range(0, len(queries), _ROWS_AT_ONCE):
        some = queries[start : start + _ROWS_AT_ONCE]
        parts.append(pa.table([pa.array(some), _lists(cache.get(encoder.space, some))], schema=QUERY_TEXT.arrow))
    return pa.concat_tables(parts)


def _lists(vectors: NDArray[np.float32], places: NDArray[np.int64] | None = None) -> pa.Array:
    """Vectors as Arrow lists; null where a vector is 0.

    Args:
        vectors: float32 ``(n, dim)``.
        places: int64 ``(m,)``, which of them come in which order, -1 for null; without it all, as they are.
    """
    places = np.arange(len(vectors)) if places is None else places
    present = places >= 0
    present[present] = np.any(vectors != 0, axis=1, keepdims=True)[places[present], 0]
    offsets = np.concatenate([[0], np.cumsum(np.where(present, vectors.shape[1], 0))]).astype(np.int32)
    values = pa.array(vectors[places[present]].ravel())
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(~present))


def main() -> None:
    """Command line: ``python -m jobs.text --as-of ISO`` or ``--start ISO --end ISO``."""
    _stage.main("text", run, __doc__)


if __name__ == "__main__":
    main()
