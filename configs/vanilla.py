"""A vanilla VAE on dynamically binarised MNIST: the default experiment.

python -m experiments.train --config=configs/vanilla.py --workdir=runs/vanilla

On two cores without an accelerator it trains for 70 s and is measured in 35 s. Expect a test ELBO
of -94.9 and an IWAE bound (1,000 samples) of -90.4 nats.

Other settings have their defaults: `python -m experiments.settings` prints every choice and
setting. A section is a choice and its settings; on the command line the choice comes first:
`--config.objective=iwae --config.objective.num_samples=5`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the settings that the other configs start from."""
    config = ConfigDict(type_safe=False)
    config.seed = 0
    config.epochs = 60
    config.batch_size = 128
    config.data = {
        "name": "mnist",
        "train_split": "train[:55000]",
        "validation_split": "train[55000:]",
        "test_split": "test",
        "binarization": {"name": "dynamic"},
    }
    config.model = {
        "name": "vae",
        "latent_size": 32,
        "encoder": {"name": "mlp", "widths": (400,)},
        "likelihood": {"name": "bernoulli"},
    }
    config.optimizer = {"name": "adam", "learning_rate": 3e-3}
    return config
