"""A stored tower model without one of its users."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from models.features import USER_ID
from models.towers._carry import Axes
from models.towers._ranker import KIND as RANKER
from models.towers._ranker import FittedRanker
from models.towers._retrieval import KIND as RETRIEVAL
from models.towers._retrieval import FittedRetrieval
from models.towers._store import Stored, write
from schemas.errors import ReelflowError

_MODELS: dict[str, type[FittedRanker] | type[FittedRetrieval]] = {RANKER: FittedRanker, RETRIEVAL: FittedRetrieval}


def forget_user(directory: Path, user_id: int) -> bool:
    """Take a user's id out of the vocabulary of the model in a directory, and its row out of every table.

    The user is then one whom training did not see. Files are replaced, never written in place: they may be linked from
    elsewhere.

    Args:
        directory: that ``FittedRetrieval.save`` or ``FittedRanker.save`` wrote.
        user_id: the user.

    Returns:
        Whether the model knew the user.

    Raises:
        ReelflowError: it cannot be read.
    """
    kind = json.loads((directory / "model.json").read_text(encoding="utf-8")).get("kind")
    if kind not in _MODELS:
        raise ReelflowError(f"model {directory}: found kind {kind}, expected {' or '.join(_MODELS)}; train it again")
    model = _MODELS[kind].load(directory)
    spec, code = model.spec.without(USER_ID, user_id)
    if code is None:
        return False
    sizes = model.spec.coded("user", "context", "video")
    axes: dict[str, Axes] = model.module.rows()
    weights = {name: _without_row(value, axes.get(name, ()), code, sizes) for name, value in model.module.state_dict().items()}
    for file in directory.iterdir():
        file.unlink()
    write(directory, kind, Stored(model.config, spec, model.history, model.best_epoch, weights))
    return True


def _without_row(value: torch.Tensor, axes: Axes, code: int, sizes: dict[str, int]) -> torch.Tensor:
    """A table without what it has for a code of the user's id; ``value`` itself where no axis is about users."""
    for axis, names in enumerate(axes):
        if USER_ID in names:
            offset = sum(sizes[name] for name in names[: names.index(USER_ID)])
            value = torch.from_numpy(np.delete(value.numpy(), offset + code, axis=axis))
    return value
