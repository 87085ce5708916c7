"""An adversarial autoencoder on dynamically binarised MNIST (Makhzani et al. 2015).

python -m experiments.train --config=configs/aae.py --workdir=runs/aae

Deterministic codes, which a discriminator matches to N(0, I) (docs/two_player_game.md). On two
cores without an accelerator, shared with other work, it trains for three minutes. Expect a test
distortion of 158.2 nats and a discriminator that is right in 50.1% of cases. More latents are
harder to match: with eight, at weight 20, it is right in 63%, and the distortion is 98 nats.
`--config.model=vae` gives the codes a posterior, which no KL widens: its ELBO is a bound that the
objective does not maximise.
"""

from ml_collections import ConfigDict

from configs import vanilla


def get_config() -> ConfigDict:
    """Return an autoencoder of two latents, which a discriminator matches to N(0, I)."""
    config = vanilla.get_config()
    config.epochs = 12
    config.model = {"name": "autoencoder", "latent_size": 2}
    config.objective = {
        "name": "adversarial",
        "weight": 100.0,
        "discriminator": {"learning_rate": 1e-4},
    }
    config.optimizer = {"name": "adam", "schedule": "constant", "learning_rate": 1e-3}
    return config
