import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_codes import IMAGE_SHAPE, QUANTIZERS, coded_config, coded_experiment
from small_models import initialized, normal, randomized

from vae_jax import config as factory
from vae_jax.config.datasets import check_image_shape
from vae_jax.errors import UserError
from vae_jax.models.vq_vae import (
    AveragedCodebook,
    FiniteScalarQuantizer,
    LearnedCodebook,
    code_use,
    nearest_codes,
    split_unused,
)

LEVELS = (5, 4, 2, 3)


def codebook_of(num_codes=5, size=3, decay=0.75, restart_below=0.0):
    options = {"decay": decay, "restart_below": restart_below}
    return initialized(lambda: AveragedCodebook(num_codes, size, **options, rngs=nnx.Rngs(0)))


def test_codes_are_the_nearest_vectors():
    inputs, codebook = normal(0, 4, 6, 3), normal(1, 9, 3)
    distances = np.square(np.asarray(inputs)[..., None, :] - np.asarray(codebook)).sum(axis=-1)
    codes = jax.jit(nearest_codes)(inputs, codebook)
    np.testing.assert_array_equal(codes, distances.argmin(axis=-1))


def test_the_use_of_codes_is_their_shares():
    codes = np.int32([[0, 3], [3, 1]])
    use = jax.jit(code_use, static_argnums=1)(codes, 5)
    np.testing.assert_allclose(use, [0.25, 0.25, 0, 0.5, 0])


@pytest.mark.parametrize("kind", [AveragedCodebook, LearnedCodebook])
def test_the_gradient_goes_straight_through_a_codebook(kind):
    options = {"decay": 0.75, "restart_below": 0.0} if kind is AveragedCodebook else {}
    inputs, weights = np.asarray(normal(0, 8, 3)), np.asarray(normal(1, 8, 3))

    @jax.jit
    def quantize(inputs):
        quantizer = kind(5, 3, **options, rngs=nnx.Rngs(0))
        found = quantizer(inputs)
        by_vectors = jax.grad(lambda x: (quantizer(x).vectors * weights).sum())(inputs)
        by_commitment = jax.grad(lambda x: quantizer(x).commitment.sum())(inputs)
        of_codes = quantizer.vectors(found.codes)
        return found.vectors, found.commitment, of_codes, by_vectors, by_commitment

    vectors, commitment, of_codes, by_vectors, by_commitment = map(np.asarray, quantize(inputs))
    np.testing.assert_allclose(vectors, of_codes, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_vectors, weights, rtol=1e-6)
    # Commitment pulls inputs to codes: d|z - e|^2/dz = 2 (z - e).
    np.testing.assert_allclose(by_commitment, 2 * (inputs - vectors), rtol=1e-4, atol=1e-5)
    squares = np.square(inputs - vectors).sum(axis=-1)
    np.testing.assert_allclose(commitment, squares, rtol=1e-4, atol=1e-5)


def test_a_learned_codebook_moves_to_its_inputs_and_these_stay():
    inputs = normal(0, 8, 3)
    graphdef, params = nnx.split(initialized(lambda: LearnedCodebook(5, 3, rngs=nnx.Rngs(0))))

    def error(params, inputs):
        return nnx.merge(graphdef, params)(inputs).codebook_error.sum()

    for_params, for_inputs = jax.jit(jax.grad(error, argnums=(0, 1)))(params, inputs)
    assert not np.asarray(for_inputs).any()
    codebook = np.asarray(params["codebook"][...])
    codes = np.asarray(jax.jit(nearest_codes)(inputs, codebook))
    expected = [2 * (codebook[k] - np.asarray(inputs)[codes == k]).sum(axis=0) for k in range(5)]
    np.testing.assert_allclose(for_params["codebook"][...], expected, rtol=1e-4, atol=1e-5)


def followed(codebook, inputs):
    """Return the averages after a batch."""
    graphdef, state = nnx.split(codebook)

    @jax.jit
    def follow(state, inputs):
        moved = nnx.merge(graphdef, state, copy=True)
        moved.follow(inputs, moved(inputs).codes)
        return moved.uses[...], moved.sums[...]

    return [np.asarray(average) for average in follow(state, inputs)]


@pytest.mark.parametrize("restart_below", [0.0, 0.9])
def test_averages_move_by_their_definition_and_parts_of_a_batch_average_to_the_whole(
    restart_below,
):
    codebook, inputs = codebook_of(restart_below=restart_below), np.asarray(normal(0, 4, 6, 3))
    codebook.uses[...] = jnp.asarray([0.3, 0.2, 0.1, 0.3, 0.1])
    uses, sums = followed(codebook, inputs)
    if not restart_below:
        flat = inputs.reshape(-1, 3)
        codes = jax.jit(lambda flat: nearest_codes(flat, codebook.codebook))(flat)
        chosen = np.eye(5)[np.asarray(codes)]
        expected = 0.75 * np.asarray(codebook.uses[...]) + 0.25 * chosen.mean(axis=0)
        np.testing.assert_allclose(uses, expected, rtol=1e-5)
        expected = 0.75 * np.asarray(codebook.sums[...]) + 0.25 * chosen.T @ flat / len(flat)
        np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-6)
    halves = [followed(codebook, inputs[half]) for half in (slice(2), slice(2, 4))]
    for whole, first, second in zip((uses, sums), *halves, strict=True):
        np.testing.assert_allclose((first + second) / 2, whole, rtol=1e-4, atol=1e-6)


def test_a_code_without_use_stays_and_remains_finite():
    codebook = codebook_of(num_codes=2, size=1, decay=0.5)
    codebook.sums[...] = jnp.asarray([[0.5], [2.0]])
    graphdef, state = nnx.split(codebook)

    @jax.jit
    def train(state):
        def step(state, _):
            moved = nnx.merge(graphdef, state, copy=True)
            inputs = jnp.full((3, 1), 0.9)
            moved.follow(inputs, moved(inputs).codes)
            return nnx.split(moved)[1], None

        return jax.lax.scan(step, state, length=300)[0]

    after = nnx.merge(graphdef, train(state))
    np.testing.assert_allclose(after.codebook, [[0.9], [4.0]], rtol=1e-5)


def test_unused_codes_restart_beside_the_most_used_ones():
    uses = np.float32([0.0, 0.5, 0.001, 0.3, 0.199])
    codebook = np.asarray(normal(0, 5, 4))
    split = jax.jit(split_unused, static_argnums=2)
    shared, sums = map(np.asarray, split(uses, codebook * uses[:, None] + np.float32(1e-20), 0.01))
    np.testing.assert_allclose(shared, [0.25, 0.25, 0.15, 0.15, 0.199], rtol=1e-5)
    after = sums / shared[:, None]
    np.testing.assert_allclose(after[[1, 3, 4]], codebook[[1, 3, 4]], rtol=1e-5)
    for restarted, source in ((0, 1), (2, 3)):
        np.testing.assert_allclose(after[restarted], codebook[source], rtol=0.05)
        assert (after[restarted] != after[source]).all()


def test_nothing_is_split_while_all_codes_are_in_use_and_one_serves_all_others():
    split = jax.jit(split_unused, static_argnums=2)
    uses, sums = jnp.asarray([0.4, 0.35, 0.25]), normal(0, 3, 2)
    same, same_sums = split(uses, sums, 0.1)
    np.testing.assert_array_equal(same, uses)
    np.testing.assert_allclose(same_sums, sums, rtol=1e-6)
    shared, _ = split(jnp.asarray([0.02, 0.96, 0.02]), sums, 0.1)
    np.testing.assert_allclose(shared, np.full(3, 0.32), rtol=1e-6)


def test_finite_scalars_have_every_combination_of_levels():
    quantizer = FiniteScalarQuantizer(LEVELS)
    assert quantizer.num_codes == 120
    vectors = np.asarray(jax.jit(quantizer.vectors)(np.arange(120, dtype=np.int32)))
    assert len(np.unique(vectors, axis=0)) == 120
    assert [len(np.unique(column)) for column in vectors.T] == list(LEVELS)
    assert vectors.min() == -1
    grid = np.stack(np.meshgrid(*[[-6.0, -1.5, -0.6, 0.0, 0.6, 1.5]] * 4), axis=-1)
    found = jax.jit(lambda x: quantizer(x))(grid.reshape(-1, 4).astype(np.float32))
    np.testing.assert_array_equal(np.unique(found.codes), np.arange(120))
    np.testing.assert_allclose(found.vectors, vectors[np.asarray(found.codes)], atol=1e-5)
    assert not np.asarray(found.commitment).any()


def test_finite_scalars_are_the_nearest_levels_of_the_bounded_input():
    quantizer, inputs = FiniteScalarQuantizer((5,)), np.linspace(-3, 3, 41)[:, None]
    inputs = inputs.astype(np.float32)
    expected = np.round(2 * 1.001 * np.tanh(inputs)) / 2
    quantize = jax.jit(jax.vmap(jax.value_and_grad(lambda x: quantizer(x).vectors.sum())))
    found, gradient = quantize(inputs)
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-5)
    np.testing.assert_allclose(gradient, 1.001 / np.cosh(inputs) ** 2, rtol=1e-4)


@pytest.mark.parametrize("name", list(QUANTIZERS))
def test_a_model_decodes_the_latents_of_its_codes(name):
    experiment = coded_experiment(name)
    model = randomized(lambda: factory.build_model(experiment, IMAGE_SHAPE, jax.random.key(0)))
    if name == "vq":
        model.quantizer.uses[...] = jnp.asarray(np.full(7, 1 / 7, np.float32))
    graphdef, state = nnx.split(model)
    images = jnp.asarray(np.random.default_rng(1).random((2, 5, *IMAGE_SHAPE), np.float32))

    @jax.jit
    def run(state):
        model = nnx.merge(graphdef, state)
        latents = model.latents(images)
        quantized = model.quantizer(model.outputs(images)).vectors
        means = model.decode(latents).mean
        return model.codes(images), latents, model.flatten(quantized), means

    codes, latents, quantized, means = map(np.asarray, run(state))
    assert codes.shape == (2, 5, *model.code_shape) == (2, 5, 3, 2)
    assert latents.shape == (2, 5, model.latent_size)
    assert means.shape == images.shape
    assert 0 <= codes.min() <= codes.max() < model.num_codes
    np.testing.assert_allclose(latents, quantized, atol=1e-5)
    assert not model.has_density
    learned = set(nnx.to_pure_dict(factory.split_model(model)[2]).get("quantizer", ()))
    assert learned == ({"uses", "sums"} if name == "vq" else set())


@pytest.mark.parametrize(
    ("quantizer", "changes", "reason"),
    [
        ({"name": "vq", "codebook_size": 1}, {}, r"codebook_size=1 must be .* 2"),
        ({"name": "vq_gradient", "codebook_size": 1}, {}, r"codebook_size=1 must be .* 2"),
        (
            {"name": "fsq", "levels": (8, 1)},
            {},
            r"model.quantizer.levels=\(8, 1\) must be at least",
        ),
        ({"name": "fsq", "levels": (4096, 4097)}, {}, "more than"),
        ("vq", {"codes": (7,)}, r"model.codes=\(7,\) must be rows and columns"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_a_line(quantizer, changes, reason):
    config = coded_config(quantizer, model_changes=changes)
    with pytest.raises(UserError, match=reason) as refused:
        factory.resolve(config)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("codes", [(5, 5), (28, 28), (7, 14), (4, 4), (30, 30), (1, 1)])
def test_codes_that_do_not_divide_the_image_are_refused_in_a_line(codes):
    experiment = coded_experiment(model_changes={"codes": codes})
    with pytest.raises(UserError, match=r"model\.codes=.* 28 and 28, divided by 2, 4") as refused:
        check_image_shape(experiment, (28, 28, 1))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("codes", [(7, 7), (14, 14)])
def test_codes_that_divide_the_image_are_taken(codes):
    check_image_shape(coded_experiment(model_changes={"codes": codes}), (28, 28, 1))
