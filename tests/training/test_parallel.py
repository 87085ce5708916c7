import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from small_codes import coded_experiment
from small_configs import small_experiment

from benchmarks.collectives import collectives
from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.training.parallel import check_batch_size, choose_devices, compile_program
from vae_jax.training.step import epoch_order

IMAGE_SHAPE = (6, 6, 1)
NUM_EXAMPLES = 256
NUM_STEPS = 4
# Of a batch of 64 examples eight devices have eight each.
BATCH_SIZE = 64
NOISE_FREE = {"model": "autoencoder", "data.binarization": "none"}


def config_of(**changes):
    changes = {"batch_size": BATCH_SIZE, "evaluation.batch_size": 16, **changes}
    return small_experiment(changes, widths=(12,))


# Free nats are granted to means over the whole batch.
PLAIN = config_of(**{"objective.free_nats": 0.1})


def draw_images(num, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, *IMAGE_SHAPE), dtype=np.uint8)


def builder(config):
    return partial(factory.build_program, config, IMAGE_SHAPE, NUM_EXAMPLES)


@functools.cache
def compiled_for(config, num_devices, kind="jit"):
    return compile_program(builder(config), jax.devices()[:num_devices], kind)


def start(compiled, config):
    """Return the state before the first step, made by the devices."""
    mean_image = jnp.full(IMAGE_SHAPE, 0.5)
    key, hparams = compiled.put((factory.make_key(0), factory.build_hparams(config)))
    return compiled.init(compiled.put(mean_image), key, hparams)


@functools.cache
def _started(config):
    state = start(compiled_for(config, 1), config).train
    keys = [jax.random.key_data(key) for key in (state.noise_key, state.order_key)]
    return jax.device_get((state._replace(noise_key=None, order_key=None), keys))


def put_start(compiled, config):
    """Return the state before the first step, made by one device and put on all."""
    state, keys = _started(config)
    noise_key, order_key = map(jax.random.wrap_key_data, keys)
    # Copies: what is put may share the memory of the host, and the functions consume it.
    state = jax.tree.map(np.array, state)
    return compiled.put(state._replace(noise_key=noise_key, order_key=order_key))


@functools.cache
def trained(config, num_devices, kind="jit"):
    """Return the metrics of every step and the state afterwards."""
    compiled = compiled_for(config, num_devices, kind)
    images = compiled.put(draw_images(NUM_EXAMPLES))
    state, metrics = compiled.run_steps(put_start(compiled, config), images, NUM_STEPS)
    return jax.device_get((metrics, jax.tree.leaves((state.params, state.extra))))


def trained_on_batches(config, num_devices, kind="jit"):
    """Return the same of training on given batches."""
    compiled = compiled_for(config, num_devices, kind)
    state = put_start(compiled, config)
    order = np.asarray(epoch_order(state.order_key, 0, NUM_EXAMPLES))
    chosen = order[: NUM_STEPS * config.batch_size].reshape(NUM_STEPS, -1)
    batches = compiled.put_batches(draw_images(NUM_EXAMPLES)[chosen])
    state, metrics = compiled.run_batches(state, batches)
    return jax.device_get((metrics, jax.tree.leaves((state.params, state.extra))))


def validated(config, num_devices):
    """Return the initial parameters and their validation metrics, all made by the devices."""
    compiled = compiled_for(config, num_devices)
    state = start(compiled, config).train
    metrics = compiled.validate(state, compiled.put(draw_images(41, seed=1)))
    return jax.device_get((metrics, jax.tree.leaves((state.params, state.extra))))


def assert_same(first, second):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6), first, second)


def test_the_numbers_do_not_depend_on_the_number_of_devices():
    assert_same(trained(PLAIN, 8), trained(PLAIN, 1))
    assert_same(validated(PLAIN, 8), validated(PLAIN, 1))


DRAWING = {
    "corrupted, of several samples": {
        "corruption": {"name": "salt_and_pepper", "level": 0.2},
        "objective": {"name": "iwae", "num_samples": 3},
    },
    # Two players, and latents that are permuted over the batch of all devices.
    "factor": {"objective": {"name": "factor", "discriminator": {"widths": (8,)}, "gamma": 5.0}},
    # Three players, two of which own parts of the model.
    "vae_gan": {
        "data.binarization": "none",
        "objective": {
            "name": "vae_gan",
            "decoder": {"updates": 2},
            "discriminator": {"network": {"name": "mlp", "widths": (6,)}},
        },
    },
}


@pytest.mark.parametrize("name", DRAWING)
def test_draws_and_games_do_not_depend_on_the_number_of_devices(name):
    config = config_of(**DRAWING[name])
    assert_same(trained(config, 4), trained(config, 1))


def test_without_noise_pmap_agrees_with_one_device():
    # It learns a running mean without a gradient.
    config = config_of(**{**NOISE_FREE, "model": "own_parts:Centred"})
    assert_same(trained(config, 4, "pmap"), trained(config, 1))


@pytest.mark.parametrize("kind", ["jit", "pmap"])
def test_all_devices_make_one_codebook_of_the_whole_batch(kind):
    config = coded_experiment(
        {"name": "vq", "codebook_size": 9, "vector_size": 3, "restart_below": 0.9},
        batch_size=BATCH_SIZE,
        model_changes={"codes": (3, 3)},
    )
    assert_same(trained(config, 4, kind), trained(config, 1))


@pytest.mark.parametrize(("kind", "num_devices"), [("jit", 8), ("pmap", 4)])
def test_given_batches_train_like_those_from_memory(kind, num_devices):
    given = trained_on_batches(PLAIN, num_devices, kind)
    assert_same(given, trained(PLAIN, num_devices, kind))


def test_pmap_is_the_same_step_mapped_over_devices_with_their_own_noise():
    num_devices = 4

    # On one device: `jax.vmap` names the axis of the devices' shares.
    def split_batch(batch):
        size = batch.shape[0] // num_devices
        return jax.lax.dynamic_slice_in_dim(batch, jax.lax.axis_index("d") * size, size)

    program = builder(PLAIN)(split_batch=split_batch, axis_name="d")
    images = jnp.asarray(draw_images(NUM_EXAMPLES))

    def run(_, state):
        return program.run_steps(state, images, NUM_STEPS)

    run = jax.jit(jax.vmap(run, axis_name="d", in_axes=(0, None), out_axes=None))
    state, expected = run(jnp.arange(num_devices), put_start(compiled_for(PLAIN, 1), PLAIN))
    expected = jax.device_get((expected, jax.tree.leaves(state.params)))
    assert_same(trained(PLAIN, num_devices, "pmap"), expected)


@functools.cache
def compiled_steps(num_devices):
    """Return the compiled steps and the number of parameters."""
    compiled = compiled_for(PLAIN, num_devices)
    state = put_start(compiled, PLAIN)
    images = compiled.put(draw_images(NUM_EXAMPLES))
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return compiled.run_steps.lower(state, images, NUM_STEPS).compile(), num_params


def test_gradients_cross_devices_once_per_step_and_beside_them_only_scalars():
    steps, num_params = compiled_steps(8)
    found = collectives(steps.as_text())
    assert {collective.kind for collective in found} == {"all-reduce"}
    # So short a scan is not unrolled: the text has one step.
    sent = sum(size for collective in found for size in collective.sizes if size > 1)
    # Free nats need the KL of each latent averaged over the whole batch before the gradients: that
    # is another operation.
    assert sent == num_params + PLAIN.model.latent_size
    assert len(found) <= 2


def test_one_device_sends_nothing():
    assert collectives(compiled_steps(1)[0].as_text()) == []


def test_collectives_are_read_from_hlo():
    text = """
  %all-reduce.4 = (f32[64,8]{1,0}, /*index=1*/f32[]) all-reduce(%a, %b), channel_id=1, to_apply=%add
  %x = bf16[16]{0} all-gather(%y), dimensions={0}
  %dot = f32[3,3]{1,0} dot(%all-reduce.4, %x)
"""
    assert collectives(text) == [("all-reduce", [512, 1], 2052), ("all-gather", [16], 32)]


def test_every_device_computes_its_share_of_the_batch():
    state = put_start(compiled_for(PLAIN, 8), PLAIN)
    assert state.step.sharding == NamedSharding(state.step.sharding.mesh, PartitionSpec())
    shared, whole = (compiled_steps(num)[0].cost_analysis()["flops"] for num in (8, 1))
    # Every device runs the whole optimiser.
    assert shared < whole / 4


def test_accumulated_gradients_are_those_of_the_whole_batch():
    whole, parts = (
        trained(config_of(**{**NOISE_FREE, "optimizer.accumulation_steps": parts}), 1)
        for parts in (1, 4)
    )
    assert_same(parts, whole)


def test_accumulated_parts_draw_their_own_noise():
    same = np.repeat(draw_images(1), NUM_EXAMPLES, axis=0)
    config = config_of(**{"optimizer.accumulation_steps": 2})
    state = put_start(compiled_for(config, 1), config)
    losses = []
    for each in (config, config_of(batch_size=BATCH_SIZE // 2)):
        run = jax.jit(builder(each)().run_steps, static_argnums=2)
        losses.append(float(run(state, same, 1)[1]["loss"][0]))
    # Both halves have the same images: with the same noise the loss would be that of one half.
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((100, 1, 8), "batch_size=100 does not divide over 8 devices; use 96 or 104"),
        ((4, 1, 8), "batch_size=4 does not divide over 8 devices; use 8"),
        ((24, 2, 8), "batch_size=24 does not divide over 8 devices in 2 parts each; use 16 or 32"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused_with_sizes_that_do(sizes, message):
    with pytest.raises(UserError, match=message):
        check_batch_size(*sizes)
    check_batch_size(96, 3, 8)


@pytest.mark.parametrize("wrong", [0, 9])
def test_more_devices_than_there_are_are_refused(wrong):
    assert choose_devices(3) == jax.devices()[:3]
    with pytest.raises(UserError, match=f"--num_devices={wrong} must be at least 1 and at most 8"):
        choose_devices(wrong)


@pytest.mark.parametrize(
    ("kind", "number", "message"),
    [
        ("pmap", None, "--parallel=pmap works in one process only"),
        ("jit", 3, "--num_devices=3 leaves processes without a device; use all 8"),
    ],
)
def test_devices_of_several_processes_are_used_together(monkeypatch, kind, number, message):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert choose_devices(8) == jax.devices()
    with pytest.raises(UserError, match=message):
        choose_devices(number, kind)
