"""Write the best model of a run for others: into one file, for other programs, or to the hub.

    python -m experiments.export --workdir=runs/vanilla --output=vanilla.safetensors
    python -m experiments.export --workdir=runs/vanilla --output=vanilla.stablehlo
    python -m experiments.export --workdir=runs/vanilla --output=vanilla.onnx
    python -m experiments.export --workdir=runs/vanilla --output=hf://USER/NAME

`vae_jax.load("vanilla.safetensors")` and `vae_jax.load("hf://USER/NAME")` read the model on any
machine and without the run. A .stablehlo file runs with JAX alone. ONNX has a file per function,
vanilla_encode.onnx and vanilla_decode.onnx. docs/guide/export.md has more.
"""

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax import hub, trained, workdir
from vae_jax.config import model_file
from vae_jax.sharing import card, writing

shared.define(
    "workdir",
    "member",
    output="required; NAME.safetensors, NAME.stablehlo, NAME.onnx or hf://USER/NAME",
)


def main() -> None:
    """Write the model of --workdir to --output."""
    folder, output = shared.existing_workdir(), flags.FLAGS.output
    if output.startswith(hub.PREFIX):
        hub.require_upload(output)
        model = trained.load(folder)
        text = card.render(model, output, workdir.read_summary(folder))
        files = {hub.MODEL: model.to_bytes(), hub.CARD: text.encode()}
        print(f"{output}: {hub.upload(output, files)}")
        return
    target = shared.required_output()
    writing.require_format(target, (model_file.SUFFIX,))
    model = trained.load(folder)
    if target.suffix == model_file.SUFFIX:
        contents = {target: model.to_bytes()}
    else:
        contents = writing.contents(model, target)
    for path, content in contents.items():
        workdir.write_atomically(path, content)
        print(f"{path}: {len(content):,} bytes")


if __name__ == "__main__":
    command_line.run(main)
