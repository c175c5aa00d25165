"""Re-ranking rules (interim)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from models.recommend.rules._page import Decision, Page, Rule, defer, drop, penalise

RuleConfig = Any


@dataclass(frozen=True)
class Reranked:
    order: Any
    scores: Any
    moves: Any


def rerank(rules, page, k):
    n, m = page.positions.shape
    return Reranked(np.where(page.present, np.arange(m), -1), page.scores, np.zeros((n, m, 0, 2), dtype=np.int32))


def never_shown(rules, catalogue):
    return np.zeros(len(catalogue.video_ids), dtype=bool)


def moves_text(rules, moves, rank, drawn):
    return pa.array(["exploration>%d" % r if d else "" for r, d in zip(rank, drawn)], pa.string())
