"""A fitted tower model on disk: two JSON files and one of safetensors, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.features import FeatureSpec
from models.towers._config import TowersConfig
from models.towers._train import Record
from schemas.errors import ReelflowError

FORMAT_VERSION = 3

_MODEL, _FEATURES, _WEIGHTS = "model.json", "features.json", "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Stored:
    """What a directory holds of a model."""

    config: TowersConfig
    spec: FeatureSpec
    history: tuple[Record, ...]
    best_epoch: int
    weights: Mapping[str, Tensor]

    @property
    def content_dim(self) -> int:
        """Columns of the table of contents."""
        return int(self.weights["user.content"].shape[1])

    def fill(self, module: nn.Module) -> None:
        """Give ``module`` the stored weights, frozen."""
        module.load_state_dict(self.weights)
        module.eval().requires_grad_(False)


def write(directory: Path, kind: str, model: Stored) -> None:
    """Write a model; the same model gives the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "config": model.config.model_dump(mode="json"),
        "best_epoch": model.best_epoch,
        "history": [dict(record) for record in model.history],
    }
    (directory / _MODEL).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (directory / _FEATURES).write_text(model.spec.to_json() + "\n", encoding="utf-8")
    save_file({name: value.contiguous() for name, value in model.weights.items()}, directory / _WEIGHTS)


def read(directory: Path, kind: str) -> Stored:
    """What ``write`` wrote.

    Raises:
        ReelflowError: a file is missing or damaged, or the model is of another kind or format.
    """
    try:
        content = json.loads((directory / _MODEL).read_text(encoding="utf-8"))
        found = (content.get("kind"), content.get("format_version"))
        if found != (kind, FORMAT_VERSION):
            raise ReelflowError(f"model {directory}: found {found}, expected {(kind, FORMAT_VERSION)}; train it again")
        spec = FeatureSpec.from_json((directory / _FEATURES).read_text(encoding="utf-8"))
        config = TowersConfig.model_validate(content["config"])
        weights = load_file(directory / _WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ReelflowError(f"model {directory}: expected a stored {kind} model, found {error}; train it again") from error
    return Stored(config, spec, tuple(content["history"]), content["best_epoch"], weights)
