"""Optimisers: a direction, decoupled weight decay of kernels, and a schedule of the step size."""

import abc
import dataclasses
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from vae_jax.settings import Traced, bounded, integer, part, register, traced

OPTIMIZERS: dict[str, type] = {}
SCHEDULES: dict[str, type] = {}


def scale_by_adam(b1: float, b2: float, epsilon: float) -> optax.GradientTransformation:
    """Return `optax.scale_by_adam` with the bias corrections folded into two scalars.

    Adam's direction m_hat / (sqrt(v_hat) + epsilon) divides every element three times. With
    r = sqrt(1 - b2^t) it is (r / (1 - b1^t)) m / (sqrt(v) + r epsilon): one division (Kingma & Ba
    2014, arXiv 1412.6980, end of section 2). At batch 20 the optimiser is a quarter of an MLP's
    training step on the CPU.

    Args:
      b1: decay of the mean of the gradients.
      b2: decay of the mean of their squares.
      epsilon: added to the root.
    """

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        # Two trees, since a donated buffer must occur once.
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(
        updates: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        count = optax.safe_increment(state.count)
        root = jnp.sqrt(1 - b2 ** count.astype(jnp.float32))
        step_size, floor = root / (1 - b1 ** count.astype(jnp.float32)), root * epsilon
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, updates)
        updates = jax.tree.map(lambda m, v: step_size * m / (jnp.sqrt(v) + floor), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


class SkipState(NamedTuple):
    """The state of `skip_large`.

    Attributes:
      num_skipped: number of steps that were left out.
      inner: the state of the optimiser after the other steps.
    """

    num_skipped: Int[Array, ""]
    inner: optax.OptState


def skip_large(inner: optax.GradientTransformation, most: float) -> optax.GradientTransformation:
    """Return an optimiser that leaves out steps whose gradient has a norm above `most`.

    It leaves out those whose gradient is not finite, too (Child 2021, arXiv 2011.10650, section 3).
    A step that is left out changes neither the parameters nor the state of the optimiser.
    """

    def init(params: optax.Params) -> SkipState:
        return SkipState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(
        updates: optax.Updates, state: SkipState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SkipState]:
        # False for NaN.
        is_taken = optax.tree.norm(updates) <= most
        moved, after = inner.update(updates, state.inner, params)
        moved = jax.tree.map(lambda leaf: jnp.where(is_taken, leaf, 0), moved)
        after = jax.tree.map(lambda new, old: jnp.where(is_taken, new, old), after, state.inner)
        return moved, SkipState(state.num_skipped + ~is_taken, after)

    return optax.GradientTransformation(init, update)


def num_skipped(before: PyTree, after: PyTree) -> Int[Array, ""] | None:
    """Return the number of steps left out between two states of an optimiser.

    None of an optimiser that leaves out none.
    """
    if isinstance(before, SkipState) and isinstance(after, SkipState):
        return after.num_skipped - before.num_skipped
    return None


def is_kernel(params: PyTree) -> PyTree:
    """Return a mask of the parameters that are kernels of layers, by Flax's name for them.

    Learned images, means, log-scales and embeddings have several axes, too, but need not be near
    zero.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf.ndim > 1 and any(getattr(step, "key", None) == "kernel" for step in path)
        ),
        params,
    )


@runtime_checkable
class SchedulePart(Protocol):
    """Settings of a schedule."""

    def factor(self, num_steps: int, epochs: int) -> optax.Schedule:
        """Return the factor of the learning rate as a function of the steps taken."""


@register(SCHEDULES, "constant")
@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant learning rate."""

    def factor(self, num_steps: int, epochs: int) -> optax.Schedule:
        """Return 1 for every step."""
        del num_steps, epochs
        return optax.constant_schedule(1.0)


@register(SCHEDULES, "cosine")
@dataclasses.dataclass(frozen=True)
class Cosine:
    """A cosine from the learning rate to 0 over the whole run."""

    def factor(self, num_steps: int, epochs: int) -> optax.Schedule:
        """Return a cosine from 1 to 0 over `num_steps`."""
        del epochs
        return optax.cosine_decay_schedule(1.0, num_steps)


@register(SCHEDULES, "powers_of_three")
@dataclasses.dataclass(frozen=True)
class PowersOfThree:
    """3^i epochs at 10^(-i/7) of the learning rate, i = 0, 1, ... (Burda et al. 2015)."""

    def factor(self, num_steps: int, epochs: int) -> optax.Schedule:
        """Return the stages of Burda et al. 2015 (arXiv 1509.00519, section 5)."""
        steps_per_epoch = num_steps // epochs
        ends, stage = [], 0
        while (3 ** (stage + 1) - 1) // 2 < epochs:
            stage += 1
            ends.append((3**stage - 1) // 2 * steps_per_epoch)
        return optax.piecewise_constant_schedule(1.0, dict.fromkeys(ends, 10 ** (-1 / 7)))


@dataclasses.dataclass(frozen=True)
class Optimizer(abc.ABC):
    """The settings that all optimisers share; a subclass gives the direction."""

    learning_rate: Traced = traced(3e-3, "Learning rate, at the peak of the schedule.", above=0.0)
    schedule: SchedulePart = part("cosine", SCHEDULES, SchedulePart, "Factor of the learning rate.")
    weight_decay: Traced = traced(
        0.0, "Decoupled decay of the networks' kernels (Loshchilov & Hutter 2017).", at_least=0.0
    )
    gradient_clip_norm: float = bounded(
        0.0, "Global norm above which gradients are scaled down; 0 is never.", at_least=0.0
    )
    gradient_skip_norm: float = bounded(
        0.0,
        "Global norm above which a step is left out, before clipping; 0 is never. A step whose "
        "gradient is not finite is then left out, too.",
        at_least=0.0,
    )
    accumulation_steps: int = integer(
        1, "Parts of a batch, computed one after the other to save memory.", at_least=1
    )

    @abc.abstractmethod
    def direction(self) -> optax.GradientTransformation:
        """Return the transformation of gradients before decay and learning rate."""

    def build(self, num_steps: int, epochs: int) -> optax.GradientTransformation:
        """Return the optimiser of a run; its traced settings may be arrays.

        Args:
          num_steps: number of steps of the whole run, over which the schedule runs.
          epochs: number of passes over the data in these steps.
        """
        factor, clip = self.schedule.factor(num_steps, epochs), self.gradient_clip_norm
        chain = optax.chain(
            optax.clip_by_global_norm(clip) if clip > 0 else optax.identity(),
            self.direction(),
            optax.add_decayed_weights(self.weight_decay, mask=is_kernel),
            optax.scale_by_learning_rate(lambda count: self.learning_rate * factor(count)),
        )
        most = self.gradient_skip_norm
        return skip_large(chain, most) if most > 0 else chain


@register(OPTIMIZERS, "adam")
@dataclasses.dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2014, arXiv 1412.6980)."""

    b1: float = bounded(0.9, "Decay of the mean of the gradients.", at_least=0.0, below=1.0)
    b2: float = bounded(0.999, "Decay of the mean of their squares.", at_least=0.0, below=1.0)
    epsilon: float = bounded(1e-8, "Added to the root of the mean square.", above=0.0)

    def direction(self) -> optax.GradientTransformation:
        """Return Adam's direction."""
        return scale_by_adam(self.b1, self.b2, self.epsilon)


@register(OPTIMIZERS, "adagrad")
@dataclasses.dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011), its sums starting at 0.1."""

    def direction(self) -> optax.GradientTransformation:
        """Return gradients over the root of the sum of their squares."""
        return optax.scale_by_rss(initial_accumulator_value=0.1)


@register(OPTIMIZERS, "sgd")
@dataclasses.dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent without momentum."""

    def direction(self) -> optax.GradientTransformation:
        """Return the gradients themselves."""
        return optax.identity()
