"""What a model of images answers about itself: its network, likelihood, latents and conditions."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from vae_jax.config.build import build_likelihood
from vae_jax.config.experiment import Experiment
from vae_jax.data.columns import RowShape
from vae_jax.distributions import Normal
from vae_jax.errors import UserError
from vae_jax.models.conditions import Reads, condition_of, given_columns, has_guess, reads_of
from vae_jax.models.interfaces import Prior
from vae_jax.models.missing_pixels import may_miss_pixels
from vae_jax.settings import changed, name_of
from vae_jax.trained.compiled import Compiled

# Settings that do not change the function that given parameters compute.
_NOT_OF_THE_NETWORK = ("decoder_start", "initializer", "remat", "workdir", "step", "digest")


class ImageProperties(Compiled):
    """What a model of images answers about itself.

    Attributes:
      image_shape: height, width, channels.
      likelihood: p(x|z) with fresh parameters.
    """

    def __init__(
        self,
        config: Experiment,
        image_shape: tuple[int, int, int],
        params: nnx.State,
        extra: nnx.State | None = None,
    ) -> None:
        super().__init__(config, image_shape, params, extra)
        self.image_shape = image_shape
        self.likelihood = build_likelihood(config, image_shape)

    @property
    def columns(self) -> RowShape | None:
        """The columns of the rows of a table, `[num, 1, columns, 1]`; None for images."""
        return self.image_shape if isinstance(self.image_shape, RowShape) else None

    @property
    def network(self) -> dict[str, Any]:
        """The nested settings that decide on the function that given parameters compute."""
        return _without(changed(self.config.model), _NOT_OF_THE_NETWORK)

    @property
    def beta(self) -> float:
        """The weight of the KL in the objective; 1 if it has none."""
        return float(getattr(self.config.objective, "beta", 1.0))

    @property
    def encoder_name(self) -> str:
        """The name of the encoder's choice, or of the model if it has no choice."""
        return name_of(getattr(self.config.model, "encoder", self.config.model))

    @property
    def likelihood_name(self) -> str:
        """The name of the likelihood's choice."""
        return name_of(self.config.model.likelihood)

    @property
    def may_miss_pixels(self) -> bool:
        """True if pixels of images may be NaN, which were not seen."""
        return may_miss_pixels(self.config.model)

    @property
    def condition_reads(self) -> Reads:
        """What the condition of p(x|c) is made from; nothing for p(x)."""
        return reads_of(self.config.model)

    @property
    def has_conditional_prior(self) -> bool:
        """True if the prior is p(z|c)."""
        return bool(condition_of(self.config.model).conditional_prior)

    @property
    def has_guess(self) -> bool:
        """True if a network without latents guesses what a condition leaves open."""
        return has_guess(self.config.model)

    @property
    def num_classes(self) -> int | None:
        """The number of classes that are conditions; None if conditions are no classes."""
        return (
            int(self.config.model.condition.classes) if self.condition_reads == "labels" else None
        )

    @property
    def given_columns(self) -> tuple[int, ...]:
        """The indices of the columns of a row that are a condition; () if none is."""
        return given_columns(self.config.model, self.image_shape)

    @property
    def num_values(self) -> int:
        """The number of values of an image that the model is of, those not seen in a condition."""
        if self.condition_reads != "images" or self.given_columns:
            return math.prod(self.image_shape) - len(self.given_columns)
        return int(self._shape.condition.blocks.num_pixels * self.image_shape[2])

    @property
    def classifies(self) -> bool:
        """True if the model has a classifier q(class|x)."""
        return bool(getattr(self.config.model, "classifies", False))

    @property
    def num_codes(self) -> int | None:
        """The number of discrete codes; None if the model has none."""
        return int(self._shape.num_codes) if self.has_codes else None

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of the code that `encode` returns for one image."""
        return tuple(self._shape.code_shape)

    @property
    def has_normal_posterior(self) -> bool:
        """True if q(z|x) is a diagonal normal over all latents, given by a mean and a scale."""
        return bool(self._shape.has_normal_posterior)

    @property
    def has_posterior_density(self) -> bool:
        """True if q(z|x) has a density at given latents."""
        return bool(self._shape.has_posterior_density)

    @property
    def has_standard_prior(self) -> bool:
        """True if p(z) is N(0, I)."""
        return bool(self._shape.has_standard_prior)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The number of latents of each stochastic layer, from the one nearest to the image up."""
        return tuple(self._shape.layer_sizes)

    @property
    def has_discrete_latents(self) -> bool:
        """True if latents are one of finitely many vectors."""
        return bool(self._shape.has_discrete_latents)

    @property
    def has_spherical_latents(self) -> bool:
        """True if latents are points on the unit sphere."""
        return bool(self._shape.has_spherical_latents)

    @property
    def has_samples(self) -> bool:
        """True if there is a p(z) to draw from: the model's, or one that codes were matched to."""
        return self.has_density or bool(self.config.objective.matches_codes)

    @property
    def prior(self) -> Prior:
        """p(z) over `[latents]`: the model's, or the N(0, I) that its codes were matched to.

        Raises:
          UserError: there is none.
        """
        if self.has_density:
            prior: Prior = nnx.merge(self.graphdef, self.state).prior
            return prior
        if not self.has_samples:
            self._require_density("a prior")
        return Normal(jnp.zeros(self.latent_size), jnp.zeros(self.latent_size))

    def squared_errors(
        self,
        rows: Float[np.ndarray, "num 1 columns 1"],
        known: Float[np.ndarray, "num 1 columns 1"],
    ) -> Float[np.ndarray, "num 1 columns 1"]:
        """Return the squared error of each cell of rows as `RowShape` does, NaN of conditions."""
        assert self.columns is not None, "a run on a table has columns"
        errors = self.columns.squared_errors(rows, known)
        errors[:, :, list(self.given_columns)] = np.nan
        return errors

    def _require_density(self, what: str) -> None:
        if not self.has_density:
            raise UserError(
                f"{what} needs a model with a posterior and a prior, which model={self.name!r} "
                "does not have"
            )


def _without(nested: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return nested settings without those of some names, and without empty sections."""
    found = {
        name: _without(value, names) if isinstance(value, dict) else value
        for name, value in nested.items()
        if name not in names
    }
    return {name: value for name, value in found.items() if value != {}}
