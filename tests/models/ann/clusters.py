"""Unit vectors in clusters, and users who like a mixture of some: recall on what has no clusters says nothing."""

import numpy as np


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clusters(n_vectors, n_queries, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((50, dim))
    vectors = centres[rng.integers(50, size=n_vectors)] + 0.6 * rng.standard_normal((n_vectors, dim))
    liked = centres[rng.integers(50, size=(n_queries, 3))]
    queries = np.einsum("qc,qcd->qd", rng.dirichlet([0.5] * 3, size=n_queries), liked)
    return unit(vectors), unit(queries + 0.3 * rng.standard_normal((n_queries, dim)))
