"""Settings of both two-tower models: section ``towers`` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from conf import Section

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class TowersConfig(Section):
    """Hyper-parameters of retrieval and ranker. Every field is required: ``conf/base.yaml`` writes each value once."""

    dim: PositiveInt
    """Width of the retrieval vectors."""
    hidden: tuple[PositiveInt, ...]
    """Layers of the retrieval's user tower."""
    ranker_dim: PositiveInt
    """Width of the ranker's vectors, before the two columns that carry its biases."""
    ranker_hidden: tuple[PositiveInt, ...]
    """Layers of each of the ranker's towers."""
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
    id_dropout: Fraction
    """Share of training examples whose ids are shown as unknown, so that towers learn to do without them."""
    batch_size: PositiveInt
    """Examples a step of the ranker."""
    retrieval_batch_size: PositiveInt
    """Positives a step of the retrieval."""
    min_steps_per_epoch: PositiveInt
    """Small data get smaller batches until an epoch has this many steps."""
    uniform_negatives: Annotated[int, Field(ge=0)]
    """Videos drawn evenly from the catalogue at each retrieval step, beside those of the batch."""
    temperature: PositiveFloat
    """Divisor of the retrieval's cosines."""
    learning_rate: PositiveFloat
    """Of Adam, both models."""
    weight_decay: Annotated[float, Field(ge=0.0)]
    """Share by which weights decay in one epoch, whatever its number of steps; tables updated sparsely have none."""
    sparse_rows: PositiveInt
    """Id tables with more rows than this get sparse updates: a step then costs what its batch touches."""
    loss: Literal["bce", "focal", "class_balanced"]
    """Of the ranker (M7)."""
    focal_gamma: Annotated[float, Field(ge=0.0)]
    """Focusing exponent of the focal loss."""
    class_balanced_beta: Fraction
    """Of the class-balanced loss; nearer to 1 weighs classes nearer to their inverse size."""
    max_epochs: PositiveInt
    """Most passes over the examples."""
    patience: PositiveInt
    """Passes without a better validation figure before training stops."""
    threads: PositiveInt
    """Processor threads of a training. The same number gives the same arrays; small batches gain nothing from more."""
    seed: int
    """Of initial values, order, dropout and sampled negatives."""
