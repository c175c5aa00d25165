"""The few parts that a page is made of: one file without scripts or anything from elsewhere, for a phone, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

COLOURS = {
    "ink": ("#1b1f24", "#e6e8eb"),
    "muted": ("#656d76", "#9aa4af"),
    "grid": ("#d8dde3", "#343b44"),
    "page": ("#ffffff", "#14181d"),
    "band": ("#f4f6f8", "#1d232a"),
    "link": ("#0757b8", "#7cb7ff"),
    "series-1": ("#7a828c", "#a3acb6"),
    "series-2": ("#1f6fb2", "#5aa9ec"),
    "series-3": ("#0f8a6a", "#3cc79d"),
    "series-4": ("#c77700", "#f0a94a"),
    "series-5": ("#b3206f", "#f472b6"),
    "series-6": ("#6b46c1", "#b79cf5"),
    "bad": ("#b42318", "#ff8a7a"),
}
"""Each colour in the light and in the dark page."""

_STYLE = """
body { margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; padding-top: .6rem; border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p, ul { max-width: 44rem; margin: .5rem 0; }
a { color: var(--link); }
nav { margin: .8rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
.muted, figcaption, td small { color: var(--muted); }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--grid); white-space: nowrap;
  vertical-align: top; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--page); }
thead th { color: var(--muted); font-weight: 600; }
td small { display: block; font-size: .75rem; }
th.words, td.words { text-align: left; }
td.words { white-space: normal; }
td.long { min-width: 22rem; }
.bad { color: var(--bad); font-weight: 600; }
tr.ours td { background: var(--band); font-weight: 600; }
tr.ours td small { font-weight: 400; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: .8rem 1.6rem; }
figure { margin: .6rem 0; min-width: 0; max-width: 34rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .875rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--link); }
"""


def document(title: str, body: Iterable[str]) -> str:
    """A whole page."""
    light, dark = ("".join(f"--{name}: {pair[side]}; " for name, pair in COLOURS.items()) for side in (0, 1))
    style = f":root {{ color-scheme: light dark; {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}{_STYLE}"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        ]
    )


def anchor(title: str) -> str:
    """What a heading is linked by."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def heading(title: str) -> str:
    """The heading of a section."""
    return f'<h2 id="{anchor(title)}">{escape(title)}</h2>'


def contents(titles: Iterable[str]) -> str:
    """Links to sections."""
    return "<nav>" + "".join(f'<a href="#{anchor(title)}">{escape(title)}</a>' for title in titles) + "</nav>"


def paragraph(text: str, kind: str = "") -> str:
    """One paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def items(texts: Iterable[str]) -> str:
    """A list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], ours: str = "", *, words: Mapping[int, str] | None = None) -> str:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        head: titles of the columns, plain.
        rows: cells, the first plain and the others from :func:`cell`.
        ours: first cell of the row that stands out.
        words: columns that hold text, by place: it begins on the left and breaks; ``"long"`` gives it room for sentences.
    """
    kinds = {place: f' class="{f"words {kind}".rstrip()}"' for place, kind in (words or {}).items()}
    lines = [
        ('<tr class="ours">' if first == ours else "<tr>")
        + f"<td>{escape(first)}</td>"
        + "".join(f"<td{kinds.get(place, '')}>{one}</td>" for place, one in enumerate(others, start=1))
        + "</tr>"
        for first, *others in rows
    ]
    titles = "".join(f"<th{kinds.get(place, '')}>{escape(title)}</th>" for place, title in enumerate(head))
    return (
        f'<div class="scroll"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def cell(main: str, small: str = "") -> str:
    """One cell, with a second line in small print."""
    return escape(main) + (f"<small>{escape(small)}</small>" if small else "")


def bad(text: str) -> str:
    """A cell that a person has to see first."""
    return f'<span class="bad">{escape(text)}</span>'


def figure(picture: str, caption: str) -> str:
    """A picture, which is SVG, with a caption in plain text."""
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def pictures(found: Iterable[str]) -> str:
    """Figures beside each other where there is room."""
    return '<div class="pictures">' + "\n".join(found) + "</div>"


def folded(title: str, content: str) -> str:
    """Content that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"
