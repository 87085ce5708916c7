import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from PIL import Image

from vae_jax import plots


def some_images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def shown(figure):
    """Return the array of the figure's only image."""
    return np.asarray(figure.axes[0].images[0].get_array())


def texts(ticks):
    return [tick.get_text() for tick in ticks]


def records(num_epochs, with_elbo=True):
    found = []
    for epoch in range(1, num_epochs + 1):
        for split, gap in (("train", 0.0), ("valid", 2.0)):
            distortion = 80 + gap + 1000 * float(np.exp(-epoch))
            record = {"step": 10 * epoch, "epoch": epoch, "split": split, "distortion": distortion}
            if with_elbo:
                record |= {"rate": 25.0, "elbo": -distortion - 25.0}
            found.append(record)
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_each_image_in_reading_order_and_leaves_the_rest_white(channels):
    images = some_images(13, 14, 10, channels)
    mosaic = shown(plots.image_grid(images, columns=5))
    assert mosaic.shape == (3 * 14 + 2, 5 * 10 + 4, 3)
    for i, image in enumerate(images):
        top, left = i // 5 * 15, i % 5 * 11
        cell = mosaic[top : top + 14, left : left + 10]
        np.testing.assert_array_equal(cell, np.broadcast_to(image, (14, 10, 3)))
    assert (mosaic[30:, 33:] == 1).all()


def test_bytes_are_scaled_and_floats_out_of_range_are_clipped():
    bytes_ = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1) * 20
    np.testing.assert_allclose(shown(plots.image_grid(bytes_))[..., 0], bytes_[0, ..., 0] / 255)
    wide = np.array([-1, 0.5, 2], np.float64).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(shown(plots.image_grid(wide))[0, :, 0], [0, 0.5, 1])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 4, 4, 2), np.float32), "2 channels"),
        (np.zeros((2, 4, 4, 4), np.uint8), "4 channels"),
        (np.zeros((2, 4, 4, 1), np.int32), "int32"),
        (np.zeros((0, 4, 4, 1), np.float32), "no pixels"),
        (np.full((2, 4, 4, 1), np.nan, np.float32), "32 pixels are not finite"),
    ],
)
def test_arrays_that_are_not_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(images)


def test_each_pixel_becomes_a_whole_square_of_the_file(tmp_path):
    images = np.round(some_images(4, 9, 7, 1) * 255).astype(np.uint8)
    plots.save(plots.manifold(images.reshape(2, 2, 9, 7, 1)), tmp_path / "manifold.png")
    with Image.open(tmp_path / "manifold.png") as file:
        picture = np.asarray(file.convert("L"))
    # 112 pixels is the widest an image of 7 may be drawn: 16 for each of its own.
    mosaic = np.block(
        [[images[0, ..., 0], images[1, ..., 0]], [images[2, ..., 0], images[3, ..., 0]]]
    )
    expected = mosaic.repeat(16, axis=0).repeat(16, axis=1)
    height, width = expected.shape
    np.testing.assert_array_equal(picture[6 : 6 + height, 84 : 84 + width], expected)


@pytest.mark.parametrize("num_pairs", [1, 10, 13])
def test_originals_stand_above_their_reconstructions(num_pairs):
    originals, copies = some_images(num_pairs, 8, 8, 1), some_images(num_pairs, 8, 8, 1, seed=1)
    figure = plots.reconstructions(originals, copies)
    rows = 2 * (1 + (num_pairs > 10))
    assert texts(figure.axes[0].get_yticklabels()) == ["original", "reconstruction"] * (rows // 2)
    mosaic = shown(figure)[..., 0]
    np.testing.assert_array_equal(mosaic[:8, :8], originals[0, ..., 0])
    np.testing.assert_array_equal(mosaic[9:17, :8], copies[0, ..., 0])
    if num_pairs == 13:
        # Seven pairs, then six; the second block is three more gaps below.
        np.testing.assert_array_equal(mosaic[21:29, :8], originals[7, ..., 0])
        assert (mosaic[21:, 63:] == 1).all()


def test_recovery_shows_a_named_strip_for_each_method():
    strips = {name: some_images(3, 8, 8, 3, seed=seed) for seed, name in enumerate("abcd")}
    figure = plots.recovery(strips, "blur, level 2")
    assert texts(figure.axes[0].get_yticklabels()) == ["a", "b", "c", "d"]
    assert figure.axes[0].get_title() == "blur, level 2"
    for row, strip in enumerate(strips.values()):
        np.testing.assert_array_equal(shown(figure)[9 * row : 9 * row + 8, 9:17], strip[1])


def test_interpolations_are_labelled_with_their_degrees():
    degrees = np.linspace(0, 1, 5, dtype=np.float32)
    figure = plots.interpolations(some_images(2, 5, 28, 28, 1), degrees, "slerp")
    assert texts(figure.axes[0].get_xticklabels()) == ["0", "0.25", "0.5", "0.75", "1"]
    assert figure.axes[0].get_xlabel() == "degree of slerp"


def test_degrees_are_labelled_with_all_their_decimals():
    degrees = np.linspace(0, 1, 9, dtype=np.float32)
    axes = plots.interpolations(some_images(1, 9, 28, 28, 1), degrees).axes[0]
    assert texts(axes.get_xticklabels())[:4] == ["0", "0.125", "0.25", "0.375"]


@pytest.mark.parametrize("width", [4, 30, 300])
def test_the_labels_of_table_rows_do_not_overlap(width):
    rows = some_images(13, 1, width, 1)
    pairs = plots.reconstructions(rows, rows)
    path = plots.traversals(
        some_images(10, 9, 1, width, 1), np.arange(10), np.linspace(-3, 3, 9), np.ones(10)
    )
    for figure in (pairs, path):
        boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
        assert len(boxes) > 3
        assert all(a.y0 >= b.y1 for a, b in pairwise(boxes))


def test_labels_too_wide_for_their_columns_are_thinned_out():
    figure = plots.interpolations(some_images(1, 40, 8, 8, 1), np.linspace(0, 1, 40))
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert 2 < len(boxes) < 40
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_traversals_are_labelled_with_dimension_and_nats():
    kl = np.array([0.5, 0.04, 3.14])
    figure = plots.traversals(
        some_images(2, 3, 8, 8, 1), np.array([2, 0]), np.array([-1.5, 0.0, 1.5]), kl
    )
    axes = figure.axes[0]
    assert texts(axes.get_yticklabels()) == ["z2  3.1 nats", "z0  0.5 nats"]
    assert texts(axes.get_xticklabels()) == ["\N{MINUS SIGN}1.5", "0", "1.5"]
    with pytest.raises(ValueError, match="3 latents"):
        plots.traversals(some_images(1, 3, 8, 8, 1), np.array([3]), np.zeros(3), kl)


@pytest.mark.parametrize("labelled", ["reconstructions", "traversals"])
def test_row_labels_lie_inside_the_figure(labelled):
    if labelled == "reconstructions":
        figure = plots.reconstructions(some_images(2, 8, 8, 1), some_images(2, 8, 8, 1))
    else:
        kl = np.full(1000, 123.4)
        figure = plots.traversals(some_images(1, 2, 8, 8, 1), np.array([999]), np.zeros(2), kl)
    for label in figure.axes[0].get_yticklabels():
        assert label.get_window_extent().x0 >= 0


@pytest.mark.parametrize("channels", [1, 3])
def test_the_manifold_is_the_images_and_nothing_between_them(channels):
    images = some_images(3, 3, 6, 4, channels)
    mosaic = shown(plots.manifold(images))
    expected = images.transpose(0, 2, 1, 3, 4).reshape(18, 12, channels)
    np.testing.assert_array_equal(mosaic, np.broadcast_to(expected, (18, 12, 3)))


def test_the_axes_of_the_manifold_agree_with_the_quantile_grid():
    from vae_jax.models.latent_paths import normal_quantile_grid

    axes = plots.manifold(some_images(21, 21, 4, 4, 1)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_1$", "$z_2$")
    marks = [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts(axes.get_xticklabels())]
    assert texts(axes.get_yticklabels()) == texts(axes.get_xticklabels())
    grid = np.asarray(normal_quantile_grid(21))
    # The middle of column c is at 4 c + 2, that of row r at the same distance from the top.
    inner = slice(1, -1)
    z1 = np.interp(axes.get_xticks(), 4 * np.arange(21) + 2, grid[0, :, 0])
    z2 = np.interp(axes.get_yticks(), 4 * np.arange(21) + 2, grid[::-1, 0, 1])
    np.testing.assert_allclose(z1[inner], marks[inner], atol=0.01)
    np.testing.assert_allclose(z2[inner], marks[inner], atol=0.01)


def colours_by_class(axes, points, labels):
    drawn = axes.collections[0]
    colour_at = {
        tuple(xy): tuple(rgba[:3])
        for xy, rgba in zip(drawn.get_offsets().tolist(), drawn.get_facecolors(), strict=True)
    }
    colours = {}
    for xy, label in zip(points.tolist(), labels, strict=True):
        colours.setdefault(int(label), set()).add(colour_at[tuple(xy)])
    return colours


def test_a_latent_map_gives_each_class_one_colour_that_it_keeps():
    points = np.random.default_rng(0).normal(size=(200, 2))
    labels = np.arange(200, dtype=np.int32) % 10
    figure = plots.latent_map(points, labels, ("first", "second"), "codes")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("first", "second", "codes")
    colours = colours_by_class(axes, points, labels)
    assert all(len(own) == 1 for own in colours.values())
    assert len(set.union(*colours.values())) == 10
    assert texts(figure.legends[0].get_texts()) == [str(i) for i in range(10)]
    assert axes.collections[0].get_rasterized()

    odd = labels % 2 == 1
    fewer = plots.latent_map(points[odd], labels[odd]).axes[0]
    for label, own in colours_by_class(fewer, points[odd], labels[odd]).items():
        assert own == colours[label]


@pytest.mark.parametrize("labels", [np.array([-5, 70, 70]), np.array([1.0, 2.0, 1.0])])
def test_any_whole_numbers_serve_as_classes(labels):
    points = np.eye(3)[:, :2]
    figure = plots.latent_map(points, labels)
    assert texts(figure.legends[0].get_texts()) == [f"{value:g}" for value in np.unique(labels)]


def test_a_latent_map_has_no_legend_without_labels_and_a_colour_bar_for_amounts():
    points = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    plain = plots.latent_map(points, None)
    assert not plain.legends
    assert len(plain.axes) == 1
    for amounts in (points[:, 0], np.arange(30)):
        figure = plots.latent_map(points, amounts)
        assert not figure.legends
        assert len(figure.axes) == 2
        assert figure.axes[1].get_ylim() == pytest.approx((amounts.min(), amounts.max()))


def test_codes_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 values of points"):
        plots.latent_map(np.array([[0.0, np.inf]]), None)


def test_maps_side_by_side_have_their_own_ranges_and_show_the_prior():
    rng = np.random.default_rng(0)
    labels = np.arange(50) % 10
    figure = plots.latent_maps_side_by_side(
        [
            ("KL alone", rng.normal(size=(50, 2)) * 0.01, labels),
            ("reconstruction alone", rng.normal(size=(50, 2)) * 40, labels),
            ("both", rng.normal(size=(20, 2)), None),
        ]
    )
    assert [axes.get_title() for axes in figure.axes] == [
        "KL alone",
        "reconstruction alone",
        "both",
    ]
    for axes in figure.axes:
        assert axes.get_aspect() == 1
        assert axes.patches[0].radius == 2
        # The whole circle is in view.
        assert axes.get_xlim()[0] < -2 < 2 < axes.get_xlim()[1]
    widths = [np.ptp(axes.get_xlim()) for axes in figure.axes]
    assert widths[1] > 5 * widths[0]
    assert len(figure.legends) == 1
    with pytest.raises(ValueError, match="no panels"):
        plots.latent_maps_side_by_side([])


def test_training_curves_have_a_panel_for_each_metric():
    figure = plots.training_curves(records(30))
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "ELBO (nats)",
        "rate (nats)",
        "distortion (nats)",
    ]
    for axes in figure.axes:
        assert axes.get_xlabel() == "epoch"
        assert [line.get_label() for line in axes.lines] == ["train", "valid"]
    figure = plots.training_curves(records(30, with_elbo=False))
    assert [axes.get_ylabel() for axes in figure.axes] == ["distortion (nats)"]
    with pytest.raises(ValueError, match="no record"):
        plots.training_curves([])


def test_the_rate_of_each_layer_is_a_line_of_validation_data_if_there_are_any():
    rates = {"rate_layer_2": 3.0, "rate_layer_10": 0.0, "rate_layer_1": 20.0}
    rows = [row | {k: v * row["epoch"] for k, v in rates.items()} for row in records(3)]
    for row in rows:
        row["rate_layer_1"] += 100 * (row["split"] == "train")
    assert plots.layer_metrics(rows) == ["rate_layer_1", "rate_layer_2", "rate_layer_10"]
    assert plots.layer_metrics(records(3)) == []
    figure = plots.rates_by_layer(rows)
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["1", "2", "10"]
    np.testing.assert_allclose(lines[0].get_ydata(), [20, 40, 60])
    # A layer without any rate stays on the axes.
    assert (lines[2].get_ydata() > 0).all()
    training = [row for row in rows if row["split"] == "train"]
    np.testing.assert_allclose(
        plots.rates_by_layer(training).axes[0].lines[0].get_ydata(), [120, 140, 160]
    )
    with pytest.raises(ValueError, match="no record holds rate_layer_1"):
        plots.rates_by_layer(records(3))


def test_training_curves_draw_the_values_in_the_order_of_the_epochs():
    shuffled = records(12)[::-1]
    resumed = [*shuffled, {"epoch": 12, "split": "valid", "distortion": 50.0}]
    resumed += [{"epoch": 13, "split": "test", "distortion": 1.0}]
    resumed += [{"epoch": 14, "split": "valid", "distortion": float("nan")}]
    axes = plots.training_curves(resumed).axes[-1]
    epochs, values = axes.lines[1].get_data()
    np.testing.assert_array_equal(epochs, np.arange(1, 13))
    np.testing.assert_allclose(values[:-1], 82 + 1000 * np.exp(-np.arange(1, 12)))
    assert values[-1] == 50


def test_the_first_epochs_of_a_long_run_do_not_set_the_range_and_its_last_do():
    rows = records(50)
    rows[-1]["distortion"] = 300.0
    low, high = plots.training_curves(rows).axes[2].get_ylim()
    assert low < 80
    assert 300 < high < 330
    low, high = plots.training_curves(records(50)).axes[2].get_ylim()
    assert 82 < high < 100
    low, high = plots.training_curves(records(3)).axes[2].get_ylim()
    assert high > 82 + 1000 * np.exp(-1)


def noisy(num_epochs):
    """Return records whose rate wavers between 29.6 and 30.7 while the distortion falls."""
    found = records(num_epochs)
    for record in found:
        record["rate"] = 29.6 + 1.1 * (record["epoch"] % 2)
        record["distortion"] += 100 / record["epoch"]
        record["elbo"] = -record["rate"] - record["distortion"]
    return found


@pytest.mark.parametrize("num_epochs", [2, 9, 50])
def test_a_small_change_looks_small_and_no_curve_leaves_its_axes(num_epochs):
    figure = plots.training_curves(noisy(num_epochs))
    spans = [np.ptp(axes.get_ylim()) for axes in figure.axes]
    np.testing.assert_allclose(spans, spans[0])
    assert spans[1] > 8 * 1.1
    assert figure.axes[1].get_ylim()[0] > -0.1 * spans[1]
    for axes in figure.axes:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        for line in axes.lines:
            epochs, values = line.get_data()
            inside = (epochs >= left) & (epochs <= right)
            # The axes begin at an epoch, not between two.
            assert left in epochs or left < epochs.min()
            assert inside.mean() > 0.85
            assert (values[inside] > low).all()
            assert (values[inside] < high).all()
        assert axes.get_title(loc="left") == ("from epoch 6 on" if num_epochs == 50 else "")


def test_a_converged_run_is_a_level_line():
    settled = [
        record | {"distortion": 70 + wavering, "rate": 25.0, "elbo": -95 - wavering}
        for record in records(9)
        for wavering in [0.01 * (record["epoch"] % 2)]
    ]
    spans = [np.ptp(axes.get_ylim()) for axes in plots.training_curves(settled).axes]
    assert spans[0] > 1
    np.testing.assert_allclose(spans, spans[0])


def test_a_short_run_beside_a_long_one_is_whole():
    figure = plots.compared_curves({"long": records(300), "short": records(6)}, "elbo")
    axes = figure.axes[0]
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for line in axes.lines:
        epochs, values = line.get_data()
        assert left < epochs.min() < epochs.max() < right
        assert low < values.min() < values.max() < high


def test_one_epoch_is_a_visible_dot_at_a_whole_number():
    axes = plots.training_curves(records(1)).axes[0]
    assert axes.lines[1].get_marker() == "o"
    assert list(axes.get_xticks()) == pytest.approx(np.round(axes.get_xticks()))


@pytest.mark.parametrize("num_runs", [1, 3, 16])
def test_runs_are_compared_on_validation_data_under_their_names(num_runs):
    runs = {f"run {i}": records(5 + i) for i in range(num_runs)}
    figure = plots.compared_curves(runs, "elbo")
    lines = figure.axes[0].lines
    assert texts(figure.legends[0].get_texts()) == list(runs)
    assert len({tuple(np.atleast_1d(line.get_color())) for line in lines}) == num_runs
    np.testing.assert_allclose(lines[-1].get_ydata()[0], -107 - 1000 * np.exp(-1))
    assert figure.axes[0].get_ylabel() == "validation ELBO (nats)"


def test_a_run_without_the_metric_is_named():
    with pytest.raises(ValueError, match=r"'fid'.*\['lost'\]"):
        plots.compared_curves(
            {"lost": records(2), "found": [{"epoch": 1, "split": "valid", "fid": 3.0}]}, "fid"
        )


def test_overlaid_losses_show_their_differences():
    epochs = np.arange(1.0, 6.0)
    runs = {"one": np.stack([epochs, 100 - epochs]), "two": np.stack([epochs, 100.01 - epochs])}
    upper, lower = plots.overlaid_losses(runs).axes
    assert texts(upper.get_legend().get_texts()) == ["one", "two"]
    # The line below is wider, and so visible.
    assert upper.lines[0].get_linewidth() > upper.lines[1].get_linewidth()
    (apart,) = lower.lines
    np.testing.assert_allclose(apart.get_ydata(), 0.01, rtol=1e-6)


def test_curves_by_level_mark_the_level_of_training():
    levels = np.array([1.0, 0.0, 0.5])
    curves = {"noisy": levels**2, "denoised": levels**2 / 4, "median": levels}
    figure = plots.curves_by_level(levels, curves, 0.5, level_label="noise", label="error")
    axes = figure.axes[0]
    by_label = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(by_label["noisy"].get_xdata(), [0, 0.5, 1])
    np.testing.assert_array_equal(by_label["denoised"].get_ydata(), [0, 0.0625, 0.25])
    assert list(by_label["_trained"].get_xdata()) == [0.5, 0.5]
    assert axes.texts[0].get_text() == "trained at 0.5"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("noise", "error")
    assert len({line.get_color() for line in axes.lines}) == 4
    assert not axes.containers
    spread = dict.fromkeys(curves, levels / 10)
    figure = plots.curves_by_level(
        levels, curves, None, level_label="noise", label="error", deviations=spread
    )
    ((bars,),) = (container.lines[2] for container in figure.axes[0].containers[2:])
    np.testing.assert_allclose(bars.get_segments()[-1], [[1, 0.9], [1, 1.1]])


def test_kl_bars_are_sorted_and_keep_the_index_of_their_dimension():
    kl = np.array([0.001, 3.0, 1.0])
    axes = plots.kl_by_dimension(kl, active_threshold=0.01).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [3, 1, 0.001])
    assert texts(axes.get_xticklabels()) == ["1", "2", "0"]
    assert axes.get_title() == "4.0 nats in 3 dimensions, 2 above 0.01 nats"
    assert axes.patches[2].get_facecolor() != axes.patches[1].get_facecolor()
    many = plots.kl_by_dimension(np.ones(200)).axes[0]
    assert len(many.patches) == 200
    assert many.get_title() == "200.0 nats in 200 dimensions"


def test_saving_creates_the_folder_and_writes_the_same_bytes_again(tmp_path):
    path = tmp_path / "new" / "folder" / "grid.png"
    plots.save(plots.image_grid(some_images(3, 8, 8, 1)), path)
    first = path.read_bytes()
    plots.save(plots.image_grid(some_images(3, 8, 8, 1)), str(path))
    assert path.read_bytes() == first
    with Image.open(path) as picture:
        assert picture.format == "PNG"
    assert os.listdir(path.parent) == ["grid.png"]


@pytest.mark.parametrize(
    ("name", "beginning"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_the_suffix_chooses_the_format(tmp_path, name, beginning):
    written = []
    for path in (tmp_path / f"a.{name}", tmp_path / f"b.{name}"):
        assert plots.save(plots.kl_by_dimension(np.arange(4.0)), path) == [path]
        written.append(path.read_bytes())
    assert written[0].startswith(beginning)
    assert written[0] == written[1]


def test_chosen_formats_replace_the_suffix(tmp_path):
    figure = plots.kl_by_dimension(np.arange(4.0))
    with plots.formats(["pdf", "svg"]):
        files = plots.save(figure, tmp_path / "level_0.5.png")
    assert files == [tmp_path / "level_0.5.pdf", tmp_path / "level_0.5.svg"]
    assert sorted(tmp_path.iterdir()) == files
    with pytest.raises(ValueError, match="'gif' must be one of png, pdf, svg"):
        plots.save(figure, tmp_path / "level.gif")
    plots.save(figure, tmp_path / "level.png")
    assert (tmp_path / "level.png").is_file()


def test_a_failed_save_keeps_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    path.write_bytes(b"before")

    def full_disk(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="disk full"):
        plots.save(plots.image_grid(some_images(3, 8, 8, 1)), path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["grid.png"]


def test_drawing_neither_changes_nor_uses_the_global_settings(tmp_path):
    points = np.random.default_rng(0).normal(size=(20, 2))
    plots.save(plots.latent_map(points), tmp_path / "plain.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 20}):
        before = dict(matplotlib.rcParams)
        plots.save(plots.latent_map(points), tmp_path / "amid.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "amid.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_threads_draw_the_same_as_a_single_one(tmp_path):
    def draw(i):
        plots.save(plots.kl_by_dimension(np.arange(4.0)), tmp_path / f"{i}.png")
        return (tmp_path / f"{i}.png").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(8)))) == 1


def test_importing_the_plots_imports_no_matplotlib_and_drawing_no_pyplot():
    program = (
        "import sys, numpy as np\n"
        "from vae_jax import plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.kl_by_dimension(np.ones(3))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
