"""Streaming of a data set ten times the memory limit: speed, waiting, and memory.

    python -m benchmarks.streaming --output=benchmarks/results/streaming_cpu.json

The data are colour PNG images of 64x64 pixels, soft shapes under noise, in array_record files.
Decoding alone is the same reads by the same number of threads, without grain and without training;
the stream alone is taken from as fast as it gives; the training is a run of experiments.train whose
step is slower than decoding. Each is measured several times, and the best counts: what else the
machine does can only make it worse. Memory is the peak of a process that streams above what it had
before it began to; of the training, which has its programs and its state beside, what the peak grew
by after a tenth of the calls.
"""

import concurrent.futures
import contextlib
import io
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from PIL import Image, ImageDraw, ImageFilter

from configs import vanilla
from vae_jax import config as factory
from vae_jax.config import run
from vae_jax.data.streaming import num_read_threads
from vae_jax.evaluation import results_file
from vae_jax.training.loop import RunSteps
from vae_jax.training.records import read_records
from vae_jax.training.step import TrainState

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_REPEATS = flags.DEFINE_integer("repeats", 4, "measurements of each; the best counts")
_LIMIT_MIB = flags.DEFINE_integer("limit_mib", 32, "memory limit; the data are ten times as large")

_SIZE = 64
_IMAGE_BYTES = _SIZE * _SIZE * 3
_NUM_TEST = 500
# Encoding costs ten times as much as decoding: a few thousand images are stored again and again.
_NUM_DIFFERENT = 3000


def _encoded_image(rng: np.random.Generator) -> bytes:
    """Return a PNG file that compresses like a photograph: soft shades, edges, fine noise."""
    shades = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    image = shades.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        corners = np.sort(rng.integers(0, _SIZE, (2, 2)), axis=0).flatten().tolist()
        draw.ellipse(corners, fill=tuple(rng.integers(0, 256, 3).tolist()))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1.0)), np.int16)
    noisy = pixels + rng.normal(0, 3, (*pixels.shape[:2], 1)).astype(np.int16)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, format="png")
    return file.getvalue()


def write_images(folder: Path, num_train: int) -> float:
    """Write the data set `photos` into `folder`; return the mean size of its files in bytes."""
    import tensorflow_datasets as tfds

    rng = np.random.default_rng(0)
    different = [_encoded_image(rng) for _ in range(_NUM_DIFFERENT)]

    def examples(num: int) -> Iterator[tuple[int, dict[str, bytes]]]:
        return ((i, {"image": different[i % len(different)]}) for i in range(num))

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """TFDS calls these three methods; what they mean stands in its documentation."""

        name = "photos"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            image = tfds.features.Image(shape=(_SIZE, _SIZE, 3))
            features = tfds.features.FeaturesDict({"image": image})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": examples(num_train), "test": examples(_NUM_TEST)}

        def _generate_examples(self) -> None:
            raise NotImplementedError

    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        Builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return float(np.mean([len(file) for file in different]))


def _config(folder: str, limit: int) -> factory.Experiment:
    """Return an epoch by a network whose step takes about three times the decoding."""
    config = vanilla.get_config()
    config.epochs = 1
    config.data.name, config.data.dir = "photos", folder
    config.data.train_split, config.data.validation_split = "train", ""
    config.data.mode = {"name": "auto", "memory_limit": limit / 2**30}
    config.data.binarization = "none"
    config.model.likelihood = "normal"
    config.model.encoder.widths = (200,)
    config.tensorboard = {"images_every_epochs": 0}
    # None but the first call's, whose copies would hide what the stream takes.
    config.checkpoints = {"every_seconds": 1e6}
    return factory.resolve(config)


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak_rss_bytes() -> int:
    # On Linux in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Epoch:
    """An epoch of a streamed run without the training."""

    def __init__(self, config: factory.Experiment) -> None:
        splits = factory.open_splits(config)
        assert isinstance(splits, factory.StreamedSplits)
        self.config, self.train_set = config, splits.train
        self.num_examples = splits.train.shape[0]
        most_steps = factory.most_streamed_steps(config, splits.train)
        self.num_threads = min(num_read_threads(), most_steps)
        self.plan = factory.build_plan(config, self.num_examples, most_steps)
        shape = (_SIZE, _SIZE, 3)
        program = factory.build_program(config, shape, self.num_examples)
        key, hparams = factory.make_key(config.seed), factory.build_hparams(config)
        self.state = program.init(jnp.zeros(shape), key, hparams).train

    def decode(self) -> float:
        """Return images per second, read in batches by as many threads as the stream has."""
        num_steps, batch_size = self.plan.total_steps, self.config.batch_size
        order = np.random.default_rng(0).permutation(self.num_examples)[: num_steps * batch_size]

        def read(indices: np.ndarray) -> None:
            self.train_set.read(indices)

        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(self.num_threads) as pool:
            list(pool.map(read, order.reshape(num_steps, batch_size)))
        return num_steps * batch_size / (time.perf_counter() - start)

    def stream(self, first_step: int = 0) -> float:
        """Return images per second, taken from a stream as fast as they come."""
        state = self.state._replace(step=jnp.asarray(first_step))
        start, step = time.perf_counter(), first_step
        with factory.build_stream(self.config, self.train_set, self.plan, state) as stream:
            while step < self.plan.total_steps:
                num_steps = self.plan.next_call(step)
                jax.block_until_ready(stream.take(num_steps))
                step += num_steps
        return (step - first_step) * self.config.batch_size / (time.perf_counter() - start)


def compare_speeds(config: factory.Experiment, repeats: int) -> dict[str, Any]:
    """Return images per second of decoding alone and of the stream, measured in turn."""
    epoch = _Epoch(config)
    # Grain is imported and the order of an epoch compiled.
    epoch.stream(first_step=epoch.plan.total_steps - 1)
    rates = [(epoch.decode(), epoch.stream()) for _ in range(repeats)]
    decode, stream = (max(column) for column in zip(*rates, strict=True))
    return {
        "num_threads": epoch.num_threads,
        "steps_per_call": epoch.plan.steps_per_call,
        "decode_images_per_second": decode,
        "stream_images_per_second": stream,
        "stream_share_of_decode": stream / decode,
    }


def stream_memory(config: factory.Experiment, repeats: int) -> dict[str, Any]:
    """Return the peak memory of epochs of a stream, above that before the first."""
    epoch = _Epoch(config)
    epoch.stream(first_step=epoch.plan.total_steps - 1)
    before = _rss_bytes()
    for _ in range(repeats):
        epoch.stream()
    return {"peak_memory_mib": (_peak_rss_bytes() - before) / 2**20}


def train_slowly(config: factory.Experiment, repeats: int) -> dict[str, Any]:
    """Return how long a run waited after its first call, its step slower than decoding."""
    del repeats
    peaks: list[int] = []
    original_fit = run.fit

    def fit(*args: Any, run_steps: RunSteps, **kwargs: Any) -> Any:
        def noted(state: TrainState, num_steps: int) -> Any:
            result = jax.block_until_ready(run_steps(state, num_steps))
            peaks.append(_peak_rss_bytes())
            return result

        return original_fit(*args, run_steps=noted, **kwargs)

    run.fit = fit
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(io.StringIO()):
        # Only the training is measured.
        run.train(config, Path(scratch), evaluate=lambda splits: {})
        records = [
            r for r in read_records(Path(scratch) / "metrics.jsonl") if r["split"] == "train"
        ]
    steps = np.diff([0, *(record["step"] for record in records)])
    rates = np.array([record["examples_per_second"] for record in records])
    waited = np.array([record["data_wait_share"] for record in records])
    # The first call is compiled while its batches are waited for; the last may be of other length,
    # and then is compiled too.
    same = (steps == steps[0]) & (np.arange(len(steps)) > 0)
    seconds = (steps * config.batch_size / rates)[same]
    return {
        "images_per_second": float(steps[same].sum() * config.batch_size / seconds.sum()),
        "data_wait_share": float((waited[same] * seconds).sum() / seconds.sum()),
        "memory_growth_mib": (peaks[-1] - peaks[len(peaks) // 10]) / 2**20,
    }


def _in_a_process(
    measure: Callable[[factory.Experiment, int], dict[str, Any]],
    config: factory.Experiment,
    repeats: int,
) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        measured = pool.submit(measure, config, repeats).result()
    print(f"{measure.__name__}: {json.dumps(measured)}", flush=True)
    return measured


def main(argv: list[str]) -> None:
    """Write the data, measure, print, write the JSON."""
    del argv
    limit, repeats = _LIMIT_MIB.value * 2**20, _REPEATS.value
    num_train = 10 * limit // _IMAGE_BYTES
    with tempfile.TemporaryDirectory() as folder:
        file_bytes = write_images(Path(folder), num_train)
        config = _config(folder, limit)
        speeds = _in_a_process(compare_speeds, config, repeats)
        memory = _in_a_process(stream_memory, config, 1)
        trained = [_in_a_process(train_slowly, config, 1) for _ in range(repeats)]
    results = {
        **results_file.circumstances("benchmarks.streaming"),
        "num_images": num_train,
        "image_size": _SIZE,
        "bytes_a_file": file_bytes,
        "decoded_mib": num_train * _IMAGE_BYTES / 2**20,
        "memory_limit_mib": _LIMIT_MIB.value,
        **speeds,
        **memory,
        "train": min(trained, key=lambda run: run["data_wait_share"]),
    }
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
