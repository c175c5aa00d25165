"""The verdict's page from a verdict written by hand: what stands first, what stands out, and what is left out."""

import re

from jobs._gate_page import page

CHECKS = [
    {"name": "finite_metrics", "passed": True, "value": 0.0, "threshold": None, "detail": "all are finite"},
    {"name": "kept_in_lists", "passed": False, "value": 0.125, "threshold": 0.2, "detail": "users keep <little>"},
]
FLOOR = {"part": "all", "against": "popularity", "metric": "ndcg@10", "ratio": 0.95, "users": 1721, "value": 0.051}
FLOOR |= {"other": 0.5, "low": -0.03, "high": 0.04}
VIDEO = {"video_id": 7, "title": "A cup final", "language": "en", "lists_before": 1234, "lists_after": 2}
CONTENT = {
    "as_of": "2026-01-08T00:00:00Z",
    "passed": False,
    "incumbent": {"wals": "2026-01-07T00:00:00Z"},
    "verdict": {"checks": CHECKS},
    "differential": None,
    "noise_floor": None,
    "floors": [{**FLOOR, "outcome": "below"}, {**FLOOR, "outcome": "cannot tell", "low": None, "high": None}],
    "moved": {"users": [], "risen": [{**VIDEO, "mean_change": 0.5}], "fallen": [], "entered": [VIDEO], "left": []},
}


def tables(text):
    """Heads and rows of every table, as plain text."""

    def plain(row, kind):
        return [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(rf"<{kind}[^>]*>(.*?)</{kind}>", row)]

    found = re.findall(r"<table>(.*?)</table>", text, flags=re.DOTALL)
    return [[plain(row, "td") or plain(row, "th") for row in re.findall(r"<tr.*?</tr>", one)] for one in found]


def test_what_failed_comes_first_and_stands_out():
    text = page(CONTENT)
    head, *rows = tables(text)[0]
    assert head == ["check", "answer", "found", "needed", "what was found"]
    assert rows == [
        ["kept_in_lists", "FAILED", "0.125", "0.2", "users keep &lt;little&gt;"],
        ["finite_metrics", "passed", "0", "", "all are finite"],
    ]
    assert re.findall(r'<span class="bad">(.*?)</span>', text) == ["FAILED", "below"]
    assert "refused by 1 of 2 checks" in text


def test_a_column_without_any_figure_is_left_out():
    risen, _, entered, _ = tables(page(CONTENT))[1:5]
    assert risen == [
        ["video", "title", "mean change", "lists before", "lists now"],
        ["7", "A cup final (en)", "0.5000", "1,234", "2"],
    ]
    assert entered == [["video", "title", "lists before", "lists now"], ["7", "A cup final (en)", "1,234", "2"]]


def test_an_interval_is_one_cell():
    assert tables(page(CONTENT))[-1][1:] == [
        ["all, ndcg@10", "0.95 x popularity", "below", "0.0510", "0.5000", "-0.0300 to +0.0400", "1,721"],
        ["all, ndcg@10", "0.95 x popularity", "cannot tell", "0.0510", "0.5000", "", "1,721"],
    ]


def test_text_begins_on_the_left_under_its_title():
    text = page(CONTENT)
    assert '<th class="words long">what was found</th>' in text
    assert '<td class="words long">all are finite</td>' in text
    assert '<th class="words">title</th>' in text
