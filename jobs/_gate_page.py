"""The verdict as a page for a person: what was asked, what was found, and what moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import _report_html as html
from jobs._stage import Context
from jobs._swap import replace_text

FILE = "verdict.html"
_VIDEOS = {
    "risen": "Scores risen most",
    "fallen": "Scores fallen most",
    "entered": "Entered most lists",
    "left": "Left most lists",
}
_CHANGE = "mean change"
_MOVED = ("video", "title", _CHANGE, "lists before", "lists now")
_REFUSING = ("below", "above")
_TITLES = ("Checks", "Against the incumbent", "Users that moved most", "Videos that moved most", "Floors")


def write(context: Context, content: Mapping[str, Any]) -> Path:
    """Replace the page of this ``as_of``; the same verdict gives the same bytes."""
    target = context.run_folder / FILE
    replace_text(target, page(content))
    return target


def page(content: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        content: of ``verdict.json``.
    """
    checks = content["verdict"]["checks"]
    failed = [check for check in checks if not check["passed"]]
    answer = "passed" if content["passed"] else f"refused by {len(failed)} of {len(checks)} checks"
    told = content["incumbent"]
    against = f"Against the models published as of {max(told.values())}." if told else "These are the first models."
    body = [
        f"<h1>Gate as of {content['as_of']}: {answer}</h1>",
        html.paragraph(against, "muted"),
        html.contents(_TITLES),
        html.items(f"{check['name']}: {check['detail']}" for check in failed) if failed else "",
        html.heading(_TITLES[0]),
        html.table(
            ("check", "answer", "found", "needed", "what was found"),
            [_check(check) for check in sorted(checks, key=lambda check: bool(check["passed"]))],
            words={1: "", 4: "long"},
        ),
        *_differential(content),
        *_moved(content["moved"]),
        *_floors(content["floors"]),
    ]
    return html.document(f"Gate {content['as_of']}", body)


def _check(check: Mapping[str, Any]) -> Sequence[str]:
    answer = html.cell("passed") if check["passed"] else html.bad("FAILED")
    return (check["name"], answer, _number(check["value"]), _number(check["threshold"]), html.cell(check["detail"]))


def _differential(content: Mapping[str, Any]) -> list[str]:
    found, floor = content["differential"], content["noise_floor"]
    if found is None:
        return [html.heading(_TITLES[1]), html.paragraph("There is no incumbent to compare with.")]
    said = (
        f"Two seeds of the same data were compared in the same way as of {floor['measured_as_of']}: "
        "what they do not share is noise."
        if floor
        else "There is no noise floor: what two seeds of the same data share was not measured."
    )
    rows = [
        (name, _figure(found["pooled"][key]), _figure((floor or {}).get("pooled", {}).get(key)))
        for name, key in (
            ("Pearson, all pairs", "pooled_pearson"),
            ("Spearman, all pairs", "pooled_spearman"),
            ("Pearson, mean over users", "mean_user_pearson"),
        )
    ]
    rows += [
        (f"Pearson of {name} alone", _figure(value), _figure((floor or {}).get("components", {}).get(name)))
        for name, value in found["components"].items()
    ]
    rows += [
        (
            f"{name}, mean over users",
            _figure(one.get("mean")),
            _figure((floor or {}).get("overlap", {}).get(name, {}).get("mean")),
        )
        for name, one in found["overlap"].items()
    ]
    spread = [
        (name, *(_figure(one.get(p)) for p in ("p05", "p25", "p50", "p75", "p95"))) for name, one in found["overlap"].items()
    ]
    parts = [
        (f"{kind} {value}", _figure(one["pooled_pearson"]), _figure(one["pooled_spearman"]), html.cell(f"{one['users']:,}"))
        for kind, own in found["segments"].items()
        for value, one in own.items()
    ]
    return [
        html.heading(_TITLES[1]),
        html.paragraph(said),
        html.table(("figure", "with the incumbent", "noise floor"), rows),
        html.table(("over users", "5 %", "25 %", "half", "75 %", "95 %"), spread),
        html.table(("segment", "Pearson", "Spearman", "users"), parts),
    ]


def _moved(moved: Mapping[str, Any]) -> list[str]:
    if not moved:
        return []
    body = [html.heading(_TITLES[2]), html.paragraph("Lists in the order of the scores, before the rules.")]
    for user in moved["users"]:
        who = ", ".join(str(user[name]) for name in ("language", "country", "segment") if user[name])
        body.append(f"<h3>User {user['user_id']}</h3>")
        liked = "; ".join(str(title) for title in user["liked_last"]) or "nothing"
        body.append(
            html.paragraph(f"{who}; acted on {user['watched']} videos; liked last: {liked}. RBO {user['rbo']}.", "muted")
        )
        both = [(f"{old.get('rank', new.get('rank', ''))}", _place(old), _place(new)) for old, new in _side_by_side(user)]
        body.append(html.table(("place", "before (now at)", "now (before at)"), both, words={1: "", 2: ""}))
    body.append(html.heading(_TITLES[3]))
    for name, title in _VIDEOS.items():
        changes = [video.get("mean_change") for video in moved[name]]
        head = _MOVED if any(change is not None for change in changes) else tuple(one for one in _MOVED if one != _CHANGE)
        rows = []
        for video, change in zip(moved[name], changes, strict=True):
            told = html.cell(f"{video['title'] or 'no title'} ({video['language'] or 'no language'})")
            lists = (html.cell(f"{video[when]:,}") for when in ("lists_before", "lists_after"))
            rows.append((str(video["video_id"]), told, *([_figure(change)] if _CHANGE in head else []), *lists))
        body += [f"<h3>{title}</h3>", html.table(head, rows, words={1: ""})]
    return body


def _side_by_side(user: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    longest = max(len(user["before"]), len(user["after"]))
    before, after = (list(user[name]) + [{}] * (longest - len(user[name])) for name in ("before", "after"))
    return list(zip(before, after, strict=True))


def _place(video: Mapping[str, Any]) -> str:
    if not video:
        return ""
    there = f"at {video['other_rank']}" if video["other_rank"] else "not in the list"
    return html.cell(f"{video['title'] or video['video_id']} ({video['language'] or '?'})", there)


def _floors(floors: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            f"{one['part']}, {one['metric']}",
            html.cell(f"{one['ratio']:g} x {one['against']}"),
            html.bad(one["outcome"]) if one["outcome"] in _REFUSING else html.cell(one["outcome"]),
            _figure(one["value"]),
            _figure(one["other"]),
            html.cell(" to ".join(f"{end:+.4f}" for end in (one["low"], one["high"]) if end is not None)),
            html.cell(f"{one['users']:,}"),
        )
        for one in floors
    ]
    said = (
        "The difference of the final list and so many times the other's, its interval over users, and what follows: slices "
        "that cannot be told, or have too few users, never refuse."
    )
    head = ("slice", "against", "outcome", "ours", "theirs", "difference", "users")
    return [html.heading(_TITLES[4]), html.paragraph(said), html.table(head, rows, words={1: "", 2: ""})] if floors else []


def _number(value: Any) -> str:
    """Of any size and unit."""
    return html.cell("" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value))


def _figure(value: float | None) -> str:
    """A correlation, a share or a change of one: as many decimals in every row, so that a column can be compared."""
    return html.cell("" if value is None else f"{value:.4f}")
