"""Titles, tags, queries and comments, composed of the words of a topic in a language."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.simulation._words import COMMENTS, LANGUAGES, TITLES, TOPICS, WORDS

_WORD_SHARES = (0.38, 0.24, 0.16, 0.12, 0.10)


def draw_titles(
    language: NDArray[np.int64], topics: NDArray[np.float32], main_topic: NDArray[np.int64], rng: np.random.Generator
) -> list[str]:
    """A title a video: two words of its main topic, the third of its second topic when it has one."""
    n = len(language)
    template = rng.integers(len(TITLES["en"]), size=n).tolist()
    picks = _two_words(n, rng)
    third = rng.choice(5, size=n, p=_WORD_SHARES).tolist()
    side = _side_topic(topics, main_topic)
    titles = []
    for row, (tongue, main) in enumerate(zip(language.tolist(), main_topic.tolist(), strict=True)):
        name = LANGUAGES[tongue]
        words = WORDS[name][main]
        title = TITLES[name][template[row]].format(
            a=words[picks[row][0]], b=words[picks[row][1]], c=WORDS[name][side[row]][third[row]]
        )
        titles.append(title)
    return titles


def draw_tags(
    language: NDArray[np.int64], topics: NDArray[np.float32], main_topic: NDArray[np.int64], rng: np.random.Generator
) -> list[list[str] | None]:
    """Tags a video: its topics' names and a word in its language; none at all for one in twenty."""
    n = len(language)
    named = (rng.random((n, 2)) < (0.9, 0.7)).tolist()
    word = rng.choice(5, size=n, p=_WORD_SHARES).tolist()
    untagged = (rng.random(n) < 0.05).tolist()
    side = _side_topic(topics, main_topic)
    tags: list[list[str] | None] = []
    for row, (tongue, main) in enumerate(zip(language.tolist(), main_topic.tolist(), strict=True)):
        if untagged[row]:
            tags.append(None)
            continue
        found = [TOPICS[main]] if named[row][0] else []
        if side[row] != main and named[row][1]:
            found.append(TOPICS[side[row]])
        found.append(WORDS[LANGUAGES[tongue]][main][word[row]].lower())
        tags.append(list(dict.fromkeys(found)))
    return tags


def draw_queries(language: NDArray[np.int64], topic: NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """A search text a row: one or two words of the topic; one in five searchers types the topic's English name."""
    n = len(language)
    picks = _two_words(n, rng)
    shape = rng.random(n).tolist()
    queries = []
    for row, (tongue, wanted) in enumerate(zip(language.tolist(), topic.tolist(), strict=True)):
        words = WORDS[LANGUAGES[tongue]][wanted]
        first, second = (words[at] for at in picks[row])
        queries.append(TOPICS[wanted] if shape[row] < 0.2 else first if shape[row] < 0.6 else f"{first} {second}")
    return queries


def draw_comments(language: NDArray[np.int64], topic: NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """A comment a row, in the language of its writer."""
    n = len(language)
    template = rng.integers(len(COMMENTS["en"]), size=n).tolist()
    word = rng.choice(5, size=n, p=_WORD_SHARES).tolist()
    return [
        COMMENTS[LANGUAGES[tongue]][template[row]].format(a=WORDS[LANGUAGES[tongue]][about][word[row]])
        for row, (tongue, about) in enumerate(zip(language.tolist(), topic.tolist(), strict=True))
    ]


def _two_words(n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Two different word numbers a row."""
    first = rng.choice(5, size=n, p=_WORD_SHARES)
    second = (first + rng.integers(1, 5, size=n)) % 5
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _side_topic(topics: NDArray[np.float32], main_topic: NDArray[np.int64]) -> list[int]:
    """The second topic of each video where it weighs at least a tenth of the main one, else the main one."""
    rest = topics.copy()
    rows = np.arange(len(topics))
    rest[rows, main_topic] = 0.0
    side = rest.argmax(axis=1)
    strong = rest[rows, side] > 0.1 * topics[rows, main_topic]
    chosen: list[int] = np.where(strong, side, main_topic).tolist()
    return chosen
