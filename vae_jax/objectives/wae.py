"""WAE-MMD (Tolstikhin et al. 2017, arXiv 1711.01558): the codes matched to the prior."""

import dataclasses
import math
from typing import Any, ClassVar, Literal, get_args

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from vae_jax.objectives.base import OBJECTIVES, Batch, Metrics, Objective, Scalar
from vae_jax.objectives.codes import draw_codes
from vae_jax.objectives.discrepancy import (
    Kernel,
    inverse_multiquadratic_kernel,
    maximum_mean_discrepancy,
    normal_kernel,
    sum_of_kernels,
)
from vae_jax.objectives.reconstruction import untrained_codes
from vae_jax.settings import Traced, numbers, one_of, register, traced

KernelName = Literal["imq", "rbf"]

_KERNELS = {"imq": inverse_multiquadratic_kernel, "rbf": normal_kernel}


@register(OBJECTIVES, "wae")
@dataclasses.dataclass(frozen=True)
class WAE(Objective):
    """Distortion and a distance of the codes from the prior (Tolstikhin et al. 2017, algorithm 2).

    E[-log p(x|z)] + mmd_weight MMD(q(z), p(z)), with draws of q(z|x) and of p(z) as many as images.
    A model without a posterior has one code per image, and N(0, I) for p(z). The likelihood
    `normal` of scale sqrt(1/2) makes the distortion the paper's squared error, up to a constant.
    """

    needs_density: ClassVar[bool] = False
    compares_examples: ClassVar[bool] = True
    least_batch: ClassVar[int] = 2
    matches_codes: ClassVar[bool] = True

    mmd_weight: Traced = traced(10.0, "Weight of the distance of q(z) from p(z).", at_least=0.0)
    kernel: KernelName = one_of(
        "imq", get_args(KernelName), "imq, inverse multiquadratics; rbf, normal densities."
    )
    scales: tuple[float, ...] = numbers(
        (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
        "Squared widths of the kernels that are added; 1 is the variance of a standard normal.",
        each="above 0",
        check_each=lambda value: value > 0,
    )

    def problem(self, model: Any) -> str | None:
        """Return why this objective cannot train a model; None if it can."""
        if not self.scales:
            return "objective.scales=() must have at least one number, such as (1.0,)"
        return untrained_codes(self, model)

    def build_kernel(self) -> Kernel:
        """Return the sum of the kernels of all scales."""
        return sum_of_kernels([_KERNELS[self.kernel](math.sqrt(scale)) for scale in self.scales])

    def loss(
        self,
        model: Any,
        batch: Batch,
        key: Key[Array, ""],
        *,
        epoch: Scalar,
        num_examples: int,
        **networks: nnx.Module,
    ) -> tuple[Scalar, Metrics]:
        """Return the loss; distortion, discrepancy and squared norm of the codes as metrics."""
        del epoch, num_examples, networks
        latents, drawn = draw_codes(model, batch.inputs, key)
        distortion = -model.decode(latents).log_prob(batch.targets).mean()
        distance = maximum_mean_discrepancy(latents, drawn, self.build_kernel())
        metrics = {
            "distortion": distortion,
            "mmd": distance,
            "squared_norm": jnp.square(latents).sum(axis=-1).mean(),
        }
        return distortion + self.mmd_weight * distance, metrics
