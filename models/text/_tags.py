"""Tags through CBOW: word2vec with the tag list of a video as a sentence, by gensim (https://radimrehurek.com/gensim).

A vector's first values are a hash of its tag (ADR 0012), not drawn by row as gensim does it: when 1,040 of 17,040 videos are
new, a tag's vector has a mean cosine of 0.97 to what it was, against 0.70.

CBOW gives all vectors a common part, which says nothing; it is taken away (Mu, Viswanath: All-but-the-top, ICLR 2018). On the
simulator's tags the mean cosine of two videos of different topics goes from 0.34 to 0.04, of the same topic from 0.77 to 0.65.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.hashing import hashed_uniform
from models.text._cache import space_of
from models.text._config import TagsConfig
from models.text._encoder import unit
from schemas.errors import ReelflowError

_LIBRARIES = ("gensim", "numpy", "scipy")
_LAYOUT = "1"  # raise the number when the same lists would get other bits


def training_space(config: TagsConfig, lists: Sequence[Sequence[str]]) -> str:
    """Where the cache keeps the vectors that these lists give: one place for each corpus and configuration."""
    corpus = hashlib.sha256()
    for tags in lists:
        corpus.update(json.dumps(tags).encode() + b"\n")
    return space_of((_LAYOUT, corpus.hexdigest(), config.model_dump_json()), _LIBRARIES)


def known_tags(lists: Sequence[Sequence[str]], min_count: int) -> list[str]:
    """The tags on at least ``min_count`` videos, in ascending order."""
    counts = Counter(tag for tags in lists for tag in tags)
    return sorted(tag for tag, count in counts.items() if count >= min_count)


def train_tags(config: TagsConfig, lists: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """Train CBOW on tag lists.

    Args:
        config: of the training.
        lists: normalised tags of each video, each tag once, in the creator's order. Their order is part of the input.

    Returns:
        The vectors of :func:`known_tags`, float32 ``(n, dim)``. The same lists give the same bits.

    Raises:
        ReelflowError: gensim is not installed.
    """
    known = known_tags(lists, config.min_count)
    if not known:
        return np.zeros((0, config.dim), dtype=np.float32)
    try:
        from gensim.models import Word2Vec  # type: ignore[import-untyped]
    except ImportError as error:
        raise ReelflowError(f"tags: {error}; run `make set-up`, which installs gensim") from error
    logging.getLogger("gensim").setLevel(logging.ERROR)  # it warns that a small catalogue is small
    model = Word2Vec(
        sg=0,
        vector_size=config.dim,
        window=config.window,
        shrink_windows=False,  # the first tag of a list says as much about the last as its neighbour does
        min_count=config.min_count,
        seed=config.seed,
        workers=1,  # with more, the order of their updates is chance
        hashfxn=_hash,  # Python's own differs from process to process
    )
    model.build_vocab(lists)
    model.wv.vectors[:] = hashed_uniform(_ids(model.wv.index_to_key), config.dim, config.seed) / config.dim
    model.train(lists, total_examples=len(lists), epochs=config.epochs)
    return _centred(model.wv.vectors[[model.wv.key_to_index[tag] for tag in known]])


def mean_vectors(lists: Sequence[Sequence[str]], known: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the vectors of each list's known tags at length 1, float32 ``(n, dim)``; 0 where no tag is known.

    Args:
        lists: normalised tags of each video.
        known: the tags that have vectors, in ascending order.
        vectors: theirs, float32 ``(n_tags, dim)``.
    """
    place = {tag: position for position, tag in enumerate(known)}
    found = [[place[tag] for tag in tags if tag in place] for tags in lists]
    sums = np.zeros((len(lists), vectors.shape[1]))
    rows = np.repeat(np.arange(len(lists)), [len(places) for places in found])
    places = np.fromiter((position for each in found for position in each), dtype=np.int64, count=len(rows))
    np.add.at(sums, rows, vectors[places].astype(np.float64))  # one after the other, in the order of the tags
    return unit(sums)


def _centred(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors without what all have in common, float32 ``(n, dim)``; a single one stays as it is."""
    common = vectors.astype(np.float64).mean(axis=0) if len(vectors) > 1 else 0.0
    centred: NDArray[np.float32] = (vectors - common).astype(np.float32)
    return centred


def _ids(tags: Sequence[str]) -> NDArray[np.int64]:
    """A number for each tag, int64 ``(n,)``."""
    first = (hashlib.sha256(tag.encode()).digest()[:8] for tag in tags)
    return np.array([int.from_bytes(digest, "little", signed=True) for digest in first], dtype=np.int64)


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())
