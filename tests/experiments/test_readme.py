"""Every command and program of the README and of the site works, on a small budget."""

import importlib.util
import itertools
import json
import os
import re
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from small_data import write_bars

from examples import customers
from experiments import executor_flags, report

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
# In the order of a reader: later pages use runs of earlier ones. The commands of docs/scaling.md
# need several processes and are tested where those are.
PAGES = [
    *(ROOT / "docs" / "guide" / f"{name}.md" for name in ("first_run", "own_data", "own_parts")),
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "guide").glob("*.md")),
    *sorted((ROOT / "docs" / "uses").glob("*.md")),
]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in dict.fromkeys(PAGES))

# An optional package.
HAS_ONNX = importlib.util.find_spec("onnx") is not None

EXECUTORS = set(flags.FLAGS[executor_flags._EXECUTOR.name].parser.enum_values)

SMALL_RUN = {
    "epochs": "1",
    "evaluation.num_samples": "2",
    "data.train_split": "train[:300]",
    "data.validation_split": "train[-100:]",
    "data.test_split": "test[:100]",
}
# A card has its number of epochs from its budgets.
SMALL_CARD = f"""
from configs.papers import flax_example

def get_card():
    card = flax_example.get_card()
    card.base.model.encoder.widths = (16,)
    card.base.data.train_split = {SMALL_RUN["data.train_split"]!r}
    card.base.data.test_split = {SMALL_RUN["data.test_split"]!r}
    card.base.evaluation = {{"num_samples": {SMALL_RUN["evaluation.num_samples"]}}}
    return card
"""

# The page's sweep with two of its weights.
SMALL_CURVE = """
from configs.sweeps import rate_distortion
from vae_jax.sweeps import space

def get_sweep():
    (((field,), axis),) = rate_distortion.get_sweep().axes
    return space.grid({field: axis.values[::8]}, seeds=(0, 1))
"""

SMALL_STUDY = """
from vae_jax.sweeps import space

def get_sweep():
    return space.grid({"objective.beta": (4.0,)})
"""

# As in setup.cfg: another process may be writing a program that is read.
WARNINGS = "error::UserWarning,ignore:Error reading persistent compilation cache:UserWarning"

# Runs commands and programs one after the other: half of what a short one takes is the start of its
# process, and half of the rest the plots of its run or sweep, which `draw` alone draws here.
IN_ONE_PROCESS = """
import contextlib, gc, importlib, io, json, sys
from absl.testing import flagsaver
from experiments import command_line
from vae_jax.applications.disentanglement import study_plots
from vae_jax.applications.imputation import measure as imputation
from vae_jax.evaluation import drawing, summary
from vae_jax.evaluation.disentanglement import MetricSizes
from vae_jax.sweeps import results
from vae_jax.zoo import comparison

results.draw = study_plots.draw = comparison._draw = lambda *_: None
# Sizes of which there is no flag: importance samples of a row, and draws of the metrics of factors.
imputation._NUM_SAMPLES = 10
few = MetricSizes(200, 100, 20, 50, 20, 4, 50, 20, 4)
summary.MetricSizes = lambda: few
# As in tests/conftest.py.
gc.freeze()
gc.set_threshold(50_000, 20, 50)
draw = {name: getattr(drawing, name) for name in ("draw_run", "draw_joint_run")}


def run_command(name, *arguments):
    for function in draw:
        drawn = draw[function] if name == "experiments.draw" else lambda *_, **__: None
        setattr(drawing, function, drawn)
    main, sys.argv = importlib.import_module(name).main, [name, *arguments]
    with flagsaver.flagsaver():
        try:
            command_line.run(main)
        except SystemExit as end:
            if end.code:
                sys.exit(f"{name} {' '.join(arguments)}: ended with {end.code}")


def run_program(text, check):
    names = {"__name__": "program"}
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        exec(compile(text, text, "exec"), names)
    exec(compile(check, check, "exec"), {**names, "printed": stdout.getvalue()})


for kind, *step in json.load(sys.stdin):
    {"command": run_command, "program": run_program}[kind](*step)
"""


def blocks(language: str) -> list[str]:
    """Return the blocks of all pages, equal ones once."""
    return list(dict.fromkeys(re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)))


def commands(package: str = "experiments") -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [
        shlex.split(line)
        for line in dict.fromkeys(lines)
        if line.startswith(f"python -m {package}.")
    ]


def on_a_small_budget(command: list[str], idx_folder: Path) -> list[str]:
    command = [part.replace("--source=DIR", f"--source={idx_folder}") for part in command]
    if "experiments.train" in command:
        given = " ".join(command)
        # Without a density nothing is sampled.
        unread = "evaluation.num_samples" if re.search("autoencoder|upscaling", given) else ""
        # Data that have other splits, or fewer examples.
        other_splits = re.search("own.npz|latents.npz|configs/imputation.py", given)
        command += [
            f"--config.{field}={value}"
            for field, value in SMALL_RUN.items()
            if f"--config.{field}=" not in given and not other_splits and field != unread
        ]
        if other_splits:
            command += ["--config.epochs=1", "--config.evaluation.num_samples=2"]
        networks = {
            "": () if re.search("conv|own_encoder", given) else ("encoder.widths",),
            "m2.py": ("classifier.widths", "condition.joint.widths"),
            "cvae": ("condition.widths", "condition.guess_widths"),
            "multimodal_label": ("label.widths",),
        }
        command += [
            f"--config.model.{field}=(16,)"
            for pattern, fields in networks.items()
            if re.search(pattern, given)
            for field in fields
        ]
    if any("multimodal_renderings" in part for part in command):
        # Not five convolutional networks of each kind.
        command.insert(-1, "--config.model.encoder=mlp")
        command += ["--config.data.modalities=('rendering_0', 'rendering_1')"]
    if "experiments.bundle" in command:
        command = [re.sub("--output=.*", "--output=bundled", part) for part in command]
        command += ["--models=vanilla"]
        command += [f"--config.{field}={value}" for field, value in SMALL_RUN.items()]
    if "experiments.measure" in command:
        chosen = [] if {"--use=few_labels", "--use=imputation"} & {*command} else ["--num_chosen=5"]
        command += ["--num_test_examples=10", *chosen]
    if "experiments.impute" in command:
        command = [part.replace("customers.csv", "few.csv") for part in command]
    if "experiments.classifier" in command:
        command += ["--epochs=1", "--train_split=train[:1000]", "--test_split=test[:200]"]
    if "experiments.disentanglement" in command:
        command = [re.sub("--sweep=.*", "--sweep=small_study.py", part) for part in command]
        # tests/sweeps/test_sweep_machines.py has the workers.
        named = {part.removeprefix("--executor=") for part in command if "--executor=" in part}
        assert named <= EXECUTORS
        command = [re.sub("--executor=.*", "--executor=local", part) for part in command]
        small = {"epochs": 1, "data.train_split": "train[:2000]", "evaluation.num_samples": 2}
        small |= {"data.validation_split": "train[-200:]", "data.test_split": "train[-600:-200]"}
        command += [f"--config.{field}={value}" for field, value in small.items()]
    if "experiments.sweep" in command:
        # Enough epochs for the marks of successive halving.
        small = {**SMALL_RUN, "epochs": "21" if "tpe" in command[4] else "1"}
        small["model.encoder.widths"] = "(16,)"
        command = [
            part.replace("--trials=64", "--trials=2").replace("num_samples=100", "num_samples=2")
            for part in command
        ]
        command += [
            f"--config.{field}={value}"
            for field, value in small.items()
            if f"--config.{field}=" not in " ".join(command)
        ]
        command = [re.sub("--sweep=.*/rate.*", "--sweep=small_curve.py", part) for part in command]
    command = [part.replace("--member=17", "--member=3") for part in command]
    if "--name=avatars" in command:
        command += ["--num_examples=20"]
    if "experiments.explore" in command and "--export" not in " ".join(command):
        # A page would be served for ever.
        command += ["--export=explored.html"]
    if "experiments.reproduce" in command:
        small = {"card": "small.py", "seeds": "1"}
        for flag, value in small.items():
            command = [re.sub(f"--{flag}=.*", f"--{flag}={value}", part) for part in command]
    if "experiments.zoo" in command:
        # Categorical latents have no sampler that is fitted.
        small = {"families": "gumbel", "datasets": "bars.npz"}
        for flag, value in small.items():
            command = [re.sub(f"--{flag}=.*", f"--{flag}={value}", part) for part in command]
        small = {"epochs": 1, "evaluation.num_samples": 2, "model.encoder.widths": "(16,)"}
        command += ["--seeds=1", *(f"--config.{field}={value}" for field, value in small.items())]
    return [re.sub(r"--num_samples=\d+", "--num_samples=3", part) for part in command]


def write_idx_family(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("train", "t10k"):
        images = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, 20, dtype=np.uint8)
        for array, kind in ((images, "images-idx3"), (labels, "labels-idx1")):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{name}-{kind}-ubyte").write_bytes(header + array.tobytes())


def test_the_pages_name_every_command_that_there_is():
    named = {command[2] for command in commands()}
    texts = {path.stem: path.read_text(encoding="utf-8") for path in EXPERIMENTS.glob("*.py")}
    there = {name for name, text in texts.items() if "__main__" in text}
    assert named == {f"experiments.{name}" for name in there - {"report"}}
    for name in there:
        assert texts[name].endswith('\nif __name__ == "__main__":\n    command_line.run(main)\n')


@pytest.mark.slow  # a dozen commands, which compile programs of their own
def test_every_command_and_program_of_the_pages_works(tmp_path):
    for folder in ("configs", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    idx_folder = tmp_path / "idx"
    idx_folder.mkdir()
    write_idx_family(idx_folder)
    write_bars(tmp_path / "bars.npz")
    (tmp_path / "small.py").write_text(SMALL_CARD)
    (tmp_path / "small_study.py").write_text(SMALL_STUDY)
    (tmp_path / "small_curve.py").write_text(SMALL_CURVE)
    marks = ("savez", "interpolate", "member", "make_pipeline", "generate", "zipfile")
    of_conditions = ("runs/by_class", "runs/m2", "latents.npz", "runs/given", "numbers.npz")
    others = ("holes.npz", "top_down", "load_wine", "cells.csv")
    found = {
        mark: next(block for block in blocks("python") if mark in block)
        for mark in (*marks, *of_conditions, *others)
    }
    assert len(blocks("python")) == len(set(found.values())) == len(found)
    own_data, in_a_program, of_a_sweep, in_a_pipeline, of_modalities, of_a_file = (
        found[mark] for mark in marks
    )
    by_class, of_m2, of_latents, of_columns, of_numbers = (found[mark] for mark in of_conditions)
    missing_pixels, of_layers, of_kinds, single_cells = (found[mark] for mark in others)
    with_layers = f"""from configs.vanilla import get_config; config = get_config()
{of_layers}
from vae_jax import config as factory; factory.resolve(config)"""
    # The digits of which a program of its own writes the latents are those of a small run.
    of_latents = of_latents.replace('load("vanilla")', 'load("runs/vanilla")')
    first, *later = (
        ["command", *on_a_small_budget(command, idx_folder)[2:]]
        for command in commands()
        if HAS_ONNX or "onnx" not in command[-1]
    )
    before = [own_data, of_numbers, missing_pixels, single_cells, with_layers]
    after = {
        of_a_sweep.replace("member=17", "member=3"): "",
        of_modalities: "",
        by_class: "assert threes.shape == sevens.shape",
        of_columns: "assert drawn.shape == (20, 1, 12, 1) and len(ages) == 3",
        of_m2: "assert classes.shape == (5,)",
        of_a_file: "assert images.shape == (16, 28, 28, 1)",
        of_kinds.replace("epochs=20", "epochs=1"): "assert printed.startswith('category class_')",
        in_a_pipeline: "assert float(printed) > 0.7",
        "from examples.vae_from_parts import main; main(1, 200, 100)": "",
    }
    steps = [
        *(["program", program, ""] for program in before),
        first,
        ["program", of_latents, ""],
        *later,
        *(["program", *program] for program in after.items()),
    ]
    assert sorted(commands("examples")) == [
        ["python", "-m", "examples.customers", "customers.csv"],
        ["python", "-m", "examples.vae_from_parts"],
    ]
    customers.write(tmp_path / "customers.csv")
    with open(tmp_path / "customers.csv", encoding="utf-8") as table:
        (tmp_path / "few.csv").write_text("".join(itertools.islice(table, 40)), encoding="utf-8")
    np.save(tmp_path / "new.npy", np.zeros((3, 28, 28), np.uint8))
    alone = f"{in_a_program}\nassert nats.shape == (16,) and samples.shape == (16, 28, 28, 1)"
    # One program as a user starts it, without what others have imported and set.
    for program, told in ((IN_ONE_PROCESS, json.dumps(steps)), (alone, "")):
        result = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": WARNINGS},
            input=told,
            text=True,
            capture_output=True,
        )
        assert result.returncode == 0, result.stderr


def test_the_tables_of_all_documents_come_from_the_result_files():
    documents = report.documents()
    # The zoo has a page once it has been measured.
    has_zoo = (ROOT / "results" / "zoo.json").is_file()
    assert set(documents) == {
        "README.md",
        "docs/guide/export.md",
        "docs/guide/faces.md",
        "docs/guide/first_run.md",
        "docs/guide/speed.md",
        "docs/guide/sweeps.md",
        "docs/guide/tables.md",
        "docs/scaling.md",
        "docs/testing.md",
        "results/README.md",
        "results/disentanglement/README.md",
        *(["results/zoo.md"] if has_zoo else []),
    }
    for name, text in documents.items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_pages_link_to_files_and_sections_that_are_there():
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")]
    links = [
        (document, *link)
        for document in documents
        for link in re.findall(
            r"\]\(([\w./-]*)(?:#([\w-]+))?\)", document.read_text(encoding="utf-8")
        )
    ]
    assert len(links) > 50
    for document, target, section in links:
        path = document.parent / target if target else document
        assert path.exists(), f"{document}: {target}"
        assert not section or section in sections(path), f"{document}: {target}#{section}"


def sections(path: Path) -> list[str]:
    """Return the names by which links go to the sections of a Markdown file."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
