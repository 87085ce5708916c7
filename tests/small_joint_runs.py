"""Workdirs of runs of several modalities that have ended before they have learned anything."""

import jax

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.training import checkpoints

SMALL = {
    "batch_size": 20,
    "data.train_split": "train[:400]",
    "data.validation_split": "",
    "data.test_split": "test[:30]",
    "model.network": "mlp",
    "model.widths": (5,),
    "model.latent_size": 3,
    "model.embedding_size": 4,
    "model.text_width": 5,
}

LIKELIHOOD = {
    "elbo": -30.5,
    "log_likelihood": {"joint": -25.0, "image": -24.0, "rendering_0": -9.0},
    "conditional_log_likelihood": {"image": -21.5, "rendering_0": -8.5},
    "num_samples": 5,
}


def save(folder, config, **changes):
    """Write a run of a config, with its first parameters and figures that nobody measured."""
    with config.unlocked():
        config.update_from_flattened_dict({**SMALL, **changes})
    factory.validate(config)
    splits = factory.load_examples(config)
    program = factory.build_program(config, splits.form, splits.num_examples)
    state = jax.jit(program.init)(
        splits.mean_image, factory.make_key(config.seed), factory.build_hparams(config)
    )
    with workdir.hold(folder, config.to_dict()):
        facts = factory.to_metadata(splits.form)
        checkpoints.save(folder / "checkpoints", 0, state, facts, max_to_keep=1)
        machine = {"device": "1 x cpu", "num_cores": 2, "versions": {}}
        workdir.write_summary(folder, {"epochs": 1, "test": LIKELIHOOD, **machine})
