"""A gated MLP with a standard and with a VampPrior, on dynamic MNIST.

python -m experiments.reproduce --card=vampprior_mlp_mnist --seeds=3 --budget=full

Tomczak, Welling 2017 (arXiv 1705.07120). A run of the CPU budget takes three minutes on one of two
cores without an accelerator, eight with the VampPrior, and its NLL up to five more. At the full
budget the standard prior took 1.4 hours for 1,073 epochs, and seven minutes for its NLL; the
VampPrior was not measured. Expect an NLL of about 84.4 nats with the standard prior and 82.4 with
the VampPrior at the full budget, and 92 and 88 at the smaller one.
"""

from configs import vanilla
from vae_jax.papers.card import Budget, Card, Check, Expected, Row


def get_card() -> Card:
    """Return two priors on one network."""
    config = vanilla.get_config()
    config.batch_size = 100
    config.patience = 50
    config.data.train_split = "train[:50000]"
    config.data.validation_split = "train[50000:]"
    config.model.latent_size = 40
    config.model.encoder = {"name": "gated_mlp", "widths": (300, 300)}
    config.optimizer = {"name": "adam", "schedule": "constant", "learning_rate": 5e-4}
    return Card(
        title="Gated MLP with a VampPrior on MNIST",
        source="Tomczak, Welling 2017 (arXiv 1705.07120); the values are those in the table of the "
        "Exemplar VAE (Norouzi, Fleet, Norouzi 2020).",
        setup="Two gated layers of 300 units, 40 latents, batch 100, learning rate 0.0005, KL "
        "warm-up over 100 epochs, up to 2,000 epochs, early stopping with a patience of 50. 50,000 "
        "training images, a fresh binarisation per minibatch, 500 pseudo-inputs, NLL by 5,000 "
        "samples. The authors' Adam normalises gradients; ours does not. The CPU budget has 30 "
        "epochs, 10 of them of warm-up, and 1,000 samples.",
        base=config,
        rows=(
            Row("standard", {"model.prior": "standard"}, {"nll": Expected(84.45, 0.5)}),
            Row(
                "vamp",
                {"model.prior": "vamp"},
                {"nll": Expected(82.43, 0.5)},
            ),
        ),
        checks=(Check("nll", ("standard", "vamp"), least=1.0),),
        budgets={
            "full": Budget(
                {"epochs": 2000, "objective.warmup_epochs": 100.0, "evaluation.num_samples": 5000}
            ),
            "cpu": Budget(
                {"epochs": 30, "objective.warmup_epochs": 10.0, "evaluation.num_samples": 1000}
            ),
        },
    )
