"""Workdirs of runs of several modalities that have ended before they have learned anything."""

import jax
from small_configs import small_experiment

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.training import checkpoints

SMALL = {
    "batch_size": 20,
    "data.train_split": "train[:400]",
    "data.validation_split": "",
    "data.test_split": "test[:30]",
    "model.encoder": {"name": "mlp", "widths": (5,)},
    "model.decoder": "mirror",
    "model.label.widths": (5,),
    "model.text": {"embedding_size": 4, "width": 5},
}

LIKELIHOOD = {
    "elbo": -30.5,
    "log_likelihood": {"joint": -25.0, "image": -24.0, "rendering_0": -9.0},
    "conditional_log_likelihood": {"image": -21.5, "rendering_0": -8.5},
    "num_samples": 5,
}


def save(folder, config, **changes):
    """Write a run of a config, with its first parameters and metrics that nobody measured."""
    experiment = small_experiment({**SMALL, **changes}, base=config)
    splits = factory.load_examples(experiment)
    program = factory.build_program(experiment, splits.form, splits.num_examples)
    state = jax.jit(program.init)(
        splits.mean_image,
        factory.make_key(experiment.seed),
        factory.build_hparams(experiment),
    )
    with factory.hold_run(folder, experiment):
        metadata = factory.to_metadata(splits.form)
        checkpoints.save(folder / "checkpoints", 0, state, metadata, max_to_keep=1)
        machine = {"device": "1 x cpu", "num_cores": 2, "versions": {}}
        workdir.write_summary(folder, {"epochs": 1, "test": LIKELIHOOD, **machine})
