"""The flag --config, of the commands that train."""

from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments import command_line
from vae_jax.config.experiment import AnyExperiment, plain, resolve
from vae_jax.config.overrides import parse, with_values
from vae_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "file of the experiment's config")


def given_config() -> dict[str, Any]:
    """Return what --config says, overridden on the command line, before defaults.

    Raises:
      UserError: the flag is missing, or a setting that the command line names is not there.
    """
    if _CONFIG.value is None:
        raise UserError("--config is missing; name a config such as configs/vanilla.py")
    config: ConfigDict = _CONFIG.value
    content = plain(config)
    for path, text in command_line.config_overrides():
        content = with_values(content, {path: parse(content, path, text)})
    return content


def required_config() -> AnyExperiment:
    """Return the experiment that --config names, overridden on the command line, checked.

    Raises:
      UserError: the flag is missing, or the config cannot work.
    """
    return resolve(given_config())


def config_path() -> str:
    """Return what the user gave as --config."""
    return str(config_flags.get_config_filename(flags.FLAGS["config"]))
