"""Gather how long each file of tests takes, from the report that pytest writes.

    make test ARGS=--junitxml=build/tests.xml
    python -m benchmarks.suite_times --report=build/tests.xml \
        --output=benchmarks/results/suite_times_cpu.json

Seconds are wall-clock: compare them only between runs on a machine that does nothing else. A test's
own fixtures count with it, and what a module shares with the first test that asks for it.
"""

import collections
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax.errors import UserError
from vae_jax.evaluation import results_file

shared.define(output="JSON file to write; empty prints only")
_REPORT = flags.DEFINE_string("report", "build/tests.xml", "what pytest --junitxml wrote")


def by_file(report: Path) -> dict[str, Any]:
    """Return the number of tests and their seconds by file, the slowest file first.

    Raises:
      UserError: the report cannot be read.
    """
    try:
        suite = ET.parse(report).getroot().find("testsuite")
        assert suite is not None
        cases = [
            (case.attrib["classname"], float(case.attrib["time"]))
            for case in suite.iter("testcase")
        ]
        wall_seconds = float(suite.attrib["time"])
    except (OSError, ET.ParseError, AssertionError, KeyError, ValueError) as error:
        raise UserError(f"--report={report} is no report of pytest --junitxml: {error}") from error
    tests: dict[str, int] = collections.defaultdict(int)
    seconds: dict[str, float] = collections.defaultdict(float)
    for name, duration in cases:
        file = f"{name.replace('.', '/')}.py"
        tests[file] += 1
        seconds[file] += round(duration, 3)
    return {
        "wall_seconds": wall_seconds,
        "num_tests": len(cases),
        "files": {
            file: {"tests": tests[file], "seconds": seconds[file]}
            for file in sorted(seconds, key=lambda file: -seconds[file])
        },
    }


def main() -> None:
    """Print the slowest files and write all of them."""
    measured = by_file(Path(_REPORT.value))
    for file, own in list(measured["files"].items())[:20]:
        print(f"{own['seconds']:8.1f} s  {own['tests']:4d} tests  {file}")
    print(f"{measured['num_tests']} tests in {measured['wall_seconds']:.0f} s")
    circumstances = results_file.circumstances("benchmarks.suite_times")
    results_file.write(flags.FLAGS.output, circumstances | measured)


if __name__ == "__main__":
    command_line.run(main)
