"""Random catalogues and users, in which everything that a generator or a component looks at occurs."""

import numpy as np

import conf
from models.recommend import Catalogue, Indexes, RecommendConfig, UserBatch, VideoFacts

COUNTRIES = ("DE", "FR")
LANGUAGES = ("de", "en")
PLACES = ("all", "country=DE", "country=FR")
SEGMENTS = ("new", "light", "heavy")


def config(**changes):
    base = conf.load("recommend", RecommendConfig).model_dump()
    return RecommendConfig.model_validate(base | changes)


def segments(**weights):
    """The segments that conf has, all with the same weights."""
    return [{**one, "weights": weights} for one in config().model_dump()["segments"]]


def normalised(vectors):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def facts(rng, n):
    return VideoFacts(
        creator=rng.integers(-1, 6, n),
        language=rng.integers(-1, 2, n),
        age_days=rng.integers(0, 9, n).astype(np.float32),
        impressions=rng.integers(0, 60, n).astype(np.float32),
        trend=rng.integers(-2, 4, n).astype(np.float32),
        misinformation=rng.random(n).astype(np.float32),
        clickbait=rng.random(n).astype(np.float32),
        sponsored=((rng.random(n) < 0.1) * 0.5).astype(np.float32),
        same_as=np.arange(n),
        content=(normalised(rng.standard_normal((n, 5))) * (rng.random((n, 1)) < 0.8)).astype(np.float32),
    )


def world(seed, n_videos, n_users, *, watched_share=0.3):
    """A random catalogue with removed, blocked, unknown and equal videos, and users of whom some are unknown to WALS."""
    rng = np.random.default_rng(seed)
    retrieval = normalised(rng.standard_normal((n_videos, 3)))
    retrieval[rng.random(n_videos) < 0.3] = retrieval[0]  # rare videos share one embedding
    catalogue = Catalogue(
        video_ids=np.sort(rng.choice(10**6, n_videos, replace=False)),
        popularity=rng.integers(0, 5, n_videos).astype(float),
        retrieval_vectors=retrieval,
        wals_vectors=(rng.standard_normal((n_videos, 2)) * (rng.random((n_videos, 1)) < 0.8)).astype(np.float32),
        ranker_vectors=rng.standard_normal((n_videos, 4)).astype(np.float32),
        eligible=rng.random(n_videos) < 0.9,
        countries=COUNTRIES,
        blocked=rng.random((2, n_videos)) < 0.15,
        languages=LANGUAGES,
        local_segments=PLACES,
        local=rng.integers(0, 5, (3, n_videos)).astype(np.float32),
        facts=facts(rng, n_videos),
    )
    watched = [rng.choice(n_videos, rng.binomial(n_videos, watched_share), replace=False) for _ in range(n_users)]
    users = UserBatch(
        user_ids=np.arange(n_users) + 500,
        retrieval=normalised(rng.standard_normal((n_users, 3))),
        wals=(rng.standard_normal((n_users, 2)) * (rng.random((n_users, 1)) < 0.7)).astype(np.float32),
        ranker=rng.standard_normal((n_users, 4)).astype(np.float32),
        content=(normalised(rng.standard_normal((n_users, 5))) * (rng.random((n_users, 1)) < 0.7)).astype(np.float32),
        country=rng.integers(-1, 2, n_users),
        language=rng.integers(-1, 2, n_users),
        local=rng.integers(0, 3, n_users),
        segment=rng.integers(0, len(SEGMENTS), n_users),
        watched_indptr=np.cumsum([0, *map(len, watched)]),
        watched=np.concatenate([*watched, np.array([], dtype=np.int64)]).astype(np.int64),
    )
    return catalogue, users


def indexes_of(catalogue):
    return Indexes.exact(catalogue, np.flatnonzero(catalogue.eligible))


def watched_of(users, user):
    return set(users.watched[users.watched_indptr[user] : users.watched_indptr[user + 1]].tolist())


def available(catalogue, users, user):
    country = users.country[user]
    return [
        video
        for video in range(len(catalogue.video_ids))
        if catalogue.eligible[video]
        and video not in watched_of(users, user)
        and not (country >= 0 and catalogue.blocked[country, video])
    ]
