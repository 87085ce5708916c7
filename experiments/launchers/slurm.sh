#!/bin/bash
# Train one run on two nodes with eight accelerators each under Slurm; the workdir must be on a file
# system that both share:
#
#   sbatch experiments/launchers/slurm.sh --config=configs/vanilla.py --workdir=/shared/runs/vanilla
#
#SBATCH --nodes=2
# JAX gives each process of Slurm one accelerator.
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
# The run saves and stops two minutes before its time is over; started again, it continues.
#SBATCH --signal=TERM@120
#SBATCH --requeue

srun python -m experiments.train "$@" --coordinator=slurm
