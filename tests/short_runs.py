"""Runs of experiments.train that are compared bit by bit."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from interruptions import StopsAfter

from experiments import train
from vae_jax import config as factory
from vae_jax.config import run
from vae_jax.training import checkpoints
from vae_jax.training.records import read_records


def trained(config, folder, image_shape, **options):
    """Return the bits of the last state, and the records without times."""
    train.train(config, folder, **options)
    template = factory.run_state_template(factory.resolve(config), image_shape)
    tree = checkpoints.restore(folder / "checkpoints", template).tree
    is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(tree)]
    leaves = [
        np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes()
        for leaf, key in zip(jax.tree.leaves(tree), is_key, strict=True)
    ]
    timed = ("examples_per_second", "data_wait_share")
    records = read_records(folder / "metrics.jsonl")
    return leaves, [{k: v for k, v in record.items() if k not in timed} for record in records]


def stops_after(patch, num_checks):
    """Interrupt a run after its next call, or `num_checks` calls later."""

    @contextlib.contextmanager
    def stopping():
        yield StopsAfter(num_checks)

    patch.setattr(run, "deferred", stopping)


def leave_unmeasured(patch):
    """Let runs end with the training."""
    patch.setattr(train.measuring, "evaluate_run", lambda *_, **__: {})
    patch.setattr(train.measuring, "describe", lambda _: "trained")
