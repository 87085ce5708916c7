"""Makes the old runs, and the numbers that `tests/test_old_runs.py` holds them against.

Ran with the program of commit fb74014, and works with that one only:

    PYTHONPATH=.:tests python tests/old_runs/make.py

The workdirs are made in build/old_runs and packed without pictures, TensorBoard's files, locks, and
what is left in a checkpoint of orbax' own intermediate files, half of its bytes, which nothing
reads. Archives that are there are made anew.
"""

import io
import json
import lzma
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import conftest  # noqa: F401 - the settings of the tests, whose numbers these are
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import test_old_runs as tests
from absl import flags
from interruptions import StopsAfter
from ml_collections import ConfigDict
from short_runs import stops_after
from sklearn.datasets import load_digits
from vae_jax.compression import Compressor, pack
from vae_jax.training_loop import Interrupted

from configs import vanilla
from experiments import chunks, measuring, sweep, train
from vae_jax import checkpoints, factory, workdir

SCRATCH = Path("build/old_runs")
DATA = tests.HERE / "digits.npz"

# 16 steps an epoch.
SMALL = {
    "epochs": 2,
    "batch_size": 10,
    "steps_per_call": 6,
    "data.name": str(DATA),
    "data.train_split": "train[:160]",
    "data.validation_split": "train[160:]",
    "model.latent_size": 3,
    "model.widths": (2,),
    "hparams.learning_rate": 3e-3,
    "checkpoints.max_to_keep": 1,
    "tensorboard.images_every_epochs": 0,
    "evaluation.num_samples": 10,
    "evaluation.batch_size": 20,
}
GREY = {"data.binarization": "none"}
# Has no state, and the smaller checkpoint for it.
SGD = {"optimizer.name": "sgd", "hparams.learning_rate": 1e-3}
JOINT = {"model.name": "multimodal", "data.modalities": ("image", "label")}
TEXT = {
    "data.captions": str(tests.HERE / "captions_{split}.txt"),
    "model.embedding_size": 3,
    "model.text_width": 4,
}

# What differs from `configs/vanilla.py` made small.
RUNS = {
    # Few steps a call are sooner compiled, and this one is continued as the command does it.
    "vanilla": {"steps_per_call": 3},
    "autoencoder": {**GREY, "model.name": "autoencoder"},
    "denoising": {
        **GREY,
        "model.network": "conv",
        "model.channels": (3,),
        "model.widths": (),
        "corruption": "salt_and_pepper",
        "hparams.corruption_level": 0.2,
    },
    "two_layers": {
        "model.hierarchy": "markov",
        "model.top_latent_size": 2,
        "model.top_widths": (3,),
        "objective.name": "iwae",
        "objective.num_samples": 3,
    },
    "vamp": {"model.prior": "vamp", "model.prior_components": 3},
    "iaf": {"model.posterior": "iaf", "model.flow_layers": 1, "model.flow_width": 4},
    "factor": {
        "objective.name": "factor",
        "model.discriminator_widths": (4,),
        "hparams.gamma": 5.0,
        "hparams.discriminator_learning_rate": 1e-3,
    },
    "multimodal": {
        **JOINT,
        **TEXT,
        **SGD,
        "data.modalities": ("image", "text"),
        "objective.modality_weights": (1.0, 2.0),
        "hparams.word_dropout": 0.2,
    },
    "capacity": {
        **GREY,
        "model.likelihood": "normal",
        "model.likelihood_scale": 0.5,
        "model.normal_scale": "learned",
        "objective.name": "capacity",
        "hparams.gamma": 10.0,
        "hparams.capacity": 2.0,
        "hparams.capacity_epochs": 1.5,
    },
    "dip": {
        "data.validation_split": "",
        "objective.name": "dip",
        "objective.dip_kind": "ii",
        "optimizer.gradient_clip_norm": 1.0,
        "hparams.dip_off_diagonal": 2.0,
        "hparams.dip_diagonal": 3.0,
    },
    "flow_prior": {
        **GREY,
        "model.likelihood": "discretized_logistic",
        "model.prior": "flow",
        "model.flow_layers": 2,
        "model.flow_width": 4,
        "optimizer.name": "adagrad",
        "optimizer.schedule": "powers_of_three",
    },
    "jmvae": {**JOINT, "model.joint_posterior": "joint", "hparams.unimodal_kl_weight": 0.1},
    "ladder": {
        "data.binarization": "static",
        "model.hierarchy": "ladder",
        "model.top_latent_size": 2,
        "model.top_widths": (3,),
        "model.activation": "tanh",
        "model.initializer": "glorot",
        "model.decoder_start": "grey",
        "objective.name": "iwae",
        "objective.num_samples": 2,
        "objective.gradient": "dreg",
    },
    "logistic_mixture": {
        **GREY,
        "model.network": "conv",
        "model.channels": (2,),
        "model.widths": (),
        "model.likelihood": "discretized_logistic_mixture",
        "model.num_mixture": 2,
    },
    "miwae": {
        "objective.name": "miwae",
        "objective.num_samples": 2,
        "objective.num_groups": 2,
        "optimizer.accumulation_steps": 2,
        "optimizer.schedule": "constant",
    },
    "mixture_of_experts": {
        **JOINT,
        **SGD,
        "model.joint_posterior": "mixture",
        "objective.name": "iwae",
        "objective.num_samples": 2,
    },
    "mixture_prior": {
        "model.prior": "mixture",
        "model.prior_components": 3,
        "model.gated": True,
        "hparams.free_nats": 0.1,
        "hparams.warmup_epochs": 1.5,
    },
    "resnet": {
        **GREY,
        "model.likelihood": "normal",
        "model.likelihood_scale": 0.3,
        "model.network": "resnet",
        "model.channels": (2,),
        "model.blocks": 1,
        "model.kernel_size": 3,
        "model.downsampling": "pool",
        "model.upsampling": "resize",
        "model.widths": (),
        **SGD,
    },
    "subsets": {
        **JOINT,
        **TEXT,
        **SGD,
        "data.modalities": ("image", "label", "text"),
        "data.modality_shares": (1.0, 0.5, 0.75),
        "objective.num_subsets": 1,
    },
    "tc": {
        "objective.name": "tc",
        "objective.tc_estimator": "stratified",
        "hparams.beta": 3.0,
        "hparams.weight_decay": 0.01,
    },
}


def _write_data() -> None:
    """Digits of 6x6 pixels, and a caption of each."""
    digits = load_digits()
    rows = np.random.default_rng(0).permutation(len(digits.images))[:240]
    images = np.round(digits.images[rows, 1:7, 1:7] * 255 / 16).astype(np.uint8)
    labels = digits.target[rows].astype(np.uint8)
    sizes = np.where(images.mean(axis=(1, 2)) > images.mean(), "thick", "thin")
    arrays = {}
    for split, part in (("train", slice(200)), ("test", slice(200, None))):
        arrays |= {f"{split}_images": images[part], f"{split}_labels": labels[part]}
        lines = [f"a {size} {label}" for size, label in zip(sizes[part], labels[part], strict=True)]
        (tests.HERE / f"captions_{split}.txt").write_text("\n".join(lines) + "\n")
    np.savez_compressed(DATA, **arrays)


def _config(changes: dict) -> ConfigDict:
    config = vanilla.get_config()
    with config.unlocked():
        config.update_from_flattened_dict({**SMALL, **changes})
    factory.validate(config)
    return config


def _stopped(config: ConfigDict, folder: Path) -> None:
    """The run until ten steps before its end."""
    plan = factory.build_plan(config, 160)
    step = num_calls = 0
    while step < plan.total_steps - tests.STEPS:
        step += plan.next_call(step)
        num_calls += 1
    with pytest.MonkeyPatch.context() as patch:
        stops_after(patch, num_calls - 1)
        try:
            train.train(config, folder)
        except Interrupted:
            return
    raise AssertionError(f"{folder} was not stopped")


def _make_run(name: str) -> None:
    config, folder = _config(RUNS[name]), SCRATCH / name
    expected = {}
    if name in tests.WHOLE:
        train.train(config, folder / "finished")
        expected["finished"] = tests.finished_results(folder / "finished")
    _stopped(config, folder / "stopped")
    with_model = name in tests.STOPPED
    expected["stopped"] = tests.stopped_results(folder / "stopped", with_model=with_model)
    assert expected["stopped"]["next"]["step"] == 32
    _write_expected(name, expected)


def _compress() -> None:
    """Test images through the vanilla run, into a file beside it."""
    model = tests._load(SCRATCH / "vanilla" / "finished")
    images = measuring.integer_test_images(model.config, factory.load_test(model.config))[:20]
    (tests.HERE / "vanilla.vae").write_bytes(pack(Compressor(model).compress(images)))
    np.savez_compressed(tests.HERE / "expected" / "vanilla_vae.npz", images=images)


def _run_sweep(name: str, config: ConfigDict, folder: Path) -> None:
    flags.FLAGS["sweep"].value = str(tests.HERE / f"{name}.py")
    sweep.run_sweep(config, sweep.named_sweep(), folder)


def _make_sweep(name: str, changes: dict, *, stopped: bool) -> None:
    config, folder = _config(changes), SCRATCH / name
    _run_sweep(name, config, folder / "finished")
    results = workdir.read_json(folder / "finished" / "results.json")
    if stopped:
        original = chunks.train_chunk

        def train_chunk(folder, chunk, interruption, on_end):
            original(folder, chunk, StopsAfter(4), on_end)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "train_chunk", train_chunk)
            try:
                _run_sweep(name, config, folder / "stopped")
            except Interrupted:
                stopped = False
        assert not stopped
    expected = {"table": tests.table(results), "models": tests.members(folder / "finished")}
    _write_expected(name, expected)
    _pack(name, [name])


def _arrays(folder: Path) -> list[bytes]:
    """What a checkpoint holds."""
    with ocp.StandardCheckpointer() as checkpointer:
        leaves = jax.tree.leaves(checkpointer.restore(folder.absolute() / "state"))
    is_key = [jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [
        np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes()
        for leaf, key in zip(leaves, is_key, strict=True)
    ]


def _drop_leftovers(folder: Path) -> None:
    """Remove the files that a checkpoint can do without of those that orbax merged into others."""
    whole = _arrays(folder)
    # Names the place.
    (folder / "state" / "commit_success.txt").unlink(missing_ok=True)
    for path in sorted((folder / "state" / "ocdbt.process_0").rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            path.unlink()
            try:
                _arrays(folder)
            except Exception:  # tensorstore says in one of many ways that a file is missing
                path.write_bytes(content)
    assert _arrays(folder) == whole
    digests = checkpoints._digests(folder)
    (folder / checkpoints._MANIFEST).write_text(json.dumps(digests), encoding="utf-8")


def _pack(archive: str, names: Sequence[str]) -> None:
    """Pack the workdirs of some runs."""
    content = io.BytesIO()
    # "figures" is what "plots" was called.
    left_out = {"figures", "plots", ".lock"}
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            for state in sorted((SCRATCH / name).rglob("checkpoints/*/state")):
                _drop_leftovers(state.parent)
            for path in sorted((SCRATCH / name).rglob("*")):
                inside = path.relative_to(SCRATCH)
                is_kept = path.is_file() and not path.name.startswith("events.")
                if is_kept and not left_out & set(inside.parts):
                    entry = tarfile.TarInfo(str(inside))
                    entry.size = path.stat().st_size
                    tar.addfile(entry, io.BytesIO(path.read_bytes()))
    packed = lzma.compress(content.getvalue(), preset=9 | lzma.PRESET_EXTREME)
    (tests.HERE / f"{archive}.tar.xz").write_bytes(packed)
    print(f"{archive}: {len(packed):,} bytes", flush=True)


def _write_expected(name: str, expected: dict[str, dict]) -> None:
    """Write what is expected of a run, a line for each figure or table of them."""
    parts = [
        f"{json.dumps(part)}: {{\n"
        + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in figures.items())
        + "\n}"
        for part, figures in expected.items()
    ]
    text = "{\n" + ",\n".join(parts) + "\n}\n"
    assert json.loads(text) == expected
    (tests.HERE / "expected" / f"{name}.json").write_text(text)


def main() -> None:
    """Make everything anew."""
    flags.FLAGS(["make"])
    shutil.rmtree(SCRATCH, ignore_errors=True)
    _write_data()
    for name in RUNS:
        _make_run(name)
    for name in tests.WHOLE:
        _pack(name, [name])
    _pack(tests.EXTRAS, tests.STOPPED)
    _compress()
    _make_sweep("search", {"steps_per_call": 4}, stopped=True)
    _make_sweep("grid", {**SGD, "steps_per_call": 4}, stopped=False)


if __name__ == "__main__":
    main()
