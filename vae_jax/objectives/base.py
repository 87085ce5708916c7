"""The interface of objectives: a loss, its requirements of a model, its opponents."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key

Images = Float[Array, "batch height width channels"]
Scalar = Float[Array, ""]
# Scalars in the records; a loss may return other shapes for `finish`.
Metrics = dict[str, Float[Array, "..."]]

OBJECTIVES: dict[str, type] = {}


class Batch(NamedTuple):
    """The images of one step.

    Attributes:
      inputs: images for the encoder: the targets, or a corruption of them.
      targets: images for the likelihood.
    """

    inputs: Images
    targets: Images


class LabelledBatch(NamedTuple):
    """The images of one step, some of them with classes, and a batch of labelled images.

    Attributes:
      inputs: images for the encoder.
      targets: images for the likelihood.
      labels: their classes; -1 where the class is not known.
      labelled_inputs: images for classifier and encoder, each with a known class.
      labelled_targets: the same images for the likelihood.
      labelled_labels: their classes.
    """

    inputs: Images
    targets: Images
    labels: Int[Array, " batch"]
    labelled_inputs: Images
    labelled_targets: Images
    labelled_labels: Int[Array, " batch"]


class Opponent(NamedTuple):
    """A network that is trained against the model, or beside it, on its own loss.

    Attributes:
      name: name of the network in `Objective.networks`, unless `owns` has others.
      loss: `loss(model, batches, key, *, epoch, num_examples, **networks)` returns the loss and its
        metrics. Only the network itself is trained on it.
      optimizer: optimiser of the network.
      every: steps between two moves.
      num_batches: number of batches that `loss` takes; the second is that of the next step.
      updates: updates per move, on the same batches with draws of their own.
      owns: what it trains in place of the network of its name: parts of the model, such as
        "model.decoder", which the model's own loss then does not train. Parts that the model does
        not have, or that have no parameters, are left out.
    """

    name: str
    loss: Callable[..., tuple[Scalar, Metrics]]
    optimizer: optax.GradientTransformation
    every: int = 1
    num_batches: int = 1
    updates: int = 1
    owns: tuple[str, ...] = ()


class Objective(abc.ABC):
    """An objective to minimise, in nats per example.

    A subclass is a frozen dataclass whose fields are settings. In a compiled program its traced
    settings are arrays.

    Attributes:
      takes: the kind of examples in a batch.
      needs_density: whether the model must have a posterior and a prior.
      needs_differentiable_draws: whether draws of the posterior must be differentiable.
      compares_examples: whether the loss compares the examples of a batch with each other, so that
        it cannot be computed on parts of a batch.
      least_batch: the fewest examples of a batch that the loss is meaningful for.
      measures_gradients: whether the norm of each player's gradient is a metric of training.
      compares_means: whether images are compared with means of p(x|z), so that they cannot be zeros
        and ones drawn from grey values.
      matches_codes: whether codes of a model without a prior are matched to N(0, I), from which new
        ones can be drawn.
      takes_labels: whether a batch is a `LabelledBatch`, of which some classes may be unknown.
      warmup_epochs: epochs that do not count as patience.
    """

    takes: ClassVar[Literal["images", "modalities"]] = "images"
    needs_density: ClassVar[bool] = True
    needs_differentiable_draws: ClassVar[bool] = True
    compares_examples: ClassVar[bool] = False
    least_batch: ClassVar[int] = 1
    measures_gradients: ClassVar[bool] = False
    compares_means: ClassVar[bool] = False
    matches_codes: ClassVar[bool] = False
    takes_labels: ClassVar[bool] = False
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

        Metrics may be arrays of any shape if `finish` makes scalars of them.

        Args:
          model: the model.
          batch: a `Batch`, or one of several modalities.
          key: key of all random draws.
          epoch: passes over the data so far, a fraction within an epoch; infinite in validation.
          num_examples: size of the training set.
          **networks: the networks of `networks` by name; this loss does not train them.
        """

    def prepare(self, model: Any, batch: Any, key: Key[Array, ""], *, epoch: Scalar) -> Any:
        """Return the batch for `loss`; by default the batch itself."""
        del model, key, epoch
        return batch

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model with these settings; None if it can."""
        del model
        return None

    def finish(self, metrics: Metrics) -> Metrics:
        """Return the metrics for the records, all scalars.

        Args:
          metrics: those of `loss`, "loss" among them: means over a batch in training, over all
            examples in validation.
        """
        return metrics

    def score(self, metrics: dict[str, Any]) -> float:
        """Return the score of an epoch: higher is better, and no opponent influences it."""
        return -float(metrics["loss"])

    def networks(self, model: Any, form: Any, *, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
        """Return the objective's own networks, by name, with fresh parameters.

        Args:
          model: the settings of the model.
          form: height, width, channels; for several modalities, their forms by name.
          rngs: keys of the parameters.
        """
        del model, form, rngs
        return {}

    def opponents(self) -> tuple[Opponent, ...]:
        """Return the opponents of the model, one for each of `networks` or for parts of it."""
        return ()
