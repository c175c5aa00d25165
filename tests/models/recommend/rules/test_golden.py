"""The golden corpus: small homepages written by hand pin what every rule decides."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

import conf
from models.recommend.rules import RuleConfig, rerank, rule_text
from tests.models.recommend.rules.pages import COUNTRIES, LANGUAGES, catalogue_of, page_of, users_of

CASES = yaml.safe_load((Path(__file__).parent / "golden.yaml").read_text(encoding="utf-8"))
RULES = TypeAdapter(list[RuleConfig])
EVERY_RULE = {rule.model_fields["rule"].default for rule in get_args(get_args(RuleConfig)[0])}
KEYS = {"name", "rules", "k", "user", "videos", "others", "expect", "dropped", "moved"}
VIDEO_KEYS = {"id", "score", "removed", "blocked", "creator", "language", "same_as", "content"}
PLAIN_FACTS = {"age_days", "impressions", "misinformation", "clickbait"}
USER_KEYS = {"country", "language", "watched"}


def place(names, name):
    return -1 if name is None else names.index(name)


def page_of_case(case):
    """One user's page, and the ids of all videos that the case names: those of the page come first."""
    shown, user, others = case["videos"], case.get("user", {}), case.get("others", {})
    assert case.keys() <= KEYS
    assert user.keys() <= USER_KEYS
    assert all(video.keys() <= VIDEO_KEYS | PLAIN_FACTS for video in shown)
    ids = [video["id"] for video in shown]
    named = [*user.get("watched", []), *(video["same_as"] for video in shown if "same_as" in video)]
    ids += sorted(set(named) - set(ids))
    rows = [*shown, *[{}] * (len(ids) - len(shown))]
    rows += [{"creator": creator, "impressions": impressions} for creator, impressions in others.items()]
    width = max(len(video.get("content", [])) for video in rows) or 1
    content = np.array([video.get("content", [0] * width) for video in rows], dtype=float)
    lengths = np.linalg.norm(content, axis=1, keepdims=True)
    catalogue = catalogue_of(
        len(rows),
        eligible=np.array([not video.get("removed", False) for video in rows]),
        blocked=np.array([[country in video.get("blocked", []) for video in rows] for country in COUNTRIES]),
        creator=[video.get("creator", -1) for video in rows],
        language=[place(LANGUAGES, video.get("language")) for video in rows],
        same_as=[ids.index(video["same_as"]) if "same_as" in video else at for at, video in enumerate(rows)],
        content=content / np.where(lengths > 0, lengths, 1),
        **{name: [video.get(name, 0) for video in rows] for name in PLAIN_FACTS},
    )
    users = users_of(
        1,
        country=[place(COUNTRIES, user.get("country"))],
        language=[place(LANGUAGES, user.get("language"))],
        watched=[[ids.index(video) for video in user.get("watched", [])]],
    )
    scores = [[video.get("score", len(shown) - at) for at, video in enumerate(shown)]]
    return page_of([list(range(len(shown)))], scores, catalogue, users), ids


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_rules_decide_as_the_corpus_says(case):
    page, ids = page_of_case(case)
    rules = RULES.validate_python(case["rules"])
    found = rerank(rules, page, case.get("k", len(case["videos"])))
    assert [ids[column] for column in found.order[0] if column >= 0] == case["expect"]
    dropped = {
        ids[column]: name
        for name, before, after in zip(found.rules, found.before[:, 0], found.after[:, 0], strict=True)
        for column in np.flatnonzero((before > 0) & (after == 0))
    }
    assert dropped == case.get("dropped", {})
    texts = dict(zip(ids, rule_text(found.rules, found.before[:, 0], found.after[:, 0]).to_pylist(), strict=False))
    assert {video: text for video, text in texts.items() if text and video not in dropped} == case.get("moved", {})


@pytest.mark.parametrize("name", sorted(EVERY_RULE))
def test_every_rule_that_there_is_decides_something_in_the_corpus(name):
    assert sum(name in case.get("dropped", {}).values() or f"{name}:" in str(case.get("moved", {})) for case in CASES) >= 2


def test_every_rule_as_it_is_configured_decides_something_in_the_corpus():
    rules = RULES.validate_python(conf.resolved()["recommend"].get("rules", []))
    for rule in rules:
        decided = []
        for case in CASES:
            page, _ = page_of_case(case)
            decided.append(bool(rule(page, case.get("k", len(case["videos"]))).touched.any()))
        assert any(decided), f"{rule!r} decides nothing in golden.yaml: add a page on which it does"


def test_names_are_not_used_twice():
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names)
