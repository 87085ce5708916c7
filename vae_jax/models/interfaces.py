"""Interfaces of models and of the parts that they are built from."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.distributions import Distribution, Draw, on_sphere
from vae_jax.networks.activations import Link


@runtime_checkable
class Posterior(Protocol):
    """q(z|x) over `[*batch, latents]`."""

    @property
    def mean(self) -> Float[Array, "*batch latents"]:
        """The one latent vector that stands for an image."""

    def draw(self, noise: Float[Array, "*shape noise"], /) -> Draw:
        """Return latents from standard normal noise `[*samples, *batch, noise]`, and log q(z|x).

        The size of the noise is the model's `noise_size`. The log density is in nats.
        """


@runtime_checkable
class TractablePosterior(Posterior, Protocol):
    """A posterior whose density is cheap at any latents, not only at its own draws."""

    def log_prob(self, latents: Float[Array, "*shape latents"], /) -> Float[Array, "*shape"]:
        """Return log q(z|x) in nats."""


@runtime_checkable
class Prior(Protocol):
    """p(z) over `[latents]`."""

    @property
    def mean(self) -> Float[Array, "*batch latents"]:
        """The one latent vector that stands for the prior."""

    def log_prob(self, latents: Float[Array, "*shape latents"], /) -> Float[Array, "*shape"]:
        """Return log p(z) in nats."""

    def sample(self, key: Key[Array, ""], /) -> Float[Array, "*batch latents"]:
        """Return one draw."""


class TopDownPass(NamedTuple):
    """Draws of a hierarchy's posterior, and all that the pass down to the image computes.

    Attributes:
      latents: `[*samples, *batch, latents]`.
      likelihood: p(x|z) over `[*samples, *batch, height, width, channels]`.
      kl: KL(q(z_l|x, z_{>l}) || p(z_l|z_{>l})) of each latent in nats, given the draws of the
        layers above, `[*samples, *batch, latents]`.
      log_posterior: log q(z|x) in nats, `[*samples, *batch]`.
      log_prior: log p(z) in nats, `[*samples, *batch]`.
    """

    latents: Float[Array, "*shape latents"]
    likelihood: Distribution
    kl: Float[Array, "*shape latents"]
    log_posterior: Float[Array, "*shape"]
    log_prior: Float[Array, "*shape"]


@runtime_checkable
class TopDown(Protocol):
    """A posterior that shares a network with the prior and the likelihood.

    One pass gives all three. The same from `draw`, `Prior.log_prob` and `decode` takes three.
    """

    def descend(self, noise: Float[Array, "*shape noise"], /) -> TopDownPass:
        """Return draws from standard normal noise `[*samples, *batch, noise]`."""


@runtime_checkable
class LayeredPrior(Protocol):
    """A prior of several layers, each given those above it.

    Attributes:
      layer_sizes: number of latents of each layer. Layer 1 is nearest to the image, and the first
        part of the latents.
    """

    layer_sizes: tuple[int, ...]

    def tempered(self, temperature: float | Float[Array, ""], /) -> Prior:
        """Return the prior with the standard deviations of every layer times `temperature`."""

    def sample_below(
        self,
        latents: Float[Array, " latents"],
        num_drawn: int | Int[Array, ""],
        key: Key[Array, ""],
        /,
    ) -> Float[Array, " latents"]:
        """Return latents with the lowest `num_drawn` layers drawn anew, given those above."""


@runtime_checkable
class Factorized(Protocol):
    """A posterior or a prior that is a product over the dimensions, each given those before it."""

    def log_prob_by_dimension(
        self, latents: Float[Array, "*shape latents"], /
    ) -> Float[Array, "*shape latents"]:
        """Return log density per dimension in nats; the sum is the log density of the latents."""


Encode = Callable[[Float[Array, "*batch height width channels"]], Posterior]


@runtime_checkable
class PosteriorNetwork(Protocol):
    """Maps an encoder's features to a posterior.

    Four attributes are optional: `is_normal`, `has_density` and `is_on_sphere`, as those of
    `PosteriorPart`, and `noise_size`, the number of normals of a draw if it is not `latent_size`.
    """

    latent_size: int

    def __call__(self, features: Float[Array, "*batch features"], /) -> Posterior:
        """Return q(z|x) over `[*batch, latents]`."""


@runtime_checkable
class PriorNetwork(Protocol):
    """Holds the parameters of a prior."""

    def __call__(self, encode: Encode, /) -> Prior:
        """Return p(z), which may depend on the model's own posterior, given as `encode`."""


# The values of images that a likelihood accepts, all finite; those of columns, or NaN where not
# seen, are checked by column.
Accepted = Literal["unit interval", "any finite", "256 levels", "columns"]
# The values that have probability. If continuous, `log_prob` is a log density.
Support = Literal["zeros and ones", "256 levels", "whole numbers", "continuous"]


@runtime_checkable
class Encoder(Protocol):
    """Images to features."""

    num_features: int

    def __call__(
        self, images: Float[Array, "*batch height width channels"], /
    ) -> Float[Array, "*batch features"]:
        """Return features of each image."""


@runtime_checkable
class StartsAtMean(Protocol):
    """A decoder whose initial output can be set."""

    def set_output_bias(
        self, mean_image: Float[Array, "height width channels"], link: Link, /
    ) -> None:
        """Let the decoder start at `link` of the data's mean for all latents."""


@runtime_checkable
class Decoder(Protocol):
    """Latents to unbounded outputs, the parameters of a likelihood."""

    def __call__(
        self, latents: Float[Array, "*batch latents"], /
    ) -> Float[Array, "*batch height width outputs"]:
        """Return outputs, `outputs_per_channel` of the likelihood for every channel."""


@runtime_checkable
class Likelihood(Protocol):
    """Maps a decoder's outputs to p(x|z).

    Attributes:
      accepts: the values of images that it accepts.
      support: the values that have probability.
      outputs_per_channel: number of decoder outputs per channel of an image.
    """

    accepts: Accepted
    support: Support
    outputs_per_channel: int

    def __call__(self, outputs: Float[Array, "*batch height width outputs"], /) -> Distribution:
        """Return p(x|z) over images `[*batch, height, width, channels]`, `event_ndim` 3."""

    def output_for_mean(
        self, mean: Float[Array, "*shape channels"], /
    ) -> Float[Array, "*shape outputs"]:
        """Return the decoder outputs whose likelihood has the given mean."""


class Model(nnx.Module):
    """A model of images: images to latents and back.

    Attributes:
      has_density: whether log p(x) has a bound, from a posterior and a prior.
      has_codes: whether images have codes (`DiscreteModel`).
      has_discrete_latents: whether latents are one of finitely many vectors.
      latent_size: number of latent dimensions.
    """

    has_density: ClassVar[bool]
    has_codes: ClassVar[bool] = False
    has_discrete_latents: ClassVar[bool] = False
    latent_size: int
    likelihood: Likelihood

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of an image's code: that of its latents, or that of its discrete codes."""
        return (self.latent_size,)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The number of latents of each stochastic layer, from the one nearest to the image up.

        They are parts of the latents in this order.
        """
        return (self.latent_size,)

    @property
    def has_normal_posterior(self) -> bool:
        """True if q(z|x) is a diagonal normal over all latents, given by a mean and a scale."""
        return False

    @property
    def has_posterior_density(self) -> bool:
        """True if q(z|x) has a density at any latents, not only at its own draws."""
        return False

    @property
    def has_standard_prior(self) -> bool:
        """True if p(z) is N(0, I) over all latents."""
        return False

    @property
    def has_spherical_latents(self) -> bool:
        """True if latents are points on the unit sphere."""
        return False

    @property
    def noise_size(self) -> int:
        """The number of normals that `Posterior.draw` takes for one latent vector."""
        return self.latent_size

    def project(self, latents: Float[Array, "*batch latents"]) -> Float[Array, "*batch latents"]:
        """Return the latents, normalised if they are points on the unit sphere."""
        return on_sphere(latents) if self.has_spherical_latents else latents

    @abc.abstractmethod
    def latents(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch latents"]:
        """Return the one latent vector that stands for each image."""

    @abc.abstractmethod
    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Return p(x|z) over `[*batch, height, width, channels]`."""


class DensityModel(Model):
    """A model with a posterior and a prior, and so a bound on log p(x)."""

    has_density: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def prior(self) -> Prior:
        """p(z) over `[latents]`."""

    @abc.abstractmethod
    def encode(self, images: Float[Array, "*batch height width channels"]) -> Posterior:
        """Return q(z|x) over `[*batch, latents]`."""

    def latents(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch latents"]:
        """Return the posterior mean of each image."""
        return self.encode(images).mean


class DiscreteModel(Model):
    """A model whose latents stand for discrete codes, integers from 0 to `num_codes` - 1."""

    has_codes: ClassVar[bool] = True
    has_discrete_latents: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def num_codes(self) -> int:
        """The number of codes."""

    @abc.abstractmethod
    def codes(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Int[Array, "*batch rows columns"]:
        """Return the codes of each image."""

    @abc.abstractmethod
    def embed(self, codes: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch latents"]:
        """Return the latents that codes stand for."""

    @abc.abstractmethod
    def nearest_codes(
        self, latents: Float[Array, "*batch latents"]
    ) -> Int[Array, "*batch rows columns"]:
        """Return the codes nearest to latents, which inverts `embed`."""

    def latents(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch latents"]:
        """Return the latents of each image's codes."""
        return self.embed(self.codes(images))


@runtime_checkable
class LikelihoodPart(Protocol):
    """Settings of a likelihood."""

    def build(self) -> Any:
        """Return the likelihood (`Likelihood`) with fresh parameters."""


@runtime_checkable
class PosteriorPart(Protocol):
    """Settings of a posterior.

    Four class attributes are optional: `is_normal` if it gives independent normals, `has_density`
    if it has a density at any latents, `is_on_sphere` if latents are points on the unit sphere, and
    `least_latents`, its smallest number of latents.
    """

    def build(self, num_features: int, latent_size: int, *, rngs: nnx.Rngs) -> Any:
        """Return the posterior network (`PosteriorNetwork`) with fresh parameters."""


@runtime_checkable
class PriorPart(Protocol):
    """Settings of a prior.

    Five class attributes are optional: `is_standard` if it is N(0, I), `is_on_sphere` if latents
    are points on the unit sphere, `needs_normal_posterior`, `needs_unit_interval` if images must
    lie there, and `least_latents`, its smallest number of latents.
    """

    def build(
        self, latent_size: int, start: Float[Array, "height width channels"], *, rngs: nnx.Rngs
    ) -> Any:
        """Return the prior network (`PriorNetwork`) with fresh parameters.

        Args:
          latent_size: number of latent dimensions.
          start: the mean of the training images.
          rngs: keys of the parameters.
        """


@runtime_checkable
class ModelPart(Protocol):
    """Settings of a model.

    Optional are `has_codes`, if images have discrete codes; `has_exact_posterior`, if the posterior
    has a single value, so that evaluation takes one sample; `default_objective`, the name of the
    objective that a config need not name; and `unfit(image_shape)` and `unfit_data(data)`, which
    return why images of a shape, or data with some settings, cannot be encoded, or None.
    `decoder_parts` are the names of the parts of the built model that map latents to images and
    share no parameters with the others.

    Attributes:
      takes: the kind of its examples.
      has_density: whether log p(x) has a bound.
      likelihood: p(x|z) of images.

    Optional are `has_discrete_latents`, True if latents are one of finitely many vectors;
    `has_closed_kl`, True if the KL has a closed form beside that of two normals; `takes_rows`,
    False if its networks cannot take the rows of a table; and `num_layers`, the number of
    stochastic layers if their rates are recorded.
    """

    takes: ClassVar[Literal["images", "modalities"]]
    has_density: ClassVar[bool]
    likelihood: LikelihoodPart

    def build(self, spec: Any, mean_image: Any, *, rngs: nnx.Rngs) -> Any:
        """Return the model with fresh parameters.

        Args:
          spec: height, width and channels of an image; for several modalities, the specs by name.
          mean_image: the mean of the training images, or of each modality of images by name; None
            if only shapes count.
          rngs: keys of the parameters.
        """


MODELS: dict[str, type] = {}
# Those with codes and no prior over them, which a second stage learns.
FIRST_STAGES: dict[str, type] = {}
PRIORS: dict[str, type] = {}
POSTERIORS: dict[str, type] = {}
LIKELIHOODS: dict[str, type] = {}
