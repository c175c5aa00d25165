"""Minimum functional tests (G3): what any model worth deploying does, declared in ``gate.functional``.

Each is a section of the configuration that can be called with the candidate's models and the rows of its day, and answers with
a :class:`Check`. Planted users and videos are real rows with some columns changed, so that a check asks for one thing only.
Lists are taken before the rules: a rule that mends a broken model must not hide it. Only ``never_shown`` is about all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from conf import Section
from models.gate._probes import plant
from models.gate._scene import Scene, eligible, with_columns
from models.gate._verdict import Check, absent, at_least, at_most
from models.ids import IdMap
from models.recommend import Component
from models.rows import one_chunk
from schemas import columns as col

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class SameContent(Section):
    """Videos of one title and tag set lie close: by content, and by the ranker, whatever else differs.

    A planted video has the title, tags and language of one real video, and all else of another. It must lie nearer to the
    former than two random videos of one language lie to each other: the share of such comparisons that it wins is the area
    under the curve, one half by chance.
    """

    check: Literal["same_content"]
    min_auc: float = Field(gt=0.5, le=1)
    """Share of comparisons won, at least, by each of both representations."""
    videos: int = Field(ge=10)
    """Planted videos."""
    needed: bool
    """Whether a catalogue without titles and tags is refused."""

    def __call__(self, scene: Scene) -> Check:
        name = f"functional:{self.check}"
        videos = scene.videos
        texts = [column for column in (col.TITLE_VECTOR, col.TAGS_VECTOR) if column in videos.column_names]
        known = np.ones(videos.num_rows, dtype=bool)
        for column in texts:
            known &= np.asarray(one_chunk(videos[column]).is_valid())
        positions = np.flatnonzero(known & eligible(scene))
        if not texts or len(positions) < 4 * self.videos:
            return absent(name, self.needed, f"{len(positions)} videos with title and tags, expected {4 * self.videos}")
        drawn = scene.rng(self.check).permutation(positions)[: 4 * self.videos].reshape(4, self.videos)
        text_of, rest_of, one, other = drawn
        donor = videos.take(pa.array(text_of))
        planted = with_columns(
            videos.take(pa.array(rest_of)),
            {
                col.VIDEO_ID: _new_video_ids(scene, self.videos),
                **{column: donor[column] for column in (*texts, col.LANGUAGE)},
            },
        )
        # All the rest of the catalogue stays: what content is pressed into depends on it.
        whole = pa.concat_tables([videos, planted])
        catalogue = scene.models.catalogue(scene.ranking.catalogue, whole, scene.at)
        mine = np.arange(videos.num_rows, videos.num_rows + self.videos)
        alike = catalogue.facts.language[one] == catalogue.facts.language[other]
        won = {}
        for kind, vectors in (("content", catalogue.facts.content), ("ranker", catalogue.ranker_vectors)):
            near, far = _cosine(vectors, mine, text_of), _cosine(vectors, one, other)
            far = far[alike] if alike.sum() >= 10 else far
            won[kind] = float((near[:, None] > far).mean() + 0.5 * (near[:, None] == far).mean())
        said = ", ".join(f"{kind} {value:.3f}" for kind, value in won.items())
        return at_least(
            name, min(won.values()), self.min_auc, f"{self.videos} planted videos of a known title and tags against pairs of "
            f"random videos, area under the curve: {said}",
            "text does not reach the models: compare video_text with yesterday's",
        )  # fmt: skip


class _Taste(Section):
    """Users who are planted in groups, and liked the videos of their group only, get such videos."""

    top: int = Field(ge=1)
    """Places that count."""
    users: int = Field(ge=1)
    """Planted users of each group."""
    history: int = Field(ge=1)
    """Videos that each of them liked."""
    min_videos: int = Field(ge=2)
    """A group with fewer videos that may be shown is left out."""
    needed: bool
    """Whether a platform that has no such groups is refused."""

    def shares(self, scene: Scene, of_group: Sequence[Mask], rows: Ints, histories: Sequence[Ints]) -> list[float]:
        """Share of the first ``top`` places that go to the own group, the mean over its users.

        Args:
            scene: the candidate.
            of_group: bool ``(n_videos,)`` for each group.
            rows: int64 ``(n_groups * users,)`` of the users who lend their attributes, group by group.
            histories: positions of the videos that each of these liked.
        """
        ids = scene.videos[col.VIDEO_ID].to_numpy()
        planted, users = plant(scene, scene.users.take(pa.array(rows)), [ids[own] for own in histories])
        shown = planted.lists(users, self.top).positions.reshape(len(of_group), self.users, -1)
        found = (own[np.maximum(places, 0)] & (places >= 0) for own, places in zip(of_group, shown, strict=True))
        return [float(own.mean()) for own in found]


class OneLanguage(_Taste):
    """A user of one language gets mostly that language: planted users who liked videos of their own language only."""

    check: Literal["one_language"]
    min_share: float = Field(gt=0, le=1)
    """Share of the first ``top`` places in the user's language, the mean over its users, in the worst language."""

    def __call__(self, scene: Scene) -> Check:
        name = f"functional:{self.check}"
        of_videos = np.array(one_chunk(scene.videos[col.LANGUAGE]).to_pylist(), dtype=object)
        of_users = np.array(one_chunk(scene.users[col.LANGUAGE]).to_pylist(), dtype=object)
        good, liked = eligible(scene), _liked(scene)
        sizes = Counter(of_videos[good & (of_videos != None)].tolist())  # noqa: E711
        people = set(of_users[of_users != None].tolist())  # noqa: E711
        languages = sorted(value for value, size in sizes.items() if size >= self.min_videos and value in people)
        if len(languages) < 2:
            return absent(name, self.needed, f"{len(languages)} languages with {self.min_videos} videos and a user")
        rng = scene.rng(self.check)
        histories, rows, of_language = [], [], [of_videos == value for value in languages]
        for value, mask in zip(languages, of_language, strict=True):
            rows.append(rng.choice(np.flatnonzero(of_users == value), self.users))
            own = np.flatnonzero(good & mask)
            # What somebody liked before anything else: a platform's history is made of such.
            own = np.concatenate([rng.permutation(own[liked[own]]), rng.permutation(own[~liked[own]])])
            own = own[: max(self.history * 4, int(liked[own].sum()))]
            histories += [rng.choice(own, min(self.history, len(own)), replace=False) for _ in range(self.users)]
        shares = dict(zip(languages, self.shares(scene, of_language, np.concatenate(rows), histories), strict=True))
        worst = min(shares, key=lambda value: (shares[value], value))
        said = ", ".join(f"{value} {share:.2f}" for value, share in shares.items())
        return at_least(
            name, shares[worst], self.min_share, f"share of their own language in the first {self.top} places of "
            f"{self.users} planted users each: {said}", f"look at the examples and the text of {worst!r}",
        )  # fmt: skip


class OneTopic(_Taste):
    """A user who only likes one topic gets it: planted users who liked videos of one tag."""

    check: Literal["one_topic"]
    min_lift: float = Field(gt=1)
    """Share of the tag in the first ``top`` places over its share of the catalogue, over all planted users."""
    topics: int = Field(ge=1)
    """Most frequent tags that are asked for."""

    def __call__(self, scene: Scene) -> Check:
        name = f"functional:{self.check}"
        has = topics(scene, self.topics, self.min_videos)
        if not has or not scene.users.num_rows:
            return absent(name, self.needed, f"no tag on {self.min_videos} videos")
        picked, histories = likers(scene, has, self.users, self.history, scene.rng(self.check))
        found = self.shares(scene, list(has.values()), picked, histories)
        base = np.array([mask[eligible(scene)].mean() for mask in has.values()])
        lift = float(np.mean(found) / base.mean())
        said = ", ".join(f"{tag} {share / rate:.1f}" for tag, share, rate in zip(has, found, base, strict=True))
        return at_least(
            name, lift, self.min_lift, f"the tag that planted users liked is {lift:.2f} times as frequent in their first "
            f"{self.top} places as in the catalogue ({said})", "likes do not steer the lists: look at histories and WALS",
        )  # fmt: skip


class Unloved(Section):
    """A video without likes and with a dead trend does not rise: some lose theirs, and must not score higher for it."""

    check: Literal["unloved"]
    max_rise: float = Field(ge=0)
    """Standard deviations by which their mean score may rise."""
    videos: int = Field(ge=2)
    """Most liked videos of the week, every other of which loses its likes and its trend."""
    users: int = Field(ge=1)
    needed: bool
    """Whether a platform on which nothing is liked is refused."""

    def __call__(self, scene: Scene) -> Check:
        name = f"functional:{self.check}"
        likes = scene.videos[col.LIKES].to_numpy() + scene.videos[col.LIKES_WEEK].to_numpy()
        order = np.argsort(-likes, kind="stable")
        chosen = np.sort(order[(likes[order] > 0) & eligible(scene)[order]][: self.videos])
        if len(chosen) < 2 or not scene.active.num_rows:
            return absent(name, self.needed, "fewer than two videos that anybody likes")
        rng = scene.rng(self.check)
        users = scene.active.take(pa.array(np.sort(rng.permutation(scene.active.num_rows)[: self.users])))
        dead = chosen[::2]
        changed = {}
        for column in _LOVE:
            values = scene.videos[column].to_numpy().copy()
            values[dead] = 0
            changed[column] = values
        before, after = scene.scores(users, chosen), scene.with_videos(**changed).scores(users, chosen)
        rise = float((after - before)[:, ::2].mean())
        return at_most(
            name, rise, self.max_rise, f"{len(dead)} videos that lose their likes and their trend move by {rise:+.3f} standard "
            f"deviations for {users.num_rows} users", "the ranker rewards what nobody likes: look at video_features",
        )  # fmt: skip


class NeverShown(Section):
    """What is removed, blocked in a user's country or already watched is never in a list: the best of it is planted."""

    check: Literal["never_shown"]
    users: int = Field(ge=1)
    top: int = Field(ge=1)
    """First places of each user whose videos are then removed, or blocked in the user's country."""

    def __call__(self, scene: Scene) -> Check:
        name = f"functional:{self.check}"
        rng = scene.rng(self.check)
        users = scene.active.take(pa.array(np.sort(rng.permutation(scene.active.num_rows)[: self.users])))
        if not users.num_rows:
            return Check(name, False, None, None, "no user who did anything: nobody to make a list for")
        k = scene.ranking.k
        first = scene.lists(users, k, rules=True).positions[:, : self.top]
        country = np.array(one_chunk(users[col.COUNTRY]).to_pylist(), dtype=object)
        removed = one_chunk(scene.videos[col.REMOVED]).to_numpy(zero_copy_only=False).copy()
        blocked = [set(values or ()) for values in scene.videos[col.BLOCKED_COUNTRIES].to_pylist()]
        for row, best in enumerate(first):
            for position in best[best >= 0]:
                if row % 2 and country[row] is not None:
                    blocked[position].add(country[row])
                else:
                    removed[position] = True
        planted = scene.with_videos(removed=removed, blocked_countries=[sorted(values) for values in blocked])
        shown = planted.lists(users, k, rules=True).positions
        at = np.maximum(shown, 0)
        there = np.array([[country[row] in blocked[position] for position in places] for row, places in enumerate(at)])
        watched = np.zeros(shown.shape, dtype=bool)
        for row, seen in enumerate(users[col.WATCHED].to_pylist()):
            watched[row] = np.isin(scene.videos[col.VIDEO_ID].to_numpy()[at[row]], seen or [])
        counts = {
            kind: int((mask & (shown >= 0)).sum())
            for kind, mask in (("removed", removed[at]), ("blocked", there), ("watched", watched))
        }
        said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        return at_most(
            name, float(sum(counts.values())), 0, f"in {len(shown)} lists of {k}, the best removed or blocked: {said}",
            "look at recommend.rules and at the catalogue",
        )  # fmt: skip


class KnowsRecent(Section):
    """What was watched lately is known: the models learned from this day's data, all of it.

    By construction the share is 1: whoever and whatever had a relevant example before ``as_of`` has a vector. Models of
    yesterday's data, of other ids, or of a part of the data do not know all of it.
    """

    check: Literal["knows_recent"]
    min_share: float = Field(gt=0, le=1)
    hours: float = Field(gt=0)
    """Before ``as_of``."""
    min_examples: int = Field(ge=1)
    """Relevant examples in these hours that a video needs to count; at least ``towers.min_count``."""

    def __call__(self, scene: Scene) -> Check:
        name = f"functional:{self.check}"
        late = pc.greater_equal(scene.examples[col.OCCURRED_AT], pa.scalar(scene.at - timedelta(hours=self.hours)))
        recent = scene.examples.filter(pc.and_(late, pc.equal(scene.examples[col.LABEL], 1)))
        users = np.unique(recent[col.USER_ID].to_numpy())
        ids, counts = np.unique(recent[col.VIDEO_ID].to_numpy(), return_counts=True)
        videos = ids[counts >= self.min_examples]
        if not len(users) or not len(videos):
            return absent(name, False, f"no video with {self.min_examples} relevant examples in the last {self.hours:g} hours")
        wals, retrieval = scene.models.wals, scene.models.retrieval
        shares = {
            "users by WALS": float(wals.user_vectors(users).any(axis=1).mean()),
            "videos by WALS": float(wals.video_vectors(videos).any(axis=1).mean()),
            "videos by retrieval": float(retrieval.known_videos(videos).mean()),
            "strangers by WALS": _strangers(scene),
        }
        said = ", ".join(f"{what} {share:.4f}" for what, share in shares.items())
        return at_least(
            name, min(shares.values()), self.min_share, f"share known of what was relevant in the last {self.hours:g} hours: "
            f"{said}", "the models are of other data than this day's: run training again",
        )  # fmt: skip


class OwnLikes(Section):
    """Each model scores what a user found relevant above what others did: a popularity-matched test of its vectors.

    For drawn users, the videos of their own relevant examples against as many of other users': the area under the curve, the
    mean over users, by each model alone. The others' videos are as popular as their own, so a model that only knows what is
    popular, or that took one user or video for another, reaches one half.
    """

    check: Literal["own_likes"]
    min_auc: dict[Component, float]
    """Least mean area under the curve, by model, where there is no incumbent to hold it to."""
    min_kept: float = Field(ge=0, le=1)
    """Least share of what the incumbent's area has above one half, on the same users and videos: how well users can be known
    differs from platform to platform, and is what the incumbent shows."""
    users: int = Field(ge=10)
    likes: int = Field(ge=1)
    """Newest relevant videos of a user that count."""

    def __call__(self, scene: Scene) -> Check:
        name = f"functional:{self.check}"
        liked = scene.examples.filter(pc.equal(scene.examples[col.LABEL], 1)).sort_by(
            [(col.OCCURRED_AT, "descending"), (col.USER_ID, "ascending"), (col.VIDEO_ID, "ascending")]
        )
        active = scene.active.filter(pc.is_in(scene.active[col.USER_ID], value_set=liked[col.USER_ID].combine_chunks()))
        users = active.take(pa.array(np.sort(scene.rng(self.check).permutation(active.num_rows)[: self.users])))
        if users.num_rows < 10:
            return absent(name, False, f"{users.num_rows} users with a relevant example")
        found, least = self._areas(scene, liked, users), dict(self.min_auc)
        if scene.incumbent is not None:
            live = self._areas(scene.with_models(scene.incumbent), liked, users)
            least = {model: 0.5 + self.min_kept * max(0.0, area - 0.5) for model, area in live.items()}
        worst = min(found, key=lambda model: found[model] - least[model])
        said = ", ".join(f"{model} {area:.3f} of {least[model]:.3f}" for model, area in found.items())
        return at_least(
            name, found[worst], least[worst], f"own relevant videos of {users.num_rows} users against those of others, "
            f"area under the curve: {said}", f"{worst} does not know its users: look at ids and at its training",
        )  # fmt: skip

    def _areas(self, scene: Scene, liked: pa.Table, users: pa.Table) -> dict[Component, float]:
        """Mean area under the curve by model, over users; the same draws whatever the models are."""
        rng, catalogue, batch = scene.rng(self.check), scene.catalogue, scene.batch(users)
        places = IdMap(catalogue.video_ids).lookup(liked[col.VIDEO_ID].to_numpy())
        people = liked[col.USER_ID].to_numpy()[places >= 0]
        places = places[places >= 0]
        won: dict[Component, list[float]] = {model: [] for model in self.min_auc}
        for row, user in enumerate(users[col.USER_ID].to_pylist()):
            mine = np.unique(places[people == user])
            own = np.array(list(dict.fromkeys(places[people == user].tolist()))[: self.likes], dtype=np.int64)
            others = rng.choice(places, 4 * len(own)) if len(own) else own
            others = others[~np.isin(others, mine)]
            for model, areas in won.items() if len(others) else ():
                vector, vectors = getattr(batch, model)[row], getattr(catalogue, f"{model}_vectors")
                near, far = vectors[own] @ vector, vectors[others] @ vector
                areas.append(float((near[:, None] > far).mean() + 0.5 * (near[:, None] == far).mean()))
        return {model: float(np.mean(areas)) if areas else 0.0 for model, areas in won.items()}


def topics(scene: Scene, most: int, min_videos: int) -> dict[str, npt.NDArray[np.bool_]]:
    """The most frequent tags of what may be shown, and which videos bear each, bool ``(n_videos,)``."""
    good = eligible(scene)
    counts = Counter(tag for tags, may in zip(scene.tags, good, strict=True) if may for tag in set(tags))
    named = sorted((tag for tag in counts if counts[tag] >= min_videos), key=lambda tag: (-counts[tag], tag))[:most]
    found = {tag: np.zeros(len(good), dtype=bool) for tag in named}
    for row, tags in enumerate(scene.tags):
        for tag in tags:
            if tag in found:
                found[tag][row] = True
    return found


def likers(
    scene: Scene, has: dict[str, npt.NDArray[np.bool_]], users: int, history: int, rng: np.random.Generator
) -> tuple[Ints, list[Ints]]:
    """Real users to lend their attributes, so many a tag, and positions of videos with it, of the user's language if enough."""
    spoken = np.array(one_chunk(scene.users[col.LANGUAGE]).to_pylist(), dtype=object)
    language = np.array(one_chunk(scene.videos[col.LANGUAGE]).to_pylist(), dtype=object)
    good, rows, histories = eligible(scene), [], []
    for mask in has.values():
        for row in rng.integers(scene.users.num_rows, size=users):
            own = np.flatnonzero(mask & good & (language == spoken[row]))
            own = own if len(own) >= 2 * history else np.flatnonzero(mask & good)
            rows.append(int(row))
            histories.append(rng.choice(own, min(history, len(own)), replace=False))
    return np.array(rows, dtype=np.int64), histories


_LOVE = (col.LIKES, col.LIKES_HOUR, col.LIKES_DAY, col.LIKES_WEEK, col.VIEWS_HOUR, col.VIEWS_DAY, col.VIEWS_WEEK)


def _strangers(scene: Scene) -> float:
    """1 if everybody whom WALS knows is in the examples, less the share of those who are not."""
    known = IdMap.of(scene.examples[col.USER_ID].to_numpy())
    ids = scene.models.wals.users.ids
    return float((known.lookup(ids) >= 0).mean()) if len(ids) else 0.0


def _liked(scene: Scene) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = scene.videos[col.RELEVANT].to_numpy() > 0
    return found


def _new_video_ids(scene: Scene, n: int) -> Ints:
    first = int(scene.videos[col.VIDEO_ID].to_numpy().max()) + 1
    return np.arange(first, first + n, dtype=np.int64)


def _cosine(vectors: npt.NDArray[np.float32], a: Ints, b: Ints) -> npt.NDArray[np.float64]:
    x, y = vectors[a].astype(np.float64), vectors[b].astype(np.float64)
    size = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    found: npt.NDArray[np.float64] = np.divide((x * y).sum(axis=1), size, out=np.zeros(len(x)), where=size > 0)
    return found


FunctionalConfig = SameContent | OneLanguage | OneTopic | Unloved | NeverShown | KnowsRecent | OwnLikes
"""One entry of ``gate.functional``: the key ``check`` names it, the others are its parameters."""
