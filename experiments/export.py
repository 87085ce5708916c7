"""Write the best model of a run into one file, for others to load.

    python -m experiments.export --workdir=runs/vanilla --output=vanilla.safetensors

`vae_jax.load("vanilla.safetensors")` reads it, on any machine and without the run. Other programs
read the arrays with the safetensors package; the config is in the file's metadata.
"""

from experiments import command_line
from experiments import flags as shared
from vae_jax import trained, workdir
from vae_jax.config import model_file
from vae_jax.errors import UserError

shared.define("workdir", "member", output="required; file to write, NAME.safetensors")


def main() -> None:
    """Write the model of --workdir into --output."""
    folder, target = shared.existing_workdir(), shared.required_output()
    if target.suffix != model_file.SUFFIX:
        raise UserError(f"--output={target} must end in {model_file.SUFFIX}")
    model = trained.load(folder)
    content = model_file.to_bytes(
        workdir.read_config(folder), model.form, model.params, model.extra
    )
    workdir.write_atomically(target, content)
    print(f"{target}: {len(content):,} bytes")


if __name__ == "__main__":
    command_line.run(main)
