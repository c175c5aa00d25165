"""The training loop of both towers: seeded, over batches of row numbers, with early stopping on a validation score."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils.deterministic
from torch import Tensor, nn

from models._vocabulary import UNKNOWN
from models.towers._checkpoint import Checkpoint, of_generators, of_optimizers, part, to_generators, to_optimizers, whole
from models.towers._config import TrainingConfig
from schemas.errors import ReelflowError

Record = Mapping[str, float]
Progress = Callable[[Record], None]

SCORE = "score"
"""Key of the figure that early stopping wants higher."""

_DETERMINISTIC: Any = torch.utils.deterministic
_SMALLEST_BATCH = 32
_CHUNK = 8_192  # rows a forward pass without gradients: histories bound memory at about 100 MB


@dataclass(frozen=True, slots=True)
class Run:
    """What a training run leaves beside the weights."""

    history: tuple[Record, ...]
    """One record an epoch, from 1: epoch, train_loss, and what validation measured."""
    best_epoch: int
    """The epoch whose weights were kept."""


@contextmanager
def seeded(seed: int, threads: int) -> Iterator[torch.Generator]:
    """A generator for all randomness of a fit; inside, torch is deterministic, and its global state is restored after."""
    before, threads_before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    fills_before = _DETERMINISTIC.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        _DETERMINISTIC.fill_uninitialized_memory = False  # it finds bugs of operators, for a tenth of the time
        torch.set_num_threads(threads)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.use_deterministic_algorithms(before)
            _DETERMINISTIC.fill_uninitialized_memory = fills_before
            torch.set_num_threads(threads_before)


def shuffled(n: int, batch: int, generator: torch.Generator) -> Sequence[Tensor]:
    """The rows from 0 to ``n`` in random order, ``batch`` at a time; the last batch may be smaller."""
    return torch.split(torch.randperm(n, generator=generator), batch)


def batch_rows(n: int, *, largest: int, min_steps: int) -> int:
    """Examples a batch: ``largest``, or fewer where an epoch over ``n`` would have less than ``min_steps`` steps."""
    return min(largest, max(_SMALLEST_BATCH, n // min_steps))


def run(
    module: nn.Module,
    step: Callable[[Tensor], tuple[Tensor, int]],
    *,
    batches: Callable[[], Sequence[Tensor]],
    config: TrainingConfig,
    generator: torch.Generator,
    validate: Callable[[], Record] | None,
    epochs: int | None,
    progress: Progress | None,
    quick: Sequence[nn.Parameter] = (),
    quick_rate: float = 1.0,
    started: bool = False,
    checkpoint: Checkpoint | None = None,
) -> Run:
    """Train ``module`` in place and leave it with the best epoch's weights, frozen.

    Args:
        module: what is trained.
        step: rows of a batch to its mean loss, and how many examples that is over.
        batches: gives the rows of each step of an epoch, as many steps each time.
        config: learning rate, decay, epochs and patience.
        generator: of all that ``step`` and ``batches`` draw.
        validate: measures after each epoch; must contain ``SCORE``. Without it, or with ``epochs``, the last epoch is kept.
        epochs: exactly this many, with no validation.
        progress: called with each epoch's record.
        quick: parameters that are weights of their own rather than parts of products.
        quick_rate: their learning rate, in those of the others; they do not decay.
        started: whether the weights are those of another training, which is then epoch 0: without an epoch better than it, it
            is kept.
        checkpoint: where to go on from, and to keep what is needed to.

    Raises:
        ReelflowError: the loss became infinite or undefined.
    """
    first = batches()
    optimizers = _optimizers(module, config, steps=len(first), quick=quick, quick_rate=quick_rate)
    average = _Average(module, config.average)
    measure = validate if epochs is None else None
    last = epochs or config.max_epochs
    so_far = _SoFar([], 0, -math.inf, None)
    if checkpoint is not None and (found := checkpoint.load()) is not None:
        so_far = _go_on(module, optimizers, average, generator, found)
    elif started and measure is not None:
        module.eval()
        with torch.inference_mode():
            so_far = _SoFar([], 0, measure()[SCORE], copy.deepcopy(module.state_dict()))
    for epoch in range(len(so_far.history) + 1, last + 1):
        if so_far.is_over(config.patience):
            break
        module.train()
        total, n = torch.zeros((), dtype=torch.float64), 0
        for rows in batches() if so_far.history else first:
            loss, count = step(rows)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
            average.update()
            total += loss.detach().double() * count
            n += count
        record: dict[str, float] = {"epoch": epoch, "train_loss": total.item() / max(n, 1)}
        if not math.isfinite(record["train_loss"]):
            raise ReelflowError(f"towers: the loss of epoch {epoch} is {record['train_loss']}; lower the learning_rate")
        module.eval()
        with average.applied():
            if measure is not None:
                with torch.inference_mode():
                    record |= measure()
            so_far.take(record, module if measure is not None or epoch == last else None)
        if progress is not None:
            progress(record)
        if checkpoint is not None:
            checkpoint.save(
                whole(
                    {
                        "module": module.state_dict(),
                        "best": so_far.best or {},
                        "average": average.state(),
                        "optimizers": of_optimizers(optimizers),
                        "generators": of_generators(generator),
                    }
                ),
                {"history": so_far.history, "best_epoch": so_far.best_epoch, "best_score": so_far.best_score},
            )
    if so_far.best is not None:
        module.load_state_dict(so_far.best)
    module.eval().requires_grad_(False)
    return Run(tuple(so_far.history), so_far.best_epoch)


@dataclass(slots=True)
class _SoFar:
    """What a training has found."""

    history: list[Record]
    best_epoch: int
    best_score: float
    best: dict[str, Tensor] | None

    def take(self, record: Record, module: nn.Module | None) -> None:
        """Take in an epoch; its weights, where a module is given, if they are the best."""
        self.history.append(record)
        score = record.get(SCORE, record["epoch"])
        if score > self.best_score:
            self.best_epoch, self.best_score = int(record["epoch"]), score
            self.best = None if module is None else copy.deepcopy(module.state_dict())

    def is_over(self, patience: int) -> bool:
        """Whether as many epochs as patience allows have not been better."""
        return len(self.history) - self.best_epoch >= patience


def _go_on(
    module: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: _Average,
    generator: torch.Generator,
    kept: tuple[Mapping[str, Tensor], Mapping[str, Any]],
) -> _SoFar:
    """Restore all that ``run`` keeps after an epoch."""
    state, facts = kept
    module.load_state_dict(part(state, "module"))
    average.restore(part(state, "average"))
    to_optimizers(optimizers, part(state, "optimizers"))
    to_generators(generator, part(state, "generators"))
    return _SoFar(list(facts["history"]), facts["best_epoch"], facts["best_score"], part(state, "best") or None)


class _Average:
    """Moving average of a module's weights, begun over few steps; tables updated sparsely are left as they are.

    Averaged weights lie nearer to the middle of what training wanders around in (Polyak and Juditsky, SIAM J. Control 1992).
    """

    def __init__(self, module: nn.Module, share: float) -> None:
        lazy = {id(p) for p in _sparse_tables(module)}
        self._weights = [p for p in module.parameters() if id(p) not in lazy] if share else []
        self._held = [p.detach().clone() for p in self._weights]
        self._share, self._steps = share, 0

    def update(self) -> None:
        """Take in the weights after a step."""
        if self._weights:
            self._steps += 1
            kept = min(self._share, (1 + self._steps) / (10 + self._steps))
            torch._foreach_lerp_(self._held, [p.detach() for p in self._weights], 1.0 - kept)

    def state(self) -> dict[str, Tensor]:
        """The averages, and over how many steps they are."""
        return {"steps": torch.tensor(self._steps), **{str(place): held for place, held in enumerate(self._held)}}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what ``state`` gave."""
        self._steps = int(state["steps"])
        for place, held in enumerate(self._held):
            held.copy_(state[str(place)])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the module has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, held in zip(self._weights, self._held, strict=True):
            weight.data, held.data = held.data, weight.data


def hide_ids(codes: Tensor, columns: list[int], share: float, generator: torch.Generator) -> Tensor:
    """Codes (n, n_features) in which a random ``share`` of each id column reads unknown.

    Dropping inputs at random prepares a model for their absence (Volkovs et al., DropoutNet, NeurIPS 2017).
    """
    if share == 0.0:
        return codes
    shown = codes.clone()
    for column in columns:
        hidden = torch.rand(len(codes), generator=generator) < share
        shown[:, column] = shown[:, column].masked_fill(hidden, UNKNOWN)
    return shown


def in_chunks(compute: Callable[[Tensor], Tensor], n: int) -> Tensor:
    """``compute`` without gradients on the rows from 0 to ``n``, part by part; results joined (n, ...)."""
    with torch.inference_mode():
        return torch.cat([compute(rows) for rows in torch.split(torch.arange(n), _CHUNK)])


def _optimizers(
    module: nn.Module, config: TrainingConfig, *, steps: int, quick: Sequence[nn.Parameter], quick_rate: float
) -> list[torch.optim.Optimizer]:
    """Adam, lazy where sparse; else with decoupled decay (Loshchilov & Hutter, ICLR 2019) spread over an epoch's ``steps``."""
    sparse = _sparse_tables(module)
    apart = {id(parameter) for parameter in (*sparse, *quick)}
    dense = [parameter for parameter in module.parameters() if id(parameter) not in apart]
    decay = config.weight_decay / (config.learning_rate * steps)
    settings: dict[str, Any] = {"lr": config.learning_rate}
    optimizers: list[torch.optim.Optimizer] = []
    if dense:
        optimizers.append(torch.optim.AdamW(dense, weight_decay=decay, fused=True, **settings))
    if quick:
        optimizers.append(torch.optim.Adam(quick, lr=quick_rate * config.learning_rate, fused=True))
    if sparse:
        optimizers.append(torch.optim.SparseAdam(sparse, **settings))
    return optimizers


def _sparse_tables(module: nn.Module) -> list[Tensor]:
    return [part.weight for part in module.modules() if isinstance(part, nn.Embedding) and part.sparse]
