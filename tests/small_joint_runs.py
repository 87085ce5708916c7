"""Tiny models of several modalities, and workdirs with their runs."""

import jax
import numpy as np
from flax import nnx
from small_configs import small_experiment
from small_models import randomized

from configs import multimodal
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.models.modalities import Form
from vae_jax.trained import TrainedMultimodal
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

# Of the summary of a run, what is no metric.
ENDED = {"epochs": 1, "device": "1 x cpu", "num_cores": 2, "versions": {}}
LIKELIHOOD = {
    "elbo": -30.5,
    "log_likelihood": {"joint": -25.0, "image": -24.0, "rendering_0": -9.0},
    "conditional_log_likelihood": {"image": -21.5, "rendering_0": -8.5},
    "num_samples": 5,
}


FORMS = {
    "image": Form("image", (4, 3, 1)),
    "label": Form("class", (4,)),
    "text": Form("text", (5,), ("a", "thin", "four", "three")),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 3, 1), np.uint8)


def make_model(**changes):
    """Return a product of experts over `FORMS` with random parameters and changed settings."""
    names = {"data.modalities": tuple(FORMS), "model.joint_posterior": "product"}
    small = {name: value for name, value in SMALL.items() if name.startswith("model.")}
    changes = {"objective": "mvae", **names, **small, **changes}
    experiment = small_experiment(changes, base=multimodal.get_config())
    model = randomized(lambda: factory.build_model(experiment, FORMS, jax.random.key(0)), 0, 0.7)
    return TrainedMultimodal(experiment, FORMS, nnx.split(model)[1])


def save(folder, config, **changes):
    """Write a run that ended at once: its initial parameters, and invented metrics."""
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
        workdir.write_summary(folder, {**ENDED, "test": LIKELIHOOD})
