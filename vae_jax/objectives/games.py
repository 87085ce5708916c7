"""The two-player game of Goodfellow et al. 2014 (arXiv 1406.2661), and the settings of a player.

A discriminator gives D, the probability that its input is a draw of p rather than of q, as the log
ratio log D / (1 - D). The value of the game is V = E_p[log D] + E_q[log(1 - D)]: the discriminator
maximises it, the player that draws from q minimises it. The best discriminator is D = p / (p + q).
At the equilibrium q is p, D is 1/2, and V is -2 log 2 nats.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from vae_jax.distributions import softplus
from vae_jax.objectives.base import Metrics, Opponent, Scalar
from vae_jax.settings import Traced, bounded, integer, traced

OfP = Float[Array, " draws_of_p"]
OfQ = Float[Array, " draws_of_q"]


def discriminator_loss(of_p: OfP, of_q: OfQ) -> Scalar:
    """Return -V = -(E_p[log D] + E_q[log(1 - D)]) in nats; 2 log 2 at the equilibrium.

    Args:
      of_p: log D / (1 - D) of draws of p.
      of_q: log D / (1 - D) of draws of q.
    """
    return softplus(-of_p).mean() + softplus(of_q).mean()


def generator_loss(of_q: OfQ) -> Scalar:
    """Return the non-saturating loss -E_q[log D] in nats; log 2 at the equilibrium.

    Its gradient does not vanish where D is near 0, unlike that of E_q[log(1 - D)] (Goodfellow et
    al. 2014, section 3).
    """
    return softplus(-of_q).mean()


def accuracy(of_p: OfP, of_q: OfQ) -> Scalar:
    """Return the share of draws that the discriminator assigns rightly; a guess counts as half."""
    return 0.5 + 0.25 * (jnp.sign(of_p).mean() - jnp.sign(of_q).mean())


def discriminate(of_p: OfP, of_q: OfQ) -> tuple[Scalar, Metrics]:
    """Return the discriminator's loss in nats; it and the accuracy as metrics."""
    loss = discriminator_loss(of_p, of_q)
    return loss, {
        "discriminator_loss": loss,
        "discriminator_accuracy": accuracy(of_p, of_q),
    }


@dataclasses.dataclass(frozen=True)
class PlayerSettings:
    """The Adam of a player, and how often it moves."""

    learning_rate: Traced = traced(2e-4, "Learning rate.", above=0.0)
    b1: float = bounded(0.5, "Decay of the mean of the gradients.", at_least=0.0, below=1.0)
    b2: float = bounded(0.999, "Decay of the mean of their squares.", at_least=0.0, below=1.0)
    epsilon: float = bounded(1e-8, "Added to the root of the mean square.", above=0.0)
    updates: int = integer(
        1, "Updates per step, on the same batch with draws of their own.", at_least=1
    )

    def optimizer(self) -> optax.GradientTransformation:
        """Return the Adam of these settings, which may be traced."""
        return optax.adam(self.learning_rate, self.b1, self.b2, self.epsilon)

    def opponent(
        self, name: str, loss: Callable[..., tuple[Scalar, Metrics]], owns: tuple[str, ...] = ()
    ) -> Opponent:
        """Return the opponent that trains by a loss with this optimiser (see `Opponent`)."""
        return Opponent(name, loss, self.optimizer(), updates=self.updates, owns=owns)
