"""Every objective, model, posterior, prior and likelihood of columns, on the rows of a table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_rows import COLUMNS, table

from vae_jax import config as factory
from vae_jax.data import columns
from vae_jax.errors import UserError
from vae_jax.models.interfaces import POSTERIORS, PRIORS
from vae_jax.objectives import OBJECTIVES
from vae_jax.settings import name_of

NUM_STEPS, BATCH_SIZE = 60, 10
# Models whose networks have these sizes.
SMALL = ("vae", "autoencoder", "categorical", "ladder", "markov")


def related_rows():
    """Return rows whose columns rise together, a tenth of the cells not seen."""
    rng = np.random.default_rng(1)
    rows = np.sort(table(NUM_STEPS * BATCH_SIZE), axis=0)
    return np.where(rng.random(rows.shape) < 0.1, np.nan, rows)


ROWS = related_rows()
SHAPE = columns.fit(COLUMNS, ROWS, "rows")

AUTOENCODER = {"model": "autoencoder"}
TWO_SAMPLES = {"objective.num_samples": 2}
# By objective what is trained by it. Other choices are spread over the objectives: each is in one.
TRAINED = {
    "elbo": {"prior": "flow", "prior.width": 8, "posterior": "iaf", "posterior.width": 8},
    "stl": {
        "prior": "mixture",
        "prior.components": 3,
        "likelihood.real": "student_t",
        "likelihood.scale_kind": "per_cell",
    },
    "iwae": {**TWO_SAMPLES, "prior": "autoregressive", "likelihood.count": "poisson"},
    "piwae": {**TWO_SAMPLES, "model": "ladder"},
    "ciwae": {**TWO_SAMPLES, "model": "markov"},
    "capacity": {"prior": "uniform_sphere", "posterior": "von_mises_fisher"},
    "tc": {"likelihood.count": "zero_inflated_negative_binomial"},
    "factor": {"objective.discriminator.widths": (8,)},
    "info": {},
    "rae_gp": AUTOENCODER,
    "gumbel": {"model": "categorical"},
}
# Objectives whose terms of rows are those of others, which are trained: PIWAE has the bound of
# MIWAE, InfoVAE the discrepancy of WAE. TC has a penalty of the posteriors of a batch as DIP does,
# and FactorVAE a discriminator of codes. Others penalise what rows have no part in.
ALIKE = {
    "miwae": TWO_SAMPLES,
    "wae": {},
    "dip": {},
    "adversarial": {},
    "reconstruction": AUTOENCODER,
    "rae_l2": AUTOENCODER,
}


def config_of(objective, changes):
    """Return a small config on a table; changes are settings of the model or the objective."""
    small = {
        "epochs": 1,
        "batch_size": BATCH_SIZE,
        "data": {"name": "rows.csv"},
        "model": {"name": changes.get("model", "vae"), "likelihood": {"name": "columns"}},
        "objective": {"name": objective},
        "optimizer": {"name": "adam", "learning_rate": 2e-2},
    }
    if small["model"]["name"] in SMALL:
        small["model"] |= {"latent_size": 2, "encoder": {"name": "mlp", "widths": (64,)}}
    own = {
        name if name.startswith("objective.") else f"model.{name}": value
        for name, value in changes.items()
        if name != "model"
    }
    return factory.with_values(small, own)


@pytest.mark.parametrize("objective", TRAINED)
def test_an_epoch_on_rows_with_empty_cells_lowers_the_distortion(objective):
    experiment = factory.resolve(config_of(objective, TRAINED[objective]))
    program = factory.build_program(experiment, SHAPE, len(ROWS))
    hparams = factory.build_hparams(experiment)

    @jax.jit
    def trained(rows):
        start = program.init(jnp.zeros(SHAPE), jax.random.key(0), hparams).train
        state, metrics = program.run_steps(start, rows, NUM_STEPS)
        return start.params, state.params, metrics

    start, params, metrics = trained(ROWS)
    assert all(np.isfinite(values).all() for values in metrics.values())
    distortion = metrics["distortion"]
    assert distortion[-10:].mean() < distortion[:10].mean() - 0.2
    for before, after in zip(*map(jax.tree.leaves, (start, params)), strict=True):
        assert np.isfinite(after).all()
        assert (np.asarray(before) != np.asarray(after)).any()


REFUSED = {
    "vae_gan": ({}, "compares images with means of p.x.z., which rows of .* have not; use another"),
    "code_likelihood": ({"model": "code_prior"}, "model.likelihood is not a setting of"),
    "quantized": ({"model": "vq_vae"}, "model='vq_vae' is a model of images, and"),
    "cvae": ({"condition": "quadrants"}, "model.condition='quadrants' is a condition of images"),
    "m2": ({"model": "m2"}, "model.condition='label' is a condition of images"),
    "mvae": ({"model": "multimodal"}, "model.likelihood='columns' is for rows of a table"),
    "mmvae": ({}, "is defined for models of several modalities"),
    "mopoe": ({}, "is defined for models of several modalities"),
    "jmvae": ({}, "is defined for models of several modalities"),
}


@pytest.mark.parametrize("objective", REFUSED)
def test_objectives_of_images_and_modalities_are_refused_in_a_line(objective):
    changes, message = REFUSED[objective]
    with pytest.raises(UserError, match=message) as error:
        factory.resolve(config_of(objective, changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("objective", ALIKE)
def test_objectives_like_those_that_are_trained_are_not_refused(objective):
    resolved = factory.resolve(config_of(objective, ALIKE[objective]))
    assert name_of(resolved.objective) == objective


def test_all_choices_are_trained_like_another_or_refused():
    assert sorted([*TRAINED, *ALIKE, *REFUSED]) == sorted(OBJECTIVES)
    models = [
        factory.resolve(config_of(objective, changes)).to_dict()["model"]
        for objective, changes in TRAINED.items()
    ]
    # tests/experiments/test_table_commands.py has the refusal of the VampPrior.
    assert {m["prior"]["name"] for m in models if "prior" in m} == PRIORS.keys() - {"vamp"}
    assert {m["posterior"]["name"] for m in models if "posterior" in m} == POSTERIORS.keys()
    for name, choices in (("real", 2), ("count", 3), ("scale_kind", 2)):
        assert len({m["likelihood"][name] for m in models}) == choices
