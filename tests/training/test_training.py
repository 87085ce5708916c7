import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_games import Game

from vae_jax.training.step import evaluate, init_state, train_batches, train_epoch, train_step

IMAGE_SHAPE = (3, 3, 1)
EPOCH = jnp.float32(0)
KEY = jax.random.key(0)
PLAIN = {"optimizer": {"name": "sgd", "schedule": "constant", "learning_rate": 1.0}}


class Problem:
    """A step function and a state for a small config; `num_traces` counts its tracings."""

    def __init__(self, seed=0, **changes):
        # Two epochs of twenty steps.
        changes = {"batch_size": 4, "epochs": 2, **changes}
        self.game = Game(changes, IMAGE_SHAPE, num_examples=80, widths=(6,), latent_size=2)
        (player,) = self.game.players
        self.params, self.extra = self.game.params, self.game.extra
        self.num_traces = 0

        def counted(*args):
            self.num_traces += 1
            return player.loss(*args)

        self.loss_fn = player.loss
        self.hparams = self.game.hparams
        self.players = (player._replace(loss=counted),)
        self.step = partial(train_step, players=self.players)
        self.state = self.make_state(seed)

    def make_state(self, seed, **traced):
        hparams = self.game.with_traced(**traced)
        return init_state(self.params, self.extra, hparams, self.players, jax.random.key(seed))


@functools.cache
def plain_problem():
    """The problem of the tests that change nothing of it."""
    return Problem()


def draw_images(num, seed=0):
    """Return noisy images of two kinds, for a model to learn."""
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


def test_training_lowers_the_loss():
    problem = Problem(**{"optimizer.learning_rate": 0.02})
    images = draw_images(80)
    run = jax.jit(partial(train_epoch, step_fn=problem.step, batch_size=20, num_steps=4))
    state, losses = problem.state, []
    for _ in range(10):
        state, metrics = run(state, images)
        losses.extend(metrics["loss"])
    assert int(state.step) == 40
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.3


def test_a_run_is_a_function_of_its_seed():
    problem, images = plain_problem(), draw_images(16)
    run = jax.jit(partial(train_epoch, step_fn=problem.step, batch_size=4, num_steps=4))
    first, first_metrics = run(problem.make_state(7), images)
    again, again_metrics = run(problem.make_state(7), images)
    other, other_metrics = run(problem.make_state(8), images)
    assert equal((first, first_metrics), (again, again_metrics))
    assert not equal(first.params, other.params)
    assert not equal(first_metrics, other_metrics)


def test_every_step_draws_its_own_noise():
    problem, images = Problem(**{"optimizer.learning_rate": 1e-30}), draw_images(4)
    step = jax.jit(problem.step)
    state, first = step(problem.state, (images,), EPOCH)
    _, second = step(state, (images,), EPOCH)
    assert first["rate"] == pytest.approx(float(second["rate"]))
    assert float(first["distortion"]) != float(second["distortion"])


def test_traced_settings_change_the_run_but_not_the_program():
    problem, images = Problem(), draw_images(8)
    step = jax.jit(problem.step)
    default, _ = step(problem.state, (images,), EPOCH)
    for name, value in {"learning_rate": 0.1, "beta": 4, "free_nats": 1, "weight_decay": 9}.items():
        changed, _ = step(problem.make_state(0, **{name: value}), (images,), EPOCH)
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

    @jax.jit
    def together(members):
        stacked = jax.tree.map(lambda *values: jnp.stack(values), *members)
        state, metrics = jax.vmap(run, in_axes=(0, None))(stacked, images)
        return state.params, metrics

    params, metrics = jax.device_get(together(members))
    solo_run = jax.jit(run)
    for i, member in enumerate(members):
        solo, solo_metrics = solo_run(member, images)
        assert_close(jax.tree.map(lambda x, i=i: x[i], params), solo.params, 1e-5)
        assert_close(jax.tree.map(lambda x, i=i: x[i], metrics), solo_metrics, 1e-5)
    assert not equal(solo.params, solo_run(members[0], images)[0].params)


@functools.cache
def recording(batch_size, num_steps):
    """Return steps that record the first pixel of each image of their batch."""

    def record(state, batches, epoch):
        (batch,) = batches
        seen = {str(i): batch[i, 0, 0, 0] for i in range(batch_size)}
        return state._replace(step=state.step + 1), seen | {"epoch": epoch}

    return jax.jit(partial(train_epoch, step_fn=record, batch_size=batch_size, num_steps=num_steps))


def visits(state, num_images, batch_size, num_steps):
    """Return the state afterwards, and the images and the epoch of each step."""
    images = jnp.asarray(np.arange(num_images, dtype=np.float32)[:, None, None, None])
    state, metrics = recording(batch_size, num_steps)(state, images)
    epochs = np.asarray(metrics.pop("epoch"))
    return state, np.stack([metrics[str(i)] for i in range(batch_size)], axis=1), epochs


def test_an_epoch_visits_each_image_at_most_once_in_its_own_order():
    start = state = plain_problem().state
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
    assert visits(start, 14, 4, 3)[1].reshape(-1).tolist() == orders[0]
    other = plain_problem().make_state(1)
    assert visits(other, 14, 4, 3)[1].reshape(-1).tolist() != orders[0]


def test_an_epoch_in_two_calls_visits_what_one_call_does():
    state = plain_problem().state
    _, whole, epochs = visits(state, 14, 2, 7)
    state, begin, begin_epochs = visits(state, 14, 2, 3)
    _, end, end_epochs = visits(state, 14, 2, 4)
    np.testing.assert_array_equal(np.concatenate([begin, end]), whole)
    np.testing.assert_array_equal(np.concatenate([begin_epochs, end_epochs]), epochs)


def test_an_epoch_in_two_calls_trains_as_one_call_does():
    problem, images = plain_problem(), draw_images(34)

    @partial(jax.jit, static_argnums=1)
    def run(state, num_steps):
        options = {"step_fn": problem.step, "batch_size": 4, "num_steps": num_steps}
        return train_epoch(state, images, **options)

    whole, whole_metrics = run(problem.state, 8)
    half, half_metrics = run(problem.state, 4)
    both, rest_metrics = run(half, 4)
    assert equal((half_metrics, rest_metrics), _split(whole_metrics, 4))
    assert equal(both, whole)


def _split(metrics, at):
    return {k: v[:at] for k, v in metrics.items()}, {k: v[at:] for k, v in metrics.items()}


@pytest.mark.parametrize(("num_images", "batch_size"), [(12, 4), (10, 4), (3, 8)])
def test_evaluation_counts_every_image_the_same(num_images, batch_size):
    images = draw_images(num_images)
    problem = plain_problem()

    def loss_fn(params, extra, batches, hparams, epoch, key):
        (batch,) = batches
        return batch.mean(), ({"square": jnp.square(batch).mean()}, extra)

    metrics = jax.jit(partial(evaluate, loss_fn=loss_fn, batch_size=batch_size))(
        problem.params, problem.extra, images, problem.hparams, EPOCH, KEY
    )
    images = np.asarray(images)
    assert float(metrics["loss"]) == pytest.approx(images.mean(), rel=1e-5)
    assert float(metrics["square"]) == pytest.approx(np.square(images).mean(), rel=1e-5)


def test_evaluation_repeats_its_draws_and_gives_each_batch_its_own():
    problem = plain_problem()
    images = np.repeat(draw_images(1), 6, axis=0)

    def loss_fn(params, extra, batches, hparams, epoch, key):
        noise = jax.random.normal(key)
        return noise, ({"square": noise**2}, extra)

    @jax.jit
    def run(key):
        call = partial(evaluate, loss_fn=loss_fn, batch_size=2)
        return call(problem.params, problem.extra, images, problem.hparams, EPOCH, key)

    first, again, other = run(KEY), run(KEY), run(jax.random.key(1))
    assert equal(first, again)
    assert not equal(first, other)
    assert float(first["square"]) > float(first["loss"]) ** 2 + 1e-3


def test_pmapped_steps_average_the_gradients_of_devices_with_their_own_noise():
    problem = Problem(**PLAIN, **{"optimizer.learning_rate": 0.1})
    images = np.reshape(draw_images(8), (2, 4, *IMAGE_SHAPE))
    step = partial(problem.step, axis_name="devices")
    mapped = jax.pmap(step, axis_name="devices", in_axes=(None, 0, None))
    after, metrics = jax.device_get(mapped(problem.state, (images,), EPOCH))

    @jax.jit
    def average(keys):
        """Return the mean loss of both devices, and the parameters after their mean gradient."""

        def loss_of(params):
            arguments = (problem.hparams, EPOCH)
            losses = [
                problem.loss_fn(params, problem.extra, (images[i],), *arguments, keys[i])[0]
                for i in range(2)
            ]
            return sum(losses) / 2

        loss, grads = jax.value_and_grad(loss_of)(problem.params)
        return loss, jax.tree.map(lambda p, g: p - 0.1 * g, problem.params, grads)

    step_key = jax.random.fold_in(problem.state.noise_key, 0)
    own_keys = jax.random.fold_in(step_key, 0), jax.random.fold_in(step_key, 1)
    loss, params = average(own_keys)
    for device in range(2):
        assert_close(jax.tree.map(lambda x, d=device: x[d], after.params), params, 1e-5)
        assert float(metrics["loss"][device]) == pytest.approx(float(loss), rel=1e-5)
    same_noise, _ = average((own_keys[0], own_keys[0]))
    assert abs(float(same_noise) - float(loss)) > 1e-4


def test_the_second_batch_of_a_step_is_that_of_the_next_step():
    state, images = plain_problem().state, draw_images(14)

    def record(state, batches, epoch):
        seen = {str(i): batch.sum() for i, batch in enumerate(batches)}
        return state._replace(step=state.step + 1), seen

    call = partial(train_epoch, step_fn=record, batch_size=4, num_steps=3, num_batches=2)
    state, seen = jax.jit(call)(state, images)
    np.testing.assert_array_equal(seen["1"], np.roll(seen["0"], -1, axis=0))
    assert len(np.unique(seen["0"])) == 3
    batches = np.reshape(draw_images(12), (3, 4, *IMAGE_SHAPE))
    call = partial(train_batches, step_fn=record, steps_per_epoch=3, num_batches=2)
    _, seen = jax.jit(call)(state, batches)
    np.testing.assert_allclose(seen["0"], batches.sum(axis=(1, 2, 3, 4)), rtol=1e-6)
    np.testing.assert_array_equal(seen["1"], np.roll(seen["0"], -1, axis=0))
