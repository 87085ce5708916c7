"""Commands answer mishaps: damaged files, signals at random moments, checkpoints that rotate.

    python -m benchmarks.mishaps --output=benchmarks/results/mishaps_cpu.json

Three parts, on small MLPs on MNIST:

- files: a file that a command reads is damaged at random (`benchmarks.damage`). The command must
  end with code 0, or with code 2 and one line, and leave every other file of the run as it was
  where it refuses.
- signals: a training gets SIGINT, SIGTERM or SIGHUP at a random moment, at times twice within a
  fifth of a second. It must end without a traceback, and started again as often as needed, with the
  bits of a run that was never stopped.
- rotations: a run whose training keeps one checkpoint is loaded over and over. Each load must
  succeed.

Takes about eight minutes on 2 cores. The JSON has the counts, and each mishap that was not answered
well.
"""

import collections
import contextlib
import hashlib
import importlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags, logging
from absl.testing import flagsaver
from PIL import Image

import vae_jax
from benchmarks.damage import DAMAGES
from benchmarks.kill_resume import SHORT, Run, differences
from experiments import command_line
from experiments import flags as shared
from vae_jax.errors import UserError
from vae_jax.evaluation import results_file

shared.define("seed", output="JSON file to write; empty prints only")

_TRIES = flags.DEFINE_integer("tries", 8, "damages per file and command")
_SIGNALS = flags.DEFINE_integer("signals", 30, "signals that must hit a running process")
_LOAD_SECONDS = flags.DEFINE_float("load_seconds", 30.0, "time to load a run that is in training")

_TINY = {
    "epochs": 1,
    "batch_size": 50,
    "data.train_split": "train[:200]",
    "data.validation_split": "train[55000:55050]",
    "data.test_split": "test[:50]",
    "data.binarization": "static",
    "model.latent_size": 2,
    "model.encoder.widths": "(16,)",
    "evaluation.num_samples": 2,
}
# No command takes as long on these files, however they are damaged.
_LIMIT_SECONDS = 60


class Case(NamedTuple):
    """A command, and a file that it reads. Both are relative to the folder of the try."""

    file: str
    command: str
    arguments: Sequence[str]


def _overrides(changes: dict[str, Any]) -> list[str]:
    return [f"--config.{name}={value}" for name, value in changes.items()]


_TRAIN = ["--config=configs/vanilla.py", *_overrides(_TINY), "--workdir={folder}/run"]
_OWN = [*_TRAIN[:-1], "--workdir={folder}/own", "--config.data.train_split=train"]
_OWN += ["--config.data.validation_split=test", "--config.data.test_split=test"]
_RUN = ["--workdir={folder}/run"]

_CASES = (
    Case("test.vae", "decompress", [*_RUN, "--input={file}", "--output={folder}/out.npy"]),
    Case("new.npy", "detect", [*_RUN, "--input={file}", "--output={folder}/scores.csv"]),
    Case("new.npz", "compress", [*_RUN, "--input={file}", "--output={folder}/out.vae"]),
    Case("own.npz", "train", [*_OWN, "--config.data.name={file}"]),
    Case("images/train/3.png", "train", [*_OWN, "--config.data.name={folder}/images"]),
    Case("own.py", "train", ["--config={file}", *_TRAIN[1:-1], "--workdir={folder}/own"]),
    *(
        Case(f"run/{file}", command, arguments)
        for file in ("config.json", "summary.json", "metrics.jsonl", "checkpoint")
        for command, arguments in (
            ("train", _TRAIN),
            ("evaluate", [*_RUN, "--num_samples=2"]),
            ("draw", _RUN),
        )
    ),
)


def _prepare(folder: Path) -> None:
    """Write all files of the cases, undamaged."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for arguments in (
        ["train", *_TRAIN],
        ["compress", *_RUN, "--output={folder}/test.vae"],
    ):
        code, text = _run(arguments[0], _filled(arguments[1:], folder, folder))
        if code:
            raise RuntimeError(text)
    images = rng.integers(0, 2, (20, 28, 28), dtype=np.uint8) * np.uint8(255)
    np.save(folder / "new.npy", images)
    np.savez(folder / "new.npz", images=images)
    np.savez_compressed(folder / "own.npz", train_images=images, test_images=images[:5])
    for split in ("train", "test"):
        (folder / "images" / split).mkdir(parents=True)
        for index, image in enumerate(images[:5]):
            Image.fromarray(image).save(folder / "images" / split / f"{index}.png")
    (folder / "own.py").write_text(Path("configs/vanilla.py").read_text(encoding="utf-8"))


def _filled(arguments: Sequence[str], folder: Path, file: Path) -> list[str]:
    return [part.format(folder=folder, file=file) for part in arguments]


def _run(command: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Return the exit code of a command in this process, and what it printed on standard error."""
    main = importlib.import_module(f"experiments.{command}").main
    error = io.StringIO()
    before, sys.argv = sys.argv, [command, *arguments]
    try:
        with (
            flagsaver.flagsaver(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(error),
            _limit(_LIMIT_SECONDS),
        ):
            # The flags of the campaign are none of the command's.
            for name in flags.FLAGS:
                flags.FLAGS[name].unparse()
            command_line.run(main)
    except SystemExit as end:
        return int(end.code or 0), error.getvalue()
    finally:
        sys.argv = before


@contextlib.contextmanager
def _limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _digests(folder: Path) -> dict[Path, str]:
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts
    }


def _damaged_file(case: Case, folder: Path, rng: random.Random) -> Path:
    """Return the file of a case; "checkpoint" stands for any file of the newest one."""
    if not case.file.endswith("/checkpoint"):
        return folder / case.file
    newest = max((folder / "run" / "checkpoints").iterdir())
    return rng.choice(sorted(path for path in newest.rglob("*") if path.is_file()))


def damage_files(tries: int, seed: int, scratch: Path) -> dict[str, Any]:
    """Damage each file of the cases, run its command, and return the counts.

    Args:
      tries: per case.
      seed: of the damages.
      scratch: an empty folder.
    """
    rng = random.Random(seed)
    whole = scratch / "whole"
    _prepare(whole)
    ends: collections.Counter[str] = collections.Counter()
    failed = []
    for case in _CASES:
        for name in rng.sample(sorted(DAMAGES), min(tries, len(DAMAGES))):
            folder = scratch / "try"
            shutil.copytree(whole, folder)
            file = _damaged_file(case, folder, rng)
            DAMAGES[name](file, rng)
            before = _digests(folder)
            code, text = _run(case.command, _filled(case.arguments, folder, file))
            after = _digests(folder)
            lines = [line for line in text.splitlines() if line.startswith("error:")]
            lost = code == 2 and any(after.get(path) != digest for path, digest in before.items())
            if lost or code not in (0, 2) or "Traceback" in text or (code == 2 and len(lines) != 1):
                failed.append(f"{case.command}, {case.file} {name}: {text.strip()[-300:]}")
            ends["taken" if code == 0 else "refused" if code == 2 else "failed"] += 1
            shutil.rmtree(folder)
        print(f"{case.command} with a damaged {case.file}: {dict(ends)}", flush=True)
    return {"tried": sum(ends.values()), **ends, "not_answered_well": failed}


def send_signals(num_signals: int, seed: int, scratch: Path) -> dict[str, Any]:
    """Send signals to a training at random moments, and return the counts.

    Args:
      num_signals: signals that must hit.
      seed: of the moments.
      scratch: an empty folder.
    """
    rng = random.Random(seed)
    changes = {**SHORT, "model.encoder.widths": "(64,)", "evaluation.num_samples": 20}
    cache = scratch / "cache"
    reference = Run(scratch / "reference", 6, cache, "vanilla", changes)
    reference.start()
    begun = time.monotonic()
    Run(scratch / "again", 6, cache, "vanilla", changes).start()
    life = time.monotonic() - begun
    run = Run(scratch / "run", 6, cache, "vanilla", changes)
    sent, finished = 0, 0
    failed = []
    while sent < num_signals:
        kind = rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        moments = [rng.uniform(0.5, life)]
        if rng.random() < 1 / 3:
            moments.append(rng.uniform(0, 0.2))
        code, text = _interrupted(run, kind, moments)
        if code == 0:
            finished += 1
            if differing := differences(run, reference):
                failed.append(f"the run differs in {', '.join(differing)}")
            shutil.rmtree(run.folder)
            continue
        sent += 1
        if "Traceback" in text or code not in (128 + kind, -kind):
            failed.append(f"{kind.name} {moments}: code {code}: {text.strip()[-300:]}")
        print(f"{kind.name} {sent} of {num_signals}: code {code}", flush=True)
    run.start()
    finished += 1
    if differing := differences(run, reference):
        failed.append(f"the run differs in {', '.join(differing)}")
    return {"tried": sent, "runs_finished": finished, "not_answered_well": failed}


def _start(run: Run, error: Any) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(run.cache)}
    return subprocess.Popen(run.command, env=environment, stdout=subprocess.DEVNULL, stderr=error)


def _interrupted(run: Run, kind: signal.Signals, waits: Sequence[float]) -> tuple[int, str]:
    """Return exit code and standard error of a training that gets a signal after each wait.

    One that does not end is killed, and has the code of SIGKILL.
    """
    with tempfile.TemporaryFile() as error:
        process = _start(run, error)
        for wait in waits:
            try:
                process.wait(wait)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(kind)
        try:
            code = process.wait(_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        error.seek(0)
        return code, error.read().decode(errors="replace")


def load_beside_training(seconds: float, scratch: Path) -> dict[str, Any]:
    """Load a run over and over while it keeps one checkpoint, and return the counts.

    Args:
      seconds: how long.
      scratch: an empty folder.
    """
    changes = {**SHORT, "model.encoder.widths": "(64,)", "checkpoints.max_to_keep": 1}
    run = Run(scratch / "run", 100_000, scratch / "cache", "vanilla", changes)
    loads, steps = 0, set()
    failed = []
    with _start(run, subprocess.DEVNULL) as training:
        while not run.last_step():
            time.sleep(0.1)
            if training.poll() is not None:
                raise RuntimeError("the training ended before its first checkpoint")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                vae_jax.load(run.folder)
                steps.add(run.last_step())
            except UserError as error:
                failed.append(str(error))
            loads += 1
        training.kill()
    return {"tried": loads, "checkpoints_seen": len(steps), "not_answered_well": failed}


def main(argv: list[str]) -> None:
    """Try all mishaps, write the JSON; exit code 1 if one was not answered well."""
    del argv
    logging.set_verbosity(logging.WARNING)
    seed = flags.FLAGS.seed
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        results: dict[str, Any] = {}
        for part, tried in (
            ("files", lambda folder: damage_files(_TRIES.value, seed, folder)),
            ("signals", lambda folder: send_signals(_SIGNALS.value, seed, folder)),
            ("rotations", lambda folder: load_beside_training(_LOAD_SECONDS.value, folder)),
        ):
            (scratch / part).mkdir()
            results[part] = tried(scratch / part)
            print(f"{part}: {results[part]}", flush=True)
    failed = [line for part in results.values() for line in part["not_answered_well"]]
    circumstances = {
        "seconds": round(time.monotonic() - begun),
        "num_cores": os.cpu_count(),
        "jax": jax.__version__,
        "command": f"python -m benchmarks.mishaps --seed={seed}",
    }
    results_file.write(flags.FLAGS.output, {**results, **circumstances})
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    app.run(main)
