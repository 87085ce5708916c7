"""Speed and memory of training on drawn faces: the ways to save either, each beside the plain one.

    python -m experiments.prepare --name=avatars
    python -m benchmarks.faces_cost --output=benchmarks/results/faces_cost_cpu.json

Every row is a training in a process of its own. Speed is that of its second epoch, which compiles
nothing; memory is the peak of the whole process, the data set and the compilation included, and on
an accelerator that of the device, too. The first two rows train on all images, the others on some.
"""

from typing import Any, NamedTuple

from absl import flags

from benchmarks import training_cost
from configs import faces
from experiments import command_line
from experiments import flags as shared
from vae_jax.evaluation import results_file
from vae_jax.sweeps.fields import with_values

shared.define("data_dir", output="JSON file to write; empty prints only")
# No names of other commands' flags: the tests import several of them.
_SMALL = flags.DEFINE_boolean(
    "small_faces", False, "few images and small networks, to try the script"
)


class Sizes(NamedTuple):
    """The images of an epoch and of a batch, and the sizes of the networks.

    Attributes:
      all_images: images of an epoch where the training set is what matters.
      dense_images: those of other epochs of dense networks.
      residual_images: those of residual networks.
      held_out: images for validation, and as many of the test set, which is only loaded.
      batch: images of a batch.
      large_batch: those of a large one.
      widths: of the dense layers.
      channels: of the residual levels.
      prior: the width of the prior.
    """

    all_images: int = 38_000
    dense_images: int = 12_800
    residual_images: int = 3_200
    held_out: int = 400
    batch: int = 64
    large_batch: int = 256
    widths: tuple[int, ...] = (512, 512)
    channels: tuple[int, ...] = (48, 96)
    prior: int = 256


SMALL = Sizes(16, 16, 8, 8, 4, 8, (8, 8), (2, 4), 8)


def experiments(sizes: Sizes, data_dir: str) -> dict[str, dict[str, Any]]:
    """Return the experiments by name, as settings.

    Args:
      sizes: of networks and data.
      data_dir: folder of the prepared data set avatars.
    """
    base = {
        "epochs": 2,
        "batch_size": sizes.batch,
        "model.encoder.widths": sizes.widths,
        # It costs less than the config's prior, so that the networks decide.
        "model.prior": {"name": "flow", "layers": 6, "width": sizes.prior},
        "data.dir": data_dir,
        "data.train_split": f"train[:{sizes.dense_images}]",
        "data.validation_split": f"train[-{sizes.held_out}:]",
        "data.test_split": f"test[:{sizes.held_out}]",
        "tensorboard.images_every_epochs": 0,
    }
    every = {"data.train_split": f"train[:{sizes.all_images}]"}
    large = {"batch_size": sizes.large_batch}
    blocks = {"name": "resnet", "square": 4, "channels": sizes.channels, "blocks": 4}

    def residual(**given: Any) -> dict[str, Any]:
        return {
            "data.train_split": f"train[:{sizes.residual_images}]",
            "model.encoder": {**blocks, "input_range": "symmetric", **given},
            "model.decoder": {**blocks, **given},
        }

    differing: dict[str, dict[str, Any]] = {
        "dense, in memory": {**every, "data.mode": "memory"},
        "dense, streamed": {**every, "data.mode": "stream"},
        "dense": {},
        "dense, products in bfloat16": {"model.encoder.compute_dtype": "bfloat16"},
        "dense, batch 256": large,
        "dense, batch 256 in 4 parts": {**large, "optimizer.accumulation_steps": 4},
        "residual, 4 blocks a level": residual(),
        "residual, 4 blocks a level, remat": residual(remat=True),
    }
    config = faces.get_config().to_dict()
    return {name: with_values(config, {**base, **settings}) for name, settings in differing.items()}


def main() -> None:
    """Measure every row, print it and write the JSON."""
    sizes = SMALL if _SMALL.value else Sizes()
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.faces_cost"),
        "variants": {},
    }
    for name, experiment in experiments(sizes, flags.FLAGS.data_dir).items():
        results["variants"][name] = measured = training_cost.measure(experiment)
        print(f"{name}: {training_cost.in_words(measured)}", flush=True)
        # What is measured stays if the rest is not reached.
        results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    command_line.run(main)
