import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_configs import small_experiment
from small_games import Game

from vae_jax.config import build_model
from vae_jax.models.modalities import Form
from vae_jax.training.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    Constant,
    Cosine,
    PowersOfThree,
    is_kernel,
    scale_by_adam,
)


@pytest.mark.parametrize("options", [(0.9, 0.999, 1e-8), (0.9, 0.999, 1e-4), (0.0, 0.5, 1e-2)])
def test_folded_adam_takes_the_steps_of_optax(options):
    params = {"w": jnp.ones((3, 4)), "b": jnp.zeros(4)}
    ours, theirs = scale_by_adam(*options), optax.scale_by_adam(*options)
    our_state, their_state = ours.init(params), theirs.init(params)
    assert jax.tree.structure(our_state) == jax.tree.structure(their_state)
    rng = np.random.default_rng(0)
    for step in range(30):
        scale = 10.0 ** rng.uniform(-6, 2)
        grads = {
            "w": jnp.asarray(scale * rng.normal(size=(3, 4)), jnp.float32),
            "b": jnp.zeros(4) if step < 3 else jnp.full(4, scale, jnp.float32),
        }
        got, our_state = ours.update(grads, our_state)
        expected, their_state = theirs.update(grads, their_state)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7), got, expected
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), our_state, their_state)


DIRECTIONS = {
    "adam": optax.scale_by_adam(0.8, 0.9, 1e-3),
    "adagrad": optax.scale_by_rss(initial_accumulator_value=0.1),
    "sgd": optax.identity(),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_in_its_direction_by_the_learning_rate(name):
    settings = {"b1": 0.8, "b2": 0.9, "epsilon": 1e-3} if name == "adam" else {}
    optimizer = OPTIMIZERS[name](learning_rate=0.5, schedule=Constant(), **settings).build(10, 1)
    direction, params = DIRECTIONS[name], {"w": jnp.zeros(3)}
    state, own = optimizer.init(params), direction.init(params)
    for seed in range(3):
        grads = {"w": jax.random.normal(jax.random.key(seed), (3,))}
        updates, state = optimizer.update(grads, state, params)
        expected, own = direction.update(grads, own)
        np.testing.assert_allclose(updates["w"], -0.5 * expected["w"], rtol=1e-4)


def parameters():
    kernels = {"convolution": jnp.full((2, 2, 1, 3), 2.0), "dense": jnp.full((4, 4), 2.0)}
    return {
        **{name: {"kernel": kernel, "bias": jnp.full(4, 2.0)} for name, kernel in kernels.items()},
        # A parameter with two axes that is not the kernel of a layer.
        "means": jnp.full((4, 4), 2.0),
        "scale": jnp.float32(2.0),
    }


def test_weight_decay_is_decoupled_and_touches_kernels_only():
    optimizer = SGD(learning_rate=0.5, schedule=Constant(), weight_decay=0.1).build(10, 1)
    params = parameters()
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    for name in ("convolution", "dense"):
        np.testing.assert_allclose(after[name]["kernel"], 1.9, rtol=1e-6)
        np.testing.assert_array_equal(after[name]["bias"], 2)
    np.testing.assert_array_equal(after["means"], 2)
    assert after["scale"] == 2


OTHER_PARAMETERS = {
    "vamp": ({"model.prior": {"name": "vamp", "components": 3}}, {"pseudo_input_logits"}),
    "mixture": (
        {"model.prior": {"name": "mixture", "components": 3}},
        {"means", "log_scales", "logits"},
    ),
    "scale": (
        {"model.likelihood": {"name": "normal", "scale_kind": "learned"}},
        {"learned_log_scale"},
    ),
    "text": (
        {"model": "multimodal", "data.modalities": ("image", "text"), "model.text.width": 4},
        {"table"},
    ),
    "flows": ({"model.prior": "flow", "model.posterior": "iaf"}, set()),
    "conv": ({"model.encoder": {"name": "conv", "channels": (2, 2)}}, set()),
    "resnet": ({"model.encoder": {"name": "resnet", "channels": (2, 2)}}, {"scale"}),
    "gated": ({"model.encoder": "gated_mlp"}, set()),
    "ladder": ({"model": {"name": "ladder", "top": {"widths": (3,)}}}, set()),
}


@pytest.mark.parametrize("name", OTHER_PARAMETERS)
def test_only_the_kernels_of_a_model_decay(name):
    changes, others = OTHER_PARAMETERS[name]
    game = shapes_of(changes)
    decayed, kept = set(), set()
    for path, does in jax.tree_util.tree_leaves_with_path(is_kernel(game)):
        names = [str(step.key) for step in path if hasattr(step, "key")]
        (decayed if does else kept).add(names[-1])
    assert decayed == {"kernel"}
    assert kept == {"bias", *others}


def shapes_of(changes):
    """Return the shapes of a model's parameters."""
    forms = {"image": Form("image", (8, 8, 1)), "text": Form("text", (5,), ("a", "b"))}
    config = small_experiment({"data.binarization": "none", **changes})
    form = forms if config.model.takes == "modalities" else (8, 8, 1)
    model = nnx.eval_shape(lambda: build_model(config, form, jax.random.key(0)))
    return nnx.split(model, nnx.Param, ...)[1]


@pytest.mark.parametrize(("size", "norm"), [(0.001, 0.001), (0.5, 0.5), (7.0, 0.5)])
def test_gradients_are_scaled_down_to_the_clipping_norm_but_never_up(size, norm):
    params = parameters()
    directions = jax.tree.map(
        lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), params
    )
    scale = size / optax.tree.norm(directions)
    grads = jax.tree.map(lambda leaf: leaf * scale, directions)

    def moved(clip):
        part = SGD(learning_rate=1.0, schedule=Constant(), gradient_clip_norm=clip)
        optimizer = part.build(10, 1)
        return optimizer.update(grads, optimizer.init(params), params)[0]

    clipped = moved(0.5)
    assert float(optax.tree.norm(clipped)) == pytest.approx(norm, rel=1e-4)
    for found, grad in zip(*map(jax.tree.leaves, (clipped, grads)), strict=True):
        np.testing.assert_allclose(found, -grad * norm / size, rtol=1e-4, atol=1e-6)
    assert float(optax.tree.norm(moved(0.0))) == pytest.approx(size, rel=1e-4)


def learning_rates(schedule, num_steps=10, epochs=1):
    optimizer = SGD(learning_rate=0.5, schedule=schedule).build(num_steps, epochs)
    params = {"bias": jnp.zeros(1)}
    state, rates = optimizer.init(params), []
    for _ in range(num_steps):
        updates, state = optimizer.update({"bias": jnp.ones(1)}, state, params)
        rates.append(-float(updates["bias"][0]))
    return np.asarray(rates)


def test_the_cosine_schedule_falls_from_the_learning_rate_to_zero():
    rates = learning_rates(Cosine())
    expected = 0.25 * (1 + np.cos(np.pi * np.arange(10) / 10))
    np.testing.assert_allclose(rates, expected, atol=1e-5)
    assert rates[-1] < 0.03 * rates[0]


def test_the_constant_schedule_stays():
    np.testing.assert_allclose(learning_rates(Constant()), 0.5, rtol=1e-5)


def test_stages_of_three_to_the_i_epochs_fall_by_a_seventh_of_a_decade():
    # 2 steps per epoch: 1 epoch, 3, 9, and the first 2 of the 27.
    rates = learning_rates(PowersOfThree(), num_steps=30, epochs=15)
    stages = [0] * 2 + [1] * 6 + [2] * 18 + [3] * 4
    np.testing.assert_allclose(rates, [0.5 * 10 ** (-i / 7) for i in stages], rtol=1e-5)


def test_an_experiments_optimizer_runs_over_all_of_its_steps_at_its_traced_learning_rate():
    game = Game({"batch_size": 10, "epochs": 2, "optimizer": "sgd"}, num_examples=57)
    (player,) = game.players
    optimizer = player.make_optimizer(game.with_traced(learning_rate=0.25))
    # Five steps per epoch; seven examples are left over.
    expected = dataclasses.replace(SGD(), learning_rate=0.25).build(10, 2)
    params = {"bias": jnp.zeros(1)}
    states = optimizer.init(params), expected.init(params)
    for _ in range(10):
        grads = {"bias": jnp.ones(1)}
        updates, state = optimizer.update(grads, states[0], params)
        same, other = expected.update(grads, states[1], params)
        assert float(updates["bias"][0]) == pytest.approx(float(same["bias"][0]), rel=1e-6)
        states = state, other
    assert Adam() == Adam(schedule=Cosine())


SKIPPED_GRADIENTS = [np.full(3, 1e3), np.array([0.1, np.nan, 0.1]), np.array([np.inf, 0, 0])]


def steps(optimizer, gradients):
    """Return parameters and the optimiser's state after each of the gradients."""

    @jax.jit
    def step(params, state, gradient):
        updates, state = optimizer.update({"bias": gradient}, state, params)
        return optax.apply_updates(params, updates), state

    params = {"bias": jnp.ones(3)}
    state = optimizer.init(params)
    found = []
    for gradient in gradients:
        params, state = step(params, state, jnp.asarray(gradient, jnp.float32))
        found.append((params, state))
    return found


def test_steps_of_large_or_non_finite_gradients_are_left_out_and_counted():
    optimizer = Adam(gradient_skip_norm=10.0, schedule=Constant()).build(10, 1)
    good = [np.array([0.5, -1.0, 2.0]), np.array([-3.0, 0.5, 1.0])]
    *_, (expected, expected_state) = steps(optimizer, good)
    *_, (found, state) = steps(
        optimizer, [SKIPPED_GRADIENTS[0], good[0], *SKIPPED_GRADIENTS, good[1]]
    )
    np.testing.assert_array_equal(found["bias"], expected["bias"])
    assert np.isfinite(found["bias"]).all()
    assert state.num_skipped == 4
    assert expected_state.num_skipped == 0
    jax.tree.map(np.testing.assert_array_equal, state.inner, expected_state.inner)


def test_a_bound_on_gradients_changes_no_other_step():
    gradients = [np.array([0.5, -1.0, 2.0]), np.array([-3.0, 0.5, 1.0])]
    plain, bounded = (
        steps(Adam(gradient_skip_norm=norm).build(10, 1), gradients)[-1][0] for norm in (0.0, 4.0)
    )
    np.testing.assert_array_equal(plain["bias"], bounded["bias"])


@pytest.mark.parametrize(("norm", "share"), [(1e-9, 1.0), (1e9, 0.0)])
def test_whether_a_step_was_left_out_is_a_metric_of_training(norm, share):
    game = Game({"batch_size": 10, "optimizer.gradient_skip_norm": norm}, num_examples=40)
    (player,) = game.players
    images = jax.random.uniform(jax.random.key(0), (10, 3, 4, 1))

    @jax.jit
    def move(params, state):
        return player.move(
            params,
            game.extra,
            state,
            (images,),
            game.hparams,
            jnp.float32(0),
            jax.random.key(1),
            accumulation_steps=1,
            axis_name=None,
        )

    params = game.params
    after, _, state, metrics = move(params, player.init(params, game.hparams))
    assert float(metrics["skipped_share"]) == share
    assert int(state.num_skipped) == share
    moved = [
        bool((a != b).any()) for a, b in zip(*map(jax.tree.leaves, (after, params)), strict=True)
    ]
    assert any(moved) == (share == 0)
