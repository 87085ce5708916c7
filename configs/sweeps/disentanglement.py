"""Six disentangling objectives, four strengths each, five seeds: 120 runs.

    python -m experiments.disentanglement --config=configs/disentanglement.py \
        --sweep=configs/sweeps/disentanglement.py --executor=processes \
        --workdir=runs/disentanglement

On two cores without an accelerator, and beside other work, it took an hour and a quarter.
Expect more pressure to give a higher MIG, DCI and SAP (MIG 0.05 at beta 1, 0.30 at beta 8),
annealed capacity the highest at the same distortion (0.35 at 8 nats), and no difference in the
FactorVAE score: it finds three of the five factors in any latents that hold them.
"""

from typing import Any

from vae_jax.sweeps import space


def _objectives() -> list[dict[str, Any]]:
    objectives: list[dict[str, Any]] = []
    for beta in (1.0, 2.0, 4.0, 8.0):
        objectives.append({"name": "elbo", "beta": beta})
    for capacity in (4.0, 6.0, 8.0, 12.0):
        annealed = {"capacity": capacity, "capacity_epochs": 2.0}
        objectives.append({"name": "capacity", "gamma": 100.0, **annealed})
    for gamma in (5.0, 10.0, 20.0, 40.0):
        discriminator = {"widths": (256,) * 4, "learning_rate": 1e-3}
        objectives.append({"name": "factor", "gamma": gamma, "discriminator": discriminator})
    for kind, ratio in (("i", 10.0), ("ii", 1.0)):
        for weight in (1.0, 5.0, 20.0, 50.0):
            weights = {"off_diagonal": weight, "diagonal": ratio * weight}
            objectives.append({"name": "dip", "kind": kind, **weights})
    for beta in (2.0, 4.0, 6.0, 10.0):
        objectives.append({"name": "tc", "beta": beta})
    return objectives


def get_sweep() -> space.Sweep:
    """Return the 24 objectives, each with five seeds."""
    return space.grid({"objective": _objectives()}, seeds=range(5))
