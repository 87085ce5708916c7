"""Draw the plots of a trained run again, with interpolation degrees of your own.

python -m experiments.draw --workdir=runs/vanilla --degrees=-0.25,0,0.25,0.5,0.75,1,1.25
"""

import contextlib
from pathlib import Path

import numpy as np
from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import trained, workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import drawing
from vae_jax.evaluation import summary as measuring

shared.define(
    "format",
    "workdir",
    "member",
    output="folder of the plots, for a run that cannot be written to; by default plots/ of the run",
)

_DEGREES = flags.DEFINE_list(
    "degrees",
    [f"{degree:g}" for degree in drawing.DEGREES],
    "positions between the first image (0) and the second (1), or beyond",
)


def _degrees() -> np.ndarray:
    try:
        degrees = [float(degree) for degree in _DEGREES.value]
    except ValueError:
        degrees = []
    if not degrees or not all(abs(degree) <= shared.MOST_DEGREES for degree in degrees):
        raise UserError(
            f"--degrees={','.join(_DEGREES.value)} must be one or more finite numbers, at most "
            f"{shared.MOST_DEGREES:g} in size"
        )
    return np.asarray(degrees, np.float32)


@shared.in_formats
def main() -> None:
    """Draw the plots of --workdir, which must have been evaluated."""
    folder, degrees = shared.existing_workdir(), _degrees()
    out = Path(flags.FLAGS.output) if flags.FLAGS.output else None
    with workdir.hold(folder) if out is None else contextlib.nullcontext():
        model = trained.load(folder)
        summary = workdir.read_summary(folder)
        if summary is None:
            raise UserError(f"workdir={str(folder)!r} has no summary.json; evaluate it first")
        measuring.draw_run(folder, model, model.load_test(), summary["test"], degrees, out=out)
    print(f"drew {out or folder / 'plots'}")


if __name__ == "__main__":
    command_line.run(main)
