"""Objectives to minimise: an equation per function, its settings beside it. Nats.

A module that stands here is imported, and its objectives can be chosen: nothing lists them.
"""

from vae_jax.objectives.base import OBJECTIVES, Batch, Objective, Opponent
from vae_jax.settings import import_modules

__all__ = ["OBJECTIVES", "Batch", "Objective", "Opponent"]

import_modules(__name__)
