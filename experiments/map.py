"""Plot the codes of a run's test images in the plane, and export them to TensorBoard's projector.

    python -m experiments.map --workdir=runs/vanilla --methods=tsne,umap
    python -m experiments.map --workdir=runs/vanilla --methods= --projector

Writes plots/map_METHOD.png of the first 5,000 test images' posterior means, coloured by class. The
principal components, --methods=pca, are those of plots/latents.png, which evaluation draws. With
--projector it also writes the projector's files into the run. umap needs
`pip install 'umap-learn>=0.5.7,<0.6'`.
"""

from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import plots, trained, workdir
from vae_jax.applications.representation import projector
from vae_jax.errors import UserError
from vae_jax.evaluation import plane_maps
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.drawing import NUM_MAPPED

shared.define(
    "format",
    "workdir",
    "member",
    output="folder to write to, for a run that cannot be written to; by default the run's",
)

_METHODS = flags.DEFINE_list(
    "methods", ["tsne"], f"layouts to draw, from {', '.join(plane_maps.METHODS)}"
)
_PROJECTOR = flags.DEFINE_bool("projector", False, "write the files of TensorBoard's projector")


@shared.in_formats
def main() -> None:
    """Map the test images of --workdir."""
    folder = shared.existing_workdir()
    for method in _METHODS.value:
        if method not in plane_maps.METHODS:
            raise UserError(
                f"--methods={','.join(_METHODS.value)} must be some of "
                f"{', '.join(plane_maps.METHODS)}"
            )
    model = trained.load_images(folder, rows=True)
    test = model.load_test()
    targets = measuring.prepare_test(model, test)[:NUM_MAPPED]
    labels = None if test.labels is None else test.labels[:NUM_MAPPED]
    codes = model.latents(targets)
    out = Path(flags.FLAGS.output or folder)
    for method in _METHODS.value:
        print(f"mapping {len(codes):,} codes by {method}", flush=True)
        points = plane_maps.plane_map(method, codes)
        path = out / "plots" / f"map_{method}.png"
        files = plots.save(plots.latent_map(points, labels, ("", "")), path)
        print(f"drew {', '.join(map(str, files))}")
    if _PROJECTOR.value:
        num = min(len(codes), projector.most_images(model.image_shape))
        few = None if labels is None else labels[:num]
        projector.write(workdir.tensorboard_folder(out), codes[:num], few, targets[:num])
        print(f"wrote {num} codes; look at them with tensorboard --logdir={out}")


if __name__ == "__main__":
    command_line.run(main)
