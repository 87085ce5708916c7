"""What `make` installs, as a dry run prints it."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def dry_run(*arguments):
    return subprocess.run(
        ["make", "--dry-run", "--always-make", "train", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_package_of_an_accelerator_is_jaxs_and_within_our_bounds():
    (line,) = [line for line in dry_run("JAX=cuda13").stdout.splitlines() if "pip install" in line]
    assert line.endswith("-r requirements.txt 'jax[cuda13]'")


def test_without_one_the_requirements_alone_are_installed():
    assert "jax[" not in dry_run().stdout


def test_an_unknown_accelerator_is_refused_in_one_line():
    refused = dry_run("JAX=cuda11")
    assert refused.returncode != 0
    assert refused.stderr.count("\n") == 1
    assert "JAX=cuda11 must be cuda12, cuda13 or tpu" in refused.stderr
