"""The benchmark: logs and a cut in time in, figures of every model out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import _ours, _workspace
from benchmarks.quality._lists import co_watch, figures, popular_order, spread, top
from benchmarks.quality._tuning import Tuned, refit, tune
from benchmarks.quality._world import Ints, Log, World, read_log
from benchmarks.quality.baselines import Als, Baseline, Ease, ItemKnn, Popularity, SasRec
from jobs._window import iso

BASELINES: tuple[Baseline, ...] = (Popularity(), ItemKnn(), Ease(), Als(), SasRec())
MODELS = (*(baseline.name for baseline in BASELINES), *_ours.NAMES)


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked for.

    Attributes:
        raw: raw logs; only what is before ``as_of`` is learned from.
        as_of: the cut.
        holdout: raw logs from the cut on; may be ``raw`` itself.
        home: folder for the workspaces; what is up to date in them is not made again.
        seeds: of every model that has one.
        trials: of tuning.
        models: some of ``MODELS``.
    """

    raw: Path
    as_of: datetime
    holdout: Path
    home: Path
    seeds: Sequence[int]
    trials: int
    models: Sequence[str]


def run(task: Task) -> dict[str, Any]:
    """Do the task.

    Returns:
        JSON: facts of the question, and by model ``mean`` and ``spread`` over seeds of each figure, with seconds and what
        tuning found.

    Raises:
        ReelflowError: a stage failed, or logs that do not fit.
    """
    seconds = {}
    workspace = _workspace.training(task.home / "workspace", task.raw, task.as_of).write()
    for stage in _workspace.PREPARE:
        seconds[stage] = workspace.run(stage, "--as-of", iso(task.as_of))
    labels, window = _workspace.label_holdout(task.home / "labels", task.raw, task.holdout, task.as_of)
    with workspace.environment():
        log = read_log(workspace.context(task.as_of), labels, window)
    test = log.test()
    likeness = co_watch(test)

    def judge(lists: Ints) -> dict[str, float]:
        return figures(lists, test, likeness)

    report = {"question": _facts(task, log, test), "stages_seconds": {name: round(took, 1) for name, took in seconds.items()}}
    models = _baselines(task, log, test, judge)
    if set(task.models) & set(_ours.NAMES):
        models |= _reelflow(task, test, judge)
    return {**report, "models": {name: models[name] for name in MODELS if name in task.models}}


def _facts(task: Task, log: Log, test: World) -> dict[str, Any]:
    new = np.diff(test.seen.indptr)[test.judged] == 0
    validation = log.validation()
    return {
        "raw": task.raw.name,
        "as_of": iso(task.as_of),
        "users": len(test.judged),
        "new_users": int(new.sum()),
        "relevant": int(test.relevant.nnz),
        "relevant_of_unknown_videos": log.strange,
        "videos": int((~test.removed).sum()),
        "positives_before": len(test.inputs["positives"].user),
        "watches_before": len(test.inputs["watches"].user),
        "validation_users": len(validation.judged),
        "validation_relevant": int(validation.relevant.nnz),
        "seeds": list(task.seeds),
        "trials": task.trials,
    }


def _baselines(task: Task, log: Log, test: World, judge: Callable[[Ints], dict[str, float]]) -> dict[str, Any]:
    """Tune each on validation by the first seed, fit on everything before the cut by each seed."""
    chosen = [baseline for baseline in BASELINES if baseline.name in task.models]
    if not chosen:
        return {}
    validation, popularity = log.validation(), Popularity()
    plain = np.arange(test.shape[1])
    popular = tune(popularity, validation, plain, trials=task.trials, seed=task.seeds[0])
    asked, answer = (_popular(popular, world) for world in (validation, test))
    models = {}
    for baseline in chosen:
        tuned = popular
        if baseline.name != popularity.name:
            tuned = tune(baseline, validation, asked, trials=task.trials, seed=task.seeds[0])
        runs, took = [], []
        for seed in task.seeds:
            fitted, seconds = refit(baseline, test, tuned, seed)
            runs.append(judge(top(fitted.scores, test, test.judged, answer)))
            took.append(seconds)
        models[baseline.name] = {**_over_seeds(runs), "fit_seconds": round(float(np.mean(took)), 1), **tuned.report()}
        _say(baseline.name, models[baseline.name])
    return models


def _popular(tuned: Tuned, world: World) -> Ints:
    return popular_order(Popularity().fit(world, tuned.params, 0).scores(np.zeros(1, dtype=np.int64))[0])


def _reelflow(task: Task, test: World, judge: Callable[[Ints], dict[str, float]]) -> dict[str, Any]:
    """Train the real stages by each seed, and judge their lists."""
    runs: dict[str, list[Mapping[str, float]]] = {name: [] for name in _ours.NAMES}
    took, verdicts = [], []
    for seed in task.seeds:
        workspace = _workspace.training(task.home / "workspace", task.raw, task.as_of, seed).write()
        began = time.monotonic()
        for stage in _workspace.TRAIN:
            workspace.run(stage, "--as-of", iso(task.as_of))
        took.append(time.monotonic() - began)
        with workspace.environment():
            ours = _ours.our_lists(workspace.context(task.as_of), test)
        for name, lists in ours.lists.items():
            runs[name].append(judge(lists))
        verdicts.append({"seed": seed, **ours.verdict, "users_without_a_row": ours.strangers})
    models: dict[str, Any] = {name: _over_seeds(found) for name, found in runs.items()}
    models[_ours.FINAL] |= {"fit_seconds": round(float(np.mean(took)), 1), "verdicts": verdicts}
    for name in _ours.NAMES:
        _say(name, models[name])
    return models


def _over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    means, deviations = spread(list(runs))
    return {"mean": means, "spread": deviations}


def _say(name: str, found: Mapping[str, Any]) -> None:
    print(f"quality | {name}: nDCG@10 {found['mean']['ndcg@10']:.4f}", file=sys.stderr, flush=True)
