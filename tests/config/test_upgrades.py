import copy
import importlib

import pytest

from vae_jax import settings
from vae_jax.config import digest, plain, resolve
from vae_jax.config.upgrades import SCHEMA, upgrade

# Every field of schema 1, with the values of its configs/vanilla.py.
FLAT = {
    "batch_size": 128,
    "checkpoints": {"every_seconds": 30.0, "max_to_keep": 3},
    "corruption": "none",
    "data": {
        "binarization": "dynamic",
        "binarization_seed": 0,
        "caption_length": 0,
        "captions": "",
        "dir": "data",
        "factors": "grid",
        "image_size": 0,
        "memory_limit": 4.0,
        "modalities": [],
        "modality_seed": 0,
        "modality_shares": [],
        "mode": "auto",
        "name": "mnist",
        "test_split": "test",
        "train_split": "train[:55000]",
        "unknown_words": "refuse",
        "validation_split": "train[55000:]",
    },
    "epochs": 60,
    "evaluation": {"batch_size": 500, "disentanglement": False, "num_samples": 1000, "seed": 0},
    "hparams": {
        "beta": 1.0,
        "capacity": 0.0,
        "capacity_epochs": 0.0,
        "ciwae_weight": 0.0,
        "corruption_level": 0.0,
        "dip_diagonal": 1.0,
        "dip_off_diagonal": 1.0,
        "discriminator_learning_rate": 0.0001,
        "distortion_weight": 1.0,
        "free_nats": 0.0,
        "gamma": 1.0,
        "learning_rate": 0.003,
        "unimodal_kl_weight": 0.0,
        "warmup_cycle_epochs": 0.0,
        "warmup_epochs": 0.0,
        "weight_decay": 0.0,
        "word_dropout": 0.0,
    },
    "model": {
        "activation": "silu",
        "blocks": 2,
        "channels": [32, 64],
        "compute_dtype": "float32",
        "decoder_start": "mean_image",
        "discriminator_widths": [],
        "downsampling": "stride",
        "embedding_size": 32,
        "flow_layers": 2,
        "flow_width": 128,
        "gated": False,
        "hierarchy": "none",
        "initializer": "lecun",
        "joint_posterior": "product",
        "kernel_size": 4,
        "latent_size": 32,
        "likelihood": "bernoulli",
        "likelihood_scale": 1.0,
        "name": "vae",
        "network": "mlp",
        "normal_scale": "fixed",
        "num_mixture": 10,
        "posterior": "diagonal",
        "prior": "standard",
        "prior_components": 500,
        "remat": False,
        "text_width": 64,
        "top_latent_size": 0,
        "top_widths": [],
        "upsampling": "transpose",
        "widths": [400],
    },
    "objective": {
        "dip_kind": "i",
        "gradient": "plain",
        "modality_weights": [],
        "name": "elbo",
        "num_groups": 1,
        "num_samples": 1,
        "num_subsets": 0,
        "sampled_kl": False,
        "tc_estimator": "weighted",
    },
    "optimizer": {
        "accumulation_steps": 1,
        "b1": 0.9,
        "b2": 0.999,
        "epsilon": 1e-08,
        "gradient_clip_norm": 0.0,
        "name": "adam",
        "schedule": "cosine",
    },
    "patience": 0,
    "seed": 0,
    "steps_per_call": 1000,
    "tensorboard": {"images_every_epochs": 10},
}


def flat(changes):
    """A config of schema 1 with other values by dotted name."""
    config = copy.deepcopy(FLAT)
    for path, value in changes.items():
        *parents, name = path.split(".")
        inner = config
        for parent in parents:
            inner = inner[parent]
        assert name in inner, path
        inner[name] = value
    return config


# The changes of it that configs of schema 1 made, by the name of their file.
FILES = {
    "vanilla": {},
    "beta": {"epochs": 30, "hparams.beta": 4.0, "hparams.warmup_epochs": 10.0},
    "celeba": {
        "data.binarization": "none",
        "data.image_size": 64,
        "data.name": "celeb_a",
        "data.train_split": "train",
        "data.validation_split": "validation",
        "epochs": 40,
        "evaluation.batch_size": 100,
        "evaluation.num_samples": 100,
        "hparams.learning_rate": 0.0005,
        "hparams.warmup_epochs": 4.0,
        "model.channels": [64, 128, 256, 256],
        "model.compute_dtype": "bfloat16",
        "model.kernel_size": 3,
        "model.latent_size": 128,
        "model.likelihood": "discretized_logistic",
        "model.network": "resnet",
        "model.remat": True,
        "model.upsampling": "resize",
        "model.widths": [],
        "optimizer.gradient_clip_norm": 200.0,
    },
    "compression_levels": {
        "batch_size": 100,
        "data.binarization": "none",
        "epochs": 10,
        "evaluation.num_samples": 10,
        "model.latent_size": 50,
        "model.likelihood": "discretized_logistic_mixture",
        "model.num_mixture": 3,
        "model.widths": [200],
    },
    "deblurring": {
        "corruption": "blur",
        "data.binarization": "none",
        "epochs": 30,
        "hparams.corruption_level": 2.0,
        "hparams.learning_rate": 0.001,
        "model.latent_size": 128,
        "model.name": "autoencoder",
        "model.widths": [1024],
    },
    "disentanglement_conv": {
        "batch_size": 64,
        "data.binarization": "none",
        "data.image_size": 64,
        "data.mode": "render",
        "data.name": "sprites",
        "data.test_split": "train[99%:]",
        "data.train_split": "train[:98%]",
        "data.validation_split": "train[98%:99%]",
        "epochs": 27,
        "evaluation.disentanglement": True,
        "evaluation.num_samples": 100,
        "hparams.beta": 4.0,
        "hparams.learning_rate": 0.0001,
        "model.activation": "relu",
        "model.channels": [32, 32, 64, 64],
        "model.latent_size": 10,
        "model.network": "conv",
        "model.widths": [256],
        "optimizer.schedule": "constant",
        "tensorboard.images_every_epochs": 0,
    },
    "multimodal": {
        "data.modalities": ["image", "text"],
        "evaluation.num_samples": 100,
        "hparams.learning_rate": 0.001,
        "hparams.unimodal_kl_weight": 2.0,
        "hparams.warmup_epochs": 10.0,
        "hparams.word_dropout": 0.1,
        "model.joint_posterior": "joint",
        "model.latent_size": 64,
        "model.name": "multimodal",
        "model.widths": [512, 512],
        "objective.modality_weights": [1.0, 3.0],
        "tensorboard.images_every_epochs": 0,
    },
    "multimodal_label": {
        "batch_size": 100,
        "data.modalities": ["image", "label"],
        "epochs": 100,
        "hparams.learning_rate": 0.001,
        "hparams.unimodal_kl_weight": 0.1,
        "hparams.warmup_epochs": 40.0,
        "model.activation": "relu",
        "model.joint_posterior": "joint",
        "model.latent_size": 64,
        "model.name": "multimodal",
        "model.widths": [512, 512],
        "optimizer.schedule": "constant",
        "tensorboard.images_every_epochs": 0,
    },
    "multimodal_renderings": {
        "data.binarization": "none",
        "data.modalities": [f"rendering_{i}" for i in range(5)],
        "epochs": 30,
        "evaluation.num_samples": 10,
        "hparams.learning_rate": 0.001,
        "model.joint_posterior": "mixture_of_products",
        "model.latent_size": 64,
        "model.likelihood": "laplace",
        "model.likelihood_scale": 0.75,
        "model.name": "multimodal",
        "model.network": "conv",
        "model.widths": [256],
        "tensorboard.images_every_epochs": 0,
    },
}


@pytest.mark.parametrize("name", FILES)
def test_a_config_of_schema_1_is_the_experiment_of_todays_file(name):
    old = flat(FILES[name])
    before = copy.deepcopy(old)
    today = importlib.import_module(f"configs.{name}").get_config()
    assert resolve(old) == resolve(today)
    assert digest(old) == digest(today)
    assert old == before


JOINT = {"model.name": "multimodal", "data.modalities": ["image", "label"]}
GREY = {"data.binarization": "none"}

# Changes of schema 1, and what is not the default in what they become.
BECOMES = [
    (
        {"model.posterior": "iaf", "model.flow_layers": 3, "model.flow_width": 8},
        {"model": {"posterior": {"name": "iaf", "layers": 3, "width": 8}}},
    ),
    (
        {"model.prior": "flow", "model.flow_layers": 3, "model.activation": "tanh"},
        {
            "model": {
                "encoder": {"activation": "tanh"},
                "prior": {"name": "flow", "layers": 3, "activation": "tanh"},
            }
        },
    ),
    (
        {"model.prior": "vamp", "model.prior_components": 7},
        {"model": {"prior": {"name": "vamp", "components": 7}}},
    ),
    (
        {"model.initializer": "glorot", "model.decoder_start": "grey"},
        {
            "model": {
                "decoder_start": "grey",
                "encoder": {"initializer": "glorot"},
                "posterior": {"initializer": "glorot"},
            }
        },
    ),
    (
        {
            "model.hierarchy": "ladder",
            "model.top_latent_size": 9,
            "model.top_widths": [6],
            "model.gated": True,
            "model.initializer": "glorot",
        },
        {
            "model": {
                "name": "ladder",
                "encoder": {"name": "gated_mlp", "initializer": "glorot"},
                "top_latent_size": 9,
                "top": {"name": "gated_mlp", "widths": [6], "initializer": "glorot"},
                "initializer": "glorot",
            }
        },
    ),
    (
        {**GREY, "model.likelihood": "normal", "model.normal_scale": "optimal"},
        {
            "data": {"binarization": {"name": "none"}},
            "model": {"likelihood": {"name": "normal", "scale_kind": "optimal"}},
        },
    ),
    (
        {"data.binarization": "static", "data.binarization_seed": 5, "data.mode": "memory"},
        {"data": {"binarization": {"name": "static", "seed": 5}, "mode": {"name": "memory"}}},
    ),
    (
        {"data.mode": "stream", "data.memory_limit": 1.0},
        {"data": {"mode": {"name": "stream", "memory_limit": 1.0}}},
    ),
    (
        {**GREY, "data.name": "sprites", "data.mode": "render", "data.factors": "continuous"},
        {
            "data": {
                "name": "sprites",
                "binarization": {"name": "none"},
                "mode": {"name": "render", "factors": "continuous"},
            }
        },
    ),
    (
        {**GREY, "corruption": "masking", "hparams.corruption_level": 0.5},
        {
            "data": {"binarization": {"name": "none"}},
            "corruption": {"name": "masking", "level": 0.5},
        },
    ),
    (
        {"hparams.distortion_weight": 0.0, "hparams.free_nats": 0.5, "objective.sampled_kl": True},
        {"objective": {"distortion_weight": 0.0, "free_nats": 0.5, "sampled_kl": True}},
    ),
    (
        {"objective.name": "iwae", "objective.num_samples": 5, "objective.gradient": "dreg"},
        {"objective": {"name": "iwae", "num_samples": 5, "gradient": "dreg"}},
    ),
    (
        {"objective.gradient": "stl", "objective.num_samples": 5},
        {"objective": {"name": "stl", "num_samples": 5}},
    ),
    (
        {"objective.name": "ciwae", "hparams.ciwae_weight": 0.5},
        {"objective": {"name": "ciwae", "elbo_weight": 0.5}},
    ),
    (
        {"objective.name": "miwae", "objective.num_groups": 3},
        {"objective": {"name": "miwae", "num_groups": 3}},
    ),
    (
        {"objective.name": "piwae", "objective.num_groups": 3, "objective.num_samples": 2},
        {"objective": {"name": "piwae", "num_groups": 3, "num_samples": 2}},
    ),
    (
        {
            "objective.name": "capacity",
            "hparams.gamma": 3.0,
            "hparams.capacity": 2.0,
            "hparams.capacity_epochs": 5.0,
        },
        {"objective": {"name": "capacity", "gamma": 3.0, "capacity": 2.0, "capacity_epochs": 5.0}},
    ),
    (
        {"objective.name": "tc", "hparams.beta": 6.0, "objective.tc_estimator": "stratified"},
        {"objective": {"name": "tc", "beta": 6.0, "estimator": "stratified"}},
    ),
    (
        {
            "objective.name": "dip",
            "objective.dip_kind": "ii",
            "hparams.dip_diagonal": 3.0,
            "hparams.dip_off_diagonal": 2.0,
        },
        {"objective": {"name": "dip", "kind": "ii", "diagonal": 3.0, "off_diagonal": 2.0}},
    ),
    (
        {
            "objective.name": "factor",
            "hparams.gamma": 6.0,
            "model.discriminator_widths": [8],
            "hparams.discriminator_learning_rate": 1e-3,
        },
        {
            "objective": {
                "name": "factor",
                "gamma": 6.0,
                "discriminator": {"widths": [8], "learning_rate": 1e-3},
            }
        },
    ),
    (
        {"optimizer.name": "sgd", "optimizer.schedule": "constant", "hparams.weight_decay": 0.1},
        {
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.003,
                "schedule": {"name": "constant"},
                "weight_decay": 0.1,
            }
        },
    ),
    (
        {"optimizer.b1": 0.5, "optimizer.epsilon": 1e-4, "optimizer.accumulation_steps": 2},
        {"optimizer": {"accumulation_steps": 2, "b1": 0.5, "epsilon": 1e-4}},
    ),
    # Several modalities.
    (
        {**JOINT, "hparams.beta": 2.0, "data.modality_shares": [1.0, 0.5]},
        {
            "data": {"modality_shares": [1.0, 0.5]},
            "model": {"name": "multimodal"},
            "objective": {"name": "mvae", "beta": 2.0},
        },
    ),
    (
        {
            **JOINT,
            "model.joint_posterior": "mixture",
            "objective.name": "iwae",
            "objective.num_samples": 3,
        },
        {
            "model": {"name": "multimodal", "joint_posterior": "mixture"},
            "objective": {"name": "mmvae", "num_samples": 3},
        },
    ),
    (
        {
            **JOINT,
            "data.modalities": ["image", "label", "text"],
            "data.captions": "{split}.txt",
            "data.caption_length": 9,
            "data.unknown_words": "replace",
            "data.modality_seed": 4,
            "model.embedding_size": 5,
            "model.text_width": 6,
            "model.activation": "relu",
            "model.widths": [7],
            "objective.num_subsets": 1,
        },
        {
            "data": {
                "modalities": ["image", "label", "text"],
                "captions": {"name": "own", "file": "{split}.txt", "length": 9},
                "unknown_words": "replace",
                "modality_seed": 4,
            },
            "model": {
                "name": "multimodal",
                "encoder": {"widths": [7], "activation": "relu"},
                "label": {"widths": [7], "activation": "relu"},
                "text": {"embedding_size": 5, "width": 6, "activation": "relu"},
            },
            "objective": {"name": "mvae", "num_subsets": 1},
        },
    ),
    # Settings that schema 1 took without effect have none.
    (
        {"optimizer.name": "adagrad", "optimizer.epsilon": 1e-4},
        {"optimizer": {"name": "adagrad", "learning_rate": 0.003}},
    ),
    (
        {"model.gated": True, "model.activation": "tanh"},
        {"model": {"encoder": {"name": "gated_mlp"}}},
    ),
    ({"data.binarization_seed": 3}, {}),
    (
        {"model.name": "autoencoder", "evaluation.num_samples": 5},
        {"model": {"name": "autoencoder"}, "objective": {"name": "reconstruction"}},
    ),
    (
        {"model.prior": "mixture", "objective.sampled_kl": True},
        {"model": {"prior": {"name": "mixture"}}},
    ),
]
# All of them.
SPLITS = {"train_split": "train[:55000]", "validation_split": "train[55000:]"}


@pytest.mark.parametrize(("changes", "expected"), BECOMES)
def test_a_setting_of_schema_1_is_found_where_it_is_now(changes, expected):
    found = settings.changed(resolve(flat(changes)))
    found["data"] = {k: v for k, v in found["data"].items() if k not in SPLITS}
    default_rate = found.get("optimizer", {})
    if "name" in default_rate:
        # Whatever the optimiser, its rate is said.
        expected = {**expected, "optimizer": {"learning_rate": 0.003, **expected["optimizer"]}}
        found["optimizer"] = {"learning_rate": 0.003, **default_rate}
    assert {name: value for name, value in found.items() if value} == expected


def test_an_upgraded_config_is_of_the_present_schema():
    upgraded = upgrade(FLAT)
    assert "hparams" not in upgraded
    assert upgrade(upgraded) == upgraded
    experiment = resolve(FLAT)
    assert {"schema": SCHEMA, **upgrade(experiment.to_dict())} == experiment.to_dict()
    assert upgrade({**FLAT, "schema": 1}) == upgraded
    assert experiment.to_dict()["schema"] == SCHEMA
    assert plain(FLAT) == upgraded


def test_fields_that_an_older_version_did_not_have_take_their_defaults():
    old = flat({})
    del old["data"]["modality_shares"], old["objective"]["sampled_kl"], old["tensorboard"]
    del old["hparams"]["free_nats"]
    assert resolve(old) == resolve(FLAT)
