"""Tests of `--help` of the commands, with all of them in one process."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from experiments import command_line
from experiments import flags as shared
from vae_jax.errors import UserError

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)
# Flags without which a command refuses to start.
REQUIRED = {
    "bundle": ["workdir", "output"],
    "classifier": ["workdir"],
    "compare": ["workdirs", "output"],
    "compress": ["workdir", "output"],
    "decompress": ["workdir", "input", "output"],
    "detect": ["workdir", "input", "output"],
    "disentanglement": ["config", "sweep", "workdir"],
    "draw": ["workdir"],
    "edit": ["workdir", "attribute", "output"],
    "evaluate": ["workdir"],
    "explore": ["workdir"],
    "export": ["workdir", "output"],
    "impute": ["workdir", "input", "output"],
    "map": ["workdir"],
    "measure": ["use", "workdirs"],
    "prepare": [],
    "report": [],
    "reproduce": ["card"],
    "runs": [],
    "sample": ["workdir", "output"],
    "settings": [],
    "sweep": ["config", "sweep", "workdir"],
    "train": ["config", "workdir"],
    "zoo": [],
}


def key_flags(module):
    return {flag.name for flag in flags.FLAGS.get_key_flags_for_module(module)}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_an_example_and_the_flags_that_it_requires(name):
    module = importlib.import_module(f"experiments.{name}")
    summary, example, *_ = module.__doc__.split("\n\n")
    assert "\n" not in summary
    assert example.lstrip().startswith(f"python -m experiments.{name}")
    assert set(REQUIRED[name]) <= key_flags(module)
    assert all(f"--{flag}" in example for flag in REQUIRED[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_flags_that_a_command_requires_say_so(name):
    module = importlib.import_module(f"experiments.{name}")
    for flag in REQUIRED[name]:
        # A shared flag has the description of the first command of this process.
        shown = shared._SHARED[flag][2] if flag in shared._SHARED else flags.FLAGS[flag].help
        given = f'{flag}="{command_line.REQUIRED}' in inspect.getsource(module)
        assert command_line.REQUIRED in shown or given, flag


def test_help_shows_an_example_and_then_the_required_flags(monkeypatch, capsys):
    module = importlib.import_module("experiments.sweep")
    for name in ("config", "sweep", "workdir"):
        monkeypatch.setattr(flags.FLAGS[name], "help", f"{command_line.REQUIRED}a file")
    # Among the flags a command that runs has the name of its file.
    monkeypatch.setattr(sys, "argv", [module.__name__, "--help"])
    with pytest.raises(SystemExit) as end:
        command_line._parse_flags(module.main)
    text = capsys.readouterr().out
    assert end.value.code == 0
    named = [line.strip() for line in text.splitlines() if line.startswith("  --")]
    assert named[:4] == ["--config", "--sweep", "--workdir", "--[no]accept_data"]
    assert text.index("python -m experiments.sweep") < text.index("required; a file")
    assert "settings to try at a time\n" in text
    assert "plots, some of png, pdf and svg (default: 'png')" in text


def test_a_command_has_no_flag_that_it_does_not_read():
    for name, unread in (("report", "workdir"), ("prepare", "member"), ("train", "member")):
        assert unread not in key_flags(importlib.import_module(f"experiments.{name}"))


# The flags of all commands are defined in the tests' own process.
ALONE = """
import sys
from absl import flags
from experiments import command_line, report

print(*flags.FLAGS)
sys.argv = ["report", "--config.epochs=3"]
command_line.run(report.main)
"""


def test_a_command_without_a_config_refuses_a_setting_of_one():
    ended = subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == "error: --config.epochs is for commands that train, with --config\n"
    assert "check" in ended.stdout.split()
    assert "workdir" not in ended.stdout.split()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_draws_takes_the_format_of_its_plots(name):
    # These write no plots.
    writes_none = {"classifier", "compress", "decompress", "detect", "edit", "explore", "export"}
    module = importlib.import_module(f"experiments.{name}")
    draws = name not in writes_none | {"impute", "prepare", "report", "runs", "settings"}
    assert ("format" in key_flags(module)) == draws
    assert hasattr(module.main, "__wrapped__") == draws


@pytest.mark.usefixtures("parsed_flags")
def test_a_file_that_is_read_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "images.npy"
    path.touch()
    for name in ("input", "output"):
        shared.define(name)
        monkeypatch.setattr(flags.FLAGS[name], "value", str(path))
    with pytest.raises(UserError, match="would overwrite --input"):
        shared.required_output()
    monkeypatch.setattr(flags.FLAGS["output"], "value", str(tmp_path / "nowhere" / "a.npy"))
    with pytest.raises(UserError, match="there is no folder"):
        shared.required_output()


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--workdir=~/runs/a", "--workdir=/home/me/runs/a"),
        ("--workdirs=~/a,b,~/c", "--workdirs=/home/me/a,b,/home/me/c"),
        ("--config.data.name=~/x.npz", "--config.data.name=/home/me/x.npz"),
        ("--output=a~b", "--output=a~b"),
        ("--output=runs/~/x", "--output=runs/~/x"),
        ("--verbose", "--verbose"),
    ],
)
def test_the_home_folder_is_expanded_for_every_flag(monkeypatch, argument, expected):
    monkeypatch.setenv("HOME", "/home/me")
    assert command_line._with_home(argument) == expected
