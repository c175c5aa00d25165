"""WALS: weighted matrix factorization of explicit and implicit feedback (M3), and fold-in of new users (M4).

The model is Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008): every (user, video)
cell has a preference (1 where there was positive feedback, else 0) and a confidence. A cell of feedback weight ``r`` has
confidence ``1 + alpha * r`` and every other cell 1, with ``alpha = 1 / unobserved_weight``; dividing all by ``alpha`` shows the
same objective as a weight ``unobserved_weight`` on cells without feedback and ``unobserved_weight + r`` on those with it. The
penalty on a vector grows with a power of its number of positive cells, after Rendle, Krichene, Zhang and Koren, "Revisiting the
Performance of iALS on Item Recommendation Benchmarks" (RecSys 2022).

What `implicit` 0.7 calls a confidence is the *whole* one: it takes the stored value, times its own ``alpha``, as ``C_ui`` and
knows 1 for cells that are not stored (``implicit/cpu/als.py``, ``user_linear_equation``). It does not add the 1. So we store
``1 + alpha * r`` and leave its alpha at 1. Spark's ALS adds the 1 itself; ``jobs/_spark_als.py`` gives it ``r`` and ``alpha``.
"""

from models.wals._choose import METRIC, Choice, choose_half_life
from models.wals._config import Feedback, WalsConfig
from models.wals._feedback import confidence
from models.wals._fit import Engine, Problem, fit, objective
from models.wals._forget import forget_user
from models.wals._model import FittedWals

__all__ = [
    "METRIC",
    "Choice",
    "Engine",
    "Feedback",
    "FittedWals",
    "Problem",
    "WalsConfig",
    "choose_half_life",
    "confidence",
    "fit",
    "forget_user",
    "objective",
]
