"""Training: the step, the loop around it, devices, checkpoints and records."""
