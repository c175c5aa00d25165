"""A training that was interrupted goes on after its last whole epoch and ends with the same arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

_FACTS = "facts"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training keeps what it needs to go on: one file, replaced whole after every epoch.

    The path must tell data, settings and seed: nothing else says whose state it is.
    """

    path: Path

    def save(self, state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replace what was kept."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        staged = self.path.with_suffix(".tmp")
        # A copy each: safetensors refuses tensors that share their memory.
        save_file({name: value.clone().contiguous() for name, value in state.items()}, staged, {_FACTS: json.dumps(facts)})
        staged.replace(self.path)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was kept, or None where nothing is or it cannot be read: the training then begins anew."""
        try:
            with safe_open(self.path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[_FACTS])  # noqa: SIM118
        except (OSError, SafetensorError):
            return None

    def remove(self) -> None:
        """Forget what was kept."""
        self.path.unlink(missing_ok=True)


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What ``state`` holds under a prefix, without it."""
    return {name.removeprefix(f"{prefix}."): value for name, value in state.items() if name.startswith(f"{prefix}.")}


def whole(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Every part's tensors under its name."""
    return {f"{prefix}.{name}": value for prefix, tensors in parts.items() for name, value in tensors.items()}


def of_optimizers(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What optimizers remember of every parameter."""
    return {
        f"{place}.{number}.{name}": torch.as_tensor(value)
        for place, optimizer in enumerate(optimizers)
        for number, remembered in optimizer.state_dict()["state"].items()
        for name, value in remembered.items()
    }


def to_optimizers(optimizers: Sequence[torch.optim.Optimizer], state: Mapping[str, Tensor]) -> None:
    """Give optimizers what ``of_optimizers`` took."""
    for place, optimizer in enumerate(optimizers):
        remembered: dict[int, dict[str, Any]] = {}
        for key, value in part(state, str(place)).items():
            number, name = key.split(".")
            counts = isinstance(optimizer, torch.optim.SparseAdam) and name == "step"
            remembered.setdefault(int(number), {})[name] = int(value) if counts else value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": remembered})


def of_generators(generator: torch.Generator) -> dict[str, Tensor]:
    """State of a generator and of torch's own."""
    return {"own": generator.get_state(), "global": torch.get_rng_state()}


def to_generators(generator: torch.Generator, state: Mapping[str, Tensor]) -> None:
    """Give both what ``of_generators`` took."""
    generator.set_state(state["own"])
    torch.set_rng_state(state["global"])
