"""The flag --config, of the commands that train."""

from absl import flags
from ml_collections import ConfigDict, config_flags

from vae_jax import config as factory
from vae_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "file of the experiment's config")


def required_config() -> ConfigDict:
    """The config that --config names, overrides applied, checked.

    Raises:
      UserError: the flag is missing, or the config cannot work.
    """
    if _CONFIG.value is None:
        raise UserError("--config is missing; name a config such as configs/vanilla.py")
    config: ConfigDict = _CONFIG.value
    factory.validate(config)
    return config


def config_path() -> str:
    """What the user gave as --config."""
    return str(config_flags.get_config_filename(flags.FLAGS["config"]))
