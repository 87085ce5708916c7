"""Runs side by side: their test metrics, validation curves and latent spaces."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vae_jax import plots, trained, workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import plane_maps
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.drawing import NUM_MAPPED
from vae_jax.trained import TrainedModel
from vae_jax.training.records import read_records


def latent_points(model: TrainedModel) -> tuple[np.ndarray, np.ndarray | None]:
    """Return two coordinates of the test images in latent space, and their labels."""
    test = model.load_test()
    latents = model.latents(measuring.prepare_test(model, test)[:NUM_MAPPED])
    labels = None if test.labels is None else test.labels[:NUM_MAPPED]
    if model.latent_size == 1:
        return np.concatenate([latents, np.zeros_like(latents)], axis=1), labels
    if model.latent_size > 2:
        latents = plane_maps.principal_components(latents)[0]
    return latents, labels


def compare(folders: Mapping[str, Path], out: Path) -> str:
    """Write a table and plots of runs; return the table.

    Args:
      folders: workdirs by the names that the runs get.
      out: folder of table.md, latents.png and a plot per validation metric that all runs have.

    Raises:
      UserError: a run has not been evaluated, or the runs have different test sets, or nats that
        mean different things.
    """
    summaries, records, panels, test_sets = {}, {}, [], set()
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for name, folder in folders.items():
        model = trained.load_images(folder)
        summary = workdir.read_summary(folder)
        if summary is None:
            raise UserError(f"workdir={str(folder)!r} has no summary.json; evaluate it first")
        summaries[name] = summary
        test_sets.add((model.data.name, model.data.test_split))
        if len(test_sets) > 1:
            raise UserError(
                f"the runs have different test sets, {', '.join(map(str, sorted(test_sets)))}; "
                "compare runs with the same data.name and data.test_split"
            )
        # Binarised and grey images are different images, and densities are no probabilities.
        kind = model.data.binarization.name, model.likelihood.support
        seen[kind] = name, model.likelihood_name
        if len(seen) > 1:
            described = ", ".join(
                f"{run} has data.binarization={binarization!r} and model.likelihood={chosen!r} "
                f"({support})"
                for (binarization, support), (run, chosen) in seen.items()
            )
            raise UserError(
                f"nats of these runs cannot be compared: {described}; compare runs with the same "
                "data.binarization and the same kind of model.likelihood"
            )
        records[name] = read_records(folder / "metrics.jsonl")
        points, labels = latent_points(model)
        panels.append((name.replace("_", " "), points, labels))
    plots.save(plots.latent_maps_side_by_side(panels), out / "latents.png")
    for metric in ("elbo", "rate", "distortion"):
        if all(any(metric in r and r["split"] == "valid" for r in run) for run in records.values()):
            plots.save(plots.compared_curves(records, metric), out / f"{metric}.png")
    table = measuring.table(summaries)
    workdir.write_atomically(out / "table.md", table)
    return table
