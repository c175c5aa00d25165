"""Pictures of an evaluation as inline SVG, drawn by matplotlib; colours are the page's own, so they follow light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from jobs._report_html import COLOURS
from models.evaluation import Curves, Row
from models.metrics import Reliability

Floats = NDArray[np.float64]

# matplotlib knows only colours: each of the page's has a stand-in, which the finished SVG gives back.
_STAND_INS = {name: f"#0a0b{place:02x}" for place, name in enumerate(COLOURS)}
_SERIES = ("popularity", "wals", "retrieval", "ranker", "final", "popularity_by_segment")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_SOURCES = {"local": "popularity_by_segment", "similar": "ranker", "trending": "final"}
"""Sources of candidates that are no model, and whose colours they take in a picture of sources alone."""
_WIDTH = 4.4
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "axes.edgecolor": _STAND_INS["muted"],
    "axes.labelcolor": _STAND_INS["ink"],
    "text.color": _STAND_INS["ink"],
    "xtick.color": _STAND_INS["muted"],
    "ytick.color": _STAND_INS["muted"],
    "xtick.labelcolor": _STAND_INS["ink"],
    "ytick.labelcolor": _STAND_INS["ink"],
    "grid.color": _STAND_INS["grid"],
    "grid.linewidth": 0.6,
}
_styled = context(["default", _STYLE])  # not what the machine's own matplotlibrc says


@_styled
def roc(curves: Mapping[str, Curves]) -> str:
    """ROC curves of all predictors that have one."""
    figure, axes = _figure(3.4)
    for place, (name, found) in enumerate(curves.items()):
        if found.roc is not None:
            axes.plot(*found.roc, color=_predictor(place), label=name)
    axes.plot([0, 1], [0, 1], color=_STAND_INS["muted"], linewidth=0.9, linestyle="--")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right")
    return _svg(figure, "roc", "ROC curves")


@_styled
def precision_recall(curves: Mapping[str, Curves]) -> str:
    """Precision against recall of all predictors that have it."""
    figure, axes = _figure(3.4)
    for place, (name, found) in enumerate(curves.items()):
        if found.pr is not None and len(found.pr[0]) == 1:  # a constant
            axes.axhline(float(found.pr[1][0]), color=_predictor(place), label=name)
        elif found.pr is not None:
            axes.plot(*found.pr, color=_predictor(place), label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="upper right")
    return _svg(figure, "pr", "Precision against recall")


@_styled
def calibration(found: Mapping[str, Reliability]) -> str:
    """Observed against predicted rate in bins of equal weight, and below it how many examples each bin holds."""
    figure = Figure(figsize=(_WIDTH, 4.0))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    found = {name: one for name, one in found.items() if len(one.predicted) > 1} or found
    top = 1.05 * max(max(float(one.predicted.max()), float(one.observed.max())) for one in found.values())
    above.plot([0, top], [0, top], color=_STAND_INS["muted"], linewidth=0.9, linestyle="--")
    for place, (name, one) in enumerate(found.items()):
        colour = _predictor(place)
        above.plot(one.predicted, one.observed, color=colour, marker=_MARKERS[place % len(_MARKERS)], label=name)
        below.vlines(one.predicted, 0, one.examples, color=colour, linewidth=3)
    above.set(ylabel="observed rate", xlim=(0, top), ylim=(0, top))
    below.set(xlabel="predicted rate", ylabel="examples")
    below.set_ylim(bottom=0)
    for axis in (above.xaxis, above.yaxis, below.yaxis):
        axis.set_major_locator(MaxNLocator(5 if axis is not below.yaxis else 2))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    above.legend(loc="upper left")
    return _svg(figure, "calibration", "Reliability diagram")


@_styled
def intervals(name: str, labels: Sequence[str], series: Mapping[str, Sequence[Row | None]], figure_name: str) -> str:
    """A dot with its interval for each label and series, one below the other.

    Args:
        name: what the dots show.
        labels: one a line, from the top.
        series: rows of each series, in the order of the labels; None for none.
        figure_name: unlike that of any other picture of the page.
    """
    lines = len(labels)
    figure, axes = _figure(0.75 + lines * (0.17 + 0.13 * len(series)))
    spread = np.linspace(-0.2, 0.2, len(series)) if len(series) > 1 else [0.0]
    for place, (model, rows) in enumerate(series.items()):
        known = [(line, row) for line, row in enumerate(rows) if row is not None]
        if not known:
            continue
        y = [line + spread[place] for line, _ in known]
        colour = _model(model) if model in _SERIES else _STAND_INS["series-2"]
        axes.plot([row.value for _, row in known], y, linestyle="", marker=_marker(model), color=colour, label=model)
        sure = [
            (at, row.low, row.high)
            for at, (_, row) in zip(y, known, strict=True)
            if row.low is not None and row.high is not None
        ]
        if sure:
            at, low, high = (np.array(column) for column in zip(*sure, strict=True))
            axes.hlines(at, low, high, color=colour)
    axes.set(xlabel=name, ylim=(lines - 0.5, -0.5))
    axes.set_yticks(range(lines), labels)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(visible=False, axis="y")
    left, right = axes.get_xlim()
    if left < 0 < right:
        axes.axvline(0, color=_STAND_INS["muted"], linewidth=0.9)
    elif left > 0:
        axes.set_xlim(0, right)
    if len(series) > 1:
        figure.legend(loc="outside upper left", ncols=3)
    return _svg(figure, figure_name, name)


@_styled
def depth_curves(ks: Sequence[int], recalls: Mapping[str, Sequence[float]]) -> str:
    """Recall of each source of candidates by depth."""
    figure, axes = _figure(3.0)
    for name, values in recalls.items():
        axes.plot(ks, values, color=_model(name), marker=_marker(name), label=name)
    axes.set_xscale("log")
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="candidates of the source", ylabel="recall")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
    return _svg(figure, "sources", "Recall of each source of candidates")


@_styled
def places(shares: Mapping[str, Sequence[float]], chosen: str) -> str:
    """What share of the places goes to each tenth of the catalogue by popularity."""
    figure, axes = _figure(3.2)
    x = np.arange(1, 11)
    for name, values in shares.items():
        own = name == chosen
        axes.plot(
            x,
            values,
            color=_STAND_INS["ink"] if own else _model(name),
            linestyle="--" if own else "-",
            marker="" if own else _marker(name),
            label="what users chose" if own else name,
        )
    axes.set(xlabel="tenth of the catalogue, most viewed first", ylabel="share of the places", ylim=(0, 1.02))
    axes.set_xticks(x)
    axes.legend(loc="upper right")
    return _svg(figure, "places", "Places by popularity")


@_styled
def learning(name: str, history: Sequence[Mapping[str, float]], score: str) -> str:
    """Training loss and what validation measured, by epoch; the epoch that was kept is marked.

    Args:
        name: of the model.
        history: a record an epoch.
        score: the validation figure to show; left out where no record has it.
    """
    epochs = [record["epoch"] for record in history]
    measured = [record for record in history if score in record]
    figure = Figure(figsize=(_WIDTH, 3.6 if measured else 2.2))
    axes = figure.subplots(2 if measured else 1, 1, sharex=True, squeeze=False)[:, 0]
    axes[0].plot(epochs, [record["train_loss"] for record in history], color=_model(name), marker=_marker(name))
    axes[0].set(ylabel="training loss")
    if measured:
        axes[1].plot(
            [record["epoch"] for record in measured],
            [record[score] for record in measured],
            color=_model(name),
            marker=_marker(name),
        )
        axes[1].set(ylabel=f"validation\n{score.replace('_', ' ')}")
        best = max(measured, key=lambda record: record["score"])["epoch"]
        for one in axes:
            one.axvline(best, color=_STAND_INS["muted"], linewidth=0.9, linestyle="--")
    axes[-1].set(xlabel="epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for one in axes:
        one.yaxis.set_major_locator(MaxNLocator(4))
    return _svg(figure, f"learning-{name}", f"Learning curves of {name}")


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height))
    return figure, figure.subplots()


def _svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an ``svg`` element with ids of its own, the page's colours and font, and a title for who cannot see it."""
    stream = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata=metadata)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' id="(?![mpc][0-9a-f]{8,})[^"]*"', "", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for colour, stand_in in _STAND_INS.items():
        text = text.replace(stand_in, f"var(--{colour})")
    text = text.replace("<svg ", f'<svg role="img" aria-label="{title}" stroke-linejoin="round" ', 1)
    return re.sub(r"\n\s*\n+", "\n", text)


def _predictor(place: int) -> str:
    order = ("series-5", "series-1", "series-2", "series-3", "series-4")
    return _STAND_INS[order[place % len(order)]]


def _model(name: str) -> str:
    name = _SOURCES.get(name, name)
    return _STAND_INS[f"series-{_SERIES.index(name) + 1}" if name in _SERIES else "ink"]


def _marker(name: str) -> str:
    name = _SOURCES.get(name, name)
    return _MARKERS[_SERIES.index(name)] if name in _SERIES else _MARKERS[0]


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
