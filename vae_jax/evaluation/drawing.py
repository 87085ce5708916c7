"""The plots of a run, and images of it for TensorBoard during training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import plots
from vae_jax.data.corruptions import at_any_level
from vae_jax.data.pixels import with_grey_holes
from vae_jax.evaluation import conditional_drawing, denoising, joint_drawing, plane_maps
from vae_jax.models import latent_paths
from vae_jax.models.interfaces import LayeredPrior
from vae_jax.settings import name_of
from vae_jax.trained import TrainedModel, TrainedMultimodal
from vae_jax.training.loop import RunState
from vae_jax.training.records import TensorBoardWriter, read_records

DEGREES = np.linspace(0, 1, 9, dtype=np.float32)
NUM_MAPPED = 5000
_NUM_IMAGES = 20
_NUM_SHOWN = 12
_TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.15)
_MANIFOLD_SIZE = 20
_TRAVERSED = 10
_LEAST_ROWS = 1000


def draw_run(
    folder: Path,
    model: TrainedModel,
    targets: np.ndarray,
    labels: np.ndarray | None,
    measured: dict[str, Any],
    degrees: np.ndarray = DEGREES,
    condition: np.ndarray | None = None,
    out: Path | None = None,
) -> None:
    """Draw every plot of a run.

    Args:
      folder: the workdir.
      model: its model.
      targets: the test images as the model sees them.
      labels: their classes, if they have any.
      measured: the "test" part of the summary.
      degrees: of the interpolations, from 0 to 1.
      out: folder of the plots; by default `plots/` of the workdir.
      condition: of each image, for a model of p(x|c).
    """
    keys, out = model.keys, out or folder / "plots"
    if model.columns is not None:
        _draw_table_run(folder, model, targets, labels, measured, out)
        return
    first = targets[:_NUM_IMAGES]
    of_first = None if condition is None else condition[:_NUM_IMAGES]
    shown = with_grey_holes(first)
    reconstructed = plots.reconstructions(shown, model.reconstruct(first, of_first))
    plots.save(reconstructed, out / "reconstructions.png")
    draw_training_curves(folder, out)
    mapped = slice(NUM_MAPPED)
    latents = model.latents(targets[mapped], None if condition is None else condition[mapped])
    _draw_latents(out, latents, None if labels is None else labels[mapped])
    if measured.get("kl_by_dimension") is not None:
        _draw_kl(out, measured)
    if condition is not None:
        conditional_drawing.draw_conditional_run(out, model, targets, condition)
        return
    _draw_interpolations(out, model, targets, degrees)
    if model.has_samples:
        plots.save(plots.image_grid(model.sample(keys.prior, 100)), out / "samples.png")
    draw_samples_by_layer(out, model)
    if measured.get("kl_by_dimension") is not None:
        kl = np.asarray(measured["kl_by_dimension"])
        draw_traversals(out / "traversals.png", model, targets[0], kl)
    in_plane = not (model.has_discrete_latents or model.has_spherical_latents)
    if model.latent_size == 2 and in_plane:
        draw_manifold(out / "manifold.png", model)
    if "denoising" in measured:
        _draw_recovery(out, model, first, measured["denoising"], keys.corruption)


def _draw_table_run(
    folder: Path,
    model: TrainedModel,
    targets: np.ndarray,
    labels: np.ndarray | None,
    measured: dict[str, Any],
    out: Path,
) -> None:
    """Draw the plots of a run on a table: those that need no image, and the columns."""
    draw_training_curves(folder, out)
    latents = model.latents(targets[:NUM_MAPPED])
    _draw_latents(out, latents, None if labels is None else labels[:NUM_MAPPED])
    if measured.get("kl_by_dimension") is not None:
        _draw_kl(out, measured)
    if model.has_samples:
        num = max(len(targets), _LEAST_ROWS)
        condition = np.resize(targets, (num, *targets.shape[1:])) if model.given_columns else None
        drawn = model.draw_rows(model.keys.prior, num, condition)
        draw_columns(out / "columns.png", model, targets, drawn)


def draw_columns(
    path: Path, model: TrainedModel, rows: np.ndarray, drawn: np.ndarray
) -> list[Path]:
    """Draw the distribution of each column of a table in given rows and in drawn ones.

    Returns:
      The files.
    """
    assert model.columns is not None, "a run on a table has columns"
    columns = [
        plots.Marginal(c.name, rows[:, 0, i, 0], drawn[:, 0, i, 0], c.values)
        for i, c in enumerate(model.columns.plain_columns)
        if c.kind != "exposure"
    ]
    return plots.save(plots.marginals(columns), path)


def draw_joint_run(
    folder: Path,
    model: TrainedMultimodal,
    seen: dict[str, np.ndarray | list[str]],
    labels: np.ndarray | None,
    out: Path | None = None,
) -> None:
    """Draw what the model of a run generates.

    Args:
      folder: the workdir.
      model: its model.
      seen: its test examples by the name of the modality; see `joint_drawing.draw_modalities`.
      labels: their classes, if they have any.
      out: folder of the plots; by default `plots/` of the workdir.
    """
    joint_drawing.draw_modalities(model, seen, labels, out or folder / "plots")


def draw_training_curves(folder: Path, out: Path | None = None) -> None:
    """Draw the training curves of a run that has records, by default into its `plots/`.

    The rates of layers have a plot of their own.
    """
    records = read_records(folder / "metrics.jsonl")
    out = out or folder / "plots"
    if records:
        plots.save(plots.training_curves(records), out / "training_curves.png")
    if plots.layer_metrics(records):
        plots.save(plots.rates_by_layer(records), out / "rates_by_layer.png")


def draw_samples_by_layer(out: Path, model: TrainedModel) -> None:
    """Draw samples of a prior of several layers by temperature, and by the layers drawn anew.

    Nothing is drawn of other priors. In each column of the first plot the noise is the same; in the
    second the layers above those drawn anew are those of a single sample.
    """
    if not (model.has_density and len(model.layer_sizes) > 1):
        return
    prior = model.prior
    if not isinstance(prior, LayeredPrior):
        return
    split = jax.random.split(jax.random.fold_in(model.keys.prior, 1), 1 + _NUM_SHOWN)
    first_key, keys = split[0], split[1:]

    def shown(rows: list[jax.Array]) -> np.ndarray:
        latents = np.asarray(jnp.concatenate(rows))
        return model.decode(latents).reshape(len(rows), _NUM_SHOWN, *model.image_shape)

    draw = jax.jit(lambda temperature: jax.vmap(prior.tempered(temperature).sample)(keys))
    by_temperature = shown([draw(jnp.float32(temperature)) for temperature in _TEMPERATURES])
    labels = [f"{temperature:g}" for temperature in _TEMPERATURES]
    figure = plots.samples_by_row(by_temperature, labels, "samples by temperature")
    plots.save(figure, out / "samples_by_temperature.png")
    num_layers = len(prior.layer_sizes)
    numbers = sorted({max(1, num_layers * part // 6) for part in range(1, 7)})
    first = jax.jit(prior.sample)(first_key)
    below = jax.jit(
        lambda number: jax.vmap(lambda key: prior.sample_below(first, number, key))(keys)
    )
    rows = [below(jnp.int32(number)) for number in numbers]
    labels = ["layer 1" if number == 1 else f"layers 1 to {number}" for number in numbers]
    figure = plots.samples_by_row(shown(rows), labels, "samples by the layers drawn anew")
    plots.save(figure, out / "samples_by_layer.png")


def draw_manifold(path: Path, model: TrainedModel) -> None:
    """Draw the images over a grid of a two-dimensional latent space."""
    grid = np.asarray(latent_paths.normal_quantile_grid(_MANIFOLD_SIZE))
    images = model.decode(grid.reshape(-1, 2))
    shape = (_MANIFOLD_SIZE, _MANIFOLD_SIZE, *model.image_shape)
    plots.save(plots.manifold(images.reshape(shape)), path)


def _draw_kl(out: Path, measured: dict[str, Any]) -> None:
    kl = np.asarray(measured["kl_by_dimension"])
    plots.save(plots.kl_by_dimension(kl, 0.01), out / "kl_by_dimension.png")


def _draw_latents(out: Path, latents: np.ndarray, labels: np.ndarray | None) -> None:
    size = latents.shape[1]
    if size == 2:
        figure = plots.latent_map(latents, labels)
    elif size > 2 and len(latents) > 1:
        points, shares = plane_maps.principal_components(latents)
        axis_labels = (f"first component ({shares[0]:.0%})", f"second ({shares[1]:.0%})")
        figure = plots.latent_map(points, labels, axis_labels)
    else:
        return
    plots.save(figure, out / "latents.png")


def _draw_interpolations(
    out: Path, model: TrainedModel, targets: np.ndarray, degrees: np.ndarray
) -> None:
    rows = min(8, len(targets) // 2)
    if rows == 0:
        return
    start, end = targets[:rows], targets[rows : 2 * rows]
    paths: list[Literal["linear", "spherical"]] = ["linear", "spherical"]
    for path in paths[1:] if model.has_spherical_latents else paths:
        images = model.interpolate(start, end, degrees, path=path)
        figure = plots.interpolations(images, degrees, f"{path} interpolation")
        plots.save(figure, out / f"interpolation_{path}.png")


def draw_traversals(path: Path, model: TrainedModel, image: np.ndarray, kl: np.ndarray) -> None:
    """Draw the dimensions with the largest KL, each varied around the code of an image."""
    values = np.linspace(-3, 3, 9, dtype=np.float32)
    dimensions = np.argsort(-kl)[:_TRAVERSED]
    latents = model.latents(image)
    paths = [latent_paths.traversal(latents, int(i), values)[:, 0] for i in dimensions]
    images = model.decode(np.concatenate(paths))
    shape = (len(dimensions), len(values), *model.image_shape)
    figure = plots.traversals(images.reshape(shape), dimensions, values, kl)
    plots.save(figure, path)


def _draw_recovery(
    out: Path, model: TrainedModel, clean: np.ndarray, errors: dict[str, Any], key: jax.Array
) -> None:
    """Draw corrupted images with what the model makes of them, and its errors by level.

    The files have the name of the task, such as denoising or upscaling.
    """
    corruption = model.corruption
    level = corruption.level
    corrupted = denoising.corrupt_each(at_any_level(corruption), clean, level, key)
    strips = {"clean": clean, "corrupted": corrupted, "recovered": model.reconstruct(corrupted)}
    name, task = name_of(corruption).replace("_", " "), getattr(corruption, "task", "recovery")
    shown = plots.recovery(strips, f"{name}, level {level:g}")
    plots.save(shown, out / f"{task}.png")
    curves = {"corrupted": errors["noisy"], "recovered": errors["denoised"]}
    curve = plots.curves_by_level(
        np.asarray(errors["levels"]),
        {label: np.asarray(values) for label, values in curves.items()},
        level,
        level_label=f"level of {name}",
        label="mean squared error",
    )
    plots.save(curve, out / f"{task}_curve.png")


def image_writer(
    model: TrainedModel,
    images: np.ndarray,
    every_epochs: int,
    tensorboard: TensorBoardWriter,
    condition: np.ndarray | None = None,
) -> Callable[[RunState, int], None]:
    """Return a function of state and epoch that writes images, reconstructions and samples.

    Args:
      model: gets the parameters of each state that is drawn.
      images: in the unit interval.
      every_epochs: how often it writes.
      tensorboard: takes them.
      condition: of each image, which samples then have too.
    """

    def write(state: RunState, epoch: int) -> None:
        if epoch % every_epochs:
            return
        # Moved to this process: what one process computes must not wait for others' devices.
        model.params, model.extra = jax.device_get((state.train.params["model"], state.train.extra))
        step = int(state.train.step)
        tensorboard.write_images("originals", with_grey_holes(images), step)
        tensorboard.write_images("reconstructions", model.reconstruct(images, condition), step)
        if model.has_samples:
            samples = model.sample(jax.random.key(0), len(images), condition)
            tensorboard.write_images("samples", samples, step)

    return write
