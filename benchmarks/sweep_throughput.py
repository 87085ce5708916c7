"""Members of a sweep against runs alone: images per second of all members together.

    python -m benchmarks.sweep_throughput --output=benchmarks/results/sweep_throughput_cpu.json

Each number of members trains for one call of 100 steps at batch 128, in turn and side by side. The
run alone is timed just before and just after, in the same process, without the loop around it; the
faster of the two counts. Compilation is counted apart. With
--repeats=1 it takes about 6 min on 2 cores.
"""

from typing import Any

import jax
from absl import app, flags

from benchmarks.members_speed import Experiment
from configs import vanilla
from vae_jax.evaluation import results_file
from vae_jax.sweeps.members import InTurn, MemberFunctions, SideBySide, prefers_side_by_side

_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write; empty prints only")
_MEMBERS = flags.DEFINE_list("members", ["1", "4", "16", "64", "256"], "numbers of members")
_HOW = flags.DEFINE_list("how", ["in turn", "side by side"], "how the members are trained")
_REPEATS = flags.DEFINE_integer("repeats", 3, "timed calls; the fastest counts")

_NUM_STEPS = 100
_BATCH_SIZE = 128


def _experiment() -> Experiment:
    """Return the network 784-400-20-400-784 with dynamic binarisation."""
    given = vanilla.get_config()
    given.model.latent_size, given.batch_size = 20, _BATCH_SIZE
    given.model.encoder.activation = "relu"
    return Experiment(given, _NUM_STEPS)


def main(argv: list[str]) -> None:
    """Measure every number of members, print a line each, write the JSON."""
    del argv
    experiment, repeats = _experiment(), _REPEATS.value
    results: dict[str, Any] = {
        **results_file.circumstances("benchmarks.sweep_throughput"),
        "network": "784-400-20-400-784, batch 128, dynamic binarisation",
        "default": "side by side" if prefers_side_by_side() else "in turn",
        "members": [],
    }
    for num_members in map(int, _MEMBERS.value):
        for name in _HOW.value:
            functions: MemberFunctions[Any] = (
                InTurn(experiment.program, experiment.images, None)
                if name == "in turn"
                else SideBySide(experiment.program, experiment.images, None, jax.devices()[:1])
            )
            before = experiment.solo_seconds(repeats)
            measured: dict[str, Any] = experiment.measure(functions, num_members, repeats)
            solo = min(before, experiment.solo_seconds(repeats))
            measured |= {
                "num_members": num_members,
                "how": name,
                "solo_examples_per_second": experiment.num_examples / solo,
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
