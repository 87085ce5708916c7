"""Training of an estimator's model, in programs compiled once per architecture and shape."""

import functools
from collections.abc import Hashable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree
from sklearn.utils import check_random_state

from vae_jax.config.experiment import Experiment
from vae_jax.models import VAE
from vae_jax.models.vae import VAESettings
from vae_jax.networks.mlp import MLPEncoderSettings
from vae_jax.settings import Setting, settings_of
from vae_jax.training import step as training
from vae_jax.training.optimizers import Adam, scale_by_adam
from vae_jax.training.players import Batches, Hparams, Metrics, Params, Player
from vae_jax.training.step import TrainState

# The settings whose limits the parameters that all estimators have in common have.
SETTINGS: dict[str, Setting] = {
    "n_components": settings_of(VAESettings)["latent_size"],
    "widths": settings_of(MLPEncoderSettings)["widths"],
    "epochs": settings_of(Experiment)["epochs"],
    "batch_size": settings_of(Experiment)["batch_size"],
    "learning_rate": settings_of(Adam)["learning_rate"],
}

Images = Float[Array, "rows 1 features 1"]


@runtime_checkable
class Architecture(Hashable, Protocol):
    """What a model and its loss are, without parameters. It is hashable: programs are kept by it.

    Attributes:
      num_features: number of features of a row.
    """

    @property
    def num_features(self) -> int:
        """Number of features of a row."""

    def build(self, mean_image: Float[Array, "1 features 1"], key: Key[Array, ""]) -> VAE:
        """Return the model with fresh parameters."""

    def loss(
        self, model: VAE, batch: Images, hparams: Hparams, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """Return the loss of a batch, and metrics."""


def check_parameters(estimator: Any, settings: dict[str, Setting]) -> None:
    """Refuse parameters that the settings with their limits refuse.

    Raises:
      ValueError: names the parameter, its value and what is right.
    """
    for name, setting in settings.items():
        check_parameter(name, getattr(estimator, name), setting)


def check_parameter(name: str, value: Any, setting: Setting) -> None:
    """Refuse a parameter that a setting with its limits refuses.

    Raises:
      ValueError: names the parameter, its value and what is right.
    """
    # A search over np.arange sets numbers of NumPy's types.
    expected = setting.check(value.item() if isinstance(value, np.generic) else value)
    if expected is not None:
        raise ValueError(f"{name}={value!r} must be {expected}")


def float32_rows(rows: Float[np.ndarray, "rows ..."]) -> Float[np.ndarray, "rows ..."]:
    """Return rows in float32, NaN where a value is missing.

    Raises:
      ValueError: float32 does not hold a value, in the words of scikit-learn.
    """
    with np.errstate(over="ignore"):
        converted = rows.astype(np.float32)
    if np.isinf(converted).any():
        raise ValueError("Input X contains infinity or a value too large for dtype('float32').")
    return converted


def refuse_not_finite(results: np.ndarray) -> None:
    """Refuse what a fitted model made of rows so far from its data that float32 overflows.

    Raises:
      ValueError: a number is not finite.
    """
    if not np.isfinite(results).all():
        raise ValueError(
            "Input X contains a value so far from the data of fit that a result is not finite in "
            "float32; leave its row out"
        )


def fit(
    architecture: Architecture,
    images: Float[np.ndarray, "rows 1 features 1"],
    mean_image: Float[Array, "1 features 1"],
    *,
    hparams: dict[str, float],
    batch_size: int,
    epochs: int,
    random_state: Any,
) -> tuple[dict[str, Any], np.ndarray]:
    """Train a model; return its parameters, nested dicts of arrays, and the loss of each epoch.

    Raises:
      ValueError: the loss is not finite.
    """
    rows = jnp.asarray(images)
    seed = check_random_state(random_state).randint(2**32, dtype=np.uint32)
    state = _init(
        architecture,
        mean_image,
        jax.random.key(int(seed), impl="threefry2x32"),
        {name: jnp.float32(value) for name, value in hparams.items()},
    )
    losses = []
    for _ in range(epochs):
        state, metrics = _train_epoch(architecture, batch_size, epochs, state, rows)
        losses.append(float(metrics["loss"].mean()))
    if not all(np.isfinite(leaf).all() for leaf in [*jax.tree.leaves(state.params), losses]):
        raise ValueError(
            f"the loss is not finite with learning_rate={hparams['learning_rate']!r}; use a lower "
            "one"
        )
    params = jax.tree.map(np.asarray, nnx.to_pure_dict(state.params["model"]))
    return params, np.array(losses)


@functools.cache
def _abstract(architecture: Architecture) -> tuple[nnx.GraphDef, nnx.State]:
    """Return the model without its parameters, and their shapes."""
    mean_image = jnp.zeros((1, architecture.num_features, 1))
    return nnx.split(nnx.eval_shape(lambda: architecture.build(mean_image, jax.random.key(0))))


def merge(architecture: Architecture, params: PyTree) -> VAE:
    """Return the model with parameters."""
    graphdef, state = _abstract(architecture)
    filled = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(params))
    return nnx.merge(graphdef, filled)


def _player(architecture: Architecture, num_steps: int) -> Player:
    """Return the player, trained by Adam with a rate that falls to 0 by a cosine."""

    def loss(
        params: Params,
        extra: nnx.State,
        batches: Batches,
        hparams: Hparams,
        epoch: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], tuple[Metrics, nnx.State]]:
        del epoch
        (batch,) = batches
        assert not isinstance(batch, dict)
        value, metrics = architecture.loss(
            merge(architecture, params["model"]), batch, hparams, key
        )
        return value, (metrics, extra)

    schedule = optax.cosine_decay_schedule(1.0, num_steps)

    def make_optimizer(hparams: Hparams) -> optax.GradientTransformation:
        return optax.chain(
            scale_by_adam(0.9, 0.999, 1e-8),
            optax.scale_by_learning_rate(lambda count: hparams["learning_rate"] * schedule(count)),
        )

    return Player("model", loss, ("model",), make_optimizer)


@functools.partial(jax.jit, static_argnums=0)
def _init(
    architecture: Architecture,
    mean_image: Float[Array, "1 features 1"],
    key: Key[Array, ""],
    hparams: Hparams,
) -> TrainState:
    model_key, run_key = jax.random.split(key)
    params = nnx.split(architecture.build(mean_image, model_key))[1]
    # The state before the first step does not depend on the number of steps.
    players = [_player(architecture, 1)]
    return training.init_state({"model": params}, nnx.State({}), hparams, players, run_key)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _train_epoch(
    architecture: Architecture,
    batch_size: int,
    epochs: int,
    state: TrainState,
    images: Images,
) -> tuple[TrainState, dict[str, Float[Array, " steps"]]]:
    num_steps = len(images) // batch_size
    step_fn = functools.partial(
        training.train_step, players=(_player(architecture, epochs * num_steps),)
    )
    return training.train_epoch(
        state, images, step_fn=step_fn, batch_size=batch_size, num_steps=num_steps
    )
