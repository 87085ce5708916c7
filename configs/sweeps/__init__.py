"""Sweeps for `python -m experiments.sweep --sweep=...`."""
