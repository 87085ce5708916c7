"""Tiny trained models with random parameters, and workdirs that hold them."""

import jax
import jax.numpy as jnp
from flax import nnx
from small_models import randomized
from vae_jax.trained_model import TrainedModel

from configs import vanilla
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.training import checkpoints


def make_model(image_shape, scale=0.4, seed=0, **changes):
    """A model of 5 hidden units and 3 latents; `changes` are fields of its config."""
    config = vanilla.get_config()
    config.model.widths, config.model.latent_size = (5,), 3
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    model = randomized(
        lambda: factory.build_model(config, image_shape, jax.random.key(0)), seed, scale
    )
    return TrainedModel(config, image_shape, nnx.split(model)[1])


def save(folder, model):
    """A run that has just begun, with the model's parameters as its best."""
    shape = model.image_shape
    program = factory.build_program(model.config, shape, num_examples=model.config.batch_size)
    state = jax.jit(program.init)(
        jnp.full(shape, 0.5), factory.make_key(0), factory.build_hparams(model.config)
    )
    with workdir.hold(folder, model.config.to_dict()):
        state = state._replace(best_params=model.params)
        facts = {"image_shape": shape}
        checkpoints.save(folder / "checkpoints", 0, state, facts, max_to_keep=1)
