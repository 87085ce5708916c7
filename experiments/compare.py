"""Compare runs: their test metrics, validation curves and latent spaces.

    python -m experiments.compare --workdirs=runs/vanilla,runs/beta4 --output=runs/compared

Writes table.md, latents.png (two dimensions, or two principal components) and a plot of each
validation metric that all runs have. The runs must have the same test images, and nats of one kind.
"""

from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation.comparison import compare

shared.define("format", "workdirs", output="required; folder to write")

_NAMES = flags.DEFINE_list(
    "names", [], "what to call the runs; by default their directories' names"
)


@shared.in_formats
def main() -> None:
    """Compare the runs of --workdirs."""
    folders = shared.required_workdirs()
    names = _NAMES.value or [folder.name for folder in folders]
    if len(names) != len(folders) or len(set(names)) != len(names):
        raise UserError(f"--names={','.join(names)} must be {len(folders)} different names")
    if not flags.FLAGS.output:
        raise UserError("--output is missing; name the directory to write to")
    out = Path(flags.FLAGS.output)
    with workdir.left_as_it_was(out):
        # First: reading the runs takes long.
        workdir.make_folder(out)
        table = compare(dict(zip(names, folders, strict=True)), out)
    print(table, end="")


if __name__ == "__main__":
    command_line.run(main)
