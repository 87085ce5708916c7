"""The objective that a config names, as a function of parameters and stored examples."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from vae_jax.config.datasets import build_corrupt, build_prepare
from vae_jax.config.multimodal import build_joint_loss
from vae_jax.data.pixels import StoredExamples
from vae_jax.models import VAE, Autoencoder, FactorVAE
from vae_jax.objectives import bounds as objectives
from vae_jax.objectives import disentangling, kl_decomposition
from vae_jax.training.step import Hyperparameters, LossFn, Metrics

# The objectives whose samples come in groups.
GROUPED = ("miwae", "piwae")
# Those that are bounds over several samples.
BOUNDS = ("ciwae", "iwae", *GROUPED)
# Those that compare the examples of a batch with each other, and so are no mean over examples.
OF_WHOLE_BATCHES = ("capacity", "dip", "factor", "tc")

Images = Float[Array, "batch height width channels"]

# objective(model, inputs, targets, key, hparams, epoch) -> (loss, metrics)
Objective = Callable[
    [VAE, Images, Images, Key[Array, ""], Hyperparameters, Float[Array, ""]],
    tuple[Float[Array, ""], Metrics],
]


# penalty(model, encoded batch, key, hparams) -> (what is added to the negative elbo, metrics)
Penalty = Callable[
    [VAE, disentangling.Encoded, Key[Array, ""], Hyperparameters],
    tuple[Float[Array, ""], Metrics],
]


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
        if section.name == "capacity":
            ramp = objectives.warmup(epoch, hparams.capacity_epochs, jnp.float32(0))
            capacity = ramp * hparams.capacity
            loss = disentangling.capacity_loss(terms, hparams.gamma, capacity)
            return loss, {**terms.means(), "capacity": capacity}
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


def _total_correlation(
    model: VAE,
    encoded: disentangling.Encoded,
    key: Key[Array, ""],
    hparams: Hyperparameters,
    *,
    section: ConfigDict,
    num_examples: int,
) -> tuple[Float[Array, ""], Metrics]:
    """Beta-TCVAE (Chen et al. 2018, arXiv 1802.04942, equation 4, with alpha = gamma = 1).

    The KL that the elbo has already in closed form is its three parts at weight 1.
    """
    del model, key
    log_weights = kl_decomposition.log_importance_weights(
        section.tc_estimator, len(encoded.latents), num_examples
    )
    parts = kl_decomposition.decompose(
        encoded.posterior, encoded.prior, encoded.latents, log_weights
    )
    means = {name: values.mean() for name, values in parts._asdict().items()}
    return (hparams.beta - 1) * means["total_correlation"], means


def _covariance(
    model: VAE,
    encoded: disentangling.Encoded,
    key: Key[Array, ""],
    hparams: Hyperparameters,
    *,
    section: ConfigDict,
) -> tuple[Float[Array, ""], Metrics]:
    """DIP-VAE (Kumar et al. 2018, arXiv 1711.00848)."""
    del model, key
    covariances = {
        "i": disentangling.covariance_of_means,
        "ii": disentangling.covariance_of_latents,
    }
    penalty = disentangling.covariance_penalty(
        covariances[section.dip_kind](encoded.posterior),
        hparams.dip_off_diagonal,
        hparams.dip_diagonal,
    )
    return penalty, {"covariance_penalty": penalty}


def _density_ratio(
    model: VAE, encoded: disentangling.Encoded, key: Key[Array, ""], hparams: Hyperparameters
) -> tuple[Float[Array, ""], Metrics]:
    """FactorVAE (Kim & Mnih 2018, arXiv 1802.05983, algorithm 2).

    The VAE is trained through a discriminator at rest, and the discriminator on latents at rest:
    only by its gradient does the discriminator's loss enter the loss.
    """
    judge = objectives.frozen(model)
    assert isinstance(model, FactorVAE)
    assert isinstance(judge, FactorVAE)
    total_correlation = disentangling.density_ratio_total_correlation(
        judge.discriminator, encoded.latents
    )
    discriminator_loss = disentangling.discriminator_loss(
        model.discriminator, jax.lax.stop_gradient(encoded.latents), key
    )
    penalty = objectives.with_gradient_of(hparams.gamma * total_correlation, discriminator_loss)
    return penalty, {
        "total_correlation": total_correlation,
        "discriminator_loss": discriminator_loss,
    }


def _build_penalized(penalty: Penalty) -> Objective:
    def objective(
        model: VAE,
        inputs: Images,
        targets: Images,
        key: Key[Array, ""],
        hparams: Hyperparameters,
        epoch: Float[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        del epoch
        sample_key, penalty_key = jax.random.split(key)
        encoded = disentangling.encode_normal(model, inputs, targets, sample_key)
        added, metrics = penalty(model, encoded, penalty_key, hparams)
        means = encoded.terms.means()
        return added - means["elbo"], {**means, **metrics}

    return objective


def _build_objective(config: ConfigDict, num_examples: int) -> Objective:
    section = config.objective
    penalties: dict[str, Penalty] = {
        "dip": functools.partial(_covariance, section=section),
        "factor": _density_ratio,
        "tc": functools.partial(_total_correlation, section=section, num_examples=num_examples),
    }
    if section.name in penalties:
        return _build_penalized(penalties[section.name])
    # Any other gradient of the elbo is one of its log weights.
    if section.name in BOUNDS or section.gradient != "plain":
        return _build_bound(config)
    return _build_elbo(config)


def build_loss(config: ConfigDict, graphdef: nnx.GraphDef, num_examples: int) -> LossFn:
    """The objective as a function of parameters and stored examples.

    Args:
      config: a validated config.
      graphdef: the model without its parameters.
      num_examples: size of the training set.
    """
    if config.model.name == "multimodal":
        return build_joint_loss(config, graphdef)
    prepare, corrupt = build_prepare(config), build_corrupt(config)
    objective = _build_objective(config, num_examples)

    def loss_fn(
        params: nnx.State,
        examples: StoredExamples,
        hparams: Hyperparameters,
        epoch: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        assert not isinstance(examples, dict)
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
