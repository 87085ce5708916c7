"""The objective that a config names, as a function of parameters and stored examples."""

from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from vae_jax import objectives
from vae_jax.data.pixels import StoredExamples
from vae_jax.factory.datasets import build_corrupt, build_prepare
from vae_jax.models import VAE, Autoencoder
from vae_jax.training import Hyperparameters, LossFn, Metrics

# The objectives whose samples come in groups.
GROUPED = ("miwae", "piwae")

Images = Float[Array, "batch height width channels"]

# objective(model, inputs, targets, key, hparams, epoch) -> (loss, metrics)
Objective = Callable[
    [VAE, Images, Images, Key[Array, ""], Hyperparameters, Float[Array, ""]],
    tuple[Float[Array, ""], Metrics],
]


def is_plain_elbo(config: ConfigDict) -> bool:
    """Whether the objective keeps its two terms apart, so that they can be weighted."""
    return bool(config.objective.name == "elbo" and config.objective.gradient == "plain")


def _build_elbo(config: ConfigDict) -> Objective:
    section = config.objective

    def objective(
        model: VAE,
        inputs: Images,
        targets: Images,
        key: Key[Array, ""],
        hparams: Hyperparameters,
        epoch: Float[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        terms = objectives.elbo_terms(
            model,
            inputs,
            targets,
            key,
            num_samples=section.num_samples,
            sampled_kl=section.sampled_kl,
        )
        ramp = objectives.warmup(epoch, hparams.warmup_epochs, hparams.warmup_cycle_epochs)
        loss = objectives.negative_elbo(
            terms,
            distortion_weight=hparams.distortion_weight,
            kl_weight=hparams.beta * ramp,
            free_nats=hparams.free_nats,
        )
        return loss, terms.means()

    return objective


def _build_bound(config: ConfigDict) -> Objective:
    section = config.objective
    groups = section.num_groups if section.name in GROUPED else 1

    def objective(
        model: VAE,
        inputs: Images,
        targets: Images,
        key: Key[Array, ""],
        hparams: Hyperparameters,
        epoch: Float[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        del epoch
        if section.gradient == "dreg":
            bound, terms = objectives.doubly_reparameterized(
                model, inputs, targets, key, num_samples=section.num_samples
            )
        elif section.name == "piwae":
            bound, terms = objectives.piwae_bound(
                model, inputs, targets, key, num_samples=section.num_samples, num_groups=groups
            )
        else:
            terms = objectives.log_weight_terms(
                model,
                inputs,
                targets,
                key,
                num_samples=groups * section.num_samples,
                sticking=section.gradient == "stl",
            )
            bounds: dict[str, Callable[[Array], Array]] = {
                "elbo": objectives.elbo,
                "iwae": objectives.iwae_bound,
                "miwae": lambda weights: objectives.miwae_bound(weights, groups),
                "ciwae": lambda weights: objectives.ciwae_bound(weights, hparams.ciwae_weight),
            }
            bound = bounds[section.name](terms.log_weights)
        return -bound.mean(), {**terms.means(), "bound": bound.mean()}

    return objective


def build_loss(config: ConfigDict, graphdef: nnx.GraphDef) -> LossFn:
    """The objective as a function of parameters and stored examples."""
    prepare, corrupt = build_prepare(config), build_corrupt(config)
    objective = _build_elbo(config) if is_plain_elbo(config) else _build_bound(config)

    def loss_fn(
        params: nnx.State,
        examples: StoredExamples,
        hparams: Hyperparameters,
        epoch: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        prepare_key, corrupt_key, sample_key = jax.random.split(key, 3)
        model = nnx.merge(graphdef, params)
        targets = prepare(prepare_key, examples)
        inputs = targets
        if corrupt is not None:
            inputs = corrupt(corrupt_key, targets, hparams.corruption_level)
        if isinstance(model, Autoencoder):
            return objectives.autoencoder_loss(model, inputs, targets)
        return objective(model, inputs, targets, sample_key, hparams, epoch)

    return loss_fn
