"""The README's table of families: values of uses."""

import json

import pytest

from vae_jax.errors import UserError
from vae_jax.papers import overview

USE = overview.Use("some", {"data": "a", "share": 0.5}, lambda row: 2 * row["x"], "error", 2, 0.287)


def of(path, rows):
    path.write_text(json.dumps({"rows": rows}))
    return overview._values_of_use(USE, path)


def test_the_seeds_that_stand_for_a_family_are_averaged(tmp_path):
    path = tmp_path / "some.json"
    assert overview._values_of_use(USE, path) == ("error 0.29", "not measured")
    rows = [{"data": "a", "share": 0.5, "x": x} for x in (0.1, 0.2)]
    others = [{"data": "b", "share": 0.5, "x": 7}, {"data": "a", "share": 0.1, "x": 7}]
    assert of(path, [others[0], *rows, others[1]]) == ("error 0.29", "0.30 ± 0.14 (2 seeds)")
    assert of(path, rows[:1]) == ("error 0.29", "0.20 (one seed)")
    assert of(path, others) == ("error 0.29", "not measured")


def test_a_damaged_results_file_is_refused_in_a_line(tmp_path):
    path = tmp_path / "some.json"
    for rows in ([{"data": "a"}], [3], None):
        with pytest.raises(UserError, match=r"some.json cannot be read") as error:
            of(path, rows)
        assert "\n" not in str(error.value)
