"""Speed and memory of the ladder of configs/papers/ladder_mnist.py at its full budget.

    python -m benchmarks.ladder_cost --output=benchmarks/results/accelerator/ladder.json

A row of the card trains for two short epochs in a process of its own. Speed is that of the second,
and `full_budget_hours` is the time of the budget's 400 epochs of 50,000 images at that speed.
"""

from typing import Any

from absl import flags

from benchmarks import training_cost
from configs.papers import ladder_mnist
from experiments import command_line
from experiments import flags as shared
from vae_jax.evaluation import results_file
from vae_jax.sweeps.fields import with_values

shared.define(output="JSON file to write; empty prints only")
# No names of other commands' flags: the tests import several of them.
_ROWS = flags.DEFINE_list(
    "ladder_rows", ["layers_3", "layers_6", "layers_12"], "rows of the card, such as layers_3"
)
_SMALL = flags.DEFINE_boolean(
    "small_ladder", False, "few images and a small network, to try the script"
)

_FULL_IMAGES = 50_000
_NUM_IMAGES = 5_000
_SMALL_SIZES: dict[str, Any] = {
    "batch_size": 4,
    "model.channels": (2, 2),
    "model.width": 2,
    "model.latent_channels": 2,
    "model.blocks": 1,
}


def experiments(rows: list[str], *, small: bool) -> dict[str, dict[str, Any]]:
    """Return short experiments by the names of the card's rows, as settings.

    Args:
      rows: names of rows.
      small: with small networks on few images.

    Raises:
      UserError: the card has no such row.
    """
    card = ladder_mnist.get_card()
    num_images = 2 * _SMALL_SIZES["batch_size"] if small else _NUM_IMAGES
    short = {
        "epochs": 2,
        "data.train_split": f"train[:{num_images}]",
        "data.validation_split": "train[-100:]",
        "data.test_split": "test[:100]",
        "tensorboard.images_every_epochs": 0,
        **(_SMALL_SIZES if small else {}),
    }
    return {
        row.name: with_values(card.config(row, "full"), short)
        for row in card.rows_named(rows, "full")
    }


def main() -> None:
    """Measure every row, print it and write the JSON."""
    budget_epochs = ladder_mnist.get_card().base_config("full")["epochs"]
    chosen = experiments(_ROWS.value, small=_SMALL.value)
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.ladder_cost"),
        "rows": {},
    }
    for name, experiment in chosen.items():
        measured = training_cost.measure(experiment)
        hours = budget_epochs * _FULL_IMAGES / measured["images_per_second"] / 3600
        results["rows"][name] = {**measured, "full_budget_hours": hours}
        print(
            f"{name}: {training_cost.in_words(measured)}; {budget_epochs} epochs in {hours:.1f} h",
            flush=True,
        )
        # What is measured stays if the rest is not reached.
        results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    command_line.run(main)
