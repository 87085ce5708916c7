"""Change the mathematics in one place at a time, and count the changes that no test finds.

    pip install "cosmic-ray>=8.7,<9"
    python -m benchmarks.mutants --num_mutants=200 --output=benchmarks/results/mutants_cpu.json

Mutation testing of densities, objectives and the training step: cosmic-ray lists and makes the
changes, such as a sum in place of a difference, in a copy of the last commit. A change is found if
one of the tests of its area fails. Operators that floats do not have are left out: any test finds
those. The same command goes on after it was stopped; with --again it also tries the changes again
that no test has found so far. Takes a quarter of a minute per change that is found, and two minutes
per other one, on one core.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import results_file

shared.define("seed", output="required; JSON file to write, and to go on with")
_MUTANTS = flags.DEFINE_integer("num_mutants", 200, "changes to try", lower_bound=1)
_AGAIN = flags.DEFINE_boolean("again", False, "try those again that no test has found so far")

_ROOT = Path(__file__).parents[1]
# A change may let a loop run for ever.
_SECONDS = 900
# Python's operators on integers, in annotations too, and decorators of classes: their changes end
# the import of the module, which any test finds.
_TRIVIAL = re.compile("Bit|Shift|Invert|USub_Not|RemoveDecorator")


class Area(NamedTuple):
    """Modules whose changes should be found, and by which tests.

    Attributes:
      modules: files and folders.
      share: of all changes.
      tests: the tests of these modules.
      wider: tests that use them, for what the others do not find.
    """

    modules: tuple[str, ...]
    share: float
    tests: tuple[str, ...]
    wider: tuple[str, ...]


_AREAS = {
    "distributions": Area(
        ("vae_jax/distributions",),
        0.4,
        ("tests/distributions",),
        ("tests/models",),
    ),
    "objectives": Area(
        ("vae_jax/objectives",),
        0.4,
        ("tests/objectives",),
        (
            "tests/config/test_experiment.py",
            "tests/experiments/test_objective_runs.py",
            "tests/experiments/test_second_stage.py",
        ),
    ),
    "step": Area(
        tuple(f"vae_jax/training/{name}.py" for name in ("step", "players", "optimizers")),
        0.2,
        tuple(f"tests/training/test_{name}.py" for name in ("training", "players", "optimizers")),
        ("tests/training/test_parallel.py", "tests/sweeps/test_sweeps.py"),
    ),
}


class Mutant(NamedTuple):
    """One change, as cosmic-ray names it."""

    module: str
    operator: str
    occurrence: int
    line: int
    column: int


def found_in(dump: str) -> list[Mutant]:
    """Return the changes of `cosmic-ray dump` that are not trivial."""
    items = (json.loads(line)[0]["mutations"][0] for line in dump.splitlines())
    return [
        Mutant(item["module_path"], item["operator_name"], item["occurrence"], *item["start_pos"])
        for item in items
        if not _TRIVIAL.search(item["operator_name"])
    ]


def choose(found: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """Return one change at each of `number` places, both drawn at random."""
    generator = random.Random(seed)
    places: dict[tuple[str, int, int], list[Mutant]] = {}
    for mutant in sorted(found):
        places.setdefault((mutant.module, mutant.line, mutant.column), []).append(mutant)
    chosen = generator.sample(sorted(places), min(number, len(places)))
    return [generator.choice(places[place]) for place in chosen]


def first_failure(copy: Path, tests: Sequence[str]) -> str | None:
    """Run tests until one fails, and return its name; None if all pass."""
    # Python tells an old compiled module by its size and second.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        result = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"none in {_SECONDS} s"
    if result.returncode == 0:
        return None
    named = re.search(r"^(?:FAILED|ERROR) (\S+)", result.stdout, re.MULTILINE)
    return named[1] if named else f"pytest ended with {result.returncode}"


def try_out(copy: Path, mutant: Mutant, area: Area, cosmic_ray: str) -> dict[str, Any]:
    """Make a change in a copy of the project, test it, and undo it.

    Returns:
      The change, its line before and after, and the test that found it, or None.
    """
    file = copy / mutant.module
    original = file.read_text(encoding="utf-8")
    apply = [cosmic_ray, "apply", mutant.module, mutant.operator, str(mutant.occurrence)]
    try:
        subprocess.run(apply, cwd=copy, check=True, capture_output=True)
        changed = file.read_text(encoding="utf-8")
        found_by = first_failure(copy, area.tests) or first_failure(copy, area.wider)
    finally:
        file.write_text(original, encoding="utf-8")
    before, after = (text.splitlines()[mutant.line - 1].strip() for text in (original, changed))
    return {**mutant._asdict(), "before": before, "after": after, "found_by": found_by}


def _list(copy: Path, area: Area, cosmic_ray: str, scratch: Path) -> list[Mutant]:
    config, session = scratch / "config.toml", scratch / "session.sqlite"
    config.write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps(area.modules)}\ntimeout = 10.0\n"
        'excluded-modules = []\ntest-command = "true"\n[cosmic-ray.distributor]\nname = "local"\n',
        encoding="utf-8",
    )
    session.unlink(missing_ok=True)
    for arguments in (["init", str(config), str(session)], ["dump", str(session)]):
        done = subprocess.run(
            [cosmic_ray, *arguments], cwd=copy, check=True, capture_output=True, text=True
        )
    return found_in(done.stdout)


def rows_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of an earlier output by area; none while there is no file.

    Raises:
      UserError: the file cannot be read, or has other rows.
    """
    if not path.is_file():
        return {}
    rows: dict[str, Any] = workdir.read_json(path, {"areas": dict})["areas"]
    fields = {*Mutant._fields, "found_by"}
    if not all(
        name in _AREAS
        and isinstance(own, list)
        and all(isinstance(row, dict) and fields <= row.keys() for row in own)
        for name, own in rows.items()
    ):
        raise UserError(f"--output={path} has rows of something else; name another file")
    return rows


def _mutant(row: dict[str, Any]) -> Mutant:
    return Mutant(*(row[field] for field in Mutant._fields))


def main() -> None:
    """Try the changes of all areas, and print those that no test finds."""
    output, seed = flags.FLAGS.output, flags.FLAGS.seed
    if not output:
        raise UserError("--output is missing; name the JSON file to write, and to go on with")
    cosmic_ray = shutil.which("cosmic-ray")
    if cosmic_ray is None:
        raise UserError('cosmic-ray is missing; install it by pip install "cosmic-ray>=8.7,<9"')
    rows = rows_of(Path(output))
    circumstances = results_file.circumstances("benchmarks.mutants")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        subprocess.run(["git", "clone", "--quiet", str(_ROOT), str(copy)], check=True)
        for name, area in _AREAS.items():
            found = _list(copy, area, cosmic_ray, Path(scratch))
            chosen = choose(found, round(area.share * _MUTANTS.value), seed)
            # Those of modules that have changed since are no longer among the chosen.
            own = rows[name] = [
                row
                for row in rows.get(name, [])
                if _mutant(row) in chosen and (row["found_by"] or not _AGAIN.value)
            ]
            done = {_mutant(row) for row in own}
            left = [mutant for mutant in chosen if mutant not in done]
            if left and (failure := first_failure(copy, (*area.tests, *area.wider))):
                raise UserError(f"without a change {failure} fails; mend it first")
            for mutant in left:
                row = try_out(copy, mutant, area, cosmic_ray)
                own.append(row)
                results_file.write(output, {**circumstances, "seed": seed, "areas": rows})
                told = "found" if row["found_by"] else f"NOT FOUND: {row['after']}"
                print(f"{name}: {mutant.module}:{mutant.line} {told}", flush=True)
    everything = [row for own in rows.values() for row in own]
    print(f"{sum(bool(row['found_by']) for row in everything)} of {len(everything)} were found")


if __name__ == "__main__":
    command_line.run(main)
