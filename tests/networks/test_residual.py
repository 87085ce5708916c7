import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from small_data import write_shapes
from small_models import normal, randomized

from configs import celeba
from experiments import train
from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.networks import ResidualDecoder, ResidualEncoder, residual
from vae_jax.networks.normalization import GroupNorm
from vae_jax.networks.residual import ResidualStage
from vae_jax.training.records import read_records

OPTIONS = {"num_blocks": 1, "kernel_size": 4, "activation": jax.nn.silu}
CHANNELS = (4, 6, 8)


@pytest.mark.parametrize(
    ("upsampling", "square", "image_shape"),
    [
        ("transpose", 1, (64, 64, 3)),
        ("transpose", 1, (218, 178, 3)),
        ("transpose", 1, (65, 33, 1)),
        ("transpose", 1, (1, 5, 1)),
        ("resize", 1, (218, 178, 3)),
        ("resize", 3, (128, 128, 1)),
        ("resize", 3, (65, 33, 1)),
        ("resize", 3, (8, 8, 3)),
    ],
)
def test_decoded_images_have_the_size_of_the_encoded_ones(image_shape, upsampling, square):
    def run(images, latents):
        options = {**OPTIONS, "square": square, "rngs": nnx.Rngs(0)}
        encoder = ResidualEncoder(image_shape, CHANNELS, (), downsampling="stride", **options)
        decoder = ResidualDecoder(
            2, image_shape, CHANNELS, (), upsampling=upsampling, outputs_per_channel=2, **options
        )
        features = encoder(images)
        assert features.shape == (2, encoder.num_features)
        return features, decoder(latents)

    features, outputs = jax.eval_shape(run, jnp.zeros((2, *image_shape)), jnp.zeros((2, 2)))
    rows, columns = (-(-size // (8 * square)) for size in image_shape[:2])
    assert features.shape[1] == rows * columns * CHANNELS[-1]
    assert outputs.shape == (2, *image_shape[:2], 2 * image_shape[2])


def test_squares_of_pixels_become_channels_and_squares_again():
    images = np.arange(2 * 6 * 4 * 3, dtype=np.float32).reshape(2, 6, 4, 3)

    @jax.jit
    def there_and_back(images):
        squares = residual.squares_to_channels(images, 2)
        back = residual.channels_to_squares(squares, 2)
        return squares, back, residual.squares_to_channels(images, 4)

    squares, back, large = map(np.asarray, there_and_back(images))
    assert squares.shape == (2, 3, 2, 12)
    np.testing.assert_array_equal(squares[1, 2, 1].reshape(2, 2, 3), images[1, 4:6, 2:4])
    np.testing.assert_array_equal(back, images)
    # A square that the image does not fill is continued from its edge.
    last = large[0, 1, 0].reshape(4, 4, 3)
    np.testing.assert_array_equal(last, images[0, np.array([4, 5, 5, 5]), :4])


def build_stage(num_blocks, *, remat=False, dtype=jnp.float32, channels=4):
    return ResidualStage(
        channels,
        num_blocks,
        activation=jax.nn.silu,
        remat=remat,
        dtype=dtype,
        rngs=nnx.Rngs(0),
    )


@pytest.mark.parametrize("remat", [False, True])
def test_blocks_start_as_the_identity(remat):
    images = normal(0, 2, 5, 3, 4)
    start = jax.jit(lambda images: build_stage(3, remat=remat)(images))
    np.testing.assert_array_equal(start(images), images)


def test_a_block_adds_two_convolutions_of_its_normalised_input():
    block = randomized(lambda: build_stage(1)).blocks[0]
    images = normal(0, 2, 5, 3, 4)

    @jax.jit
    def both(images):
        hidden = block.first(jax.nn.silu(block.first_norm(images)))
        return block(images), images + block.second(jax.nn.silu(block.second_norm(hidden)))

    actual, expected = both(images)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    assert np.abs(actual - images).max() > 0.1


def gradient_of(stage, images):
    graphdef, params = nnx.split(stage)

    def loss(params, images):
        return jnp.square(nnx.merge(graphdef, params)(images)).mean()

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, images).compile()
    return compiled(params, images), compiled.memory_analysis().temp_size_in_bytes


def test_recomputation_changes_no_value_and_keeps_far_less_in_memory():
    images = normal(0, 4, 16, 16, 8)
    kept, most = gradient_of(randomized(lambda: build_stage(6, channels=8)), images)
    again, least = gradient_of(randomized(lambda: build_stage(6, channels=8, remat=True)), images)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(kept), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
    assert least < most / 3


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (24, 1), (32, 2), (48, 3), (80, 5)])
def test_normalisation_is_that_of_flax_whatever_the_number_of_channels(channels, groups):
    norm = randomized(lambda: GroupNorm(channels))
    assert norm.num_groups == groups

    @jax.jit
    def both(images):
        flax = nnx.GroupNorm(channels, groups, rngs=nnx.Rngs(0))
        flax.scale[...], flax.bias[...] = norm.scale[...], norm.bias[...]
        return norm(images), flax(images)

    images = 3 + np.asarray(normal(1, 2, 4, 3, channels))
    np.testing.assert_allclose(*both(images), rtol=1e-4, atol=1e-5)


def test_normalisation_of_rounded_images_is_computed_in_float32():
    images = (100 + np.asarray(normal(1, 2, 4, 3, 16))).astype(jnp.bfloat16)
    out = np.asarray(jax.jit(lambda images: GroupNorm(16)(images))(images))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(axis=(1, 2, 3)), 1, atol=1e-3)


@pytest.mark.parametrize(("upsampling", "square"), [("transpose", 1), ("resize", 2)])
def test_a_decoder_starts_near_its_bias_but_parts_its_outputs(upsampling, square):
    shape = (32, 32, 3)

    @jax.jit
    def start(latents):
        options = {**OPTIONS, "square": square, "rngs": nnx.Rngs(0)}
        decoder = ResidualDecoder(4, shape, (8, 8), (), upsampling=upsampling, **options)
        decoder.set_output_bias(jnp.full(shape, 0.5), lambda mean: mean)
        return decoder(latents)

    outputs = np.asarray(start(normal(0, 16, 4)))
    assert 0.01 < np.std(outputs) < 0.2
    assert np.abs(outputs.mean() - 0.5) < 0.1
    assert np.ptp(outputs.mean(axis=(0, 1, 2))) > 1e-3


def test_features_depend_on_the_brightness_of_an_image():
    @jax.jit
    def encode(images):
        options = {**OPTIONS, "rngs": nnx.Rngs(0)}
        encoder = ResidualEncoder((8, 8, 1), CHANNELS, (), downsampling="stride", **options)
        return encoder(images)

    images = np.float32([0.25, 0.5])[:, None, None, None] * np.ones((8, 8, 1), np.float32)
    features = np.asarray(encode(images))
    assert np.abs(features[1]).max() > 1.5 * np.abs(features[0]).max() > 0.01


SMALL = {
    # An epoch ends with a validation and a checkpoint, which take longer than its steps.
    "epochs": 4,
    "batch_size": 16,
    # One step per scan: a longer scan compiles several steps.
    "steps_per_call": 1,
    "data.train_split": "train[:640]",
    "data.validation_split": "train[640:]",
    "data.test_split": "test",
    "data.image_size": 8,
    # Less than the decoded training set takes: it is streamed.
    "data.mode.memory_limit": 2e-5,
    "model.latent_size": 8,
    **{
        f"model.{body}.{name}": value
        for body in ("encoder", "decoder")
        for name, value in {"channels": (16,), "blocks": 1, "compute_dtype": "float32"}.items()
    },
    "optimizer.learning_rate": 2e-3,
    "objective.warmup_epochs": 0.2,
    "checkpoints.every_seconds": 1e6,
    "tensorboard.images_every_epochs": 0,
    "evaluation.num_samples": 4,
    "evaluation.batch_size": 12,
}


@pytest.mark.plots
@pytest.mark.slow  # a whole run, whose dozen programs are compiled first
def test_it_learns_from_a_stream_of_colour_images(parsed_flags, tmp_path):
    folder = write_shapes(tmp_path / "shapes", 8, train=672, test=24)
    changes = {**SMALL, "data.name": str(folder)}
    train.train(factory.with_values(celeba.get_config(), changes), tmp_path / "run")
    elbos = [
        record["elbo"]
        for record in read_records(tmp_path / "run" / "metrics.jsonl")
        if record["split"] == "valid"
    ]
    records = read_records(tmp_path / "run" / "metrics.jsonl")
    assert all("data_wait_share" in record for record in records if record["split"] == "train")
    # A uniform distribution over the levels costs eight bits per channel.
    uniform = -8 * 8 * 3 * np.log(256)
    assert uniform * 1.1 < elbos[0] < elbos[-1]
    # The frequencies of the levels alone make it 7.5.
    assert elbos[-1] > 7.45 / 8 * uniform
    test = workdir.read_summary(tmp_path / "run")["test"]
    assert 5 < test["bits_per_dim"] < 7.5
    assert test["bits_per_dim"] == pytest.approx(test["elbo"] / uniform * 8)
    assert test["active_units"] > 0
    with Image.open(tmp_path / "run" / "plots" / "reconstructions.png") as image:
        pixels = np.asarray(image.convert("RGB"), np.float32)
    # In colour.
    assert np.ptp(pixels, axis=2).mean() > 5
