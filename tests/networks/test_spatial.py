import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from small_models import initialized, normal

from vae_jax.networks.spatial import SpatialDecoder, SpatialEncoder

OPTIONS = {"num_levels": 2, "num_blocks": 1, "kernel_size": 4, "activation": nnx.relu}


def test_a_grid_of_vectors_has_a_power_of_two_fewer_rows_and_columns():
    def run(images):
        encoder = SpatialEncoder(3, 8, 5, **OPTIONS, rngs=nnx.Rngs(0))
        decoder = SpatialDecoder((3, 2), 5, 8, 7, **OPTIONS, rngs=nnx.Rngs(1))
        vectors = encoder(images)
        return vectors, decoder(vectors.reshape(*vectors.shape[:-3], -1))

    vectors, outputs = jax.eval_shape(run, normal(0, 4, 2, 12, 8, 3))
    assert vectors.shape == (4, 2, 3, 2, 5)
    assert outputs.shape == (4, 2, 12, 8, 7)


def test_a_vector_sees_its_part_of_the_image():
    def first_row(images):
        encoder = SpatialEncoder(1, 4, 2, **{**OPTIONS, "num_levels": 1}, rngs=nnx.Rngs(0))
        return encoder(images)[0, 0].sum()

    gradient = np.asarray(jax.jit(jax.grad(first_row))(normal(1, 1, 32, 8, 1)))[0]
    # A residual block, whose last layer starts at 0, adds nothing yet.
    assert gradient[:3].any()
    assert not gradient[4:].any()


def test_the_decoder_starts_at_the_mean_pixel():
    def start():
        decoder = SpatialDecoder((2, 2), 3, 4, 1, **OPTIONS, rngs=nnx.Rngs(0))
        decoder.set_output_bias(jnp.full((8, 8, 1), 0.25), lambda mean: 2 * mean)
        return decoder

    decoder = initialized(start)
    np.testing.assert_allclose(decoder.doublings[-1].bias[...], [0.5])
