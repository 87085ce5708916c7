"""The models that come with the package, as `python -m experiments.bundle` trains them."""
