"""Interim."""

import numpy as np


def same_as(vectors, order, threshold):
    return np.arange(len(vectors))
