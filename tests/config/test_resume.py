import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_configs import small_experiment
from test_upgrades import flat

from vae_jax import config as factory
from vae_jax import workdir
from vae_jax.config.upgrades import SCHEMA
from vae_jax.errors import UserError
from vae_jax.training import checkpoints

IMAGE_SHAPE = (4, 3, 1)
SMALL = {"model.widths": [5], "model.latent_size": 3}


def test_a_run_of_an_earlier_schema_is_held_by_the_same_experiment_alone(tmp_path):
    old = flat({**SMALL, "hparams.beta": 4.0})
    workdir.write_json(tmp_path / "config.json", old)
    experiment = factory.resolve(old)
    with factory.hold_run(tmp_path, experiment):
        pass
    assert workdir.read_config(tmp_path) == old
    other = factory.resolve(factory.with_values(experiment, {"objective.beta": 2.0}))
    with pytest.raises(UserError, match=r"objective\.beta=2\.0 \(there: 4\.0\); use another"):
        factory.hold_run(tmp_path, other).__enter__()


def test_a_setting_that_a_run_did_not_know_is_no_difference(tmp_path):
    experiment = small_experiment()
    written = experiment.to_dict()
    del written["objective"]["free_nats"], written["tensorboard"]
    workdir.write_json(tmp_path / "config.json", written)
    with factory.hold_run(tmp_path, experiment):
        pass


def test_a_new_run_has_every_setting_and_its_schema_written_down(tmp_path):
    experiment = small_experiment()
    with factory.hold_run(tmp_path / "run", experiment):
        pass
    written = workdir.read_config(tmp_path / "run")
    assert written["schema"] == SCHEMA
    assert factory.resolve(written) == experiment


def test_a_state_comes_back_bit_for_bit_and_one_of_a_later_schema_is_refused(tmp_path):
    experiment = small_experiment({"batch_size": 4})
    program = factory.build_program(experiment, IMAGE_SHAPE, 8)
    state = jax.jit(program.init)(
        jnp.full(IMAGE_SHAPE, 0.5), factory.make_key(0), factory.build_hparams(experiment)
    )
    metadata = factory.to_metadata(IMAGE_SHAPE)
    assert metadata["schema"] == SCHEMA
    assert factory.from_metadata(metadata) == IMAGE_SHAPE
    checkpoints.save(tmp_path, 0, state, metadata, max_to_keep=1)
    read = factory.read_run_state(tmp_path, 0, metadata, experiment, IMAGE_SHAPE)
    assert jax.tree.structure(read) == jax.tree.structure(state)
    for ours, theirs in zip(*map(jax.tree.leaves, (read, state)), strict=True):
        if not jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(ours, theirs)
    later = {**metadata, "schema": SCHEMA + 1}
    with pytest.raises(UserError, match=f"has schema={SCHEMA + 1}, which a later version"):
        factory.read_run_state(tmp_path, 0, later, experiment, IMAGE_SHAPE)
