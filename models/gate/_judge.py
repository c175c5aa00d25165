"""The whole gate on what a job has gathered."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.ensemble import Ensemble
from models.evaluation import EvaluationConfig, Holdout
from models.gate._config import GateConfig
from models.gate._differential import Compared, compare, differential_checks
from models.gate._floors import Floor, floor_checks, judges
from models.gate._movement import movement
from models.gate._scene import Scene
from models.gate._verdict import Check, Verdict, absent, at_most
from models.recommend import RecommendConfig
from schemas import columns as col
from schemas.errors import ReelflowError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Material:
    """Everything that the gate looks at.

    Attributes:
        scene: the candidate's final models, and the rows that they read.
        world: the test split.
        judged: candidates and weights, and the candidate's models that have not seen the test split.
        metrics: of the evaluation stage, by name.
        roc_auc: of the ranker on the test split; ``None`` where nothing was shown in it.
        incumbent: the incumbent's final models; ``None`` where there is none, or it cannot be read.
        incumbent_judged: its weights and models that have not seen the candidate's test split.
        incomparable: why there are none although there is an incumbent.
        trouble: why an incumbent cannot be read.
        noise_floor: figures of two seeds of the same data, as :meth:`Compared.figures` gives them.
    """

    scene: Scene
    world: Holdout
    judged: tuple[RecommendConfig, Ensemble]
    metrics: Mapping[str, float]
    roc_auc: float | None = None
    incumbent: Ensemble | None = None
    incumbent_judged: tuple[RecommendConfig, Ensemble] | None = None
    incomparable: str = ""
    trouble: str | None = None
    noise_floor: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The verdict, and what is behind it.

    Attributes:
        verdict: the answer.
        differential: the comparison with the incumbent; ``None`` where there is none.
        moved: what moved most; empty without an incumbent.
        floors: every comparison of a slice.
    """

    verdict: Verdict
    differential: Mapping[str, Any] | None = None
    moved: Mapping[str, Any] = field(default_factory=dict)
    floors: Sequence[Floor] = ()


def judge(config: GateConfig, evaluation: EvaluationConfig, material: Material) -> Judgement:
    """Judge a candidate: differential, functional and invariance tests, and floors.

    Args:
        config: the thresholds.
        evaluation: section ``evaluation``, whose slices and intervals the floors have.
        material: what is judged.
    """
    scene = replace(material.scene, incumbent=material.incumbent)
    checks, compared, moved = _against_incumbent(config, scene, material.incumbent, material.trouble, material.noise_floor)
    if compared is None:
        scene = replace(scene, incumbent=None)
    checks += [_finite_metrics(material.metrics), *_roc_auc(config, material.roc_auc), _blind(material)]
    floors: tuple[Floor, ...] = ()

    def floored() -> tuple[Check, ...]:
        nonlocal floors
        world = material.world
        found = judges(evaluation, material.judged, material.incumbent_judged, world) if world.users.num_rows else None
        asked, floors = floor_checks(config, found, material.incomparable)
        return asked

    checks += _asked("floors", floored)
    checks += _declared(config.functional, "functional", scene) + _declared(config.invariance, "invariance", scene)
    verdict = Verdict.of(tuple(checks))
    return Judgement(verdict, compared.figures() if compared else None, moved, floors)


def floor_words(noise_floor: Mapping[str, Any] | None) -> str:
    """G2 in words, to stand beside G1."""
    found = (noise_floor or {}).get("pooled", {}).get("pooled_pearson")
    return "no noise floor measured" if found is None else f"two seeds of the same data reach {found:.4f}"


def _against_incumbent(
    config: GateConfig, scene: Scene, old: Ensemble | None, trouble: str | None, noise_floor: Mapping[str, Any] | None
) -> tuple[list[Check], Compared | None, Mapping[str, Any]]:
    finite = _finite_predictions(scene)
    if not finite.passed:
        return [finite], None, {}
    compared, moved = None, {}
    if old is not None:
        try:
            compared = compare(config, scene, old)
            moved = movement(config.differential, scene, compared)
        except ReelflowError as error:
            trouble = f"the incumbent cannot be read: {error}"
    return [finite, *differential_checks(config, compared, trouble, floor_words(noise_floor))], compared, moved


def _finite_predictions(scene: Scene) -> Check:
    """Whether every vector of the catalogue and of some users is finite."""
    name = "finite_predictions"
    try:
        catalogue = scene.catalogue
        users = scene.active.slice(0, 1000)
        scores = scene.scores(users, np.arange(len(catalogue.video_ids))[:1000])
    except ReelflowError as error:
        return Check(name, False, None, None, str(error))
    broken = int((~np.isfinite(scores)).sum())
    return at_most(name, broken, 0, f"{broken} of {scores.size} scores are not finite", "train again")


def _declared(checks: Sequence[Callable[[Scene], Check]], kind: str, scene: Scene) -> list[Check]:
    if not checks:
        return [Check(kind, False, None, None, f"no checks declared: list some under gate.{kind}")]
    found: list[Check] = []
    for one in checks:
        found += _asked(f"{kind}:{one.check}", lambda one=one: (one(scene),))  # type: ignore[attr-defined,misc]
    return found


def _asked(name: str, ask: Callable[[], tuple[Check, ...]]) -> list[Check]:
    """The answers; models that cannot even be asked do not pass."""
    try:
        return list(ask())
    except ReelflowError as error:
        return [Check(name, False, None, None, f"cannot be asked: {error}")]


def _finite_metrics(metrics: Mapping[str, float]) -> Check:
    broken = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    detail = f"not a number: {', '.join(broken)}" if broken else f"all {len(metrics)} metrics are finite"
    return Check(
        "finite_metrics", bool(metrics) and not broken, float(len(broken)), None, detail if metrics else "no metrics at all"
    )


def _blind(material: Material) -> Check:
    """Whether the models that are judged have not seen the test split: exact, without any noise.

    Nobody and nothing whose first example lies in the test split can have a vector of their own in models that ended before.
    """
    name, examples, at = "blind_to_test_split", material.scene.examples, material.world.at
    occurred = examples[col.OCCURRED_AT]
    before = examples.filter(pc.less_equal(occurred, pa.scalar(at, occurred.type)))
    after = examples.filter(pc.and_(pc.greater(occurred, pa.scalar(at, occurred.type)), pc.equal(examples[col.LABEL], 1)))
    new = {
        key: np.setdiff1d(after[key].to_numpy(), before[key].to_numpy(), assume_unique=False)
        for key in (col.USER_ID, col.VIDEO_ID)
    }
    count = sum(map(len, new.values()))
    if not count:
        return absent(name, False, "no user and no video has its first example in the test split")
    models = material.judged[1]
    known = int(models.wals.user_vectors(new[col.USER_ID]).any(axis=1).sum())
    known += int(models.wals.video_vectors(new[col.VIDEO_ID]).any(axis=1).sum())
    known += int(models.retrieval.known_videos(new[col.VIDEO_ID]).sum())
    said = f"of {count} users and videos whose first example lies in the test split the judged models know {known}"
    return at_most(name, known, 0, said, "labels of the test split have leaked into training: its figures mean nothing")


def _roc_auc(config: GateConfig, found: float | None) -> list[Check]:
    name, most = "roc_auc_not_too_good", config.floors.max_roc_auc
    if found is None:
        return [Check(name, True, None, most, "nothing was shown in the test split, or all of it has one label: no figure")]
    advice = "look for a feature that knows the label"
    return [at_most(name, found, most, f"the ranker's ROC-AUC on the test split is {found:.4f}", advice)]
