"""All that is measured on an accelerator, by one command that continues where it stopped.

    python -m benchmarks.accelerator --output=benchmarks/results/accelerator

Each part is a benchmark in a process of its own, which writes NAME.json into the folder; a part
whose file is there is not measured again. A part that fails or runs past its share of
--limit_seconds is named, and the others go on; the exit code is then 1. --small tries everything
on small sizes, as the CPU can. The part `faces` reads a data set that has to be prepared:

    python -m experiments.prepare --name=avatars
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import app, flags

from experiments import flags as shared
from vae_jax import workdir
from vae_jax.errors import UserError

shared.define(output="folder of the measurements")

_USUAL_SECONDS = 480.0
_LIMIT = flags.DEFINE_float(
    "limit_seconds", _USUAL_SECONDS, "time of all parts; a part has its share", lower_bound=1.0
)
_PARTS = flags.DEFINE_list("parts", [], "parts to measure; by default all")
_SMALL = flags.DEFINE_boolean("small", False, "small sizes, to try the script")

# Others need memory beside the process that measures.
_SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
_DETERMINISTIC = {
    **_SHARED,
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true",
}
_SMALL_SWEEP = ("--members=1,2", "--how=side by side", "--repeats=1")


@dataclasses.dataclass(frozen=True)
class Part:
    """A benchmark.

    Attributes:
      module: its module.
      arguments: its flags beside --output.
      small: those of small sizes.
      seconds: the most that it may take of 480, and in proportion of another limit.
      environment: variables of its process.
    """

    module: str
    arguments: Sequence[str]
    small: Sequence[str]
    seconds: float
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


PARTS = {
    "precisions": Part(
        "benchmarks.precision_speed", (), ("--small_networks", "--timed_epochs=1"), 110
    ),
    "likelihood": Part(
        "benchmarks.likelihood_throughput", (), ("--num_samples=10", "--num_images=100"), 40
    ),
    "iwae": Part(
        "benchmarks.iwae_speed",
        (),
        ("--samples=1", "--seeds=2", "--steps=5", "--repeats=1"),
        60,
    ),
    "sweeps": Part(
        "benchmarks.sweep_throughput",
        ("--members=1,16,64,256", "--how=side by side", "--repeats=2"),
        _SMALL_SWEEP,
        60,
    ),
    "random_bits": Part("benchmarks.random_bits", (), ("--batches=128", "--timed_draws=1"), 20),
    # Eight processes, each of which compiles a training.
    "faces": Part("benchmarks.faces_cost", (), ("--small_faces",), 130, _SHARED),
    # The one row takes its time to compile; more layers would take longer.
    "ladder": Part(
        "benchmarks.ladder_cost",
        ("--ladder_rows=layers_6",),
        ("--ladder_rows=layers_3", "--small_ladder"),
        60,
        _SHARED,
    ),
    "kill_resume_deterministic": Part(
        "benchmarks.kill_resume", ("--kills=3",), ("--kills=1",), 120, _DETERMINISTIC
    ),
    "kill_resume": Part("benchmarks.kill_resume", ("--kills=3",), ("--kills=1",), 120, _SHARED),
}


def measure_part(part: Part, output: Path, *, small: bool, limit: float) -> str | None:
    """Measure a part; return why it has no results, or None if it has.

    Args:
      part: the part.
      output: JSON file that it writes.
      small: whether small sizes are measured.
      limit: seconds that it may take.
    """
    # A name of its own until the part has ended: a killed one is measured again.
    partial = output.with_name(f"{output.stem}.partial.json")
    arguments = part.small if small else part.arguments
    command = [sys.executable, "-m", part.module, *arguments, f"--output={partial}"]
    environment = {**os.environ, **part.environment}
    process = subprocess.Popen(command, env=environment, process_group=0)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"ran past {limit:.0f} s; what it had measured is in {partial.name}"
    finally:
        # Its own processes, too: they would slow the next part down.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if not partial.is_file():
        return f"ended with {code} and wrote nothing"
    # A benchmark may end with 1 because what it found is no success.
    os.replace(partial, output)
    return None


def measure(
    parts: Mapping[str, Part], folder: Path, *, small: bool, limit: float
) -> dict[str, str]:
    """Measure the parts that are missing in a folder; return why some still are, by name.

    Args:
      parts: by name.
      folder: takes a JSON file per part.
      small: whether small sizes are measured.
      limit: seconds of all parts together.
    """
    end, missing = time.monotonic() + limit, {}
    for name, part in parts.items():
        output = folder / f"{name}.json"
        if output.is_file():
            print(f"{name}: {output} is there", flush=True)
            continue
        left = end - time.monotonic()
        share = min(part.seconds / _USUAL_SECONDS * limit, left)
        if left <= 0:
            missing[name] = f"was not begun within {limit:.0f} s"
        else:
            print(f"{name}: {part.module}, up to {share:.0f} s", flush=True)
            problem = measure_part(part, output, small=small, limit=share)
            if problem is not None:
                missing[name] = problem
    for name, problem in missing.items():
        print(f"{name}: {problem}", flush=True)
    return missing


def main(argv: list[str]) -> None:
    """Measure what the flags name; exit with 1 if a part is missing."""
    del argv
    unknown = sorted(set(_PARTS.value) - set(PARTS))
    try:
        if unknown:
            raise UserError(f"--parts={','.join(unknown)} must be some of {', '.join(PARTS)}")
        if not flags.FLAGS.output:
            raise UserError("--output is missing; name a folder for the measurements")
        folder = Path(flags.FLAGS.output)
        workdir.make_folder(folder)
    except UserError as error:
        sys.exit(f"error: {error}")
    chosen = {name: part for name, part in PARTS.items() if name in (_PARTS.value or PARTS)}
    missing = measure(chosen, folder, small=_SMALL.value, limit=_LIMIT.value)
    print(f"{len(chosen) - len(missing)} of {len(chosen)} parts are in {folder}")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    app.run(main)
