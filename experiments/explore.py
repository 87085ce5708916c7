"""Explore a trained run in the browser: its latents on sliders and on a map.

    python -m experiments.explore --workdir=runs/vanilla
    python -m experiments.explore --workdir=runs/rd
    python -m experiments.explore --workdirs=runs/vanilla,runs/beta4 --port=0
    python -m experiments.explore --workdir=runs/latent2d --export=latent2d.html

Prints the address of a page on this machine, which no other machine reaches, and serves it until it
is stopped (Ctrl-C). A sweep opens with the member of the best ELBO and a plane to choose others
from. It needs `pip install 'bokeh>=3.7,<4'`. With --export it writes a single file instead, with
images over the two most important latents, which needs neither a server nor a network.
"""

from pathlib import Path

from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax.applications.explorer import runs, single_file
from vae_jax.applications.explorer.explored import open_run
from vae_jax.errors import UserError
from vae_jax.workdir import read_config

shared.define("workdir", "member", workdirs="directories of several runs, in place of --workdir")

_PORT = flags.DEFINE_integer(
    "port",
    5006,
    "port of the page; 0 lets the system choose",
    lower_bound=0,
    upper_bound=65535,
)
_EXPORT = flags.DEFINE_string("export", None, "file to write, in place of serving a page")


def _folders() -> tuple[list[Path], Path | None]:
    """Return the directories of the runs, and the one to open first."""
    if flags.FLAGS.workdirs:
        if flags.FLAGS.workdir or flags.FLAGS.member is not None:
            raise UserError("--workdirs takes the place of --workdir and --member; name one only")
        folders = shared.required_workdirs()
        for folder in folders:
            read_config(folder)
        return folders, folders[0]
    members = runs.of_sweep(shared.required_workdir())
    if members and flags.FLAGS.member is None:
        return members, None
    chosen = shared.existing_workdir()
    return members or [chosen], chosen


def main() -> None:
    """Serve the pages of the runs, or write --export."""
    if _EXPORT.value is not None:
        target = Path(_EXPORT.value)
        if flags.FLAGS.workdirs:
            raise UserError("--export writes the page of one run; name it by --workdir")
        single_file.require_suffix(target)
        single_file.write(open_run(shared.existing_workdir()), target)
        print(f"wrote {target}, {target.stat().st_size / 1e6:.1f} MB")
        return
    folders, first = _folders()
    found = runs.describe(folders)
    try:
        from vae_jax.applications.explorer import server
    except ImportError as error:
        raise UserError(
            "the explorer needs bokeh, which is optional: pip install 'bokeh>=3.7,<4'; --export "
            "does without"
        ) from error
    chosen = runs.best(found) if first is None else folders.index(first)
    with server.claim(_PORT.value) as listening:
        print(f"reading {found[chosen].folder}", flush=True)
        ready = f"open {server.url(listening)} (Ctrl-C stops it)"
        server.serve(listening, found, chosen, lambda: print(ready, flush=True))


if __name__ == "__main__":
    command_line.run(main)
