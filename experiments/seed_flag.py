"""The flag --seed, of commands that may be imported beside one another."""

from absl import flags

SEED = flags.DEFINE_integer("seed", 0, "of everything that is drawn or fitted")
