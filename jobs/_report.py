"""The page of an evaluation: what a person wants to know first, then the figures, each with how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs import _report_html as html
from jobs import _report_pictures as draw
from models.evaluation import (
    BY_SEGMENT,
    CHOSEN,
    DECILES,
    FINAL,
    NOTHING,
    POPULARITY,
    SLICED,
    UNION,
    WITHOUT,
    Curves,
    EvaluationConfig,
    Judged,
    Lookup,
    Row,
    depths,
    source_names,
)

LISTS, DIFFERENCES, SOURCES = "Lists", "Against each model", "Candidates"
PARTS = "Weights, rules and exploration"
RANKER, BEYOND, SLICES, LEARNING, READING = "Ranker", "Beyond accuracy", "Slices", "Learning curves", "How to read this"
SECTIONS = (LISTS, DIFFERENCES, SOURCES, PARTS, RANKER, BEYOND, SLICES, LEARNING, READING)
_LIST_FIGURES = (
    "ndcg@10", "recall@10", "precision@10", "map@10", "mrr", "precision@1", "precision@5", "recall@20", "recall@100", "ndcg@20",
    "map@100",
)  # fmt: skip
_DIFFERENCE_FIGURES = ("ndcg@10", "recall@10", "precision@10", "map@10", "recall@100")
_PREDICTED = (
    "roc_auc", "pr_auc", "log_loss", "ranking_loss", "expected_calibration_error", "calibration_ratio",
)  # fmt: skip
_PART_FIGURES = ("ndcg@10", "ndcg@20", "recall@100", "diversity@10")
_SLICE_HEADS = {"roc_auc": "ROC-AUC", "expected_calibration_error": "calibration"}
_BEYOND_FIGURES = ("diversity@10", "novelty@10", "coverage@10", "coverage@100")
_BY_SLICE = (
    "By the users of the impressions, and by their videos; by the same rules as the lists further down, which have other "
    "users. The calibration error of a small slice is above 0 by chance alone: compare it with that of other predictors there."
)
_CUTS = {
    "users": "New and known users: whether anything of theirs was relevant before the test split",
    "activity": "Activity: videos that a user had acted on before the test split",
    "country": "Country",
    "language": "Language",
    "videos": "New and older videos: of the lists, only those count as relevant",
}
_READING = (
    "Judged are models that have not seen the test split, the newest examples. The models that are served are trained again on "
    "everything, so they are a little better than this.",
    "Relevant are videos with a positive example in the test split that the user had not acted on before. Every list is over "
    "the full catalogue; nothing is sampled. Videos that were never shown to a user count as misses, so all figures are low; "
    "they are for comparing lists with each other.",
    "Recall: share of a user's relevant videos in the list. Precision: share of the places that hold one. nDCG and mAP give "
    "more for earlier places, 1 being the best possible list. MRR: 1 over the place of the first one.",
    "Weights, rules and exploration: the final list is made again without one of them. A rule that costs nDCG and wins "
    "diversity, or keeps out what must not be shown, does what it is for; exploration pays for what later models learn.",
    "A source's marginal recall is what the candidates of all sources together lose without it.",
    "ROC-AUC: chance that a relevant impression scores above another one. Ranking loss: share of a user's pairs of a relevant "
    "and an irrelevant impression in the wrong order. Log loss and calibration judge the probabilities themselves; "
    "base_rate predicts the same rate for all, and is what any model has to beat.",
    "popularity is the same list for everybody; popularity_by_segment is the list of what is popular in a user's country and "
    "with a user's language. It is a baseline only.",
    "Diversity: 1 - cosine of the videos within a list. Novelty: bits of surprise, -log2 of a video's share of all views. "
    "Coverage: share of the catalogue that stands in at least one list.",
    "The interval below a figure is a bootstrap over users; figures of few users have none. If the interval of a difference "
    "holds 0, chance explains it.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the page shows."""

    as_of: datetime
    test_start: datetime
    examples: Mapping[str, int]
    """Of each split."""
    videos: int
    """In the catalogue."""
    judged: Judged
    curves: Mapping[str, Curves]
    histories: Mapping[str, Sequence[Mapping[str, float]]]
    """Of the models that learn in epochs, a record an epoch."""
    weights: Mapping[str, Mapping[str, float]]
    """Of the final list, for each segment of users."""
    limits: Mapping[str, int]
    """Candidates of each source."""
    config: EvaluationConfig


def page(found: Findings) -> str:
    """The page as HTML; the same findings give the same bytes."""
    rows = Lookup.of(found.judged.rows)
    title = f"Evaluation as of {found.as_of:%Y-%m-%d %H:%M} UTC"
    sections = {
        LISTS: _lists(rows),
        DIFFERENCES: _differences(rows),
        SOURCES: _sources(found, rows),
        PARTS: _parts(found, rows),
        RANKER: _ranker(found, rows),
        BEYOND: _beyond(rows),
        SLICES: _slices(found, rows),
        LEARNING: _learning(found),
        READING: [html.items(_READING)],
    }
    body = [f"<h1>{title}</h1>", html.paragraph(_summary(found, rows)), html.contents(SECTIONS)]
    if found.judged.notes:
        body += ["<h3>Good to know</h3>", html.items(found.judged.notes)]
    for name, parts in sections.items():
        body += [html.heading(name), *(parts or [html.paragraph("Nothing to show: see above.", "muted")])]
    return html.document(title, body)


def _summary(found: Findings, rows: Lookup) -> str:
    final, popular = rows.get(FINAL, "ndcg@10"), rows.get(POPULARITY, "ndcg@10")
    more = rows.get(FINAL, "ndcg@10", baseline=POPULARITY)
    split = ", ".join(f"{count:,} to {name}" for name, count in found.examples.items())
    begun = f"The test split begins on {found.test_start:%Y-%m-%d at %H:%M} UTC; examples: {split}; {found.videos:,} videos. "
    if final is None or popular is None or more is None:
        return begun + "No list could be judged."
    times = f", {final.value / popular.value:.2f} times that of popularity" if popular.value > 0 else ""
    explained = ", more than chance explains" if (more.low or 0) > 0 else ", which chance may explain"
    sure = explained if more.low is not None and more.value > 0 else ""
    return (
        f"{begun}{final.users:,} users with {final.examples:,} relevant videos are judged. nDCG@10 of the final list is "
        f"{final.value:.4f}{_in_brackets(final)}{times}: "
        f"{more.value:+.4f}{_in_brackets(more, signed=True)}{sure}."
    )


def _lists(rows: Lookup) -> list[str]:
    models = rows.models("ndcg@10")
    if not models:
        return []
    found = {model: [rows.get(model, "ndcg@10")] for model in models}
    lines = [[model, *(_cell(rows.get(model, name)) for name in _LIST_FIGURES)] for model in models]
    by_model = {"": [one[0] for one in found.values()]}
    return [
        html.pictures([html.figure(draw.intervals("nDCG@10", models, by_model, "lists"), "Every list, on the same users.")]),
        html.table(["list", *_LIST_FIGURES], lines, FINAL),
    ]


def _differences(rows: Lookup) -> list[str]:
    others = [model for model in rows.models("ndcg@10") if model != FINAL]
    if not others:
        return []
    lines = [
        [f"final - {model}", *(_cell(rows.get(FINAL, name, baseline=model), signed=True) for name in _DIFFERENCE_FIGURES)]
        for model in others
    ]
    differences = {"": [rows.get(FINAL, "ndcg@10", baseline=model) for model in others]}
    picture = draw.intervals("nDCG@10 of the final list less that of ...", others, differences, "differences")
    caption = "User by user: right of 0 the final list is better."
    return [html.pictures([html.figure(picture, caption)]), html.table(["difference", *_DIFFERENCE_FIGURES], lines)]


def _sources(found: Findings, rows: Lookup) -> list[str]:
    union = rows.get(UNION, "candidate_recall")
    if union is None:
        return []
    names, ks = source_names(), depths(found.config.source_depth)
    recalls = {name: [_value(rows.get(name, f"candidate_recall@{k}")) for k in ks] for name in names}
    marginal = {"": [rows.get(name, "marginal_recall") for name in names]}
    lines = [
        [
            name,
            html.cell(f"{found.limits[name]:,}"),
            *(_cell(rows.get(name, f"candidate_recall@{k}")) for k in ks),
            _cell(rows.get(name, "marginal_recall")),
        ]
        for name in names
    ]
    limits = ", ".join(f"{count:,} by {name}" for name, count in found.limits.items())
    return [
        html.paragraph(f"All sources together ({limits}) hold {union.value:.1%}{_in_brackets(union)} of what was relevant."),
        html.pictures(
            [
                html.figure(draw.depth_curves(ks, recalls), "Recall of each source alone, over all judged users."),
                html.figure(
                    draw.intervals("recall lost without the source", names, marginal, "marginal"),
                    "Marginal contribution with the limits that are served.",
                ),
            ]
        ),
        html.table(["source", "limit", *(f"recall@{k}" for k in ks), "marginal"], lines),
    ]


def _parts(found: Findings, rows: Lookup) -> list[str]:
    """Weights by segment, and what the final list owes to each thing that can be taken out of it."""
    names = list(dict.fromkeys(name for own in found.weights.values() for name in own))
    weights = [
        [who, *(html.cell(f"{own[name]:g}" if own.get(name) else "-") for name in names)] for who, own in found.weights.items()
    ]
    said = [
        html.paragraph("Weights of each segment of users, chosen on the validation split; sponsored is as configured."),
        html.table(["segment", *names], weights),
    ]
    values = rows.slices(WITHOUT, _PART_FIGURES[0])
    if not values:
        return said

    def owed(metric: str, value: str) -> Row | None:
        return rows.get(FINAL, metric, baseline=FINAL, slice_kind=WITHOUT, slice_value=value)

    lines = [
        [
            value,
            *(_cell(owed(metric, value), signed=True) for metric in _PART_FIGURES),
            _cell(rows.get(FINAL, "coverage@100", slice_kind=WITHOUT, slice_value=value)),
        ]
        for value in values
    ]
    drawn = draw.intervals(
        "nDCG@10 that the final list owes to ...", values, {"": [owed(_PART_FIGURES[0], value) for value in values]}, "parts"
    )
    heads = [*(f"{metric} owed to it" for metric in _PART_FIGURES), "coverage@100 without it"]
    caption = "User by user: right of 0 the list is better with it than without."
    return [*said, html.pictures([html.figure(drawn, caption)]), html.table(["part", *heads], lines)]


def _ranker(found: Findings, rows: Lookup) -> list[str]:
    if not found.curves:
        return []
    lines = [[name, *(_cell(rows.get(name, metric)) for metric in _PREDICTED)] for name in found.curves]
    drawn = [
        html.figure(
            draw.calibration({name: one.reliability for name, one in found.curves.items()}),
            "Observed against predicted rate, bins of equal weight; below, the examples in each.",
        )
    ]
    if any(one.roc is not None for one in found.curves.values()):
        drawn += [
            html.figure(draw.precision_recall(found.curves), "Precision against recall, weighted to the whole log."),
            html.figure(draw.roc(found.curves), "ROC curve, weighted to the whole log."),
        ]
    first = next(iter(found.curves))
    behind = rows.get(first, "log_loss")
    said = f"{behind.examples:,} examples of {behind.users:,} users in the test split." if behind else ""
    head = ["predictor", *(_said(name) for name in _PREDICTED)]
    parts = [html.paragraph(said), html.pictures(drawn), html.table(head, lines, first)]
    kinds = [(kind, title) for kind, title in _CUTS.items() if rows.slices(kind, "log_loss")]
    if not kinds:
        return parts
    parts += ["<h3>By slice</h3>", html.paragraph(_BY_SLICE)]
    for kind, title in kinds:
        parts += [html.paragraph(title, "muted"), _predicted_slice(found, rows, kind)]
    return parts


def _predicted_slice(found: Findings, rows: Lookup, kind: str) -> str:
    """One way of cutting: area and calibration error of the predictors side by side, and all figures on a click.

    The area of a predictor that predicts one rate for all is 0.5 everywhere and left out.
    """
    values, names = rows.slices(kind, "log_loss"), list(found.curves)
    varied = [name for name, one in found.curves.items() if len(one.reliability.predicted) > 1]
    columns = [(metric, name) for metric in _SLICE_HEADS for name in (varied if metric == "roc_auc" else names)]

    def row(model: str, metric: str, value: str) -> Row | None:
        return rows.get(model, metric, slice_kind=kind, slice_value=value)

    short, full = [], []
    for value in values:
        behind = row(names[0], "log_loss", value)
        counted = html.cell(f"{behind.examples:,}", f"{behind.users:,} users") if behind else html.cell("-")
        short.append([value, counted, *(_cell(row(name, metric, value)) for metric, name in columns)])
        full += [[f"{value}: {name}", *(_cell(row(name, metric, value)) for metric in _PREDICTED)] for name in names]
    head = ["slice", "examples", *(f"{_SLICE_HEADS[metric]}: {name}" for metric, name in columns)]
    folded = html.table(["slice", *(_said(name) for name in _PREDICTED)], full)
    return html.table(head, short) + html.folded("All figures", folded)


def _said(metric: str) -> str:
    return metric.replace("_", " ").replace("expected ", "")


def _beyond(rows: Lookup) -> list[str]:
    models = rows.models("coverage@100")
    if not models:
        return []
    tenths = [f"{place:02d}" for place in range(1, 11)]
    shares = {
        name: [_value(rows.get(name, metric, slice_kind=DECILES, slice_value=tenth)) for tenth in tenths]
        for name, metric in [*((model, "place_share@10") for model in models), (CHOSEN, "relevant_share")]
    }
    lines = [[model, *(_cell(rows.get(model, name)) for name in _BEYOND_FIGURES)] for model in models]
    caption = "Which tenth of the catalogue the first ten places go to, and which the relevant videos come from."
    return [
        html.table(["list", *_BEYOND_FIGURES], lines, FINAL),
        html.pictures([html.figure(draw.places(shares, CHOSEN), caption)]),
    ]


def _slices(found: Findings, rows: Lookup) -> list[str]:
    days = f" (new: uploaded within {found.config.new_video_days:g} days before the test split)"
    parts = [
        _slice(rows, kind, values, title + (days if kind == "videos" else ""))
        for kind, title in _CUTS.items()
        if (values := rows.slices(kind, "ndcg@10"))
    ]
    return [html.pictures(parts)] if parts else []


def _slice(rows: Lookup, kind: str, values: Sequence[str], title: str) -> str:
    """One way of cutting: the final list against popularity as a picture, all lists as a table."""

    def row(model: str, metric: str, value: str, baseline: str = NOTHING) -> Row | None:
        return rows.get(model, metric, baseline=baseline, slice_kind=kind, slice_value=value)

    counted = ((value, row(FINAL, "ndcg@10", value)) for value in values)
    labels = [f"{value} ({one.users if one else 0:,})" for value, one in counted]
    compared = [model for model in (POPULARITY, BY_SEGMENT, FINAL) if model in rows.models("ndcg@10")]
    drawn = {model: [row(model, "ndcg@10", value) for value in values] for model in compared}
    lines: list[list[str]] = []
    for value in values:
        lines += [
            [f"{value}: {model}", *(_cell(row(model, name, value)) for name in SLICED)] for model in rows.models("ndcg@10")
        ]
        more = (_cell(row(FINAL, name, value, POPULARITY), signed=True) for name in SLICED)
        lines.append([f"{value}: {FINAL} - {POPULARITY}", *more])
    picture = html.figure(draw.intervals("nDCG@10", labels, drawn, f"slices-{kind}"), f"{title}. In brackets: users.")
    return f"<div>{picture}{html.folded('All lists and figures', html.table(['slice', *SLICED], lines))}</div>"


def _learning(found: Findings) -> list[str]:
    shown = {"ranker": "log_loss", "retrieval": "recall_at_100"}
    drawn = [
        html.figure(
            draw.learning(name, history, shown.get(name, "score")), f"{name}, the model that has not seen the test split."
        )
        for name, history in found.histories.items()
        if history
    ]
    return [html.pictures(drawn)] if drawn else []


def _cell(row: Row | None, *, signed: bool = False) -> str:
    if row is None:
        return html.cell("-")
    main = f"{row.value:+.4f}" if signed else f"{row.value:.4f}"
    return html.cell(main, _interval(row, signed=signed))


def _interval(row: Row, *, signed: bool = False) -> str:
    if row.low is None or row.high is None:
        return ""
    return f"{row.low:+.4f} to {row.high:+.4f}" if signed else f"{row.low:.4f} to {row.high:.4f}"


def _in_brackets(row: Row, *, signed: bool = False) -> str:
    said = _interval(row, signed=signed)
    return f" ({said})" if said else ""


def _value(row: Row | None) -> float:
    return row.value if row is not None else float("nan")
