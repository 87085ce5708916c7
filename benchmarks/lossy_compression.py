r"""What test images lose that are compressed by rounding the latents of trained runs, by rate.

    python -m benchmarks.lossy_compression --workdirs=runs/a,runs/b \
        --output=results/uses/lossy_compression.json

Codes on grids of several widths go through an entropy coder, and what it wrote is decoded: bits a
pixel of all test images together, and PSNR. Beside them PCA of the same size with the same coder,
and JPEG and WebP of one picture of all images. The model is not counted, nor what PCA fitted. With
--output a picture is drawn beside the file.
"""

from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import plots
from vae_jax.applications.compression import lossy_measure, lossy_report
from vae_jax.applications.compression.plot import quality_by_rate
from vae_jax.evaluation import results_file

shared.define("workdirs", output="JSON file to write; empty prints only")


def main() -> None:
    """Measure, print a line a run, write the JSON and draw the picture."""
    folders = shared.required_workdirs()
    rows: list[dict[str, Any]] = []
    known: set[tuple[Any, ...]] = set()
    for folder in folders:
        found = lossy_measure.measure_run(folder, known)
        rows += found
        print(f"{folder}: {lossy_report.line(found)}", flush=True)
    results = {**results_file.circumstances("benchmarks.lossy_compression"), "rows": rows}
    results_file.write(flags.FLAGS.output, results)
    if flags.FLAGS.output:
        figure = quality_by_rate(*lossy_report.curves(rows))
        plots.save(figure, Path(flags.FLAGS.output).with_suffix(".png"))


if __name__ == "__main__":
    command_line.run(main)
