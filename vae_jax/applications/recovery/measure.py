"""Measure how well trained runs recover corrupted images, beside methods without a model.

PSNR and SSIM are measured at several levels of the corruption that a run was trained with. Runs
that differ only in their seed count as one model.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import plots, trained
from vae_jax.applications.recovery import baselines
from vae_jax.applications.recovery.corrupted import Corrupted, corrupt
from vae_jax.data.corruptions import levels_around
from vae_jax.errors import UserError
from vae_jax.evaluation import image_quality, metrics
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.reports import Measured, Row, grouped
from vae_jax.settings import name_of
from vae_jax.trained import TrainedModel

_SHOWN = 10


def measure(
    folders: Sequence[Path],
    *,
    plots_folder: Path | None = None,
    kept: Sequence[Row] = (),
    num_test_examples: int = 1000,
    num_chosen: int = 100,
) -> Iterator[Measured]:
    """Recover the test images of runs; yield the results so far after each model.

    Args:
      folders: workdirs of the runs.
      plots_folder: where images are drawn; None draws nothing.
      kept: rows of other runs in the same results file.
      num_test_examples: test images, at most.
      num_chosen: validation images on which the parameters of other methods are chosen.

    Raises:
      UserError: runs or kept rows differ in more than their seed but not in their use, or a run
        cannot be measured.
    """
    groups = alike([trained.load_images(folder) for folder in folders])
    for models in groups:
        _refuse_kept(models[0], kept)
    rows: list[dict[str, Any]] = []
    for models in groups:
        rows += measure_models(models, num_test_examples, num_chosen, plots_folder)
        yield {"rows": rows}


def draw(rows: Sequence[Row], plots_folder: Path) -> None:
    """Draw the PSNR by level of each use, the model's averaged over seeds."""
    for group in grouped(rows, "use").values():
        _draw_curves(group, plots_folder)


def _refuse_kept(model: TrainedModel, kept: Sequence[Row]) -> None:
    """Refuse a model whose rows would be averaged with those of another experiment."""
    for row in kept:
        # Rows of earlier versions lack the experiment.
        other = row.get("experiment", model.digest_but_seed) != model.digest_but_seed
        if other and row["use"] == use_name(model):
            raise UserError(
                f"--output has rows of another experiment with the use {row['use']}; name another "
                "file"
            )


def use_name(model: TrainedModel) -> str:
    """Return the data, model, corruption and level of a run as a part of a file's name."""
    level = f"{model.corruption.level:g}"
    return "_".join([Path(model.data.name).stem, model.name, name_of(model.corruption), level])


def refuse_unmeasured(model: TrainedModel) -> None:
    """Refuse a model without a corruption, or with one that has no other methods; small images.

    Raises:
      UserError: names the corruption, or the size.
    """
    name = name_of(model.corruption)
    if name == "none":
        raise UserError("corruption='none' leaves nothing to recover; train with a corruption")
    if name not in baselines.METHODS:
        raise UserError(
            f"corruption={name!r} has no methods to compare a model with; those that have are "
            f"{', '.join(baselines.METHODS)}"
        )
    height, width = model.image_shape[:2]
    if min(height, width) < image_quality.SSIM_WINDOW:
        raise UserError(
            f"images of {height}x{width} pixels are smaller than the {image_quality.SSIM_WINDOW} "
            "pixels of SSIM's window; measure a run on larger images"
        )


class Recovered(NamedTuple):
    """Test images recovered by a method without a model, and the method's parameter."""

    images: np.ndarray
    parameter: str


def alike(models: list[TrainedModel]) -> list[list[TrainedModel]]:
    """Return the models in groups that differ only in their seed, in the order given.

    Raises:
      UserError: two groups have the same use, or a model cannot be measured.
    """
    groups: dict[str, list[TrainedModel]] = {}
    for model in models:
        refuse_unmeasured(model)
        groups.setdefault(model.digest_but_seed, []).append(model)
    uses = [use_name(group[0]) for group in groups.values()]
    if len(set(uses)) < len(uses):
        raise UserError(
            f"--workdirs holds runs that differ in more than their seed but not in their use "
            f"({', '.join(uses)}); measure them into different files"
        )
    return list(groups.values())


def without_a_model(
    corrupted: Corrupted,
    known: Corrupted,
    known_clean: np.ndarray,
    methods: dict[str, baselines.Method],
) -> dict[str, Recovered]:
    """Recover corrupted images by the methods.

    Args:
      corrupted: the images to recover.
      known: other images at the same level, on which parameters are chosen.
      known_clean: those images before their corruption.
      methods: by name.
    """
    results = {}
    for name, method in methods.items():
        value = baselines.choose(method, known, known_clean)
        parameter = f"{method.parameter} {value:g}" if method.parameter else ""
        results[name] = Recovered(method.restore(corrupted, value), parameter)
    return results


def measure_models(
    models: list[TrainedModel], num_images: int, num_chosen: int, plots_folder: Path | None
) -> list[dict[str, Any]]:
    """Return a row per model and level.

    Args:
      models: trained alike, with several seeds.
      num_images: test images.
      num_chosen: validation images.
      plots_folder: where images are drawn; None draws nothing.

    Raises:
      UserError: the models were trained without a corruption or have no validation set.
    """
    model, corruption = models[0], models[0].corruption
    refuse_unmeasured(model)
    name = name_of(corruption)
    keys = model.keys
    clean = measuring.prepare_test(model, model.load_test())[:num_images]
    prepare_key, chosen_key = jax.random.split(keys.recovery)
    known_clean = metrics.prepare_targets(
        model.prepare(),
        model.load_validation().images[:num_chosen],
        prepare_key,
    )
    rows: list[dict[str, Any]] = []
    trained_level = corruption.level
    levels = levels_around(corruption, model.image_shape, parts=2)[1:]
    # At the highest level nothing is left to recover from.
    for level in [level for level in levels if level < corruption.max_level]:
        corrupted = corrupt(corruption, clean, level, keys.corruption)
        known = corrupt(corruption, known_clean, level, chosen_key)
        others = without_a_model(corrupted, known, known_clean, baselines.METHODS[name])
        scores = {"corrupted": _metrics(corrupted.images, clean)}
        scores |= {
            method: {**_metrics(found.images, clean), "parameter": found.parameter}
            for method, found in others.items()
        }
        for model in models:
            found = corrupted.known_kept(model.reconstruct(corrupted.images))
            row = {
                "use": use_name(model),
                "model": model.name,
                "corruption": name,
                "data": model.data.name,
                "trained_level": trained_level,
                "level": level,
                "seed": model.seed,
                "config_digest": model.digest,
                "experiment": model.digest_but_seed,
                "num_images": len(clean),
                "num_chosen": len(known_clean),
                "methods": {"model": _metrics(found, clean), **scores},
            }
            rows.append(row)
            print(_line(row), flush=True)
        if plots_folder is not None and level == trained_level:
            images = {
                "clean": clean,
                "corrupted": corrupted.images,
                "model": corrupted.known_kept(models[0].reconstruct(corrupted.images)),
                **{method: other.images for method, other in others.items()},
            }
            strips = {label: strip[:_SHOWN] for label, strip in images.items()}
            title = f"{name.replace('_', ' ')}, level {level:g}"
            plots.save(plots.recovery(strips, title), plots_folder / f"{row['use']}_images.png")
    return rows


def _metrics(images: np.ndarray, clean: np.ndarray) -> dict[str, Any]:
    return image_quality.score(images, clean)._asdict()


def _line(row: dict[str, Any]) -> str:
    found = ", ".join(
        f"{name} {score['psnr']:.2f} dB, {score['ssim']:.3f}"
        + (f" ({score['parameter']})" if score.get("parameter") else "")
        for name, score in row["methods"].items()
    )
    where = "trained" if row["level"] == row["trained_level"] else "not trained"
    return f"{row['corruption']} {row['level']:g} ({where}), seed {row['seed']}: {found}"


def _draw_curves(rows: Sequence[Row], plots_folder: Path) -> None:
    levels = np.array(list(dict.fromkeys(row["level"] for row in rows)))
    methods = ["corrupted", *(name for name in rows[0]["methods"] if name != "corrupted")]
    curves = {
        method: np.array(
            [
                np.mean([r["methods"][method]["psnr"] for r in rows if r["level"] == level])
                for level in levels
            ]
        )
        for method in methods
    }
    figure = plots.curves_by_level(
        levels,
        curves,
        rows[0]["trained_level"],
        level_label=f"level of {rows[0]['corruption'].replace('_', ' ')}",
        label="PSNR (dB)",
    )
    plots.save(figure, plots_folder / f"{rows[0]['use']}_psnr.png")
