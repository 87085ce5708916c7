"""The flag --figures, of benchmarks that may be imported beside one another."""

from pathlib import Path

from absl import flags

_FIGURES = flags.DEFINE_string("figures", "", "folder of the pictures; empty draws none")


def figures_folder() -> Path | None:
    """The folder that --figures names; None draws nothing."""
    return Path(_FIGURES.value) if _FIGURES.value else None
