r"""Train every family of models at one budget, measure all, and write a table with plots.

    python -m experiments.zoo
    python -m experiments.zoo --families=vae,iwae --datasets=mnist --seeds=1 --config.epochs=5

configs/zoo.py has the families. Written are zoo.json, with a row per run, zoo.md, and the plots in
zoo/, into results/ of the workdir; --results=results publishes them. The same command continues
after it was stopped or killed, and later commands may add families, data sets and seeds. Another
budget needs another --workdir.
"""

from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from experiments.executor_flags import named_executor
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.papers.runs import MAX_SEEDS
from vae_jax.zoo import families
from vae_jax.zoo.comparison import compare

shared.define(
    "format",
    "results",
    "seeds",
    config="file of the families, by default configs/zoo.py; --config.NAME=VALUE changes a setting "
    "of all",
    workdir="directory of the runs; by default runs/zoo",
)

_FAMILIES = flags.DEFINE_list("families", [], "families to train; by default all")
_DATASETS = flags.DEFINE_list("datasets", ["mnist", "fashion_mnist"], "data sets with labels")

_FILE = "configs/zoo.py"


@shared.in_formats
def main() -> None:
    """Train and measure what the flags name."""
    path, seeds = flags.FLAGS.config or _FILE, flags.FLAGS.seeds
    overrides = command_line.config_overrides()
    zoo = families.load(path).with_overrides(overrides)
    if not 1 <= seeds <= MAX_SEEDS:
        raise UserError(f"--seeds={seeds} must be at least 1 and at most {MAX_SEEDS}")
    if not _DATASETS.value:
        raise UserError("--datasets is empty; name data sets such as mnist")
    changed = "".join(f" --config.{name}={text}" for name, text in overrides)
    folder = Path(flags.FLAGS.workdir or "runs/zoo")
    out = shared.results_folder(folder)
    with workdir.left_as_it_was(folder), workdir.left_as_it_was(out):
        compare(
            zoo,
            names=zoo.named(_FAMILIES.value),
            datasets=_DATASETS.value,
            seeds=range(seeds),
            folder=folder,
            out=out,
            executor=named_executor(),
            command=f"python -m experiments.zoo --seeds={seeds}{changed}",
        )


if __name__ == "__main__":
    command_line.run(main)
