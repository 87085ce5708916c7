"""The families of configs/zoo.py."""

from pathlib import Path

import pytest

from vae_jax.config import resolve
from vae_jax.errors import UserError
from vae_jax.settings import flatten
from vae_jax.zoo import families

FILE = Path(__file__).parents[2] / "configs" / "zoo.py"
ZOO = families.load(str(FILE))
CARD = ZOO.card("mnist")
# Sections of which a family may change every setting.
CHOICES = ("model", "objective", "data.binarization")
# Settings of a model that differ between two families only if they say so.
SHARED = ("latent_size", "encoder.", "decoder.", "decoder_start", "likelihood.")


def config_of(name):
    (row,) = CARD.rows_named([name], "cpu")
    return flatten(resolve(CARD.config(row, "cpu")).to_dict())


BASE = config_of("vae")


@pytest.mark.parametrize("name", ZOO.families)
def test_a_family_differs_from_the_base_only_in_what_it_changes(name):
    config, changed = config_of(name), ZOO.families[name].changes
    assert set(changed) <= set(CHOICES)
    differing = {
        field
        for field in config.keys() | BASE.keys()
        if config.get(field) != BASE.get(field) and not field.startswith("evaluation.")
    }
    assert all(field.startswith(tuple(f"{part}." for part in changed)) for field in differing)
    assert (name == "vae") == (not differing)
    said = flatten(dict(changed.get("model", {})))
    for field in config.keys() & BASE.keys():
        part, _, setting = field.partition(".")
        if part == "model" and setting.startswith(SHARED) and config[field] != BASE[field]:
            assert setting in said, field


def test_every_family_has_a_label_of_its_own_and_the_last_parameters_are_kept():
    assert len({family.label for family in ZOO.families.values()}) == len(ZOO.families)
    assert BASE["data.validation_split"] == ""
    assert BASE["patience"] == 0


def test_families_are_named_in_the_order_of_the_zoo():
    assert ZOO.named(["iwae", "vae"]) == ["vae", "iwae"]
    assert ZOO.named([]) == list(ZOO.families)
    with pytest.raises(UserError, match=r"--families=vea is not a family.*did you mean vae\?"):
        ZOO.named(["vea"])


def test_a_setting_of_all_is_changed_on_the_command_line():
    zoo = ZOO.with_overrides([("epochs", "3"), ("data.test_split", "test[:9]")])
    card = zoo.card("fashion_mnist")
    config = card.config(card.rows[-1], "cpu")
    assert (config["epochs"], config["data"]["test_split"]) == (3, "test[:9]")
    assert config["data"]["name"] == "fashion_mnist"
    with pytest.raises(UserError, match="epoch"):
        ZOO.with_overrides([("epoch", "3")])
