"""Which latent dimensions a model uses."""

import numpy as np
from jaxtyping import Float

# Burda et al. 2015, section 5.
ACTIVITY_THRESHOLD = 0.01


def active_units(posterior_mean: Float[np.ndarray, "examples latents"]) -> int:
    """Latent dimensions whose posterior mean varies over x by more than 0.01 (variance).

    A_u = Cov_x(E_{q(u|x)}[u]) of Burda et al. 2015 (arXiv 1509.00519, section 5).
    """
    return int((posterior_mean.var(axis=0) > ACTIVITY_THRESHOLD).sum())
