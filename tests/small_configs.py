"""Experiments with networks small enough for a test."""

from collections.abc import Mapping

from configs import vanilla
from vae_jax import config as factory


def small_config(changes=None, *, base=None, widths=(5,), latent_size=3):
    """Return a small config with changed settings, as nested dicts.

    Args:
      changes: settings by dotted name; a choice goes before its settings.
      base: the config that is changed; by default that of configs/vanilla.py.
      widths: hidden layers of encoder and decoder, unless the changes have them.
      latent_size: number of latent dimensions, unless the changes have it.
    """
    base = factory.plain(vanilla.get_config() if base is None else base)
    small = {"model.latent_size": latent_size, "model.encoder.widths": widths}
    content = factory.with_values(base, {**small, **(changes or {})})
    # A choice among the changes has its default sizes.
    model = dict(content["model"])
    encoder = model.get("encoder", {})
    encoder = dict(encoder) if isinstance(encoder, Mapping) else {"name": encoder}
    model.setdefault("latent_size", latent_size)
    encoder.setdefault("widths", widths)
    return {**content, "model": {**model, "encoder": encoder}}


def small_experiment(changes=None, **options):
    """Return the experiment of `small_config`, checked."""
    return factory.resolve(small_config(changes, **options))
