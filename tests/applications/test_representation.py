import json

import numpy as np
import pytest
import small_runs
from sklearn.decomposition import PCA

from configs import vanilla
from configs.sweeps import representation as study
from vae_jax import config as factory
from vae_jax import plots, trained
from vae_jax.applications.representation import measure as representation_measuring
from vae_jax.applications.representation import probing
from vae_jax.applications.representation import report as representation_report
from vae_jax.errors import UserError
from vae_jax.evaluation.model_names import model_name
from vae_jax.settings import to_dict
from vae_jax.sweeps import checks
from vae_jax.sweeps import space as search_space

RNG = np.random.default_rng(0)


def save_run(folder, *, seed=0, labels=True, one_class=False, **changes):
    folder.mkdir(exist_ok=True)
    classes = np.arange(200) % 2
    bright = np.where(classes[:, None, None] == 1, 180, 60)
    images = (bright + RNG.integers(-60, 60, (200, 4, 3))).astype(np.uint8)
    classes_by_split = {
        "train_labels": classes[:150] * (not one_class),
        "test_labels": classes[150:],
    }
    np.savez(
        folder / "own.npz",
        train_images=images[:150],
        test_images=images[150:],
        **(classes_by_split if labels else {}),
    )
    data = {"name": str(folder / "own.npz"), "binarization": "none", "train_split": "train"}
    fields = {f"data.{name}": value for name, value in data.items()}
    fields |= {"data.validation_split": "", "batch_size": 10, "seed": seed, **changes}
    small_runs.save(folder / "run", small_runs.make_model((4, 3, 1), **fields))
    return folder / "run"


def measure(*folders, num_labels=("20", "all")):
    known = set()
    options = {"num_labels": num_labels, "num_draws": 2}
    return [
        row
        for folder in folders
        for row in representation_measuring.measure_run(folder, known, **options)
    ]


def test_codes_pca_and_pixels_are_measured_on_the_same_images_and_labels(tmp_path):
    first = save_run(tmp_path / "a")
    model = trained.load(first)
    # With the same images and the same size PCA and pixels are not measured again.
    data = {f"data.{name}": value for name, value in to_dict(model.data).items()}
    changes = {"objective.beta": 4.0, "batch_size": 10, **data}
    again = small_runs.make_model((4, 3, 1), scale=0.5, **changes)
    small_runs.save(tmp_path / "second", again)
    rows = measure(first, tmp_path / "second")
    assert [row["representation"] for row in rows] == ["VAE", "PCA", "pixels", "beta-VAE, beta 4"]
    assert [row["size"] for row in rows] == [3, 3, 12, 3]
    assert all(row["num_labels"] == [20, 150] for row in rows)

    images = representation_measuring.load_images(model)
    pixels, test = (part.reshape(len(part), -1) for part in (images.train, images.test))
    pca = PCA(3, random_state=0).fit(pixels)
    expected = probing.accuracies(
        pca.transform(pixels),
        images.labels,
        pca.transform(test),
        images.test_labels,
        num_labels=20,
        num_draws=2,
        seed=0,
    )
    assert (rows[1]["linear"][0], rows[1]["neighbours"][0]) == expected
    assert rows[1]["linear"][1] > 0.9


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({"labels": False}, {}, "has no labels, which a probe needs"),
        ({"one_class": True}, {}, "all labels are 0; a probe needs at least two classes"),
        ({}, {"num_labels": ["20", "151"]}, "--num_labels=20,151 must be numbers from 1 to 150"),
        ({}, {"num_labels": ["many"]}, "--num_labels=many must be numbers"),
        ({}, {"num_labels": []}, "--num_labels= must be numbers"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, changes, given, message):
    with pytest.raises(UserError, match=message):
        measure(save_run(tmp_path / "a", **changes), **given)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "VAE"),
        ({"objective.beta": 4.0}, "beta-VAE, beta 4"),
        ({"model": "autoencoder"}, "autoencoder"),
        ({"corruption": "gaussian"}, "denoising VAE"),
        ({"corruption": "masking", "model": "autoencoder"}, "denoising autoencoder"),
    ],
)
def test_models_have_names_of_their_own(changes, expected):
    model = small_runs.make_model((4, 3, 1), **changes)
    assert model_name(model) == expected


def row(name, size, seed, linear, neighbours):
    seen = {"data": "mnist", "images": "grey values", "num_labels": [100, 55000]}
    found = {"linear": linear, "neighbours": neighbours}
    return {"representation": name, "size": size, "seed": seed, **seen, **found}


ROWS = [
    row("VAE", 10, 0, [0.80, 0.95], [0.70, 0.96]),
    row("VAE", 10, 1, [0.82, 0.95], [0.70, 0.96]),
    row("PCA", 10, 0, [0.6, 0.8], [0.5, 0.9]),
    row("pixels", 784, 0, [0.7, 0.92], [0.6, 0.97]),
    row("VAE", 2, 0, [0.5, 0.6], [0.4, 0.7]),
]


def test_the_report_shows_means_over_seeds_and_nothing_before_a_measurement(tmp_path):
    path = tmp_path / "uses" / "representation.json"
    assert representation_report.section(path) == ""
    path.parent.mkdir()
    path.write_text(json.dumps({"num_draws": 10, "rows": ROWS}))
    text = representation_report.section(path)
    assert "| VAE | 10 | 2 | 81.0 ± 1.4 | 95.0 ± 0.0 | 70.0 ± 0.0 | 96.0 ± 0.0 |" in text
    assert "| pixels | 784 | 1 | 70.0 | 92.0 | 60.0 | 97.0 |" in text
    assert text.index("| VAE | 2 |") < text.index("| VAE | 10 |") < text.index("| pixels |")
    assert "linear probe, 55,000 |" in text
    assert "![" not in text
    path.with_suffix("").mkdir()
    (path.with_suffix("") / "accuracy_by_labels.png").touch()
    assert "(uses/representation/accuracy_by_labels.png)" in representation_report.section(path)
    path.write_text('{"torn')
    with pytest.raises(UserError, match=r"representation\.json cannot be read"):
        representation_report.section(path)


def test_the_plot_has_panels_for_each_size_with_the_pixels_in_all():
    panels = representation_report.panels(ROWS)
    assert list(panels) == [
        "linear probe, 10 latents",
        "5 neighbours, 10 latents",
        "linear probe, 2 latents",
        "5 neighbours, 2 latents",
    ]
    assert list(panels["5 neighbours, 2 latents"]) == ["VAE", "pixels"]
    figure = plots.accuracy_by_labels(panels, representation_report.BASELINES)
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    line = figure.axes[0].containers[0].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[100, 81], [55000, 95]])


def test_the_plot_keeps_its_ticks_apart_and_its_baselines_last():
    numbers, accuracies = [100, 600, 1000, 55000], np.full((2, 4), 0.9)
    lines = dict.fromkeys(["PCA", "VAE", "pixels", "autoencoder"], (numbers, accuracies))
    titles = [f"panel {index}" for index in range(4)]
    figure = plots.accuracy_by_labels(dict.fromkeys(titles, lines), ["PCA", "pixels"])
    # Slanted labels touch if their ends are nearer than their height.
    labels = figure.axes[0].get_xticklabels()
    ends = np.array([label.get_window_extent().x1 for label in labels])
    height = labels[0].get_fontsize() / 72 * figure.dpi
    assert np.diff(ends).min() * np.sin(np.pi / 4) > height
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["VAE", "autoencoder", "PCA", "pixels"]


def test_the_sweep_of_the_study_has_runs_that_work():
    sweep = study.get_sweep()
    base = factory.with_values(vanilla.get_config(), {"data.binarization": "none"})
    checks.check(sweep, base)
    members = [factory.with_values(base, setting) for setting in search_space.settings(sweep)]
    models = [small_runs.make_model((28, 28, 1), base=member) for member in members]
    assert {model_name(model) for model in models} == {
        "autoencoder",
        "VAE",
        "beta-VAE, beta 4",
        "denoising VAE",
    }
