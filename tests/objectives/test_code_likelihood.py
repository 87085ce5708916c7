import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_codes import IMAGE_SHAPE, coded_experiment
from small_models import randomized

from vae_jax.config.experiment import resolve
from vae_jax.errors import UserError
from vae_jax.models.code_prior import CodePriorSettings, FirstStage
from vae_jax.networks.causal_transformer import TransformerSettings
from vae_jax.objectives import OBJECTIVES, Batch
from vae_jax.objectives.bounds import elbo_terms
from vae_jax.objectives.code_likelihood import CodeLikelihood

SETTINGS = CodePriorSettings(
    FirstStage(
        workdir="somewhere",
        data_name="mnist",
        binarization="none",
        model=coded_experiment("fsq").model,
    ),
    TransformerSettings(width=8, layers=1, heads=2),
)


def test_the_loss_is_the_rate_of_the_bound_and_its_gradient_that_of_the_bound():
    model = randomized(lambda: SETTINGS.build(IMAGE_SHAPE, None, rngs=nnx.Rngs(0)), scale=0.8)
    graphdef, params, extra = nnx.split(model, nnx.Param, ...)
    images = jax.random.uniform(jax.random.key(1), (5, *IMAGE_SHAPE))
    key = jax.random.key(2)

    def loss(params):
        model = nnx.merge(graphdef, params, extra)
        return CodeLikelihood().loss(
            model, Batch(images, images), key, epoch=jnp.float32(0), num_examples=5
        )

    def negative_elbo(params):
        terms = elbo_terms(nnx.merge(graphdef, params, extra), images, images, key)
        return -terms.elbo.mean(), terms.means()

    @jax.jit
    def both(params):
        return [jax.value_and_grad(f, has_aux=True)(params) for f in (loss, negative_elbo)]

    ((rate, metrics), gradient), ((_, terms), of_bound) = both(params)
    for name, value in terms.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5)
    assert rate == metrics["rate"]
    np.testing.assert_allclose(metrics["bits_per_code"], rate / 6 / np.log(2), rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(of_bound), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        assert np.asarray(ours).any()


@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - {"code_likelihood"}))
def test_no_other_objective_trains_a_prior_over_codes(name):
    config = {"model": SETTINGS, "data": {"binarization": "none"}, "objective": name}
    with pytest.raises(UserError, match="model='code_prior'") as refused:
        resolve(config)
    assert "\n" not in str(refused.value)
    if OBJECTIVES[name].takes == "images":
        assert "use 'code_likelihood'" in str(refused.value)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("vae", "needs a model with a prior over codes, .* use 'elbo', or model='code_prior'"),
        ("categorical", "needs a model with a prior over codes, .* use 'gumbel'"),
        ("vq_vae", "needs a posterior and a prior, .* use 'quantized'"),
    ],
)
def test_a_model_without_a_prior_over_codes_is_refused(model, reason):
    config = {"model": model, "data": {"binarization": "none"}, "objective": "code_likelihood"}
    with pytest.raises(UserError, match=reason) as refused:
        resolve(config)
    assert "\n" not in str(refused.value)
