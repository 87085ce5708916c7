"""Players: a run trains one or several, each with its loss, its parameters and its optimiser.

A plain VAE is one player, which owns all parameters. In a game the players move in turn within a
step, each by its own gradient, given the moves of the players before it. Parameters that a player
does not own are constant while it moves.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from vae_jax.data.pixels import StoredExamples
from vae_jax.training.optimizers import num_skipped

# The metric of steps that an optimiser may leave out: 1 where it did. Its mean is their share.
SKIPPED = "skipped_share"

Scalar = Float[Array, ""]
# Scalars in the records; a loss may return other shapes for `finish`.
Metrics = dict[str, Float[Array, "..."]]
# The parameters of each network by its name: "model" and the objective's own networks.
Params = dict[str, nnx.State]
# Traced settings by dotted name.
Hparams = dict[str, Array]
# The examples of a step, and those of the next one if a player takes two batches.
Batches = tuple[StoredExamples, ...]

# loss(params, extra, batches, hparams, epoch, key) -> (loss, (metrics, extra)), means over the
# batch in nats. `extra` is state that the model learns without a gradient.
LossFn = Callable[
    [Params, nnx.State, Batches, Hparams, Scalar, Key[Array, ""]],
    tuple[Scalar, tuple[Metrics, nnx.State]],
]
# Makes the optimiser from settings, which may be traced.
MakeOptimizer = Callable[[Hparams], optax.GradientTransformation]


class Player(NamedTuple):
    """A loss, the parameters that it trains, and their optimiser.

    Attributes:
      name: name of the optimiser's state.
      loss: the loss.
      owns: names of the networks that it trains, or of parts of one, such as "model.decoder".
      make_optimizer: makes the optimiser.
      every: steps between two moves.
      num_batches: number of batches that the loss takes.
      updates: updates per move, on the same batches with draws of their own.
      measures_gradient: whether the norm of its gradient is a metric.
      finish: makes the metrics of records from means over a batch, or over all examples.
    """

    name: str
    loss: LossFn
    owns: tuple[str, ...]
    make_optimizer: MakeOptimizer
    every: int = 1
    num_batches: int = 1
    updates: int = 1
    measures_gradient: bool = False
    finish: Callable[[Metrics], Metrics] = dict

    def init(self, params: Params, hparams: Hparams) -> PyTree:
        """Return the state of the optimiser before the first step."""
        return self.make_optimizer(hparams).init(self.owned(params))

    def owned(self, params: Params) -> Params:
        """Return the player's own parameters."""
        found: Params = {}
        for path in self.owns:
            name, _, part = path.partition(".")
            if part:
                parts = dict(found.get(name, {}))
                found[name] = nnx.State({**parts, part: params[name][part]})
            else:
                found[name] = params[name]
        return found

    def replaced(self, params: Params, owned: Params) -> Params:
        """Return all parameters, those of the player replaced."""
        whole = {name for name in self.owns if "." not in name}
        return {
            **params,
            **{
                name: state if name in whole else nnx.merge_state(params[name], state)
                for name, state in owned.items()
            },
        }

    def gradients(
        self,
        params: Params,
        extra: nnx.State,
        batches: Batches,
        hparams: Hparams,
        epoch: Scalar,
        key: Key[Array, ""],
        *,
        accumulation_steps: int,
        axis_name: str | None,
    ) -> tuple[Params, nnx.State, Metrics]:
        """Return the gradient in the player's own parameters.

        Returns:
          The gradient, the model's extra state after the loss, and the metrics of the batch, "loss"
          among them, in nats.
        """

        def loss_of(
            owned: Params, extra: nnx.State, batches: Batches, key: Key[Array, ""]
        ) -> tuple[Scalar, tuple[Metrics, nnx.State]]:
            return self.loss(self.replaced(params, owned), extra, batches, hparams, epoch, key)

        grad_fn = jax.value_and_grad(loss_of, has_aux=True)
        owned = self.owned(params)

        def gradients(
            batches: Batches, key: Key[Array, ""], extra: nnx.State
        ) -> tuple[Params, Metrics, nnx.State]:
            (loss, (metrics, extra)), grads = grad_fn(owned, extra, batches, key)
            return grads, {"loss": loss, **metrics}, extra

        if accumulation_steps == 1:
            grads, metrics, extra = gradients(batches, key, extra)
        else:
            grads, metrics, extra = _accumulated(gradients, batches, key, extra, accumulation_steps)
        if axis_name is not None:
            grads, metrics, extra = jax.lax.pmean((grads, metrics, extra), axis_name)
        metrics = self.finish(metrics)
        if self.measures_gradient:
            squares = [jnp.square(leaf).sum() for leaf in jax.tree.leaves(grads)]
            metrics = {**metrics, f"{self.name}_gradient_norm": jnp.sqrt(sum(squares))}
        return grads, extra, metrics

    def move(
        self,
        params: Params,
        extra: nnx.State,
        opt_state: PyTree,
        batches: Batches,
        hparams: Hparams,
        epoch: Scalar,
        key: Key[Array, ""],
        *,
        accumulation_steps: int,
        axis_name: str | None,
    ) -> tuple[Params, nnx.State, PyTree, Metrics]:
        """Take `updates` gradient steps in the player's own parameters.

        Returns:
          The parameters, the model's extra state and the optimiser's after the step, and the
          metrics of the batch before the last update, "loss" among them, in nats.
        """

        def update(
            owned: Params, extra: nnx.State, opt_state: PyTree, key: Key[Array, ""]
        ) -> tuple[tuple[Params, nnx.State, PyTree], Metrics]:
            grads, extra, metrics = self.gradients(
                self.replaced(params, owned),
                extra,
                batches,
                hparams,
                epoch,
                key,
                accumulation_steps=accumulation_steps,
                axis_name=axis_name,
            )
            updates, after = self.make_optimizer(hparams).update(grads, opt_state, owned)
            skipped = num_skipped(opt_state, after)
            if skipped is not None:
                metrics = {**metrics, SKIPPED: skipped.astype(jnp.float32)}
            return (optax.apply_updates(owned, updates), extra, after), metrics

        state = (self.owned(params), extra, opt_state)
        if self.updates == 1:
            state, metrics = update(*state, key)
        else:
            keys = jax.random.split(key, self.updates)
            state, history = jax.lax.scan(lambda state, key: update(*state, key), state, keys)
            metrics = jax.tree.map(lambda values: values[-1], history)
        owned, extra, opt_state = state
        return self.replaced(params, owned), extra, opt_state, metrics

    def rest(
        self,
        params: Params,
        extra: nnx.State,
        batches: Batches,
        hparams: Hparams,
        epoch: Scalar,
        key: Key[Array, ""],
        *,
        accumulation_steps: int,
        axis_name: str | None,
    ) -> Metrics:
        """Return the metrics of a step in which the player does not move."""
        if self.measures_gradient:
            return self.gradients(
                params,
                extra,
                batches,
                hparams,
                epoch,
                key,
                accumulation_steps=accumulation_steps,
                axis_name=axis_name,
            )[2]
        loss, (metrics, _) = self.loss(params, extra, batches, hparams, epoch, key)
        found = {"loss": loss, **metrics}
        return self.finish(found if axis_name is None else jax.lax.pmean(found, axis_name))


def take_turns(
    players: tuple[Player, ...],
    step: Int[Array, ""],
    params: Params,
    extra: nnx.State,
    opt_state: dict[str, PyTree],
    batches: Batches,
    hparams: Hparams,
    epoch: Scalar,
    key: Key[Array, ""],
    *,
    accumulation_steps: int = 1,
    axis_name: str | None = None,
) -> tuple[Params, nnx.State, dict[str, PyTree], Metrics]:
    """Let every player move once, or rest, one after the other.

    Returns:
      The parameters, the extra state and the optimisers' states after the step, and all metrics;
      "loss" is that of the first player.
    """
    alone = len(players) == 1
    keys = [key] if alone else list(jax.random.split(key, len(players)))
    opt_state = dict(opt_state)
    metrics: Metrics = {}
    for player, player_key in zip(players, keys, strict=True):
        taken = batches[: player.num_batches]

        def moved(
            params: Params,
            extra: nnx.State,
            state: PyTree,
            player: Player = player,
            batches: Batches = taken,
            key: Key[Array, ""] = player_key,
        ) -> tuple[Params, nnx.State, PyTree, Metrics]:
            return player.move(
                params,
                extra,
                state,
                batches,
                hparams,
                epoch,
                key,
                accumulation_steps=accumulation_steps,
                axis_name=axis_name,
            )

        def rested(
            params: Params,
            extra: nnx.State,
            state: PyTree,
            player: Player = player,
            batches: Batches = taken,
            key: Key[Array, ""] = player_key,
        ) -> tuple[Params, nnx.State, PyTree, Metrics]:
            found = player.rest(
                params,
                extra,
                batches,
                hparams,
                epoch,
                key,
                accumulation_steps=accumulation_steps,
                axis_name=axis_name,
            )
            return params, extra, state, found

        own = opt_state[player.name]
        if player.every == 1:
            params, extra, own, found = moved(params, extra, own)
        else:
            is_due = step % player.every == 0
            params, extra, own, found = jax.lax.cond(is_due, moved, rested, params, extra, own)
        opt_state[player.name] = own
        if metrics:
            found = {name: value for name, value in found.items() if name != "loss"}
        metrics |= found
    return params, extra, opt_state, metrics


def _accumulated(
    gradients: Callable[[Batches, Key[Array, ""], nnx.State], tuple[Params, Metrics, nnx.State]],
    batches: Batches,
    key: Key[Array, ""],
    extra: nnx.State,
    num_parts: int,
) -> tuple[Params, Metrics, nnx.State]:
    """Return means over the parts of a batch, computed one after the other."""

    # Every part has examples from the whole batch, so that each device keeps its own examples.
    def split(array: Array) -> Array:
        return array.reshape(-1, num_parts, *array.shape[1:]).swapaxes(0, 1)

    parts = jax.tree.map(split, batches)
    keys = jax.random.split(key, num_parts)

    def body(
        carry: tuple[Params, Metrics, nnx.State], part: tuple[Batches, Key[Array, ""]]
    ) -> tuple[tuple[Params, Metrics, nnx.State], None]:
        grads, metrics, extra = carry
        more_grads, more_metrics, extra = gradients(*part, extra)
        total = jax.tree.map(jnp.add, (grads, metrics), (more_grads, more_metrics))
        return (*total, extra), None

    first = gradients(jax.tree.map(lambda part: part[0], parts), keys[0], extra)
    rest = jax.tree.map(lambda part: part[1:], parts)
    (grads, metrics, extra), _ = jax.lax.scan(body, first, (rest, keys[1:]))
    grads, metrics = jax.tree.map(lambda leaf: leaf / num_parts, (grads, metrics))
    return grads, metrics, extra
