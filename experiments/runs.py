"""List the runs and sweeps below a folder, with their status and test metrics.

    python -m experiments.runs --folder=runs

Metrics are in nats per example. A run that has not finished shows its last epoch; the command that
began it continues it.
"""

from pathlib import Path

from absl import flags

from experiments import command_line
from vae_jax.evaluation import listing

_FOLDER = flags.DEFINE_string("folder", "runs", "folder that has runs below it")


def main() -> None:
    """Print the table."""
    print(listing.table(Path(_FOLDER.value)), end="")


if __name__ == "__main__":
    command_line.run(main)
