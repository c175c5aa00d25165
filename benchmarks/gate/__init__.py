"""Power of the gate."""
