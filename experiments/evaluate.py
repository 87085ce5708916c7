"""Measure a trained run on its test set and draw its figures; `train` ends with the same.

python -m experiments.evaluate --workdir=runs/vanilla
python -m experiments.evaluate --workdir=runs/vanilla --num_samples=5000
"""

import platform
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from experiments import command_line, draw
from vae_jax import checkpoints, factory, trained_model, workdir
from vae_jax.corruptions import MAX_LEVEL
from vae_jax.data import Dataset
from vae_jax.errors import UserError
from vae_jax.evaluation import denoising, figures_of_merit
from vae_jax.trained_model import TrainedModel

_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "importance samples an image, in place of config.evaluation.num_samples"
)


def measure(model: TrainedModel, test: Dataset, num_samples: int) -> dict[str, Any]:
    """The "test" part of the summary."""
    config = model.config
    key = jax.random.key(config.evaluation.seed)
    prepare = factory.build_prepare(config)
    targets = figures_of_merit.prepare_targets(prepare, test.images, key)
    figures: dict[str, Any] = {
        "num_examples": len(test.images),
        "reconstruction_error": figures_of_merit.reconstruction_error(model, targets),
    }
    if model.is_vae:
        with tqdm(
            total=len(test.images), desc="evaluating", unit="img", disable=not sys.stderr.isatty()
        ) as bar:
            figures |= figures_of_merit.vae_figures(
                model,
                test.images,
                key,
                prepare=prepare,
                binary=config.data.binarization != "none",
                num_samples=num_samples,
                batch_size=config.evaluation.batch_size,
                on_batch=bar.update,
            )
    else:
        figures["distortion"] = figures_of_merit.distortion(model, targets)
    corrupt = factory.build_corrupt(config)
    if corrupt is not None:
        levels = denoising.levels_around(
            config.hparams.corruption_level, MAX_LEVEL[config.corruption]
        )
        errors = denoising.denoising_errors(model.reconstruct, targets, corrupt, levels, key)
        figures["denoising"] = errors._asdict()
    return figures


def evaluate_run(folder: Path, test: Dataset, num_samples: int) -> dict[str, Any]:
    """Measure, draw, write summary.json. The caller holds the workdir."""
    model = trained_model.load(folder)
    config = workdir.read_config(folder)
    saved = checkpoints.read_metadata(folder / "checkpoints")
    figures = measure(model, test, num_samples)
    summary = {
        "test": figures,
        "best_epoch": saved["best_epoch"],
        "epochs": saved["epoch"],
        "wall_seconds": saved["train_seconds"],
        "examples_per_second": saved["examples_seen"] / max(saved["train_seconds"], 1e-9),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "num_cores": command_line.num_cores(),
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "numpy": np.__version__,
        },
        "seed": model.config.seed,
        "config_digest": workdir.config_digest(config),
    }
    # The summary comes last: it is what marks the run as finished.
    draw.draw_run(folder, model, test, figures)
    workdir.write_summary(folder, summary)
    return summary


def describe(summary: dict[str, Any]) -> str:
    """The test figures in a line."""
    test = summary["test"]
    if "elbo" not in test:
        return (
            f"test distortion {test['distortion']:.2f} nats, "
            f"squared error {test['reconstruction_error']:.4f} a pixel"
        )
    return (
        f"test elbo {test['elbo']:.2f}, rate {test['rate']:.2f}, distortion "
        f"{test['distortion']:.2f}, iwae_bound ({test['num_samples']} samples) "
        f"{test['iwae_bound']:.2f} nats; {test['active_units']} active units"
    )


def main() -> None:
    """Evaluate the run of --workdir."""
    folder = command_line.existing_workdir()
    config = trained_model.load(folder).config
    num_samples = (
        config.evaluation.num_samples if _NUM_SAMPLES.value is None else _NUM_SAMPLES.value
    )
    if num_samples < 1:
        raise UserError(f"--num_samples={num_samples} must be at least 1")
    command_line.use_compilation_cache()
    with workdir.hold(folder):
        test = factory.load_splits(config).test
        print(f"{folder}: {describe(evaluate_run(folder, test, num_samples))}")


if __name__ == "__main__":
    command_line.run(main)
