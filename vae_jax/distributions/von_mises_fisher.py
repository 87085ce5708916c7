"""The von Mises-Fisher distribution of points on the unit sphere, and the uniform one.

In m dimensions its density by area is C_m(k) exp(k mean . z), with the mean direction on the sphere
and the concentration k, and C_m(k) = k^(m/2 - 1) / ((2 pi)^(m/2) I_(m/2 - 1)(k)). A point is drawn
by its angle to the mean direction, whose density is proportional to exp(k cos a) sin(a)^(m - 2).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vae_jax.distributions.base import Draw
from vae_jax.distributions.pytree import register_pytree, static_field

Latents = Float[Array, "*shape latents"]

# Bessel functions of this order and above come from their expansion for large orders; lower ones
# from these, by the recurrence that is stable downwards.
_LEAST_ORDER = 8

# log sum_j U_j(p) / n^j of that expansion is sum_j (p/n)^j (c_j0 + c_j1 p^2 + c_j2 p^4 + ...), with
# these c_j for j = 1, 2, 3, 4. It follows from the U_j of Abramowitz & Stegun 9.3.9.
_LOG_SERIES = (
    (1 / 8, -5 / 24),
    (1 / 16, -3 / 8, 5 / 16),
    (25 / 384, -531 / 640, 221 / 128, -1105 / 1152),
    (13 / 128, -71 / 32, 531 / 64, -339 / 32, 565 / 128),
)

# Proposals for an angle, a fixed number since a loop would let all members of a sweep wait for the
# slowest. Each is accepted with a probability of at least 0.657, that of the circle at a high
# concentration. The chance that none is accepted is below 4e-8.
_NUM_PROPOSALS = 16
_NORMALS_PER_PROPOSAL = 3

# Nodes and weights on (0, 1) for the integral over the tail of an angle. It ends after this many
# deviations, where the density has fallen to less than 1e-8.
_NODES, _WEIGHTS = (np.polynomial.legendre.leggauss(24)[i] / 2 for i in range(2))
_NODES += 0.5
_MOST_DEVIATIONS = 6.5


def log_sphere_area(dimension: int) -> float:
    """Return the log area of the unit sphere in m dimensions, log(2 pi^(m/2) / Gamma(m/2))."""
    return math.log(2) + 0.5 * dimension * math.log(math.pi) - math.lgamma(0.5 * dimension)


def noise_size(dimension: int) -> int:
    """Return the number of normals that a draw takes: m - 1, and those of the proposals."""
    return dimension - 1 + _NORMALS_PER_PROPOSAL * _NUM_PROPOSALS


def bessel_terms(
    dimension: int, concentration: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return k - log E[exp(k z_1)] over the uniform sphere, and k (1 - A), stable in float32.

    E[exp(k z_1)] = Gamma(n + 1) (2/k)^n I_n(k) with n = m/2 - 1. The derivative of its logarithm is
    A = I_(n+1)(k) / I_n(k), the mean cosine of the angle to the mean direction. At n >= 8 they are
    the uniform expansion for large orders (Abramowitz & Stegun 9.7.7) with s = sqrt(n^2 + k^2), and
    lower orders follow from I_(n-1)(k) = I_(n+1)(k) + (2n/k) I_n(k).

    Args:
      dimension: m, at least 2.
      concentration: k, above 0.
    """
    k, order = concentration, 0.5 * dimension - 1
    steps = max(0, math.ceil(_LEAST_ORDER - order))
    n = order + steps
    s = jnp.hypot(k, n)
    squared, ratio = jnp.square(n / s), jnp.square(k) / (n * (n + s))
    # The logarithm of the series, and p times its derivative.
    series, slope = jnp.zeros_like(k), jnp.zeros_like(k)
    for j, coefficients in enumerate(_LOG_SERIES, start=1):
        for i, coefficient in enumerate(coefficients):
            term = coefficient * squared**i / s**j
            series += term
            slope += (j + 2 * i) * term
    # No difference of large numbers is taken: k - (s - n) = 2 k n / (k + n + s).
    gap = 2 * k * n / (k + n + s) + n * jnp.log1p(ratio / 2) + jnp.log1p(ratio) / 2
    gap += 1 / (360 * n**3) - 1 / (12 * n) - series
    deficit = k * n / (n + s) * (1 + n / (s + k)) + jnp.square(k / s) * (0.5 + slope)
    for index in reversed(range(steps)):
        twice = 2 * (order + index + 1)
        gap -= jnp.log1p((k - deficit) / twice)
        deficit = k * (twice - deficit) / (twice + k - deficit)
    return gap, deficit


def _propose(
    dimension: int, concentration: Float[Array, "*batch"], noise: Float[Array, "*shape size"]
) -> Float[Array, "*shape"]:
    """Return 1 - cos of the angle to the mean direction, by rejection (Wood 1994).

    A proposal is (b + y) / (1 + b y), with y the first coordinate of a uniform point on the sphere,
    and accepted with probability exp((m - 1) (b y / (1 + b y) - log(1 + b y))). y comes from two
    uniform numbers (Ulrich 1984), here from the radius and the angle of two normals. The first
    accepted proposal is taken, or the first of all if none is.
    """
    m, k = dimension, concentration[..., None]
    noise = noise.reshape(*noise.shape[:-1], _NUM_PROPOSALS, _NORMALS_PER_PROPOSAL)
    radius_squared = jnp.square(noise[..., :2]).sum(axis=-1) + 1e-30
    y = noise[..., 0] * jax.lax.rsqrt(radius_squared)
    if m > 2:
        y *= jnp.sqrt(-jnp.expm1(-radius_squared / (m - 2)))
    # b = (1 - c) / (1 + c)
    c = (m - 1) / (2 * k + jnp.sqrt(4 * jnp.square(k) + (m - 1) ** 2))
    b = (1 - c) / (1 + c)
    tilt = jnp.maximum(1 + b * y, 1e-7)
    log_probability = (m - 1) * (b * y / tilt - jnp.log(tilt))
    accepted = log_probability >= jax.scipy.special.log_ndtr(noise[..., 2])
    # Rounding may leave the interval.
    proposals = jnp.clip(2 * c / (1 + c) * (1 - y) / tilt, 0, 2)
    is_first = jnp.arange(_NUM_PROPOSALS) == jnp.argmax(accepted, axis=-1, keepdims=True)
    return jnp.where(is_first, proposals, 0).sum(axis=-1)


def cosine_slope(
    dimension: int, concentration: Float[Array, "*shape"], versine: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Return (dt/dk) / (1 - t^2), where t is the cosine of a draw's angle at a fixed quantile.

    dt/dk = -(dF(t; k)/dk) / p(t; k), by implicit differentiation (Figurnov et al. 2018, arXiv
    1805.08498). With the angle a, dF/dk is the integral of (cos - A) p over the nearer tail, by
    Gauss-Legendre quadrature.

    Args:
      dimension: m, at least 2.
      concentration: k, above 0.
      versine: 1 - t, from 0 to 2.
    """
    m, k = dimension, concentration[..., None]
    versine = jnp.clip(versine, 1e-12, 2 - 1e-6)[..., None]
    mean_versine = bessel_terms(m, concentration)[1][..., None] / k
    angle = 2 * jnp.arcsin(jnp.sqrt(versine / 2))
    # The cosine of the most probable angle, where -(log p)'' is at least k cos + m - 2.
    mode = 2 * k / (m - 2 + jnp.sqrt((m - 2) ** 2 + 4 * jnp.square(k)))
    reach = _MOST_DEVIATIONS / jnp.sqrt(k * mode + m - 2)
    is_below = versine < mean_versine
    length = jnp.minimum(jnp.where(is_below, angle, jnp.pi - angle), reach)
    step = jnp.where(is_below, -length, length) * _NODES.astype(np.float32)
    middle, half = angle + step / 2, jnp.sin(step / 2)
    log_ratio = -2 * k * jnp.sin(middle) * half
    if m > 2:
        relative = 2 * jnp.cos(middle) * half / jnp.sin(angle)
        log_ratio += (m - 2) * jnp.log1p(jnp.maximum(relative, 1e-7 - 1))
    integrand = (mean_versine - 2 * jnp.square(jnp.sin((angle + step) / 2))) * jnp.exp(log_ratio)
    integral = length * (integrand * _WEIGHTS.astype(np.float32)).sum(axis=-1, keepdims=True)
    return (jnp.where(is_below, integral, -integral) / jnp.sin(angle))[..., 0]


@jax.custom_jvp
def _draw(
    direction: Float[Array, "*batch latents"],
    concentration: Float[Array, "*batch"],
    noise: Float[Array, "*shape size"],
) -> tuple[Latents, Float[Array, "*shape"]]:
    """Return points, and 1 - the cosine of their angle to the mean direction.

    A change of the mean direction rotates the points with it, and one of the concentration moves
    them towards it or away (`cosine_slope`). The moved points follow the distribution of the
    changed parameters, so that gradients of expectations are unbiased (Jankowiak & Obermeyer 2018,
    arXiv 1806.01851).
    """
    size = direction.shape[-1]
    # Not 0, which has no direction.
    tangent = noise[..., : size - 1] + 1e-15
    tangent /= jnp.linalg.norm(tangent, axis=-1, keepdims=True)
    # The reflection that takes the first axis to the mean direction, or to its opposite if that is
    # nearer, takes vectors across this axis to vectors across the mean direction.
    first, rest = direction[..., :1], direction[..., 1:]
    along = (rest * tangent).sum(axis=-1, keepdims=True)
    across = jnp.concatenate(
        [jnp.where(first < 0, along, -along), tangent - along / (1 + jnp.abs(first)) * rest],
        axis=-1,
    )
    versine = _propose(size, concentration, noise[..., size - 1 :])
    sine = jnp.sqrt(versine * (2 - versine))[..., None]
    return (1 - versine)[..., None] * direction + sine * across, versine


@_draw.defjvp
def _draw_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    direction, concentration, _ = primals
    turned, sharpened, _ = tangents
    latents, versine = _draw(*primals)
    k = jnp.broadcast_to(concentration, versine.shape)
    nearer = cosine_slope(direction.shape[-1], k, versine) * sharpened
    cosine = (1 - versine)[..., None]
    latents_tangent = (
        cosine * turned
        - direction * (turned * latents).sum(axis=-1, keepdims=True)
        + nearer[..., None] * (direction - cosine * latents)
    )
    return (latents, versine), (latents_tangent, -versine * (2 - versine) * nearer)


@register_pytree
@dataclasses.dataclass(frozen=True)
class VonMisesFisher:
    """Points on the unit sphere around a mean direction.

    Attributes:
      direction: the mean direction, of norm 1, `[*batch, latents]`.
      concentration: k, above 0, `[*batch]`.
    """

    direction: Float[Array, "*batch latents"]
    concentration: Float[Array, "*batch"]

    @property
    def mean(self) -> Float[Array, "*batch latents"]:
        """The mean direction, which is on the sphere; the expected value is inside of it."""
        return self.direction

    @property
    def mean_cosine(self) -> Float[Array, "*batch"]:
        """A, the norm of the expected value."""
        return 1 - bessel_terms(self._dimension, self.concentration)[1] / self.concentration

    @property
    def entropy(self) -> Float[Array, "*batch"]:
        """The entropy in nats, with respect to the area of the sphere."""
        return log_sphere_area(self._dimension) - kl_from_uniform(self)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the log density of points on the sphere, by its area, in nats, `[*batch]`."""
        return self._log_prob(jnp.square(value - self.direction).sum(axis=-1) / 2)

    def draw(self, noise: Float[Array, "*shape size"]) -> Draw:
        """Return draws from standard normal noise, differentiable, and their log density in nats.

        Args:
          noise: `[*samples, *batch, noise_size(latents)]`.
        """
        latents, versine = _draw(self.direction, self.concentration, noise)
        return Draw(latents, self._log_prob(versine))

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch latents"]:
        """Return one draw, differentiable in the parameters."""
        shape = (*self.concentration.shape, noise_size(self._dimension))
        return self.draw(jax.random.normal(key, shape)).latents

    def _log_prob(self, versine: Float[Array, "..."]) -> Float[Array, "..."]:
        gap = bessel_terms(self._dimension, self.concentration)[0]
        return gap - self.concentration * versine - log_sphere_area(self._dimension)

    @property
    def _dimension(self) -> int:
        return self.direction.shape[-1]


@register_pytree
@dataclasses.dataclass(frozen=True)
class UniformSphere:
    """The uniform distribution on the unit sphere.

    Attributes:
      dimension: number of coordinates of a point, m.
    """

    dimension: int = static_field()

    @property
    def mean(self) -> Float[Array, " latents"]:
        """The expected value, which is the centre and not on the sphere."""
        return jnp.zeros(self.dimension)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the log density of points on the sphere, by its area, in nats, `[*batch]`."""
        return jnp.full(value.shape[:-1], -log_sphere_area(self.dimension), value.dtype)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latents"]:
        """Return one draw."""
        return on_sphere(jax.random.normal(key, (self.dimension,)))


def on_sphere(latents: Latents) -> Latents:
    """Return the nearest points on the unit sphere; that of 0 is the first axis."""
    squares = jnp.square(latents).sum(axis=-1, keepdims=True)
    # Where the direction is lost the gradient is 0, and not infinite.
    has_direction = squares > 1e-24
    axis = jnp.zeros_like(latents).at[..., 0].set(1)
    return jnp.where(has_direction, latents, axis) * jax.lax.rsqrt(
        jnp.where(has_direction, squares, 1)
    )


def kl_from_uniform(q: VonMisesFisher) -> Float[Array, "*batch"]:
    """Return KL(q || p) in nats for the uniform p: k A - log E_p[exp(k z_1)]."""
    gap, deficit = bessel_terms(q.direction.shape[-1], q.concentration)
    return gap - deficit
