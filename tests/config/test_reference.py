from pathlib import Path

import pytest
from own_parts import Encoder

from vae_jax.config import reference
from vae_jax.errors import UserError
from vae_jax.models.interfaces import MODELS, PRIORS
from vae_jax.objectives import OBJECTIVES
from vae_jax.settings import settings_of
from vae_jax.training.optimizers import OPTIMIZERS, SCHEDULES


def test_the_page_in_docs_is_that_of_the_declarations():
    assert Path("docs/settings.md").read_text(encoding="utf-8") == reference.page()


def test_every_choice_is_listed_with_its_settings():
    listing = reference.listing().splitlines()
    assert {entry.path for entry in reference.entries()} >= {
        "",
        "checkpoints",
        "corruption",
        "data.captions",
        "model.encoder",
        "model.text",
        "objective.discriminator",
        "optimizer.schedule",
    }
    for path, table in (
        ("model", MODELS),
        ("model.prior", PRIORS),
        ("objective", OBJECTIVES),
        ("optimizer", OPTIMIZERS),
        ("optimizer.schedule", SCHEDULES),
    ):
        start = next(i for i, line in enumerate(listing) if line.startswith(f"{path}: "))
        lines = listing[start + 1 : start + 1 + len(table)]
        for line, name in zip(lines, sorted(table), strict=True):
            assert line.startswith(f"  {name}: ")
            assert all(setting in line for setting in settings_of(table[name]))
    assert Encoder.__doc__ not in listing


def test_a_choice_is_described_with_defaults_limits_and_kinds():
    described = reference.describe("objective.elbo")
    assert described.splitlines()[0].startswith("objective.elbo: Evidence lower bound")
    assert "  beta = 1.0\n    Weight of the KL; 1 is the evidence lower bound.\n" in described
    assert "    at least 0; traced" in described
    assert "  num_samples = 1\n" in described
    assert "an integer of at least 1; static" in described
    assert "  schedule = cosine\n" in reference.describe("optimizer.adam")
    assert "  max_to_keep = 3\n" in reference.describe("checkpoints")
    assert "  seed = 0\n" in reference.describe("config")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("objective", "--of=objective is no choice; use one of objective.adversarial, objectiv"),
        ("objective.elbow", "--of=objective.elbow is no choice; did you mean objective.elbo?"),
        ("nonsense", "--of=nonsense is no choice"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_nearest(name, message):
    with pytest.raises(UserError) as error:
        reference.describe(name)
    assert str(error.value).startswith(message)
