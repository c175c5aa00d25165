import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jobs import _report, _report_html, _report_pictures
from models.evaluation import Judged, Labelled, Row, Shown, judge_predictions
from models.metrics import reliability
from tests.builders import moment
from tests.models.evaluation.planted import CONFIG

RNG = np.random.default_rng(2)
LABELS, CHANCE = RNG.integers(0, 2, 200), RNG.random(200)
HISTORY = (
    {"epoch": 1, "train_loss": 0.5, "score": -0.4, "log_loss": 0.4},
    {"epoch": 2, "train_loss": 0.4, "score": -0.5, "log_loss": 0.5},
)
NOTHING = _report.Findings(
    as_of=moment("2026-01-08T00:00"),
    test_start=moment("2026-01-07T12:00"),
    examples={"train": 800, "validation": 100, "test": 100},
    videos=3,
    judged=Judged(notes=("Nobody to judge: <nobody>.",)),
    curves={},
    histories={"ranker": (), "retrieval": ()},
    weights={"new": {"popular": 2.0}, "heavy": {"wals": 1.0}},
    limits={"retrieval": 300, "wals": 200, "popularity": 200},
    config=CONFIG,
)


class _Page(HTMLParser):
    """What a page holds: headings, anchors, links, and whether its elements are closed in order."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self):
        super().__init__()
        self.ids, self.links, self.open, self.found, self.headings = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.found.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def check_page(text, pictures):
    """A page is well-formed, links to its own sections only, needs nothing from elsewhere, and holds so many pictures."""
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.headings == list(_report.SECTIONS)
    assert page.links == [f"#{_report_html.anchor(title)}" for title in _report.SECTIONS]
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert [tag for tag, _ in page.found].count("svg") == pictures
    assert not [tag for tag, _ in page.found if tag in ("script", "link", "img", "iframe", "object")]
    outside = set(re.findall(r"https?://[^\s\"'<)]+", text)) - {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert outside == set()
    for reference in re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text):
        assert reference in page.ids
    assert not re.search(r"#0a0b[0-9a-f]{2}", text)  # no stand-in is left
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert "nan" not in re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL).lower().replace("nandina", "")


def test_a_page_of_nothing_says_so():
    text = _report.page(NOTHING)
    check_page(text, pictures=0)
    assert "No list could be judged." in text
    assert "Nobody to judge: &lt;nobody&gt;." in text
    assert text.count("Nothing to show: see above.") == 7
    assert "<th>segment</th><th>popular</th><th>wals</th>" in text


def test_learning_curves_with_and_without_validation():
    plain = ({"epoch": 1, "train_loss": 0.5},)
    found = dataclasses.replace(NOTHING, histories={"ranker": HISTORY, "retrieval": plain})
    text = _report.page(found)
    check_page(text, pictures=2)
    assert "log loss" in text
    assert "recall at 100" not in text


def test_predictors_without_both_labels_have_calibration_only():
    examples = Labelled(np.zeros(200, dtype=np.int64), np.ones(200), np.arange(200) // 10)
    judged, curves = judge_predictions(CONFIG, examples, {"ranker": CHANCE})
    check_page(_report.page(dataclasses.replace(NOTHING, judged=judged, curves=curves)), pictures=1)


def test_the_same_findings_give_the_same_bytes_whatever_matplotlib_is_told(monkeypatch):
    examples = Labelled(LABELS, np.ones(200), np.arange(200) // 10)
    judged, curves = judge_predictions(
        CONFIG, examples, {"ranker": CHANCE, "logistic": CHANCE**2, "base_rate": np.full(200, 0.5)}
    )
    found = dataclasses.replace(NOTHING, judged=judged, curves=curves, histories={"ranker": HISTORY})
    first = _report.page(found)
    check_page(first, pictures=4)
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert _report.page(found) == first


def test_the_summary_says_what_chance_explains():
    def final(low):
        return [
            Row(model="popularity", metric="ndcg@10", value=0.02, users=50, examples=80),
            Row(model="final", metric="ndcg@10", value=0.05, low=0.04, high=0.06, users=50, examples=80),
            Row(model="final", metric="ndcg@10", baseline="popularity", value=0.03, low=low, high=0.06, users=50, examples=80),
        ]

    def said(low):
        return _report.page(dataclasses.replace(NOTHING, judged=Judged(tuple(final(low)))))

    assert "50 users with 80 relevant videos are judged" in said(0.01)
    assert (
        "is 0.0500 (0.0400 to 0.0600), 2.50 times that of popularity: +0.0300 (+0.0100 to +0.0600), more than chance"
        in said(0.01)
    )
    assert "+0.0300 (-0.0100 to +0.0600), which chance may explain." in said(-0.01)


def test_a_picture_follows_the_page_and_is_named_for_who_cannot_see_it():
    picture = _report_pictures.calibration({"ranker": reliability(LABELS, CHANCE)})
    assert picture.startswith('<svg role="img" aria-label="Reliability diagram"')
    assert "var(--series-5)" in picture
    assert "DejaVu" not in picture
    assert not re.search(r'<svg[^>]* (width|height)="', picture)


def test_an_anchor_is_plain():
    assert _report_html.anchor("How to read this?") == "how-to-read-this"


@pytest.mark.parametrize("name", _report_html.COLOURS)
def test_every_colour_has_a_light_and_a_dark_side(name):
    light, dark = _report_html.COLOURS[name]
    assert re.fullmatch(r"#[0-9a-f]{6}", light)
    assert re.fullmatch(r"#[0-9a-f]{6}", dark)
    assert light != dark


def test_predictors_by_slice_with_intervals():
    examples = Labelled(LABELS, np.ones(200), np.arange(200) // 10)
    cuts = [Shown("country", "DE", np.arange(80), True), Shown("country", "FR", np.arange(80, 200), True)]
    judged, curves = judge_predictions(CONFIG, examples, {"ranker": CHANCE, "base_rate": np.full(200, 0.5)}, cuts)
    text = _report.page(dataclasses.replace(NOTHING, judged=judged, curves=curves))
    check_page(text, pictures=3)
    (table,) = re.findall(r"<table>\s*<thead><tr><th>slice</th><th>examples</th>.*?</table>", text, flags=re.DOTALL)
    heads = re.findall(r"<th>(.*?)</th>", table)
    assert heads == ["slice", "examples", "ROC-AUC: ranker", "calibration: ranker", "calibration: base_rate"]
    (found,) = [row for row in judged.rows if (row.model, row.metric, row.slice_value) == ("ranker", "roc_auc", "FR")]
    assert (
        f"<td>FR</td><td>120<small>12 users</small></td><td>{found.value:.4f}<small>{found.low:.4f} to {found.high:.4f}"
        in table
    )
    assert "FR: base_rate" in text
    assert "By slice" not in _report.page(NOTHING)


def test_what_the_list_owes_to_its_parts_is_shown():
    like = {"model": "final", "slice_kind": "without", "slice_value": "rule creators", "users": 50, "examples": 90}
    rows = (
        Row(metric="ndcg@10", value=0.3, **like),
        Row(metric="ndcg@10", value=-0.0123, low=-0.02, high=-0.001, baseline="final", **like),
        Row(metric="diversity@10", value=0.0456, baseline="final", **like),
        Row(metric="coverage@100", value=0.77, **like),
    )
    text = _report.page(dataclasses.replace(NOTHING, judged=Judged(rows=rows)))
    check_page(text, pictures=1)
    for shown in ("rule creators", "-0.0123", "-0.0200 to -0.0010", "+0.0456", "0.7700"):
        assert shown in text
    assert "<td>new</td><td>2</td><td>-</td>" in re.sub(r" class=.*?>|<span>.*?</span>", "", text).replace(" ", "")
