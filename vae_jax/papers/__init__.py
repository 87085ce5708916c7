"""A paper's table reproduced: its rows, their runs, the verdicts."""
