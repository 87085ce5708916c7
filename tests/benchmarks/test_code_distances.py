"""Codes are told from draws of the prior, and other runs are refused."""

from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from absl.testing import flagsaver

from benchmarks import code_distances
from vae_jax import trained
from vae_jax.errors import UserError
from vae_jax.objectives.wae import WAE


def test_draws_of_the_prior_are_at_its_level_and_shifted_ones_are_not():
    kernel, shape = WAE().build_kernel(), (200, 3)
    level = code_distances.distances_of_draws(kernel, shape, 20, jax.random.key(0))
    assert abs(level.mean()) < level.std()
    draws = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    near, far = (
        code_distances.distance_from_prior(codes, kernel, jax.random.key(1))
        for codes in (draws, draws + 0.5)
    )
    assert abs(near) < 4 * level.std()
    assert far > 10 * level.std()


def test_a_run_of_another_objective_is_refused(monkeypatch):
    other = SimpleNamespace(config=SimpleNamespace(objective=object()))
    monkeypatch.setattr(trained, "load_images", lambda folder, member: other)
    with pytest.raises(
        UserError, match=r"^runs/vanilla: member 3 was not trained by objective=wae"
    ):
        code_distances.member_row(Path("runs/vanilla"), 3)


@pytest.mark.parametrize(
    ("folder", "problem"), [("", "is missing"), ("runs/none", "has no members")]
)
def test_a_folder_without_members_is_refused_in_one_line(parsed_flags, folder, problem):
    with (
        flagsaver.flagsaver(workdir=folder),
        pytest.raises(UserError, match=rf"^--workdir.*{problem}"),
    ):
        code_distances.main()
