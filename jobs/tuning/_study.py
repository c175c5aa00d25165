"""The search: Optuna proposes settings, every data set judges them, hopeless ones are given up, and a file remembers.

A study that was broken off goes on where it stood and ends as if nothing had happened: what is proposed depends on the seed and
the finished trials alone, and a trial that was broken off is none.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from jobs._recipe import canonical
from jobs.tuning._models import Judged, Model
from jobs.tuning._sets import DataSet
from models.tuning import Choices, Dimension, Scores, Value, around, gain, hopeless, values_of, with_values
from schemas.errors import ReelflowError

_RANDOM_TRIALS = 10
"""So many are drawn evenly before Optuna's TPE models what is good."""
_STEPS = 1_000_000
"""Optuna numbers steps: this much a data set, and one an epoch."""
_DIGITS = 3
"""Settings are tried as they can be written down: 0.00213."""
_SCORE = "score"
"""Key of the figure that a fit's early stopping wants higher."""
_IMPORTANCE_TRIALS, _GOOD_SHARE = 20, 0.25
"""Importances say what sets the best quarter of finished trials apart; fewer than five would be chance."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting that was tried."""

    number: int
    values: Mapping[str, Value]
    state: str
    """``complete`` or ``pruned``; a setting that no model came of was pruned, with an ``error``."""
    gain: float | None
    """Mean over the data sets of the logarithm of its figure over that of the configured settings; higher is better."""
    figures: Sequence[float]
    learned: Sequence[Mapping[str, float | None]]
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """What was tried, the configured settings first."""

    trials: Sequence[Trial]
    importances: Mapping[str, float]
    """How much each field sets the best trials apart, as shares of 1; empty where there are few trials."""
    new: int
    """Trials of this run."""

    @property
    def defaults(self) -> Trial:
        """The configured settings."""
        return self.trials[0]

    @property
    def best(self) -> Trial:
        """The highest gain; the earliest of equals."""
        return max(self.trials, key=lambda trial: (-np.inf if trial.gain is None else trial.gain, -trial.number))


def digest(model: Model, sets: Sequence[DataSet], seed: int) -> str:
    """Digest of everything that determines a study: one of other data, code or settings is another study."""
    content = canonical([model.name, seed, *(one.recipe.digest for one in sets)])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def search(
    model: Model, sets: Sequence[DataSet], file: Path, *, trials: int, minutes: float | None, seed: int, say: Say
) -> Study:
    """Try settings until the budget is spent, those of an earlier run with the same file included.

    Args:
        model: whose settings.
        sets: what they are judged on, one after the other; each counts the same.
        file: what remembers the trials.
        trials: of the whole study, the configured settings included.
        minutes: no trial of this run begins later, but the first of the study; ``None`` for no such limit.
        seed: of the proposals.
        say: prints a line.

    Raises:
        ReelflowError: the data sets differ in what is configured, or the configured settings find nothing.
    """
    began = time.monotonic()

    def spent() -> bool:
        return minutes is not None and time.monotonic() - began >= 60 * minutes

    configured = _configured(model, sets)
    space = around(model.space, sets[0].config, {"retrieval.history": min(one.kept_watches for one in sets)})
    with _alone(file), _quiet():
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(file))),
            study_name=model.name,
            direction="maximize",
            load_if_exists=True,
        )
        for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(left.number, state=TrialState.FAIL)
        before = len(_finished(study))
        if before:
            say(f"{before} trials of an earlier run: going on with them")
        while not (done := len(_finished(study))) or (done < trials and not spent()):
            if not done:
                _add_configured(study, model, sets, space, configured)
            else:
                study.sampler = _sampler(seed, done)
                _try(study, model, sets, space)
            say(f"trial {done + 1} of {trials}: {_said(model, sets, _finished(study)[0], _finished(study)[-1])}")
        return Study([_trial(n, found) for n, found in enumerate(_finished(study))], _importances(study), done - before)


def _add_configured(
    study: optuna.Study, model: Model, sets: Sequence[DataSet], space: Sequence[Dimension], values: Mapping[str, Value]
) -> None:
    """Judge the configured settings, and make them the first trial."""
    began = time.monotonic()
    scores: dict[int, float] = {}
    judged = []
    for number, one in enumerate(sets):
        found = model.judge(one.config, one, _reporting(number, scores.__setitem__))
        if not found.figure > 0:
            raise ReelflowError(
                f"data set {one.name}: found {model.figure} {found.figure} with the configured settings, expected more than 0 "
                "to compare others with; train on more, or leave it out"
            )
        judged.append(found)
    study.add_trial(
        create_trial(
            params={part.field: _proposal(part, values[part.field]) for part in space},
            distributions=_distributions(space),
            value=0.0,
            user_attrs={"values": values, **_attributes(judged, time.monotonic() - began)},
            intermediate_values=scores,
        )
    )


def _try(study: optuna.Study, model: Model, sets: Sequence[DataSet], space: Sequence[Dimension]) -> None:
    """Judge what the sampler proposes."""
    began = time.monotonic()
    complete = _complete(study)
    reference = complete[0]
    trial = study.ask(_distributions(space))
    values = {part.field: _value(part, trial.params[part.field]) for part in space}
    trial.set_user_attr("values", values)
    scores: dict[int, float] = {}

    def report(step: int, score: float) -> None:
        trial.report(score, step)
        scores[step] = score
        if hopeless(
            _scores(scores),
            [_scores(t.intermediate_values) for t in complete],
            _scores(reference.intermediate_values),
            len(sets),
        ):
            raise optuna.TrialPruned

    judged: list[Judged] = []
    state, value = TrialState.PRUNED, None
    try:
        for number, one in enumerate(sets):
            judged.append(model.judge(with_values(one.config, values), one, _reporting(number, report)))
        state, value = TrialState.COMPLETE, _gain(model, judged, reference)
    except optuna.TrialPruned:
        pass
    except ReelflowError as error:  # a rate at which the loss is infinite, factors that are not finite
        trial.set_user_attr("error", str(error))
    for name, content in _attributes(judged, time.monotonic() - began).items():
        trial.set_user_attr(name, content)
    study.tell(trial, value, state)


def _reporting(number: int, report: Callable[[int, float], None]) -> Callable[[Mapping[str, float]], None]:
    """What hands on the score of each epoch on a data set."""

    def progress(record: Mapping[str, float]) -> None:
        if _SCORE in record:
            report(number * _STEPS + int(record["epoch"]), record[_SCORE])

    return progress


def _scores(steps: Mapping[int, float]) -> Scores:
    return {divmod(step, _STEPS): score for step, score in steps.items()}


def _gain(model: Model, judged: Sequence[Judged], reference: FrozenTrial) -> float:
    pairs = zip(judged, reference.user_attrs["figures"], strict=True)
    return float(np.mean([gain(model.sign * one.figure, model.sign * figure) for one, figure in pairs]))


def _attributes(judged: Sequence[Judged], seconds: float) -> dict[str, Any]:
    return {
        "figures": [one.figure for one in judged],
        "learned": [dict(one.learned) for one in judged],
        "seconds": round(seconds, 2),
    }


def _configured(model: Model, sets: Sequence[DataSet]) -> dict[str, Value]:
    """What is configured, the same for every data set.

    Raises:
        ReelflowError: it is not.
    """
    first, *others = (values_of(one.config, model.space) for one in sets)
    for one, other in zip(sets[1:], others, strict=True):
        for field, value in first.items():
            if other[field] != value:
                raise ReelflowError(
                    f"data set {one.name}: found {model.section}.{field} {other[field]}, expected {value} as in "
                    f"{sets[0].name}: settings of several data sets are compared with one default; configure the same for all"
                )
    return first


def _distributions(space: Sequence[Dimension]) -> dict[str, BaseDistribution]:
    """As Optuna has them; of choices their number in order of size."""
    found: dict[str, BaseDistribution] = {}
    for part in space:
        if isinstance(part, Choices):
            found[part.field] = IntDistribution(0, len(part.values) - 1)
        elif part.whole:
            found[part.field] = IntDistribution(int(part.low), int(part.high), log=part.log)
        else:
            found[part.field] = FloatDistribution(part.low, part.high, log=part.log)
    return found


def _proposal(part: Dimension, value: Value) -> float:
    """A value as Optuna has it."""
    if isinstance(part, Choices):
        return part.values.index(value)
    assert not isinstance(value, tuple)
    return min(max(value, part.low), part.high)


def _value(part: Dimension, proposal: float) -> Value:
    """What Optuna proposes, as a setting."""
    if isinstance(part, Choices):
        return part.values[int(proposal)]
    return int(proposal) if part.whole else float(f"{proposal:.{_DIGITS}g}")


def _sampler(seed: int, finished: int) -> optuna.samplers.BaseSampler:
    """A sampler whose proposals depend on the finished trials alone, and not on how many it made in this process."""
    own = int(np.random.SeedSequence([seed, finished]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=own, n_startup_trials=_RANDOM_TRIALS, multivariate=True, constant_liar=False)


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _trial(number: int, found: FrozenTrial) -> Trial:
    told = found.user_attrs
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in told["values"].items()}
    value = found.value if found.state is TrialState.COMPLETE else None
    return Trial(
        number, values, found.state.name.lower(), value, told["figures"], told["learned"], told["seconds"], told.get("error")
    )


def _said(model: Model, sets: Sequence[DataSet], reference: FrozenTrial, found: FrozenTrial) -> str:
    figures = found.user_attrs["figures"]
    pairs = zip(sets, figures, reference.user_attrs["figures"], strict=False)
    by_set = ", ".join(
        f"{one.name} {figure:.4f} ({np.expm1(gain(model.sign * figure, model.sign * before)):+.1%})"
        for one, figure, before in pairs
    )
    took = f"{found.user_attrs['seconds']:.0f} s"
    if found.state is TrialState.PRUNED:
        why = found.user_attrs.get("error", "behind the others")
        return f"given up at {sets[len(figures)].name}: {why}; {took}"
    assert found.value is not None
    return f"{np.expm1(found.value):+.2%}: {by_set}; {took}"


def _importances(study: optuna.Study) -> dict[str, float]:
    """By PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023)."""
    if len(_complete(study)) < _IMPORTANCE_TRIALS:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_GOOD_SHARE)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: round(float(share), 4) for name, share in found.items()}


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Let no other process work on a study.

    Raises:
        ReelflowError: one does.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:  # Optuna locks by a link beside it
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReelflowError(f"study {file}: another process is at work on it; wait until it has ended") from error
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's own lines, and its warnings that interfaces may change: the lock names one version."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
