"""Small pages for the tests of rules: written by hand, or drawn at random."""

import dataclasses

import numpy as np

from models.recommend._catalogue import Catalogue, UserBatch, VideoFacts
from models.recommend.rules import Page

COUNTRIES, LANGUAGES = ("DE", "FR"), ("de", "en", "fr")


def catalogue_of(n_videos, **changes):
    """A catalogue of which nothing is known but what is said, arrays or facts, by name."""
    facts = {field.name for field in dataclasses.fields(VideoFacts)}
    known = {name: np.asarray(changes.pop(name)) for name in list(changes) if name in facts}
    unknown = VideoFacts.unknown(n_videos)
    known = {name: values.astype(getattr(unknown, name).dtype) for name, values in known.items()}
    plain = {
        "video_ids": np.arange(n_videos) + 100, "popularity": np.zeros(n_videos), "eligible": np.ones(n_videos, dtype=bool),
        **{f"{name}_vectors": np.zeros((n_videos, 1), dtype=np.float32) for name in ("retrieval", "wals", "ranker")},
        "countries": COUNTRIES, "blocked": np.zeros((len(COUNTRIES), n_videos), dtype=bool), "languages": LANGUAGES,
        "local_segments": ("everybody",), "local": np.zeros((1, n_videos), dtype=np.float32),
    }  # fmt: skip
    return Catalogue(**plain | changes, facts=dataclasses.replace(unknown, **known))


def users_of(n_users, *, country=None, language=None, watched=()):
    """Users of whom nothing is known but what is said; ``watched`` is a list of positions for each."""
    watched = [*watched] or [[]] * n_users
    unknown = np.full(n_users, -1, dtype=np.int64)
    vectors = np.zeros((n_users, 1), dtype=np.float32)
    return UserBatch(
        user_ids=np.arange(n_users),
        retrieval=vectors, wals=vectors, ranker=vectors, content=vectors,
        country=unknown if country is None else np.array(country),
        language=unknown if language is None else np.array(language),
        local=np.zeros(n_users, dtype=np.int64),
        segment=np.zeros(n_users, dtype=np.int64),
        watched_indptr=np.cumsum([0, *map(len, watched)]),
        watched=np.array([video for some in watched for video in some], dtype=np.int64),
    )  # fmt: skip


def page_of(positions, scores=None, catalogue=None, users=None, **facts):
    """A page with one row a list of positions, scores falling by 1 unless told, and facts of the videos."""
    width = max(map(len, positions))
    padded = np.array([[*row, *[-1] * (width - len(row))] for row in positions], dtype=np.int64)
    if scores is None:
        scores = np.broadcast_to(np.arange(width, 0, -1.0), padded.shape)
    catalogue = catalogue or catalogue_of(int(padded.max(initial=0)) + 1, **facts)
    return Page(padded, np.where(padded >= 0, scores, -np.inf).astype(np.float32), catalogue, users or users_of(len(padded)))


def random_page(seed, *, n_users=4, n_videos=14, width=10):
    """Videos with every kind of fact, scores with ties, rows of any length, users of whom some are unknown."""
    rng = np.random.default_rng(seed)
    content = rng.integers(-1, 3, (n_videos, 3)).astype(float)
    content[rng.random(n_videos) < 0.2] = 0
    lengths = np.linalg.norm(content, axis=1, keepdims=True)
    same_as = np.arange(n_videos)
    copies = rng.random(n_videos) < 0.4
    same_as[copies] = rng.choice(np.flatnonzero(~copies), copies.sum()) if not copies.all() else same_as[copies]
    catalogue = catalogue_of(
        n_videos,
        eligible=rng.random(n_videos) < 0.9, blocked=rng.random((2, n_videos)) < 0.15,
        creator=rng.integers(-1, 4, n_videos), language=rng.integers(-1, 3, n_videos), age_days=rng.exponential(100, n_videos),
        impressions=rng.integers(0, 50, n_videos), misinformation=rng.random(n_videos), clickbait=rng.random(n_videos),
        same_as=same_as, content=content / np.where(lengths > 0, lengths, 1),
    )  # fmt: skip
    rows = [rng.permutation(n_videos)[: rng.integers(0, width + 1)].tolist() for _ in range(n_users)]
    rows[0] = rng.permutation(n_videos)[:width].tolist()
    users = users_of(
        n_users,
        country=rng.integers(-1, 2, n_users), language=rng.integers(-1, 3, n_users),
        watched=[rng.permutation(n_videos)[: rng.integers(0, 5)].tolist() for _ in range(n_users)],
    )  # fmt: skip
    scores = -np.sort(-rng.integers(0, 8, (n_users, width)) / 4, axis=1)
    return page_of(rows, scores, catalogue, users)


def videos(page, order):
    """Positions of each row in an order, without the padding: lists."""
    return [[int(page.positions[row, column]) for column in some if column >= 0] for row, some in enumerate(order)]
