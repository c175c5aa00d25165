"""What is searched for each model. Ranges hold the best settings found on three logs (ADR 19, ADR 21), and some way beyond."""

from __future__ import annotations

from models.tuning._space import Choices, Dimension, Range

_IDS = "0 trusts ids, near 1 knows all but newcomers by their features alone"

_WALS: tuple[Dimension, ...] = (
    Range("factors", 16, 128, "below 16 all three logs lost; cost grows with it, and its square in each solve", whole=True),
    Range("iterations", 4, 30, "8 % were lost at 6 and nothing won after 20, at another penalty that may differ", whole=True),
    Range("regularization", 0.05, 200.0, "best ones were 1 to 100; it trades with the exponent, so the range is wide"),
    Range("regularization_exponent", 0.0, 1.0, "0 and 1 are the two objectives in use; best ones lay between", log=False),
    Range("unobserved_weight", 0.005, 1.0, "alpha 1 to 200; best ones were 2 to 80"),
    Range("feedback_weights.like", 0.02, 2.0, "from nothing to twice what being relevant weighs"),
    Range("feedback_weights.watch", 0.01, 1.0, "from nothing to as much as being relevant"),
)

_RETRIEVAL: tuple[Dimension, ...] = (
    Choices("retrieval.dim", (32, 48, 64, 96, 128), "every head count divides them; serving pays for each number"),
    Choices("retrieval.blocks", (0, 1, 2, 3), "0 does without the order; the time of a step grows with each"),
    Choices("retrieval.heads", (1, 2, 4), "of few numbers each beyond 4"),
    Range("retrieval.dropout", 0.0, 0.6, "small logs overfit within few epochs", log=False),
    Range("retrieval.learning_rate", 3e-4, 1e-2, "Adam's usual rates; 30 epochs are not enough for less"),
    Range("retrieval.weight_decay", 0.003, 1.0, "share lost in an epoch: from nothing to nearly two thirds"),
    Range("retrieval.id_dropout", 0.0, 0.9, _IDS, log=False),
    Choices("retrieval.average", (0.0, 0.9, 0.97, 0.99, 0.997), "memories of 1, 10, 33, 100 and 333 steps"),
    Choices("retrieval.batch_size", (256, 512, 1024, 2048), "small logs get smaller ones whatever is configured"),
    Choices("retrieval.history", (10, 20, 35, 50), "at most what features.history.watched keeps"),
)

_RANKER: tuple[Dimension, ...] = (
    Choices("ranker.dim", (8, 16, 32, 64), "serving computes a product of so many numbers for every candidate"),
    Range("ranker.learning_rate", 2e-4, 1e-2, "Adam's usual rates"),
    Range("ranker.weight_decay", 0.01, 3.0, "share lost in an epoch, e to the minus this is what stays"),
    Range("ranker.quick_rate", 1.0, 100.0, "1 learns weights of pairs as slowly as everything else"),
    Range("ranker.id_dropout", 0.0, 0.9, _IDS, log=False),
    Choices("ranker.average", (0.0, 0.9, 0.97, 0.99, 0.997), "memories of 1, 10, 33, 100 and 333 steps"),
    Choices("ranker.hidden", ((32,), (64,), (64, 32), (128, 64), (256, 128)), "from one thin layer to twice the usual widths"),
    Choices("category_dim", (2, 4, 8, 16), "categories have few values each"),
)

SPACES: dict[str, tuple[Dimension, ...]] = {"wals": _WALS, "retrieval": _RETRIEVAL, "ranker": _RANKER}
"""By the name of a model: fields of the section ``wals``, or of ``towers``. What both towers share is in both spaces."""
