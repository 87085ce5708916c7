"""Auto-Encoding Variational Bayes on MNIST: the lower bound by latent size.

python -m experiments.reproduce --card=aevb_latent_sizes --seeds=3 --budget=full

Kingma, Welling 2013 (arXiv 1312.6114), Figure 2, and the manifold of Figure 4. A run of
the CPU budget takes one and a half minutes on two cores without an accelerator, one of the full
budget a quarter of an hour on one of them. Expect a negative ELBO of 137 to 141 nats with 3 latents
and 100 with 20.
"""

from configs import vanilla
from vae_jax.papers.card import Budget, Card, Check, Expected, Row

# Latents: negative ELBO, rate, distortion, and how far each may be off.
_RERUN = {
    3: (141.30, 7.75, 133.55, 3.0),
    5: (124.41, 11.33, 113.07, 2.0),
    10: (107.57, 18.36, 89.21, 2.0),
    20: (100.61, 26.63, 73.98, 2.0),
    200: (99.23, 28.53, 70.71, 2.0),
}


def get_card() -> Card:
    """Return the latent sizes of Figure 2, and two latents for the manifold."""
    config = vanilla.get_config()
    config.batch_size = 100
    config.data.train_split = "train"
    config.data.validation_split = ""
    config.data.binarization = "static"
    config.model.encoder = {"name": "mlp", "widths": (500,), "activation": "tanh"}
    config.optimizer = {"name": "adagrad", "schedule": "constant", "learning_rate": 1e-2}
    config.evaluation = {"num_samples": 100}
    rows = [
        Row(
            f"size_{size}",
            {"model.latent_size": size},
            {
                "negative_elbo": Expected(negative_elbo, tolerance),
                "rate": Expected(rate, tolerance),
                "distortion": Expected(distortion, tolerance),
            },
        )
        for size, (negative_elbo, rate, distortion, tolerance) in _RERUN.items()
    ]
    unknown = {metric: Expected() for metric in ("negative_elbo", "rate", "distortion")}
    rows.append(Row("size_2", {"model.latent_size": 2}, unknown))
    return Card(
        title="AEVB on MNIST by latent size",
        source="Kingma, Welling 2013 (arXiv 1312.6114), Figure 2 and, for two latents, Figure 4. "
        "The figure has curves only; the paper's column has the means of a public rerun over 3 "
        "seeds.",
        setup="One hidden layer of 500 tanh units, batch 100, one sample, Adagrad at 0.01, 300 "
        "epochs on all 60,000 training images, binarised once by a seeded draw of our own. The "
        "terms of the ELBO are averaged over 100 samples.",
        base=config,
        rows=rows,
        checks=(
            Check("negative_elbo", ("size_3", "size_5", "size_10", "size_20", "size_200")),
            Check("negative_elbo", ("size_20", "size_200"), least=-float("inf"), most=3.0),
        ),
        budgets={"full": Budget({"epochs": 300}), "cpu": Budget({"epochs": 60})},
        manifold="size_2",
        findings="Ours is 3 to 5 nats better than the rerun with 3, 5 and 10 latents, all of it in "
        "the distortion, and within the tolerance with 20. The reason is not known: the rerun "
        "reports neither its initialisation nor the start of Adagrad's sum (0.1 here). After the "
        "60 epochs of the CPU budget, 200 latents are worse than 20 in every seed, by 1.7 nats on "
        "average; the rerun trained for 300 epochs.",
    )
