"""What a search found: as JSON, as a table, and as settings to be pasted into the configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from jobs.tuning._models import Model
from jobs.tuning._sets import DataSet
from jobs.tuning._study import Study
from models.tuning import Value, gain


@dataclass(frozen=True, slots=True)
class Result:
    """A study, and what it was about."""

    model: Model
    sets: Sequence[DataSet]
    study: Study
    digest: str
    seed: int

    @property
    def better(self) -> bool:
        """Whether anything beat the configured settings."""
        return self.study.best is not self.study.defaults


def summary(result: Result) -> dict[str, Any]:
    """Everything, as JSON has it."""
    study = result.study
    return {
        "model": result.model.name,
        "study": result.digest,
        "seed": result.seed,
        "figure": result.model.figure,
        "data_sets": [one.name for one in result.sets],
        "best": asdict(study.best),
        "defaults": asdict(study.defaults),
        "importances": dict(study.importances),
        "spent": _spent(study),
        "conf": fragment(result.model.section, study.best.values),
        "trials": [asdict(trial) for trial in study.trials],
    }


def fragment(section: str, values: Mapping[str, Value]) -> str:
    """Settings by dotted field as YAML of their section."""
    nested: dict[str, Any] = {}
    for field, value in values.items():
        part = nested
        *parents, name = field.split(".")
        for parent in parents:
            part = part.setdefault(parent, {})
        part[name] = list(value) if isinstance(value, tuple) else value
    return yaml.dump({section: nested}, Dumper=_Lines, sort_keys=False)


def lines(result: Result) -> Iterator[str]:
    """For a person."""
    study, model = result.study, result.model
    yield f"{'setting':<32} {'configured':>14} {'best':>14} {'importance':>11}"
    for field, before in study.defaults.values.items():
        share = f"{study.importances[field]:11.0%}" if field in study.importances else f"{'-':>11}"
        yield f"{model.section + '.' + field:<32} {_text(before):>14} {_text(study.best.values[field]):>14} {share}"
    yield ""
    yield f"{model.figure + ' of validation':<32} {'configured':>14} {'best':>14} {'better by':>11}"
    for one, before, after in zip(result.sets, study.defaults.figures, study.best.figures, strict=True):
        change = math.expm1(gain(model.sign * after, model.sign * before))
        yield f"{one.name:<32} {before:14.4f} {after:14.4f} {change:+11.1%}"
    yield ""
    spent = _spent(study)
    yield (
        f"{spent['complete']} trials judged, {spent['given_up']} given up, {spent['seconds']:,.0f} s in all; "
        f"best: trial {study.best.number + 1}, {math.expm1(study.best.gain or 0.0):+.2%} on average"
    )
    if not result.better:
        yield "nothing that was tried beat the configured settings: leave them as they are"
        return
    yield "best of many on the validation split, so it flatters: confirm it on other seeds and on the test split, then paste"
    if any("." not in field for field in study.best.values if study.best.values[field] != study.defaults.values[field]):
        yield from ("(what stands directly below towers holds for both towers)",) * (model.section == "towers")
    yield ""
    yield from fragment(model.section, study.best.values).splitlines()


def _spent(study: Study) -> dict[str, Any]:
    complete = sum(trial.state == "complete" for trial in study.trials)
    return {
        "trials": len(study.trials),
        "complete": complete,
        "given_up": len(study.trials) - complete,
        "seconds": round(sum(trial.seconds for trial in study.trials), 1),
    }


def _text(value: Value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


class _Lines(yaml.SafeDumper):
    """Lists on one line, sections on several, as in conf/base.yaml."""


_Lines.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True))
