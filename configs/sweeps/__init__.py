"""Sweeps: what `python -m experiments.sweep --sweep=...` can try."""
