"""VAEs of several modalities with one latent space; any modality may be missing."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from vae_jax.data.captions.vocabulary import SPECIAL
from vae_jax.distributions import Distribution, Normal, SubsetMixture
from vae_jax.models.experts import (
    JOINT_POSTERIORS,
    JointPosterior,
    Present,
    mixture_over_subsets,
    product_of_experts,
    subsets_of,
)
from vae_jax.models.interfaces import LIKELIHOODS, MODELS, LikelihoodPart
from vae_jax.models.modalities import (
    ClassModality,
    Form,
    Forms,
    ImageModality,
    Modality,
    TextModality,
    Values,
)
from vae_jax.models.networks import Networks
from vae_jax.models.posteriors import DiagonalNormal
from vae_jax.networks.classes import ClassSettings
from vae_jax.networks.initializers import INITIALIZERS, LECUN, Initializer
from vae_jax.networks.text import TextSettings
from vae_jax.settings import one_of, part, register, section


class Encoded(NamedTuple):
    """The output of the encoders for a batch, which gives the posterior of any subset.

    Attributes:
      factors: the factor of each modality, `[modalities, batch, latents]`.
      joint: the posterior of all modalities, `[batch, latents]`; None if no encoder takes all.
    """

    factors: Normal
    joint: Normal | None


class MultimodalVAE(nnx.Module):
    """p(z) prod_i p(x_i|z), and q(z|x_S) for every subset S of the modalities.

    The mask of an example's modalities is an array, `present`: one compiled program serves all
    subsets. The values of a missing modality have no influence on any result, and its parameters
    have exactly no gradient.

    Args:
      modalities: the modalities by name.
      latent_size: number of latent dimensions.
      kind: how experts become one posterior (vae_jax/models/experts.py). With "joint", which takes
        two modalities, q(z|x_1, x_2) has encoders of its own, and the encoder of a modality gives
        its expert q(z|x_i) itself, without the prior as a factor.
      joint_encoders: the encoders of the joint posterior by modality; None for other kinds.

    Attributes:
      names: names of the modalities, in the order of `present`.
    """

    has_density: ClassVar[bool] = True

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        latent_size: int,
        kind: JointPosterior,
        joint_encoders: Mapping[str, Any] | None = None,
        *,
        kernel_init: Initializer = LECUN,
        rngs: nnx.Rngs,
    ) -> None:
        def head(num_features: int) -> DiagonalNormal:
            return DiagonalNormal(num_features, latent_size, kernel_init=kernel_init, rngs=rngs)

        self.names = tuple(modalities)
        self.kind = kind
        self.latent_size = latent_size
        self.modalities = nnx.Dict(dict(modalities))
        self.heads = nnx.Dict(
            {name: head(part.encoder.num_features) for name, part in modalities.items()}
        )
        encoders = dict(joint_encoders or {})
        num_joint_features = sum(part.num_features for part in encoders.values())
        self.joint_encoders = nnx.Dict(encoders)
        self.joint_head = head(num_joint_features) if encoders else None

    @property
    def prior(self) -> Normal:
        """N(0, I) over `[latents]`."""
        return Normal(jnp.zeros(self.latent_size), jnp.zeros(self.latent_size))

    def presence(
        self, values: Mapping[str, Values], present: Bool[Array, "..."] | None
    ) -> Bool[Array, "batch modalities"]:
        """Return a mask of each example's modalities; None means that all are present."""
        shape = (values[self.names[0]].shape[0], len(self.names))
        return jnp.broadcast_to(jnp.asarray(True) if present is None else present, shape)

    def experts(self, values: Mapping[str, Values], present: Present) -> Encoded:
        """Return the output of the encoders; the values of missing modalities are not used."""
        safe = {
            name: jnp.where(_like(present[:, i], values[name]), values[name], 0)
            for i, name in enumerate(self.names)
        }
        factors = [self.heads[name](self.modalities[name].encoder(safe[name])) for name in safe]
        joint = None
        if self.joint_head is not None:
            features = [self.joint_encoders[name](safe[name]) for name in safe]
            joint = self.joint_head(jnp.concatenate(features, axis=-1))
        means = jnp.stack([factor.mean for factor in factors])
        return Encoded(Normal(means, jnp.stack([f.log_scale for f in factors])), joint)

    def posterior(self, encoded: Encoded, present: Present) -> SubsetMixture:
        """Return q(z|x_S) over `[batch, latents]`, with a subset S for each example."""
        if self.kind == "product":
            return _single(product_of_experts(encoded.factors, present))
        if encoded.joint is not None:
            return _single(self._joint_or_expert(encoded, present))
        subsets = subsets_of(self.kind, len(self.names))
        return mixture_over_subsets(encoded.factors, present, subsets)

    def _joint_or_expert(self, encoded: Encoded, present: Present) -> Normal:
        assert encoded.joint is not None
        prior = jnp.zeros_like(encoded.joint.mean)
        mean, log_scale = prior, prior
        for i in range(len(self.names)):
            is_there = present[:, i, None]
            mean = jnp.where(is_there, encoded.factors.mean[i], mean)
            log_scale = jnp.where(is_there, encoded.factors.log_scale[i], log_scale)
        whole = present.all(axis=-1, keepdims=True)
        return Normal(
            jnp.where(whole, encoded.joint.mean, mean),
            jnp.where(whole, encoded.joint.log_scale, log_scale),
        )

    def encode(
        self, values: Mapping[str, Values], present: Bool[Array, "..."] | None = None
    ) -> SubsetMixture:
        """Return q(z|x_S) over `[batch, latents]`.

        Args:
          values: a batch of every modality; any values of the right shape if one is missing.
          present: a mask of the present modalities, `[modalities]` or `[batch, modalities]`.
        """
        mask = self.presence(values, present)
        return self.posterior(self.experts(values, mask), mask)

    def decode(
        self, name: str, latents: Float[Array, "*batch latents"], context: Values | None = None
    ) -> Distribution:
        """Return p(x_i|z) of one modality."""
        return self.modalities[name].decode(latents, context)

    def log_likelihood(
        self,
        name: str,
        latents: Float[Array, "*samples batch latents"],
        values: Values,
        is_there: Bool[Array, "*samples batch"],
        context: Values | None = None,
    ) -> Float[Array, "*samples batch"]:
        """Return log p(x_i|z) in nats of one modality; 0 for examples without it."""
        # Values of examples that never have the modality may be NaN.
        ever = is_there.any(axis=tuple(range(is_there.ndim - 1)))
        safe = jnp.where(_like(ever, values), values, 0)
        log_prob = self.decode(name, latents, context).log_prob(safe)
        return jnp.where(is_there, log_prob, 0)


def _like(is_there: Bool[Array, " batch"], values: Values) -> Bool[Array, "batch ..."]:
    """Return the mask with trailing axes of length 1, as many as `values` has axes."""
    return is_there.reshape(-1, *(1,) * (values.ndim - 1))


def _single(component: Normal) -> SubsetMixture:
    parts = Normal(component.mean[None], component.log_scale[None])
    return SubsetMixture(parts, jnp.zeros((1, *component.mean.shape[:-1])))


@register(MODELS, "multimodal")
@dataclasses.dataclass(frozen=True)
class MultimodalSettings(Networks):
    """Several encoders and decoders around one latent space.

    `encoder`, `decoder` and `likelihood` apply to every modality of images.
    """

    takes: ClassVar[Literal["images", "modalities"]] = "modalities"
    has_density: ClassVar[bool] = True

    joint_posterior: JointPosterior = one_of(
        "product",
        JOINT_POSTERIORS,
        "How the posteriors of single modalities become one: product (MVAE), mixture (MMVAE), "
        "mixture_of_products (MoPoE), joint (JMVAE: an encoder of both of two modalities).",
    )
    likelihood: LikelihoodPart = part("bernoulli", LIKELIHOODS, LikelihoodPart, "p(x|z) of images.")
    label: ClassSettings = section(ClassSettings, "Networks of a modality of classes.")
    text: TextSettings = section(TextSettings, "Networks of a modality of texts.")
    initializer: str = one_of("lecun", list(INITIALIZERS), "Initializer of the posteriors.")

    @property
    def default_objective(self) -> str:
        """The objective of a config that names none."""
        return {
            "product": "mvae",
            "mixture": "mmvae",
            "mixture_of_products": "mopoe",
            "joint": "jmvae",
        }[self.joint_posterior]

    def _modality(
        self, spec: Form, mean_image: Float[Array, "..."] | None, rngs: nnx.Rngs
    ) -> Modality:
        if spec.kind == "class":
            num_classes = spec.shape[0]
            return ClassModality(
                self.label.build_encoder(num_classes, rngs=rngs),
                self.label.build_decoder(self.latent_size, num_classes, rngs=rngs),
            )
        if spec.kind == "text":
            num_words = len(SPECIAL) + len(spec.words)
            return TextModality(
                self.text.build_encoder(num_words, rngs=rngs),
                self.text.build_decoder(self.latent_size, num_words, spec.shape[0], rngs=rngs),
            )
        height, width, channels = spec.shape
        likelihood: Any = self.likelihood.build()
        shape = (height, width, channels)
        return ImageModality(
            *self.build_networks(shape, likelihood, mean_image, rngs=rngs), likelihood
        )

    def build(
        self,
        spec: Forms,
        mean_image: Mapping[str, Float[Array, "height width channels"]] | None,
        *,
        rngs: nnx.Rngs,
    ) -> MultimodalVAE:
        """Return the model with fresh parameters; `mean_image` is by name."""
        means = mean_image or {}
        modalities = {
            name: self._modality(part, means.get(name), rngs) for name, part in spec.items()
        }
        joint_encoders = None
        if self.joint_posterior == "joint":
            joint_encoders = {
                name: self._modality(part, None, rngs).encoder for name, part in spec.items()
            }
        return MultimodalVAE(
            modalities,
            self.latent_size,
            self.joint_posterior,
            joint_encoders,
            kernel_init=INITIALIZERS[self.initializer],
            rngs=rngs,
        )
