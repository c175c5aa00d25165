"""Vector index: the nearest videos by inner product, bound to the positions of one catalogue.

Kinds (https://github.com/facebookresearch/faiss/wiki/Faiss-indexes):

- ``flat``: every vector is compared with every query, in blocks. Needs no training and loses nothing.
- ``hnsw``: a graph of neighbours that is walked towards the query (Malkov and Yashunin, TPAMI 2020).
- ``ivf_flat``: vectors in lists around the centroids of k-means; the lists nearest to the query are scanned.
- ``ivf_sq8``: the same lists of vectors with a byte a number, a quarter of the size.
- ``ivf_pq``: the same lists of 4-bit product codes (Andre et al., Quicker ADC, TPAMI 2021), the best of which are compared
  again by their vectors.

All but the first lead to the nearest vectors, and so to the largest inner products only where vectors have one length:
others are given one more number that makes them so (``_augmented``).

:func:`choose` takes the kind that the configuration names for so many vectors, and the least effort of search whose recall,
measured against the exact answer on users of this day, is enough. Nothing depends on the clock: which kind is the fastest at a
size was measured once (``python -m benchmarks index``) and stands in the configuration.
"""

from models.ann._augmented import AugmentedIndex, augmented, read_augmented
from models.ann._choose import Choice, choose
from models.ann._config import IndexConfig
from models.ann._kinds import build, build_flat, kind_built
from models.ann._search import Searcher, VectorIndex, recall_against_exact

__all__ = [
    "AugmentedIndex",
    "Choice",
    "IndexConfig",
    "Searcher",
    "VectorIndex",
    "augmented",
    "build",
    "build_flat",
    "choose",
    "kind_built",
    "read_augmented",
    "recall_against_exact",
]
