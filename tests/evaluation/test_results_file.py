import json

import pytest

from vae_jax.errors import UserError
from vae_jax.evaluation import results_file


def test_a_run_that_is_measured_anew_replaces_its_own_rows_alone(tmp_path):
    path = tmp_path / "measured.json"
    assert results_file.rows_of_others("", "a") == []
    assert results_file.rows_of_others(str(path), "a") == []
    rows = [{"config_digest": digest, "score": score} for digest in "ab" for score in (1, 2)]
    results_file.write(str(path), {"rows": rows})
    assert results_file.rows_of_others(str(path), "a") == rows[2:]
    assert results_file.rows_of_others(str(path), "c") == rows


@pytest.mark.parametrize("content", [{}, {"rows": 3}, {"rows": [{"name": "a"}]}, {"rows": ["a"]}])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"measured\.json has no rows of runs; name another file"):
        results_file.rows_of_others(str(path), "a")


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "measured.json"
    path.write_text('{"rows": [')
    with pytest.raises(UserError, match=r"measured\.json cannot be read"):
        results_file.rows_of_others(str(path), "a")
