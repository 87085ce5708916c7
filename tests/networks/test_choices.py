import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from vae_jax import settings
from vae_jax.models.networks import MirrorSettings
from vae_jax.networks.choices import DECODERS, ENCODERS, LAYERS

IMAGE_SHAPE = (12, 9, 3)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_gives_num_features(name):
    def features(images):
        encoder = ENCODERS[name]().build(IMAGE_SHAPE, rngs=nnx.Rngs(0))
        found = encoder(images)
        assert found.shape == (2, encoder.num_features)
        return found

    jax.eval_shape(features, jnp.zeros((2, *IMAGE_SHAPE)))


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "mirror"])
def test_every_decoder_gives_the_outputs_per_channel(name):
    def outputs(latents):
        return DECODERS[name]().build(5, IMAGE_SHAPE, 2, rngs=nnx.Rngs(0))(latents)

    assert jax.eval_shape(outputs, jnp.zeros((2, 5))).shape == (2, *IMAGE_SHAPE[:2], 6)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_mirror_has_the_encoders_settings_and_its_layers_in_reverse(name):
    encoder = ENCODERS[name](widths=(8, 6))
    mirror = encoder.mirror()
    assert settings.name_of(mirror) == name
    shared = settings.settings_of(type(encoder)).keys() & settings.settings_of(type(mirror)).keys()
    assert {n: getattr(mirror, n) for n in shared} == {n: getattr(encoder, n) for n in shared}
    assert {"widths", "initializer", "compute_dtype"} <= shared
    down, up = (
        nnx.eval_shape(lambda: encoder.build(IMAGE_SHAPE, rngs=nnx.Rngs(0))),
        nnx.eval_shape(lambda: mirror.build(5, IMAGE_SHAPE, 1, rngs=nnx.Rngs(0))),
    )
    assert (6, 8) in {leaf.shape for leaf in jax.tree.leaves(up)}
    assert (8, 6) in {leaf.shape for leaf in jax.tree.leaves(down)}


def test_a_mirror_alone_builds_nothing():
    with pytest.raises(TypeError, match="no layers of its own"):
        MirrorSettings().build(5, IMAGE_SHAPE, 1, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", ["conv", "resnet"])
def test_the_smallest_image_is_halved_at_every_level(name):
    for table in (ENCODERS, DECODERS):
        assert table[name](channels=(2, 2, 2)).smallest_side() == 8
        assert table[name](channels=(2,)).smallest_side() == 2


@pytest.mark.parametrize("name", LAYERS)
def test_layers_between_vectors_have_their_widths(name):
    def run(x):
        layers = LAYERS[name](widths=(7, 4)).build(3, rngs=nnx.Rngs(0))
        assert layers.num_features == 4
        return layers(x)

    assert jax.eval_shape(run, jnp.zeros((2, 3))).shape == (2, 4)
    assert LAYERS[name]().build(3, rngs=nnx.Rngs(0)).num_features == 3
    assert dataclasses.replace(LAYERS[name](), widths=(2,)).widths == (2,)
