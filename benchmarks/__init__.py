"""Measurements of speed, and of runs that survive being killed."""
