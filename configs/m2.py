"""M2: a hundred labels and 55,000 images of MNIST make a classifier, and digits of any class.

python -m experiments.train --config=configs/m2.py --workdir=runs/m2

Its time on two cores and its accuracy are not measured. Every step decodes ten classes of each
image; `--config.objective.most_classes=3` decodes the three likeliest.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return the settings of the card configs/papers/m2_mnist.py, with 100 labels."""
    config = vanilla.get_config()
    config.epochs = 60
    config.batch_size = 200
    config.data["labelled"] = 100
    layers = {"name": "mlp", "widths": (500,), "activation": "softplus"}
    config.model = {
        "name": "m2",
        "latent_size": 50,
        "encoder": layers,
        "classifier": layers,
        "condition": {"name": "label", "classes": 10},
    }
    config.objective = {"name": "m2", "classification_weight": 0.1}
    config.optimizer = {"name": "adam", "learning_rate": 4.2e-4}
    return config
