import json

import pytest

from vae_jax.errors import UserError
from vae_jax.evaluation import results_file


def test_rows_are_read_back_and_there_are_none_before(tmp_path):
    path = tmp_path / "measured.json"
    assert results_file.rows("") == []
    assert results_file.rows(str(path)) == []
    rows = [{"config_digest": digest, "score": score} for digest in "ab" for score in (1, 2)]
    results_file.write(str(path), {"rows": rows})
    assert results_file.rows(str(path)) == rows


@pytest.mark.parametrize("content", [{}, {"rows": 3}, {"rows": [{"name": "a"}]}, {"rows": ["a"]}])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"measured\.json has no rows of runs; name another file"):
        results_file.rows(str(path))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "measured.json"
    path.write_text('{"rows": [')
    with pytest.raises(UserError, match=r"measured\.json cannot be read"):
        results_file.rows(str(path))


def rows_of(*digests, score=0):
    return [{"config_digest": digest, "score": score} for digest in digests]


def test_rows_of_a_run_are_replaced_by_any_of_its_digests_and_no_others():
    kept = rows_of("a", "b", "a", "old", "c")
    measured = rows_of("a", "a", "new", score=1)
    # "c" is a run that is still to be measured.
    names = [("a",), ("new", "old"), ("c", "older")]
    assert results_file.replaced(kept, measured, names) == rows_of("b", "c") + measured
    again = results_file.replaced(rows_of("b", "c") + measured, measured, names)
    assert again == rows_of("b", "c") + measured
    assert results_file.replaced([], measured, names) == measured
