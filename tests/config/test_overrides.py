import copy

import own_parts
import pytest

from configs import vanilla
from vae_jax.config import parse, resolve, setting_at, with_values
from vae_jax.config.upgrades import RENAMED
from vae_jax.errors import UserError
from vae_jax.models.vae import VAESettings
from vae_jax.settings import flatten

JOINT = {"name": "multimodal"}
BASE = {"model": {"latent_size": 7, "encoder": {"widths": (9,)}}, "objective": {"beta": 4.0}}


def overridden(config, *arguments):
    """The config after `--config.PATH=TEXT`, in their order, as a command does it."""
    for argument in arguments:
        path, _, text = argument.partition("=")
        config = with_values(config, {path: parse(config, path, text)})
    return config


def refused(*arguments, config=BASE):
    """The line that the arguments are refused with."""
    with pytest.raises(UserError) as error:
        resolve(overridden(config, *arguments))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_values_are_replaced_in_a_copy():
    before = copy.deepcopy(BASE)
    values = {"seed": 7, "objective.beta": 2.0, "model.encoder.widths": (16, 8)}
    changed = with_values(BASE, values)
    assert before == BASE
    assert flatten(changed) == {**flatten(BASE), **values}
    assert with_values(changed, {}) == changed
    # Settings that the config left out are there; nested values are copies of the caller's.
    section = {"name": "cosine"}
    changed = with_values(BASE, {"optimizer.schedule": section, "optimizer.learning_rate": 0.1})
    assert changed["optimizer"] == {"schedule": {"name": "cosine"}, "learning_rate": 0.1}


def test_values_of_an_experiment_or_of_a_config_file_are_replaced_too():
    config = vanilla.get_config()
    experiment = resolve(config)
    for base in (config, experiment, experiment.to_dict()):
        changed = resolve(with_values(base, {"model.encoder.activation": "tanh"}))
        assert changed.model.encoder.activation == "tanh"
        assert changed.model.encoder.widths == experiment.model.encoder.widths
    # A config file may hold a part itself.
    config.model = VAESettings(latent_size=5)
    changed = resolve(with_values(config, {"model.encoder.widths": (3,)}))
    assert (changed.model.latent_size, changed.model.encoder.widths) == (5, (3,))


def test_a_choice_goes_first_and_its_settings_follow():
    found = resolve(
        overridden(
            BASE,
            "objective=iwae",
            "objective.num_samples=5",
            "model.encoder=conv",
            "model.encoder.channels=(4, 8)",
            "model.encoder.kernel_size=3",
        )
    )
    assert (found.objective.name, found.objective.num_samples) == ("iwae", 5)
    assert found.model.encoder.channels == (4, 8)
    # The settings of the other choice are gone; those beside it are still there.
    assert found.model.encoder.widths == ()
    assert found.model.latent_size == 7


@pytest.mark.parametrize("argument", ["model=autoencoder", "model.name=autoencoder"])
def test_a_choice_may_be_said_with_or_without_name(argument):
    config = {"model": BASE["model"]}
    found = resolve(overridden(config, argument, "model.latent_size=2"))
    assert (found.model.name, found.model.latent_size) == ("autoencoder", 2)
    assert found.model.encoder.widths == (400,)
    assert found.objective.name == "reconstruction"


def test_a_choice_may_be_said_with_its_settings():
    found = resolve(overridden(BASE, "objective={'name': 'iwae', 'num_samples': 3}"))
    assert found.objective.num_samples == 3
    message = refused("objective={'name': 'iwae', 'num_samples': 0}")
    assert message.startswith("objective.num_samples=0 must be an integer of at least 1")


def test_the_name_of_the_data_is_a_setting_of_its_own():
    config = {"data": {"dir": "there"}}
    assert overridden(config, "data.name=sprites")["data"] == {"dir": "there", "name": "sprites"}


def test_the_settings_of_a_choice_within_a_choice_are_those_of_the_chosen_part():
    found = resolve(
        overridden(
            {},
            "data.binarization=none",
            "model.likelihood=normal",
            "model.likelihood.scale_kind=learned",
            "model.likelihood.scale=0.5",
            "optimizer=sgd",
            "optimizer.schedule=constant",
            "corruption=box",
            "corruption.level=0.25",
            "evaluation.num_samples=3",
        )
    )
    assert found.model.likelihood.scale_kind == "learned"
    assert found.hparams["corruption.level"] == 0.25
    assert found.optimizer.schedule.name == "constant"


def test_settings_of_a_part_from_outside_are_said_as_any():
    found = resolve(
        overridden(
            {"model": {"decoder": "mlp"}},
            "model.encoder=own_parts:Encoder",
            "model.encoder.width=3",
            "corruption=own_parts:Fog",
            "corruption.density=1",
        )
    )
    assert found.model.encoder == own_parts.Encoder(3)
    assert found.hparams["corruption.density"] == 1.0


def test_the_default_objective_of_a_model_is_known_by_its_settings():
    config = {"model": "multimodal"}
    found = resolve(overridden(config, "model.joint_posterior=mixture", "objective.num_samples=4"))
    assert (found.objective.name, found.objective.num_samples) == ("mmvae", 4)
    assert setting_at({"model": "own_parts:Centred"}, "model.decay").limits.startswith("at least 0")


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("seed", "7", 7),
        ("epochs", "1_000", 1000),
        ("objective.beta", "4", 4),
        ("objective.beta", "1e-3", 1e-3),
        ("objective.beta", "-.5", -0.5),
        ("objective.beta", "nan", "nan"),
        ("objective.sampled_kl", "True", True),
        ("objective.sampled_kl", "false", False),
        ("objective.sampled_kl", "maybe", "maybe"),
        ("model.encoder.widths", "(16, 8)", (16, 8)),
        ("model.encoder.widths", "(16,)", (16,)),
        ("model.encoder.widths", "[16, 8]", [16, 8]),
        ("model.encoder.widths", "16,", (16,)),
        ("model.encoder.widths", "()", ()),
        ("model.encoder.activation", "tanh", "tanh"),
        # A text stays one, whatever else it could be.
        ("data.name", "3", "3"),
        ("data.name", "True", "True"),
        ("data.validation_split", "", ""),
        ("data.dir", "(1,)", "(1,)"),
        ("objective", "iwae", "iwae"),
        ("objective.name", "iwae", "iwae"),
        ("model.prior", "{'name': 'vamp', 'components': 3}", {"name": "vamp", "components": 3}),
        ("checkpoints", "{'max_to_keep': 1}", {"max_to_keep": 1}),
    ],
)
def test_a_text_is_read_as_its_setting_takes_it(path, text, value):
    found = parse(BASE, path, text)
    assert found == value
    assert type(found) is type(value)


def test_names_are_read_as_a_tuple():
    config = {"model": "multimodal"}
    assert parse(config, "data.modalities", "('image', 'text')") == ("image", "text")
    assert parse(config, "objective.modality_weights", "(1.0, 3)") == (1.0, 3)
    message = refused("data.modalities=image,text", config=config)
    assert message.startswith("data.modalities='image,text' must be a tuple of different names")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("bacth_size=1", "bacth_size is not a setting; did you mean batch_size?"),
        ("objective.betta=1", "objective.betta is not a setting of objective='elbo'; did you mean"),
        ("nothing.beta=1", "nothing is not a setting; it has seed, epochs,"),
        ("seed.beta=1", "seed.beta is not a setting: seed has none of its own"),
        ("model.encoder.widths.first=1", "model.encoder.widths.first is not a setting: model."),
        ("model.encoder.blocks=3", "model.encoder.blocks is not a setting of model.encoder='mlp'"),
        (
            "model.encoder={'name': 'own_parts:Encoder', 'widht': 3}",
            "model.encoder.widht is not a setting of model.encoder='own_parts:Encoder'; it has "
            "width; did you mean width?",
        ),
        ("checkpoints.every=1", "checkpoints.every is not a setting here"),
        ("evaluation.num_sample=1", "evaluation.num_sample is not a setting here"),
        ("model=vea", "model.name='vea' must be one of autoencoder,"),
        ("checkpoints=often", "checkpoints='often' must be settings, such as {...}"),
        ("checkpoints.name=often", "checkpoints"),
        ("epochs=abc", "epochs='abc' must be an integer of at least 1"),
        ("model.latent_size=1.5", "model.latent_size=1.5 must be an integer of at least 1"),
        ("model.encoder.widths=(1.5,)", "model.encoder.widths=(1.5,) must be a tuple of one or"),
        ("objective.beta=nan", "objective.beta='nan' must be a number of at least 0"),
        ("objective.sampled_kl=maybe", "objective.sampled_kl='maybe' must be True or False"),
        ("seed=99999999999999999999", "seed=99999999999999999999 must be an integer from 0"),
    ],
)
def test_unknown_settings_and_wrong_values_are_refused_in_one_line(argument, message):
    assert refused(argument).startswith(message)


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_name_is_refused_with_its_new_one(old):
    assert refused(f"{old}=1") == f"{old} is not a setting any more; it is {RENAMED[old]} now"


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_a_new_name_is_one_that_a_config_can_have(old):
    choices = {
        "objective.elbo_weight": {"objective": "ciwae"},
        "objective.gamma": {"objective": "factor"},
        "objective.capacity": {"objective": "capacity"},
        "objective.capacity_epochs": {"objective": "capacity"},
        "objective.off_diagonal": {"objective": "dip"},
        "objective.diagonal": {"objective": "dip"},
        "objective.kind": {"objective": "dip"},
        "objective.estimator": {"objective": "tc"},
        "objective.discriminator.learning_rate": {"objective": "factor"},
        "objective.discriminator.widths": {"objective": "factor"},
        "objective.unimodal_kl_weight": {"model": {**JOINT, "joint_posterior": "joint"}},
        "objective.word_dropout": {"model": JOINT},
        "corruption.level": {"corruption": "box"},
        "model.top.widths": {"model": "markov"},
        "model.encoder.blocks": {"model": {"encoder": "resnet"}},
        "model.encoder.remat": {"model": {"encoder": "resnet"}},
        "model.encoder.channels": {"model": {"encoder": "conv"}},
        "model.encoder.kernel_size": {"model": {"encoder": "conv"}},
        "model.encoder.downsampling": {"model": {"encoder": "conv"}},
        "model.decoder.upsampling": {"model": {"decoder": "conv"}},
        "model.likelihood.scale": {"model": {"likelihood": "normal"}},
        "model.likelihood.scale_kind": {"model": {"likelihood": "normal"}},
        "model.likelihood.components": {"model": {"likelihood": "discretized_logistic_mixture"}},
        "model.prior.components": {"model": {"prior": "vamp"}},
        "model.prior.layers": {"model": {"prior": "flow"}},
        "model.prior.width": {"model": {"prior": "flow"}},
        "model.posterior.layers": {"model": {"posterior": "iaf"}},
        "model.posterior.width": {"model": {"posterior": "iaf"}},
        "model.text.embedding_size": {"model": JOINT},
        "model.text.width": {"model": JOINT},
        "data.binarization.seed": {"data": {"binarization": "static"}},
        "data.mode.factors": {"data": {"mode": "render"}},
        "data.captions.length": {"model": JOINT, "data": {"captions": "own"}},
    }
    for new in RENAMED[old].split(" (")[0].split(" or "):
        assert setting_at(choices.get(new, {}), new).sentence


def test_kinds_of_columns_are_set_by_name_also_by_names_with_dots():
    table = {"model": {"likelihood": "columns"}, "data": {"name": "a.csv"}}
    arguments = ("data.columns.age=count", "data.columns.a.b c=real", "data.columns.name=skip")
    found = overridden(table, *arguments)
    assert found["data"]["columns"] == {"age": "count", "a.b c": "real", "name": "skip"}
    assert dict(resolve(found).data.columns) == found["data"]["columns"]
    line = refused("data.columns.age=x", config=table)
    assert line.startswith("data.columns.age='x' must be one of binary")
    assert refused("data.binarization=none", config=table).startswith("data.binarization is not a")
