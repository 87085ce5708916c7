import copy
import dataclasses
import importlib
import json
from pathlib import Path

import own_parts
import pytest
from ml_collections import ConfigDict, config_dict

from configs import imputation, multimodal, vanilla
from vae_jax import settings
from vae_jax.config import digest, refuse_parts, resolve
from vae_jax.config import experiment as experiments
from vae_jax.config.experiment import Experiment, JointExperiment, ReconstructionEvaluation
from vae_jax.config.upgrades import SCHEMA
from vae_jax.errors import UserError
from vae_jax.models.code_prior import FirstStage
from vae_jax.models.vae import VAESettings
from vae_jax.objectives.elbo import ELBO

CONFIGS = sorted(path.stem for path in Path("configs").glob("*.py") if path.stem != "__init__")
AUTOENCODER = {"name": "autoencoder"}


def of_modalities(*names, **data):
    """Data of some modalities; by default images and labels."""
    return {"modalities": names or ("image", "label"), **data}


def joint(kind="product", **model):
    return {"name": "multimodal", "joint_posterior": kind, **model}


def refused(content):
    """The line that a config is refused with."""
    before = copy.deepcopy(content)
    with pytest.raises(UserError) as error:
        resolve(content)
    assert content == before
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_file_is_an_experiment_and_the_same_after_a_round_trip(name, monkeypatch):
    def finished(run):
        return FirstStage(workdir=run, data_name="mnist", binarization="none")

    monkeypatch.setattr(experiments, "read_first_stage", finished)
    config = importlib.import_module(f"configs.{name}").get_config()
    experiment = resolve(config)
    assert resolve(experiment) is experiment
    written = json.loads(json.dumps(experiment.to_dict()))
    assert written["schema"] == SCHEMA
    assert resolve(written) == experiment
    assert digest(written) == digest(config) == digest(experiment)


def test_the_configs_of_imputation_are_those_of_the_measured_rows():
    measured = json.loads(Path("results/uses/imputation.json").read_text())["rows"]
    for row in measured:
        config = imputation.get_config(Path(row["data"]).stem)
        config.seed = row["seed"]
        config.data.update(missing_share=row["missing_share"], missing_seed=row["missing_seed"])
        assert digest(config) == row["config_digest"], row["data"]
    with pytest.raises(UserError, match="there is no table 'whine'; name one of breast_cancer"):
        imputation.get_config("whine")


def test_settings_that_a_config_leaves_out_have_their_defaults():
    assert resolve({}) == Experiment()
    assert resolve(ConfigDict({"seed": 3})).seed == 3
    assert resolve({"objective": {"beta": 4.0}}).objective == ELBO(beta=4.0)
    assert resolve({"model": VAESettings(latent_size=7)}).model.latent_size == 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve({}).seed = 3


def test_a_reference_that_fails_is_refused_in_one_line():
    config = ConfigDict({"seed": config_dict.required_placeholder(int)})
    with pytest.raises(UserError, match="the config has a value that fails: RequiredValueError"):
        resolve(config)


def test_a_model_decides_which_other_settings_there_are():
    plain, blind = resolve({}), resolve({"model": "autoencoder"})
    assert blind.objective.name == "reconstruction"
    assert isinstance(blind.evaluation, ReconstructionEvaluation)
    assert plain.evaluation.num_samples == 1000
    for kind, name in (
        ("product", "mvae"),
        ("mixture", "mmvae"),
        ("mixture_of_products", "mopoe"),
        ("joint", "jmvae"),
    ):
        found = resolve({"model": joint(kind), "objective": {"beta": 2.0}})
        assert isinstance(found, JointExperiment)
        assert (found.objective.name, found.objective.beta) == (name, 2.0)
        assert found.data.modalities == ("image", "label")
        assert not hasattr(found, "corruption")


def test_traced_settings_are_those_of_the_chosen_parts():
    assert resolve({}).hparams == {
        "objective.beta": 1.0,
        "objective.distortion_weight": 1.0,
        "objective.warmup_epochs": 0.0,
        "objective.warmup_cycle_epochs": 0.0,
        "objective.free_nats": 0.0,
        "optimizer.learning_rate": 3e-3,
        "optimizer.weight_decay": 0.0,
    }
    content = {
        "model": AUTOENCODER,
        "optimizer": "sgd",
        "corruption": {"name": "box", "level": 0.25},
    }
    assert set(resolve(content).hparams) == {
        "corruption.level",
        "optimizer.learning_rate",
        "optimizer.weight_decay",
    }
    factor = resolve({"objective": {"name": "factor", "discriminator": {"learning_rate": 0.1}}})
    assert factor.hparams["objective.discriminator.learning_rate"] == 0.1


# Settings that a config cannot say, since what was chosen does not read them.
UNREAD = [
    # The five that an earlier version took without effect.
    ({"optimizer": {"name": "adagrad", "epsilon": 1e-4}}, "optimizer.epsilon"),
    ({"optimizer": {"name": "sgd", "epsilon": 1e-4}}, "optimizer.epsilon"),
    (
        {"model": {"encoder": {"name": "gated_mlp", "activation": "tanh"}}},
        "model.encoder.activation",
    ),
    ({"data": {"binarization": {"name": "dynamic", "seed": 3}}}, "data.binarization.seed"),
    ({"data": {"binarization": {"name": "none", "seed": 3}}}, "data.binarization.seed"),
    ({"model": AUTOENCODER, "evaluation": {"num_samples": 5}}, "evaluation.num_samples"),
    # Others.
    ({"optimizer": {"name": "sgd", "b1": 0.5}}, "optimizer.b1"),
    ({"optimizer": {"name": "adagrad", "b2": 0.5}}, "optimizer.b2"),
    ({"corruption": {"level": 0.5}}, "corruption.level"),
    ({"data": {"mode": {"name": "auto", "factors": "continuous"}}}, "data.mode.factors"),
    ({"data": {"mode": {"name": "memory", "memory_limit": 1.0}}}, "data.mode.memory_limit"),
    ({"data": of_modalities()}, "data.modalities"),
    ({"data": {"captions": "own"}}, "data.captions"),
    ({"model": {"likelihood": {"scale": 0.1}}}, "model.likelihood.scale"),
    (
        {"model": {"likelihood": {"name": "laplace", "scale_kind": "optimal"}}},
        "model.likelihood.scale_kind",
    ),
    ({"model": {"likelihood": {"components": 5}}}, "model.likelihood.components"),
    ({"model": {"encoder": {"name": "conv", "blocks": 3}}}, "model.encoder.blocks"),
    ({"model": {"encoder": {"remat": True}}}, "model.encoder.remat"),
    ({"model": {"encoder": {"kernel_size": 3}}}, "model.encoder.kernel_size"),
    ({"model": {"encoder": {"channels": (4,)}}}, "model.encoder.channels"),
    ({"model": {"encoder": {"downsampling": "pool"}}}, "model.encoder.downsampling"),
    ({"model": {"decoder": {"upsampling": "resize"}}}, "model.decoder.upsampling"),
    ({"model": {"top_latent_size": 4}}, "model.top_latent_size"),
    ({"model": {"top": "mlp"}}, "model.top"),
    ({"model": {"joint_posterior": "mixture"}}, "model.joint_posterior"),
    ({"model": {"text": {"width": 8}}}, "model.text"),
    ({"model": {"prior": {"components": 10}}}, "model.prior.components"),
    ({"model": {"prior": {"layers": 7}}}, "model.prior.layers"),
    ({"model": {"posterior": {"width": 8}}}, "model.posterior.width"),
    ({"model": {"name": "markov", "posterior": "iaf"}}, "model.posterior"),
    ({"model": {**AUTOENCODER, "posterior": "iaf"}}, "model.posterior"),
    ({"model": {**AUTOENCODER, "prior": "mixture"}}, "model.prior"),
    ({"model": joint(prior="vamp")}, "model.prior"),
    ({"model": AUTOENCODER, "objective": {"num_samples": 5}}, "objective.num_samples"),
    ({"model": AUTOENCODER, "objective": {"beta": 4.0}}, "objective.beta"),
    ({"objective": {"gradient": "dreg"}}, "objective.gradient"),
    ({"objective": {"num_groups": 2}}, "objective.num_groups"),
    ({"objective": {"elbo_weight": 0.5}}, "objective.elbo_weight"),
    ({"objective": {"gamma": 2.0}}, "objective.gamma"),
    ({"objective": {"name": "iwae", "beta": 4.0}}, "objective.beta"),
    ({"objective": {"name": "iwae", "free_nats": 1.0}}, "objective.free_nats"),
    ({"objective": {"name": "iwae", "sampled_kl": True}}, "objective.sampled_kl"),
    ({"objective": {"name": "piwae", "gradient": "stl"}}, "objective.gradient"),
    ({"objective": {"name": "stl", "beta": 4.0}}, "objective.beta"),
    ({"objective": {"name": "factor", "beta": 4.0}}, "objective.beta"),
    ({"objective": {"name": "tc", "capacity": 5.0}}, "objective.capacity"),
    ({"objective": {"name": "tc", "warmup_epochs": 5.0}}, "objective.warmup_epochs"),
    ({"objective": {"name": "tc", "num_samples": 2}}, "objective.num_samples"),
    ({"objective": {"name": "dip", "estimator": "stratified"}}, "objective.estimator"),
    ({"objective": {"name": "dip", "gradient": "stl"}}, "objective.gradient"),
    ({"objective": {"name": "capacity", "discriminator": {}}}, "objective.discriminator"),
    ({"model": joint(), "corruption": "masking"}, "corruption"),
    ({"model": joint(), "tensorboard": {"images_every_epochs": 1}}, "tensorboard"),
    ({"model": joint(), "evaluation": {"disentanglement": True}}, "evaluation.disentanglement"),
    ({"model": joint(), "objective": {"distortion_weight": 2.0}}, "objective.distortion_weight"),
    ({"model": joint("joint"), "objective": {"num_subsets": 1}}, "objective.num_subsets"),
    (
        {"model": joint("mixture"), "objective": {"unimodal_kl_weight": 1.0}},
        "objective.unimodal_kl_weight",
    ),
    (
        {"model": joint(), "data": {"captions": {"name": "written", "length": 5}}},
        "data.captions.length",
    ),
]


@pytest.mark.parametrize(("content", "path"), UNREAD)
def test_a_setting_that_nothing_reads_cannot_be_said(content, path):
    assert refused(content).startswith(f"{path} is not a setting")


# Rules between parts, and the messages.
RULES = [
    (
        {"objective": {"name": "elbo", "sampled_kl": True}, "model": {"prior": "mixture"}},
        "objective.sampled_kl=True has no effect: this model's KL is always sampled; use False",
    ),
    (
        {"objective": {"name": "capacity", "sampled_kl": True}, "model": {"posterior": "iaf"}},
        "objective.sampled_kl=True has no effect",
    ),
    (
        {"objective": {"sampled_kl": True}, "model": "ladder"},
        "objective.sampled_kl=True has no effect",
    ),
    (
        {"optimizer": {"accumulation_steps": 7}},
        "optimizer.accumulation_steps=7 must divide batch_size=128",
    ),
    *(
        (
            {"objective": name, "optimizer": {"accumulation_steps": 2}},
            "optimizer.accumulation_steps=2 parts each batch, whose examples "
            f"objective={name!r} compares with each other; use 1",
        )
        for name in ("capacity", "dip", "factor", "tc")
    ),
    (
        {"patience": 3},
        "patience=3 needs a validation set; name one in data.validation_split",
    ),
    (
        {"model": {"likelihood": "normal"}},
        "data.binarization='dynamic' does not fit model.likelihood='normal'; use "
        "data.binarization='none', or model.likelihood='bernoulli'",
    ),
    (
        {"model": {"likelihood": "categorical"}, "data": {"binarization": "static"}},
        "data.binarization='static' does not fit model.likelihood='categorical'",
    ),
    (
        {"model": {"likelihood": {"name": "normal", "scale": 1e-9, "scale_kind": "learned"}}},
        "model.likelihood.scale=1e-09 must lie in [0.0004, 2500] with scale_kind='learned'",
    ),
    (
        {
            "model": {"likelihood": {"name": "discretized_logistic", "scale": 1e-9}},
            "data": {"binarization": "none"},
        },
        "model.likelihood.scale=1e-09 must lie in [0.0004, 2500] with scale_kind='per_pixel'",
    ),
    (
        {"corruption": {"name": "box", "centre": (0.5,)}},
        "corruption.centre=(0.5,) must be a row and a column, such as (0.5, 0.5), or ()",
    ),
    (
        {"corruption": {"name": "downsampling", "level": 2.5}},
        "corruption.level=2.5 must be a whole factor of at least 2",
    ),
    (
        {"data": {"mode": "stream", "binarization": "static"}},
        "data.binarization='static' keeps a draw of every image, which data.mode='stream' does "
        "not; use data.binarization='dynamic', or data.mode='memory'",
    ),
    (
        {"data": {"mode": "render", "binarization": "static", "name": "sprites"}},
        "data.binarization='static' keeps a draw of every image, which data.mode='render'",
    ),
    (
        {"data": {"mode": "render"}},
        "data.mode='render' draws images from their factors, which data.name='mnist' cannot; use "
        "data.mode='auto', or data.name='sprites' or 'sprites_smooth' or 'sprites_color'",
    ),
    # Latents.
    *(
        (
            {"model": {field: name, "latent_size": 1}},
            f"model.latent_size=1 must be at least 2 with {field}={name!r}, where one dimension "
            "depends on another",
        )
        for field, name in (("posterior", "iaf"), ("prior", "flow"))
    ),
    (
        {"model": {"name": "markov", "top_latent_size": 1, "prior": "flow"}},
        "model.top_latent_size=1 must be at least 2 with prior='flow'",
    ),
    (
        {"model": {"prior": "vamp", "posterior": "iaf"}},
        "model.prior='vamp' mixes independent normals, which posterior='iaf' does not give; use "
        "'diagonal', or another prior",
    ),
    (
        {"model": {"name": "ladder", "prior": "vamp"}},
        "model.prior='vamp' mixes independent normals, which two layers do not give",
    ),
    (
        {"model": {"encoder": "own_parts:Encoder"}},
        "model.decoder='mirror' needs an encoder with a mirror, which "
        "encoder='own_parts:Encoder' does not have; use a decoder such as conv, gated_mlp, mlp",
    ),
    # Objectives and models.
    (
        {"objective": {"warmup_cycle_epochs": 5.0}},
        "objective.warmup_cycle_epochs=5.0 must be at least objective.warmup_epochs=0.0, and that "
        "above 0",
    ),
    (
        {"objective": {"warmup_cycle_epochs": 5.0, "warmup_epochs": 6.0}},
        "objective.warmup_cycle_epochs=5.0 must be at least objective.warmup_epochs=6.0",
    ),
    (
        {"model": joint(), "objective": {"warmup_cycle_epochs": 5.0}},
        "objective.warmup_cycle_epochs=5.0 must be at least objective.warmup_epochs=0.0",
    ),
    (
        {"model": AUTOENCODER, "objective": "elbo"},
        "objective='elbo' needs a posterior and a prior, which model='autoencoder' does not have; "
        "use 'reconstruction'",
    ),
    ({"model": AUTOENCODER, "objective": "dip"}, "objective='dip' needs a posterior and a prior"),
    (
        {"objective": "reconstruction"},
        "objective='reconstruction' leaves out the posterior and the prior of model='vae'; use "
        "'elbo', or model='autoencoder'",
    ),
    (
        {"objective": "mvae"},
        "objective='mvae' is defined for models of several modalities, and model='vae' is of "
        "images alone; use another objective",
    ),
    (
        {"model": joint(), "objective": "elbo"},
        "objective='elbo' is defined for models of images alone, and model='multimodal' is of "
        "several modalities",
    ),
    (
        {"model": joint("mixture"), "objective": "mvae"},
        "objective='mvae' is defined for model.joint_posterior='product', not 'mixture'; use "
        "objective='mmvae'",
    ),
    (
        {"model": {"posterior": "iaf"}, "objective": "stl"},
        "objective='stl' needs the posterior's density at given latents, which "
        "model.posterior='iaf' does not have",
    ),
    (
        {"model": {"posterior": "iaf"}, "objective": {"name": "iwae", "gradient": "dreg"}},
        "objective.gradient='dreg' needs the posterior's density at given latents, which "
        "model.posterior='iaf' does not have",
    ),
    *(
        (
            {"model": model, "objective": name},
            f"objective={name!r} needs independent normals; use model='vae' with "
            "posterior='diagonal' and prior='standard'",
        )
        for name in ("dip", "factor", "tc")
        for model in ({"posterior": "iaf"}, {"prior": "vamp"}, {"name": "ladder"})
    ),
    # Several modalities.
    (
        {"model": joint(), "data": {"binarization": "static"}},
        "data.binarization.name='static' must be one of dynamic, none",
    ),
    (
        {"model": joint(), "data": {"mode": "render"}},
        "data.mode.name='render' must be one of auto, memory",
    ),
    (
        {"model": joint(), "data": of_modalities("image")},
        "data.modalities=('image',) must name at least two with model='multimodal', such as "
        "('image', 'label')",
    ),
    (
        {"model": joint(), "data": of_modalities("image", "sound")},
        "data.modalities=('image', 'sound'): 'sound' is not known; name some of image, label,",
    ),
    (
        {"model": joint("joint"), "data": of_modalities("image", "label", "text")},
        "model.joint_posterior='joint' has an encoder of two modalities, and data.modalities="
        "('image', 'label', 'text') are 3; use 'product', 'mixture' or 'mixture_of_products'",
    ),
    (
        {"model": joint(), "objective": {"modality_weights": (1.0,)}},
        "objective.modality_weights=(1.0,) must have a number for each of the 2 "
        "data.modalities=('image', 'label'), or be ()",
    ),
    (
        {"model": joint(), "objective": {"modality_weights": (0, 0.0)}},
        "objective.modality_weights=(0.0, 0.0) must not all be 0",
    ),
    (
        {"model": joint(), "data": of_modalities(modality_shares=(1.0, 0.5, 0.5))},
        "data.modality_shares=(1.0, 0.5, 0.5) must have a number for each of the 2",
    ),
    (
        {"model": joint("joint"), "data": of_modalities(modality_shares=(1.0, 0.5))},
        "data.modality_shares=(1.0, 0.5) leaves examples without a modality, and "
        "model.joint_posterior='joint' is trained on examples that have both",
    ),
    (
        {"model": joint(), "objective": {"num_subsets": 1}},
        "objective.num_subsets=1 draws subsets of at least two modalities and fewer than all, and "
        "data.modalities=('image', 'label') has no such subset; use 0",
    ),
    (
        {"model": joint(), "data": of_modalities(captions="own")},
        "data.captions='own' needs the modality 'text', which is not among "
        "data.modalities=('image', 'label'); use 'written'",
    ),
    (
        {"model": joint(), "data": of_modalities(unknown_words="replace")},
        "data.unknown_words='replace' needs the modality 'text'",
    ),
    (
        {"model": joint(), "objective": {"word_dropout": 0.5}},
        "objective.word_dropout=0.5 needs the modality 'text'",
    ),
]


@pytest.mark.parametrize(("content", "message"), RULES)
def test_parts_that_do_not_go_together_are_refused_in_one_line(content, message):
    assert refused(content).startswith(message)


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"posterior": "iaf", "latent_size": 2}},
        {"corruption": {"name": "gaussian", "level": 3.0}},
        {"model": AUTOENCODER, "optimizer": {"accumulation_steps": 2}},
        {"objective": {"sampled_kl": True}},
        {"objective": {"warmup_cycle_epochs": 5.0, "warmup_epochs": 5.0}},
        {"objective": {"name": "iwae", "gradient": "dreg"}, "model": "ladder"},
        {"data": {"name": "sprites", "mode": {"name": "render", "factors": "continuous"}}},
        {"model": joint(), "data": of_modalities("image", "text", captions="own")},
        {
            "model": joint(),
            "data": of_modalities("image", "label", "text"),
            "objective": {"num_subsets": 1, "modality_weights": (1, 0, 2), "word_dropout": 0.5},
        },
        {"patience": 3, "data": {"train_split": "train[:9]", "validation_split": "train[9:]"}},
    ],
)
def test_parts_that_go_together_are_taken(content):
    resolve(content)


def test_an_objective_of_whole_batches_is_refused_where_batches_are_parted():
    with pytest.raises(UserError, match=r"^--parallel=pmap parts each batch.*; use --parallel=jit"):
        refuse_parts(resolve({"objective": "tc"}), "--parallel=pmap", "--parallel=jit")
    refuse_parts(resolve({}), "--parallel=pmap", "--parallel=jit")


# One of each kind from outside the package.
OWN = {
    "model": {
        "encoder": {"name": "own_parts:Encoder", "width": 4},
        "decoder": "own_parts:Decoder",
        "posterior": "own_parts:Posterior",
        "prior": {"name": "own_parts:Prior", "log_scale": 0.25},
        "likelihood": "own_parts:Likelihood",
    },
    "optimizer": {"name": "own_parts:SignDescent", "schedule": "own_parts:Halved"},
    "corruption": {"name": "own_parts:Fog", "density": 0.5},
}


def test_parts_from_outside_stand_wherever_parts_do():
    experiment = resolve(OWN)
    assert isinstance(experiment.model.encoder, own_parts.Encoder)
    assert experiment.hparams["corruption.density"] == 0.5
    assert resolve(json.loads(json.dumps(experiment.to_dict()))) == experiment
    assert digest(experiment) != digest({})
    # They are asked as the package's own are.
    assert resolve({**OWN, "objective": {"name": "iwae", "gradient": "dreg"}})
    assert refused({**OWN, "objective": "tc"}).startswith("objective='tc' needs independent")
    own_model = resolve({"model": {"name": "own_parts:Centred", "decay": 0.5}})
    assert settings.name_of(own_model.objective) == "own_parts:Following"
    own_loss = {"model": AUTOENCODER, "objective": "own_parts:Loss"}
    assert resolve(own_loss).hparams["objective.weight"] == 0.1
    assert refused({"model": "own_parts:Centred", "objective": "elbo"}).startswith(
        "objective='elbo' needs a posterior and a prior, which model='own_parts:Centred' does not"
    )
    assert resolve({"model": "own_parts:Centred", "objective": "reconstruction"})


@pytest.mark.parametrize("path", ["data.binarization", "data.mode"])
def test_how_examples_reach_a_model_is_the_packages_own(path):
    name = path.removeprefix("data.")
    message = refused({"data": {name: "own_parts:Encoder"}})
    assert message.startswith(f"{path}.name='own_parts:Encoder' must be one of ")
    assert "of your own" not in message


def test_a_traced_setting_of_a_model_from_outside_is_refused():
    message = refused({"model": {"encoder": "own_parts:Fog", "decoder": "mlp"}})
    assert "it has no 'build'" in message

    @dataclasses.dataclass(frozen=True)
    class Traced(own_parts.Encoder):
        scale: float = settings.traced(1.0, "Scale.")

    assert refused({"model": {"encoder": Traced(), "decoder": "mlp"}}) == (
        "model.encoder.scale is declared as traced, which settings of a model cannot be; declare "
        "it static"
    )


def everything_said(content, prefix=""):
    """Every value of nested sections alone, with the choices above it."""
    for name, value in content.items():
        if name in ("schema", "name"):
            continue
        if isinstance(value, dict):
            chosen = {"name": value["name"]} if "name" in value else {}
            yield {name: chosen}
            for inner in everything_said(value):
                yield {name: {**chosen, **inner}}
        else:
            yield {name: value}


@pytest.mark.parametrize("config", [vanilla.get_config(), multimodal.get_config()])
def test_a_digest_does_not_change_when_a_setting_is_said_with_its_default(config):
    base = config.to_dict()
    expected = digest(base)
    everything = resolve(base).to_dict()
    assert digest(everything) == expected

    def merged(one, other):
        both = dict(one)
        for name, value in other.items():
            nested = isinstance(value, dict) and isinstance(both.get(name), dict)
            both[name] = merged(both[name], value) if nested else value
        return both

    said = list(everything_said(everything))
    assert len(said) > 40
    for more in said:
        assert digest(merged(base, more)) == expected, more


def test_a_digest_identifies_an_experiment_by_what_its_result_depends_on():
    digests = [
        digest(content)
        for content in (
            {},
            {"seed": 1},
            {"objective": {"beta": 4.0}},
            {"objective": "iwae"},
            {"model": {"encoder": {"widths": (3,)}}},
            {"model": {"encoder": {"widths": (3, 3)}}},
            {"data": {"name": "sprites"}},
            {"evaluation": {"seed": 1}},
            {"optimizer": {"schedule": "constant"}},
        )
    ]
    assert len(set(digests)) == len(digests)
    assert all(len(found) == 16 and int(found, 16) >= 0 for found in digests)
    # The folders of files, and how often they are written, do not count.
    for content in (
        {"data": {"dir": "/elsewhere"}},
        {"checkpoints": {"every_seconds": 0.0, "max_to_keep": 1}},
        {"tensorboard": {"images_every_epochs": 0}},
        {"steps_per_call": 7},
        {"data": {"train_split": "train"}, "seed": 0},
    ):
        assert digest(content) == digests[0], content
    weights = {"model": joint(), "objective": {"modality_weights": (1, 50)}}
    same = {"model": joint(), "objective": {"modality_weights": [1.0, 50.0]}}
    assert digest(weights) == digest(same)


@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, "2", None])
def test_a_config_of_a_later_schema_is_refused(schema):
    assert refused({"schema": schema}) == (
        f"the config has schema={schema!r}, which a later version of vae_jax wrote; this one reads "
        f"schemas up to {SCHEMA}"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"bacth_size": 1}, "bacth_size is not a setting; did you mean batch_size?"),
        (
            {"objective": {"betta": 1.0}},
            "objective.betta is not a setting of objective='elbo'; did you mean beta?",
        ),
        (
            {"model": {"latent_dim": 1}},
            "model.latent_dim is not a setting of model='vae'; did you mean latent_size?",
        ),
        (
            {"evaluation": {"num_sample": 1}},
            "evaluation.num_sample is not a setting here (the settings of evaluation for a model "
            "of images with a density); did you mean num_samples?",
        ),
        ({"xyz": 1}, "xyz is not a setting; it has seed, epochs,"),
        ({"model": "vea"}, "model.name='vea' must be one of autoencoder,"),
        ({"model": 3}, "model=3 must be a choice, one of autoencoder,"),
        ({"epochs": 1.5}, "epochs=1.5 must be an integer of at least 1"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(content, message):
    assert refused(content).startswith(message)
