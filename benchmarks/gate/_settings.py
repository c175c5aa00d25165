"""Thresholds for the small platforms of the study."""

from __future__ import annotations

from conf import load
from models.gate import GateConfig


def config() -> GateConfig:
    """Section ``gate`` with what is tuned for platforms of this size, on platforms whose seeds the study does not report."""
    found = load("gate", GateConfig)
    return found
