import json

import jax
import numpy as np
import pytest
import small_runs
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vae_jax import plots
from vae_jax.applications.recovery import baselines
from vae_jax.applications.recovery import measure as recovery_measuring
from vae_jax.applications.recovery import report as recovery_report
from vae_jax.applications.recovery.corrupted import Corrupted, corrupt
from vae_jax.data.corruptions import CORRUPTIONS
from vae_jax.errors import UserError
from vae_jax.evaluation import image_quality
from vae_jax.trained import TrainedModel

RNG = np.random.default_rng(0)
# The trained levels; measured are also half, one and a half times and twice a level.
LEVELS = {"blur": 1.0, "downsampling": 2.0}


def smooth_images(num, height=16, width=20, channels=1):
    """Bright discs on black, antialiased."""
    rows, columns = np.mgrid[:height, :width]
    centre = RNG.uniform(5, 11, (num, 2, 1, 1))
    distance = np.hypot(rows - centre[:, 0], columns - centre[:, 1])
    discs = np.clip(RNG.uniform(3.5, 6, (num, 1, 1)) - distance, 0, 1)
    return (discs[..., None] * np.ones(channels)).astype(np.float32)


def corrupted_images(name, level, clean, seed=0):
    return corrupt(CORRUPTIONS[name](), clean, level, jax.random.key(seed))


def test_scores_are_those_of_scikit_image():
    clean = RNG.random((6, 12, 14, 3)).astype(np.float32)
    images = np.clip(clean + RNG.normal(0, 0.2, clean.shape), 0, 1).astype(np.float32)
    found = image_quality.score(images, clean)
    assert found.psnr == pytest.approx(
        peak_signal_noise_ratio(clean, images, data_range=1), abs=1e-4
    )
    ssim = [
        structural_similarity(
            a, b, data_range=1, channel_axis=2, gaussian_weights=True, use_sample_covariance=False
        )
        for a, b in zip(images, clean, strict=True)
    ]
    assert found.ssim == pytest.approx(np.mean(ssim), abs=1e-6)
    assert found.ssim_error == pytest.approx(np.std(ssim) / np.sqrt(6), abs=1e-6)
    assert image_quality.ssim(clean, clean) == pytest.approx(1)


def test_the_standard_error_of_psnr_is_its_deviation_over_sets_of_images():
    scale = RNG.gamma(16.0, 0.0125, (200, 50, 1, 1, 1))
    squared = np.square(RNG.normal(0, scale, (200, 50, 12, 12, 1))).mean(axis=(2, 3, 4))
    spread = np.std(-10 * np.log10(squared.mean(axis=1)))
    clean = np.full((50, 12, 12, 1), 0.5, np.float32)
    images = (clean + np.sqrt(squared[0])[:, None, None, None]).astype(np.float32)
    assert image_quality.score(images, clean).psnr_error == pytest.approx(spread, rel=0.5)


def test_images_are_clipped_before_they_are_scored():
    clean = np.zeros((2, 12, 12, 1), np.float32)
    assert image_quality.score(clean + 5, clean).psnr == pytest.approx(0)
    assert image_quality.score(clean, clean) == (np.inf, 0, pytest.approx(1), pytest.approx(0))


@pytest.mark.parametrize("name", baselines.METHODS)
def test_every_method_sees_256_grey_values_and_the_mask_where_it_is_known(name):
    clean = np.clip(smooth_images(4, channels=3), 0.1, 0.9)
    corrupted = corrupted_images(name, LEVELS.get(name, 0.5), clean)
    np.testing.assert_allclose(corrupted.images * 255, np.round(corrupted.images * 255), atol=1e-3)
    if name not in ("box", "masking"):
        assert corrupted.missing is None
        assert corrupted.known_kept(clean) is clean
        return
    lost = corrupted.images == {"box": np.float32(128 / 255), "masking": 0}[name]
    np.testing.assert_array_equal(corrupted.missing, lost)
    kept = corrupted.known_kept(np.full_like(clean, 0.25))
    assert (kept[lost] == 0.25).all()
    np.testing.assert_allclose(kept[~lost], clean[~lost], atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("name", baselines.METHODS)
def test_methods_without_a_model_come_closer_than_the_corrupted_images(name):
    clean = smooth_images(12)
    corrupted = corrupted_images(name, LEVELS.get(name, 0.25), clean)
    known = smooth_images(4)
    chosen_on = corrupted_images(name, LEVELS.get(name, 0.25), known, seed=1)
    before = image_quality.score(corrupted.images, clean)
    for method_name, method in baselines.METHODS[name].items():
        value = baselines.choose(method, chosen_on, known)
        restored = method.restore(corrupted, value)
        assert restored.shape == clean.shape
        assert image_quality.score(restored, clean).psnr > before.psnr, method_name
        if corrupted.missing is not None:
            kept = ~corrupted.missing
            np.testing.assert_allclose(restored[kept], corrupted.images[kept], atol=1e-6)


def test_the_parameter_is_the_one_with_the_least_error():
    clean = smooth_images(5)
    corrupted = Corrupted(clean / 2, 1.0, None)
    scaled = baselines.Method(lambda seen, scale: seen.images * scale, "scale", (1.0, 2.0, 4.0))
    assert baselines.choose(scaled, corrupted, clean) == 2
    white = np.ones_like(clean)
    assert baselines.choose(scaled, Corrupted(white / 4, 1.0, None), white) == 4


@pytest.mark.parametrize("name", ["bicubic", "Lanczos"])
def test_enlarging_leaves_even_images_even(name):
    clean = np.full((2, 8, 12, 3), 0.6, np.float32)
    corrupted = corrupted_images("downsampling", 4.0, clean)
    restored = baselines.METHODS["downsampling"][name].restore(corrupted, 0.0)
    np.testing.assert_allclose(restored, clean, atol=1e-6)


def test_bicubic_interpolation_puts_a_slope_where_it_was():
    # A cubic interpolates a line exactly, away from the edge, if it is at the right positions.
    clean = np.broadcast_to(np.arange(32, dtype=np.float32) / 32, (32, 32))
    squares = clean.reshape(16, 2, 16, 2).mean(axis=(1, 3)).repeat(2, axis=0).repeat(2, axis=1)
    small = Corrupted(squares[None, :, :, None], 2.0, None)
    restored = baselines.bicubic(small, 0.0)
    np.testing.assert_allclose(restored[0, :, 6:-6, 0], clean[:, 6:-6], atol=1e-5)


class Idle(TrainedModel):
    """A model that gives back what it sees."""

    def __init__(self, model):
        super().__init__(model.config, model.image_shape, model.params)

    def reconstruct(self, images):
        return images


def write_data(path):
    for_split = {"train": 40, "test": 20}
    images = {f"{k}_images": np.uint8(255 * smooth_images(n)) for k, n in for_split.items()}
    np.savez(path, **images)


def make_model(path, corruption="gaussian", seed=0, **changes):
    if corruption in baselines.METHODS:
        corruption = {"name": corruption, "level": LEVELS.get(corruption, 0.25)}
    return small_runs.make_model(
        (16, 20, 1),
        seed=seed,
        **{
            "data.name": str(path),
            "data.train_split": "train[:20]",
            "data.validation_split": "train[20:]",
            "data.binarization": "none",
            "batch_size": 10,
            "corruption": corruption,
            **changes,
        },
    )


def test_every_corruption_has_methods_without_a_model():
    assert {"none", *baselines.METHODS} == set(CORRUPTIONS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "discs.npz"
    write_data(path)
    return path


@pytest.mark.parametrize("corruption", ["box", "downsampling", "gaussian"])
def test_a_model_that_does_nothing_scores_as_the_corrupted_images(data, corruption):
    rows = recovery_measuring.measure_models([Idle(make_model(data, corruption))], 6, 4, None)
    expected = {"box": [0.125, 0.25, 0.375, 0.5], "downsampling": [2, 4]}
    assert [row["level"] for row in rows] == expected.get(corruption, [0.125, 0.25, 0.375, 0.5])
    for row in rows:
        assert row["methods"]["model"] == row["methods"]["corrupted"]
        assert set(row["methods"]) == {"model", "corrupted", *baselines.METHODS[corruption]}
        assert row["num_images"] == 6


def test_runs_that_differ_in_more_than_their_seed_are_kept_apart(data):
    models = [
        make_model(data, corruption, seed)
        for corruption, seed in (("gaussian", 0), ("box", 0), ("gaussian", 1))
    ]
    groups = recovery_measuring.alike(models)
    assert [[(m.corruption.name, m.seed) for m in group] for group in groups] == [
        [("gaussian", 0), ("gaussian", 1)],
        [("box", 0)],
    ]
    models[2] = make_model(data, seed=1, epochs=7)
    with pytest.raises(UserError, match=r"differ in more than their seed.*_vae_gaussian_0\.25"):
        recovery_measuring.alike(models)


def test_runs_that_cannot_be_measured_are_refused(data):
    model = make_model(data, **{"data.validation_split": ""})
    with pytest.raises(UserError, match=r"data\.validation_split=''"):
        recovery_measuring.measure_models([model], 6, 4, None)
    model = make_model(data, "none")
    with pytest.raises(UserError, match="corruption='none' leaves nothing to recover"):
        recovery_measuring.measure_models([model], 6, 4, None)
    with pytest.raises(UserError, match="corruption='none' leaves nothing to recover"):
        recovery_measuring.alike([make_model(data), model])
    model = make_model(data, "own_parts:Fog")
    with pytest.raises(UserError, match="corruption='own_parts:Fog' has no methods to compare"):
        recovery_measuring.alike([model])
    small = small_runs.make_model((8, 12, 1), corruption={"name": "masking", "level": 0.5})
    with pytest.raises(UserError, match="images of 8x12 pixels are smaller than the 11 pixels of"):
        recovery_measuring.alike([small])


def test_rows_of_another_experiment_with_the_same_use_are_not_averaged(data, tmp_path):
    model = make_model(data)
    small_runs.save(tmp_path / "run", model)
    kept = {"use": recovery_measuring.use_name(model), "experiment": "another"}
    with pytest.raises(UserError, match=r"of another experiment with the use discs_vae_gaussian"):
        next(recovery_measuring.measure([tmp_path / "run"], kept=[kept]))
    others = [{**kept, "use": "other"}, {**kept, "experiment": model.digest_but_seed}]
    found = next(recovery_measuring.measure([tmp_path / "run"], kept=others, num_test_examples=2))
    assert found["rows"][0]["experiment"] == model.digest_but_seed


def test_runs_of_two_seeds_are_measured_drawn_and_reported(data, tmp_path, capsys, monkeypatch):
    strips = []
    draw = plots.recovery
    monkeypatch.setattr(plots, "recovery", lambda *given: strips.extend(given[0]) or draw(*given))
    models = [make_model(data, seed=seed) for seed in (0, 1)]
    folder = tmp_path / "uses" / "recovery"
    rows = recovery_measuring.measure_models(models, 5, 3, folder)
    assert "gaussian 0.25 (trained), seed 1: model" in capsys.readouterr().out
    assert [(row["seed"], row["level"]) for row in rows[:3]] == [(0, 0.125), (1, 0.125), (0, 0.25)]
    first, second = (row["methods"] for row in rows[:2])
    assert first["model"] != second["model"]
    assert first["median filter"] == second["median filter"]
    # The same methods as in the table.
    assert strips == ["clean", "corrupted", "model", "median filter", "total variation"]
    recovery_measuring.draw(rows, folder)
    folder.with_suffix(".json").write_text(json.dumps({"rows": rows}))
    text = recovery_report.section(folder.with_suffix(".json"))
    assert "### gaussian, 0.25" in text
    assert "Model: vae, 2 seeds" in text
    names = {"discs_vae_gaussian_0.25_images.png", "discs_vae_gaussian_0.25_psnr.png"}
    assert {path.name for path in folder.iterdir()} == names
    assert all(f"](uses/recovery/{name})" in text for name in names)


def test_the_report_shows_how_far_the_model_is_ahead_and_nothing_before_a_measurement(tmp_path):
    path = tmp_path / "recovery.json"
    assert recovery_report.section(path) == ""

    def score(psnr, **more):
        return {"psnr": psnr, "psnr_error": 0.1, "ssim": 0.5, "ssim_error": 0.01, **more}

    others = {
        "corrupted": score(9.0),
        "median filter": score(14.0, parameter="size 3"),
        "total variation": score(16.0, parameter="weight 0.4"),
    }
    rows = [
        {
            "use": "mnist_vae_gaussian_0.5",
            "model": "vae",
            "corruption": "gaussian",
            "data": "mnist",
            "trained_level": 0.5,
            "level": 0.5,
            "seed": seed,
            "num_images": 1000,
            "num_chosen": 100,
            "methods": {"model": score(psnr), **others},
        }
        for seed, psnr in enumerate((18.0, 18.4))
    ]
    path.write_text(json.dumps({"rows": rows}))
    expected = (
        "| **0.5** | 9.00 ± 0.10, 0.500 | 18.20 ± 0.28, 0.500 | 14.00 ± 0.10, 0.500<br>size 3 | "
        "16.00 ± 0.10, 0.500<br>weight 0.4 | +2.20 |"
    )
    assert expected in recovery_report.section(path)
    path.write_text('{"torn')
    with pytest.raises(UserError, match=r"recovery\.json cannot be read"):
        recovery_report.section(path)
