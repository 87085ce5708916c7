import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_games import Game

import vae_jax
from vae_jax import config as factory
from vae_jax.training import checkpoints
from vae_jax.training.loop import RunState
from vae_jax.training.players import Player, take_turns
from vae_jax.training.step import init_state, train_step

IMAGE_SHAPE = (3, 3, 1)
KEY = jax.random.key(0)
EPOCH = jnp.float32(0)


def images_of(num, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random((num, *IMAGE_SHAPE), np.float32))


def bits(tree):
    leaves = jax.tree.leaves(tree)
    is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [
        np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes()
        for leaf, key in zip(leaves, is_key, strict=True)
    ]


def test_one_player_takes_bitwise_the_plain_step():
    game = Game({"batch_size": 4}, IMAGE_SHAPE)
    (player,) = game.players
    state = init_state(game.params, game.extra, game.hparams, game.players, KEY)
    images = images_of(4)

    @jax.jit
    def plain(state):
        key = jax.random.fold_in(state.noise_key, state.step)

        def loss_of(model):
            return player.loss({"model": model}, state.extra, (images,), state.hparams, EPOCH, key)

        (loss, (metrics, _)), grads = jax.value_and_grad(loss_of, has_aux=True)(
            state.params["model"]
        )
        optimizer = player.make_optimizer(state.hparams)
        owned = {"model": state.params["model"]}
        updates, opt_state = optimizer.update({"model": grads}, state.opt_state["model"], owned)
        params = optax.apply_updates(owned, updates)
        return params, opt_state, {"loss": loss, **metrics}

    step = jax.jit(functools.partial(train_step, players=game.players))
    expected = state
    for number in range(3):
        params, opt_state, expected_metrics = plain(expected)
        expected = expected._replace(
            step=expected.step + 1, params=params, opt_state={"model": opt_state}
        )
        state, metrics = step(state, (images,), EPOCH)
        assert int(state.step) == number + 1
        assert bits(state) == bits(expected)
        assert metrics.keys() == expected_metrics.keys()
        assert bits(metrics) == bits(expected_metrics)


# Two players with one weight each. Their draws and their batches are metrics.
HPARAMS = {"rate": jnp.float32(0.25)}
NO_EXTRA = nnx.State({})


def weights(a, b):
    return {name: nnx.State({"w": nnx.Param(jnp.float32(w))}) for name, w in (("a", a), ("b", b))}


def values(params):
    return {name: float(state["w"][...]) for name, state in params.items()}


def player_of(name, loss, **options):
    def whole(params, extra, batches, hparams, epoch, key):
        found = loss(params["a"]["w"][...], params["b"]["w"][...])
        seen = {f"{name} sees {i}": batch.mean() for i, batch in enumerate(batches)}
        draw = {f"{name} draws": jax.random.uniform(key)}
        return found, ({**seen, **draw, f"{name}'s": found}, extra)

    return Player(name, whole, (name,), lambda hparams: optax.sgd(hparams["rate"]), **options)


BLACK = (jnp.zeros((2, 1, 1, 1)),)


def turns(players, params, *, step=0, batches=BLACK, extra=NO_EXTRA, **options):
    @jax.jit
    def call(step, params, extra, batches):
        opt_state = {player.name: player.init(params, HPARAMS) for player in players}
        arguments = (params, extra, opt_state, batches, HPARAMS, EPOCH, KEY)
        return take_turns(players, step, *arguments, **options)

    return call(jnp.int32(step), params, extra, batches)


def product(a, b):
    return a * b


def negative_product(a, b):
    return -a * b


def test_a_player_moves_only_its_own_parameters():
    params, _, _, metrics = turns((player_of("a", product),), weights(2.0, 3.0))
    # d(ab)/da = 3.
    assert values(params) == {"a": 2 - 0.25 * 3, "b": 3.0}
    assert float(metrics["loss"]) == 6.0


def test_players_move_in_order_given_the_moves_before():
    players = (player_of("a", product), player_of("b", negative_product))
    params, _, _, metrics = turns(players, weights(2.0, 3.0))
    # The second gradient is taken at the moved weight.
    assert values(params) == {"a": 1.25, "b": 3 + 0.25 * 1.25}
    # The loss is that of the first player.
    assert float(metrics["loss"]) == float(metrics["a's"]) == 6.0
    assert float(metrics["b's"]) == -1.25 * 3
    turned, _, _, metrics = turns(players[::-1], weights(2.0, 3.0))
    assert values(turned) == {"a": 2 - 0.25 * 3.5, "b": 3.5}
    assert float(metrics["loss"]) == -6.0


def test_each_player_has_its_own_key_and_a_single_one_the_whole_key():
    players = (player_of("a", product), player_of("b", product))
    metrics = turns(players, weights(2.0, 3.0))[3]
    assert float(metrics["a draws"]) != float(metrics["b draws"])
    expected = [float(jax.random.uniform(key)) for key in jax.random.split(KEY, 2)]
    assert [float(metrics["a draws"]), float(metrics["b draws"])] == expected
    alone = turns(players[:1], weights(2.0, 3.0))[3]
    assert float(alone["a draws"]) == float(jax.random.uniform(KEY))


def test_a_player_is_given_num_batches():
    players = (player_of("a", product), player_of("b", product, num_batches=2))
    batches = (jnp.full((2, 1, 1, 1), 0.25), jnp.full((2, 1, 1, 1), 0.75))
    metrics = turns(players, weights(2.0, 3.0), batches=batches)[3]
    seen = {name: float(value) for name, value in metrics.items() if "sees" in name}
    assert seen == {"a sees 0": 0.25, "b sees 0": 0.25, "b sees 1": 0.75}


def test_metrics_are_finished_from_means_over_the_devices_whether_a_player_moves_or_rests():
    def finish(metrics):
        return {"loss": metrics["loss"], "product": jnp.prod(metrics["b sees 0"] + jnp.arange(2.0))}

    second = player_of("b", negative_product, every=2, finish=finish)
    params, extra = weights(2.0, 3.0), NO_EXTRA
    opt_state = {"b": second.init(params, HPARAMS)}

    def metrics_of(step, brightness):
        batches = (jnp.full((2, 1, 1, 1), brightness),)
        return take_turns(
            (second,), step, params, extra, opt_state, batches, HPARAMS, EPOCH, KEY, axis_name="d"
        )[3]

    run = jax.jit(jax.vmap(metrics_of, in_axes=(None, 0), axis_name="d"))
    for step in (0, 1):
        found = run(jnp.int32(step), jnp.asarray([0.25, 0.75]))
        assert found.keys() == {"loss", "product"}
        # The mean brightness is 0.5, and 0.5 * 1.5 the product of it.
        np.testing.assert_allclose(found["product"], [0.75, 0.75])


def test_a_player_that_is_not_due_rests_but_reports_its_metrics():
    # The state of the schedule counts the moves.
    def optimizer(hparams):
        return optax.chain(optax.scale_by_schedule(lambda count: 1.0), optax.sgd(hparams["rate"]))

    second = player_of("b", negative_product, every=3)._replace(make_optimizer=optimizer)
    players, params = (player_of("a", product), second), weights(2.0, 3.0)
    opt_state = {player.name: player.init(params, HPARAMS) for player in players}
    run = jax.jit(functools.partial(take_turns, players))
    moved, counts = [], []
    for step in range(7):
        before = values(params)
        params, _, opt_state, metrics = run(
            jnp.int32(step), params, NO_EXTRA, opt_state, BLACK, HPARAMS, EPOCH, KEY
        )
        after = values(params)
        assert after["a"] != before["a"]
        moved.append(after["b"] != before["b"])
        counts.append(int(jax.tree.leaves(opt_state["b"])[0]))
        assert float(metrics["b's"]) == pytest.approx(-after["a"] * before["b"], rel=1e-6)
    assert moved == [True, False, False, True, False, False, True]
    assert counts == [1, 1, 1, 2, 2, 2, 3]


def test_a_player_updates_several_times_per_move_with_draws_of_their_own():
    def noisy(params, extra, batches, hparams, epoch, key):
        draw = jax.random.uniform(key)
        found = params["a"]["w"][...] * params["b"]["w"][...] + 0 * draw
        return found, ({"draw": draw, "b's": found}, extra)

    def momentum(hparams):
        return optax.chain(optax.scale_by_schedule(lambda count: 1.0), optax.sgd(hparams["rate"]))

    second = Player("b", noisy, ("b",), momentum, updates=3)
    params, _, opt_state, metrics = turns((player_of("a", product), second), weights(2.0, 3.0))
    # At a = 2 - 0.25 * 3 each of three updates takes 0.25 a from b.
    assert values(params) == {"a": 1.25, "b": pytest.approx(3 - 3 * 0.25 * 1.25)}
    assert int(jax.tree.leaves(opt_state["b"])[0]) == 3
    # The metrics are those of the last update.
    assert float(metrics["b's"]) == pytest.approx(1.25 * (3 - 2 * 0.25 * 1.25))
    keys = jax.random.split(jax.random.split(KEY, 2)[1], 3)
    assert float(metrics["draw"]) == float(jax.random.uniform(keys[-1]))


@pytest.mark.parametrize(("every", "step"), [(1, 1), (2, 0), (2, 1)])
def test_the_norm_of_a_gradient_is_a_metric_whether_the_player_moves_or_rests(every, step):
    def loss(params, extra, batches, hparams, epoch, key):
        weights = params["a"]["w"][...], params["b"]["w"][...]
        return 3 * weights[0] + 4 * weights[1], ({}, extra)

    def sgd(hparams):
        return optax.sgd(hparams["rate"])

    player = Player("both", loss, ("a", "b"), sgd, every=every, measures_gradient=True)
    params, _, _, metrics = turns((player,), weights(2.0, 3.0), step=step)
    assert float(metrics["both_gradient_norm"]) == pytest.approx(5, rel=1e-6)
    moved = step % every == 0
    assert values(params) == ({"a": 2 - 0.75, "b": 3 - 1.0} if moved else {"a": 2.0, "b": 3.0})


def test_players_may_own_parts_of_a_network():
    def state(a, b):
        return nnx.State({"left": nnx.Param(jnp.float32(a)), "right": nnx.Param(jnp.float32(b))})

    def loss(sign):
        def found(params, extra, batches, hparams, epoch, key):
            net = params["net"]
            return sign * net["left"][...] * net["right"][...], ({}, extra)

        return found

    def sgd(hparams):
        return optax.sgd(hparams["rate"])

    players = (
        Player("l", loss(1), ("net.left",), sgd),
        Player("r", loss(-1), ("net.right",), sgd),
    )
    params = {"net": state(2.0, 3.0)}
    after, _, opt_state, _ = turns(players, params)
    assert set(opt_state) == {"l", "r"}
    assert float(after["net"]["left"][...]) == 2 - 0.25 * 3
    assert float(after["net"]["right"][...]) == 3 + 0.25 * 1.25
    assert jax.tree.structure(after) == jax.tree.structure(params)


def test_several_players_accumulate_their_gradients_over_both_batches():
    def loss(params, extra, batches, hparams, epoch, key):
        value = sum((i + 1) * batch.mean() for i, batch in enumerate(batches))
        return params["b"]["w"][...] * value, ({}, extra)

    def sgd(hparams):
        return optax.sgd(hparams["rate"])

    players = (player_of("a", product), Player("b", loss, ("b",), sgd, num_batches=2))
    batches = tuple(np.asarray(images_of(8, seed))[:, :1, :1] for seed in (1, 2))
    whole, parts = (
        turns(players, weights(2.0, 3.0), batches=batches, accumulation_steps=number)[0]
        for number in (1, 4)
    )
    assert values(parts) == pytest.approx(values(whole), rel=1e-6)
    expected = 3 - 0.25 * float(batches[0].mean() + 2 * batches[1].mean())
    assert values(whole)["b"] == pytest.approx(expected, rel=1e-6)


def test_extra_state_of_one_player_is_passed_to_the_next():
    def counting(params, extra, batches, hparams, epoch, key):
        count = extra["count"][...]
        return params["a"]["w"][...], ({"a counts": count}, nnx.State({"count": count + 1}))

    def reading(params, extra, batches, hparams, epoch, key):
        return params["b"]["w"][...], ({"b counts": extra["count"][...]}, extra)

    players = tuple(
        player_of(name, product)._replace(loss=loss)
        for name, loss in (("a", counting), ("b", reading))
    )
    extra = nnx.State({"count": jnp.float32(5)})
    _, extra, _, metrics = turns(players, weights(2.0, 3.0), extra=extra)
    assert float(metrics["a counts"]) == 5.0
    assert float(metrics["b counts"]) == float(extra["count"][...]) == 6.0


# A model whose codes are centred by a running mean (tests/own_parts.py).
CENTRED = {"model": {"name": "own_parts:Centred", "decay": 0.75}, "batch_size": 4}


@jax.jit
def codes_of(model, images):
    return model.codes(images)


def centre_after(centre, model, *batches):
    """Return the running mean after some batches, by its definition."""
    for images in batches:
        centre = 0.75 * np.asarray(centre) + 0.25 * np.asarray(codes_of(model, images)).mean(axis=0)
    return centre


@pytest.fixture(scope="module")
def centred():
    game = Game(CENTRED, IMAGE_SHAPE, num_examples=12)
    game.model.centre[...] = jnp.asarray(np.float32([0.5, -1, 2]))
    return game


def test_extra_state_is_no_parameter(centred):
    assert set(nnx.to_pure_dict(centred.extra)) == {"centre"}
    paths = jax.tree_util.tree_leaves_with_path(centred.params)
    assert not any("centre" in jax.tree_util.keystr(path) for path, _ in paths)


def test_training_moves_extra_state(centred):
    model, images = centred.model, images_of(4)
    state = init_state(centred.params, centred.extra, centred.hparams, centred.players, KEY)
    step = jax.jit(functools.partial(train_step, players=centred.players))
    after, _ = step(state, (images,), EPOCH)
    expected = centre_after(model.centre[...], model, images)
    np.testing.assert_allclose(after.extra["centre"][...], expected, rtol=1e-5, atol=1e-6)
    # The next step starts from this state and these parameters.
    moved = nnx.merge(
        factory.build_graphdef(centred.config, IMAGE_SHAPE), after.params["model"], after.extra
    )
    twice, _ = step(after, (images_of(4, 1),), EPOCH)
    expected = centre_after(moved.centre[...], moved, images_of(4, 1))
    np.testing.assert_allclose(twice.extra["centre"][...], expected, rtol=1e-5, atol=1e-6)


def test_accumulated_parts_move_extra_state_one_after_the_other(centred):
    model, images = centred.model, images_of(4)
    state = init_state(centred.params, centred.extra, centred.hparams, centred.players, KEY)
    step = functools.partial(train_step, players=centred.players, accumulation_steps=2)
    after, _ = jax.jit(step)(state, (images,), EPOCH)
    # Every part has examples from the whole batch.
    whole = np.asarray(images)
    expected = centre_after(model.centre[...], model, *map(jnp.asarray, (whole[::2], whole[1::2])))
    np.testing.assert_allclose(after.extra["centre"][...], expected, rtol=1e-5, atol=1e-6)


def test_validation_uses_extra_state_and_does_not_change_it(centred):
    images, model = images_of(7, 3), centred.model
    # In several batches, too: none of them moves it for the next.
    parted = factory.resolve({**centred.config.to_dict(), "evaluation": {"batch_size": 3}})
    programs = [factory.build_program(each, IMAGE_SHAPE, 12) for each in (centred.config, parted)]

    @jax.jit
    def distortions(params):
        state = init_state(params, centred.extra, centred.hparams, centred.players, KEY)
        expected = -model.decode(model.latents(images)).log_prob(images).mean()
        return expected, *(program.validate(state, images)["distortion"] for program in programs)

    expected, *found = map(float, distortions(centred.params))
    assert found == pytest.approx([expected, expected], rel=1e-5)


def test_extra_state_is_saved_resumed_and_loaded_with_the_best_parameters(centred, tmp_path):
    program = factory.build_program(centred.config, IMAGE_SHAPE, 12)
    init = jax.jit(program.init)(np.full(IMAGE_SHAPE, 0.5, np.float32), KEY, centred.hparams)
    run_steps = jax.jit(program.run_steps, static_argnums=2)
    images = images_of(12)
    middle, _ = run_steps(init.train, images, 2)
    best = RunState(middle, init.best_params, init.best_extra).with_best()
    last, _ = run_steps(middle, images, 1)
    state = best._replace(train=last)
    folder, metadata = tmp_path / "run", factory.to_metadata(IMAGE_SHAPE)
    with factory.hold_run(folder, centred.config):
        checkpoints.save(folder / "checkpoints", 3, state, metadata, max_to_keep=1)
    restored = factory.read_run_state(
        folder / "checkpoints", 3, metadata, centred.config, IMAGE_SHAPE
    )
    assert bits(restored) == bits(state)
    on, expected = (run_steps(s.train, images, 3)[0] for s in (restored, state))
    assert bits(on) == bits(expected)
    loaded = vae_jax.load(folder)
    assert bits(loaded.extra) == bits(middle.extra) != bits(last.extra)
    model = nnx.merge(loaded.graphdef, middle.params["model"], middle.extra)
    np.testing.assert_allclose(loaded.encode(images), model.latents(images), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(middle.extra["centre"][...])).max() > 1e-3
    # Calls of a loaded model do not change it.
    assert bits(loaded.extra) == bits(middle.extra)
