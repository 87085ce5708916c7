"""Which values of a config's fields fit together."""

from typing import Any

from ml_collections import ConfigDict

from vae_jax.config.bodies import build_likelihood
from vae_jax.config.fields import check_fields, flatten
from vae_jax.config.losses import BOUNDS, GROUPED, OF_WHOLE_BATCHES
from vae_jax.data import multimodal
from vae_jax.data.corruptions import CORRUPTIONS, MAX_LEVEL
from vae_jax.data.sprites.dataset import VARIANTS
from vae_jax.errors import UserError
from vae_jax.models.likelihoods import LEARNED_SCALE_RANGE

# What an objective that is no bound of several samples may weigh.
_ELBO_WEIGHTS = {
    "hparams.beta": 1.0,
    "hparams.distortion_weight": 1.0,
    "hparams.warmup_epochs": 0.0,
    "hparams.warmup_cycle_epochs": 0.0,
    "hparams.free_nats": 0.0,
}

# By the field that chooses: the fields that only some of its choices read, the value that the
# others need, and those that read it.
_READERS: dict[str, dict[str, tuple[Any, tuple[str, ...]]]] = {
    "model.name": {
        **{
            field: (neutral, ("vae",))
            for field, neutral in {
                "hparams.distortion_weight": 1.0,
                "hparams.free_nats": 0.0,
                "model.posterior": "diagonal",
                "model.prior": "standard",
                "model.hierarchy": "none",
                "objective.gradient": "plain",
                "objective.sampled_kl": False,
            }.items()
        },
        **{
            field: (neutral, ("vae", "multimodal"))
            for field, neutral in {
                "hparams.beta": 1.0,
                "hparams.warmup_epochs": 0.0,
                "hparams.warmup_cycle_epochs": 0.0,
                "objective.name": "elbo",
                "objective.num_samples": 1,
            }.items()
        },
        **{
            field: (neutral, ("vae", "autoencoder"))
            for field, neutral in {
                "corruption": "none",
                "evaluation.disentanglement": False,
                "tensorboard.images_every_epochs": 0,
            }.items()
        },
        **{
            field: (neutral, ("multimodal",))
            for field, neutral in {
                "data.modalities": (),
                "data.modality_shares": (),
                "data.modality_seed": 0,
                "data.captions": "",
                "data.caption_length": 0,
                "data.unknown_words": "refuse",
                "model.joint_posterior": "product",
                "model.embedding_size": 32,
                "model.text_width": 64,
                "objective.modality_weights": (),
                "objective.num_subsets": 0,
                "hparams.unimodal_kl_weight": 0.0,
                "hparams.word_dropout": 0.0,
            }.items()
        },
    },
    "model.joint_posterior": {
        "objective.num_subsets": (0, ("product",)),
        "hparams.unimodal_kl_weight": (0.0, ("joint",)),
    },
    "model.likelihood": {
        "model.likelihood_scale": (1.0, ("laplace", "normal")),
        "model.normal_scale": ("fixed", ("normal",)),
        "model.num_mixture": (10, ("discretized_logistic_mixture",)),
    },
    "model.network": {
        "model.gated": (False, ("mlp",)),
        "model.blocks": (2, ("resnet",)),
        "model.remat": (False, ("resnet",)),
        "model.channels": ((32, 64), ("conv", "resnet")),
        "model.kernel_size": (4, ("conv", "resnet")),
        "model.downsampling": ("stride", ("conv", "resnet")),
        "model.upsampling": ("transpose", ("conv", "resnet")),
    },
    "model.prior": {
        "model.prior_components": (500, ("mixture", "vamp")),
    },
    "model.hierarchy": {
        "model.top_latent_size": (0, ("ladder", "markov")),
        "model.top_widths": ((), ("ladder", "markov")),
    },
    "objective.name": {
        **{field: (neutral, ("elbo",)) for field, neutral in _ELBO_WEIGHTS.items()},
        "hparams.beta": (1.0, ("elbo", "tc")),
        "hparams.ciwae_weight": (0.0, ("ciwae",)),
        "hparams.gamma": (1.0, ("capacity", "factor")),
        "hparams.capacity": (0.0, ("capacity",)),
        "hparams.capacity_epochs": (0.0, ("capacity",)),
        "hparams.dip_off_diagonal": (1.0, ("dip",)),
        "hparams.dip_diagonal": (1.0, ("dip",)),
        "hparams.discriminator_learning_rate": (1e-4, ("factor",)),
        "model.discriminator_widths": ((), ("factor",)),
        "objective.num_samples": (1, ("capacity", "elbo", *BOUNDS)),
        "objective.num_groups": (1, GROUPED),
        "objective.gradient": ("plain", ("elbo", *BOUNDS)),
        "objective.sampled_kl": (False, ("capacity", "elbo")),
        "objective.tc_estimator": ("weighted", ("tc",)),
        "objective.dip_kind": ("i", ("dip",)),
    },
    # Other gradients are those of log weights, in which the elbo's terms are no longer apart.
    "objective.gradient": {
        field: (neutral, ("plain",))
        for field, neutral in {**_ELBO_WEIGHTS, "objective.sampled_kl": False}.items()
    },
    "optimizer.name": {
        "optimizer.b1": (0.9, ("adam",)),
        "optimizer.b2": (0.999, ("adam",)),
    },
    "data.mode": {
        "data.factors": ("grid", ("render",)),
        "data.memory_limit": (4.0, ("auto", "render", "stream")),
    },
}

# The fields that only texts read, and what the others need.
_OF_TEXTS: dict[str, Any] = {
    "data.captions": "",
    "data.caption_length": 0,
    "data.unknown_words": "refuse",
    "hparams.word_dropout": 0.0,
}

# Of a mixture over all subsets, which has 2^modalities components.
_MOST_POWERSET = 8

# Objectives of the aggregate posterior of independent normals, and what gives these.
_OF_NORMALS = ("dip", "factor", "tc")
_NORMALS = {"posterior": "diagonal", "prior": "standard", "hierarchy": "none"}


def validate(config: ConfigDict) -> None:
    """Refuse a config that cannot work, before anything is read or compiled.

    Raises:
      UserError: names the field, its value, and what would be right.
    """
    check_fields(flatten(config.to_dict()))
    level, corruption = config.hparams.corruption_level, config.corruption
    if corruption == "none" and level > 0:
        raise UserError(
            f"hparams.corruption_level={level} needs a corruption; set corruption to one of "
            f"{', '.join(CORRUPTIONS)}"
        )
    if corruption != "none" and level > MAX_LEVEL[corruption]:
        raise UserError(
            f"hparams.corruption_level={level} must be at most {MAX_LEVEL[corruption]:g} for "
            f"corruption={corruption!r}"
        )
    if corruption == "downsampling" and (level != round(level) or level == 1):
        raise UserError(
            f"hparams.corruption_level={level} must be a whole factor of at least 2 for "
            "corruption='downsampling'"
        )
    if corruption != "none" and level == 0:
        raise UserError(
            f"hparams.corruption_level={level} leaves corruption={corruption!r} without effect; "
            "raise it, or use corruption='none'"
        )
    _refuse_unread(config)
    if config.batch_size % config.optimizer.accumulation_steps:
        raise UserError(
            f"optimizer.accumulation_steps={config.optimizer.accumulation_steps} must divide "
            f"batch_size={config.batch_size}"
        )
    _validate_latents(config)
    _validate_objective(config)
    cycle, ramp = config.hparams.warmup_cycle_epochs, config.hparams.warmup_epochs
    if 0 < cycle < ramp or (cycle > 0 and ramp == 0):
        raise UserError(
            f"hparams.warmup_cycle_epochs={cycle} must be at least hparams.warmup_epochs={ramp}, "
            "and that above 0"
        )
    if config.patience > 0 and not config.data.validation_split:
        raise UserError(
            f"patience={config.patience} needs a validation set; name one in data.validation_split"
        )
    if config.model.network == "mlp" and not config.model.widths:
        raise UserError("model.widths=() must name at least one hidden layer of an mlp network")
    _validate_likelihood(config)
    _validate_mode(config)
    if config.model.name == "multimodal":
        _validate_modalities(config)


def _validate_modalities(config: ConfigDict) -> None:
    names, kind = tuple(config.data.modalities), config.model.joint_posterior
    num, section = len(names), config.objective
    if num < 2:
        raise UserError(
            f"data.modalities={names!r} must name at least two with model.name='multimodal', such "
            "as ('image', 'label')"
        )
    multimodal.check_names(names)
    if kind == "joint" and num != 2:
        raise UserError(
            f"model.joint_posterior='joint' has an encoder of two modalities, and data.modalities="
            f"{names!r} are {num}; use 'product', 'mixture' or 'mixture_of_products'"
        )
    if kind == "mixture_of_products" and num > _MOST_POWERSET:
        raise UserError(
            f"model.joint_posterior='mixture_of_products' is of all subsets, too many of the {num} "
            f"data.modalities; use at most {_MOST_POWERSET}, or 'product' or 'mixture'"
        )
    of_each = {
        "objective.modality_weights": tuple(section.modality_weights),
        "data.modality_shares": tuple(config.data.modality_shares),
    }
    for field, values in of_each.items():
        if values and len(values) != num:
            raise UserError(
                f"{field}={values!r} must have a number for each of the {num} "
                f"data.modalities={names!r}, or be ()"
            )
    if kind == "joint" and any(share < 1 for share in config.data.modality_shares):
        raise UserError(
            f"data.modality_shares={of_each['data.modality_shares']!r} leaves examples without a "
            "modality, and model.joint_posterior='joint' is trained on examples that have both; "
            "use (), or 'product', 'mixture' or 'mixture_of_products'"
        )
    if section.num_subsets > 0 and num < 3:
        raise UserError(
            f"objective.num_subsets={section.num_subsets} draws subsets of at least two modalities "
            f"and fewer than all, of which data.modalities={names!r} has none; use 0"
        )
    if section.name not in ("elbo", "iwae"):
        raise UserError(
            f"objective.name={section.name!r} is not defined for model.name='multimodal'; use "
            "'elbo', or 'iwae' with model.joint_posterior='mixture'"
        )
    bounds = section.name == "iwae" or section.num_samples > 1
    if bounds and (kind != "mixture" or section.name != "iwae"):
        raise UserError(
            f"objective.name={section.name!r} with objective.num_samples={section.num_samples} is "
            f"not defined for model.joint_posterior={kind!r}; use 'elbo' with 1 sample, or 'iwae' "
            "with model.joint_posterior='mixture'"
        )
    if config.data.binarization == "static":
        raise UserError(
            "data.binarization='static' is not defined for model.name='multimodal'; use 'dynamic'"
        )
    if config.data.mode not in ("auto", "memory"):
        raise UserError(
            f"data.mode={config.data.mode!r} is not defined for model.name='multimodal', whose "
            "examples are kept in memory; use 'memory' or 'auto'"
        )
    flat = flatten(config.to_dict())
    for field, neutral in _OF_TEXTS.items():
        if flat[field] != neutral and "text" not in names:
            raise UserError(
                f"{field}={flat[field]!r} needs the modality 'text', which is not among "
                f"data.modalities={names!r}; use {neutral!r}"
            )
    if config.data.caption_length > 0 and not config.data.captions:
        raise UserError(
            f"data.caption_length={config.data.caption_length} is of your own captions, and "
            "data.captions='' names none; use 0"
        )


def _validate_mode(config: ConfigDict) -> None:
    section = config.data
    if section.mode in ("render", "stream") and section.binarization == "static":
        raise UserError(
            f"data.binarization='static' keeps a draw of every image, which data.mode="
            f"{section.mode!r} does not; use data.binarization='dynamic', or data.mode='memory'"
        )
    if section.mode == "render" and section.name not in VARIANTS:
        raise UserError(
            f"data.mode='render' draws images from their factors, which data.name="
            f"{section.name!r} cannot; use data.mode='auto', or data.name="
            f"{' or '.join(map(repr, VARIANTS))}"
        )


def _refuse_unread(config: ConfigDict) -> None:
    """Refuse fields that the choices made do not read, unless they say nothing."""
    values = flatten(config.to_dict())
    for choice, fields in _READERS.items():
        for field, (neutral, readers) in fields.items():
            # A tuple comes back from a file as a list.
            value = tuple(values[field]) if isinstance(values[field], list) else values[field]
            if values[choice] not in readers and value != neutral:
                raise UserError(
                    f"{field}={value!r} has no effect with {choice}={values[choice]!r}; use "
                    f"{neutral!r}, or {choice}={' or '.join(map(repr, readers))}"
                )


def refuse_parts(config: ConfigDict, cause: str, remedy: str) -> None:
    """Refuse an objective that compares the examples of a batch, where each batch is parted.

    Args:
      config: a config.
      cause: what parts batches.
      remedy: what would not.

    Raises:
      UserError: the config has such an objective.
    """
    if config.objective.name in OF_WHOLE_BATCHES:
        raise UserError(
            f"{cause} parts each batch, whose examples objective.name={config.objective.name!r} "
            f"compares with each other; use {remedy}"
        )


def _validate_objective(config: ConfigDict) -> None:
    section = config.objective
    if section.gradient == "dreg" and section.name != "iwae":
        raise UserError(
            f"objective.gradient='dreg' is an estimator for objective.name='iwae', not "
            f"{section.name!r}"
        )
    if section.gradient == "stl" and section.name in BOUNDS:
        # Tucker et al. 2018 (arXiv 1810.04152, section 4): what it leaves out has no mean of zero.
        raise UserError(
            f"objective.gradient='stl' is biased for objective.name={section.name!r}; use 'plain'"
            + (", or 'dreg'" if section.name == "iwae" else "")
        )
    if section.gradient != "plain" and config.model.posterior == "iaf":
        raise UserError(
            f"objective.gradient={section.gradient!r} needs the posterior's density at given "
            "latents, which model.posterior='iaf' does not have; use objective.gradient='plain'"
        )
    if section.name == "factor" and not config.model.discriminator_widths:
        raise UserError(
            "model.discriminator_widths=() must name at least one hidden layer with "
            "objective.name='factor'; Kim & Mnih 2018 use (1000,) * 6"
        )
    if section.name in _OF_NORMALS:
        for field, value in _NORMALS.items():
            if config.model[field] != value:
                raise UserError(
                    f"model.{field}={config.model[field]!r} does not fit objective.name="
                    f"{section.name!r}, which is about independent normals; use {value!r}"
                )
    parts = config.optimizer.accumulation_steps
    if parts > 1:
        refuse_parts(config, f"optimizer.accumulation_steps={parts}", "1")


def _validate_latents(config: ConfigDict) -> None:
    model = config.model
    if model.hierarchy != "none":
        if model.top_latent_size == 0:
            raise UserError(
                "model.top_latent_size=0 must be at least 1 with model.hierarchy="
                f"{model.hierarchy!r}; Burda et al. 2015 use 50"
            )
        if model.posterior == "iaf":
            raise UserError(
                f"model.posterior='iaf' does not fit model.hierarchy={model.hierarchy!r}; use "
                "'diagonal', or model.hierarchy='none'"
            )
    for field, neutral in (("posterior", "diagonal"), ("hierarchy", "none")):
        if model.prior == "vamp" and model[field] != neutral:
            raise UserError(
                f"model.prior='vamp' mixes independent normals, which model.{field}="
                f"{model[field]!r} does not give; use {neutral!r}, or another prior"
            )
    size = "latent_size" if model.hierarchy == "none" else "top_latent_size"
    for field, name in (("posterior", "iaf"), ("prior", "flow")):
        if model[field] == name and model[size] < 2:
            raise UserError(
                f"model.{size}={model[size]} must be at least 2 with model.{field}={name!r}, where "
                "one dimension depends on another"
            )
    for field, default in (("flow_layers", 2), ("flow_width", 128)):
        if model[field] != default and model.prior != "flow" and model.posterior != "iaf":
            raise UserError(
                f"model.{field}={model[field]!r} has no effect without model.prior='flow' or "
                f"model.posterior='iaf'; use {default!r}, or one of these"
            )


def _validate_likelihood(config: ConfigDict) -> None:
    section = config.model
    low, high = LEARNED_SCALE_RANGE
    if section.normal_scale != "fixed" and not low <= section.likelihood_scale <= high:
        raise UserError(
            f"model.likelihood_scale={section.likelihood_scale} must lie in [{low:g}, {high:g}] "
            f"with model.normal_scale={section.normal_scale!r}, which is bounded there"
        )
    if config.data.binarization != "none" and build_likelihood(config).support != "zeros and ones":
        raise UserError(
            f"data.binarization={config.data.binarization!r} does not fit model.likelihood="
            f"{section.likelihood!r}; use data.binarization='none', or model.likelihood='bernoulli'"
        )
