"""Upgrade configs of earlier schemas to the present one.

A new setting needs nothing here: configs that leave it out get its default. A setting that was
renamed or moved needs a function, with the schema that it came in:

| schema | what changed |
| --- | --- |
| 1 | one flat config of every field; scalars under `hparams` |
| 2 | parts with settings of their own |
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from vae_jax.errors import UserError

SCHEMA = 2

# The settings of schema 1 and their present names, for users who still write them.
RENAMED = {
    "hparams.learning_rate": "optimizer.learning_rate",
    "hparams.weight_decay": "optimizer.weight_decay",
    "hparams.beta": "objective.beta",
    "hparams.distortion_weight": "objective.distortion_weight",
    "hparams.warmup_epochs": "objective.warmup_epochs",
    "hparams.warmup_cycle_epochs": "objective.warmup_cycle_epochs",
    "hparams.free_nats": "objective.free_nats",
    "hparams.ciwae_weight": "objective.elbo_weight",
    "hparams.gamma": "objective.gamma",
    "hparams.capacity": "objective.capacity",
    "hparams.capacity_epochs": "objective.capacity_epochs",
    "hparams.dip_off_diagonal": "objective.off_diagonal",
    "hparams.dip_diagonal": "objective.diagonal",
    "hparams.discriminator_learning_rate": "objective.discriminator.learning_rate",
    "hparams.unimodal_kl_weight": "objective.unimodal_kl_weight",
    "hparams.word_dropout": "objective.word_dropout",
    "hparams.corruption_level": "corruption.level",
    "objective.tc_estimator": "objective.estimator",
    "objective.dip_kind": "objective.kind",
    "model.hierarchy": "model (markov or ladder)",
    "model.top_widths": "model.top.widths",
    "model.network": "model.encoder",
    "model.widths": "model.encoder.widths",
    "model.gated": "model.encoder (gated_mlp)",
    "model.activation": "model.encoder.activation",
    "model.initializer": "model.encoder.initializer",
    "model.channels": "model.encoder.channels",
    "model.kernel_size": "model.encoder.kernel_size",
    "model.downsampling": "model.encoder.downsampling",
    "model.upsampling": "model.decoder.upsampling",
    "model.blocks": "model.encoder.blocks",
    "model.remat": "model.encoder.remat",
    "model.compute_dtype": "model.encoder.compute_dtype",
    "model.likelihood_scale": "model.likelihood.scale",
    "model.normal_scale": "model.likelihood.scale_kind",
    "model.num_mixture": "model.likelihood.components",
    "model.prior_components": "model.prior.components",
    "model.flow_layers": "model.prior.layers or model.posterior.layers",
    "model.flow_width": "model.prior.width or model.posterior.width",
    "model.discriminator_widths": "objective.discriminator.widths",
    "model.embedding_size": "model.text.embedding_size",
    "model.text_width": "model.text.width",
    "data.binarization_seed": "data.binarization.seed",
    "data.factors": "data.mode.factors",
    "data.memory_limit": "data.mode.memory_limit",
    "data.caption_length": "data.captions.length",
}


def is_flat(content: Mapping[str, Any]) -> bool:
    """Return whether a config is a flat one, of schema 1, which did not name its schema."""
    if "schema" in content:
        return False
    sections = [value for value in content.values() if isinstance(value, Mapping)]
    has_parts = any(isinstance(value, Mapping) for part in sections for value in part.values())
    return isinstance(content.get("hparams"), Mapping) and not has_parts


def check_schema(schema: Any, what: str) -> None:
    """Refuse a schema that this version of the code does not know.

    Raises:
      UserError: says that `what` has it.
    """
    if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
        raise UserError(
            f"{what} has schema={schema!r}, which a later version of vae_jax wrote; this one reads "
            f"schemas up to {SCHEMA}"
        )


def upgrade(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config of any schema as one of the present.

    Args:
      content: nested settings; without a "schema" they are of the present one, or of schema 1 if
        there are `hparams` and no parts with settings of their own.

    Raises:
      UserError: the schema is a later one, or there are both `hparams` and such parts.
    """
    schema = content.get("schema", 1 if is_flat(content) else SCHEMA)
    check_schema(schema, "the config")
    if schema > 1 and "hparams" in content:
        raise UserError(
            "hparams is not a setting any more: what stood there stands with the part that reads "
            "it, such as objective.beta and optimizer.learning_rate"
        )
    upgraded = {name: value for name, value in content.items() if name != "schema"}
    for since, function in _UPGRADES:
        if schema < since:
            upgraded = function(upgraded)
    return upgraded


def _parts_of_flat(old: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that a flat config of schema 1 chose, each with what it read."""
    model, data, hparams = (_Section(old.get(name)) for name in ("model", "data", "hparams"))
    objective, optimizer = _Section(old.get("objective")), _Section(old.get("optimizer"))
    joint = model.get("name", "vae") == "multimodal"
    density = model.get("name", "vae") != "autoencoder"
    new: dict[str, Any] = {
        name: old[name]
        for name in ("seed", "epochs", "batch_size", "steps_per_call", "patience")
        if name in old
    }
    new["data"] = _data(data, joint)
    new["model"] = _model(model, data.get("modalities", ()) if joint else None)
    new["objective"] = _objective(model, objective, hparams, joint)
    new["optimizer"] = _optimizer(optimizer, hparams)
    new["checkpoints"] = dict(old.get("checkpoints", {}))
    new["evaluation"] = dict(old.get("evaluation", {}))
    if not density:
        new["evaluation"].pop("num_samples", None)
    if joint:
        new["evaluation"].pop("disentanglement", None)
        return new
    new["tensorboard"] = dict(old.get("tensorboard", {}))
    corruption = old.get("corruption", "none")
    new["corruption"] = {"name": corruption}
    if corruption != "none":
        new["corruption"]["level"] = float(hparams.get("corruption_level", 0.0))
    return new


class _Section(dict[str, Any]):
    def __init__(self, content: Mapping[str, Any] | None) -> None:
        super().__init__(content or {})

    def pick(self, *names: str, **renamed: str) -> dict[str, Any]:
        """Return those that are there, under their own or a new name."""
        own = {name: self[name] for name in names if name in self}
        return own | {new: self[name] for new, name in renamed.items() if name in self}


def _data(data: _Section, joint: bool) -> dict[str, Any]:
    new = data.pick("name", "dir", "train_split", "validation_split", "test_split", "image_size")
    binarization = data.get("binarization", "dynamic")
    new["binarization"] = {"name": binarization}
    if binarization == "static":
        new["binarization"] |= data.pick(seed="binarization_seed")
    mode = data.get("mode", "auto")
    new["mode"] = {"name": mode}
    if mode != "memory":
        new["mode"] |= data.pick("memory_limit")
    if mode == "render":
        new["mode"] |= data.pick("factors")
    if joint:
        new |= data.pick("modalities", "modality_shares", "modality_seed", "unknown_words")
        new["captions"] = {"name": "written"}
        if data.get("captions"):
            new["captions"] = {"name": "own"} | data.pick(file="captions", length="caption_length")
    return new


def _model(model: _Section, modalities: Collection[str] | None) -> dict[str, Any]:
    name, hierarchy = model.get("name", "vae"), model.get("hierarchy", "none")
    activation, initializer = model.pick("activation"), model.pick("initializer")
    new = {"name": name, **model.pick("latent_size", "decoder_start")}
    new |= _networks(model)
    new["likelihood"] = _likelihood(model)
    if name == "autoencoder":
        return new | initializer
    if modalities is not None:
        new |= model.pick("joint_posterior") | initializer
        if "label" in modalities:
            new["label"] = model.pick("widths") | activation | initializer
        if "text" in modalities:
            new["text"] = (
                model.pick("embedding_size", width="text_width") | activation | initializer
            )
        return new
    flow = model.pick(layers="flow_layers", width="flow_width") | activation | initializer
    prior = model.get("prior", "standard")
    new["prior"] = {"name": prior}
    if prior in ("mixture", "vamp"):
        new["prior"] |= model.pick(components="prior_components")
    if prior == "flow":
        new["prior"] |= flow
    if hierarchy != "none":
        gated = model.get("gated", False)
        new["name"] = hierarchy
        new["top"] = {"name": "gated_mlp" if gated else "mlp", **model.pick(widths="top_widths")}
        new["top"] |= initializer if gated else activation | initializer
        return new | initializer | model.pick("top_latent_size")
    posterior = model.get("posterior", "diagonal")
    new["posterior"] = {"name": posterior, **(flow if posterior == "iaf" else initializer)}
    return new


def _networks(model: _Section) -> dict[str, Any]:
    network = model.get("network", "mlp")
    shared = model.pick("widths", "initializer", "compute_dtype")
    if network == "mlp":
        if model.get("gated", False):
            return {"encoder": {"name": "gated_mlp", **shared}, "decoder": {"name": "mirror"}}
        encoder = {"name": "mlp", **shared, **model.pick("activation")}
        return {"encoder": encoder, "decoder": {"name": "mirror"}}
    shared |= model.pick("channels", "kernel_size", "activation")
    if network == "resnet":
        shared |= model.pick("blocks", "remat")
    encoder = {"name": network, **shared, **model.pick("downsampling")}
    if model.get("upsampling", "transpose") == "transpose":
        return {"encoder": encoder, "decoder": {"name": "mirror"}}
    return {
        "encoder": encoder,
        "decoder": {"name": network, **shared, **model.pick("upsampling")},
    }


def _likelihood(model: _Section) -> dict[str, Any]:
    name = model.get("likelihood", "bernoulli")
    settings = {
        "normal": model.pick(scale="likelihood_scale", scale_kind="normal_scale"),
        "laplace": model.pick(scale="likelihood_scale"),
        "discretized_logistic_mixture": model.pick(components="num_mixture"),
    }
    return {"name": name, **settings.get(name, {})}


def _objective(
    model: _Section, objective: _Section, hparams: _Section, joint: bool
) -> dict[str, Any]:
    name, gradient = objective.get("name", "elbo"), objective.get("gradient", "plain")
    warmup = hparams.pick("beta", "warmup_epochs", "warmup_cycle_epochs")
    samples = objective.pick("num_samples")
    if model.get("name") == "autoencoder":
        return {"name": "reconstruction"}
    if joint:
        kinds: dict[str, dict[str, Any]] = {
            "product": {"name": "mvae", **objective.pick("num_subsets")},
            "mixture": {"name": "mmvae", **samples},
            "mixture_of_products": {"name": "mopoe"},
            "joint": {"name": "jmvae", **hparams.pick("unimodal_kl_weight")},
        }
        shared = warmup | objective.pick("modality_weights") | hparams.pick("word_dropout")
        return kinds[model.get("joint_posterior", "product")] | shared
    if name == "elbo" and gradient == "stl":
        return {"name": "stl", **samples}
    discriminator = hparams.pick(learning_rate="discriminator_learning_rate")
    discriminator |= model.pick(widths="discriminator_widths")
    settings: dict[str, dict[str, Any]] = {
        "elbo": warmup
        | hparams.pick("distortion_weight", "free_nats")
        | samples
        | objective.pick("sampled_kl"),
        "iwae": samples | objective.pick("gradient"),
        "miwae": samples | objective.pick("num_groups"),
        "piwae": samples | objective.pick("num_groups"),
        "ciwae": samples | hparams.pick(elbo_weight="ciwae_weight"),
        "capacity": samples
        | hparams.pick("gamma", "capacity", "capacity_epochs")
        | objective.pick("sampled_kl"),
        "tc": hparams.pick("beta") | objective.pick(estimator="tc_estimator"),
        "factor": hparams.pick("gamma") | {"discriminator": discriminator},
        "dip": objective.pick(kind="dip_kind")
        | hparams.pick(off_diagonal="dip_off_diagonal", diagonal="dip_diagonal"),
    }
    chosen = settings[name]
    if chosen.get("sampled_kl") and (
        model.get("posterior", "diagonal"),
        model.get("prior", "standard"),
        model.get("hierarchy", "none"),
    ) != ("diagonal", "standard", "none"):
        # It had no effect: the KL of such a model is always sampled.
        del chosen["sampled_kl"]
    return {"name": name, **chosen}


def _optimizer(optimizer: _Section, hparams: _Section) -> dict[str, Any]:
    name = optimizer.get("name", "adam")
    new = {"name": name, **hparams.pick("learning_rate", "weight_decay")}
    new |= optimizer.pick("schedule", "gradient_clip_norm", "accumulation_steps")
    return new | (optimizer.pick("b1", "b2", "epsilon") if name == "adam" else {})


_UPGRADES: list[tuple[int, Callable[[dict[str, Any]], dict[str, Any]]]] = [(2, _parts_of_flat)]
