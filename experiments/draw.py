"""Draw the figures of a trained run again, with interpolation degrees of your own.

python -m experiments.draw --workdir=runs/vanilla --degrees=-0.25,0,0.25,0.5,0.75,1,1.25
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import command_line
from vae_jax import factory, figures, latent_paths, trained_model, workdir
from vae_jax.data import Dataset
from vae_jax.errors import UserError
from vae_jax.evaluation import figures_of_merit, likelihood
from vae_jax.metric_writers import read_records
from vae_jax.trained_model import TrainedModel

_DEGREES = flags.DEFINE_list(
    "degrees",
    [f"{step / 8:g}" for step in range(9)],
    "how far from the first image to the second, 0 to 1 and beyond",
)

_NUM_IMAGES = 20
_NUM_MAPPED = 5000
_MANIFOLD_SIZE = 20
_TRAVERSED = 10


def draw_run(folder: Path, model: TrainedModel, test: Dataset, measured: dict[str, Any]) -> None:
    """Draw everything that the run has, into `figures/`; `measured` is its test summary."""
    config, out = model.config, folder / "figures"
    key = jax.random.key(config.evaluation.seed)
    labels = None if test.labels is None else test.labels[:_NUM_MAPPED]
    targets = figures_of_merit.prepare_targets(
        factory.build_prepare(config), test.images[:_NUM_MAPPED], key
    )
    first = targets[:_NUM_IMAGES]
    figures.save(
        figures.reconstructions(first, model.reconstruct(first)), out / "reconstructions.png"
    )
    records = read_records(folder / "metrics.jsonl")
    if records:
        figures.save(figures.training_curves(records), out / "training_curves.png")
    _draw_latents(out, model, targets, labels)
    _draw_interpolations(out, model, targets)
    if model.is_vae:
        kl = np.asarray(measured["kl_by_dimension"])
        samples = model.sample(jax.random.fold_in(key, 1), 100)
        figures.save(figures.image_grid(samples), out / "samples.png")
        figures.save(figures.kl_by_dimension(kl, 0.01), out / "kl_by_dimension.png")
        _draw_traversals(out, model, targets[0], kl)
    if model.latent_size == 2:
        grid = np.asarray(latent_paths.normal_quantile_grid(_MANIFOLD_SIZE))
        images = model.decode(grid.reshape(-1, 2))
        shape = (_MANIFOLD_SIZE, _MANIFOLD_SIZE, *model.image_shape)
        figures.save(figures.manifold(images.reshape(shape)), out / "manifold.png")
    if "denoising" in measured:
        _draw_denoising(out, model, first, measured["denoising"], key)


def _draw_latents(
    out: Path, model: TrainedModel, targets: np.ndarray, labels: np.ndarray | None
) -> None:
    latents = model.encode(targets)
    if model.latent_size == 2:
        figure = figures.latent_map(latents, labels)
    elif model.latent_size > 2 and len(latents) > 1:
        points, shares = figures.principal_components(latents)
        axis_labels = (f"first component ({shares[0]:.0%})", f"second ({shares[1]:.0%})")
        figure = figures.latent_map(points, labels, axis_labels)
    else:
        return
    figures.save(figure, out / "latents.png")


def _draw_interpolations(out: Path, model: TrainedModel, targets: np.ndarray) -> None:
    try:
        degrees = np.asarray([float(degree) for degree in _DEGREES.value], np.float32)
    except ValueError:
        raise UserError(f"--degrees={','.join(_DEGREES.value)} must be numbers") from None
    rows = min(8, len(targets) // 2)
    if rows == 0:
        return
    start, end = targets[:rows], targets[rows : 2 * rows]
    for path in ("linear", "spherical"):
        images = model.interpolate(start, end, degrees, path=path)
        figure = figures.interpolations(images, degrees, title=f"{path} interpolation")
        figures.save(figure, out / f"interpolation_{path}.png")


def _draw_traversals(out: Path, model: TrainedModel, image: np.ndarray, kl: np.ndarray) -> None:
    values = np.linspace(-3, 3, 9, dtype=np.float32)
    dimensions = np.argsort(-kl)[:_TRAVERSED]
    latents = model.encode(image)
    paths = [latent_paths.traversal(latents, int(i), values)[:, 0] for i in dimensions]
    images = model.decode(np.concatenate(paths))
    shape = (len(dimensions), len(values), *model.image_shape)
    figure = figures.traversals(images.reshape(shape), dimensions, values, kl)
    figures.save(figure, out / "traversals.png")


def _draw_denoising(
    out: Path, model: TrainedModel, clean: np.ndarray, errors: dict[str, Any], key: jax.Array
) -> None:
    config = model.config
    level = config.hparams.corruption_level
    corrupt = factory.build_corrupt(config)
    assert corrupt is not None
    keys = likelihood.image_keys(key, 0, len(clean))
    noisy = np.asarray(
        jax.vmap(corrupt, in_axes=(0, 0, None))(keys, jnp.asarray(clean), jnp.float32(level))
    )
    shown = figures.denoising(clean, noisy, model.reconstruct(noisy), level)
    figures.save(shown, out / "denoising.png")
    curve = figures.denoising_curve(
        np.asarray(errors["levels"]),
        np.asarray(errors["noisy"]),
        np.asarray(errors["denoised"]),
        level,
    )
    figures.save(curve, out / "denoising_curve.png")


def main() -> None:
    """Draw the figures of --workdir, which must have been evaluated."""
    folder = command_line.existing_workdir()
    command_line.use_compilation_cache()
    with workdir.hold(folder):
        model = trained_model.load(folder)
        summary = workdir.read_summary(folder)
        if summary is None:
            raise UserError(f"workdir={str(folder)!r} has no summary.json; evaluate it first")
        draw_run(folder, model, factory.load_splits(model.config).test, summary["test"])
    print(f"drew {folder / 'figures'}")


if __name__ == "__main__":
    command_line.run(main)
