"""From settings to objects. With `experiments/`, the only place that sees a config."""
