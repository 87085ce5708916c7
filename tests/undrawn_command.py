"""A command of experiments/ as `python -m` starts it, without the plots of its runs and sweeps.

    python tests/undrawn_command.py experiments.train --config=configs/vanilla.py ...

The plots take a third of the time of a small run.
"""

import importlib
import sys


def main():
    """Run the command that the arguments name."""
    name = sys.argv.pop(1)
    command = importlib.import_module(name)
    drawing = importlib.import_module("vae_jax.evaluation.drawing")
    for function in ("draw_run", "draw_joint_run"):
        setattr(drawing, function, lambda *_, **__: None)
    if name == "experiments.sweep":
        results = importlib.import_module("vae_jax.sweeps.results")
        results.draw = lambda *_: None
    importlib.import_module("experiments.command_line").run(command.main)


# Workers of a sweep import this file.
if __name__ == "__main__":
    main()
