"""How well trained runs tell images of another kind, by every score, beside two baselines.

    python -m benchmarks.anomaly --workdirs=runs/a,runs/b --output=results/uses/anomaly.json

Normal are the test images of the run, anomalous those of the split `outliers` of its data if there
is one, else the test images of Fashion-MNIST for a run on MNIST and the reverse: the first
--num_images of each. The threshold of the false and true positive rates is the one above which 5 %
of the run's held-out images lie. Runs that the output has already are measured anew and the others
kept. With --figures=FOLDER the scores are drawn, a picture a run.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict

from benchmarks import results_file
from experiments import anomaly_data, command_line
from vae_jax import data, figures, image_arrays, trained_model, workdir
from vae_jax.data.class_left_out import OUTLIERS
from vae_jax.errors import UserError
from vae_jax.evaluation.anomaly import SCORES, Scorer, threshold, with_intervals

_WORKDIRS = flags.DEFINE_list("workdirs", [], "directories of trained runs")
_NUM_IMAGES = flags.DEFINE_integer("num_images", 10_000, "of each kind, at most", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_FIGURES = flags.DEFINE_string("figures", "", "folder for pictures; empty draws none")

_OTHERS = {"fashion_mnist": "mnist", "mnist": "fashion_mnist"}
_FALSE_POSITIVE_RATE = 0.05


def load_outliers(config: ConfigDict) -> tuple[str, np.ndarray]:
    """The name of what is anomalous for a run, and its images as stored.

    Raises:
      UserError: nobody has said what is.
    """
    name, folder = config.data.name, config.data.dir
    if OUTLIERS in data.split_sizes(name, folder):
        return OUTLIERS, data.load(name, OUTLIERS, folder).images
    if name not in _OTHERS:
        raise UserError(
            f"data.name={name!r} has no split {OUTLIERS!r}, and is not one of {', '.join(_OTHERS)}"
        )
    return _OTHERS[name], data.load(_OTHERS[name], "test", folder).images


def measure(folder: Path, num_images: int, pictures: Path | None) -> list[dict[str, Any]]:
    """A row for each score of a run."""
    model = trained_model.load(folder)
    config = model.config
    seen_keys, sample_keys = anomaly_data.build_keys(config)
    normal = anomaly_data.load_normal(config)
    outliers, images = load_outliers(config)
    images = image_arrays.with_channels(images[:num_images], model.image_shape)
    stored = anomaly_data.as_stored(config, images, normal.test.dtype)
    sets = {
        "held_out": normal.held_out[:num_images],
        "test": anomaly_data.as_seen(config, normal.test.images[:num_images], seen_keys.test),
        "others": anomaly_data.as_seen(config, stored, seen_keys.others),
    }
    num_samples = config.evaluation.num_samples
    scorer = Scorer(model, normal.training, sample_keys.training, num_samples=num_samples)
    names = [name for name in SCORES if name != "likelihood_regret" or model.has_normal_posterior]
    scores = {
        kind: scorer(names, of_kind, getattr(sample_keys, kind)) for kind, of_kind in sets.items()
    }
    run = {
        "data": config.data.name,
        "outliers": outliers,
        "likelihood": config.model.likelihood,
        "network": config.model.network,
        "seed": config.seed,
        "config_digest": workdir.config_digest(config.to_dict()),
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
        drawn[f"{SCORES[name]}, {area.estimate:.2f}"] = of_normal, of_others
    if pictures:
        stem = f"{Path(config.data.name).stem}_{config.model.likelihood}_{config.seed}"
        picture = figures.score_histograms(drawn, "test images", f"{outliers}")
        figures.save(picture, pictures / f"{stem}.png")
    return rows


def main(argv: list[str]) -> None:
    """Measure, print a line a run, write the JSON."""
    del argv
    logging.set_verbosity(logging.WARNING)
    command_line.use_compilation_cache()
    output = Path(_OUTPUT.value)
    rows = workdir.read_json(output)["rows"] if output.is_file() else []
    for folder in _WORKDIRS.value:
        found = measure(
            Path(folder), _NUM_IMAGES.value, Path(_FIGURES.value) if _FIGURES.value else None
        )
        rows = [row for row in rows if row["config_digest"] != found[0]["config_digest"]] + found
        print(
            f"{folder}, against {found[0]['outliers']}: AUROC by "
            + ", ".join(f"{row['score']} {row['auroc']['estimate']:.3f}" for row in found)
        )
        # After each run: the whole takes long, and what is measured should not be lost.
        results = {
            "command": "python -m benchmarks.anomaly",
            "device": jax.devices()[0].device_kind,
            "num_cores": command_line.num_cores(),
            "jax": jax.__version__,
            "rows": rows,
        }
        results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
