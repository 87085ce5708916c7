"""The benchmark of training on drawn faces: its experiments, and what it says without the faces."""

import pytest
from absl.testing import flagsaver

from benchmarks import faces_cost
from benchmarks.faces_cost import SMALL, Sizes
from vae_jax import config
from vae_jax.errors import UserError


@pytest.mark.parametrize("sizes", [Sizes(), SMALL])
def test_every_row_trains_on_whole_batches_and_differs_in_what_it_names(sizes):
    found = {
        name: config.resolve(given) for name, given in faces_cost.experiments(sizes, "data").items()
    }
    for experiment in found.values():
        num_images = int(experiment.data.train_split.removeprefix("train[:").removesuffix("]"))
        assert num_images >= experiment.batch_size
        assert experiment.epochs == 2
    memory, streamed = found["dense, in memory"], found["dense, streamed"]
    assert memory.data.train_split == streamed.data.train_split == f"train[:{sizes.all_images}]"
    assert (memory.data.mode.name, streamed.data.mode.name) == ("memory", "stream")
    assert found["dense, products in bfloat16"].model.encoder.compute_dtype == "bfloat16"
    parts, whole = found["dense, batch 256 in 4 parts"], found["dense, batch 256"]
    assert parts.batch_size == whole.batch_size == sizes.large_batch
    assert (parts.optimizer.accumulation_steps, whole.optimizer.accumulation_steps) == (4, 1)
    remat, plain = (found[f"residual, 4 blocks a level{end}"].model for end in (", remat", ""))
    assert (remat.encoder.remat, remat.decoder.remat) == (True, True)
    assert (plain.encoder.remat, plain.decoder.remat) == (False, False)
    assert plain.encoder.channels == sizes.channels


@pytest.mark.usefixtures("parsed_flags")
def test_without_the_faces_it_says_how_they_are_prepared(tmp_path):
    with (
        flagsaver.flagsaver(data_dir=str(tmp_path), small_faces=True),
        pytest.raises(UserError, match=r"run python -m experiments\.prepare --name=avatars"),
    ):
        faces_cost.main()
