"""Measure how fast a program trains one run, and several members of a sweep."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vae_jax import config
from vae_jax.sweeps.members import MemberFunctions, stack


class Experiment:
    """The compiled program of a config, and its runs, which differ in seed and beta.

    Attributes:
      program: the program.
      images: the training examples of a call.
      num_steps: steps of a call.
      batch_size: examples of a step.
    """

    def __init__(self, given: ConfigDict, num_steps: int) -> None:
        self.config = config.resolve(given)
        self.num_steps, self.batch_size = num_steps, self.config.batch_size
        splits = config.load_splits(self.config)
        num_examples = num_steps * self.batch_size
        self.images = jnp.asarray(splits.train_examples[:num_examples])
        self.program = config.build_program(self.config, splits.form, num_examples)
        self.mean_image = config.mean_image(splits.train)
        self.init = jax.jit(self.program.init)
        self.solo = jax.jit(self.program.run_steps, static_argnames="num_steps", donate_argnums=0)

    @property
    def num_examples(self) -> int:
        """The training examples that a call takes per run."""
        return self.num_steps * self.batch_size

    def state(self, member: int) -> Any:
        """Return the initial state of a member, each with a seed and a beta of its own."""
        hparams = config.build_hparams(self.config)
        if "objective.beta" in hparams:
            hparams["objective.beta"] = jnp.float32(1 + member / 256)
        return self.init(self.mean_image, config.make_key(member), hparams)

    def solo_seconds(self, repeats: int) -> float:
        """Return the seconds of the fastest call of a run alone."""
        state, fastest = self.state(0).train, float("inf")
        for repeat in range(repeats + 1):
            start = time.perf_counter()
            state, metrics = self.solo(state, self.images, num_steps=self.num_steps)
            jax.block_until_ready(metrics)
            if repeat:
                fastest = min(fastest, time.perf_counter() - start)
        return fastest

    def measure(
        self, functions: MemberFunctions[Any], num_members: int, repeats: int
    ) -> dict[str, float]:
        """Return seconds of the first call, which compiles, and of the fastest of the others."""
        active = np.ones(num_members, bool)
        states = functions.place(stack([self.state(m) for m in range(num_members)]), num_members)
        seconds = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            states, _, finite, _ = functions.run_steps(
                states, active, self.num_steps, lambda: False
            )
            seconds.append(time.perf_counter() - start)
            assert finite.all()
        fastest = min(seconds[1:])
        return {
            "examples_per_second": num_members * self.num_examples / fastest,
            "call_seconds": fastest,
            "compile_seconds": max(0.0, seconds[0] - fastest),
        }
