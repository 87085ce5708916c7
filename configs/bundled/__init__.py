"""Cards: the tables that `python -m experiments.reproduce --card=NAME` reproduces."""
