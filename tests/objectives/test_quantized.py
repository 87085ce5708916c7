import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_codes import IMAGE_SHAPE, QUANTIZERS, coded_config, coded_experiment, make_model
from small_models import randomized

from configs import vanilla, vq_vae
from vae_jax import config as factory
from vae_jax.config.overrides import with_values
from vae_jax.errors import UserError
from vae_jax.objectives.quantized import Quantized, perplexity
from vae_jax.training.step import init_state

KEY = jax.random.key(0)


def images_of(num, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random((num, *IMAGE_SHAPE), np.float32))


def test_the_perplexity_is_the_number_of_codes_in_even_use():
    found = jax.jit(jax.vmap(perplexity))(
        jnp.asarray(np.float32([[1 / 4] * 4, [0, 1, 0, 0], [0.5, 0.25, 0.25, 0]]))
    )
    assert float(found[0]) == pytest.approx(4)
    assert float(found[1]) == 1
    shares = np.array([0.5, 0.25, 0.25])
    assert float(found[2]) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_the_metrics_of_records_are_finished_from_the_use_of_codes():
    metrics = {"loss": jnp.float32(2), "code_use": jnp.asarray([0.5, 0, 0.5])}
    finished = jax.jit(Quantized().finish)(metrics)
    assert finished.keys() == {"loss", "perplexity", "codes_used"}
    assert float(finished["perplexity"]) == pytest.approx(2)
    assert float(finished["codes_used"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", list(QUANTIZERS))
def test_the_loss_is_its_terms_summed_over_each_image(name):
    experiment = coded_experiment(name)
    model = randomized(lambda: factory.build_model(experiment, IMAGE_SHAPE, KEY))
    _, params, extra = factory.split_model(model)
    (player,) = factory.build_players(experiment, IMAGE_SHAPE, 8)
    hparams = factory.build_hparams(experiment)
    graphdef = factory.build_graphdef(experiment, IMAGE_SHAPE)
    images = images_of(4)

    @jax.jit
    def run(params, weight):
        given = {**hparams, "objective.commitment_weight": weight}
        loss, (metrics, _) = player.loss(
            {"model": params}, extra, (images,), given, jnp.float32(0), KEY
        )
        model = nnx.merge(graphdef, params, extra)
        squares = jnp.square(model.outputs(images) - model.quantizer.vectors(model.codes(images)))
        log_likelihood = model.decode(model.latents(images)).log_prob(images)
        return loss, metrics, squares.sum(axis=(1, 2, 3)).mean(), -log_likelihood.mean()

    for weight in (0.0, 2.0):
        loss, metrics, squares, distortion = run(params, jnp.float32(weight))
        squares, distortion = float(squares), float(distortion)
        assert float(metrics["distortion"]) == pytest.approx(distortion, rel=1e-4)
        times = {"vq": weight, "vq_gradient": 1 + weight, "fsq": 0}[name]
        assert float(loss) == pytest.approx(distortion + times * squares, rel=1e-4)
        assert metrics["code_use"].shape == (model.num_codes,)


def test_validation_measures_the_use_of_codes_over_all_examples():
    model = randomized(lambda: factory.build_model(coded_experiment(), IMAGE_SHAPE, KEY))
    _, params, extra = factory.split_model(model)
    images = images_of(11)

    @jax.jit
    def validated(params):
        found = []
        for batch_size in (4, 11):
            experiment = coded_experiment(evaluation={"batch_size": batch_size})
            program = factory.build_program(experiment, IMAGE_SHAPE, 8)
            hparams = factory.build_hparams(experiment)
            state = init_state({"model": params}, extra, hparams, (), KEY)
            found.append(program.validate(state, images))
        return model.codes(images), found

    codes, found = validated(params)
    codes = np.asarray(codes)
    shares = np.unique(codes, return_counts=True)[1] / codes.size
    for metrics in found:
        expected = np.exp(-(shares * np.log(shares)).sum())
        assert float(metrics["perplexity"]) == pytest.approx(expected, rel=1e-5)
        assert float(metrics["codes_used"]) == pytest.approx(len(shares) / 7)


def test_devices_report_the_use_of_codes_in_the_whole_batch():
    experiment = coded_experiment()
    (player,) = factory.build_players(experiment, IMAGE_SHAPE, 8)
    model = randomized(lambda: factory.build_model(experiment, IMAGE_SHAPE, KEY))
    _, params, extra = factory.split_model(model)
    hparams = factory.build_hparams(experiment)

    @jax.jit
    def whole_and_parts(images):
        def metrics_of(images, axis_name):
            state = player.init({"model": params}, hparams)
            given = ({"model": params}, extra, state, (images,), hparams, jnp.float32(0), KEY)
            return player.move(*given, accumulation_steps=1, axis_name=axis_name)[3]

        mapped = jax.vmap(lambda part: metrics_of(part, "data"), axis_name="data")
        return metrics_of(images, None), mapped(images.reshape(4, 2, *IMAGE_SHAPE))

    whole, found = whole_and_parts(images_of(8))
    for name in ("perplexity", "codes_used"):
        np.testing.assert_allclose(found[name], np.full(4, whole[name]), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"objective": "elbo"}, "'elbo' needs a posterior .*'vq_vae' does not have; use 'quantiz"),
        ({"objective": "reconstruction"}, "does not train the codes of .* use 'quantized'"),
        ({"objective": "wae"}, "does not train the codes of .* use 'quantized'"),
        ({"objective": "rae_gp"}, "does not train the codes of .* use 'quantized'"),
        ({"objective": {"commitment_weight": -1.0}}, r"objective\.commitment_weight=-1.0 must be"),
    ],
)
def test_objectives_that_do_not_fit_a_model_with_codes_are_refused_in_a_line(changes, reason):
    with pytest.raises(UserError, match=reason) as refused:
        factory.resolve(coded_config(**changes))
    assert "\n" not in str(refused.value)


def test_a_weight_without_effect_and_a_model_without_codes_are_refused():
    with pytest.raises(UserError, match=r"has no effect with .*'fsq'; leave it out"):
        factory.resolve(coded_config("fsq", objective={"commitment_weight": 1.0}))
    config = with_values(vanilla.get_config(), {"objective": "quantized"})
    with pytest.raises(UserError, match="needs a model with codes, and model='vae' has none"):
        factory.resolve(config)


@pytest.mark.parametrize("quantizer", ["vq", "fsq"])
def test_a_model_encodes_to_codes_and_decodes_them(quantizer):
    model = make_model(quantizer)
    images = np.random.default_rng(0).random((5, *IMAGE_SHAPE), np.float32)
    codes = model.encode(images)
    assert codes.shape == (5, *model.code_shape) == (5, 3, 2)
    assert np.issubdtype(codes.dtype, np.integer)
    decoded = model.decode(codes)
    np.testing.assert_allclose(decoded, model.reconstruct(images), atol=1e-5)
    np.testing.assert_allclose(decoded, model.decode(model.latents(images)), atol=1e-5)
    assert model.interpolate(images[:2], images[2:4]).shape == (2, 5, *IMAGE_SHAPE)
    for ask in (lambda: model.sample(KEY, 2), lambda: model.elbo(images, KEY)):
        with pytest.raises(UserError, match="prior, which model='vq_vae' does not have"):
            ask()
    for wrong, reason in (
        (codes[:, :2], r"codes have shape \(5, 2, 2\); this model takes \(num, 3, 2\)"),
        (codes + model.num_codes, "this model's are 0 to"),
        (codes - model.num_codes, "this model's are 0 to"),
    ):
        with pytest.raises(UserError, match=reason):
            model.decode(wrong)


def test_the_shipped_config_has_a_codebook_of_256():
    experiment = factory.resolve(vq_vae.get_config())
    assert experiment.objective == Quantized()
    assert experiment.model.quantizer.codebook_size == 256
    assert "objective.commitment_weight" in experiment.hparams
