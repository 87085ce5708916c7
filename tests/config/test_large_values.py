import numpy as np
import pytest
from small_configs import small_experiment

from vae_jax import config as factory


@pytest.mark.parametrize(("scale", "warned"), [(1.0, False), (5000.0, True)])
def test_columns_that_are_not_standardised_are_said(tmp_path, caplog, scale, warned):
    path = tmp_path / "table.npz"
    rows = np.random.default_rng(0).normal(size=(20, 1, 6)).astype(np.float32) * scale
    np.savez(path, train_images=rows, test_images=rows)
    config = small_experiment(
        {
            "batch_size": 10,
            "data.name": str(path),
            "data.train_split": "train",
            "data.validation_split": "",
            "data.binarization": "none",
            "model.likelihood": "normal",
        }
    )
    factory.load_splits(config)
    assert ("data.train_split: values of" in caplog.text) == warned
    assert ("standardise them" in caplog.text) == warned
