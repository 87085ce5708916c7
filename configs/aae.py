"""An adversarial autoencoder on dynamically binarised MNIST (Makhzani et al. 2015).

python -m experiments.train --config=configs/aae.py --workdir=runs/aae

A discriminator matches the codes to the prior in place of the KL (docs/two_player_game.md). On two
busy cores without an accelerator it trains for seven minutes. Expect a test distortion of 95.7 nats
and a discriminator that is right in 66% of cases. `--config.objective.weight=100` makes it 61%, and
the distortion 116 nats. The posteriors are narrow, since no KL widens them: the rate is 51 nats and
the ELBO of -146.8 nats is a bound that the objective does not maximise.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return `vanilla` with eight latents, whose prior a discriminator matches in place of a KL."""
    config = vanilla.get_config()
    config.epochs = 20
    config.model.latent_size = 8
    config.objective = {
        "name": "adversarial",
        "weight": 20.0,
        "discriminator": {"learning_rate": 1e-4},
    }
    config.optimizer = {"name": "adam", "learning_rate": 1e-3}
    return config
