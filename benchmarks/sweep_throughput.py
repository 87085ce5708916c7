"""Members of a sweep against runs alone: images per second of all members together.

    python -m benchmarks.sweep_throughput --output=benchmarks/results/sweep_throughput_cpu.json

Each number of members trains for one call of 100 steps at batch 128, in turn and side by side. The
run alone is timed just before and just after, in the same process, without the loop around it; the
faster of the two counts. Compilation is counted apart. With
--repeats=1 it takes about 6 min on 2 cores.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from configs import vanilla
from vae_jax import config
from vae_jax.evaluation import results_file
from vae_jax.sweeps.members import InTurn, MemberFunctions, SideBySide, prefers_side_by_side, stack

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_MEMBERS = flags.DEFINE_list("members", ["1", "4", "16", "64", "256"], "numbers of members")
_REPEATS = flags.DEFINE_integer("repeats", 3, "timed calls; the fastest counts")

_NUM_STEPS = 100
_BATCH_SIZE = 128


class Experiment:
    """The program 784-400-20-400-784 with dynamic binarisation, and its runs."""

    def __init__(self) -> None:
        given = vanilla.get_config()
        given.model.latent_size, given.batch_size = 20, _BATCH_SIZE
        given.model.encoder.activation = "relu"
        self.config = config.resolve(given)
        splits = config.load_splits(self.config)
        num_examples = _NUM_STEPS * _BATCH_SIZE
        self.images = jnp.asarray(splits.train_examples[:num_examples])
        self.program = config.build_program(self.config, (28, 28, 1), num_examples)
        self.mean_image = config.mean_image(splits.train)
        self.init = jax.jit(self.program.init)
        self.solo = jax.jit(self.program.run_steps, static_argnames="num_steps", donate_argnums=0)

    def state(self, member: int) -> Any:
        """Return the initial state of a member, each with a seed and a beta of its own."""
        hparams = config.build_hparams(self.config)
        hparams["objective.beta"] = jnp.float32(1 + member / 256)
        return self.init(self.mean_image, config.make_key(member), hparams)

    def solo_seconds(self) -> float:
        """Return the seconds of the fastest call of a run alone."""
        state, fastest = self.state(0).train, float("inf")
        for repeat in range(_REPEATS.value + 1):
            start = time.perf_counter()
            state, metrics = self.solo(state, self.images, num_steps=_NUM_STEPS)
            jax.block_until_ready(metrics)
            if repeat:
                fastest = min(fastest, time.perf_counter() - start)
        return fastest

    def measure(self, functions: MemberFunctions[Any], num_members: int) -> dict[str, float]:
        """Return seconds of the first call, which compiles, and of the fastest of the others."""
        active = np.ones(num_members, bool)
        states = functions.place(stack([self.state(m) for m in range(num_members)]), num_members)
        seconds = []
        for _ in range(_REPEATS.value + 1):
            start = time.perf_counter()
            states, _, finite, _ = functions.run_steps(states, active, _NUM_STEPS, lambda: False)
            seconds.append(time.perf_counter() - start)
            assert finite.all()
        fastest = min(seconds[1:])
        return {
            "examples_per_second": num_members * _NUM_STEPS * _BATCH_SIZE / fastest,
            "call_seconds": fastest,
            "compile_seconds": max(0.0, seconds[0] - fastest),
        }


def main(argv: list[str]) -> None:
    """Measure every number of members, print a line each, write the JSON."""
    del argv
    experiment = Experiment()
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.sweep_throughput"),
        "network": "784-400-20-400-784, batch 128, dynamic binarisation",
        "default": "side by side" if prefers_side_by_side() else "in turn",
        "members": [],
    }
    for num_members in map(int, _MEMBERS.value):
        for name in ("in turn", "side by side"):
            functions: MemberFunctions[Any] = (
                InTurn(experiment.program, experiment.images, None)
                if name == "in turn"
                else SideBySide(experiment.program, experiment.images, None, jax.devices()[:1])
            )
            before = experiment.solo_seconds()
            measured: dict[str, Any] = experiment.measure(functions, num_members)
            solo = min(before, experiment.solo_seconds())
            measured |= {
                "num_members": num_members,
                "how": name,
                "solo_examples_per_second": _NUM_STEPS * _BATCH_SIZE / solo,
                "share_of_sequential": num_members * solo / measured["call_seconds"],
                "times_of_one_run": measured["call_seconds"] / solo,
            }
            results["members"].append(measured)
            print(
                f"{num_members} members {name}: {measured['examples_per_second']:,.0f} images/s, "
                f"{measured['share_of_sequential']:.2f} of runs one after the other, "
                f"{measured['times_of_one_run']:.1f} times one run; compiled in "
                f"{measured['compile_seconds']:.1f} s",
                flush=True,
            )
    results_file.write(_OUTPUT.value, results)


if __name__ == "__main__":
    app.run(main)
