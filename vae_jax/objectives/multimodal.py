"""The objectives of joint models, one function per equation. Nats; terms stay apart per example.

With x_1..x_M the modalities, S a subset of them and z drawn from q(z|x_S),

    log_likelihoods[i] = log p(x_i|z),  kl = KL(q(z|x_S) || p(z))
    elbo_S = E[sum_{i in S} log p(x_i|z)] - kl,

and an objective's ELBO weighs them: sum_{i in S} w_i log p(x_i|z) - beta kl. Images have hundreds
of pixels and a class is worth a few nats. With w_i = 1, the bound on log p(x_1..x_M), images
dominate the latents; results depend on the weights and are reported with them.

The metric `elbo` is that of all modalities that an example has, without weights: a bound on their
joint log probability.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from vae_jax.distributions import Normal, SubsetMixture, kl_by_dimension, kl_divergence
from vae_jax.models.modalities import TextModality, Values
from vae_jax.models.multimodal import MultimodalVAE
from vae_jax.networks.text import drop_words
from vae_jax.objectives.base import OBJECTIVES, Metrics, Objective, Scalar
from vae_jax.objectives.elbo import warmup, warmup_problem
from vae_jax.settings import Traced, integer, name_of, numbers, register, traced


class Batch(NamedTuple):
    """Examples of every modality.

    Attributes:
      values: values by name; any of the right shape if a modality is missing.
      present: a mask of each example's modalities, `[batch, modalities]`.
      contexts: values that autoregressive decoders are given instead, by name.
    """

    values: Mapping[str, Values]
    present: Bool[Array, "batch modalities"]
    contexts: Mapping[str, Values] = {}


class Weights(NamedTuple):
    """The weights of an objective's terms.

    Attributes:
      likelihoods: weight of each modality's log likelihood, `[modalities]`.
      kl: weight of KL(q(z|x_S) || p(z)).
    """

    likelihoods: Float[Array, " modalities"]
    kl: Scalar


class JointTerms(NamedTuple):
    """The terms of an evidence lower bound, one value per example, in nats.

    Attributes:
      log_likelihoods: log p(x_i|z) of each modality, `[modalities, *rows, batch]`; 0 where missing.
      kl: KL(q(z|x_S) || p(z)), or a bound on it, `[*rows, batch]`.
    """

    log_likelihoods: Float[Array, "modalities *rows batch"]
    kl: Float[Array, "*rows batch"]

    def weighted(self, weights: Weights) -> Float[Array, "*rows batch"]:
        """Return the bound with weighted terms."""
        return jnp.tensordot(weights.likelihoods, self.log_likelihoods, 1) - weights.kl * self.kl

    def means(self, names: tuple[str, ...]) -> dict[str, Scalar]:
        """Return batch means: "elbo", "rate", "distortion" and "distortion_NAME" per modality."""
        rate, distortions = self.kl.mean(), -self.log_likelihoods.mean(axis=-1)
        by_name = {f"distortion_{name}": distortions[i] for i, name in enumerate(names)}
        distortion = distortions.sum()
        return {
            "elbo": -(distortion + rate),
            "rate": rate,
            "distortion": distortion,
            **by_name,
        }


def _log_likelihoods(
    model: MultimodalVAE,
    batch: Batch,
    latents: Float[Array, "*rows batch latents"],
    mask: Bool[Array, "*rows batch modalities"],
) -> Float[Array, "modalities *rows batch"]:
    """Return log p(x_i|z) of the modalities in the mask, 0 for the others."""
    return jnp.stack(
        [
            model.log_likelihood(
                name, latents, batch.values[name], mask[..., i], batch.contexts.get(name)
            )
            for i, name in enumerate(model.names)
        ]
    )


def kl_bound(posterior: SubsetMixture, prior: Normal) -> Float[Array, " batch"]:
    """Return sum_c weight_c KL(q_c || p), at least KL(q || p) since the KL is convex.

    Sutter et al. 2021 (arXiv 2105.02470, lemma 2). For one normal both are equal.
    """
    # Components of weight 0 are the prior or a product of present factors: their KL is finite.
    return (jnp.exp(posterior.log_weights) * kl_divergence(posterior.components, prior)).sum(axis=0)


def joint_elbo(model: MultimodalVAE, batch: Batch, key: Key[Array, ""]) -> JointTerms:
    """Return the ELBO of the modalities that each example has, from one draw of its posterior.

    For a mixture of products it is the objective of MoPoE, whose KL is `kl_bound`. One component
    per example is drawn, by the weights.
    """
    posterior = model.encode(batch.values, batch.present)
    noise_key, choice_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, posterior.mean.shape)
    latents = posterior.of(posterior.choose(choice_key)).draw(noise).latents
    likelihoods = _log_likelihoods(model, batch, latents, batch.present)
    return JointTerms(likelihoods, kl_bound(posterior, model.prior))


def jmvae_objective(
    model: MultimodalVAE,
    batch: Batch,
    key: Key[Array, ""],
    *,
    weights: Weights,
    unimodal_kl_weight: Traced,
) -> tuple[Float[Array, " batch"], JointTerms, dict[str, Scalar]]:
    """Return the objective of JMVAE-kl (Suzuki et al. 2016, arXiv 1611.01891, equation 8).

        elbo_{1, 2} - alpha sum_i KL(q(z|x_1, x_2) || q(z|x_i)),

    whose KLs bring the encoders of single modalities near the joint one. Every example has both
    modalities.

    Returns:
      The objective to maximise, the terms of the joint ELBO, and the two KLs as batch means.
    """
    encoded = model.experts(batch.values, batch.present)
    assert encoded.joint is not None, "the model has an encoder of all modalities"
    joint, factors = encoded.joint, encoded.factors
    latents = joint.draw(jax.random.normal(key, joint.mean.shape)).latents
    likelihoods = _log_likelihoods(model, batch, latents, batch.present)
    terms = JointTerms(likelihoods, kl_divergence(joint, model.prior))
    to_experts = kl_by_dimension(joint, factors).sum(axis=-1)
    objective = terms.weighted(weights) - unimodal_kl_weight * to_experts.sum(axis=0)
    kls = {f"kl_to_{name}": to_experts[i].mean() for i, name in enumerate(model.names)}
    return objective, terms, kls


def draw_subsets(
    key: Key[Array, ""], num_subsets: int, batch: int, num_modalities: int
) -> Bool[Array, "num_subsets batch modalities"]:
    """Draw, for every example, masks of at least two modalities and fewer than all, uniformly."""
    choices = np.array(list(np.ndindex(*(2,) * num_modalities)), bool)
    size = choices.sum(axis=1)
    choices = choices[(size > 1) & (size < num_modalities)]
    chosen: Int[Array, "num_subsets batch"] = jax.random.randint(
        key, (num_subsets, batch), 0, len(choices)
    )
    return jnp.asarray(choices)[chosen]


def mvae_objective(
    model: MultimodalVAE,
    batch: Batch,
    key: Key[Array, ""],
    *,
    weights: Weights,
    num_subsets: int,
) -> tuple[Float[Array, " batch"], JointTerms]:
    """Return the sum of ELBOs of MVAE (Wu & Goodman 2018, arXiv 1802.05335, equation 5).

        elbo_{1..M} + sum_i elbo_{i} + sum_j elbo_{S_j},

    with `num_subsets` subsets S_j drawn for every example. The ELBO of a subset is 0 for examples
    without any of its modalities.

    Returns:
      The objective to maximise, and the terms of the ELBO of all modalities.
    """
    num_modalities, num_examples = len(model.names), len(batch.present)
    noise_key, subset_key = jax.random.split(key)
    whole_and_singles = np.concatenate(
        [np.ones((1, num_modalities), bool), np.eye(num_modalities, dtype=bool)]
    )
    fixed = jnp.broadcast_to(
        whole_and_singles[:, None, :], (num_modalities + 1, num_examples, num_modalities)
    )
    subsets = fixed
    if num_subsets:
        drawn = draw_subsets(subset_key, num_subsets, num_examples, num_modalities)
        subsets = jnp.concatenate([fixed, drawn])
    members = subsets & batch.present

    encoded = model.experts(batch.values, batch.present)
    posterior = jax.vmap(lambda present: model.posterior(encoded, present))(members)
    parts = Normal(posterior.components.mean[:, 0], posterior.components.log_scale[:, 0])
    latents = parts.draw(jax.random.normal(noise_key, parts.mean.shape)).latents

    # A decoder runs only for the rows whose subsets can have its modality.
    likelihoods = []
    for i, name in enumerate(model.names):
        may_have = np.concatenate([whole_and_singles[:, i], np.ones(num_subsets, bool)])
        rows = np.flatnonzero(may_have)
        found = model.log_likelihood(
            name, latents[rows], batch.values[name], members[rows, :, i], batch.contexts.get(name)
        )
        by_row = iter(found)
        zero = jnp.zeros(num_examples)
        likelihoods.append(jnp.stack([next(by_row) if has else zero for has in may_have]))
    terms = JointTerms(jnp.stack(likelihoods), kl_divergence(parts, model.prior))
    whole = JointTerms(terms.log_likelihoods[:, 0], terms.kl[0])
    return terms.weighted(weights).sum(axis=0), whole


def mmvae_objective(
    model: MultimodalVAE,
    batch: Batch,
    key: Key[Array, ""],
    *,
    weights: Weights,
    num_samples: int,
) -> tuple[Float[Array, " batch"], JointTerms]:
    """Return the stratified bound of MMVAE (Shi et al. 2019, arXiv 1911.03393, equation 3).

        1/M sum_i E[log 1/K sum_k p(z_i^k) prod_j p(x_j|z_i^k) / q(z_i^k|x)],  z_i^k of q(z|x_i),

    with the mixture q(z|x) = 1/M sum_i q(z|x_i) in the denominator and M the number of modalities
    that an example has. It is the looser of the paper's two bounds; in it no expert can leave the
    work to another. With K = 1 it is the ELBO. An example without modalities counts 0.

    Returns:
      The objective to maximise, and the terms of the ELBO of all modalities over the same draws.
    """
    encoded = model.experts(batch.values, batch.present)
    mixture = model.posterior(encoded, batch.present)
    # The first component is the prior, the others are the experts.
    experts = Normal(mixture.components.mean[1:], mixture.components.log_scale[1:])
    noise = jax.random.normal(key, (num_samples, *experts.mean.shape))
    latents = experts.draw(noise).latents
    mask = jnp.broadcast_to(batch.present, (*latents.shape[:-1], batch.present.shape[-1]))
    likelihoods = _log_likelihoods(model, batch, latents, mask)
    log_ratio = mixture.log_prob(latents) - model.prior.log_prob(latents)
    log_weights = JointTerms(likelihoods, log_ratio).weighted(weights)
    bounds = jax.nn.logsumexp(log_weights, axis=0) - jnp.log(num_samples)

    share = jnp.exp(mixture.log_weights[1:])
    terms = JointTerms(
        (share * likelihoods.mean(axis=1)).sum(axis=1), (share * log_ratio.mean(axis=0)).sum(axis=0)
    )
    return (share * bounds).sum(axis=0), terms


@dataclasses.dataclass(frozen=True)
class _JointObjective(Objective):
    """The settings that the objectives of several modalities share.

    A batch is `Batch`. The metric "elbo" is not weighted.
    """

    takes: ClassVar[Literal["images", "modalities"]] = "modalities"
    joint_posterior: ClassVar[str]

    beta: Traced = traced(1.0, "Weight of the KL.", at_least=0.0)
    warmup_epochs: Traced = traced(
        0.0, "Epochs over which the weight of the KL rises from 0; 0 is no warm-up.", at_least=0.0
    )
    warmup_cycle_epochs: Traced = traced(
        0.0, "Epochs after which that rise restarts; 0 is never.", at_least=0.0
    )
    modality_weights: tuple[float, ...] = numbers(
        (),
        "Weight of each modality's log likelihood in the loss, in the order of data.modalities; "
        "() is 1 of each.",
        each="of at least 0, not all 0",
        check_each=lambda value: value >= 0,
    )
    word_dropout: Traced = traced(
        0.0,
        "Share of the words that the decoder of texts is not given in training.",
        at_least=0.0,
        below=1.0,
    )

    @abc.abstractmethod
    def bound(
        self, model: MultimodalVAE, batch: Batch, key: Key[Array, ""], weights: Weights
    ) -> tuple[Float[Array, " batch"], JointTerms, Metrics]:
        """Return the objective to maximise, the terms of the joint ELBO, and other metrics."""

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        kind = getattr(model, "joint_posterior", None)
        if kind != self.joint_posterior:
            fitting = [
                name
                for name, cls in OBJECTIVES.items()
                if getattr(cls, "joint_posterior", None) == kind
            ]
            return (
                f"objective={name_of(self)!r} is defined for "
                f"model.joint_posterior={self.joint_posterior!r}, not {kind!r}; "
                f"use objective={' or '.join(map(repr, fitting))}"
            )
        return warmup_problem(self.warmup_epochs, self.warmup_cycle_epochs)

    def prepare(
        self, model: MultimodalVAE, batch: Batch, key: Key[Array, ""], *, epoch: Scalar
    ) -> Batch:
        """Return the batch with dropped words in the contexts of text decoders."""
        texts = [name for name in model.names if isinstance(model.modalities[name], TextModality)]
        # Validation, at an infinite epoch, measures the model of evaluation, without dropped words.
        share = jnp.where(jnp.isfinite(epoch), self.word_dropout, 0)
        contexts = {
            name: drop_words(jax.random.fold_in(key, i), batch.values[name], share)
            for i, name in enumerate(texts)
        }
        return batch._replace(contexts=contexts)

    def loss(
        self,
        model: MultimodalVAE,
        batch: Batch,
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: nnx.Module,
    ) -> tuple[Scalar, Metrics]:
        """Return the negative objective, and the terms of the joint ELBO as metrics."""
        del num_examples, networks
        ramp = warmup(epoch, self.warmup_epochs, self.warmup_cycle_epochs)
        likelihoods = self.modality_weights or (1.0,) * len(model.names)
        weights = Weights(jnp.asarray(likelihoods, jnp.float32), jnp.asarray(self.beta * ramp))
        bound, terms, others = self.bound(model, batch, key, weights)
        return -bound.mean(), {**terms.means(model.names), **others}


@register(OBJECTIVES, "mvae")
@dataclasses.dataclass(frozen=True)
class MVAE(_JointObjective):
    """Sum of the ELBOs of all modalities, of each, and of subsets (Wu & Goodman 2018)."""

    joint_posterior: ClassVar[str] = "product"

    num_subsets: int = integer(
        0, "Subsets drawn for every example, whose ELBOs are added.", at_least=0
    )

    def bound(
        self, model: MultimodalVAE, batch: Batch, key: Key[Array, ""], weights: Weights
    ) -> tuple[Float[Array, " batch"], JointTerms, Metrics]:
        """Return the objective to maximise, the terms of the joint ELBO, and no other metrics."""
        objective, terms = mvae_objective(
            model, batch, key, weights=weights, num_subsets=self.num_subsets
        )
        return objective, terms, {}


@register(OBJECTIVES, "mmvae")
@dataclasses.dataclass(frozen=True)
class MMVAE(_JointObjective):
    """The stratified bound of a mixture of experts (Shi et al. 2019, arXiv 1911.03393)."""

    joint_posterior: ClassVar[str] = "mixture"

    num_samples: int = integer(1, "Samples of the latents per expert.", at_least=1)

    def bound(
        self, model: MultimodalVAE, batch: Batch, key: Key[Array, ""], weights: Weights
    ) -> tuple[Float[Array, " batch"], JointTerms, Metrics]:
        """Return the objective to maximise, the terms of the joint ELBO, and no other metrics."""
        objective, terms = mmvae_objective(
            model, batch, key, weights=weights, num_samples=self.num_samples
        )
        return objective, terms, {}


@register(OBJECTIVES, "mopoe")
@dataclasses.dataclass(frozen=True)
class MoPoE(_JointObjective):
    """ELBO of a mixture of products over all subsets (Sutter et al. 2021, arXiv 2105.02470)."""

    joint_posterior: ClassVar[str] = "mixture_of_products"

    def bound(
        self, model: MultimodalVAE, batch: Batch, key: Key[Array, ""], weights: Weights
    ) -> tuple[Float[Array, " batch"], JointTerms, Metrics]:
        """Return the objective to maximise, the terms of the joint ELBO, and no other metrics."""
        terms = joint_elbo(model, batch, key)
        return terms.weighted(weights), terms, {}


@register(OBJECTIVES, "jmvae")
@dataclasses.dataclass(frozen=True)
class JMVAE(_JointObjective):
    """ELBO of a joint encoder, and KLs that bring single ones near it (Suzuki et al. 2016)."""

    joint_posterior: ClassVar[str] = "joint"

    unimodal_kl_weight: Traced = traced(
        0.0, "Weight of KL(q(z|x, y) || q(z|x)) and KL(q(z|x, y) || q(z|y)).", at_least=0.0
    )

    def bound(
        self, model: MultimodalVAE, batch: Batch, key: Key[Array, ""], weights: Weights
    ) -> tuple[Float[Array, " batch"], JointTerms, Metrics]:
        """Return the objective to maximise, the terms of the joint ELBO, and the KLs."""
        return jmvae_objective(
            model, batch, key, weights=weights, unimodal_kl_weight=self.unimodal_kl_weight
        )
