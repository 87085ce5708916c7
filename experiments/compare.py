"""Set runs side by side: their test figures, validation curves and latent spaces.

    python -m experiments.compare --workdirs=runs/autoencoder,runs/vanilla --output=runs/compared

Writes table.md, latents.png (two dimensions, or two principal components) and a figure of each
validation metric that all runs have. The runs must have test sets of the same images.
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import config, plots, trained, workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import plane_maps
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.drawing import NUM_MAPPED
from vae_jax.trained import TrainedModel
from vae_jax.training.records import read_records

shared.define("workdirs", output="required; folder to write")

_NAMES = flags.DEFINE_list(
    "names", [], "what to call the runs; by default their directories' names"
)


def latent_points(model: TrainedModel) -> tuple[np.ndarray, np.ndarray | None]:
    """Two coordinates of the test images in latent space, and their labels."""
    test = config.load_test(model.config)
    latents = model.encode(measuring.prepare_test(model, test)[:NUM_MAPPED])
    labels = None if test.labels is None else test.labels[:NUM_MAPPED]
    if model.latent_size == 1:
        return np.concatenate([latents, np.zeros_like(latents)], axis=1), labels
    if model.latent_size > 2:
        latents = plane_maps.principal_components(latents)[0]
    return latents, labels


def main() -> None:
    """Compare the runs of --workdirs."""
    folders = shared.required_workdirs()
    names = _NAMES.value or [folder.name for folder in folders]
    if len(names) != len(folders) or len(set(names)) != len(names):
        raise UserError(f"--names={','.join(names)} must be {len(folders)} different names")
    if not flags.FLAGS.output:
        raise UserError("--output is missing; name the directory to write to")
    out = Path(flags.FLAGS.output)
    summaries, records, panels, test_sets = {}, {}, [], set()
    for name, folder in zip(names, folders, strict=True):
        model = trained.load_images(folder)
        summary = workdir.read_summary(folder)
        if summary is None:
            raise UserError(f"workdir={str(folder)!r} has no summary.json; evaluate it first")
        summaries[name] = summary
        test_sets.add((model.config.data.name, model.config.data.test_split))
        if len(test_sets) > 1:
            raise UserError(
                f"the runs have different test sets, {', '.join(map(str, sorted(test_sets)))}; "
                "compare runs with the same data.name and data.test_split"
            )
        records[name] = read_records(folder / "metrics.jsonl")
        points, labels = latent_points(model)
        panels.append((name.replace("_", " "), points, labels))
    plots.save(plots.latent_maps_side_by_side(panels), out / "latents.png")
    for metric in ("elbo", "rate", "distortion"):
        if all(any(metric in r and r["split"] == "valid" for r in run) for run in records.values()):
            plots.save(plots.compared_curves(records, metric), out / f"{metric}.png")
    workdir.write_atomically(out / "table.md", measuring.table(summaries))
    print(measuring.table(summaries), end="")


if __name__ == "__main__":
    command_line.run(main)
