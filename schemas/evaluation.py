"""What the evaluation found: one figure a row."""

from __future__ import annotations

from schemas import columns as col
from schemas._table import Field, Table

SLICE_KINDS = ("all", "users", "activity", "country", "language", "videos", "popularity_decile", "probability_bin", "without")

EVALUATION = Table(
    name="evaluation",
    doc=(
        "Quality of the models of the partition's day on the held-out end of time, a row a figure. They had not seen the test split. "
        "What each metric means is in [evaluation](evaluation.md)."
    ),
    version=2,
    key=(col.SLICE_KIND, col.SLICE_VALUE, col.MODEL, col.BASELINE, col.METRIC),
    fields=(
        Field(name=col.AS_OF, type="timestamp", doc="End of the window that the models were trained on."),
        Field(name=col.MODEL, type="string", doc="Whose lists, candidates or probabilities: `final` is the list that users get, `union` all sources of candidates, `chosen` what users chose."),
        Field(name=col.BASELINE, type="string", doc="`none`, or the model whose figure is subtracted, user by user."),
        Field(name=col.SLICE_KIND, type="string", allowed=SLICE_KINDS, doc="What the judged users, videos or examples were cut by; `probability_bin` are the bins of the reliability diagram."),
        Field(name=col.SLICE_VALUE, type="string", doc="Which slice; `all` for everything."),
        Field(name=col.METRIC, type="string", doc="Name of the figure, with its depth: `ndcg@10`."),
        Field(name=col.VALUE, type="float64", doc="The figure; one that cannot be computed has no row."),
        Field(name=col.LOW, type="float64", nullable=True, doc="Lower end of the bootstrap interval over users; null for few users and for figures of the whole."),
        Field(name=col.HIGH, type="float64", nullable=True, doc="Upper end."),
        Field(name=col.USERS, type="int64", minimum=0, doc="Users behind the figure."),
        Field(name=col.EXAMPLES, type="int64", minimum=0, doc="Their relevant videos, or the examples that were predicted."),
    ),
)  # fmt: skip
