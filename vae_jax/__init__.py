"""Variational autoencoders in JAX and Flax.

`vae_jax.load("runs/vanilla")` gives a trained model; see `vae_jax.trained`.
"""

from typing import TYPE_CHECKING, Any

from vae_jax.errors import UserError

if TYPE_CHECKING:
    from vae_jax.trained import TrainedModel, TrainedMultimodal, load

__version__ = "0.1.0"

__all__ = ["TrainedModel", "TrainedMultimodal", "UserError", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Imported late, so that reading data does not import jax and orbax.
    if name in ("TrainedModel", "TrainedMultimodal", "load"):
        from vae_jax import trained

        return getattr(trained, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
