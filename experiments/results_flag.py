"""The flag --results, of the commands that write results files."""

from pathlib import Path

from absl import flags

_RESULTS = flags.DEFINE_string("results", "results", "folder of the results files")


def results_folder() -> Path:
    """The folder that --results names."""
    return Path(_RESULTS.value)
