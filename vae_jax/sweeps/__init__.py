"""Sweeps: many settings and seeds of an experiment, trained in few compiled programs."""
