"""The second stage of a VQ-VAE: an autoregressive prior over its codes, and so a density.

van den Oord et al. 2017 (arXiv 1711.00937, section 3.3). The first stage, a trained model with
codes, stays as it is: its encoder c(x) and its decoder p(x|c). The prior factorises over the raster
of the codes,

    p(c) = prod_t p(c_t | c_1, ..., c_{t-1}).

Since c(x) is a function of the image, q(c|x) has probability 1 there, and

    log p(x) = log sum_c p(x|c) p(c) >= log p(x|c(x)) + log p(c(x)),

for a sum of probabilities is at least any one of them. The right side is the evidence lower bound:
its rate is -log p(c(x)), and more samples do not tighten it.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from vae_jax.distributions import Distribution, PointMass
from vae_jax.models.interfaces import (
    FIRST_STAGES,
    MODELS,
    DensityModel,
    DiscreteModel,
    LikelihoodPart,
    ModelPart,
)
from vae_jax.networks.causal_transformer import CausalTransformer, TransformerSettings
from vae_jax.networks.choices import ImageShape
from vae_jax.settings import integer, name_of, part, register, section, sizes, text

Codes = Int[Array, "*batch rows columns"]


class Frozen(nnx.Variable):
    """A parameter that is not trained: part of the model's state, and not of its parameters."""


def freeze(module: nnx.Module) -> None:
    """Turn every parameter of a module into one that is not trained."""
    for _, node in list(nnx.iter_graph(module)):
        if isinstance(node, nnx.Module):
            for name, value in list(vars(node).items()):
                if isinstance(value, nnx.Param):
                    setattr(node, name, Frozen(value[...]))


class CodeDistribution:
    """p(z) over the latents that codes stand for."""

    def __init__(self, first_stage: DiscreteModel, network: CausalTransformer) -> None:
        self._first_stage = first_stage
        self._network = network

    @property
    def mean(self) -> Float[Array, " latents"]:
        """The latents of the likeliest code at each position, given those before it."""
        length = self._network.length
        likeliest = lambda logits, _: logits.argmax(axis=-1).astype(jnp.int32)  # noqa: E731
        return self._first_stage.embed(self._generate(likeliest, jnp.arange(length)))

    def log_prob(self, latents: Float[Array, "*shape latents"]) -> Float[Array, "*shape"]:
        """Return log p(c) in nats of the codes nearest to latents."""
        return self.log_prob_of_codes(self._first_stage.nearest_codes(latents))

    def log_prob_of_codes(self, codes: Codes) -> Float[Array, "*batch"]:
        """Return log p(c) in nats."""
        flat = codes.reshape(*codes.shape[:-2], self._network.length)
        log_probabilities = jax.nn.log_softmax(self._network(flat))
        chosen = jnp.take_along_axis(log_probabilities, flat[..., None], axis=-1)[..., 0]
        return chosen.sum(axis=-1)

    def sample_codes(self, key: Key[Array, ""]) -> Int[Array, "rows columns"]:
        """Return the codes of one image."""

        def draw(logits: Array, key: Array) -> Array:
            return jax.random.categorical(key, logits).astype(jnp.int32)

        return self._generate(draw, jax.random.split(key, self._network.length))

    def sample(self, key: Key[Array, ""]) -> Float[Array, " latents"]:
        """Return the latents of one draw."""
        return self._first_stage.embed(self.sample_codes(key))

    def _generate(self, choose: Callable[[Array, Any], Array], by_position: Any) -> Array:
        """Return codes that are chosen one after the other, from logits and a value of each."""

        def advance(state: Any, inputs: Any) -> tuple[Any, Array]:
            pasts, before = state
            position, value = inputs
            pasts, logits = self._network.next_logits(pasts, before, position)
            code = choose(logits, value)
            return (pasts, code), code

        start = self._network.begin(()), jnp.zeros((), jnp.int32)
        positions = jnp.arange(self._network.length)
        _, codes = jax.lax.scan(advance, start, (positions, by_position))
        return codes.reshape(self._first_stage.code_shape)


class CodePrior(DensityModel, DiscreteModel):
    """A trained model with codes, and a prior over them (see the module)."""

    has_discrete_latents: ClassVar[bool] = True

    def __init__(self, first_stage: DiscreteModel, network: CausalTransformer) -> None:
        freeze(first_stage)
        self.first_stage = first_stage
        self.network = network
        self.likelihood = first_stage.likelihood
        self.latent_size = first_stage.latent_size

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Rows and columns of an image's codes."""
        return self.first_stage.code_shape

    @property
    def num_codes(self) -> int:
        """The number of codes."""
        return self.first_stage.num_codes

    @property
    def prior(self) -> CodeDistribution:
        """p(z), which is 0 except at the latents of codes."""
        return CodeDistribution(self.first_stage, self.network)

    def encode(self, images: Float[Array, "*batch height width channels"]) -> PointMass:
        """Return q(z|x), a point mass at the latents of the image's codes."""
        return PointMass(self.first_stage.latents(images))

    def codes(self, images: Float[Array, "*batch height width channels"]) -> Codes:
        """Return the codes of each image."""
        return self.first_stage.codes(images)

    def embed(self, codes: Codes) -> Float[Array, "*batch latents"]:
        """Return the latents that codes stand for."""
        return self.first_stage.embed(codes)

    def nearest_codes(self, latents: Float[Array, "*batch latents"]) -> Codes:
        """Return the codes nearest to latents."""
        return self.first_stage.nearest_codes(latents)

    def decode(self, latents: Float[Array, "*batch latents"]) -> Distribution:
        """Return p(x|z) over `[*batch, height, width, channels]`."""
        return self.first_stage.decode(latents)


@dataclasses.dataclass(frozen=True)
class FirstStage:
    """A finished run of a model with codes. A config names its workdir; the rest is read there.

    Attributes:
      is_read: True, since a user does not give these settings one by one.
    """

    is_read: ClassVar[bool] = True

    workdir: str = text("", "Workdir of the run; read once, when the second stage begins.")
    step: int = integer(0, "Step of its checkpoint.", at_least=0)
    digest: str = text("", "Digest of the run's experiment.")
    data_name: str = text("", "Data of the run.")
    binarization: str = text("", "Binarisation of the run.")
    image_shape: tuple[int, ...] = sizes((28, 28, 1), "Height, width and channels of its images.")
    model: ModelPart = part("vq_vae", FIRST_STAGES, ModelPart, "The run's model.")

    def problem(self) -> str | None:
        """Return why this run cannot be a first stage; None if it can."""
        if not self.workdir:
            return (
                "workdir is missing; name a finished run of a model with codes, such as "
                "model.first_stage='runs/vq_vae'"
            )
        if getattr(self.model, "has_codes", False) and not self.model.has_density:
            return None
        return (
            f"model={name_of(self.model)!r} must be a model with codes and no prior over them; "
            "name a run of model='vq_vae'"
        )


@register(MODELS, "code_prior")
@dataclasses.dataclass(frozen=True)
class CodePriorSettings:
    """A prior over the codes of a trained model (van den Oord et al. 2017, section 3.3)."""

    takes: ClassVar[Literal["images", "modalities"]] = "images"
    has_density: ClassVar[bool] = True
    has_codes: ClassVar[bool] = True
    has_discrete_latents: ClassVar[bool] = True
    has_exact_posterior: ClassVar[bool] = True
    default_objective: ClassVar[str] = "code_likelihood"

    first_stage: FirstStage = section(
        FirstStage, "The trained model with codes, named by the workdir of its run."
    )
    network: TransformerSettings = section(TransformerSettings, "p(c), one code after the other.")

    @property
    def likelihood(self) -> LikelihoodPart:
        """p(x|z), that of the first stage."""
        return self.first_stage.model.likelihood

    def smallest_side(self) -> int:
        """Return the smallest side of an image, in pixels."""
        return int(getattr(self.first_stage.model, "smallest_side", lambda: 1)())

    def unfit(self, image_shape: ImageShape) -> str | None:
        """Return why images of this shape cannot be encoded; None if they can."""
        if tuple(image_shape) == self.first_stage.image_shape:
            return None
        return (
            f"first_stage={self.first_stage.workdir!r} was trained on images of shape "
            f"{self.first_stage.image_shape}, and these have {tuple(image_shape)}; use the same "
            "data"
        )

    def unfit_data(self, data: Any) -> str | None:
        """Return why data with these settings cannot be encoded; None if they can."""
        first = self.first_stage
        pairs = {
            "data.name": (data.name, first.data_name),
            "data.binarization": (name_of(data.binarization), first.binarization),
        }
        for name, (ours, theirs) in pairs.items():
            if ours != theirs:
                return (
                    f"{name}={ours!r} is not that of model.first_stage={first.workdir!r}; use "
                    f"{theirs!r}"
                )
        return None

    def build(
        self,
        spec: ImageShape,
        mean_image: Float[Array, "height width channels"] | None,
        *,
        rngs: nnx.Rngs,
    ) -> CodePrior:
        """Return the model with fresh parameters, also of its first stage."""
        first_stage: Any = self.first_stage.model.build(spec, mean_image, rngs=rngs)
        length = math.prod(first_stage.code_shape)
        network = self.network.build(first_stage.num_codes, length, rngs=rngs)
        return CodePrior(first_stage, network)
