"""The VAE among Flax's own examples.

python -m experiments.reproduce --card=flax_example --seeds=3

google/flax, examples/vae, "around 104". Three seeds take about a minute on two cores without an
accelerator, most of it training. Expect a negative ELBO of 103 nats; below 95 something is wrong.
"""

from configs import vanilla
from vae_jax.papers.card import Budget, Card, Expected, Row


def get_card() -> Card:
    """Return one row, ten epochs, at both budgets."""
    config = vanilla.get_config()
    config.batch_size = 128
    config.data.train_split = "train[:50000]"
    config.data.validation_split = ""
    config.data.binarization = "static"
    config.model.latent_size = 20
    config.model.encoder = {"name": "mlp", "widths": (500,), "activation": "relu"}
    config.optimizer = {"name": "adam", "schedule": "constant", "learning_rate": 1e-3}
    config.evaluation = {"num_samples": 100}
    return Card(
        title="Flax's example on MNIST",
        source="google/flax, examples/vae: a test loss of around 104.",
        setup="784-500-20, ReLU, Adam at 0.001, batch 128, 10 epochs on 50,000 training images, "
        "binarised once by a seeded draw of our own, since the example's fixed draw is only "
        "available as a download. The ELBO is averaged over 100 samples.",
        base=config,
        rows=(Row("vae", {}, {"negative_elbo": Expected(104.0, 3.0)}),),
        budgets={
            "full": Budget({"epochs": 10}, judged=True),
            "cpu": Budget({"epochs": 10}, judged=True),
        },
    )
