"""The initializers of dense layers' matrices, by the name that a config gives."""

from flax import nnx

Initializer = nnx.Initializer

# Keeps the variance through a rectifier.
HE: Initializer = nnx.initializers.he_normal()
# Keeps the variance where no activation follows.
LECUN: Initializer = nnx.initializers.lecun_normal()

INITIALIZERS: dict[str, Initializer] = {
    "glorot": nnx.initializers.glorot_uniform(),
    "lecun": LECUN,
}
