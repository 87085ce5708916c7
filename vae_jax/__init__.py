"""Variational autoencoders in JAX and Flax.

`vae_jax.train(config, "runs/vanilla")` trains a model and `vae_jax.load("runs/vanilla")` gives it
back; see `vae_jax.run` and `vae_jax.trained`.
"""

from typing import TYPE_CHECKING, Any

from vae_jax.errors import UserError

if TYPE_CHECKING:
    from vae_jax.run import Run, train
    from vae_jax.trained import TrainedModel, TrainedMultimodal, load

__version__ = "0.1.0"

__all__ = [
    "Run",
    "TrainedModel",
    "TrainedMultimodal",
    "UserError",
    "__version__",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    # Imported late, so that reading data does not import jax and orbax.
    if name in ("TrainedModel", "TrainedMultimodal", "load"):
        from vae_jax import trained

        return getattr(trained, name)
    if name in ("Run", "train"):
        from vae_jax import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
