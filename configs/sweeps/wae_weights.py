"""How closely the codes of a WAE match the prior, by the weight of the distance.

    python -m experiments.sweep --config=configs/wae.py --sweep=configs/sweeps/wae_weights.py \
        --workdir=runs/wae_weights
    python -m benchmarks.code_distances --workdir=runs/wae_weights \
        --output=benchmarks/results/code_distances_cpu.json

The weight is traced: one program trains all ten runs.
"""

from vae_jax.sweeps import space


def get_sweep() -> space.Sweep:
    """Return five weights, each with two seeds."""
    weights = (10.0, 100.0, 500.0, 2000.0, 10000.0)
    return space.grid({"objective.mmd_weight": weights}, seeds=(0, 1), objective="distortion")
