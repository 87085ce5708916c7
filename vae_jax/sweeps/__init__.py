"""Sweeps: what is tried, how members are trained side by side, what came of it."""
