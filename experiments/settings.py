"""Print all choices of a config, or the settings of one choice.

python -m experiments.settings
python -m experiments.settings --of=objective.elbo
python -m experiments.settings --markdown > docs/settings.md
"""

from absl import flags

from experiments import command_line
from vae_jax.config import reference

_OF = flags.DEFINE_string("of", None, "a choice, such as objective.elbo, or a section such as data")
_MARKDOWN = flags.DEFINE_bool("markdown", False, "print the reference page instead")


def main() -> None:
    """Print the choices, the settings of one, or the reference page."""
    if _MARKDOWN.value:
        print(reference.page(), end="")
    elif _OF.value is not None:
        print(reference.describe(_OF.value))
    else:
        print(reference.listing())


if __name__ == "__main__":
    command_line.run(main)
