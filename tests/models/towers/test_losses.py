"""Losses by hand, and the calibration that mends them."""

from __future__ import annotations

import math

import pytest
import torch

from models.towers._losses import class_weights, mean_loss, platt
from tests.models.towers.planted import CONFIG

LOGITS = torch.tensor([2.0, -1.0])
LABEL = torch.tensor([1.0, 0.0])
WEIGHT = torch.tensor([1.0, 3.0])


def test_cross_entropy_is_weighted():
    expected = (math.log1p(math.exp(-2)) + 3 * math.log1p(math.exp(-1))) / 4

    assert mean_loss(CONFIG.ranker, LOGITS, LABEL, WEIGHT).item() == pytest.approx(expected)


def test_focal_loss_discounts_what_is_easy():
    focal = CONFIG.ranker.model_copy(update={"loss": "focal", "focal_gamma": 2.0})
    right, left = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))
    expected = (-((1 - right) ** 2) * math.log(right) - 3 * (1 - left) ** 2 * math.log(left)) / 4

    assert mean_loss(focal, LOGITS, LABEL, WEIGHT).item() == pytest.approx(expected, rel=1e-5)


def test_class_weights_go_from_even_to_inverse_size():
    label, weight = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 2.0, 7.0])

    assert class_weights(0.0, label, weight).tolist() == pytest.approx([1.0, 1.0])
    nearly = class_weights(1 - 1e-9, label, weight)
    assert (nearly[1] / nearly[0]).item() == pytest.approx(9.0, rel=1e-4)
    assert (9 * nearly[0] + nearly[1]).item() == pytest.approx(10.0)


def test_platt_finds_the_planted_scale_and_shift():
    generator = torch.Generator().manual_seed(1)
    logits = 2.0 * torch.randn(50_000, generator=generator)
    label = (torch.rand(50_000, generator=generator) < torch.sigmoid(0.5 * logits - 1.0)).float()

    assert platt(logits, label, torch.ones(50_000)) == pytest.approx((0.5, -1.0), abs=0.05)


def test_platt_keeps_the_order_whatever_the_labels():
    scale, shift = platt(torch.tensor([-1.0, 1.0, 2.0]), torch.tensor([1.0, 0.0, 0.0]), torch.ones(3))

    assert (scale, shift) == (1.0, 0.0)
