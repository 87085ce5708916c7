#!/bin/bash
# Train one run on two nodes of eight accelerators under Slurm; the workdir must be on a file system
# that both see:
#
#   sbatch experiments/launchers/slurm.sh --config=configs/vanilla.py --workdir=/shared/runs/vanilla
#
#SBATCH --nodes=2
# JAX gives each process of Slurm one accelerator.
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
# Two minutes before its time is over the run saves and stops; started again, it goes on from there.
#SBATCH --signal=TERM@120
#SBATCH --requeue

srun python -m experiments.train "$@" --coordinator=slurm
