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

# The fields in which the settings differ, and what an objective that does not read one needs there.
_NEUTRAL: dict[str, Any] = {
    "objective.name": "elbo",
    "objective.dip_kind": "i",
    "model.discriminator_widths": (),
    "hparams.beta": 1.0,
    "hparams.gamma": 1.0,
    "hparams.capacity": 0.0,
    "hparams.capacity_epochs": 0.0,
    "hparams.dip_off_diagonal": 1.0,
    "hparams.dip_diagonal": 1.0,
    "hparams.discriminator_learning_rate": 1e-4,
}


def _settings() -> list[dict[str, Any]]:
    settings: list[dict[str, Any]] = []
    for beta in (1.0, 2.0, 4.0, 8.0):
        settings.append({"hparams.beta": beta})
    for capacity in (4.0, 6.0, 8.0, 12.0):
        annealed = {"hparams.capacity": capacity, "hparams.capacity_epochs": 2.0}
        settings.append({"objective.name": "capacity", "hparams.gamma": 100.0, **annealed})
    for gamma in (5.0, 10.0, 20.0, 40.0):
        discriminator = {
            "model.discriminator_widths": (256,) * 4,
            "hparams.discriminator_learning_rate": 1e-3,
        }
        settings.append({"objective.name": "factor", "hparams.gamma": gamma, **discriminator})
    for kind, ratio in (("i", 10.0), ("ii", 1.0)):
        for off_diagonal in (1.0, 5.0, 20.0, 50.0):
            weights = {
                "hparams.dip_off_diagonal": off_diagonal,
                "hparams.dip_diagonal": ratio * off_diagonal,
            }
            settings.append({"objective.name": "dip", "objective.dip_kind": kind, **weights})
    for beta in (2.0, 4.0, 6.0, 10.0):
        settings.append({"objective.name": "tc", "hparams.beta": beta})
    return settings


def get_sweep() -> space.Sweep:
    """The 24 settings, each with five seeds."""
    rows = [tuple({**_NEUTRAL, **setting}.values()) for setting in _settings()]
    return space.grid({tuple(_NEUTRAL): rows}, seeds=range(5))
