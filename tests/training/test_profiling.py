import jax
import jax.numpy as jnp

from vae_jax.training.profiling import profiled


def test_only_the_second_call_is_traced(tmp_path, capsys):
    traces = tmp_path / "plugins" / "profile"
    call = profiled(jax.jit(lambda x: x + 1), tmp_path)
    assert call(jnp.float32(1)) == 2
    assert not traces.exists()
    assert call(jnp.float32(2)) == 3
    # TensorBoard's profiler reads this folder.
    (trace,) = traces.glob("*/*.xplane.pb")
    assert trace.stat().st_size > 0
    assert f"tensorboard --logdir={tmp_path}" in capsys.readouterr().out
    assert call(jnp.float32(3)) == 4
    assert len(list(traces.iterdir())) == 1
