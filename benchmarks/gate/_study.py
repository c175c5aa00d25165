"""Candidates through the gate, one line of JSON each, so that a study can be stopped and go on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from benchmarks.gate._bad import KINDS, broken, name_of_break
from benchmarks.gate._settings import config as gate_config
from benchmarks.gate._world import FINAL, HOLDOUT, JUDGED, day, inside, make, train, weighed
from conf import load
from jobs import _gate_material
from models.ensemble import Ensemble
from models.evaluation import EvaluationConfig
from models.gate import Material, judge

OTHER_SEED, NEXT_DAY = "good: another seed", "good: next day"
Models = Mapping[str, Ensemble]
_SEEDS, _OTHER_SEEDS = 1000, 5000
_TOLD = ("functional:own_likes", "functional:knows_recent", "blind_to_test_split")


class Platform:
    """One simulated platform with its incumbents, within ``inside`` of its folder."""

    def __init__(self, seed: int) -> None:
        self.days = (day(0), day(1))
        self.seed = seed
        self.incumbents = tuple(train(one, seed) for one in self.days)
        # The weights of a day are chosen once, by its incumbent: a candidate is a retraining of the models.
        self.rankings = tuple(weighed(one, models) for one, models in zip(self.days, self.incumbents, strict=True))
        self._good: tuple[tuple[int, int], dict[str, Ensemble]] | None = None

    def good(self, place: int, seed: int) -> dict[str, Ensemble]:
        """A good retraining; the last one is kept, for what is broken after training."""
        if self._good is None or self._good[0] != (place, seed):
            self._good = (place, seed), train(self.days[place], seed, ages=JUDGED)
        return self._good[1]

    def candidate(self, kind: str, seed: int) -> tuple[dict[str, Ensemble], int, int]:
        """Models of a kind, and the days of the incumbent that they are held against and of their own."""
        if kind == OTHER_SEED:
            place = seed % 2
            return self.good(place, seed), place, place
        if kind == NEXT_DAY:
            return self.good(1, seed), 0, 1
        bad = KINDS[kind]
        if bad.recipe is not None:
            spoken = self.days[1].data.videos["language"]
            languages = [one["values"] for one in pc.value_counts(spoken.drop_null()).to_pylist() if one["counts"] >= 40]
            models = train(self.days[1], seed, bad.recipe(seed, sorted(languages)), ages=JUDGED)
        else:
            # One training serves all kinds of breaks of a seed.
            models = broken(self.good(1, seed), name_of_break(bad, seed), seed, users=bad.users, videos=bad.videos)
        return models, 0, 1


def ask(platform: Platform, kind: str, seed: int) -> dict[str, Any]:
    """One candidate through the gate."""
    began = time.monotonic()
    models, before, own = platform.candidate(kind, seed)
    of, incumbent, ranking = platform.days[own], platform.incumbents[before], platform.rankings[own]
    trained = time.monotonic() - began
    result = {"platform": platform.seed, "kind": kind, "seed": seed, "train_seconds": round(trained, 1)}
    material = Material(
        scene=_gate_material.scene(of.context, of.data, models[FINAL], ranking),
        world=of.test,
        judged=(ranking, models[HOLDOUT]),
        metrics={"users": float(of.test.users.num_rows)},
        incumbent=incumbent[FINAL],
        incumbent_judged=(platform.rankings[before], incumbent[HOLDOUT]),
    )
    judgement = judge(gate_config(), load("evaluation", EvaluationConfig), material)
    checks = judgement.verdict.checks
    values = {check.name: check.value for check in checks}
    details = {check.name: check.detail for check in checks if check.name in _TOLD}
    if judgement.differential is not None:
        values |= {
            f"segment {k} {v}": one["pooled_pearson"]
            for k, own in judgement.differential["segments"].items()
            for v, one in own.items()
        }
        values |= {name: one.get("mean") for name, one in judgement.differential["overlap"].items()}
    floors = [
        {name: round(value, 5) if isinstance(value, float) else value for name, value in floor.to_dict().items()}
        for floor in judgement.floors
    ]
    return {
        **result,
        "seconds": round(time.monotonic() - began, 1),
        "passed": judgement.verdict.passed,
        "failed": [check.name for check in checks if not check.passed],
        "values": values,
        "floors": floors,
        "details": details,
        "said": "; ".join(f"{check.name}: {check.detail}" for check in checks if not check.passed)[:600],
    }


def run(folder: Path, platforms: list[int], plan: Mapping[int, list[tuple[str, int]]]) -> Iterator[dict[str, Any]]:
    """Ask about every candidate of the plan that has no line yet."""
    lines = folder / "candidates.jsonl"
    done = {(one["platform"], one["kind"], one["seed"]) for one in read(folder)}
    for number in platforms:
        open_ = [(kind, seed) for kind, seed in plan[number] if (number, kind, seed) not in done]
        if not open_:
            continue
        place = folder / f"platform-{number}"
        make(place, number)
        with inside(place):
            platform = Platform(number)
            for kind, seed in open_:
                found = ask(platform, kind, seed)
                with lines.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(found) + "\n")
                yield found


def read(folder: Path) -> list[dict[str, Any]]:
    """What is known so far."""
    lines = folder / "candidates.jsonl"
    return [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()] if lines.exists() else []


def plan_of(platforms: list[int], good: int, bad: int) -> dict[int, list[tuple[str, int]]]:
    """So many good and bad candidates in all, dealt evenly: by seed, so that breaks share a training.

    Half of the good ones are other seeds, half of them next days.
    """
    result: dict[int, list[tuple[str, int]]] = {number: [] for number in platforms}
    wanted = [(kind, number) for number in range(-(-good // 2)) for kind in (OTHER_SEED, NEXT_DAY)][:good]
    kinds = list(KINDS)
    wanted += [(kinds[number % len(kinds)], number // len(kinds)) for number in range(bad)]
    for kind, number in wanted:
        # No two good candidates share a training.
        seed = (_OTHER_SEEDS if kind == OTHER_SEED else _SEEDS) + number
        result[platforms[number % len(platforms)]].append((kind, seed))
    return {
        number: sorted(
            ones, key=lambda one: (one[1] % (_OTHER_SEEDS - _SEEDS), one[0] == OTHER_SEED, one[0] != NEXT_DAY, one[0])
        )
        for number, ones in result.items()
    }
