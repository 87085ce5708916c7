"""What a compressed file depends on: the model, and the machine whose bits it has."""

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from vae_jax.applications.compression.file_format import CompressedImages
from vae_jax.errors import UserError
from vae_jax.trained import TrainedModel
from vae_jax.training import host


def model_digest(model: TrainedModel) -> str:
    """Return 32 hexadecimal digits of SHA-256 over the network and its parameters.

    Settings that do not change what the network computes do not count.
    """
    digest = hashlib.sha256()
    described = [model.network, model.image_shape]
    digest.update(json.dumps(described, sort_keys=True).encode())
    _add_arrays(digest, model.state)
    return digest.hexdigest()[:32]


def flat_digest(model: TrainedModel) -> str | None:
    """Return a model's digest as files of schema 1 state it; None for a later run.

    It counted every field of the flat config's model.
    """
    if model.flat_config is None:
        return None
    digest = hashlib.sha256()
    described = [model.flat_config["model"], model.image_shape]
    digest.update(json.dumps(described, sort_keys=True).encode())
    _add_arrays(digest, model.state)
    return digest.hexdigest()[:32]


def _add_arrays(digest: Any, state: nnx.State) -> None:
    for path, leaf in jax.tree.leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())


def images_digest(images: np.ndarray) -> str:
    """Return the first 32 hexadecimal digits of SHA-256 over the values, row by row."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:32]


def cpu() -> jax.Device:
    """Return the CPU.

    Raises:
      UserError: JAX has no CPU backend.
    """
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        raise UserError(
            "images are compressed on the CPU, which JAX_PLATFORMS leaves out; add it at the end, "
            "as in JAX_PLATFORMS=cuda,cpu"
        ) from None


def platform_name() -> str:
    """Name what the last bits of the probabilities depend on: versions, processor, threads."""
    names = ("jax", "jaxlib", "constriction")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return f"{', '.join(versions)}, {_processor()}, {host.num_cores()} cores"


def _processor() -> str:
    """Name the architecture and its widest vector instructions, which XLA uses."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        words = set()
    widest = [name for name in ("avx512f", "avx2", "avx", "asimd") if name in words]
    return " ".join([platform.machine(), *widest[:1]])


def elsewhere(compressed: CompressedImages) -> str:
    """Return why images do not come back as they were compressed."""
    return (
        "the images do not come back as they were; they were compressed under "
        f"{compressed.platform}, and this is {platform_name()}: other versions, or another "
        "processor, give the networks other last bits; decompress them where they were compressed"
    )


def refuse_other_model(compressed: CompressedImages, digest: str, *others: str | None) -> None:
    """Refuse images that a model with another digest compressed.

    Raises:
      UserError: the digest in the file is neither `digest` nor one of the others.
    """
    if compressed.model not in (digest, *others):
        raise UserError(
            f"the images were compressed with the model {compressed.model}, and this is "
            f"{digest}; name the workdir of the run that compressed them, as it was then"
        )
