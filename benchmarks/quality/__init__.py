"""How good the lists are: reelflow beside tuned baselines, on raw logs and a cut in time. See docs/quality.md."""
