import json

import pytest

from benchmarks import suite_times
from vae_jax.errors import UserError
from vae_jax.evaluation import tables

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" tests="3" time="8.5">
<testcase classname="tests.test_a" name="test_one" time="1.250"><properties>
<property name="programs" value="7" /><property name="compile_seconds" value="0.5" />
<property name="of_another_plugin" value="word" /></properties></testcase>
<testcase classname="tests.deep.test_b" name="test_two[x.y]" time="4.0"><failure /></testcase>
<testcase classname="tests.test_a" name="test_three" time="0.5"><properties>
<property name="programs" value="2" /><property name="processes" value="1" />
</properties></testcase>
</testsuite></testsuites>
"""


def test_a_file_costs_what_its_tests_cost(tmp_path):
    (tmp_path / "tests.xml").write_text(REPORT)
    nothing = {"programs": 0, "compile_seconds": 0, "processes": 0}
    first = {"programs": 7, "compile_seconds": 0.5, "processes": 0}
    measured = suite_times.by_file(tmp_path / "tests.xml")
    assert list(measured["files"].items()) == [
        ("tests/deep/test_b.py", {"tests": 1, "seconds": 4, **nothing}),
        ("tests/test_a.py", {"tests": 2, "seconds": 1.75, **first, "programs": 9, "processes": 1}),
    ]
    assert list(measured["slowest_tests"].items())[:2] == [
        ("tests/deep/test_b.py::test_two[x.y]", {"seconds": 4, **nothing}),
        ("tests/test_a.py::test_one", {"seconds": 1.25, **first}),
    ]
    assert (measured["num_tests"], measured["wall_seconds"]) == (3, 8.5)
    assert tables.suite_table(tmp_path) == "Not measured.\n"
    (tmp_path / "suite_times_cpu.json").write_text(json.dumps({**measured, "num_cores": 2}))
    table = tables.suite_table(tmp_path)
    assert "| `tests/test_a.py` | 2 | 2 | 9 | 0 | 1 |\n" in table
    assert "| all 2 files | 3 | 6 | 9 | 0 | 1 |\n" in table
    assert table.endswith("\nThe whole run took 8 s on 2 cores.\n")


@pytest.mark.parametrize("content", [None, "", "<testsuites />", REPORT.replace("1.250", "long")])
def test_what_is_no_report_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "tests.xml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=f"--report={path} is no report") as refused:
        suite_times.by_file(path)
    assert "\n" not in str(refused.value)
