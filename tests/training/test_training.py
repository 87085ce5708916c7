from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_models import randomized

from configs import vanilla
from vae_jax import config as factory
from vae_jax.training.step import evaluate, init_state, train_epoch, train_step

IMAGE_SHAPE = (3, 3, 1)
EPOCH = jnp.float32(0)
KEY = jax.random.key(0)
PLAIN = {"optimizer.name": "sgd", "optimizer.schedule": "constant", "hparams.learning_rate": 1.0}


def config_of(**changes):
    config = vanilla.get_config()
    config.model.widths, config.model.latent_size = (6,), 2
    config.data.binarization = "none"
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


class Problem:
    """A step function and a state for a small config; `counts` tells how often it was traced."""

    def __init__(self, num_steps=40, seed=0, **changes):
        config = config_of(**changes)
        model = randomized(lambda: factory.build_model(config, IMAGE_SHAPE, KEY))
        graphdef, self.params = nnx.split(model)
        self.num_traces = 0
        loss_fn = factory.build_loss(config, graphdef, 80)

        def counted(*args):
            self.num_traces += 1
            return loss_fn(*args)

        self.loss_fn = loss_fn
        self.make_optimizer = factory.build_optimizer(config, num_steps)
        self.hparams = factory.build_hparams(config)
        self.step = partial(train_step, loss_fn=counted, make_optimizer=self.make_optimizer)
        self.state = self.make_state(seed)

    def make_state(self, seed, **hparams):
        values = {name: jnp.float32(value) for name, value in hparams.items()}
        hparams = self.hparams._replace(**values)
        return init_state(self.params, hparams, self.make_optimizer, jax.random.key(seed))


def step_on(loss_fn, params, **changes):
    """One step of a loss of the parameters alone."""
    config = config_of(**(PLAIN | changes))
    make_optimizer = factory.build_optimizer(config, 10)
    state = init_state(params, factory.build_hparams(config), make_optimizer, KEY)
    images = jnp.zeros((2, *IMAGE_SHAPE))
    after, _ = train_step(
        state,
        images,
        EPOCH,
        loss_fn=lambda params, *rest: (loss_fn(params), {}),
        make_optimizer=make_optimizer,
    )
    return after.params


def draw_images(num, seed=0):
    """Images of two kinds, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    kind = rng.random((num, 1, 1, 1)) < 0.5
    noise = rng.random((num, *IMAGE_SHAPE))
    return jnp.asarray(np.where(kind, noise * 0.3, 0.7 + noise * 0.3), jnp.float32)


def leaves(tree):
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(tree)
    ]


def equal(first, second):
    pairs = zip(leaves(first), leaves(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def assert_close(first, second, tolerance):
    for a, b in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "sgd"])
def test_training_lowers_the_loss(optimizer):
    problem = Problem(**{"optimizer.name": optimizer, "hparams.learning_rate": 0.02})
    images = draw_images(80)
    run = jax.jit(partial(train_epoch, step_fn=problem.step, batch_size=20, num_steps=4))
    state, losses = problem.state, []
    for _ in range(10):
        state, metrics = run(state, images)
        losses.extend(metrics["loss"])
    assert int(state.step) == 40
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.3


def test_a_run_is_a_function_of_its_seed():
    problem, images = Problem(), draw_images(16)
    run = jax.jit(partial(train_epoch, step_fn=problem.step, batch_size=4, num_steps=4))
    first, first_metrics = run(problem.make_state(7), images)
    again, again_metrics = run(problem.make_state(7), images)
    other, other_metrics = run(problem.make_state(8), images)
    assert equal((first, first_metrics), (again, again_metrics))
    assert not equal(first.params, other.params)
    assert not equal(first_metrics, other_metrics)


def test_every_step_draws_noise_of_its_own():
    problem, images = Problem(**{"hparams.learning_rate": 1e-30}), draw_images(4)
    step = jax.jit(problem.step)
    state, first = step(problem.state, images, EPOCH)
    _, second = step(state, images, EPOCH)
    assert first["rate"] == pytest.approx(float(second["rate"]))
    assert float(first["distortion"]) != float(second["distortion"])


def test_hyperparameters_change_the_run_but_not_the_program():
    problem, images = Problem(), draw_images(8)
    step = jax.jit(problem.step)
    default, _ = step(problem.state, images, EPOCH)
    for name, value in {"learning_rate": 0.1, "beta": 4, "free_nats": 1, "weight_decay": 9}.items():
        changed, _ = step(problem.make_state(0, **{name: value}), images, EPOCH)
        assert not equal(changed.params, default.params), name
    assert problem.num_traces == 1


def test_members_of_a_vmapped_sweep_equal_their_solo_runs():
    problem, images = Problem(**{"optimizer.gradient_clip_norm": 5.0}), draw_images(17)
    members = [
        problem.make_state(0),
        problem.make_state(1, learning_rate=0.02, beta=4.0),
        problem.make_state(0, warmup_epochs=3.0, weight_decay=0.1, free_nats=0.5),
    ]
    run = partial(train_epoch, step_fn=problem.step, batch_size=4, num_steps=4)
    stacked = jax.tree.map(lambda *values: jnp.stack(values), *members)
    swept, swept_metrics = jax.jit(jax.vmap(run, in_axes=(0, None)))(stacked, images)
    solo_run = jax.jit(run)
    for i, member in enumerate(members):
        solo, solo_metrics = solo_run(member, images)
        assert_close(jax.tree.map(lambda x, i=i: x[i], swept.params), solo.params, 1e-5)
        assert_close(jax.tree.map(lambda x, i=i: x[i], swept_metrics), solo_metrics, 1e-5)
    assert not equal(solo.params, solo_run(members[0], images)[0].params)


def visits(state, num_images, batch_size, num_steps):
    """Which images each step sees."""
    images = jnp.arange(num_images, dtype=jnp.float32)[:, None, None, None]

    def record(state, batch, epoch):
        seen = {str(i): batch[i, 0, 0, 0] for i in range(batch_size)}
        return state._replace(step=state.step + 1), seen | {"epoch": epoch}

    state, metrics = jax.jit(
        partial(train_epoch, step_fn=record, batch_size=batch_size, num_steps=num_steps)
    )(state, images)
    epochs = np.asarray(metrics.pop("epoch"))
    return state, np.stack([metrics[str(i)] for i in range(batch_size)], axis=1), epochs


def test_an_epoch_visits_each_image_at_most_once_in_an_order_of_its_own():
    state = Problem().state
    orders = []
    for epoch in range(3):
        state, seen, epochs = visits(state, 14, 4, 3)
        assert seen.shape == (3, 4)
        assert len(np.unique(seen)) == 12
        np.testing.assert_allclose(epochs, epoch + np.arange(3) / 3, rtol=1e-6)
        orders.append(seen.reshape(-1).tolist())
    assert orders[0] != orders[1] != orders[2]
    # Two of fourteen images are left out; over three epochs not always the same.
    assert len({frozenset(order) for order in orders}) > 1
    assert visits(Problem().state, 14, 4, 3)[1].reshape(-1).tolist() == orders[0]
    assert visits(Problem(seed=1).state, 14, 4, 3)[1].reshape(-1).tolist() != orders[0]


def test_an_epoch_in_two_calls_visits_what_one_call_does():
    state = Problem().state
    _, whole, epochs = visits(state, 14, 2, 7)
    state, begin, begin_epochs = visits(state, 14, 2, 3)
    _, end, end_epochs = visits(state, 14, 2, 4)
    np.testing.assert_array_equal(np.concatenate([begin, end]), whole)
    np.testing.assert_array_equal(np.concatenate([begin_epochs, end_epochs]), epochs)


def test_an_epoch_in_two_calls_trains_as_one_call_does():
    problem, images = Problem(), draw_images(34)

    def run(state, num_steps):
        call = partial(train_epoch, step_fn=problem.step, batch_size=4, num_steps=num_steps)
        return jax.jit(call)(state, images)

    whole, whole_metrics = run(problem.state, 8)
    half, half_metrics = run(problem.state, 4)
    both, rest_metrics = run(half, 4)
    assert equal((half_metrics, rest_metrics), _split(whole_metrics, 4))
    assert equal(both, whole)


def _split(metrics, at):
    return {k: v[:at] for k, v in metrics.items()}, {k: v[at:] for k, v in metrics.items()}


@pytest.mark.parametrize(("num_images", "batch_size"), [(12, 4), (10, 4), (3, 8), (9, 8)])
def test_evaluation_counts_every_image_the_same(num_images, batch_size):
    images = draw_images(num_images) ** 2
    problem = Problem()

    def loss_fn(params, batch, hparams, epoch, key):
        return batch.mean(), {"square": jnp.square(batch).mean()}

    metrics = jax.jit(partial(evaluate, loss_fn=loss_fn, batch_size=batch_size))(
        problem.params, images, problem.hparams, EPOCH, KEY
    )
    assert float(metrics["loss"]) == pytest.approx(float(images.mean()), rel=1e-5)
    assert float(metrics["square"]) == pytest.approx(float(jnp.square(images).mean()), rel=1e-5)


def test_evaluation_compares_the_same_draws_and_gives_each_batch_its_own():
    problem = Problem()
    images = jnp.repeat(draw_images(1), 6, axis=0)

    def loss_fn(params, batch, hparams, epoch, key):
        noise = jax.random.normal(key)
        return noise, {"square": noise**2}

    def run(key):
        call = partial(evaluate, loss_fn=loss_fn, batch_size=2)
        return call(problem.params, images, problem.hparams, EPOCH, key)

    first, again, other = run(KEY), run(KEY), run(jax.random.key(1))
    assert equal(first, again)
    assert not equal(first, other)
    assert float(first["square"]) > float(first["loss"]) ** 2 + 1e-3


def test_pmapped_steps_average_the_gradients_of_devices_with_noise_of_their_own():
    problem = Problem(**(PLAIN | {"hparams.learning_rate": 0.1}))
    images = draw_images(8).reshape(2, 4, *IMAGE_SHAPE)
    step = partial(problem.step, axis_name="devices")
    mapped = jax.pmap(step, axis_name="devices", in_axes=(None, 0, None))
    after, metrics = mapped(problem.state, images, EPOCH)

    grad_fn = jax.jit(jax.value_and_grad(problem.loss_fn, has_aux=True))
    step_key = jax.random.fold_in(problem.state.noise_key, 0)

    def average(keys):
        results = [
            grad_fn(problem.params, images[i], problem.hparams, EPOCH, keys[i]) for i in range(2)
        ]
        losses, grads = [r[0][0] for r in results], [r[1] for r in results]
        mean = jax.tree.map(lambda a, b: (a + b) / 2, *grads)
        return sum(losses) / 2, optax.apply_updates(
            problem.params, jax.tree.map(lambda g: -0.1 * g, mean)
        )

    loss, params = average([jax.random.fold_in(step_key, i) for i in range(2)])
    for device in range(2):
        assert_close(jax.tree.map(lambda x, d=device: x[d], after.params), params, 1e-5)
        assert float(metrics["loss"][device]) == pytest.approx(float(loss), rel=1e-5)
    same_noise, _ = average([jax.random.fold_in(step_key, 0)] * 2)
    assert abs(float(same_noise) - float(loss)) > 1e-4


def parameters():
    return nnx.State(
        {
            "kernel": nnx.Param(jnp.full((2, 2, 1, 3), 2.0)),
            "matrix": nnx.Param(jnp.full((4, 4), 2.0)),
            "bias": nnx.Param(jnp.full(4, 2.0)),
            "scale": nnx.Param(jnp.float32(2.0)),
        }
    )


def test_weight_decay_touches_matrices_and_kernels_only():
    changes = {"hparams.weight_decay": 0.1, "hparams.learning_rate": 0.5}
    after = step_on(lambda params: jnp.float32(0), parameters(), **changes)
    for name, factor in {"kernel": 0.95, "matrix": 0.95, "bias": 1, "scale": 1}.items():
        np.testing.assert_allclose(after[name][...], 2 * factor, rtol=1e-6)


@pytest.mark.parametrize(("size", "norm"), [(0.001, 0.001), (0.5, 0.5), (7.0, 0.5)])
def test_gradients_are_scaled_down_to_the_clipping_norm_but_never_up(size, norm):
    params = parameters()
    directions = jax.tree.map(
        lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), params
    )
    scale = size / optax.tree.norm(directions)

    def linear(params):
        products = jax.tree.map(lambda p, d: (p * d * scale).sum(), params, directions)
        return sum(jax.tree.leaves(products))

    def moved(clip):
        after = step_on(linear, params, **{"optimizer.gradient_clip_norm": clip})
        return jax.tree.map(lambda a, b: a - b, after, params)

    clipped = moved(0.5)
    assert float(optax.tree.norm(clipped)) == pytest.approx(norm, rel=1e-2)
    expected = jax.tree.map(lambda d: -d * norm * scale / size, directions)
    assert_close(clipped, expected, 1e-5)
    assert float(optax.tree.norm(moved(0.0))) == pytest.approx(size, rel=1e-2)


def learning_rates(schedule, num_steps=10):
    config = config_of(**(PLAIN | {"hparams.learning_rate": 0.5, "optimizer.schedule": schedule}))
    make_optimizer = factory.build_optimizer(config, num_steps)
    params = nnx.State({"bias": nnx.Param(jnp.zeros(1))})
    state = init_state(params, factory.build_hparams(config), make_optimizer, KEY)
    step = jax.jit(
        partial(
            train_step,
            loss_fn=lambda params, *rest: (params["bias"][...].sum(), {}),
            make_optimizer=make_optimizer,
        )
    )
    values = [0.0]
    for _ in range(num_steps):
        state, _ = step(state, jnp.zeros((1, *IMAGE_SHAPE)), EPOCH)
        values.append(float(state.params["bias"][0]))
    return -np.diff(values)


def test_the_cosine_schedule_falls_from_the_learning_rate_to_zero():
    rates = learning_rates("cosine")
    expected = 0.25 * (1 + np.cos(np.pi * np.arange(10) / 10))
    np.testing.assert_allclose(rates, expected, atol=1e-5)
    assert rates[-1] < 0.03 * rates[0]


def test_the_constant_schedule_stays():
    np.testing.assert_allclose(learning_rates("constant"), 0.5, rtol=1e-5)


def test_stages_of_three_to_the_i_epochs_fall_by_a_seventh_of_a_decade():
    # 2 steps an epoch: 1 epoch, 3, 9, and what is left of the 27.
    config = config_of(**(PLAIN | {"optimizer.schedule": "powers_of_three", "epochs": 15}))
    optimizer = factory.build_optimizer(config, 30)(factory.build_hparams(config))
    params = {"w": jnp.zeros((1, 1))}
    state, rates = optimizer.init(params), []
    for _ in range(30):
        update, state = optimizer.update({"w": jnp.ones((1, 1))}, state, params)
        rates.append(-float(update["w"][0, 0]))
    stages = [0] * 2 + [1] * 6 + [2] * 18 + [3] * 4
    np.testing.assert_allclose(rates, [10 ** (-stage / 7) for stage in stages], rtol=1e-5)
