"""Train an experiment, evaluate it and draw its figures; started again, continue where it stopped.

    python -m experiments.train --config=configs/vanilla.py --workdir=runs/vanilla
    python -m experiments.train --config=configs/beta.py --config.hparams.beta=4 --workdir=runs/b4

All devices that JAX sees are used, batches shared out among them; docs/scaling.md has more on that,
and on several processes.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import jax
from absl import flags
from ml_collections import ConfigDict

from experiments import command_line, process_flags
from experiments import flags as shared
from vae_jax.config import run
from vae_jax.config.fields import flatten
from vae_jax.errors import UserError
from vae_jax.evaluation import drawing
from vae_jax.evaluation import summary as measuring
from vae_jax.training import parallel

shared.define("config", "workdir")
flags.adopt_module_key_flags(process_flags)

_PARALLEL = flags.DEFINE_enum(
    "parallel", "jit", ["jit", "pmap"], "how several devices are used together"
)
_NUM_DEVICES = flags.DEFINE_integer("num_devices", None, "devices to use; by default all")
_PROFILE = flags.DEFINE_bool(
    "profile", False, "trace one compiled call of the training into the workdir's tensorboard/"
)


def train(
    config: ConfigDict,
    folder: Path,
    *,
    devices: Sequence[jax.Device] | None = None,
    kind: parallel.Kind = "jit",
    profile: bool = False,
) -> None:
    """Train, evaluate and draw a run, and print one line on it; see `vae_jax.config.run.train`."""
    summary, was_finished = run.train(
        config,
        folder,
        evaluate=lambda splits: measuring.evaluate_run(
            folder, splits.test, config.evaluation.num_samples
        ),
        make_image_writer=functools.partial(drawing.image_writer, config),
        devices=devices,
        kind=kind,
        profile=profile,
    )
    if summary is not None:
        print(f"{folder}{' is finished' if was_finished else ''}: {measuring.describe(summary)}")


def _devices() -> list[jax.Device]:
    """Return the devices that --num_devices leaves, those of all processes."""
    devices, wanted = jax.devices(), _NUM_DEVICES.value
    if wanted is None:
        return devices
    if not 1 <= wanted <= len(devices):
        raise UserError(
            f"--num_devices={wanted} must be at least 1 and at most {len(devices)}, the devices "
            "that JAX sees"
        )
    if jax.process_count() > 1 and wanted < len(devices):
        raise UserError(
            f"--num_devices={wanted} leaves processes without a device; use all {len(devices)} "
            "with --num_processes"
        )
    return devices[:wanted]


def main() -> None:
    """Check the config, then train; only describe a finished run."""
    folder, config = shared.required_workdir(), shared.required_config()
    settings = {**flatten(config.to_dict()), "--parallel": _PARALLEL.value}
    with process_flags.together(settings, folder):
        if _PARALLEL.value == "pmap" and jax.process_count() > 1:
            raise UserError("--parallel=pmap works in one process only; use --parallel=jit")
        kind = cast(parallel.Kind, _PARALLEL.value)
        train(config, folder, devices=_devices(), kind=kind, profile=_PROFILE.value)


if __name__ == "__main__":
    command_line.run(main)
