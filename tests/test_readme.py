"""Every command and every program of the README works, on a small budget."""

import os
import re
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import report

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

SMALL_RUN = {
    "epochs": "1",
    "evaluation.num_samples": "2",
    "data.train_split": "train[:1000]",
    "data.validation_split": "train[-200:]",
    "data.test_split": "test[:200]",
}
# A card has its number of epochs from its budgets.
SMALL_CARD = f"""
from configs.papers import flax_example

def get_card():
    card = flax_example.get_card()
    card.base.data.train_split = {SMALL_RUN["data.train_split"]!r}
    card.base.data.test_split = {SMALL_RUN["data.test_split"]!r}
    card.base.evaluation.num_samples = {SMALL_RUN["evaluation.num_samples"]}
    return card
"""

SMALL_STUDY = """
from vae_jax import search_space

def get_sweep():
    return search_space.grid({"hparams.beta": (1.0, 4.0)})
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("python -m ")]


def on_a_small_budget(command: list[str], idx_folder: Path) -> list[str]:
    command = [part.replace("--source=DIR", f"--source={idx_folder}") for part in command]
    if "experiments.train" in command:
        given = " ".join(command)
        command += [
            f"--config.{field}={value}"
            for field, value in SMALL_RUN.items()
            if f"--config.{field}=" not in given and "own.npz" not in given
        ]
        if "own.npz" in given:
            command += ["--config.epochs=1", "--config.evaluation.num_samples=2"]
    if "experiments.disentanglement" in command:
        command = [re.sub("--sweep=.*", "--sweep=small_study.py", part) for part in command]
        small = {"epochs": 1, "data.train_split": "train[:2000]", "evaluation.num_samples": 2}
        small |= {"data.validation_split": "train[-200:]", "data.test_split": "train[-600:-200]"}
        command += [f"--config.{field}={value}" for field, value in small.items()]
    if "experiments.sweep" in command:
        # Enough epochs for the marks of successive halving.
        small = {**SMALL_RUN, "epochs": "21" if "tpe" in command[4] else "1"}
        command = [
            part.replace("--trials=64", "--trials=2").replace("num_samples=100", "num_samples=2")
            for part in command
        ]
        command += [
            f"--config.{field}={value}"
            for field, value in small.items()
            if f"--config.{field}=" not in " ".join(command)
        ]
    if "experiments.reproduce" in command:
        command = [re.sub("--card=.*", "--card=small.py", part) for part in command]
    return [re.sub(r"--num_samples=\d+", "--num_samples=3", part) for part in command]


def write_idx_family(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("train", "t10k"):
        images = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, 20, dtype=np.uint8)
        for array, kind in ((images, "images-idx3"), (labels, "labels-idx1")):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{name}-{kind}-ubyte").write_bytes(header + array.tobytes())


def test_the_readme_names_every_command_that_there_is():
    named = {command[2] for command in commands()}
    there = {
        f"experiments.{path.stem}"
        for path in (ROOT / "experiments").glob("*.py")
        if "__main__" in path.read_text(encoding="utf-8") and path.stem != "report"
    }
    assert named == there


@pytest.mark.slow  # a dozen processes, each of which starts JAX and compiles
def test_every_command_and_program_of_the_readme_works(tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    idx_folder = tmp_path / "idx"
    idx_folder.mkdir()
    write_idx_family(idx_folder)
    (tmp_path / "small.py").write_text(SMALL_CARD)
    (tmp_path / "small_study.py").write_text(SMALL_STUDY)
    marks = ("savez", "jax.random.key", "member", "make_pipeline")
    own_data, in_a_program, of_a_sweep, in_a_pipeline = (
        next(block for block in blocks("python") if mark in block) for mark in marks
    )
    assert len(blocks("python")) == len(marks)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::UserWarning"}
    run = {"cwd": tmp_path, "env": environment, "text": True, "capture_output": True}
    subprocess.run([sys.executable, "-c", own_data], check=True, **run)
    np.save(tmp_path / "new.npy", np.zeros((3, 28, 28), np.uint8))
    for command in commands():
        small = [sys.executable, *on_a_small_budget(command, idx_folder)[1:]]
        result = subprocess.run(small, **run)
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"
    program = in_a_program + "\nassert nats.shape == (16,) and samples.shape == (16, 28, 28, 1)"
    subprocess.run([sys.executable, "-c", program], check=True, **run)
    subprocess.run([sys.executable, "-c", of_a_sweep], check=True, **run)
    scored = subprocess.run([sys.executable, "-c", in_a_pipeline], check=True, **run)
    assert float(scored.stdout) > 0.7


def test_the_tables_of_all_documents_come_from_the_result_files():
    documents = report.documents()
    assert set(documents) == {
        "README.md",
        "docs/scaling.md",
        "results/README.md",
        "results/disentanglement/README.md",
    }
    for name, text in documents.items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, name


def test_the_readme_links_to_files_that_are_there():
    for document in (ROOT / "README.md", ROOT / "docs" / "scaling.md"):
        targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
        assert targets
        assert all((document.parent / target).exists() for target in targets)
