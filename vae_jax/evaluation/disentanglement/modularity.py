"""Modularity: is a latent informative about one factor only?"""

import numpy as np
from jaxtyping import Float


def modularity(information: Float[np.ndarray, "latents factors"]) -> float | None:
    """Return the mean over latents i of 1 - sum_{k != j} I(z_i; v_k)^2 / ((F - 1) I(z_i; v_j)^2).

    j is the factor that latent i is most informative about, F the number of factors (Ridgeway &
    Mozer 2018, arXiv 1802.05312). Perfect: 1, also where a factor is coded twice. A latent equally
    informative about all factors: 0. Latents without information, such as constant ones, do not
    count. Noise: near 0 only where factors have similar numbers of values, since the estimated
    information of noise grows with the number of values.

    Args:
      information: in nats, of factors with several values, as `mutual_information_gap` returns it.

    Returns:
      From 0 to 1; 0 if no latent is informative, None where there is one factor only.
    """
    num_factors = information.shape[1]
    if num_factors == 1:
        return None
    squares = np.square(information[(information > 0).any(axis=1)])
    if len(squares) == 0:
        return 0.0
    largest = squares.max(axis=1)
    others = (squares.sum(axis=1) - largest) / (largest * (num_factors - 1))
    return float(1 - others.mean())
