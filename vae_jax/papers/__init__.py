"""Reproduction of a paper's table: its rows, their runs, the verdicts."""
