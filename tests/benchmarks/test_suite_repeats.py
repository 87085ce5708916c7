"""Repeats of the suite count what failed, and busy loops end with them."""

import json
import subprocess
from pathlib import Path

import pytest
from absl.testing import flagsaver

from benchmarks import suite_repeats
from vae_jax.errors import UserError
from vae_jax.training import host

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" tests="4" skipped="1" failures="1" errors="1" time="8.5">
<testcase classname="tests.test_a" name="test_one" time="1.0" />
<testcase classname="tests.deep.test_b" name="test_two[x.y]" time="4.0"><failure /></testcase>
<testcase classname="tests.test_a" name="test_three" time="0.5"><error /></testcase>
<testcase classname="tests.test_a" name="test_four" time="0.0"><skipped /></testcase>
</testsuite></testsuites>
"""
COUNTS = {
    "passed": 1,
    "skipped": 1,
    "failed": ["tests/deep/test_b.py::test_two[x.y]", "tests/test_a.py::test_three"],
}


def test_a_row_has_what_passed_and_what_failed(tmp_path, monkeypatch):
    def write_report(command, **options):
        assert command[:2] == ["make", "test"]
        Path(command[2].partition("--junitxml=")[2]).write_text(REPORT)

    monkeypatch.setattr(subprocess, "run", write_report)
    row = suite_repeats.run_suite("abc", busy=False)
    assert row == {"commit": "abc", "busy": False, "seconds": row["seconds"], **COUNTS}


def test_a_suite_that_ends_without_a_report_is_an_error_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **options: None)
    with pytest.raises(UserError, match=r"^the suite ended without a report") as refused:
        suite_repeats.run_suite("abc", busy=False)
    assert "\n" not in str(refused.value)


def test_there_is_a_busy_loop_per_core_and_none_is_left(monkeypatch):
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command: started.append(popen(command)) or started[-1]
    )
    with suite_repeats.busy_cores():
        assert [loop.poll() for loop in started] == [None] * host.num_cores()
    assert all(loop.poll() is not None for loop in started)


def test_a_changed_checkout_is_refused_and_the_output_is_no_change(monkeypatch):
    answers = {"status": " M setup.cfg\n", "rev-parse": "abc\n"}
    monkeypatch.setattr(suite_repeats, "_git", lambda name, *others: answers[name])
    with pytest.raises(UserError, match=r"^setup\.cfg is not committed"):
        suite_repeats._commit(Path("rows.json"))
    answers["status"] = ""
    assert suite_repeats._commit(Path("rows.json")) == "abc"


def test_rows_of_the_commit_are_kept_and_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "rows.json"
    assert suite_repeats.rows_of(path, "abc") == []
    rows = [{"commit": commit, "busy": False} for commit in ("abc", "old")]
    path.write_text(json.dumps({"rows": rows}))
    assert suite_repeats.rows_of(path, "abc") == rows[:1]
    path.write_text(json.dumps({"rows": [{"seed": 0}]}))
    with pytest.raises(UserError, match=r"has rows of something else; name another file$"):
        suite_repeats.rows_of(path, "abc")


def test_without_an_output_nothing_is_run(parsed_flags):
    with (
        flagsaver.flagsaver(output=""),
        pytest.raises(UserError, match=r"^--output is missing; name the JSON file"),
    ):
        suite_repeats.main()
