"""Run the whole suite again and again, sometimes beside processes that keep every core busy.

    python -m benchmarks.suite_repeats --suite_runs=5 \
        --output=benchmarks/results/suite_repeats_cpu.json
    python -m benchmarks.suite_repeats --suite_runs=5 --busy_cores \
        --output=benchmarks/results/suite_repeats_cpu.json

Each repeat adds a row to the file, with its seconds and the tests that failed: the same command
continues after it was stopped, until the file has as many rows of its kind. Rows of another commit
are dropped.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import results_file
from vae_jax.training import host

shared.define(output="required; JSON file to write, and to go on with")
_RUNS = flags.DEFINE_integer("suite_runs", 5, "runs of the suite in all", lower_bound=1)
_BUSY = flags.DEFINE_boolean("busy_cores", False, "run it beside a busy loop per core")

_ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy with a loop that does nothing."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(host.num_cores())
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def read_report(report: Path) -> dict[str, Any]:
    """Return how many tests passed and were skipped, and the names of those that failed.

    Raises:
      UserError: the suite ended without a report.
    """
    try:
        suite = ET.parse(report).getroot().find("testsuite")
        if suite is None:
            raise UserError("the suite ended without a report of its tests: no testsuite in it")
        counts = {name: int(suite.attrib[name]) for name in ("tests", "skipped")}
    except (OSError, ET.ParseError, KeyError, ValueError) as error:
        raise UserError(f"the suite ended without a report of its tests: {error}") from error
    failed = [
        f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    passed = counts["tests"] - counts["skipped"] - len(failed)
    return {"passed": passed, "skipped": counts["skipped"], "failed": failed}


def run_suite(commit: str, *, busy: bool) -> dict[str, Any]:
    """Return the row of one run of the whole suite."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        if busy:
            stack.enter_context(busy_cores())
        report = Path(scratch) / "tests.xml"
        command = ["make", "test", f"ARGS=-q --junitxml={report}"]
        start = time.perf_counter()
        subprocess.run(command, cwd=_ROOT, stdout=subprocess.DEVNULL, check=False)
        seconds = time.perf_counter() - start
        return {"commit": commit, "busy": busy, "seconds": round(seconds), **read_report(report)}


def rows_of(path: Path, commit: str) -> list[dict[str, Any]]:
    """Return the rows of a commit in an earlier output; none while there is no file.

    Raises:
      UserError: the file cannot be read, or has other rows.
    """
    if not path.is_file():
        return []
    rows = workdir.read_json(path, {"rows": list})["rows"]
    if not all(isinstance(row, dict) and {"commit", "busy"} <= row.keys() for row in rows):
        raise UserError(f"--output={path} has rows of something else; name another file")
    return [row for row in rows if row["commit"] == commit]


def _commit(output: Path) -> str:
    """Return the commit of the checkout.

    Raises:
      UserError: files of it have been changed since, others than the output.
    """
    lines = _git("status", "--porcelain", "--", ".", f":(exclude,top)*{output.name}").splitlines()
    if lines:
        raise UserError(f"{lines[0][3:]} is not committed, and rows are of a commit; commit it")
    return _git("rev-parse", "--short", "HEAD").strip()


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(_ROOT), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def main() -> None:
    """Run the suite until there are enough rows, and print a line for each."""
    output, busy = flags.FLAGS.output, _BUSY.value
    if not output:
        raise UserError("--output is missing; name the JSON file to write, and to go on with")
    commit = _commit(Path(output))
    rows = rows_of(Path(output), commit)
    circumstances = results_file.circumstances("benchmarks.suite_repeats")
    while sum(row["busy"] == busy for row in rows) < _RUNS.value:
        row = run_suite(commit, busy=busy)
        rows.append(row)
        results_file.write(output, {**circumstances, "rows": rows})
        print(
            f"{row['seconds']} s{' on busy cores' * busy}: {row['passed']} passed, "
            f"{row['skipped']} skipped, {len(row['failed'])} failed {' '.join(row['failed'])}",
            flush=True,
        )


if __name__ == "__main__":
    command_line.run(main)
