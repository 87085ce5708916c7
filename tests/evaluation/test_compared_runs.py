import numpy as np
import pytest
import small_runs

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import summary as measuring
from vae_jax.evaluation.comparison import compare
from vae_jax.models import BernoulliLikelihood
from vae_jax.models.likelihoods import nats_of

TEST = {"elbo": -90.0, "rate": 20.0, "distortion": 70.0, "iwae_bound": -85.0, "num_samples": 5}
GREY = {"data.binarization": "none"}


def test_nats_of_different_kinds_are_not_compared(tmp_path):
    kinds = {"binarised": {}, "grey": GREY, "density": {**GREY, "model.likelihood": "normal"}}
    for name, own in kinds.items():
        small_runs.save(tmp_path / name, small_runs.make_model((28, 28, 1), **own))
        workdir.write_summary(
            tmp_path / name, {"test": TEST, "device": "", "num_cores": 1, "versions": {}}
        )
    for other in ("grey", "density"):
        folders = {name: tmp_path / name for name in ("binarised", other)}
        with pytest.raises(
            UserError, match="nats of these runs cannot be compared: binarised has"
        ) as e:
            compare(folders, tmp_path / "out")
        assert "\n" not in str(e.value)
    assert not (tmp_path / "out" / "table.md").exists()


def test_a_bernoulli_of_grey_values_gives_no_log_probability():
    images = np.array([[[[0.0], [1.0]]]], np.float32)
    assert nats_of(BernoulliLikelihood(), images) == "log probability"
    assert nats_of(BernoulliLikelihood(), images / 2) == "cross-entropy"
    described = {"test": {**TEST, "active_units": None, "nats_of": "cross-entropy"}}
    assert "not a log probability" in measuring.describe(described)
    described["test"]["nats_of"] = "log probability"
    assert "cross-entropy" not in measuring.describe(described)
    described["test"]["elbo"] = None
    assert measuring.describe(described).startswith("test elbo not finite, rate 20.00")
