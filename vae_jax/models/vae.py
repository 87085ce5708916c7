"""The variational autoencoder of Kingma & Welling 2013 (arXiv 1312.6114)."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vae_jax.distributions import Distribution
from vae_jax.errors import UserError
from vae_jax.models.conditions import (
    CONDITIONS,
    Condition,
    ConditionalPrior,
    ConditionPart,
    given_columns,
    has_guess,
    joined,
)
from vae_jax.models.interfaces import (
    LIKELIHOODS,
    MODELS,
    POSTERIORS,
    PRIORS,
    Decoder,
    DensityModel,
    Encoder,
    Likelihood,
    LikelihoodPart,
    Posterior,
    PosteriorNetwork,
    PosteriorPart,
    Prior,
    PriorNetwork,
    PriorPart,
)
from vae_jax.models.missing_pixels import of_seen
from vae_jax.models.networks import Networks
from vae_jax.models.rows import build_likelihood, takes_rows
from vae_jax.networks.choices import ImageShape
from vae_jax.settings import flag, name_of, part, register


class _Parts(DensityModel):
    """The parts of a VAE, and what they say of it."""

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        likelihood: Likelihood,
        posterior: PosteriorNetwork,
        prior_network: PriorNetwork,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior_network = prior_network
        self.latent_size = posterior.latent_size

    @property
    def has_normal_posterior(self) -> bool:
        """True if q(z|x) is a diagonal normal, given by a mean and a scale."""
        return bool(getattr(self.posterior, "is_normal", False))

    @property
    def has_posterior_density(self) -> bool:
        """True if q(z|x) has a density at any latents, not only at its own draws."""
        return bool(getattr(self.posterior, "has_density", False))

    @property
    def has_standard_prior(self) -> bool:
        """True if p(z) is N(0, I)."""
        return bool(getattr(self.prior_network, "is_standard", False))

    @property
    def has_spherical_latents(self) -> bool:
        """True if latents are points on the unit sphere."""
        return bool(getattr(self.posterior, "is_on_sphere", False))

    @property
    def noise_size(self) -> int:
        """The number of normals that the posterior takes for one latent vector."""
        return int(getattr(self.posterior, "noise_size", self.latent_size))


class VAE(_Parts):
    """A VAE: q(z|x) from the encoder's features, a prior p(z), p(x|z) from the decoder."""

    @property
    def prior(self) -> Prior:
        """p(z) over `[latents]`."""
        return self.prior_network(self.encode)

    def encode(self, images: Float[Array, "*batch height width channels"]) -> Posterior:
        """Return q(z|x) over `[*batch, latents]`."""
        return self.posterior(self.encoder(images))

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Return p(x|z) over `[*batch, height, width, channels]`."""
        return self.likelihood(self.decoder(latents))


class Conditioned(_Parts):
    """A conditional VAE with a condition for each example, which then is a model of p(x|c).

    Its posterior is q(z|x, c), its prior p(z|c) and its likelihood p(x|z, c), so that whatever is
    defined for a model of p(x) is defined for it. Leading axes of conditions, images and latents
    are broadcast: conditions `[classes, 1]` and images `[batch, ...]` give `[classes, batch]`.
    """

    def __init__(self, model: "ConditionalVAE", condition: Array) -> None:
        super().__init__(
            model.encoder, model.decoder, model.likelihood, model.posterior, model.prior_network
        )
        self.joint = model.joint
        self.condition = model.condition
        self.conditional_prior = model.conditional_prior
        self.given = nnx.data(condition)
        self.features = nnx.data(model.condition(condition, model.likelihood))

    @property
    def has_standard_prior(self) -> bool:
        """True if p(z|c) is N(0, I) for all c."""
        return self.conditional_prior is None and super().has_standard_prior

    @property
    def prior(self) -> Prior:
        """p(z|c) over `[*batch, latents]`, or over `[latents]` if it is independent of c."""
        if self.conditional_prior is None:
            return self.prior_network(self.encode)
        return self.conditional_prior(self.features)

    def encode(self, images: Float[Array, "..."]) -> Posterior:
        """Return q(z|x, c) over `[*batch, latents]`."""
        return self.posterior(self.joint(joined([self.encoder(images), self.features])))

    def decode(self, latents: Float[Array, "..."]) -> Distribution:
        """Return p(x|z, c) over `[*batch, height, width, channels]`."""
        outputs = self.decoder(joined([latents, self.features]))
        return self.condition.likelihood(self.likelihood, outputs, self.given)

    def guess(self) -> Distribution:
        """Return p(x|c) of the network without latents, if the condition has one."""
        network: Any = self.condition
        return network.guess(self.given, self.likelihood)


class ConditionalVAE(_Parts):
    """A VAE of p(x|c) (Sohn, Lee, Yan 2015; Kingma et al. 2014): `given` takes the conditions.

    On its own it has no p(x), and says so where that is asked for.
    """

    def __init__(
        self,
        *parts: Any,
        condition: Condition,
        joint: Any,
        conditional_prior: ConditionalPrior | None,
    ) -> None:
        super().__init__(*parts)
        self.condition = condition
        self.joint = joint
        self.conditional_prior = conditional_prior

    def given(self, condition: Array) -> Conditioned:
        """Return the model of p(x|c), with a condition for each example."""
        return Conditioned(self, condition)

    @property
    def has_standard_prior(self) -> bool:
        """True if p(z|c) is N(0, I) for all c."""
        return self.conditional_prior is None and super().has_standard_prior

    @property
    def prior(self) -> Prior:
        """Raise UserError: it depends on the condition.

        An independent prior is returned.
        """
        if self.conditional_prior is None:
            return self.prior_network(self.encode)
        raise _no_density("a prior")

    def encode(self, images: Float[Array, "*batch height width channels"]) -> Posterior:
        """Raise UserError: a condition is missing."""
        raise _no_density("an encoder")

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Raise UserError: a condition is missing."""
        raise _no_density("a decoder")


def _no_density(what: str) -> UserError:
    return UserError(
        f"this use asks for {what} without a condition, and the model has a p(x|condition) and no "
        "p(x); experiments.evaluate, draw and sample take conditions, and so do the methods of "
        "vae_jax.load"
    )


@register(MODELS, "vae")
@dataclasses.dataclass(frozen=True)
class VAESettings(Networks):
    """The variational autoencoder of Kingma & Welling 2013 (arXiv 1312.6114)."""

    has_density: ClassVar[bool] = True
    decoder_parts: ClassVar[tuple[str, ...]] = ("decoder", "likelihood")

    @property
    def default_objective(self) -> str:
        """The objective that a config need not name: one that trains every part."""
        return "cvae" if has_guess(self) else "elbo"

    posterior: PosteriorPart = part("diagonal", POSTERIORS, PosteriorPart, "q(z|x).")
    prior: PriorPart = part("standard", PRIORS, PriorPart, "p(z).")
    likelihood: LikelihoodPart = part("bernoulli", LIKELIHOODS, LikelihoodPart, "p(x|z).")
    condition: ConditionPart = part(
        "none",
        CONDITIONS,
        ConditionPart,
        "What encoder, decoder and prior see beside the image; the model is of p(x|condition).",
    )
    missing_pixels: bool = flag(
        False,
        "Whether pixels may be NaN, which were not seen: the encoder gets a mask, and p(x|z) is "
        "over those that were.",
    )

    @property
    def has_normal_posterior(self) -> bool:
        """True if q(z|x) is a diagonal normal."""
        return bool(getattr(self.posterior, "is_normal", False))

    @property
    def has_posterior_density(self) -> bool:
        """True if q(z|x) has a density at any latents."""
        return bool(getattr(self.posterior, "has_density", False))

    @property
    def has_standard_prior(self) -> bool:
        """True if p(z) is N(0, I)."""
        standard = bool(getattr(self.prior, "is_standard", False))
        return standard and not self.condition.conditional_prior

    @property
    def has_spherical_latents(self) -> bool:
        """True if latents are points on the unit sphere."""
        return bool(getattr(self.posterior, "is_on_sphere", False))

    def problem(self) -> str | None:
        """Return why these parts do not fit together; None if they do."""
        for field, chosen in (("posterior", self.posterior), ("prior", self.prior)):
            least = getattr(chosen, "least_latents", 1)
            if self.latent_size < least:
                return (
                    f"latent_size={self.latent_size} must be at least {least} with "
                    f"{field}={name_of(chosen)!r}, where one dimension depends on another"
                )
        if self.has_spherical_latents and not getattr(self.prior, "is_on_sphere", False):
            return (
                f"prior={name_of(self.prior)!r} has no density on the sphere, which "
                f"posterior={name_of(self.posterior)!r} needs; use prior='uniform_sphere'"
            )
        if getattr(self.prior, "is_on_sphere", False) and not self.has_spherical_latents:
            return (
                f"prior={name_of(self.prior)!r} is on the sphere, and "
                f"posterior={name_of(self.posterior)!r} is not; use posterior='von_mises_fisher'"
            )
        if getattr(self.prior, "needs_normal_posterior", False) and not self.has_normal_posterior:
            return (
                f"prior={name_of(self.prior)!r} mixes independent normals, which "
                f"posterior={name_of(self.posterior)!r} does not give; use 'diagonal', or another "
                "prior"
            )
        if self.missing_pixels and (problem := self._missing_pixels_problem()) is not None:
            return problem
        if self.condition.reads != "nothing":
            return self._condition_problem() or super().problem()
        return super().problem()

    def _missing_pixels_problem(self) -> str | None:
        """Return why pixels cannot be missing; None if they can."""
        if takes_rows(self.likelihood):
            return (
                "missing_pixels=True is for images; cells of a table may be empty anyway, so use "
                "missing_pixels=False"
            )
        if self.condition.reads != "nothing":
            return (
                f"missing_pixels=True is for models of p(x), and condition="
                f"{name_of(self.condition)!r}; use condition='none', or missing_pixels=False"
            )
        if not getattr(self.likelihood, "leaves_pixels_out", False):
            return (
                f"missing_pixels=True needs a likelihood that leaves pixels out, which "
                f"likelihood={name_of(self.likelihood)!r} with these settings does not; use "
                "'bernoulli', or 'normal' with a scale_kind other than 'optimal'"
            )
        return None

    def _condition_problem(self) -> str | None:
        """Return why the prior does not fit the condition; None if it does."""
        chosen = f"condition={name_of(self.condition)!r}"
        if getattr(self.prior, "needs_normal_posterior", False):
            return (
                f"prior={name_of(self.prior)!r} mixes posteriors of learned images, which have no "
                f"{chosen}; use another prior"
            )
        if self.condition.conditional_prior and not getattr(self.prior, "is_standard", False):
            return (
                f"condition.conditional_prior=True takes the place of prior={name_of(self.prior)!r}"
                "; use prior='standard' with it, or condition.conditional_prior=False"
            )
        return None

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> VAE | ConditionalVAE:
        """Return the model with fresh parameters."""
        given = given_columns(self, spec)
        likelihood: Any = of_seen(build_likelihood(self.likelihood, spec, given), self)
        condition = self.condition.build(spec, likelihood.outputs_per_channel, rngs=rngs)
        condition_size = 0 if condition is None else condition.num_features
        encoder, decoder = self.build_networks(
            spec, likelihood, mean_image, condition_size=condition_size, rngs=rngs
        )
        num_features, joint = encoder.num_features, None
        if condition is not None:
            joint = self.condition.joint.build(num_features + condition_size, rngs=rngs)
            num_features = joint.num_features
        start = jnp.full(spec, 0.5) if mean_image is None else mean_image
        posterior = self.posterior.build(num_features, self.latent_size, rngs=rngs)
        prior = self.prior.build(self.latent_size, start, rngs=rngs)
        parts = (encoder, decoder, likelihood, posterior, prior)
        if condition is None:
            return VAE(*parts)
        conditional_prior = None
        if self.condition.conditional_prior:
            layers = self.condition.prior_layers
            conditional_prior = ConditionalPrior(
                condition_size, layers, self.latent_size, rngs=rngs
            )
        return ConditionalVAE(
            *parts, condition=condition, joint=joint, conditional_prior=conditional_prior
        )
