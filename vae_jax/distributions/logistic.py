"""Logistic distributions cut into the 256 levels of an 8-bit image, one or a mixture of them.

A level's probability is the logistic's mass within half a level around it; the darkest and the
lightest also take the mass beyond. Kingma et al. 2016 (arXiv 1606.04934) and, for the mixture,
Salimans et al. 2017 (arXiv 1701.05517, section 2.1). Locations and scales are in units of the unit
interval. The elements, colour channels among them, are independent given the parameters:
PixelCNN++'s linear dependence of the channels on each other is not here.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import flatten_event, softplus
from vae_jax.distributions.levels import NUM_LEVELS, nearest_level
from vae_jax.distributions.pytree import register_pytree, static_field

_LIGHTEST = NUM_LEVELS - 1
_WIDTH = 1 / _LIGHTEST


@register_pytree
@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic:
    """Independent discretised logistics.

    Attributes:
      location: location of the logistic before it is cut, `[*batch, *event]`.
      log_scale: log of its scale, broadcasts to `location`.
      event_ndim: number of trailing axes that make up one event.
    """

    location: Float[Array, "..."]
    log_scale: Float[Array, "..."]
    event_ndim: int = static_field(default=1)

    @property
    def mean(self) -> Float[Array, "..."]:
        """The expected level in the unit interval, `[*batch, *event]`."""
        return _mean_level(self.location, self.log_scale)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability in nats of the level nearest to each value, `[*batch]`."""
        log_scale = jnp.broadcast_to(self.log_scale, self.location.shape)
        value, location, log_scale = (
            flatten_event(x, self.event_ndim) for x in (value, self.location, log_scale)
        )
        return _log_level_probability(nearest_level(value), location, log_scale).sum(axis=-1)

    def interval_probability(
        self, low: Float[Array, "..."], high: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """Return P(low <= level < high) of each element, `[*batch, *event]`."""
        log_scale = jnp.broadcast_to(self.log_scale, self.location.shape)
        flat = (flatten_event(x, self.event_ndim) for x in (low, high, self.location, log_scale))
        return _interval_probability(*flat).reshape(self.location.shape)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one draw of levels, k / 255 (no gradient flows through it)."""
        return _draw_level(key, self.location, self.log_scale)


@register_pytree
@dataclasses.dataclass(frozen=True)
class MixtureOfDiscretizedLogistics:
    """A mixture of discretised logistics for each element, independent of the other elements.

    Attributes:
      logits: logits of the components, `[*batch, *event, components]`.
      location: location of each component, same shape.
      log_scale: log-scale of each component, same shape.
      event_ndim: number of axes before the components' that make up one event.
    """

    logits: Float[Array, "..."]
    location: Float[Array, "..."]
    log_scale: Float[Array, "..."]
    event_ndim: int = static_field(default=1)

    @property
    def mean(self) -> Float[Array, "..."]:
        """The expected level in the unit interval, `[*batch, *event]`."""
        means = _mean_level(self.location, self.log_scale)
        return (jax.nn.softmax(self.logits) * means).sum(axis=-1)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return log probability in nats of the level nearest to each value, `[*batch]`."""
        level = nearest_level(flatten_event(value, self.event_ndim))[..., None, :]
        logits, location, log_scale = (
            self._components_before_event(x) for x in (self.logits, self.location, self.log_scale)
        )
        components = _log_level_probability(level, location, log_scale)
        log_weights = jax.nn.log_softmax(logits, axis=-2)
        return jax.nn.logsumexp(log_weights + components, axis=-2).sum(axis=-1)

    def _components_before_event(self, parameter: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return `[*batch, components, event]`: XLA's CPU backend vectorises the last axis."""
        first = jnp.moveaxis(parameter, -1, 0)
        return jnp.moveaxis(flatten_event(first, self.event_ndim), 0, -2)

    def interval_probability(
        self, low: Float[Array, "..."], high: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """Return P(low <= level < high) of each element, `[*batch, *event]`."""
        low, high = (flatten_event(x, self.event_ndim)[..., None, :] for x in (low, high))
        logits, location, log_scale = (
            self._components_before_event(x) for x in (self.logits, self.location, self.log_scale)
        )
        components = _interval_probability(low, high, location, log_scale)
        total = (jax.nn.softmax(logits, axis=-2) * components).sum(axis=-2)
        return total.reshape(self.location.shape[:-1])

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Return one draw of levels, k / 255 (no gradient flows through it)."""
        component_key, level_key = jax.random.split(key)
        component = jax.random.categorical(component_key, self.logits)[..., None]
        location, log_scale = (
            jnp.take_along_axis(parameter, component, axis=-1)[..., 0]
            for parameter in (self.location, self.log_scale)
        )
        return _draw_level(level_key, location, log_scale)


def _log_level_probability(
    level: Float[Array, "..."], location: Float[Array, "..."], log_scale: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return log(sigmoid(upper) - sigmoid(lower)) of the standardised edges of the level.

    That difference is sigmoid(upper) sigmoid(-lower) (1 - exp(lower - upper)). For every level
    upper - lower is the width of a level over the scale, so that nothing cancels.
    """
    inverse_scale = jnp.exp(-log_scale)
    upper = ((level + 0.5) * _WIDTH - location) * inverse_scale
    lower = ((level - 0.5) * _WIDTH - location) * inverse_scale
    log_shared = jnp.log(-jnp.expm1(-_WIDTH * inverse_scale))
    is_darkest, is_lightest = level == 0, level == _LIGHTEST
    return (
        -jnp.where(is_lightest, 0, softplus(-upper))
        - jnp.where(is_darkest, 0, softplus(lower))
        + jnp.where(is_darkest | is_lightest, 0, log_shared)
    )


def _interval_probability(
    low: Float[Array, "..."],
    high: Float[Array, "..."],
    location: Float[Array, "..."],
    log_scale: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Return sigmoid(upper) - sigmoid(lower), as that product, for levels low..high-1."""
    inverse_scale = jnp.exp(-log_scale)
    upper = jnp.where(high > _LIGHTEST, jnp.inf, ((high - 0.5) * _WIDTH - location) * inverse_scale)
    lower = jnp.where(low <= 0, -jnp.inf, ((low - 0.5) * _WIDTH - location) * inverse_scale)
    return jax.nn.sigmoid(upper) * jax.nn.sigmoid(-lower) * -jnp.expm1(lower - upper)


def _mean_level(
    location: Float[Array, "..."], log_scale: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return the sum over k = 1..255 of P(level >= k), in the unit interval."""
    inverse_scale = jnp.exp(-log_scale)

    # In a loop: at once it would be 255 images.
    def add(k: Array, total: Float[Array, "..."]) -> Float[Array, "..."]:
        return total + jax.nn.sigmoid((location - (k - 0.5) * _WIDTH) * inverse_scale)

    return jax.lax.fori_loop(1, NUM_LEVELS, add, jnp.zeros_like(location)) * _WIDTH


def _draw_level(
    key: Key[Array, ""], location: Float[Array, "..."], log_scale: Float[Array, "..."]
) -> Float[Array, "..."]:
    noise = jax.random.logistic(key, location.shape, location.dtype)
    return nearest_level(location + jnp.exp(log_scale) * noise) / _LIGHTEST
