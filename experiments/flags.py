"""Flags that several commands share.

A command defines those that it uses, by name, optionally with a description of its own:

    from experiments import flags as shared

    shared.define("workdir", "seed", output="CSV file to write")

They are then flags of that command, and its --help lists them. Several commands may be imported
into one process: a flag is defined once.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from experiments import command_line
from vae_jax import config as factory
from vae_jax import plots
from vae_jax.config import python_file
from vae_jax.errors import UserError
from vae_jax.workdir import read_config, run_folder

# Codes that lie further out are decoded to values that float32 does not hold.
MOST_DEGREES = 1e6

# The flags belong to the commands that call `define`.
flags.disclaim_key_flags()

# As for the seeds of a config: jax.random.key fails for others, or gives two of them the same key.
_define_seed = functools.partial(flags.DEFINE_integer, lower_bound=0, upper_bound=2**32 - 1)

# By name: the function that defines a flag, its default, its description.
_SHARED: dict[str, tuple[Callable[..., Any], Any, str]] = {
    "config": (
        flags.DEFINE_string,
        None,
        "required; file of the experiment's config. --config.NAME=VALUE changes a setting",
    ),
    "init_from": (
        flags.DEFINE_string,
        "",
        "workdir of a trained run whose model this one starts from, as --config.init_from",
    ),
    "workdir": (flags.DEFINE_string, None, "required; directory of the run or sweep"),
    "member": (flags.DEFINE_integer, None, "member of the sweep in --workdir"),
    "workdirs": (flags.DEFINE_list, [], "required; directories of trained runs"),
    "input": (flags.DEFINE_string, None, "file to read"),
    "output": (flags.DEFINE_string, "", "required; file to write"),
    "results": (
        flags.DEFINE_string,
        "",
        "folder of the results files; by default results/ in the workdir. --results=results "
        "publishes them in the repository",
    ),
    "data_dir": (
        flags.DEFINE_string,
        "data",
        "folder of the prepared data sets; empty is TFDS's default, ~/tensorflow_datasets",
    ),
    "format": (flags.DEFINE_list, ["png"], "formats of the plots, some of png, pdf and svg"),
    "seeds": (flags.DEFINE_integer, 3, "seeds per row, counted from 0"),
    "seed": (_define_seed, 0, "seed of everything that is drawn or fitted"),
    "num_samples": (flags.DEFINE_integer, None, "importance samples per example"),
    "log": (
        flags.DEFINE_list,
        [],
        "loggers that take the records too, some of mlflow, wandb and trackio",
    ),
    "accept_data": (
        flags.DEFINE_bool,
        False,
        "go on although the examples are not those that the run began with",
    ),
}


def define(*names: str, **descriptions: str) -> None:
    """Define shared flags as flags of the calling command.

    Args:
      *names: names of flags.
      **descriptions: further flags, with descriptions in place of the shared ones.
    """
    for name in (*names, *descriptions):
        if name in flags.FLAGS:
            flags.declare_key_flag(name)
        else:
            kind, default, description = _SHARED[name]
            kind(name, default, descriptions.get(name, description))


def in_formats(main: Callable[[], None]) -> Callable[[], None]:
    """Return `main` with every plot in the formats of --format, which the command defines.

    Raises:
      UserError: of `main` so returned: a format is unknown.
    """

    @functools.wraps(main)
    def draw_in_formats() -> None:
        names = flags.FLAGS.format
        if not names or not set(names) <= {*plots.FORMATS}:
            raise UserError(f"--format={','.join(names)} must be some of {','.join(plots.FORMATS)}")
        with plots.formats(names):
            main()

    return draw_in_formats


def results_folder(folder: Path) -> Path:
    """Return the folder of --results, by default that of the workdir `folder`."""
    return Path(flags.FLAGS.results or folder / "results")


def given_config() -> dict[str, Any]:
    """Return the content of --config, overridden by the command line, without defaults.

    Raises:
      UserError: the flag is missing, its file fails or gives no config, or a setting on the command
        line does not exist.
    """
    path = config_path()
    kinds = (ConfigDict, Mapping, factory.Experiment, factory.JointExperiment)
    wanted = "a ConfigDict, or nested dicts"
    content = factory.plain(python_file.call(path, "get_config", "config file", kinds, wanted))
    content = factory.with_texts(content, command_line.config_overrides())
    if "init_from" in flags.FLAGS and flags.FLAGS.init_from:
        content["init_from"] = flags.FLAGS.init_from
    return content


def required_config(folder: Path | None = None) -> factory.AnyExperiment:
    """Return the experiment of --config, overridden by the command line and checked.

    Args:
      folder: the directory of its run or sweep, which may exist (see `vae_jax.config.resolve`).

    Raises:
      UserError: the flag is missing, or the config cannot work.
    """
    return factory.resolve(given_config(), folder)


def config_path() -> str:
    """Return the value of --config as the user gave it.

    Raises:
      UserError: the flag is missing.
    """
    if not flags.FLAGS.config:
        raise UserError("--config is missing; name a config such as configs/vanilla.py")
    return str(flags.FLAGS.config)


def required_workdir() -> Path:
    """Return the directory that --workdir names.

    Raises:
      UserError: the flag is missing.
    """
    if not flags.FLAGS.workdir:
        raise UserError("--workdir is missing; name the directory of the run")
    return Path(flags.FLAGS.workdir)


def existing_workdir() -> Path:
    """Return the directory of the run that --workdir names, or of --member in a sweep.

    Raises:
      UserError: --workdir is missing, or there is no run.
    """
    folder = run_folder(required_workdir(), flags.FLAGS.member)
    read_config(folder)
    return folder


def required_workdirs() -> list[Path]:
    """Return the directories that --workdirs names.

    Raises:
      UserError: it names none.
    """
    if not flags.FLAGS.workdirs:
        raise UserError("--workdirs is missing; name the directories of trained runs")
    return [Path(name) for name in flags.FLAGS.workdirs]


def input_path() -> Path | None:
    """Return the file that --input names; None if it names none."""
    return Path(flags.FLAGS.input) if flags.FLAGS.input else None


def required_input(what: str) -> Path:
    """Return the file that --input names.

    Args:
      what: the kind of file, for errors.

    Raises:
      UserError: the flag is missing.
    """
    path = input_path()
    if path is None:
        raise UserError(f"--input is missing; name {what}")
    return path


def required_output() -> Path:
    """Return the file that --output names.

    Raises:
      UserError: the flag is missing, its folder does not exist, or it is the file of --input.
    """
    if not flags.FLAGS.output:
        raise UserError("--output is missing; name the file to write")
    target = Path(flags.FLAGS.output)
    if not target.parent.is_dir():
        raise UserError(f"--output={target}: there is no folder {target.parent}; make it first")
    refuse_overwriting_input([target])
    return target


def refuse_overwriting_input(paths: Iterable[Path]) -> None:
    """Refuse to write the file that --input names.

    Args:
      paths: what a command writes, among them --output.

    Raises:
      UserError: one is the file of --input.
    """
    source = input_path() if "input" in flags.FLAGS else None
    for path in paths:
        # A name that is too long is an error here, before any work.
        is_there = path.exists()
        if source is not None and source.exists() and is_there and source.samefile(path):
            raise UserError(
                f"--output={flags.FLAGS.output} would overwrite --input={source}, since {path} is "
                "written; name another file"
            )


def digests_of(folders: Sequence[Path]) -> list[tuple[str, ...]]:
    """Return all digests of each run.

    Raises:
      UserError: two runs have the same experiment and seed; they would count as two seeds.
    """
    names = [factory.digests(read_config(run_folder(folder, None))) for folder in folders]
    first: dict[str, Path] = {}
    for folder, (today, *_) in zip(folders, names, strict=True):
        if today in first:
            raise UserError(
                f"--workdirs={first[today]},{folder} have the same experiment and seed; name one "
                "of them"
            )
        first[today] = folder
    return names
