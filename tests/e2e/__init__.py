"""The whole pipeline on a small platform."""
