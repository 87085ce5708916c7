"""Measure how well trained runs detect images of another kind, and two baselines.

The test images of a run are normal. Anomalous are those of the split `outliers` of its data if
there is one, else the test images of Fashion-MNIST for a run on MNIST and the reverse. The false
and true positive rates are at the threshold that 5 % of the run's held-out images exceed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import data, plots, trained
from vae_jax.applications.anomaly import SCORES, Scorer, threshold, with_intervals
from vae_jax.applications.anomaly import data as anomaly_data
from vae_jax.applications.anomaly.plot import score_histograms
from vae_jax.data import image_arrays
from vae_jax.data.class_left_out import OUTLIERS
from vae_jax.errors import UserError
from vae_jax.evaluation import foreign_images
from vae_jax.evaluation.reports import Measured
from vae_jax.trained import TrainedModel

_OTHERS = {"fashion_mnist": "mnist", "mnist": "fashion_mnist"}
_FALSE_POSITIVE_RATE = 0.05
_IN_NATS = ("elbo", "iwae_bound", "distortion", "rate", "typicality", "likelihood_regret")


def measure(
    folders: Sequence[Path], *, plots_folder: Path | None = None, num_test_examples: int = 10_000
) -> Iterator[Measured]:
    """Score the images of runs; yield the results so far after each run.

    Args:
      folders: workdirs of the runs.
      plots_folder: where to plot; None plots nothing.
      num_test_examples: images of each kind, at most.
    """
    rows: list[dict[str, Any]] = []
    for folder in folders:
        found = measure_run(folder, num_test_examples, plots_folder)
        rows += found
        areas = ", ".join(f"{row['score']} {row['auroc']['estimate']:.3f}" for row in found)
        print(f"{folder}, against {found[0]['outliers']}: AUROC by {areas}", flush=True)
        yield {"rows": rows}


def load_outliers(model: TrainedModel) -> tuple[str, np.ndarray]:
    """Return the name of the anomalous images for a run, and these images as stored.

    Raises:
      UserError: there is no such data set.
    """
    name, folder = model.data.name, model.data.dir
    if OUTLIERS in data.split_sizes(name, folder):
        return OUTLIERS, data.load(name, OUTLIERS, folder).images
    if name not in _OTHERS:
        raise UserError(
            f"data.name={name!r} has no split {OUTLIERS!r}, and is not one of {', '.join(_OTHERS)}"
        )
    return _OTHERS[name], data.load(_OTHERS[name], "test", folder).images


def measure_run(folder: Path, num_images: int, plots_folder: Path | None) -> list[dict[str, Any]]:
    """Return a row per score of a run.

    Args:
      folder: its workdir.
      num_images: of each kind, at most.
      plots_folder: where its scores are plotted; None plots nothing.
    """
    model = trained.load_images(folder)
    seen_keys, sample_keys = anomaly_data.build_keys(model)
    normal = anomaly_data.load_normal(model)
    outliers, images = load_outliers(model)
    images = image_arrays.with_channels(images[:num_images], model.image_shape)
    stored = foreign_images.as_stored(model, images, normal.test.dtype)
    sets = {
        "held_out": normal.held_out[:num_images],
        "test": anomaly_data.as_seen(model, normal.test.images[:num_images], seen_keys.test),
        "others": anomaly_data.as_seen(model, stored, seen_keys.others),
    }
    num_samples = model.evaluation.num_samples
    scorer = Scorer(model, normal.training, sample_keys.training, num_samples=num_samples)
    names = [name for name in SCORES if name != "likelihood_regret" or model.has_normal_posterior]
    scores = {
        kind: scorer(names, of_kind, getattr(sample_keys, kind)) for kind, of_kind in sets.items()
    }
    run = {
        "data": model.data.name,
        "outliers": outliers,
        "likelihood": model.likelihood_name,
        "network": model.encoder_name,
        "seed": model.seed,
        "config_digest": model.digest,
        "num_samples": num_samples,
        "num_normal": len(sets["test"]),
        "num_anomalous": len(sets["others"]),
    }
    rows, drawn = [], {}
    for name in names:
        known, of_normal, of_others = (scores[kind][name] for kind in sets)
        area, precision = with_intervals(of_normal, of_others)
        limit = threshold(known, _FALSE_POSITIVE_RATE)
        rows.append(
            run
            | {
                "score": name,
                "auroc": area._asdict(),
                "average_precision": precision._asdict(),
                "false_positive_rate": float(np.mean(of_normal > limit)),
                "true_positive_rate": float(np.mean(of_others > limit)),
            }
        )
        unit = " (nats)" if name in _IN_NATS else ""
        drawn[f"{SCORES[name]}{unit}\nAUROC {area.estimate:.2f}"] = of_normal, of_others
    if plots_folder:
        model_name = f"{model.encoder_name}_{model.likelihood_name}"
        stem = f"{Path(model.data.name).stem}_{model_name}_{model.seed}"
        normal_name = f"{Path(model.data.name).stem}, test images"
        histograms = score_histograms(drawn, normal_name, Path(outliers).stem)
        plots.save(histograms, plots_folder / f"{stem}.png")
    return rows
