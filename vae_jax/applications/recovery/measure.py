"""What trained runs recover of corrupted images, beside methods without a model.

A part of `benchmarks/recovery.py`, which has the flags.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from vae_jax import config as factory
from vae_jax import plots, workdir
from vae_jax.applications.recovery import baselines, quality
from vae_jax.data.corruptions import MAX_LEVEL
from vae_jax.errors import UserError
from vae_jax.evaluation import denoising
from vae_jax.evaluation import metrics as figures_of_merit
from vae_jax.evaluation import summary as measuring
from vae_jax.trained_model import TrainedModel

_SHOWN = 10


def use_name(config: ConfigDict) -> str:
    """What a run is for, as a part of a file's name."""
    level = f"{config.hparams.corruption_level:g}"
    return "_".join([Path(config.data.name).stem, config.model.name, config.corruption, level])


class Recovered(NamedTuple):
    """What a method without a model made of the test images, and the parameter it had."""

    images: np.ndarray
    parameter: str


def alike(models: list[TrainedModel]) -> list[list[TrainedModel]]:
    """The models in groups that differ in nothing but their seed, in the order given.

    Raises:
      UserError: two groups are for the same use.
    """
    groups: dict[str, list[TrainedModel]] = {}
    for model in models:
        fields = {**model.config.to_dict(), "seed": None}
        groups.setdefault(json.dumps(fields, sort_keys=True), []).append(model)
    uses = [use_name(group[0].config) for group in groups.values()]
    if len(set(uses)) < len(uses):
        raise UserError(
            f"--workdirs holds runs that differ in more than their seed but not in their use "
            f"({', '.join(uses)}); measure them apart"
        )
    return list(groups.values())


def without_a_model(
    corrupted: quality.Corrupted,
    known: quality.Corrupted,
    known_clean: np.ndarray,
    methods: dict[str, baselines.Method],
) -> dict[str, Recovered]:
    """What the methods make of corrupted images.

    Args:
      corrupted: the images to recover.
      known: others at the same level, on which parameters are chosen.
      known_clean: these before their corruption.
      methods: by name.
    """
    results = {}
    for name, method in methods.items():
        value = baselines.choose(method, known, known_clean)
        parameter = f"{method.parameter} {value:g}" if method.parameter else ""
        results[name] = Recovered(method.restore(corrupted, value), parameter)
    return results


def measure(
    models: list[TrainedModel], num_images: int, num_chosen: int, pictures: Path | None
) -> list[dict[str, Any]]:
    """A row for each model and level.

    Args:
      models: trained alike, with several seeds.
      num_images: of the test set.
      num_chosen: of the validation set.
      pictures: folder for pictures; None draws none.

    Raises:
      UserError: the models were trained without a corruption or have no validation set.
    """
    config, shape = models[0].config, models[0].image_shape
    name, trained_level = config.corruption, config.hparams.corruption_level
    if name == "none":
        raise UserError("corruption='none' leaves nothing to recover; train with a corruption")
    keys = factory.build_evaluation_keys(config)
    clean = measuring.prepare_test(config, factory.load_test(config))[:num_images]
    prepare_key, chosen_key = jax.random.split(keys.recovery)
    known_clean = figures_of_merit.prepare_targets(
        factory.build_prepare(config),
        factory.load_validation(config).images[:num_chosen],
        prepare_key,
    )
    rows: list[dict[str, Any]] = []
    levels = denoising.levels_around(name, trained_level, shape, parts=2)[1:]
    # Where all is lost there is nothing to recover it from.
    for level in [level for level in levels if level < MAX_LEVEL[name]]:
        corrupted = quality.corrupt(name, clean, level, keys.corruption)
        known = quality.corrupt(name, known_clean, level, chosen_key)
        others = without_a_model(corrupted, known, known_clean, baselines.METHODS[name])
        scores = {"corrupted": _figures(corrupted.images, clean)}
        scores |= {
            method: {**_figures(found.images, clean), "parameter": found.parameter}
            for method, found in others.items()
        }
        for model in models:
            found = corrupted.known_kept(model.reconstruct(corrupted.images))
            row = {
                "use": use_name(config),
                "model": config.model.name,
                "corruption": name,
                "data": config.data.name,
                "trained_level": trained_level,
                "level": level,
                "seed": model.config.seed,
                "config_digest": workdir.config_digest(model.config.to_dict()),
                "num_images": len(clean),
                "methods": {"model": _figures(found, clean), **scores},
            }
            rows.append(row)
            print(_line(row), flush=True)
        if pictures is not None and level == trained_level:
            best = max(others, key=lambda method: scores[method]["psnr"])
            images = {
                "clean": clean,
                "corrupted": corrupted.images,
                "model": corrupted.known_kept(models[0].reconstruct(corrupted.images)),
                best: others[best].images,
            }
            strips = {label: strip[:_SHOWN] for label, strip in images.items()}
            title = f"{name.replace('_', ' ')}, level {level:g}"
            plots.save(plots.recovery(strips, title), pictures / f"{row['use']}_images.png")
    if pictures is not None:
        _draw_curves(rows, pictures)
    return rows


def _figures(images: np.ndarray, clean: np.ndarray) -> dict[str, Any]:
    return quality.score(images, clean)._asdict()


def _line(row: dict[str, Any]) -> str:
    found = ", ".join(
        f"{name} {figure['psnr']:.2f} dB, {figure['ssim']:.3f}"
        + (f" ({figure['parameter']})" if figure.get("parameter") else "")
        for name, figure in row["methods"].items()
    )
    where = "trained" if row["level"] == row["trained_level"] else "not trained"
    return f"{row['corruption']} {row['level']:g} ({where}), seed {row['seed']}: {found}"


def _draw_curves(rows: list[dict[str, Any]], pictures: Path) -> None:
    """PSNR by level, that of the model averaged over seeds."""
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
    plots.save(figure, pictures / f"{rows[0]['use']}_psnr.png")
