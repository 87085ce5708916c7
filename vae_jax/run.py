"""Train from a program or a notebook; `experiments.train` is the same from the command line."""

from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import config as factory
from vae_jax import trained, workdir
from vae_jax.config import run
from vae_jax.evaluation import summary as measuring
from vae_jax.training.records import Record, read_records


class Run(NamedTuple):
    """A finished run.

    Attributes:
      model: its best model, as `vae_jax.load` returns it.
      test: its metrics on the test set, the "test" part of summary.json.
      records: its records of training and validation, the lines of metrics.jsonl.
      folder: its workdir.
    """

    model: Any
    test: dict[str, Any]
    records: list[Record]
    folder: Path

    def __repr__(self) -> str:
        return f"<Run in {self.folder}: {measuring.describe({'test': self.test})}>"


def train(config: Any, folder: str | Path, *, accept_data: bool = False) -> Run:
    """Train and evaluate an experiment; called again, continue where it stopped.

    The workdir is that of `experiments.train`, without plots, which `experiments.draw` adds. It
    trains on one device.

    Args:
      config: what differs from the defaults, as nested dicts or a ConfigDict.
      folder: the workdir, new or with a run of the same config.
      accept_data: whether to go on with other examples than those that the run began with.

    Raises:
      UserError: a setting is wrong, the data or the workdir do not fit the config, or the loss is
        not finite.
    """
    folder = Path(folder)
    experiment = factory.resolve(config, folder)

    def evaluate(splits: run.Splits) -> dict[str, Any]:
        num_samples = experiment.evaluation.num_samples
        return measuring.evaluate_run(
            folder,
            splits.test,
            num_samples,
            accept_data=accept_data,
            draw=False,
            show_progress=False,
        )

    with workdir.left_as_it_was(folder):
        summary, _ = run.train(experiment, folder, evaluate=evaluate, accept_data=accept_data)
    assert summary is not None, "one process trains"
    records = read_records(folder / "metrics.jsonl")
    return Run(trained.load(folder), summary["test"], records, folder)
