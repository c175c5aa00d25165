"""Settings of both two-tower models: section ``towers`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from conf import Section
from models.towers._objectives import Objective

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class TrainingConfig(Section):
    """How one of the models is trained."""

    batch_size: PositiveInt
    """Examples a step."""
    min_steps_per_epoch: PositiveInt
    """Small data get smaller batches until an epoch has this many steps."""
    learning_rate: PositiveFloat
    """Of Adam."""
    weight_decay: Annotated[float, Field(ge=0.0)]
    """Share by which weights decay in one epoch, whatever its number of steps; tables updated sparsely have none."""
    id_dropout: Fraction
    """Share of training examples whose ids are shown as unknown, so that towers learn to do without them."""
    average: Fraction
    """Share of the moving average of the weights that a step keeps; the averages are the model. 0: the last weights are."""
    max_epochs: PositiveInt
    """Most passes over the examples."""
    patience: PositiveInt
    """Passes without a better validation figure before training stops."""


class RetrievalConfig(TrainingConfig):
    """The retrieval model."""

    dim: PositiveInt
    """Width of the vectors, before the two columns that make them unit vectors."""
    hidden: tuple[PositiveInt, ...]
    """Layers of the perceptron on the user's features."""
    history: Annotated[int, Field(ge=2)]
    """Newest watches that the sequence encoder reads; at most `features.history.watched`."""
    blocks: Annotated[int, Field(ge=0)]
    """Layers of the sequence encoder; 0 does without it."""
    heads: PositiveInt
    """Of attention; divides ``dim``."""
    dropout: Fraction
    """Share of activations that the sequence encoder drops in training."""
    full_softmax_videos: Annotated[int, Field(ge=0)]
    """Catalogues of at most so many videos are the candidates of every step; larger ones are sampled."""
    uniform_negatives: Annotated[int, Field(ge=0)]
    """Videos drawn evenly from a larger catalogue at each step, beside those of the batch."""


class RankerConfig(TrainingConfig):
    """The ranker."""

    dim: PositiveInt
    """Width of the vectors, before the two columns that carry the biases."""
    hidden: tuple[PositiveInt, ...]
    """Layers of each tower."""
    crosses: tuple[tuple[str, str], ...]
    """Pairs of a user's or moment's feature and a video's; each pair of their values gets a weight of its own."""
    quick_rate: PositiveFloat
    """Learning rate of these weights and of those that compare tastes with contents, in learning rates of the rest."""
    objectives: dict[Objective, Annotated[float, Field(ge=0.0)]]
    """L5: weight of the cross-entropy of each further head, against 1 for relevance; see ``models.towers._objectives``."""
    loss: Literal["bce", "focal", "class_balanced"]
    """See ``models.towers._losses`` (M7)."""
    focal_gamma: Annotated[float, Field(ge=0.0)]
    """Focusing exponent of the focal loss."""
    class_balanced_beta: Fraction
    """Of the class-balanced loss; nearer to 1 weighs classes nearer to their inverse size."""


class FineTuneConfig(Section):
    """How both go on between two full trainings; see ``models.towers._fine_tune``."""

    models: tuple[Literal["retrieval", "ranker"], ...]
    """Which of the two go on."""
    rate: PositiveFloat
    """Learning rate, in those of the full training."""
    max_epochs: PositiveInt
    """Most passes over the new examples."""
    check_fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of them, the newest, that tell whether going on helps and for how long."""


class TowersConfig(Section):
    """Hyper-parameters of retrieval and ranker. Every field is required: ``conf/base.yaml`` writes each value once."""

    id_dim: PositiveInt
    """Width of the embedding of a user, video or creator inside a tower."""
    category_dim: PositiveInt
    """Width of the embedding of every other categorical feature."""
    vector_dim: PositiveInt
    """Width to which a vector of another model (title, tags, searches) is projected inside a tower."""
    leave_out: tuple[str, ...]
    """Names of features to do without; see ``models.features.FEATURES``."""
    min_count: PositiveInt
    """A value that fewer training examples carry shares the embedding of rare values."""
    sparse_rows: PositiveInt
    """Id tables with more rows than this get sparse updates: a step then costs what its batch touches."""
    threads: PositiveInt
    """Processor threads of a training. The same number gives the same arrays. Two are 1.3 times as fast as one where nothing
    else runs, and much slower where another process wants the cores."""
    seed: int
    """Of initial values, order, dropout and sampled negatives."""
    retrieval: RetrievalConfig
    ranker: RankerConfig
    fine_tune: FineTuneConfig
