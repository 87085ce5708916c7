"""How the matrices of dense layers start, by the name that a config gives."""

from flax import nnx

Initializer = nnx.Initializer

LECUN: Initializer = nnx.initializers.lecun_normal()

INITIALIZERS: dict[str, Initializer] = {
    "glorot": nnx.initializers.glorot_uniform(),
    "lecun": LECUN,
}
