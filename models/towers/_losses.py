"""Losses of the ranker for classes of very unequal size (M7), all weighted by example."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.towers._config import RankerConfig


def mean_loss(config: RankerConfig, logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean loss of logits (n,) against labels (n,), by ``config.loss``; class weights are already in ``weight``.

    ``focal`` multiplies the cross-entropy by (1 - p of the true class) ** gamma, so that easy examples count less
    (Lin et al., Focal Loss for Dense Object Detection, ICCV 2017).
    """
    losses = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
    if config.loss == "focal":
        losses = losses * (1.0 - torch.exp(-losses)) ** config.focal_gamma
    return (losses * weight).sum() / weight.sum()


def class_weights(beta: float, label: Tensor, weight: Tensor) -> Tensor:
    """Factors (2,) for label 0 and 1, (1 - beta) / (1 - beta ** n) for n weighted examples, with mean 1 over the examples.

    From Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019.
    """
    relevant = (label * weight).sum().double()
    sizes = torch.stack((weight.sum().double() - relevant, relevant)).clamp_min(1.0)
    factors = (1.0 - beta) / (1.0 - beta**sizes)
    return factors * sizes.sum() / (factors * sizes).sum()


def platt(logits: Tensor, label: Tensor, weight: Tensor) -> tuple[float, float]:
    """Scale and shift that make sigmoid(scale * logit + shift) calibrated, by Newton's method on the weighted log loss.

    From Platt, Probabilistic Outputs for Support Vector Machines, 1999. Both losses above distort probabilities; an
    increasing map mends them without touching the order.
    """
    inputs = torch.stack((logits.double(), torch.ones_like(logits, dtype=torch.float64)), dim=1)
    target, mass = label.double(), weight.double() / weight.double().sum()
    solution = torch.tensor([1.0, 0.0], dtype=torch.float64)
    ridge = 1e-9 * torch.eye(2, dtype=torch.float64)

    def loss(at: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(inputs @ at, target, weight=mass, reduction="sum")

    for _ in range(50):
        probability = torch.sigmoid(inputs @ solution)
        gradient = inputs.T @ (mass * (probability - target))
        curvature = (inputs * (mass * probability * (1.0 - probability))[:, None]).T @ inputs + ridge
        step = torch.linalg.solve(curvature, gradient)
        size = 1.0
        while loss(solution - size * step) > loss(solution) and size > 1e-4:
            size /= 2.0
        solution = solution - size * step
        if step.abs().max() < 1e-9:
            break
    scale, shift = solution.tolist()
    return (scale, shift) if scale > 0.0 else (1.0, 0.0)
