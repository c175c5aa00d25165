"""Gate: may this candidate be deployed? A pure decision with a reason for every check; see docs/gate.md.

- Differential test (G1): candidate and incumbent predict alike on unseen pairs, overall, by model and by segment; the noise
  floor (G2) says how alike two seeds of the same data are.
- Functional and invariance tests (G3, G4), declared in the configuration, on planted users and videos.
- Floors (G5) against baselines and the incumbent, per slice, with intervals over users.

A check fails on a missing threshold, a missing figure or one that is not finite: the gate never passes what it could not judge.
"""

from models.gate._config import DifferentialConfig, FloorsConfig, GateConfig, SegmentThreshold
from models.gate._correlation import Correlation, correlation
from models.gate._differential import Compared, compare, differential_checks
from models.gate._floors import NDCG, Floor, floor_checks, holm, judges
from models.gate._functional import FunctionalConfig
from models.gate._invariance import InvarianceConfig
from models.gate._judge import Judgement, Material, judge
from models.gate._movement import movement
from models.gate._overlap import jaccard, kept, rbo
from models.gate._predictions import agreement
from models.gate._scene import Scene
from models.gate._verdict import Check, Verdict

__all__ = [
    "NDCG",
    "Check",
    "Compared",
    "Correlation",
    "DifferentialConfig",
    "Floor",
    "FloorsConfig",
    "FunctionalConfig",
    "GateConfig",
    "InvarianceConfig",
    "Judgement",
    "Material",
    "Scene",
    "SegmentThreshold",
    "Verdict",
    "agreement",
    "compare",
    "correlation",
    "differential_checks",
    "floor_checks",
    "holm",
    "jaccard",
    "judge",
    "judges",
    "kept",
    "movement",
    "rbo",
]
