"""Which values of a config's fields fit together."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vae_jax.config_fields import check_fields, flatten
from vae_jax.corruptions import CORRUPTIONS, MAX_LEVEL
from vae_jax.data.sprites import VARIANTS
from vae_jax.errors import UserError
from vae_jax.factory.losses import GROUPED, is_plain_elbo
from vae_jax.factory.models import build_likelihood
from vae_jax.models.likelihoods import LEARNED_SCALE_RANGE

# What some likelihoods, or networks, read, the value that the others need, and those that read it.
_READERS: dict[str, dict[str, tuple[Any, tuple[str, ...]]]] = {
    "likelihood": {
        "likelihood_scale": (1.0, ("laplace", "normal")),
        "normal_scale": ("fixed", ("normal",)),
        "num_mixture": (10, ("discretized_logistic_mixture",)),
    },
    "network": {
        "gated": (False, ("mlp",)),
        "blocks": (2, ("resnet",)),
        "remat": (False, ("resnet",)),
    },
}


# What neither a deterministic autoencoder nor a bound of several samples reads, and the value that
# says so.
_VAE_ONLY = {
    "beta": 1.0,
    "distortion_weight": 1.0,
    "warmup_epochs": 0.0,
    "warmup_cycle_epochs": 0.0,
    "free_nats": 0.0,
}


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
    if config.model.name == "autoencoder":
        _refuse_without_effect(config, "hparams", _VAE_ONLY, "model.name='autoencoder'")
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
    if section.factors == "continuous" and section.mode != "render":
        raise UserError(
            f"data.factors='continuous' has no effect with data.mode={section.mode!r}; use 'grid', "
            "or data.mode='render'"
        )
    if section.mode == "memory":
        _refuse_without_effect(config, "data", {"memory_limit": 4.0}, "data.mode='memory'")


def _refuse_without_effect(
    config: ConfigDict, section: str, neutral_values: Mapping[str, Any], cause: str
) -> None:
    """Refuse fields of a section that are not read because of `cause`, unless they say nothing."""
    for field, neutral in neutral_values.items():
        value = config[section][field]
        if value != neutral:
            raise UserError(
                f"{section}.{field}={value!r} has no effect with {cause}; use {neutral!r}"
            )


def _refuse_unread(config: ConfigDict) -> None:
    """Refuse fields that the chosen likelihood or network does not read."""
    section = config.model
    for part, fields in _READERS.items():
        for field, (neutral, readers) in fields.items():
            if section[part] not in readers and section[field] != neutral:
                raise UserError(
                    f"model.{field}={section[field]!r} has no effect with model.{part}="
                    f"{section[part]!r}; use {neutral!r}, or model.{part}="
                    f"{' or '.join(map(repr, readers))}"
                )


def _validate_objective(config: ConfigDict) -> None:
    section = config.objective
    if config.model.name == "autoencoder":
        defaults = {"name": "elbo", "num_samples": 1, "gradient": "plain", "sampled_kl": False}
        _refuse_without_effect(config, "objective", defaults, "model.name='autoencoder'")
    if section.gradient == "dreg" and section.name != "iwae":
        raise UserError(
            f"objective.gradient='dreg' is an estimator for objective.name='iwae', not "
            f"{section.name!r}"
        )
    if section.gradient == "stl" and section.name == "piwae":
        raise UserError("objective.gradient='stl' is not defined for objective.name='piwae'")
    if section.gradient != "plain" and config.model.posterior == "iaf":
        raise UserError(
            f"objective.gradient={section.gradient!r} needs the posterior's density at given "
            "latents, which model.posterior='iaf' does not have; use objective.gradient='plain'"
        )
    if section.num_groups > 1 and section.name not in GROUPED:
        raise UserError(
            f"objective.num_groups={section.num_groups} has no effect with objective.name="
            f"{section.name!r}; use 1, or one of {', '.join(GROUPED)}"
        )
    if config.hparams.ciwae_weight > 0 and section.name != "ciwae":
        raise UserError(
            f"hparams.ciwae_weight={config.hparams.ciwae_weight} has no effect with "
            f"objective.name={section.name!r}; use 0.0, or objective.name='ciwae'"
        )
    if not is_plain_elbo(config):
        # These weigh the terms of the elbo, which a bound over several samples does not have.
        cause = f"objective.name={section.name!r} and objective.gradient={section.gradient!r}"
        _refuse_without_effect(config, "hparams", _VAE_ONLY, cause)
        if section.sampled_kl:
            raise UserError(
                f"objective.sampled_kl=True has no effect with objective.name={section.name!r} "
                f"and objective.gradient={section.gradient!r}, which sample it anyway; use False"
            )


def _validate_latents(config: ConfigDict) -> None:
    model = config.model
    if model.name == "autoencoder":
        neutral_values = {"posterior": "diagonal", "prior": "standard", "hierarchy": "none"}
        _refuse_without_effect(config, "model", neutral_values, "model.name='autoencoder'")
    if model.hierarchy == "none":
        for field in ("top_latent_size", "top_widths"):
            if model[field]:
                raise UserError(
                    f"model.{field}={model[field]} has no effect with model.hierarchy='none'; use "
                    f"{type(model[field])()}, or another model.hierarchy"
                )
    else:
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
