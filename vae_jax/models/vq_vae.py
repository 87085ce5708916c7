"""The VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937): images as grids of codes.

The encoder gives a vector per position of a grid, and a quantizer replaces it by one of finitely
many vectors, whose index is the code. There is no prior over the codes, and so no density;
`code_prior` learns one.
"""

import dataclasses
import math
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from vae_jax.distributions import Distribution
from vae_jax.models.interfaces import (
    FIRST_STAGES,
    LIKELIHOODS,
    MODELS,
    DiscreteModel,
    Likelihood,
    LikelihoodPart,
)
from vae_jax.networks.activations import ACTIVATIONS
from vae_jax.networks.choices import ImageShape
from vae_jax.networks.precision import COMPUTE_DTYPES
from vae_jax.networks.spatial import SpatialDecoder, SpatialEncoder
from vae_jax.settings import bounded, integer, one_of, part, register, sizes

Vectors = Float[Array, "*batch size"]
Codes = Int[Array, "*batch"]

QUANTIZERS: dict[str, type] = {}

# The least average use of a code, as a share of even use. The quotient of two averages that both
# decay stays what it is, until they underflow.
_LEAST_USE = 1e-6
# How far a split moves the second of two codes, relative to each coordinate.
_SPLIT = 0.01


class Quantized(NamedTuple):
    """Vectors and the codes that replace them.

    Attributes:
      codes: indices of the nearest vectors of the codebook.
      vectors: these vectors, whose gradient goes straight through to the quantizer's input.
      commitment: squared distance of each input from its vector, which is constant here.
      codebook_error: the same, of each vector from its input, which is constant here; 0 for a
        codebook that no gradient moves.
    """

    codes: Codes
    vectors: Vectors
    commitment: Float[Array, "*batch"]
    codebook_error: Float[Array, "*batch"]


class Quantizer(Protocol):
    """Replaces vectors by codes.

    Attributes:
      num_codes: number of codes.
      size: number of dimensions of a vector.
    """

    num_codes: int
    size: int

    def __call__(self, inputs: Vectors, /) -> Quantized:
        """Return the codes of vectors, and what replaces them."""

    def vectors(self, codes: Codes, /) -> Vectors:
        """Return the vectors of codes."""

    def nearest(self, vectors: Vectors, /) -> Codes:
        """Return the codes of the nearest vectors."""

    def follow(self, inputs: Vectors, codes: Codes, /) -> None:
        """Move what is learned without a gradient towards the vectors of a batch."""


@runtime_checkable
class QuantizerPart(Protocol):
    """Settings of a quantizer.

    Attributes:
      has_commitment: whether vectors are pulled to their codes.
    """

    has_commitment: ClassVar[bool]

    def build(self, *, rngs: nnx.Rngs) -> Any:
        """Return the quantizer (`Quantizer`) with fresh parameters."""


def straight_through(inputs: Vectors, outputs: Vectors) -> Vectors:
    """Return the outputs, with the gradient of the inputs (Bengio et al. 2013, arXiv 1308.3432)."""
    return inputs + jax.lax.stop_gradient(outputs - inputs)


def nearest_codes(inputs: Vectors, codebook: Float[Array, "codes size"]) -> Codes:
    """Return the index of the nearest vector of the codebook, by Euclidean distance."""
    # Without |input|^2, which is the same for all codes.
    products = jnp.matmul(inputs, codebook.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmin(jnp.square(codebook).sum(axis=-1) - 2 * products, axis=-1)


def code_use(codes: Codes, num_codes: int) -> Float[Array, " codes"]:
    """Return the share of each code among codes of any shape."""
    flat = codes.reshape(-1)
    return jnp.zeros(num_codes, jnp.int32).at[flat].add(1) / flat.size


def split_unused(
    uses: Float[Array, " codes"], sums: Float[Array, "codes size"], least_use: float
) -> tuple[Float[Array, " codes"], Float[Array, "codes size"]]:
    """Return averages in which every code below `least_use` restarts beside a code in use.

    The most used codes are split, the unused ones equally among them (Linde, Buzo & Gray 1980).
    The codes that come from one share its use, and differ in a hundredth of each coordinate.

    Args:
      uses: average share of each code.
      sums: average sum of the vectors of each code; a code is at `sums / uses`.
      least_use: a share.
    """
    num_codes, size = sums.shape
    unused = uses < least_use
    num_used = jnp.maximum((~unused).sum(), 1)
    by_use = jnp.argsort(-uses)
    rank = jnp.where(unused, jnp.cumsum(unused) - 1, 0)
    source = jnp.where(unused, by_use[rank % num_used], jnp.arange(num_codes))
    # The same directions in every call: all devices make the same codebook.
    directions = np.random.default_rng(0).normal(size=(num_codes, size)).astype(np.float32)
    codebook = (sums / uses[:, None])[source]
    codebook *= 1 + _SPLIT * jnp.where(unused[:, None], directions, 0)
    parts = jnp.zeros(num_codes, jnp.int32).at[source].add(1)
    shared = (uses / jnp.maximum(parts, 1))[source]
    return shared, codebook * shared[:, None]


class AveragedState(nnx.Variable):
    """State that is learned without a gradient."""


class AveragedCodebook(nnx.Module):
    """A codebook of moving averages (van den Oord et al. 2017, appendix A.1).

    A code is at the average sum of the vectors nearest to it, divided by its average use. Both
    averages are linear in a batch: means over devices are those over the whole batch.
    """

    def __init__(
        self, num_codes: int, size: int, *, decay: float, restart_below: float, rngs: nnx.Rngs
    ) -> None:
        self.num_codes, self.size = num_codes, size
        self.decay, self.restart_below = decay, restart_below
        start = jax.random.normal(rngs.params(), (num_codes, size)) / math.sqrt(size)
        self.uses = AveragedState(jnp.full(num_codes, 1 / num_codes))
        self.sums = AveragedState(start / num_codes)

    @property
    def codebook(self) -> Float[Array, "codes size"]:
        """The vectors of all codes."""
        return self.sums[...] / self.uses[...][:, None]

    def __call__(self, inputs: Vectors) -> Quantized:
        """Return the nearest codes, and their vectors."""
        codebook = self.codebook
        codes = nearest_codes(inputs, codebook)
        vectors = codebook[codes]
        commitment = jnp.square(inputs - vectors).sum(axis=-1)
        none = jnp.zeros_like(commitment)
        return Quantized(codes, straight_through(inputs, vectors), commitment, none)

    def vectors(self, codes: Codes) -> Vectors:
        """Return the vectors of codes."""
        return self.codebook[codes]

    def nearest(self, vectors: Vectors) -> Codes:
        """Return the codes of the nearest vectors."""
        return nearest_codes(vectors, self.codebook)

    def follow(self, inputs: Vectors, codes: Codes) -> None:
        """Move the averages, and restart codes by `split_unused` of the averages before."""
        uses, sums = self.uses[...], self.sums[...]
        if self.restart_below > 0:
            uses, sums = split_unused(uses, sums, self.restart_below / self.num_codes)
        scale = jnp.maximum(1, _LEAST_USE / self.num_codes / uses)
        uses, sums = uses * scale, sums * scale[:, None]
        flat = jax.lax.stop_gradient(inputs.reshape(-1, self.size))
        chosen = jax.nn.one_hot(codes.reshape(-1), self.num_codes)
        new_sums = jnp.matmul(chosen.T, flat, precision=jax.lax.Precision.HIGHEST) / len(flat)
        self.uses[...] = self.decay * uses + (1 - self.decay) * chosen.mean(axis=0)
        self.sums[...] = self.decay * sums + (1 - self.decay) * new_sums


class LearnedCodebook(nnx.Module):
    """A codebook of parameters, moved by the gradient of the squared distance from its vectors.

    An unused code has no gradient and stays where it is.
    """

    def __init__(self, num_codes: int, size: int, *, rngs: nnx.Rngs) -> None:
        self.num_codes, self.size = num_codes, size
        start = jax.random.normal(rngs.params(), (num_codes, size)) / math.sqrt(size)
        self.codebook = nnx.Param(start)

    def __call__(self, inputs: Vectors) -> Quantized:
        """Return the nearest codes, and their vectors."""
        codes = nearest_codes(jax.lax.stop_gradient(inputs), self.codebook[...])
        vectors = self.codebook[...][codes]
        constant = jax.lax.stop_gradient
        commitment = jnp.square(inputs - constant(vectors)).sum(axis=-1)
        codebook_error = jnp.square(constant(inputs) - vectors).sum(axis=-1)
        return Quantized(codes, straight_through(inputs, vectors), commitment, codebook_error)

    def vectors(self, codes: Codes) -> Vectors:
        """Return the vectors of codes."""
        return self.codebook[...][codes]

    def nearest(self, vectors: Vectors) -> Codes:
        """Return the codes of the nearest vectors."""
        return nearest_codes(vectors, self.codebook[...])

    def follow(self, inputs: Vectors, codes: Codes) -> None:
        """Move nothing."""


class FiniteScalarQuantizer(nnx.Module):
    """Each dimension rounded to one of a few levels (Mentzer et al. 2023, arXiv 2309.15505).

    The codebook is all combinations of levels, and nothing of it is learned.
    """

    def __init__(self, levels: tuple[int, ...]) -> None:
        self.levels = tuple(levels)
        self.num_codes, self.size = math.prod(levels), len(levels)

    def __call__(self, inputs: Vectors) -> Quantized:
        """Return the codes of the rounded vectors, and these."""
        levels = np.array(self.levels)
        # Slightly wider than the levels, so that the outermost can be reached.
        half = (levels - 1) * 1.001 / 2
        # An even number of levels has one more below 0 than above.
        offset = np.where(levels % 2 == 0, 0.5, 0.0)
        bounded_inputs = jnp.tanh(inputs + np.arctanh(offset / half)) * half - offset
        rounded = straight_through(bounded_inputs, jnp.round(bounded_inputs))
        digits = jnp.round(jax.lax.stop_gradient(rounded)).astype(jnp.int32) + levels // 2
        codes = (digits * self._factors()).sum(axis=-1)
        none = jnp.zeros(inputs.shape[:-1])
        return Quantized(codes, rounded / (levels // 2), none, none)

    def vectors(self, codes: Codes) -> Vectors:
        """Return the vectors of codes: levels over [-1, 1]."""
        levels = np.array(self.levels)
        digits = codes[..., None] // self._factors() % levels
        return (digits - levels // 2) / jnp.float32(levels // 2)

    def nearest(self, vectors: Vectors) -> Codes:
        """Return the codes of the nearest levels."""
        levels = np.array(self.levels)
        digits = jnp.round(vectors * (levels // 2)).astype(jnp.int32) + levels // 2
        return (jnp.clip(digits, 0, levels - 1) * self._factors()).sum(axis=-1)

    def follow(self, inputs: Vectors, codes: Codes) -> None:
        """Move nothing."""

    def _factors(self) -> Int[np.ndarray, " size"]:
        """Return the factor of each dimension's level in a code."""
        return np.cumprod([1, *self.levels[:-1]])


@dataclasses.dataclass(frozen=True)
class _Codebook:
    """The settings that codebooks share."""

    has_commitment: ClassVar[bool] = True

    codebook_size: int = integer(512, "Number of codes.", at_least=2)
    vector_size: int = integer(64, "Dimensions of the vector of a code.", at_least=1)


@register(QUANTIZERS, "vq")
@dataclasses.dataclass(frozen=True)
class AveragedCodebookSettings(_Codebook):
    """The nearest vector of a codebook of moving averages (van den Oord et al. 2017)."""

    decay: float = bounded(0.99, "Decay of the averages per step.", at_least=0.0, below=1.0)
    restart_below: float = bounded(
        0.05,
        "A code whose average use falls below this share of even use restarts beside a code in "
        "use; 0 is never.",
        at_least=0.0,
        below=1.0,
    )

    def build(self, *, rngs: nnx.Rngs) -> AveragedCodebook:
        """Return the codebook with fresh averages."""
        return AveragedCodebook(
            self.codebook_size,
            self.vector_size,
            decay=self.decay,
            restart_below=self.restart_below,
            rngs=rngs,
        )


@register(QUANTIZERS, "vq_gradient")
@dataclasses.dataclass(frozen=True)
class LearnedCodebookSettings(_Codebook):
    """The nearest vector of a codebook that is learned by its gradient."""

    def build(self, *, rngs: nnx.Rngs) -> LearnedCodebook:
        """Return the codebook with fresh parameters."""
        return LearnedCodebook(self.codebook_size, self.vector_size, rngs=rngs)


@register(QUANTIZERS, "fsq")
@dataclasses.dataclass(frozen=True)
class FiniteScalarSettings:
    """Dimensions rounded to a few levels each, all combinations of which are the codes."""

    has_commitment: ClassVar[bool] = False

    levels: tuple[int, ...] = sizes((8, 6, 5), "Number of levels of each dimension.")

    def problem(self) -> str | None:
        """Return why these levels cannot work; None if they can."""
        if min(self.levels) < 2:
            return f"levels={self.levels!r} must be at least 2 each"
        if math.prod(self.levels) > 2**24:
            return f"levels={self.levels!r} have more than 2**24 combinations; name fewer"
        return None

    def build(self, *, rngs: nnx.Rngs) -> FiniteScalarQuantizer:
        """Return the quantizer, which has no parameters."""
        del rngs
        return FiniteScalarQuantizer(self.levels)


class VQVAE(DiscreteModel):
    """Images to a grid of codes and back; no prior, and no bound on log p(x)."""

    has_density: ClassVar[bool] = False

    def __init__(
        self,
        encoder: SpatialEncoder,
        decoder: SpatialDecoder,
        quantizer: Any,
        likelihood: Likelihood,
        grid: tuple[int, int],
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.quantizer = quantizer
        self.likelihood = likelihood
        self.grid = grid
        self.latent_size = math.prod(grid) * quantizer.size

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Rows and columns of an image's codes."""
        return self.grid

    @property
    def num_codes(self) -> int:
        """The number of codes."""
        return int(self.quantizer.num_codes)

    def outputs(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch rows columns size"]:
        """Return the encoder's vectors, which the quantizer replaces."""
        return self.encoder(images).astype(jnp.float32)

    def codes(
        self, images: Float[Array, "*batch height width channels"]
    ) -> Int[Array, "*batch rows columns"]:
        """Return the codes of images."""
        return self.quantizer(self.outputs(images)).codes

    def embed(self, codes: Int[Array, "*batch rows columns"]) -> Float[Array, "*batch latents"]:
        """Return the vectors of codes, one after the other."""
        return self.flatten(self.quantizer.vectors(codes))

    def nearest_codes(
        self, latents: Float[Array, "*batch latents"]
    ) -> Int[Array, "*batch rows columns"]:
        """Return the codes of the nearest vectors."""
        vectors = latents.reshape(*latents.shape[:-1], *self.grid, self.quantizer.size)
        return self.quantizer.nearest(vectors)

    def flatten(
        self, vectors: Float[Array, "*batch rows columns size"]
    ) -> Float[Array, "*batch latents"]:
        """Return the vectors of an image one after the other."""
        return vectors.reshape(*vectors.shape[:-3], self.latent_size)

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Return p(x|z) over `[*batch, height, width, channels]`."""
        return self.likelihood(self.decoder(latents))


@register(MODELS, "vq_vae")
@register(FIRST_STAGES, "vq_vae")
@dataclasses.dataclass(frozen=True)
class VQVAESettings:
    """Images as grids of codes (van den Oord et al. 2017, arXiv 1711.00937)."""

    takes: ClassVar[Literal["images", "modalities"]] = "images"
    has_density: ClassVar[bool] = False
    has_codes: ClassVar[bool] = True
    takes_rows: ClassVar[bool] = False
    default_objective: ClassVar[str] = "quantized"

    quantizer: QuantizerPart = part("vq", QUANTIZERS, QuantizerPart, "Vectors to codes.")
    codes: tuple[int, ...] = sizes(
        (7, 7), "Rows and columns of codes: the sides of the image over a power of two."
    )
    channels: int = integer(64, "Channels of the convolutions.", at_least=1)
    blocks: int = integer(
        2, "Residual blocks of the encoder, and of the decoder.", at_least=1, at_most=1000
    )
    kernel_size: int = integer(4, "Side of the kernels that halve or double the image.", at_least=2)
    activation: str = one_of("relu", list(ACTIVATIONS), "Activation between the layers.")
    compute_dtype: str = one_of(
        "float32", list(COMPUTE_DTYPES), "Type of the products; parameters and sums stay float32."
    )
    likelihood: LikelihoodPart = part("bernoulli", LIKELIHOODS, LikelihoodPart, "p(x|z).")

    def problem(self) -> str | None:
        """Return why these settings cannot work; None if they can."""
        if len(self.codes) != 2:
            return f"codes={self.codes!r} must be rows and columns, such as (7, 7)"
        return None

    def unfit(self, image_shape: ImageShape) -> str | None:
        """Return why images of this shape cannot be encoded; None if they can."""
        height, width, _ = image_shape
        rows, columns = self.codes
        factor = height // rows
        even = (rows * factor, columns * factor) == (height, width)
        if even and factor > 1 and factor.bit_count() == 1:
            return None
        return (
            f"codes={self.codes!r} must be the sides of the image, {height} and {width}, divided "
            "by 2, 4 or another power of two"
        )

    def smallest_side(self) -> int:
        """Return the smallest side of an image, in pixels."""
        return 2 * min(self.codes)

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> VQVAE:
        """Return the model with fresh parameters; the decoder starts at the mean pixel."""
        likelihood: Any = self.likelihood.build()
        quantizer = self.quantizer.build(rngs=rngs)
        rows, columns = self.codes
        options: dict[str, Any] = {
            "num_levels": (spec[0] // rows).bit_length() - 1,
            "num_blocks": self.blocks,
            "kernel_size": self.kernel_size,
            "activation": ACTIVATIONS[self.activation],
            "dtype": COMPUTE_DTYPES[self.compute_dtype],
            "rngs": rngs,
        }
        encoder = SpatialEncoder(spec[2], self.channels, quantizer.size, **options)
        num_outputs = spec[2] * likelihood.outputs_per_channel
        grid = (rows, columns)
        decoder = SpatialDecoder(grid, quantizer.size, self.channels, num_outputs, **options)
        if mean_image is not None:
            decoder.set_output_bias(mean_image, likelihood.output_for_mean)
        return VQVAE(encoder, decoder, quantizer, likelihood, grid)
