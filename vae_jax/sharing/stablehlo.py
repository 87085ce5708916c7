"""A model as StableHLO in one file, which JAX runs without this package.

The file is a zip archive: NAME.bin is a function that `jax.export` serialised, with the parameters
in it, and manifest.json has the inputs and outputs, with shapes, types and units. The batch size is
free. In another program:

    with zipfile.ZipFile("vanilla.stablehlo") as file:
        encode = jax.export.deserialize(bytearray(file.read("encode.bin"))).call
    posterior = encode(images)  # {"mean": [batch, latents], "log_scale": [batch, latents]}
"""

import io
import json
import zipfile
from typing import Any

import jax
import jax.export
from jaxtyping import Array

from vae_jax.sharing.functions import Function, Trained, functions_of, refused, words_of

SUFFIX = ".stablehlo"

_FORMAT = 1
# Sets of platforms, tried in this order: what runs on the CPU may have no form elsewhere.
_PLATFORMS = (("cpu", "cuda", "rocm", "tpu"), ("cpu", "cuda", "rocm"), ("cpu",))


def to_bytes(model: Trained) -> bytes:
    """Return the content of a file with the model's functions.

    Raises:
      UserError: a function has no form with a free batch size.
    """
    content = io.BytesIO()
    described = {}
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, function in functions_of(model).items():
            exported = _export(name, function, model)
            file.writestr(f"{name}.bin", bytes(exported.serialize()))
            described[name] = _describe(function, exported)
        manifest = {
            "format": _FORMAT,
            "model": model.name,
            "config_digest": model.digest,
            "jax": jax.__version__,
            "functions": described,
            "words": words_of(model),
        }
        file.writestr("manifest.json", json.dumps(manifest, indent=1))
    return content.getvalue()


def _export(name: str, function: Function, model: Trained) -> jax.export.Exported:
    def call(*arrays: Array) -> dict[str, Array]:
        return function.call(model.params, model.extra, *arrays)

    (batch,) = jax.export.symbolic_shape("batch")
    specs = function.specs(batch)
    problem: Exception | None = None
    for platforms in _PLATFORMS:
        try:
            return jax.export.export(jax.jit(call), platforms=platforms)(*specs)
        except Exception as error:  # jax.export raises errors of many types
            problem = error
    raise refused(name, "StableHLO", str(problem).strip().split("\n")[0])


def _describe(function: Function, exported: jax.export.Exported) -> dict[str, Any]:
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    return {
        "platforms": list(exported.platforms),
        "inputs": [
            {
                "name": name,
                "shape": ["batch", *given.shape],
                "dtype": given.dtype,
                "meaning": given.meaning,
            }
            for name, given in function.inputs.items()
        ],
        "outputs": {
            name: {
                "shape": ["batch", *output.shape[1:]],
                "dtype": output.dtype.name,
                "meaning": function.meanings[name],
            }
            for name, output in outputs.items()
        },
    }
