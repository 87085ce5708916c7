"""Regularised autoencoders (Ghosh et al. 2019, arXiv 1903.12436): a smooth decoder, small codes."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from vae_jax.objectives.base import OBJECTIVES, Batch, Images, Metrics, Objective, Scalar
from vae_jax.objectives.discrepancy import Latents
from vae_jax.objectives.reconstruction import deterministic_problem
from vae_jax.settings import Traced, register, traced


def squared_parameters(network: nnx.Module) -> Scalar:
    """Return the sum of the squares of a network's parameters."""
    params = jax.tree.leaves(nnx.state(network, nnx.Param))
    return jnp.sum(jnp.stack([jnp.square(leaf).sum() for leaf in params]))


def squared_slope(
    decode: Callable[[Latents], Images], latents: Latents, signs: Latents
) -> Float[Array, " batch"]:
    """Return |J s|^2 per code, with J the Jacobian of an image by its code.

    For independent signs s of +-1, with equal probability, its mean is the sum of the squares of J
    (Hutchinson 1990), at the price of one pass through the decoder and no pass per latent.

    Args:
      decode: codes to images `[batch, height, width, channels]`.
      latents: codes.
      signs: +-1.
    """
    slopes = jax.jvp(decode, (latents,), (signs,))[1]
    return jnp.square(slopes).sum(axis=(-3, -2, -1))


@dataclasses.dataclass(frozen=True)
class RegularizedAutoencoder(Objective):
    """Distortion, small codes, and a regulariser of the decoder (Ghosh et al. 2019, section 3).

    E[-log p(x|z)] + latent_weight / 2 E[|z|^2] + decoder_weight R(decoder). The likelihood `normal`
    of scale sqrt(1/2) makes the distortion the paper's squared error, up to a constant.
    """

    needs_density: ClassVar[bool] = False

    latent_weight: Traced = traced(
        1e-2, "Weight of half the squared norm of the codes, the paper's beta.", at_least=0.0
    )
    decoder_weight: Traced = traced(
        1e-3, "Weight of the decoder's regulariser, the paper's lambda.", at_least=0.0
    )

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        return deterministic_problem(self, model)

    @abc.abstractmethod
    def regularizer(self, model: Any, latents: Latents, key: Key[Array, ""]) -> tuple[str, Scalar]:
        """Return the decoder's regulariser, and its name among the metrics."""

    def loss(
        self,
        model: Any,
        batch: Batch,
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: nnx.Module,
    ) -> tuple[Scalar, Metrics]:
        """Return the loss; distortion, squared norm of the codes and regulariser as metrics."""
        del epoch, num_examples, networks
        latents = model.latents(batch.inputs)
        distortion = -model.decode(latents).log_prob(batch.targets).mean()
        norm = jnp.square(latents).sum(axis=-1).mean()
        name, added = self.regularizer(model, latents, key)
        loss = distortion + self.latent_weight / 2 * norm + self.decoder_weight * added
        return loss, {"distortion": distortion, "squared_norm": norm, name: added}


@register(OBJECTIVES, "rae_l2")
@dataclasses.dataclass(frozen=True)
class RAEL2(RegularizedAutoencoder):
    """Distortion, small codes, and small parameters of the decoder (Ghosh et al. 2019)."""

    def regularizer(self, model: Any, latents: Latents, key: Key[Array, ""]) -> tuple[str, Scalar]:
        """Return the sum of the squares of the decoder's parameters (section 3.1)."""
        del latents, key
        return "decoder_squared_parameters", squared_parameters(model.decoder)


@register(OBJECTIVES, "rae_gp")
@dataclasses.dataclass(frozen=True)
class RAEGP(RegularizedAutoencoder):
    """Distortion, small codes, and a decoder of small slope (Ghosh et al. 2019)."""

    def regularizer(self, model: Any, latents: Latents, key: Key[Array, ""]) -> tuple[str, Scalar]:
        """Return half the squared Jacobian of the mean image by its code (section 3.1).

        It is estimated in one random direction per code.
        """
        signs = jax.random.rademacher(key, latents.shape, latents.dtype)
        slope = squared_slope(lambda z: model.decode(z).mean, latents, signs)
        return "decoder_gradient_penalty", slope.mean() / 2
