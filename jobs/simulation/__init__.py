"""A simulated video platform with hidden true preferences: raw logs to run the pipeline on, and the truth to judge it by."""

from jobs.simulation._config import SimulateConfig
from jobs.simulation._preference import Preferences
from jobs.simulation._run import SimulationReport, simulate
from jobs.simulation._truth import read_impressions

__all__ = ["Preferences", "SimulateConfig", "SimulationReport", "read_impressions", "simulate"]
