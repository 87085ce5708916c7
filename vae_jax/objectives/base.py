"""The interface of objectives: a loss, and what it needs of the model."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import optax
from flax import nnx
from jaxtyping import Array, Float, Key

Images = Float[Array, "batch height width channels"]
Scalar = Float[Array, ""]
Metrics = dict[str, Scalar]

OBJECTIVES: dict[str, type] = {}


class Batch(NamedTuple):
    """Images of one step.

    Attributes:
      inputs: what the encoder sees: the targets, or what a corruption makes of them.
      targets: what the likelihood is asked about.
    """

    inputs: Images
    targets: Images


class Opponent(NamedTuple):
    """A network that is trained against the model, or beside it, on a loss of its own.

    Attributes:
      name: of the network, as `Objective.networks` has it.
      loss: `loss(model, batches, key, *, epoch, num_examples, **networks)`, to its loss and its
        metrics; only the network itself moves by it.
      optimizer: of the network.
      every: steps between two moves.
      num_batches: batches that `loss` takes; the second is that of the next step.
    """

    name: str
    loss: Callable[..., tuple[Scalar, Metrics]]
    optimizer: optax.GradientTransformation
    every: int = 1
    num_batches: int = 1


class Objective(abc.ABC):
    """An objective to minimise, in nats per example.

    A subclass is a frozen dataclass whose fields are settings. In a compiled program its traced
    settings are arrays.

    Attributes:
      takes: what a batch is made of.
      needs_density: whether the model must have a posterior and a prior.
      compares_examples: whether the loss compares the examples of a batch with each other, so that
        a batch cannot be computed in parts.
      warmup_epochs: epochs that do not count as patience.
    """

    takes: ClassVar[Literal["images", "modalities"]] = "images"
    needs_density: ClassVar[bool] = True
    compares_examples: ClassVar[bool] = False
    warmup_epochs: Any = 0.0

    @abc.abstractmethod
    def loss(
        self,
        model: Any,
        batch: Any,
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: nnx.Module,
    ) -> tuple[Scalar, Metrics]:
        """Return the loss of a batch and its metrics: means over the batch, in nats.

        Args:
          model: the model.
          batch: a `Batch`, or one of several modalities.
          key: of everything that is drawn.
          epoch: passes over the data so far, a fraction within an epoch; infinite in validation.
          num_examples: size of the training set.
          **networks: those of `networks`, by name; they do not move by this loss.
        """

    def prepare(self, model: Any, batch: Any, key: Key[Array, ""], *, epoch: Scalar) -> Any:
        """Return the batch as `loss` takes it; by default as it is."""
        del model, key, epoch
        return batch

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model with these settings; None if it can."""
        del model
        return None

    def score(self, metrics: dict[str, Any]) -> float:
        """Return what decides on the best epoch: higher is better, and no opponent moves it."""
        return -float(metrics["loss"])

    def networks(self, model: Any, *, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        """Return the networks of the objective's own, by name, for a model with these settings."""
        del model, rngs
        return {}

    def opponents(self) -> tuple[Opponent, ...]:
        """Return what is trained beside the model: one for each of `networks`."""
        return ()
