import dataclasses
import json

import numpy as np
import pytest
import small_runs
from absl.testing import flagsaver

from experiments import edit
from vae_jax import trained
from vae_jax.applications.editing import directions, published_plots
from vae_jax.applications.editing import measure as latent_arithmetic_measuring
from vae_jax.applications.editing import report as latent_arithmetic_report
from vae_jax.applications.editing.attribute_vectors import METHODS, conditional_shift
from vae_jax.applications.editing.plot import attribute_curves
from vae_jax.data import image_arrays
from vae_jax.data.captions.morphology import Morphology
from vae_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("parsed_flags")

SIZE = 32
RNG = np.random.default_rng(0)


def draw(codes):
    """Strokes by their width, slant in degrees, height, and how much of a bar crosses them."""
    fine = (np.arange(4 * SIZE) + 0.5) / 4 - SIZE / 2
    down, right = np.meshgrid(fine, fine, indexing="ij")
    images = []
    for width, slant, height, bar in codes:
        shifted = right + down * np.tan(np.radians(slant))
        stroke = (abs(down) < height / 2) & (abs(shifted) < width / 2)
        crossing = (abs(down) < 2) & (abs(shifted) < 7)
        images.append(np.maximum(stroke, np.clip(bar, 0, 1) * crossing))
    cells = np.stack(images).reshape(-1, SIZE, 4, SIZE, 4, 1)
    return cells.mean((2, 4), dtype=np.float64).astype(np.float32)


def draw_codes(num, rng):
    """Thick strokes lean to the right and, more often, have the bar."""
    width = rng.uniform(3, 6, num)
    slant = 8 * (width - 4.5) + rng.uniform(-10, 10, num)
    labels = (width + rng.uniform(-2, 2, num) > 4.5).astype(np.int32)
    return np.stack([width, slant, rng.uniform(16, 22, num), labels], 1).astype("f"), labels


class Artist(trained.TrainedModel):
    """A model that knows what it draws: its latents are the codes of the drawings."""

    has_normal_posterior = False

    def __init__(self, config, drawn):
        self.config, self.drawn = config, drawn
        self.form = self.image_shape = (SIZE, SIZE, 1)

    def latents(self, images):
        return np.stack([self.drawn[image.tobytes()] for image in images])

    def decode(self, latents):
        return draw(latents)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path, arrays = tmp_path_factory.mktemp("data") / "strokes.npz", {}
    for split, num in (("train", 120), ("test", 6)):
        codes, labels = draw_codes(num, RNG)
        arrays |= {f"{split}_images": draw(codes), f"{split}_labels": labels, split: codes}
    codes = {split: arrays.pop(split) for split in ("train", "test")}
    np.savez(path, **arrays)
    drawn = {
        image.tobytes(): code
        for split in codes
        for image, code in zip(arrays[f"{split}_images"], codes[split], strict=True)
    }
    return path, drawn


def changes(path):
    return {
        "data.name": str(path),
        "data.train_split": "train",
        "data.validation_split": "",
        "data.binarization": "none",
        "batch_size": 8,
    }


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    small_runs.save(folder, small_runs.make_model((SIZE, SIZE, 1), **changes(data[0])))
    return folder


def command(main, **given):
    degree = float(given.pop("degree", 1))
    with flagsaver.flagsaver(degree=degree, **{name: str(value) for name, value in given.items()}):
        main()


@pytest.fixture(scope="module")
def measured(data, tmp_path_factory):
    """The rows of the artist, and the folder of its pictures."""
    path, drawn = data
    config = small_runs.make_model((SIZE, SIZE, 1), **changes(path)).config
    pictures = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "load_images", lambda folder: Artist(config, drawn))
        patch.setattr(latent_arithmetic_measuring, "DEGREES", np.linspace(-1, 1, 5))
        rows = latent_arithmetic_measuring.measure_run(pictures, 6, pictures)
    return rows, pictures


def row_of(rows, attribute, method="mean_difference", balanced=True):
    (found,) = (
        row
        for row in rows
        if (row["attribute"], row["method"], row["balanced"]) == (attribute, method, balanced)
    )
    return found


def change(row, name):
    return row["measured"][name][-1] - row["measured"][name][2]


def test_what_a_known_model_draws_changes_by_as_much_as_the_groups_differ(measured):
    rows, _ = measured
    for name in ("thickness", "slant"):
        row = row_of(rows, name)
        assert change(row, name) == pytest.approx(row["groups_apart"], rel=0.25)
        assert row["correlation"] > 0.98
        assert row["rising"] == 1
        assert min(row["class_kept"]) == 1
        assert row["num_unmeasured"] == 0
    assert abs(change(row_of(rows, "thickness"), "slant")) < 1.5
    assert abs(change(row_of(rows, "slant"), "thickness")) < 0.15


def test_what_is_not_balanced_changes_too(measured):
    rows, _ = measured
    assert change(row_of(rows, "thickness", balanced=False), "slant") > 8


def test_images_become_the_class_that_they_are_moved_to(measured):
    rows, _ = measured
    for target in ("0", "1"):
        row = row_of(rows, target)
        assert row["degrees"] == [0, 0.5, 1]
        assert row["class_reached"][0] == 0
        assert row["class_reached"][-1] > 0.8


def test_every_direction_is_measured_and_plots_are_drawn(measured):
    rows, pictures = measured
    assert len(rows) == 2 * (2 * 3 + 2)
    json.dumps(rows, allow_nan=False)
    drawn = {path.name for path in pictures.glob("*.png")}
    assert drawn == {"thickness.png", "slant.png", "size.png", "classes.png"}


def test_curves_are_drawn_from_the_rows_of_all_seeds(measured, tmp_path):
    rows, _ = measured
    # As they come back from a file.
    rows = json.loads(json.dumps([*rows, *({**row, "seed": 1} for row in rows)]))
    published_plots.draw_curves(rows, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "class_reached.png"}


def attribute_row(seed, method="mean_difference", balanced=True):
    return {
        "data": "mnist",
        "num_images": 1000,
        "seed": seed,
        "class_accuracy_of_originals": 0.95,
        "attribute": "slant",
        "method": method,
        "balanced": balanced,
        "degrees": [-2, -1, 0, 1, 2],
        "measured": {
            "thickness": [3.0] * 5,
            "slant": [-20, -10, 0, 10 + 2 * seed, 20],
            "size": [6] * 5,
        },
        "groups_apart": 30.0,
        "correlation": 0.9,
        "rising": 0.5,
        "class_kept": [0.1, 0.5, 0.9, 0.6, 0.2],
    }


def class_row(seed, target, reached):
    keep = ("data", "num_images", "seed", "class_accuracy_of_originals", "method", "balanced")
    row = {name: value for name, value in attribute_row(seed).items() if name in keep}
    shares = {"class_reached": [0, reached, reached, 1], "class_kept": [0.9, 0.5, 0.3, 0.1]}
    return row | {"attribute": target, "degrees": [0, 1, 1.5, 2], **shares}


def test_the_report_shows_the_mean_over_seeds_and_nothing_before_a_measurement(tmp_path):
    path = tmp_path / "latent_arithmetic.json"
    assert latent_arithmetic_report.section(path) == ""
    rows = [attribute_row(seed) for seed in (0, 1)]
    rows += [attribute_row(seed, "linear_classifier", False) for seed in (0, 1)]
    rows += [class_row(0, "0", 0.2), class_row(1, "0", 0.4), class_row(0, "7", 0.6)]
    rows.append(class_row(1, "7", 0.8))
    path.write_text(json.dumps({"rows": rows}))
    text = latent_arithmetic_report.section(path)
    cells = "+0.00 ± 0.00 | **+11.00 ± 1.41** | +0.00 ± 0.00 | 30.00 | 0.900 | 50.0 ± 0.0 %"
    assert f"| slant | mean difference | {cells} | 50.0 ± 0.0 % | 60.0" in text
    assert "95.0% of the test images and for 90.0% of the reconstructions" in text
    assert "| slant | linear classifier, not balanced | +0.00" in text
    assert "| 0 | 30.0 ± 14.1 % | 30.0 ± 14.1 % | 100.0 ± 0.0 % |" in text
    # The mean over classes of one seed is 0.4, of the other 0.6.
    assert "| mean | 50.0 ± 14.1 %" in text
    assert "![" not in text
    path.with_suffix("").mkdir()
    (path.with_suffix("") / "curves.png").write_bytes(b"")
    assert f"]({tmp_path.name}/latent_arithmetic/curves.png)" in latent_arithmetic_report.section(
        path
    )
    for torn in ('{"torn', '{"rows": []}'):
        path.write_text(torn)
        with pytest.raises(UserError, match=r"latent_arithmetic\.json cannot be read"):
            latent_arithmetic_report.section(path)


@pytest.mark.parametrize(
    ("method", "attribute"),
    [
        ("mean_difference", "thickness"),
        ("mean_difference", "1"),
        ("mean_difference", "0-1"),
        ("linear_classifier", "0-1"),
    ],
)
def test_an_edit_moves_the_latents_by_the_degree_along_the_direction(
    run, tmp_path, capsys, method, attribute
):
    model = trained.load(run)
    images, target = draw(draw_codes(5, np.random.default_rng(1))[0]), tmp_path / "b.npz"
    image_arrays.write(tmp_path / "a.npy", images)
    files = {"input": tmp_path / "a.npy", "output": target}
    command(edit.main, workdir=run, attribute=attribute, method=method, degree=-0.7, **files)
    assert "5 images, float32" in capsys.readouterr().out
    known = directions.load_known(model, model.open_splits().train)
    vector = METHODS[method](directions.contrast(known, directions.parse(attribute)))
    expected = model.decode(model.latents(images) - 0.7 * vector.astype("f"))
    np.testing.assert_allclose(image_arrays.read(target), expected, atol=1e-5)


@pytest.mark.parametrize("degree", [0.8, -0.8])
def test_a_conditional_edit_leads_to_the_group_that_the_degree_names(run, tmp_path, degree):
    model = trained.load(run)
    images = draw(draw_codes(5, np.random.default_rng(1))[0])
    image_arrays.write(tmp_path / "a.npy", images)
    files = {"input": tmp_path / "a.npy", "output": tmp_path / "b.npy"}
    chosen = {"workdir": run, "attribute": "0-1", "method": "conditional", "degree": degree}
    command(edit.main, **chosen, **files)
    known = directions.load_known(model, model.open_splits().train)
    contrast = directions.contrast(known, directions.parse("0-1" if degree > 0 else "1-0"))
    latents = model.latents(images)
    moved = latents + 0.8 * conditional_shift(contrast, latents).astype("f")
    written = image_arrays.read(tmp_path / "b.npy")
    np.testing.assert_allclose(written, model.decode(moved), atol=1e-4)


def test_a_measured_attribute_has_no_conditional_edit(run, tmp_path):
    chosen = {"workdir": run, "attribute": "size", "method": "conditional"}
    with pytest.raises(UserError, match=r"--method=conditional is of classes .*=size is measured"):
        command(edit.main, **chosen, output=tmp_path / "b.npy")


def test_directions_are_found_from_draws_of_the_posterior_where_there_is_a_normal_one(run):
    model = trained.load(run)
    train = model.open_splits().train
    known = directions.load_known(model, train)
    posterior = model.posterior(known.images)
    noise = (known.latents - posterior.mean) / np.exp(posterior.log_scale)
    assert noise.std() == pytest.approx(1, abs=0.15)
    assert abs(noise.mean()) < 0.2
    image_shape = (SIZE, SIZE, 1)
    autoencoder = small_runs.make_model(image_shape, model="autoencoder")
    known = directions.load_known(autoencoder, train)
    np.testing.assert_array_equal(known.latents, autoencoder.encode(known.images))


def test_degree_zero_reconstructs_and_keeps_the_kind_and_shape_of_the_images(run, tmp_path):
    model, target = trained.load(run), tmp_path / "b.npy"
    grey = np.round(255 * draw(draw_codes(3, RNG)[0])).astype(np.uint8)
    image_arrays.write(tmp_path / "a.npy", grey[..., 0])
    files = {"input": tmp_path / "a.npy", "output": target}
    command(edit.main, workdir=run, attribute="slant", degree=0, **files)
    expected = np.round(255 * model.reconstruct(grey)[..., 0]).astype(np.uint8)
    written = image_arrays.read(target)
    assert written.dtype == np.uint8
    np.testing.assert_array_equal(written, expected)


def test_without_input_the_test_images_are_edited_and_empty_ones_are_no_error(
    run, tmp_path, capsys
):
    target = tmp_path / "b.npy"
    command(edit.main, workdir=run, attribute="size", output=target)
    assert image_arrays.read(target).shape == (6, SIZE, SIZE, 1)
    image_arrays.write(tmp_path / "a.npy", np.zeros((2, SIZE, SIZE), bool))
    command(edit.main, workdir=run, attribute="size", input=tmp_path / "a.npy", output=target)
    assert "2 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attribute": "glasses"}, "--attribute='glasses' must be one of thickness, slant, size"),
        ({"attribute": ""}, "--attribute='' must be one of"),
        ({"attribute": "4-"}, "--attribute='4-' must be one of"),
        ({"attribute": "-3"}, "--attribute='-3' must be one of"),
        ({"attribute": "9"}, "no image is of class 9; the classes are 0, 1"),
        ({"attribute": "1-1"}, "class 1 must differ"),
        ({"attribute": "shape:square"}, "the run's data have no factors, and --attribute=shape:"),
        ({"attribute": "shape:"}, "--attribute='shape:' must be one of"),
        ({"degree": "nan"}, "--degree=nan must be finite"),
        ({"degree": "inf"}, "--degree=inf must be finite"),
        ({"output": "b.png"}, "b.png must end in .npy or .npz"),
        ({"output": ""}, "--output is missing"),
        ({"input": "missing.npy"}, "missing.npy does not exist"),
    ],
)
def test_flags_that_say_nothing_are_refused(run, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        command(edit.main, workdir=run, **{"attribute": "size", "output": "b.npy", **given})
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_attribute_is_needed(run):
    with pytest.raises(UserError, match="--attribute is missing"):
        command(edit.main, workdir=run, output="b.npy")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, SIZE, SIZE), np.uint8), "with num at least 1"),
        (np.zeros((2, 28, 28), np.uint8), r"shape \[2, 28, 28\]; this model takes \[num, 32, 32"),
        (np.zeros((SIZE, SIZE), np.uint8), r"shape \[32, 32\]"),
        (np.full((2, SIZE, SIZE), np.nan), "2 of 2 images hold NaN or infinite values"),
        (np.full((2, SIZE, SIZE), 7, np.int64), "the images are int64"),
    ],
)
def test_arrays_that_are_no_images_of_the_run_are_refused(run, tmp_path, images, message):
    np.save(tmp_path / "a.npy", images)
    with pytest.raises(UserError, match=message):
        command(
            edit.main,
            workdir=run,
            attribute="size",
            input=tmp_path / "a.npy",
            output=tmp_path / "b.npy",
        )
    assert not (tmp_path / "b.npy").exists()


def test_a_file_without_content_is_refused(run, tmp_path):
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.npy is not a whole \.npy file"):
        command(edit.main, workdir=run, attribute="size", input=tmp_path / "a.npy", output="b.npy")


def test_training_images_without_measurements_or_classes_are_refused():
    nothing = Morphology(*np.full((3, 6), np.nan))
    known = directions.KnownImages(np.zeros((6, 4, 4, 1)), np.zeros((6, 2)), None, nothing)
    with pytest.raises(UserError, match="'size': the attribute varies within no class of the 0"):
        directions.contrast(known, "size")
    with pytest.raises(UserError, match="the run's data have no classes, and --attribute=7 is one"):
        directions.contrast(known, directions.parse("7"))
    one_class = dataclasses.replace(known, labels=np.full(6, 7, np.int32))
    with pytest.raises(UserError, match="must differ from another; the images have 1"):
        directions.contrast(one_class, directions.parse("7"))


def test_a_plot_of_values_that_are_not_finite_is_refused():
    curve = {"mean": np.full((1, 3), np.nan)}
    panels = {"slant (degrees)": {"slant": curve}}
    with pytest.raises(ValueError, match=r"slant \(degrees\), mean"):
        attribute_curves(np.array([-1.0, 0.0, 1.0]), panels, {"slant": 1.0})
