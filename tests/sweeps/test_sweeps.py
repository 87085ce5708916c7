import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_configs import small_experiment

from vae_jax import config as factory
from vae_jax.sweeps.members import InTurn, SideBySide, stack
from vae_jax.sweeps.plan import MemberMemory, _member_memory

IMAGE_SHAPE = (8, 8, 1)
KINDS = ["in turn", "side by side"]
LEARNING_RATE, WEIGHT_DECAY = "optimizer.learning_rate", "optimizer.weight_decay"
BETA, FREE_NATS = "objective.beta", "objective.free_nats"
# For SideBySide against a run alone; its docstring states them.
LOSS_TOLERANCE = 1e-5
NATS_TOLERANCE = 1e-3


def draw_images(num, seed):
    """Images of four kinds, each with one bright bar."""
    rng = np.random.default_rng(seed)
    brightness = np.full((num, *IMAGE_SHAPE), 0.1)
    for image, kind in zip(brightness, rng.integers(0, 4, num), strict=True):
        image[2 * kind : 2 * kind + 2] = 0.9
    return (255 * (rng.random(brightness.shape) < brightness)).astype(np.uint8)


def never():
    return False


class Problem:
    """A small program and its members, which differ in hyperparameters and seed."""

    def __init__(self, network="mlp"):
        encoder = {"name": "mlp"} if network == "mlp" else {"name": "conv", "channels": (4, 8)}
        self.config = small_experiment(
            {
                "epochs": 20,
                "batch_size": 16,
                "model.encoder": encoder,
                "evaluation.batch_size": 20,
            },
            widths=(16,) if network == "mlp" else (),
            latent_size=2,
        )
        # Steps of convolutions are slow to compile. Six images are left out of every epoch.
        self.steps_per_epoch = 4 if network == "mlp" else 1
        train_images = draw_images(16 * self.steps_per_epoch + 6, 0)
        self.images = jnp.asarray(train_images), jnp.asarray(draw_images(20, 1))
        self.program = factory.build_program(self.config, IMAGE_SHAPE, len(train_images))
        self.in_turn = InTurn(self.program, *self.images)
        self._mean = jnp.asarray(train_images.mean(axis=0) / 255, jnp.float32)
        self._init = jax.jit(self.program.init)
        self._run_steps = jax.jit(
            self.program.run_steps, static_argnames="num_steps", donate_argnums=0
        )
        self._validate = jax.jit(self.program.validate)

    @functools.cache  # noqa: B019
    def side_by_side(self, num_devices=1):
        devices = jax.local_devices()[:num_devices]
        return SideBySide(self.program, *self.images, devices)

    def functions(self, kind):
        return self.in_turn if kind == "in turn" else self.side_by_side()

    def member(self, seed=0, changes=None):
        changed = {name: np.float32(value) for name, value in (changes or {}).items()}
        hparams = factory.build_hparams(self.config)
        assert changed.keys() <= hparams.keys()
        return self._init(self._mean, factory.make_key(seed), hparams | changed)

    def members(self):
        return [
            self.member(0),
            self.member(1, {LEARNING_RATE: 0.01, BETA: 4.0}),
            self.member(2, {"objective.warmup_epochs": 3.0, FREE_NATS: 0.1}),
            self.member(0, {WEIGHT_DECAY: 0.5}),
        ]

    def alone(self, member, num_calls):
        """The member trained without any of `sweeps`."""
        train_images, validation_images = self.images
        state, rows = member.train, []
        for _ in range(num_calls):
            state, metrics = self._run_steps(state, train_images, num_steps=self.steps_per_epoch)
            rows.append(metrics)
        valid = self._validate(state, validation_images)
        return member._replace(train=state), in_sequence(rows), valid


@functools.cache
def problem_of(network):
    return Problem(network)


@pytest.fixture
def mlp():
    return problem_of("mlp")


def in_sequence(rows):
    return {name: np.concatenate([row[name] for row in rows], axis=-1) for name in rows[0]}


def train(functions, members, num_calls, *, num_steps=4, active=None, num_slots=None):
    """The stacked members, their metrics in training, and who stayed finite."""
    num_slots = num_slots or len(members)
    states, rows = functions.place(stack(members), num_slots), []
    active = np.arange(num_slots) < len(members) if active is None else np.array(active)
    for _ in range(num_calls):
        states, trained, finite, metrics = functions.run_steps(states, active, num_steps, never)
        np.testing.assert_array_equal(trained, active)
        rows.append(metrics)
    return functions.stacked(states, len(members)), in_sequence(rows), finite


def leaves(tree):
    is_key = [jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(tree)]
    return [
        np.asarray(jax.random.key_data(x) if key else x)
        for x, key in zip(jax.tree.leaves(tree), is_key, strict=True)
    ]


def at(tree, index):
    """One member's part of what is stacked, or that of several."""

    def of(leaf):
        # On the host but for keys: each index would be a program per shape.
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return (leaf if is_key else np.asarray(leaf))[index]

    return jax.tree.map(of, tree)


def equal(first, second):
    pairs = zip(leaves(first), leaves(second), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


# Of convolutions one epoch.
@pytest.mark.parametrize(("network", "num_calls"), [("mlp", 3), ("conv", 1)])
def test_a_member_in_turn_is_bit_for_bit_the_run_alone(network, num_calls):
    problem, num_steps = problem_of(network), problem_of(network).steps_per_epoch
    functions = problem.in_turn
    swept, metrics, finite = train(functions, problem.members(), num_calls, num_steps=num_steps)
    assert finite.all()
    valid = functions.validate(functions.place(swept, 4), np.full(4, True))
    for i, member in enumerate(problem.members()):
        solo, solo_metrics, solo_valid = problem.alone(member, num_calls)
        assert equal(at(swept, i), solo)
        assert equal(at(metrics, i), solo_metrics)
        assert equal(at(valid, i), solo_valid)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_member_side_by_side_is_the_run_alone_up_to_rounding(network):
    problem, num_steps = problem_of(network), problem_of(network).steps_per_epoch
    functions = problem.side_by_side()
    swept, metrics, _ = train(functions, problem.members(), 20 // num_steps, num_steps=num_steps)
    early, _, _ = train(functions, problem.members(), 3, num_steps=num_steps)
    valid = functions.validate(functions.place(early, 4), np.full(4, True))
    for i, member in enumerate(problem.members()):
        solo, solo_metrics, _ = problem.alone(member, 20 // num_steps)
        _, _, solo_valid = problem.alone(problem.members()[i], 3)
        np.testing.assert_allclose(metrics["loss"][i], solo_metrics["loss"], rtol=LOSS_TOLERANCE)
        assert valid["elbo"][i] == pytest.approx(float(solo_valid["elbo"]), abs=NATS_TOLERANCE)
        assert_close(at(swept, i), solo)


def assert_close(state, other):
    """The same bits of keys, counts and hyperparameters, and almost the same of what is learned."""
    own, theirs = state.train, other.train
    exact = [(s.step, s.hparams, s.noise_key, s.order_key) for s in (own, theirs)]
    assert equal(*exact)
    for a, b in zip(leaves(own.params), leaves(theirs.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_the_other_members_change_no_bit_of_a_member_in_turn(mlp):
    swept, metrics, _ = train(mlp.in_turn, mlp.members(), 2)
    member = mlp.members()[1]
    for others in ([], [mlp.member(9, {BETA: 0.1, WEIGHT_DECAY: 3.0}), mlp.member(1)]):
        changed, changed_metrics, _ = train(mlp.in_turn, [*others, member], 2)
        assert equal(at(changed, -1), at(swept, 1))
        assert equal(at(changed_metrics, -1), at(metrics, 1))


def test_the_other_members_change_no_bit_of_a_member_side_by_side(mlp):
    swept, metrics, _ = train(mlp.side_by_side(), mlp.members(), 2)
    others = [mlp.member(i, {LEARNING_RATE: 0.1 * i, BETA: 0.1, FREE_NATS: 1}) for i in range(4)]
    changed, changed_metrics, _ = train(
        mlp.side_by_side(), [*others[:2], mlp.members()[2], others[3]], 2
    )
    assert equal(at(changed, 2), at(swept, 2))
    assert equal(at(changed_metrics, 2), at(metrics, 2))
    assert not equal(at(changed_metrics, 1), at(metrics, 1))


def test_members_differ_by_seed_and_by_hyperparameters(mlp):
    swept, metrics, _ = train(mlp.side_by_side(), mlp.members(), 2)
    for i in range(4):
        for j in range(i):
            assert not equal(at(swept, i).train.params, at(swept, j).train.params)
            assert not equal(at(metrics, i), at(metrics, j))


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_diverges_stays_as_it_was_and_touches_no_other(mlp, kind):
    functions = mlp.functions(kind)
    begun, _, _ = train(functions, mlp.members(), 1)
    states = functions.place(begun, 4)
    healthy = functions.run_steps(states, np.full(4, True), 4, never)
    members = [at(begun, i) for i in range(4)]
    wild = {**members[1].train.hparams, LEARNING_RATE: np.float32(1e9)}
    members[1] = members[1]._replace(train=members[1].train._replace(hparams=wild))
    before = stack(members)
    after = functions.run_steps(functions.place(before, 4), np.full(4, True), 4, never)
    assert healthy.finite.all()
    assert after.finite.tolist() == [True, False, True, True]
    assert after.trained.all()
    assert not np.isfinite(after.metrics["loss"][1]).all()
    assert equal(functions.state(after.states, 1), at(before, 1))
    for i in (0, 2, 3):
        assert equal(functions.state(after.states, i), functions.state(healthy.states, i))
        assert equal(at(after.metrics, i), at(healthy.metrics, i))


@pytest.mark.parametrize("kind", KINDS)
def test_a_last_step_that_ruins_the_parameters_is_no_more_kept_than_a_loss(mlp, kind):
    functions = mlp.functions(kind)
    members = [mlp.member(0), mlp.member(0, {LEARNING_RATE: np.inf})]
    swept, metrics, finite = train(functions, members, 1, num_steps=1)
    assert np.isfinite(metrics["loss"]).all()
    assert finite.tolist() == [True, False]
    assert equal(at(swept, 1), members[1])
    assert int(swept.train.step[0]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_rest_keep_every_bit_and_have_no_metrics(mlp, kind):
    functions, active = mlp.functions(kind), np.array([True, False, True, False])
    everyone, all_metrics, _ = train(functions, mlp.members(), 2)
    swept, metrics, finite = train(functions, mlp.members(), 2, active=active)
    assert finite.all()
    valid = functions.validate(functions.place(swept, 4), active)
    assert set(valid) == set(metrics) == {"loss", "distortion", "rate", "elbo"}
    for i, member in enumerate(mlp.members()):
        if active[i]:
            assert equal(at(swept, i), at(everyone, i))
            assert equal(at(metrics, i), at(all_metrics, i))
            assert all(np.isfinite(values[i]) for values in valid.values())
        else:
            assert equal(at(swept, i), member)
            assert all(np.isnan(values[i]).all() for values in (metrics | valid).values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_parameters_are_kept_of_members_that_are_better(mlp, kind):
    functions, better = mlp.functions(kind), np.array([True, False, False, True])
    begun, _, _ = train(functions, mlp.members(), 1)
    states = functions.keep_best(functions.place(begun, 4), better)
    # They must not follow the parameters from there on.
    after = functions.run_steps(states, np.full(4, True), 4, never)
    kept, final = functions.stacked(after.states, 4), train(functions, mlp.members(), 2)[0]
    for i, member in enumerate(mlp.members()):
        best = at(begun, i).train.params["model"] if better[i] else member.best_params
        assert equal(at(kept, i).best_params, best)
    assert equal(kept.train, final.train)


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_members_come_back_together_and_one_by_one(mlp, kind):
    functions, members = mlp.functions(kind), mlp.members()
    assert functions.validates
    states = functions.place(stack(members), 4)
    assert equal(functions.stacked(states, 4), stack(members))
    assert equal(functions.stacked(states, 3), stack(members[:3]))
    for i, member in enumerate(members):
        assert equal(functions.state(states, i), member)


def test_two_devices_train_as_one_does(mlp):
    two = mlp.side_by_side(2)
    states = two.place(stack(mlp.members()), 4)
    assert all(len(leaf.sharding.device_set) == 2 for leaf in jax.tree.leaves(states))
    swept, metrics, _ = train(two, mlp.members(), 2)
    assert all(len(leaf.sharding.device_set) == 1 for leaf in jax.tree.leaves(swept))
    expected, expected_metrics, _ = train(mlp.side_by_side(1), mlp.members(), 2)
    for i in range(4):
        assert_close(at(swept, i), at(expected, i))
        np.testing.assert_allclose(
            metrics["loss"][i], expected_metrics["loss"][i], rtol=LOSS_TOLERANCE
        )


def lowered(functions, states, num_steps):
    """The training program for states of these shapes, before compilation."""
    active = jax.ShapeDtypeStruct(states.train.step.shape, jnp.bool_)
    examples = functions._train_examples
    return functions._run_steps.lower(states, active, examples, num_steps=num_steps)


def test_devices_exchange_nothing(mlp):
    two = mlp.side_by_side(2)
    states = two.place(stack(mlp.members()), 4)
    program = lowered(two, states, 4).compile().as_text()
    assert "num_partitions=2" in program
    collective = r"all-(reduce|gather|to-all)|reduce-scatter|collective-|\b(send|recv)\("
    assert re.findall(collective, program) == []


def test_slots_without_a_member_are_copies_of_the_last_that_rest(mlp):
    two = mlp.side_by_side(2)
    states = two.place(stack(mlp.members()[:3]), 4)
    assert equal(at(states, 3), mlp.members()[2])
    after = two.run_steps(states, np.array([True, True, True, False]), 4, never)
    assert equal(at(after.states, 3), mlp.members()[2])
    assert np.isnan(after.metrics["loss"][3]).all()
    assert after.trained.tolist() == [True, True, True, False]
    whole, _, _ = train(two, mlp.members(), 1)
    assert equal(two.stacked(after.states, 3), at(whole, slice(3)))


@pytest.mark.parametrize(
    ("num_devices", "num_members", "least", "expected"),
    [(1, 3, 1, 3), (1, 3, 5, 5), (2, 3, 3, 4), (2, 4, 3, 4), (2, 1, 1, 2), (2, 3, 5, 6)],
)
def test_there_are_as_many_slots_on_every_device_and_enough(
    mlp, num_devices, num_members, least, expected
):
    assert mlp.side_by_side(num_devices).num_slots(num_members, least) == expected
    assert mlp.in_turn.num_slots(num_members, least) == num_members


@pytest.mark.parametrize("num_before_stop", [1, 2, 3])
def test_a_stop_between_members_in_turn_leaves_the_rest_untouched(mlp, num_before_stop):
    functions, active = mlp.in_turn, np.array([True, False, True, True])
    asked = []

    def stop():
        asked.append(True)
        return len(asked) >= num_before_stop

    states = functions.place(stack(mlp.members()), 4)
    after = functions.run_steps(states, active, 4, stop)
    everyone, _, _ = train(functions, mlp.members(), 1)
    expected = [0, 2, 3][:num_before_stop]
    assert np.flatnonzero(after.trained).tolist() == expected
    assert after.finite.all()
    for i, member in enumerate(mlp.members()):
        trained = i in expected
        assert equal(functions.state(after.states, i), at(everyone, i) if trained else member)
        assert np.isfinite(after.metrics["loss"][i]).all() == trained


def test_the_memory_of_a_state_is_counted_to_the_byte(mlp):
    memory = _member_memory(mlp.config, IMAGE_SHAPE)
    encoder, posterior = 64 * 16 + 16, 16 * 4 + 4
    decoder = 2 * 16 + 16 + 16 * 64 + 64
    num_params = encoder + posterior + decoder
    # The parameters, the best ones, and Adam's two moments; the hyperparameters, the step and
    # Adam's and the schedule's counts; two keys of two words.
    words = 4 * num_params + len(factory.build_hparams(mlp.config)) + 3 + 4
    assert sum(leaf.nbytes for leaf in leaves(mlp.member())) == 4 * words
    # Before a call, after it, and on the way to the disk.
    assert memory.state == 3 * 4 * words


def test_the_memory_of_a_step_is_guessed_within_a_factor_of_three():
    config = small_experiment(widths=(400,), latent_size=20)
    shape, num_members = (28, 28, 1), 2
    images = jnp.zeros((8 * config.batch_size, *shape), jnp.uint8)
    program = factory.build_program(config, shape, len(images))
    functions = SideBySide(program, images, None, jax.local_devices()[:1])
    states = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((num_members, *leaf.shape), leaf.dtype),
        factory.run_state_template(config, shape),
    )
    analysis = lowered(functions, states, 8).compile().memory_analysis()
    actual = analysis.temp_size_in_bytes / num_members
    assert 1 / 3 < _member_memory(config, shape).step / actual < 3


SIZES = st.integers(0, 10**12)


@given(st.builds(MemberMemory, st.integers(1, 10**9), SIZES), st.integers(-100, 10**12))
def test_as_many_members_as_fit_are_dealt_and_not_one_more(memory, limit):
    for side_by_side in (True, False):
        most = memory.most_members(limit, side_by_side=side_by_side)
        assert most >= 0
        assert most == 0 or memory.total(most, side_by_side=side_by_side) <= limit
        assert memory.total(most + 1, side_by_side=side_by_side) > limit
    assert memory.total(0, side_by_side=True) == memory.total(0, side_by_side=False) == 0
