"""Baselines, each tuned on validation: what a platform would have without reelflow."""

from benchmarks.quality.baselines._als import Als
from benchmarks.quality.baselines._base import Baseline, Fitted, Params
from benchmarks.quality.baselines._ease import Ease
from benchmarks.quality.baselines._item_knn import ItemKnn
from benchmarks.quality.baselines._popularity import Popularity
from benchmarks.quality.baselines._sasrec import SasRec

__all__ = ["Als", "Baseline", "Ease", "Fitted", "ItemKnn", "Params", "Popularity", "SasRec"]
