"""Changes of the mathematics: which are chosen, how one is tried, and what is refused."""

import json
import shutil
import subprocess

import pytest
from absl.testing import flagsaver

from benchmarks import mutants
from benchmarks.mutants import Area, Mutant
from vae_jax.errors import UserError

LINES = "a = 1 + 2\nb = a - 1\n"


def dumped(operator, occurrence=0, line=1):
    change = {
        "module_path": "sums.py",
        "operator_name": f"core/{operator}",
        "occurrence": occurrence,
        "start_pos": [line, 6],
    }
    return json.dumps([{"mutations": [change]}, None])


def test_changes_that_any_test_finds_are_left_out():
    operators = ["ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Add_BitAnd", "AddNot"]
    found = mutants.found_in("\n".join(map(dumped, operators)))
    assert [mutant.operator for mutant in found] == [f"core/{operators[i]}" for i in (0, 2)]


def test_there_is_one_change_at_a_place_and_the_seed_chooses_them():
    found = [Mutant("sums.py", f"to {i}", i, line, 6) for line in range(20) for i in range(30)]
    chosen = mutants.choose(found, 8, seed=0)
    assert len({mutant.line for mutant in chosen}) == len(chosen) == 8
    assert chosen == mutants.choose(found[::-1], 8, seed=0) != mutants.choose(found, 8, seed=1)
    assert len(mutants.choose(found, 100, seed=0)) == 20


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """Tries a change of which a test of its area, a wider one, or none fails."""
    (tmp_path / "sums.py").write_text(LINES)

    def apply(command, **options):
        assert command == ["cosmic-ray", "apply", "sums.py", "core/Add_Sub", "0"]
        (options["cwd"] / "sums.py").write_text(LINES.replace("+", "-"))

    monkeypatch.setattr(subprocess, "run", apply)

    def run(failing):
        failures = {tests: tests[0] if tests == failing else None for tests in (("t",), ("w",))}
        monkeypatch.setattr(mutants, "first_failure", lambda copy, tests: failures[tests])
        area = Area(("sums.py",), 1.0, ("t",), ("w",))
        return mutants.try_out(
            tmp_path, Mutant("sums.py", "core/Add_Sub", 0, 1, 6), area, "cosmic-ray"
        )

    yield run
    assert (tmp_path / "sums.py").read_text() == LINES


@pytest.mark.parametrize(("failing", "found_by"), [(("t",), "t"), (("w",), "w"), ((), None)])
def test_a_change_is_tested_and_undone(tried, failing, found_by):
    row = tried(failing)
    assert (row["before"], row["after"], row["found_by"]) == ("a = 1 + 2", "a = 1 - 2", found_by)


def test_the_first_test_that_fails_is_named(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_one(): pass\n\ndef test_two(): assert 0\n")
    assert mutants.first_failure(tmp_path, ["test_it.py"]) == "test_it.py::test_two"
    assert mutants.first_failure(tmp_path, ["test_it.py::test_one"]) is None
    assert mutants.first_failure(tmp_path, ["nowhere.py"]) == "pytest ended with 4"


def refusal(output):
    with flagsaver.flagsaver(output=output), pytest.raises(UserError) as refused:
        mutants.main()
    return str(refused.value)


@pytest.mark.usefixtures("parsed_flags")
def test_what_is_missing_is_named_in_one_line(tmp_path, monkeypatch):
    assert refusal("").startswith("--output is missing; ")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    output = tmp_path / "rows.json"
    assert refusal(str(output)).startswith("cosmic-ray is missing; install it by pip install")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    for areas in ('{"plots": []}', '{"step": 3}', '{"step": [3]}', '{"step": [{"line": 3}]}'):
        output.write_text(content := f'{{"areas": {areas}}}')
        assert refusal(str(output)).endswith("has rows of something else; name another file")
        assert output.read_text() == content
