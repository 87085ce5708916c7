"""What this machine says of its devices."""

import re

import jax
import pytest

from vae_jax.training import host


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def machine_with(root, file):
    path = root / file
    path.parent.mkdir(parents=True)
    path.touch()
    return root


def test_devices_have_a_number_and_a_kind():
    assert host.describe_devices(jax.devices("cpu")[:2]) == "2 x cpu"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("dev/nvidia0", "has an NVIDIA GPU, which JAX does not see: .*make train JAX=cuda13"),
        ("dev/accel0", "has a TPU, which JAX does not see: .*make train JAX=tpu"),
    ],
)
def test_an_accelerator_that_jax_does_not_see_is_named(tmp_path, monkeypatch, file, message):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    line = host.unused_accelerator(machine_with(tmp_path, file))
    assert line is not None
    assert re.search(message, line)
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "value"), [("JAX_PLATFORMS", "cpu"), ("CUDA_VISIBLE_DEVICES", "-1")]
)
def test_who_chose_the_cpu_is_not_warned(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert host.unused_accelerator(machine_with(tmp_path, "dev/nvidia0")) is None


def test_no_accelerator_is_none_and_a_used_one_is_no_waste(tmp_path, monkeypatch):
    assert host.unused_accelerator(tmp_path) is None
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert host.unused_accelerator(machine_with(tmp_path, "dev/nvidia0")) is None
