"""The flag --data_dir, of commands that may be imported beside one another."""

from absl import flags

DATA_DIR = flags.DEFINE_string(
    "data_dir",
    "data",
    "Where prepared data sets are. Empty means TFDS's default, ~/tensorflow_datasets.",
)
