"""Objectives to minimise: one function per equation, its settings beside it. Nats.

Every module of this folder is imported, which registers its objectives.
"""

from vae_jax.objectives.base import OBJECTIVES, Batch, Objective, Opponent
from vae_jax.settings import import_modules

__all__ = ["OBJECTIVES", "Batch", "Objective", "Opponent"]

import_modules(__name__)
