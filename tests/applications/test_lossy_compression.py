import json
from collections import Counter

import numpy as np
import pytest
import small_runs
from hypothesis import given
from hypothesis import strategies as st

from vae_jax import plots
from vae_jax.applications.lossy_compression import measure as measuring
from vae_jax.applications.lossy_compression import report
from vae_jax.applications.lossy_compression.plot import quality_by_rate
from vae_jax.applications.lossy_compression.quantized_latents import LatentCoder
from vae_jax.errors import UserError

RNG = np.random.default_rng(0)
TRAINING = (RNG.normal(size=(500, 4)) * [3.0, 1.0, 0.2, 0.0] + [0.0, 5.0, -1.0, 2.0]).astype("f4")
IMAGES = RNG.integers(0, 256, (7, 6, 5, 3), dtype=np.uint8)


@given(step=st.floats(0.05, 5), num=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_what_is_decoded_is_the_nearest_point_of_the_grid(step, num, seed):
    coder = LatentCoder(TRAINING, step)
    codes = TRAINING[np.random.default_rng(seed).integers(len(TRAINING), size=num)]
    decoded = coder.decode(coder.encode(codes), num)
    assert decoded.shape == codes.shape
    assert np.abs(decoded - codes).max() <= step / 2 + 1e-5


def test_the_words_are_as_many_as_the_entropy_of_the_normals_asks_for():
    step, codes = 0.05, RNG.normal(size=(4000, 3)) * [3.0, 1.0, 0.2]
    words = LatentCoder(codes, step).encode(codes)
    # In bins much narrower than a normal: its differential entropy less log(step).
    deviations = codes.std(axis=0)
    bits = (0.5 * np.log2(2 * np.pi * np.e * deviations**2) - np.log2(step)).sum() * len(codes)
    assert 32 * len(words) == pytest.approx(bits, rel=0.01)


def test_a_latent_that_does_not_vary_costs_nothing_and_those_far_out_are_cut_off():
    constant = np.full((1000, 1), 0.7)
    assert len(LatentCoder(constant, 0.1).encode(constant)) <= 2
    coder = LatentCoder(TRAINING, 1.0)
    far = np.full((1, 4), 1e6, np.float32)
    assert 5 < coder.decode(coder.encode(far), 1)[0, 0] < 100


def test_codes_that_cannot_be_coded_are_refused():
    for bad in (TRAINING[:1], np.full((3, 2), np.nan)):
        with pytest.raises(ValueError, match="two training codes at least are needed"):
            LatentCoder(bad, 1.0)
    for step in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"step={step} must be above 0"):
            LatentCoder(TRAINING, step)
    with pytest.raises(ValueError, match="not finite"):
        LatentCoder(TRAINING, 1.0).encode(np.full((1, 4), np.inf))


def test_images_that_their_codes_determine_come_back_the_closer_the_finer_the_grid():
    codes = (IMAGES / 255).reshape(len(IMAGES), -1)
    rows = measuring.measure_codes(IMAGES, codes, codes, lambda found: found)
    assert [row["step"] for row in rows] == list(measuring.STEPS)
    assert (np.diff([row["psnr"] for row in rows]) > 3).all()
    assert (np.diff([row["bits_per_pixel"] for row in rows]) > 0).all()
    # The error is uniform over a step, whose standard deviation is step / sqrt(12).
    widest = codes.std(axis=0).max()
    finest = -20 * np.log10(widest * measuring.STEPS[-1] / np.sqrt(12))
    assert rows[-1]["psnr"] == pytest.approx(finest, abs=0.6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_of_all_images_is_taken_apart_as_it_was_put_together(channels):
    # Images of nearly one colour each, none like its neighbours: only a mix-up would lose much.
    colours = np.linspace(0, 250, 7).astype(np.uint8)[:, None, None, None]
    images = colours + RNG.integers(0, 5, (7, 16, 8, 1), dtype=np.uint8).repeat(channels, axis=-1)
    found = measuring.measure_formats(images)
    assert set(found) == {"JPEG", "WebP"}
    for rows in found.values():
        assert [row["quality"] for row in rows] == list(measuring.QUALITIES)
        assert rows[-1]["psnr"] > 30
        assert rows[-1]["bits_per_pixel"] > rows[0]["bits_per_pixel"] > 0


ROWS = [
    {"method": "VAE", "size": 10, "seed": seed, "step": step, "bits_per_pixel": 0.1 / step}
    | {"data": "mnist", "psnr": 20 - step + seed}
    for seed in (0, 1)
    for step in (2.0, 0.5)
]
ROWS += [
    {"method": "PCA", "size": 10, "step": 2.0, "bits_per_pixel": 0.05}
    | {"data": "mnist", "psnr": 15.0},
    {"method": "JPEG", "size": None, "quality": 5, "bits_per_pixel": 0.4}
    | {"data": "mnist", "psnr": 21.0},
]


def test_the_report_has_a_line_per_method_and_the_mean_over_seeds(tmp_path):
    path = tmp_path / "lossy_compression.json"
    assert report.section(path) == ""
    path.write_text(json.dumps({"rows": ROWS}))
    text = report.section(path)
    assert "| method | seeds | step 0.5 | step 2 |" in text
    assert "| VAE, 10 latents | 2 | 0.200: 20.00 ± 0.71 | 0.050: 18.50 ± 0.71 |" in text
    assert "| PCA, 10 latents | 1 |  | 0.050: 15.00 |" in text
    assert "| JPEG | 1 | 0.400: 21.00 |" in text
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        report.section(path)


def test_the_plot_has_a_line_per_method(tmp_path):
    curves, baselines = report.curves(ROWS)
    assert list(curves) == ["VAE, 10 latents", "PCA, 10 latents", "JPEG"]
    assert baselines == ["PCA, 10 latents", "JPEG"]
    np.testing.assert_allclose(curves["VAE, 10 latents"], [[0.05, 0.2], [18.5, 20]])
    figure = quality_by_rate(curves, baselines)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == list(curves)
    assert len({line.get_color() for line in axes.lines}) == 3
    assert len({line.get_marker() for line in axes.lines}) == 3
    plots.save(figure, tmp_path / "plot.png")
    with pytest.raises(ValueError, match="0 methods"):
        quality_by_rate({})


def test_methods_that_differ_in_their_latents_have_one_colour():
    curve = np.array([0.1, 0.2]), np.array([10.0, 20.0])
    names = ["VAE, 2 latents", "VAE, 10 latents", "JPEG", "PCA, 2 latents", "PCA, 10 latents"]
    axes = quality_by_rate(dict.fromkeys(names, curve), names[2:]).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    # In the legend they are side by side.
    assert list(drawn) == [names[1], names[0], names[2], names[4], names[3]]
    for method in ("VAE", "PCA"):
        many, few = drawn[f"{method}, 10 latents"], drawn[f"{method}, 2 latents"]
        assert many.get_color() == few.get_color()
        assert many.get_marker() == few.get_marker()
        assert (many.get_linestyle(), few.get_linestyle()) == ("-", "--")
    assert len({line.get_color() for line in axes.lines}) == 3


@pytest.fixture
def make_run(tmp_path):
    images = RNG.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", train_images=images[:40], test_images=images[40:])

    def make(name, **changes):
        fields = {"data.name": str(tmp_path / "data.npz"), "data.train_split": "train"}
        fields |= {"data.validation_split": "", "data.binarization": "none", "batch_size": 20}
        fields |= changes
        small_runs.save(tmp_path / name, small_runs.make_model((8, 8, 1), **fields))
        return tmp_path / name

    return make


def test_a_run_is_measured_beside_pca_and_files_once(make_run):
    known = set()
    first = measuring.measure_run(make_run("vae"), known)
    num_steps, num_qualities = len(measuring.STEPS), len(measuring.QUALITIES)
    methods = [row["method"] for row in first]
    expected = {"VAE": num_steps, "PCA": num_steps, "JPEG": num_qualities, "WebP": num_qualities}
    assert Counter(methods) == expected
    assert all(np.isfinite(row["psnr"]) and row["bits_per_pixel"] > 0 for row in first)
    again = measuring.measure_run(make_run("autoencoder", model="autoencoder"), known)
    assert [row["method"] for row in again] == ["autoencoder"] * num_steps
    assert "VAE, 3 latents 0." in report.line(first)


def test_binarised_images_are_refused(make_run):
    with pytest.raises(UserError, match="was not trained on 8-bit images"):
        measuring.measure_run(make_run("binary", **{"data.binarization": "dynamic"}), set())
