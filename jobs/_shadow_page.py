"""The report of a trial as a page for a person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jobs import _report_html as html
from jobs import _shadow
from jobs._stage import Context
from jobs._swap import replace_text
from models.shadow import CANDIDATE, CHAMPION, METRICS

_TITLES = ("Outcome", "Day by day", "How alike", "What is tried", "How to read this")
_READING = (
    "Champion: the models and weights that this day's live run made. Candidate: the same day's, with the trial's settings. "
    "Both learn from the same tables, and make lists for the same users, with rules and exact search, without exploration.",
    "Judged by the day after: what a user found relevant within 24 hours, of videos that were there and that the user had not "
    "acted on before. nDCG and recall are those of the evaluation.",
    "Users saw only the champion's lists. A video that only the candidate lists could hardly become relevant, so these figures "
    "favour the champion. 'Shown' is the share of a list's first ten places whose video its user was shown that day (estimated "
    "from sampled impressions): the farther the two are apart, the less a difference to the champion's advantage means.",
    "Intervals are of the difference, paired, over users with all their days.",
)


def write(context: Context, content: Mapping[str, Any]) -> Path:
    """Replace the page of this ``as_of``; the same report gives the same bytes."""
    target = context.run_folder / _shadow.PAGE
    replace_text(target, page(content))
    return target


def page(content: Mapping[str, Any]) -> str:
    """The whole page."""
    runs = content["runs"]
    body = [
        f"<h1>Shadow {content['name']} as of {content['as_of']}: {content['state']}</h1>",
        html.paragraph(f"{runs['kept']} of {runs['of']} runs, {runs['judged']} of them judged. Never served.", "muted"),
        html.contents(_TITLES),
        *([html.paragraph(f"This run is not counted: {content['left_out']}.")] if content["left_out"] else []),
        html.heading(_TITLES[0]),
        html.paragraph(content["next"]),
        *_outcome(content["figures"]),
        html.heading(_TITLES[1]),
        *_days(content["days"]),
        html.heading(_TITLES[2]),
        *_alike(content["days"]),
        html.heading(_TITLES[3]),
        f"<pre>{html.cell(yaml.safe_dump(content['settings']) if content['settings'] else 'nothing differs')}</pre>",
        html.heading(_TITLES[4]),
        html.items(_READING),
    ]
    return html.document(f"Shadow {content['trial']} {content['as_of']}", body)


def _outcome(figures: Mapping[str, Any]) -> list[str]:
    if not figures["users"]:
        return [html.paragraph("No day is judged yet: the next run judges this one's lists.")]
    rows = [
        (
            name,
            _number(figures[name][CHAMPION]),
            _number(figures[name][CANDIDATE]),
            html.cell(
                _signed(figures[name]["difference"]), f"{_signed(figures[name]['low'])} to {_signed(figures[name]['high'])}"
            ),
        )
        for name in METRICS
    ]
    said = f"{figures['users']:,} users with {figures['relevant']:,} relevant videos on {figures['days']} days."
    return [html.paragraph(said), html.table(("mean over users", CHAMPION, CANDIDATE, "difference"), rows)]


def _days(days: Any) -> list[str]:
    head = (
        "lists as of",
        "users judged",
        "relevant",
        *(f"{name} {side}" for name in METRICS for side in (CHAMPION, CANDIDATE)),
    )
    rows = []
    for day in days:
        found = day.get("judged")
        if found is None:
            rows.append((day["as_of"], html.cell(day["waits"]), *[""] * 7))
            continue
        figures = (_number(found[side][name]) for name in METRICS for side in (CHAMPION, CANDIDATE))
        shown = (_number(found["shown"][side]) for side in (CHAMPION, CANDIDATE))
        rows.append((day["as_of"], html.cell(f"{found['users']:,}"), html.cell(f"{found['relevant']:,}"), *figures, *shown))
    return [html.table((*head, f"shown {CHAMPION}", f"shown {CANDIDATE}"), rows)]


def _alike(days: Any) -> list[str]:
    if not days:
        return []
    names = list(days[-1]["lists_alike"])
    said = "not only the settings differ, the champion is not what would be made now"
    stale = [f"{day['as_of']}: {said}: {why}" for day in days for why in day["stale"]]
    rows = [
        (
            day["as_of"],
            *(_number(day["lists_alike"].get(name)) for name in names),
            _number(day["pearson"]),
            html.cell(", ".join(day["trained"]) or "nothing"),
            html.cell("would pass" if not day["gate"]["refused"] else "would refuse", f"{day['gate']['asked']} checks"),
        )
        for day in days
    ]
    head = ("lists as of", *names, "Pearson of scores", "trained for it", "differential test")
    return [
        html.paragraph("Means over users; 1 is equal. The gate's other checks are made when it is promoted."),
        html.table(head, rows),
        *([html.items(stale)] if stale else []),
        *([html.items(days[-1]["gate"]["refused"])] if days[-1]["gate"]["refused"] else []),
    ]


def _number(value: float | None) -> str:
    return html.cell("-" if value is None else f"{value:.4f}")


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
