"""The players of small experiments, with random parameters."""

import jax
import jax.numpy as jnp
from flax import nnx
from small_configs import small_experiment
from small_models import randomized

from vae_jax import config as factory
from vae_jax.config.build import build_networks

KEY = jax.random.key(0)


class Game:
    """The losses of an experiment's players as functions of images alone.

    Attributes:
      config: the experiment; by default its images are not binarised.
      hparams: its traced settings by dotted name.
      model: the model.
      networks: the objective's own networks by name.
      players: the players.
    """

    def __init__(self, changes=None, image_shape=(3, 4, 1), num_examples=100, **options):
        self.config = small_experiment({"data.binarization": "none", **(changes or {})}, **options)
        self.hparams = factory.build_hparams(self.config)
        self.model = randomized(lambda: factory.build_model(self.config, image_shape, KEY))

        def build(name):
            return lambda: build_networks(self.config, image_shape, KEY)[name]

        names = nnx.eval_shape(lambda: build_networks(self.config, image_shape, KEY))
        self.networks = {
            name: randomized(build(name), seed) for seed, name in enumerate(names, start=1)
        }
        self.players = factory.build_players(self.config, image_shape, num_examples)
        self._losses = [jax.jit(player.loss) for player in self.players]

    @property
    def params(self):
        """The parameters of every network, by name."""
        networks = {"model": self.model, **self.networks}
        return {name: factory.split_model(network)[1] for name, network in networks.items()}

    @property
    def extra(self):
        """The state that the model learns without a gradient."""
        return factory.split_model(self.model)[2]

    def with_traced(self, **values):
        """Return the traced settings with some changed, by the last part of their names."""
        changed = dict(self.hparams)
        for name, value in values.items():
            (path,) = (path for path in changed if path.endswith(f".{name}"))
            changed[path] = jnp.float32(value)
        return changed

    def __call__(self, *batches, key=KEY, epoch=jnp.inf, player=0, params=None, **traced):
        """Return the loss and the metrics of a player, with some traced settings changed."""
        params = self.params if params is None else params
        hparams, epoch = self.with_traced(**traced), jnp.float32(epoch)
        loss, (metrics, _) = self._losses[player](params, self.extra, batches, hparams, epoch, key)
        return loss, metrics
