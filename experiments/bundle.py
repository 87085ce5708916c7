"""Train the small models that come with the package, write them, and measure what was written.

    python -m experiments.bundle --workdir=runs/bundled --output=vae_jax/bundled

configs/bundled/models.py has the models. The workdir gets a run per model; the same command
continues after it was stopped, and a finished run is not trained again. Then
`python -m experiments.report` writes the table of docs/guide/export.md.
"""

from absl import flags

from experiments import command_line, train
from experiments import flags as shared
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.config import python_file
from vae_jax.errors import UserError
from vae_jax.settings import nearest
from vae_jax.sharing import bundling

shared.define(
    "format",
    "workdir",
    config="file of the models, by default configs/bundled/models.py; --config.NAME=VALUE changes "
    "a setting of all",
    output="required; folder to write",
)

_MODELS = flags.DEFINE_list("models", [], "models to train and write; by default all")

_FILE = "configs/bundled/models.py"


@shared.in_formats
def main() -> None:
    """Write the models that the flags name into --output."""
    folder, out = shared.required_workdir(), shared.required_output()
    if out.exists() and not out.is_dir():
        raise UserError(f"--output={out} must be a folder")
    path = flags.FLAGS.config or _FILE
    models = python_file.call(path, "get_models", "file of models", dict, "a dict")
    for name in _MODELS.value:
        if name not in models:
            raise UserError(f"--models={name} is not in {path}{nearest(name, list(models))}")
    experiments = {
        name: _experiment(*model)
        for name, model in models.items()
        if name in _MODELS.value or not _MODELS.value
    }
    workdir.make_folder(out)
    for name, (config, text) in experiments.items():
        with workdir.left_as_it_was(folder / name):
            train.train(config, folder / name)
        print(bundling.describe(name, bundling.bundle(folder / name, name, text, out)))


def _experiment(file: str, changes: dict[str, object]) -> tuple[factory.AnyExperiment, str]:
    """Return a model's experiment, and the config and its changes as text."""
    content = factory.plain(python_file.call(file, "get_config", "config file", object, "a config"))
    content = factory.with_values(content, changes)
    content = factory.with_texts(content, command_line.config_overrides())
    changed = ", ".join(f"`{name}={value}`" for name, value in changes.items())
    return factory.resolve(content), f"`{file}`" + (f" with {changed}" if changed else "")


if __name__ == "__main__":
    command_line.run(main)
