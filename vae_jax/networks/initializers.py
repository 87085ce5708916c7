"""Initializers of dense layers' matrices, by the name that a config gives."""

from flax import nnx

Initializer = nnx.Initializer

# Keeps the variance of what passes a rectifier.
HE: Initializer = nnx.initializers.he_normal()
# Keeps the variance of what passes no activation.
LECUN: Initializer = nnx.initializers.lecun_normal()

INITIALIZERS: dict[str, Initializer] = {
    "glorot": nnx.initializers.glorot_uniform(),
    "lecun": LECUN,
}
