"""Loading of trained models: from a run's directory, a file, the hub, or by a bundled name."""

from pathlib import Path
from typing import Any

from flax import nnx

from vae_jax import bundled, hub, workdir
from vae_jax.config import model_file
from vae_jax.config.experiment import AnyExperiment
from vae_jax.config.forms import DataForm
from vae_jax.config.stored import best_model, read_experiment
from vae_jax.errors import UserError
from vae_jax.settings import name_of
from vae_jax.trained.images import TrainedModel
from vae_jax.trained.modalities import TrainedMultimodal


def load(path: str | Path, member: int | None = None) -> Any:
    """Return the best model of a finished or unfinished run, or one that somebody exported.

    Args:
      path: the run's workdir, or that of a sweep, or a file of `experiments.export`; the address
        of a model on the Hugging Face Hub, "hf://USER/NAME"; or the name of a bundled model. A
        folder or a file that exists goes before a bundled model of its name.
      member: index of the sweep's member.

    Returns:
      A `TrainedModel`, or a `TrainedMultimodal` for a run of several modalities.

    Raises:
      UserError: there is no run or no such member, it has no checkpoint yet, a file is damaged, or
        the hub has no such model or is not reached.
    """
    file = _file_of(path)
    if file is not None:
        if member is not None:
            raise UserError(f"{path} holds one model, so it has no member {member}")
        written, *read = model_file.read(file)
        model = from_form(*read)
        model.written_config = written
        return model
    folder = workdir.run_folder(Path(path), member)
    return _of_run(folder, read_experiment(folder))


def _file_of(path: str | Path) -> Path | None:
    """Return the file with the model that `load` is given; None for a folder."""
    if str(path).startswith(hub.PREFIX):
        return hub.download(str(path))
    if Path(path).suffix == model_file.SUFFIX:
        return Path(path)
    is_name = isinstance(path, str) and Path(path).name == path
    return bundled.path_of(str(path)) if is_name and not Path(path).exists() else None


def load_images(path: str | Path, member: int | None = None, *, rows: bool = False) -> TrainedModel:
    """Return the best model of a run of images, as `load` does.

    Args:
      path: the run's workdir, or that of a sweep.
      member: index of the sweep's member.
      rows: whether the rows of a table, and images with missing pixels, will do, too.

    Raises:
      UserError: as `load`, or the run has several modalities, is on a table, or on images of which
        pixels were not seen.
    """
    folder = workdir.run_folder(Path(path), member)
    config = read_experiment(folder)
    if config.model.takes == "modalities":
        raise UserError(
            f"workdir={str(folder)!r} holds a run of model={name_of(config.model)!r}, which has no "
            "images alone; `vae_jax.load` loads it, and experiments.evaluate measures it"
        )
    model: TrainedModel = _of_run(folder, config)
    if model.columns is not None and not rows:
        raise UserError(
            f"workdir={str(folder)!r} holds a run on a table, and this is for images; its rows are "
            "for experiments.impute, sample, detect, map and evaluate"
        )
    if model.may_miss_pixels and not rows:
        raise UserError(
            f"workdir={str(folder)!r} holds a run with model.missing_pixels=True, and this is for "
            "whole images; it is for experiments.impute, sample, detect, map and evaluate"
        )
    return model


def _of_run(folder: Path, config: AnyExperiment) -> Any:
    """Return the best model of the run in a folder."""
    stored = best_model(folder, config)
    model = from_form(config, stored.form, stored.params, stored.extra)
    model.written_config = workdir.read_config(folder)
    model.checkpoint = stored.checkpoint
    return model


def from_form(
    config: AnyExperiment, form: DataForm, params: nnx.State, extra: nnx.State | None = None
) -> Any:
    """Return the model of images, or of several modalities, with these parameters."""
    if isinstance(form, dict):
        return TrainedMultimodal(config, form, params, extra)
    return TrainedModel(config, form, params, extra)
