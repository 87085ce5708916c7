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
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.uniform(-6, 2, 30)
    weights = scales[:, None, None] * rng.normal(size=(30, 3, 4))
    biases = np.repeat(np.where(np.arange(30) < 3, 0, scales)[:, None], 4, axis=1)
    grads = {"w": weights.astype(np.float32), "b": biases.astype(np.float32)}

    @jax.jit
    def taken(grads):
        params = {"w": jnp.ones((3, 4)), "b": jnp.zeros(4)}
        found = []
        for optimizer in (scale_by_adam(*options), optax.scale_by_adam(*options)):

            def step(state, gradient, optimizer=optimizer):
                updates, state = optimizer.update(gradient, state)
                return state, updates

            found.append(jax.lax.scan(step, optimizer.init(params), grads))
        return found

    (our_state, got), (their_state, expected) = taken(grads)
    assert jax.tree.structure(our_state) == jax.tree.structure(their_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7), got, expected)
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
    direction = DIRECTIONS[name]

    @jax.jit
    def steps(grads):
        params = {"w": jnp.zeros(3)}
        state, own, found = optimizer.init(params), direction.init(params), []
        for gradient in grads:
            updates, state = optimizer.update({"w": gradient}, state, params)
            expected, own = direction.update({"w": gradient}, own)
            found.append((updates["w"], expected["w"]))
        return found

    for updates, expected in steps(np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)):
        np.testing.assert_allclose(updates, -0.5 * np.asarray(expected), rtol=1e-4)


def parameters():
    def full(*shape):
        return np.full(shape, 2, np.float32)

    kernels = {"convolution": full(2, 2, 1, 3), "dense": full(4, 4)}
    return {
        **{name: {"kernel": kernel, "bias": full(4)} for name, kernel in kernels.items()},
        # A parameter with two axes that is not the kernel of a layer.
        "means": full(4, 4),
        "scale": full(),
    }


def test_weight_decay_is_decoupled_and_touches_kernels_only():
    optimizer = SGD(learning_rate=0.5, schedule=Constant(), weight_decay=0.1).build(10, 1)
    params = parameters()

    @jax.jit
    def stepped(params):
        grads = jax.tree.map(jnp.zeros_like, params)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        return optax.apply_updates(params, updates)

    after = stepped(params)
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


def norm_of(tree):
    return np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(tree)))


def test_gradients_are_scaled_down_to_the_clipping_norm_but_never_up():
    params, rng = parameters(), np.random.default_rng(0)
    directions = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)

    @jax.jit
    def moved(grads):
        parts = (SGD(1.0, Constant(), gradient_clip_norm=norm) for norm in (0.5, 0.0))
        optimizers = [part.build(10, 1) for part in parts]
        return [o.update(grads, o.init(params), params)[0] for o in optimizers]

    for size, norm in ((0.001, 0.001), (0.5, 0.5), (7.0, 0.5)):
        scale = np.float32(size / norm_of(directions))
        grads = jax.tree.map(lambda leaf, by=scale: leaf * by, directions)
        clipped, free = moved(grads)
        assert norm_of(clipped) == pytest.approx(norm, rel=1e-4)
        for found, grad in zip(*map(jax.tree.leaves, (clipped, grads)), strict=True):
            np.testing.assert_allclose(found, -grad * norm / size, rtol=1e-4, atol=1e-6)
        assert norm_of(free) == pytest.approx(size, rel=1e-4)


def learning_rates(schedule, num_steps=10, epochs=1):
    optimizer = SGD(learning_rate=0.5, schedule=schedule).build(num_steps, epochs)

    @jax.jit
    def rates():
        params = {"bias": jnp.zeros(1)}

        def step(state, _):
            updates, state = optimizer.update({"bias": jnp.ones(1)}, state, params)
            return state, -updates["bias"][0]

        return jax.lax.scan(step, optimizer.init(params), length=num_steps)[1]

    return np.asarray(rates())


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

    @jax.jit
    def steps():
        params, grads = {"bias": jnp.zeros(1)}, {"bias": jnp.ones(1)}

        def step(states, _):
            updates, state = optimizer.update(grads, states[0], params)
            same, other = expected.update(grads, states[1], params)
            return (state, other), (updates["bias"], same["bias"])

        return jax.lax.scan(step, (optimizer.init(params), expected.init(params)), length=10)[1]

    np.testing.assert_allclose(*steps(), rtol=1e-6)
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
    images = jnp.asarray(np.random.default_rng(0).random((10, 3, 4, 1), np.float32))

    @jax.jit
    def move(params):
        return player.move(
            params,
            game.extra,
            player.init(params, game.hparams),
            (images,),
            game.hparams,
            jnp.float32(0),
            jax.random.key(1),
            accumulation_steps=1,
            axis_name=None,
        )

    params = game.params
    after, _, state, metrics = move(params)
    assert float(metrics["skipped_share"]) == share
    assert int(state.num_skipped) == share
    pairs = zip(*map(jax.tree.leaves, (after, params)), strict=True)
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs) == (share == 0)
