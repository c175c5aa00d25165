"""What is measured: one module a figure, each beside its reference in the same run. ``make bench`` runs them all."""
