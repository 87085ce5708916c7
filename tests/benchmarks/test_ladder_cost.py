"""The benchmark of the ladder: its experiments, and a small one."""

import json

import pytest
from absl.testing import flagsaver

from benchmarks import ladder_cost
from configs.papers import ladder_mnist
from vae_jax.sweeps import fields


@pytest.mark.parametrize("small", [False, True])
def test_the_layers_are_those_of_the_full_budget(small):
    card = ladder_mnist.get_card()
    for row in card.rows:
        (given,) = ladder_cost.experiments([row.name], small=small).values()
        short, whole = fields.resolved(given), card.config(row, "full")
        assert short["model"]["layers"] == whole["model"]["layers"]
        assert (short["model"] == whole["model"]) != small
        assert short["epochs"] == 2


@pytest.mark.usefixtures("parsed_flags")
def test_a_small_one_is_measured(tmp_path):
    output = tmp_path / "ladder.json"
    with flagsaver.flagsaver(small_ladder=True, ladder_rows=["layers_1"], output=str(output)):
        ladder_cost.main()
    (measured,) = json.loads(output.read_text())["rows"].values()
    assert 0 < measured["peak_memory_gib"] < 16
    speed = measured["images_per_second"]
    assert measured["full_budget_hours"] == pytest.approx(400 * 50_000 / speed / 3600)
