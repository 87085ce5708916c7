"""Gather what each file of tests costs, from the report that pytest writes.

    make test ARGS=--junitxml=build/tests.xml
    python -m benchmarks.suite_times --report=build/tests.xml \
        --output=benchmarks/results/suite_times_cpu.json

Seconds are wall-clock: compare them only between runs on a machine that does nothing else. A test's
own fixtures count with it, and what a module shares with the first test that asks for it. Programs
are those that the test's own process compiles or finds in JAX's cache, with the seconds of that;
processes are those that it starts.
"""

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


# Of a test, as tests/conftest.py reports them.
_COSTS = ("programs", "compile_seconds", "processes")
_NUM_TESTS = 60


def by_file(report: Path) -> dict[str, Any]:
    """Return what each file of tests costs, the slowest first, and the slowest tests.

    Raises:
      UserError: the report cannot be read.
    """
    try:
        suite = ET.parse(report).getroot().find("testsuite")
        assert suite is not None
        cases = [_case(case) for case in suite.iter("testcase")]
        wall_seconds = float(suite.attrib["time"])
    except (OSError, ET.ParseError, AssertionError, KeyError, ValueError) as error:
        raise UserError(f"--report={report} is no report of pytest --junitxml: {error}") from error
    files: dict[str, dict[str, float]] = {}
    for name, costs in cases:
        own = files.setdefault(name.partition("::")[0], dict.fromkeys(("tests", *costs), 0))
        own["tests"] += 1
        for cost, value in costs.items():
            own[cost] = round(own[cost] + value, 3)

    def slowest(item: tuple[str, dict[str, float]]) -> float:
        return -item[1]["seconds"]

    return {
        "wall_seconds": wall_seconds,
        "num_tests": len(cases),
        "files": dict(sorted(files.items(), key=slowest)),
        "slowest_tests": dict(sorted(cases, key=slowest)[:_NUM_TESTS]),
    }


def _case(case: ET.Element) -> tuple[str, dict[str, float]]:
    """Return a test's name and what it costs."""
    found = {
        name: float(value)
        for item in case.iter("property")
        for name, value in [(item.attrib["name"], item.attrib["value"])]
        if name in _COSTS
    }
    seconds = round(float(case.attrib["time"]), 3)
    name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
    return name, {"seconds": seconds, **{cost: found.get(cost, 0) for cost in _COSTS}}


def main() -> None:
    """Print the slowest files and write all of them."""
    measured = by_file(Path(_REPORT.value))
    for file, own in [*measured["files"].items()][:20]:
        print(
            f"{own['seconds']:8.1f} s  {own['tests']:5g} tests  {own['programs']:5g} programs in "
            f"{own['compile_seconds']:6.1f} s  {own['processes']:3g} processes  {file}"
        )
    print(f"{measured['num_tests']} tests in {measured['wall_seconds']:.0f} s")
    circumstances = results_file.circumstances("benchmarks.suite_times")
    results_file.write(flags.FLAGS.output, circumstances | measured)


if __name__ == "__main__":
    command_line.run(main)
