"""The flag --output, of commands that may be imported beside one another."""

from absl import flags

OUTPUT = flags.DEFINE_string("output", "", "file or folder to write")
