"""The rate-distortion curve of a VAE (Alemi et al. 2018): 16 weights of the KL, two seeds each.

python -m experiments.sweep --config=configs/beta.py --sweep=configs/sweeps/rate_distortion.py \
    --workdir=runs/rd

The 32 runs train for about half an hour on two cores without an accelerator, evaluation apart.
Expect a curve that is convex and falls in every step, with the best test ELBO, -97.2, near beta 1.
"""

import numpy as np

from vae_jax.sweeps import space


def get_sweep() -> space.Sweep:
    """Return beta from 0.1 to 10, evenly in its logarithm."""
    return space.grid({"objective.beta": np.geomspace(0.1, 10, 16)}, seeds=(0, 1))
