import copy
import importlib
import math
from pathlib import Path

import pytest
from vae_jax.config.fields import FIELDS, check_fields, flatten, unknown_field_message, with_fields

from configs import vanilla
from vae_jax import config as factory
from vae_jax.errors import UserError

CONFIGS = sorted(path.stem for path in Path("configs").glob("*.py") if path.stem != "__init__")

SEEDS = [-1, 2**32, 1.0, True, "0", None]
AT_LEAST_0 = [-1, 0.5, True, "1", None]
AT_LEAST_1 = [0, *AT_LEAST_0]
NUMBERS = [-0.5, math.nan, math.inf, 1e39, 1e-46, "1", None, True]
TEXTS = [3, None, ("mnist",)]
NAMES = ["nonsense", "", 3, None]
FLAGS = [0, 1, "True", None]
SIZES = [(0,), (-3,), (1.5,), (True,), 400, "400", None]

BAD_VALUES = {
    "seed": SEEDS,
    "epochs": AT_LEAST_1,
    "batch_size": AT_LEAST_1,
    "steps_per_call": AT_LEAST_1,
    "patience": AT_LEAST_0,
    "data.name": ["", *TEXTS],
    "data.dir": TEXTS,
    "data.train_split": ["", *TEXTS],
    "data.validation_split": TEXTS,
    "data.test_split": ["", *TEXTS],
    "data.binarization": NAMES,
    "data.binarization_seed": SEEDS,
    "data.image_size": AT_LEAST_0,
    "data.mode": NAMES,
    "data.factors": NAMES,
    "data.memory_limit": [0, 0.0, *NUMBERS],
    "data.modalities": ["image", 3, None, ("image", "image"), ("image", ""), ("image", 2)],
    "data.modality_shares": [0.5, (0.0, 1.0), (0.0, 0.0), (1.1, 1.0), ("1",), (math.nan,), None],
    "data.modality_seed": SEEDS,
    "data.captions": TEXTS[:2],
    "data.caption_length": [1, *AT_LEAST_0],
    "data.unknown_words": NAMES,
    "model.name": NAMES,
    "model.latent_size": AT_LEAST_1,
    "model.posterior": NAMES,
    "model.prior": NAMES,
    "model.prior_components": AT_LEAST_1,
    "model.flow_layers": AT_LEAST_1,
    "model.flow_width": AT_LEAST_1,
    "model.hierarchy": NAMES,
    "model.top_latent_size": AT_LEAST_0,
    "model.top_widths": SIZES,
    "model.network": NAMES,
    "model.widths": SIZES,
    "model.gated": FLAGS,
    "model.activation": NAMES,
    "model.initializer": NAMES,
    "model.decoder_start": NAMES,
    "model.channels": [(), *SIZES],
    "model.kernel_size": [1, *AT_LEAST_1],
    "model.downsampling": NAMES,
    "model.upsampling": NAMES,
    "model.blocks": AT_LEAST_1,
    "model.remat": FLAGS,
    "model.compute_dtype": NAMES,
    "model.likelihood": NAMES,
    "model.likelihood_scale": [0, 0.0, *NUMBERS],
    "model.normal_scale": NAMES,
    "model.num_mixture": AT_LEAST_1,
    "model.discriminator_widths": SIZES,
    "model.joint_posterior": NAMES,
    "model.embedding_size": AT_LEAST_1,
    "model.text_width": AT_LEAST_1,
    "corruption": NAMES,
    "objective.name": NAMES,
    "objective.num_samples": AT_LEAST_1,
    "objective.num_groups": AT_LEAST_1,
    "objective.gradient": NAMES,
    "objective.sampled_kl": FLAGS,
    "objective.tc_estimator": NAMES,
    "objective.dip_kind": NAMES,
    "objective.modality_weights": [1.0, None, (1.0, -1.0), (math.nan,), (True,), ("1",), (0, 0.0)],
    "objective.num_subsets": AT_LEAST_0,
    "optimizer.name": NAMES,
    "optimizer.schedule": NAMES,
    "optimizer.b1": [1, 1.0, *NUMBERS],
    "optimizer.b2": [1, 1.0, *NUMBERS],
    "optimizer.epsilon": [0, 0.0, *NUMBERS],
    "optimizer.gradient_clip_norm": NUMBERS,
    "optimizer.accumulation_steps": AT_LEAST_1,
    "hparams.learning_rate": [0, 0.0, *NUMBERS],
    "hparams.beta": NUMBERS,
    "hparams.distortion_weight": NUMBERS,
    "hparams.warmup_epochs": NUMBERS,
    "hparams.warmup_cycle_epochs": NUMBERS,
    "hparams.free_nats": NUMBERS,
    "hparams.ciwae_weight": [1, 1.0, *NUMBERS],
    "hparams.gamma": NUMBERS,
    "hparams.capacity": NUMBERS,
    "hparams.capacity_epochs": NUMBERS,
    "hparams.dip_off_diagonal": NUMBERS,
    "hparams.dip_diagonal": NUMBERS,
    "hparams.discriminator_learning_rate": [0, 0.0, *NUMBERS],
    "hparams.unimodal_kl_weight": NUMBERS,
    "hparams.word_dropout": [1, 1.0, *NUMBERS],
    "hparams.corruption_level": NUMBERS,
    "hparams.weight_decay": NUMBERS,
    "checkpoints.every_seconds": NUMBERS,
    "checkpoints.max_to_keep": AT_LEAST_1,
    "tensorboard.images_every_epochs": AT_LEAST_0,
    "evaluation.num_samples": [10**9 + 1, *AT_LEAST_1],
    "evaluation.batch_size": AT_LEAST_1,
    "evaluation.seed": SEEDS,
    "evaluation.disentanglement": FLAGS,
}


def default_fields():
    return flatten(vanilla.get_config().to_dict())


def test_every_field_has_its_bad_values_here():
    assert set(BAD_VALUES) == set(FIELDS) == set(default_fields())


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD_VALUES.items() for value in values]
)
def test_a_bad_value_is_refused_with_the_field_the_value_and_what_is_right(field, value):
    with pytest.raises(UserError) as error:
        check_fields({**default_fields(), field: value})
    message = str(error.value)
    assert message.startswith(f"{field}={value!r} must be ")
    assert len(message) > len(f"{field}={value!r} must be ")
    assert "\n" not in message


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(field):
    fields = default_fields()
    del fields[field]
    with pytest.raises(UserError, match=rf"^{field} is missing from the config"):
        check_fields(fields)


@pytest.mark.parametrize(
    ("field", "nearest"),
    [
        ("bacth_size", "batch_size"),
        ("hparams.betta", "hparams.beta"),
        ("model.latent_dim", "model.latent_size"),
        ("evaluation.num_sample", "evaluation.num_samples"),
    ],
)
def test_an_unknown_field_suggests_the_nearest(field, nearest):
    with pytest.raises(UserError) as error:
        check_fields({**default_fields(), field: 1})
    assert str(error.value) == f"{field} is not a field of the config; did you mean {nearest}?"


def test_a_field_like_no_other_suggests_nothing():
    assert unknown_field_message("xyz") == "xyz is not a field of the config"


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_file_passes(name):
    factory.validate(importlib.import_module(f"configs.{name}").get_config())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hparams.corruption_level": 0.5}, "hparams.corruption_level=0.5 needs a corruption"),
        (
            {"corruption": "salt_and_pepper", "hparams.corruption_level": 1.5},
            "hparams.corruption_level=1.5 must be at most 1 for corruption='salt_and_pepper'",
        ),
        *(
            (
                {"corruption": "downsampling", "hparams.corruption_level": level},
                f"hparams.corruption_level={level} must be a whole factor of at least 2",
            )
            for level in (0.5, 1.0, 2.5)
        ),
        (
            {"corruption": "downsampling"},
            "hparams.corruption_level=0.0 leaves corruption='downsampling' without effect",
        ),
        (
            {"data.mode": "render"},
            "data.mode='render' draws images from their factors, which data.name='mnist' cannot; "
            "use data.mode='auto', or data.name='sprites' or 'sprites_smooth' or 'sprites_color'",
        ),
        (
            {"data.mode": "render", "data.name": "sprites", "data.binarization": "static"},
            "data.binarization='static' keeps a draw of every image, which data.mode='render'",
        ),
        (
            {"data.name": "sprites", "data.factors": "continuous"},
            "data.factors='continuous' has no effect with data.mode='auto'; use 'grid', or "
            "data.mode='render'",
        ),
        (
            {"data.mode": "stream", "data.binarization": "static"},
            "data.binarization='static' keeps a draw of every image, which data.mode='stream'",
        ),
        (
            {"data.mode": "memory", "data.memory_limit": 1.0},
            "data.memory_limit=1.0 has no effect with data.mode='memory'; use 4.0",
        ),
        ({"patience": 3, "data.validation_split": ""}, "patience=3 needs a validation set"),
        ({"model.widths": ()}, r"model.widths=\(\) must name at least one hidden layer"),
        ({"model.likelihood": "normal"}, "data.binarization='dynamic' does not fit"),
        (
            {"model.likelihood": "categorical", "data.binarization": "static"},
            "data.binarization='static' does not fit model.likelihood='categorical'; use",
        ),
        (
            {"model.likelihood_scale": 0.1},
            "model.likelihood_scale=0.1 has no effect with model.likelihood='bernoulli'; use 1.0, "
            "or model.likelihood='laplace' or 'normal'",
        ),
        (
            {"model.normal_scale": "optimal", "model.likelihood": "laplace"},
            "model.normal_scale='optimal' has no effect with model.likelihood='laplace'",
        ),
        (
            {"model.gated": True, "model.network": "conv"},
            "model.gated=True has no effect with model.network='conv'; use False, or "
            "model.network='mlp'",
        ),
        (
            {"model.blocks": 3, "model.network": "conv"},
            "model.blocks=3 has no effect with model.network='conv'; use 2, or "
            "model.network='resnet'",
        ),
        ({"model.remat": True}, "model.remat=True has no effect with model.network='mlp'"),
        ({"model.num_mixture": 5}, "model.num_mixture=5 has no effect with"),
        (
            {
                "model.likelihood": "normal",
                "model.normal_scale": "learned",
                "model.likelihood_scale": 1e-9,
                "data.binarization": "none",
            },
            r"model.likelihood_scale=1e-09 must lie in \[0.0004, 2500\]",
        ),
    ],
)
def test_fields_that_do_not_go_together_are_refused(changes, told):
    config = vanilla.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=f"^{told}"):
        factory.validate(config)


def test_fields_are_replaced_in_a_copy():
    config = vanilla.get_config().to_dict()
    before = copy.deepcopy(config)
    values = {"seed": 7, "hparams.beta": 4.0, "model.widths": (16, 8)}
    changed = with_fields(config, values)
    assert flatten(changed) == {**flatten(before), **values}
    assert config == before
    assert with_fields(changed, {}) == changed
    # As `--config.model.widths` on the command line would.
    expected = vanilla.get_config()
    expected.update_from_flattened_dict(values)
    assert changed == expected.to_dict()


@pytest.mark.parametrize("field", ["bacth_size", "hparams.betta", "nothing.beta"])
def test_a_field_that_is_not_there_is_not_added(field):
    config = vanilla.get_config().to_dict()
    with pytest.raises(KeyError):
        with_fields(config, {field: 1})


def test_a_gaussian_corruption_of_any_strength_is_accepted():
    config = vanilla.get_config()
    config.corruption, config.hparams.corruption_level = "gaussian", 3.0
    factory.validate(config)
