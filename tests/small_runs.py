"""Tiny trained models with random parameters, and workdirs with their runs."""

import jax
import jax.numpy as jnp
import numpy as np
from small_configs import small_experiment
from small_models import randomized

from vae_jax import config as factory
from vae_jax.trained import TrainedModel
from vae_jax.training import checkpoints


def make_model(image_shape, scale=0.4, seed=0, *, base=None, **changes):
    """Return a model of 5 hidden units and 3 latents.

    Args:
      image_shape: height, width, channels.
      scale: standard deviation of the parameters.
      seed: seed of the parameters and of the run.
      base: the config that is changed; by default that of configs/vanilla.py.
      changes: changed settings by dotted name.
    """
    config = small_experiment({"seed": seed, **changes}, base=base)
    model = randomized(
        lambda: factory.build_model(config, image_shape, jax.random.key(0)), seed, scale
    )
    _, params, extra = factory.split_model(model)
    return TrainedModel(config, image_shape, params, extra)


def save(folder, model):
    """Write a run with the model's parameters as its best, and zeros as what it trains."""
    shape, config = model.image_shape, model.config

    def blank(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return factory.make_key(0) if is_key else np.zeros(leaf.shape, leaf.dtype)

    # A compiled initialisation would take longer than the rest.
    state = jax.tree.map(blank, factory.run_state_template(config, shape))
    with factory.hold_run(folder, config):
        state = state._replace(best_params=model.params, best_extra=model.extra)
        metadata = factory.to_metadata(shape)
        checkpoints.save(folder / "checkpoints", 0, state, metadata, max_to_keep=1)
