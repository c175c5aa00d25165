"""Two-tower models: retrieval of videos by id, and a calibrated ranker on every feature."""

from models.towers._config import TowersConfig
from models.towers._data import TowerData
from models.towers._fine_tune import fine_tune
from models.towers._forget import forget_user
from models.towers._ranker import FittedRanker, fit_ranker
from models.towers._retrieval import FittedRetrieval, fit_retrieval

__all__ = [
    "FittedRanker",
    "FittedRetrieval",
    "TowerData",
    "TowersConfig",
    "fine_tune",
    "fit_ranker",
    "fit_retrieval",
    "forget_user",
]
