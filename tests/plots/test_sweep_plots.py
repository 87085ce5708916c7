import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import LogNorm, to_rgba

from vae_jax import plots
from vae_jax.plots import scales

MINUS = "\N{MINUS SIGN}"
quick = settings(max_examples=100, deadline=None)

# Whole numbers, so that the hull can be checked exactly; few, so that many points are equal or on
# one line.
points = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=25)


def sweep(num_seeds=2):
    """Return the betas, rates and distortions of 16 betas with some seeds each."""
    rng = np.random.default_rng(0)
    beta = np.repeat(np.geomspace(0.1, 10, 16), num_seeds)
    up = (np.log10(beta) + 1) / 2
    noise = rng.normal(0, 0.5, (2, len(beta)))
    return beta, 5 + 55 * (1 - up) ** 1.6 + noise[0], 45 + 98 * up**1.7 + noise[1]


def texts(ticks):
    return [tick.get_text() for tick in ticks]


def shown(axis):
    """Return the tick labels within the limits of an axis; Matplotlib has others outside."""
    low, high = np.sort(axis.get_view_interval())
    slack = 1e-9 * (high - low)
    ticks = axis.get_major_ticks()
    return [tick.label1 for tick in ticks if low - slack <= tick.get_loc() <= high + slack]


def number(text):
    return float(text.replace(MINUS, "-"))


def line(axes, label):
    return next(line for line in axes.lines if line.get_label().startswith(label))


@quick
@given(points=points)
def test_the_hull_is_convex_falls_and_has_no_point_below_it(points):
    x, y = (np.array(column, float) for column in zip(*points, strict=True))
    hull = plots.lower_convex_hull(x, y)
    hx, hy = x[hull], y[hull]
    assert (np.diff(hx) > 0).all()
    assert (np.diff(hy) < 0).all()
    for (x0, x1, x2), (y0, y1, y2) in zip(
        zip(hx, hx[1:], hx[2:], strict=False), zip(hy, hy[1:], hy[2:], strict=False), strict=True
    ):
        assert (y1 - y0) * (x2 - x1) < (y2 - y1) * (x1 - x0)
    for px, py in zip(x, y, strict=True):
        assert px >= hx[0]
        # Beyond the last vertex the hull is level, since more rate is never needed.
        assert px <= hx[-1] or py >= hy[-1]
        for (x0, x1), (y0, y1) in zip(pairwise(hx), pairwise(hy), strict=True):
            if x0 <= px <= x1:
                assert (py - y0) * (x1 - x0) >= (y1 - y0) * (px - x0)


@quick
@given(points=points)
def test_a_member_is_a_vertex_if_it_beats_every_mixture_of_two_others(points):
    x, y = (np.array(column, float) for column in zip(*points, strict=True))
    hull = set(plots.lower_convex_hull(x, y).tolist())
    for i in range(len(x)):
        others = [j for j in range(len(x)) if (x[j], y[j]) != (x[i], y[i])]
        worse = any(x[j] <= x[i] and y[j] <= y[i] for j in others)
        worse = worse or any(
            x[a] < x[i] < x[b] and (y[i] - y[a]) * (x[b] - x[a]) >= (y[b] - y[a]) * (x[i] - x[a])
            for pair in combinations(others, 2)
            for a, b in (pair, pair[::-1])
        )
        first = next(j for j in range(len(x)) if (x[j], y[j]) == (x[i], y[i])) == i
        assert (i in hull) == (first and not worse)


@quick
@given(
    points=st.lists(st.tuples(st.floats(0, 300), st.floats(0, 3000)), min_size=1, max_size=40),
    shift=st.integers(0, 39),
)
def test_the_hull_of_floats_does_not_depend_on_the_order_of_the_members(points, shift):
    x, y = (np.array(column) for column in zip(*points, strict=True))
    hull = plots.lower_convex_hull(x, y)
    turned = plots.lower_convex_hull(np.roll(x, shift), np.roll(y, shift))
    np.testing.assert_array_equal(np.roll(x, shift)[turned], x[hull])
    height = np.interp(x, x[hull], y[hull])
    assert (y >= height - 1e-9 * (1 + np.abs(y).max())).all()


def test_the_hull_leaves_out_members_without_a_number():
    rate = [1, None, 2.0, float("nan"), 3, float("-inf")]
    distortion = [9, 0, 4, 0, np.float32(3), 0]
    assert plots.lower_convex_hull(rate, distortion).tolist() == [0, 2, 4]
    with pytest.raises(ValueError, match="none of 2 members has a finite rate and distortion"):
        plots.lower_convex_hull([None, 1.0], [1.0, np.nan])
    with pytest.raises(ValueError, match="rate: 2, distortion: 1"):
        plots.lower_convex_hull([1, 2], [3])
    with pytest.raises(ValueError, match="distortion: 'a' of member 1 is no number"):
        plots.lower_convex_hull([1, 2], np.array([3, "a"], object))


def test_the_plane_has_every_member_in_the_colour_of_its_value():
    beta, rate, distortion = sweep()
    figure = plots.rate_distortion(rate, distortion, {"objective.beta": beta})
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rate (nats)", "distortion (nats)")
    dots = axes.collections[0]
    np.testing.assert_allclose(dots.get_offsets(), np.stack([rate, distortion], axis=1))
    colours = dots.get_facecolors()
    np.testing.assert_array_equal(colours[::2], colours[1::2])
    assert len(np.unique(colours, axis=0)) == 16
    assert bar.get_ylabel() == "objective.beta"
    assert bar.get_yscale() == "log"
    assert bar.get_ylim() == pytest.approx((0.1, 10))
    assert texts(shown(bar.yaxis)) == ["0.1", "0.2", "0.5", "1", "2", "5", "10"]
    hull = plots.lower_convex_hull(rate, distortion)
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), dots.get_offsets()[hull])
    assert texts(figure.legends[0].get_texts()) == ["lower convex hull", "equal ELBO (nats)"]


def test_the_diagonals_are_lines_of_the_elbo_that_they_are_labelled_with():
    _, rate, distortion = sweep()
    axes = plots.rate_distortion(rate, distortion).axes[0]
    levels = [diagonal.get_xydata().sum(axis=1) for diagonal in axes.lines[1:]]
    assert 4 <= len(levels) <= 12
    for level in levels:
        assert np.ptp(level) < 1e-9
    assert len(axes.texts) >= len(levels) - 2
    for label in axes.texts:
        elbo = -sum(label.get_position())
        assert number(label.get_text()) == pytest.approx(elbo)


@pytest.mark.parametrize("seed", range(3))
def test_no_label_of_a_diagonal_covers_a_member_or_leaves_the_axes(seed):
    rng = np.random.default_rng(seed)
    _, rate, distortion = sweep(1)
    axes = plots.rate_distortion(rate, distortion + rng.gamma(1, 8, 16)).axes[0]
    members = axes.transData.transform(axes.collections[0].get_offsets())
    boxes = [label.get_window_extent() for label in axes.texts]
    for box in boxes:
        assert not any(box.contains(*member) for member in members)
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 < box.y1 <= axes.bbox.y1
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_each_category_has_its_own_colour():
    encoders = ["mlp", "conv", "mlp", "conv"]
    axes, bar = plots.rate_distortion([1, 2, 3, 4], [9, 7, 5, 4], {"encoder": encoders}).axes
    colours = axes.collections[0].get_facecolors()
    np.testing.assert_array_equal(colours[:2], colours[2:])
    assert not np.array_equal(colours[0], colours[1])
    assert texts(bar.get_yticklabels()) == ["mlp", "conv"]


def test_a_plot_says_how_many_members_it_leaves_out():
    _, rate, distortion = sweep()
    holed = [None, float("nan"), *rate[2:]]
    axes = plots.rate_distortion(holed, distortion).axes[0]
    assert len(axes.collections[0].get_offsets()) == 30
    assert axes.get_title(loc="right") == "2 of 32 members without a value"
    assert plots.rate_distortion(rate, distortion).axes[0].get_title(loc="right") == ""


def test_a_single_member_and_equal_members_can_be_drawn():
    for count in (1, 3):
        same = [5.0] * count
        plots.rate_distortion(same, same, {"beta": same})
        plots.metric_by_value(same, same, field="beta", label="ELBO")
        plots.parallel_coordinates({"beta": same, "name": ["a"] * count}, same, "ELBO")
        plots.heat_map(same, same, same, x_field="x", y_field="y", label="ELBO")
        plots.member_curves([{"epoch": [1], "elbo": [5.0]}] * count)
        plots.search_history(same, label="ELBO")


def test_the_mean_and_the_deviation_of_each_value():
    values = [1, 10, 1, 100, 1, 10]
    metric = [-90, -80, -92, -70, None, -84.0]
    axes = plots.metric_by_value(values, metric, field="beta", label="ELBO (nats)").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("beta", "ELBO (nats)")
    assert axes.get_xscale() == "log"
    assert texts(axes.get_xticklabels()) == ["1", "10", "100"]
    members = line(axes, "member")
    np.testing.assert_array_equal(members.get_xdata(), [1, 10, 1, 100, 10])
    np.testing.assert_array_equal(members.get_ydata(), [-90, -80, -92, -70, -84])
    means = line(axes, "mean")
    np.testing.assert_array_equal(means.get_xdata(), [1, 10, 100])
    np.testing.assert_allclose(means.get_ydata(), [-91, -82, -70])
    assert means.get_linestyle() == "-"
    # Two values are shared; the third has no deviation.
    bars = axes.collections[0].get_segments()
    expected = [(1, -91, math.sqrt(2)), (10, -82, math.sqrt(8))]
    assert len(bars) == 2
    for bar, (x, mean, deviation) in zip(bars, expected, strict=True):
        np.testing.assert_allclose(bar, [[x, mean - deviation], [x, mean + deviation]])


def test_a_decade_alone_is_drawn_linearly_and_zero_always():
    for values in ([1e-4, 1e-3], [0.0, 100.0], [-1, 100]):
        axes = plots.metric_by_value(values, [1, 2], field="f", label="m").axes[0]
        assert axes.get_xscale() == "linear"


def two_axes():
    """Return beta, size, seed and a metric, whose lines over beta cross, of 2 x 3 settings."""
    beta, size, seed = (
        axis.ravel() for axis in np.meshgrid([1, 2, 4], [8, 16], [0, 1], indexing="ij")
    )
    return beta, size, seed, np.where(size == 8, 10.0 * beta, 50 - 10.0 * beta) + seed


def test_members_of_two_axes_have_lines_of_their_own_through_means_over_seeds():
    beta, size, _, metric = two_axes()
    figure = plots.metric_by_value(beta, metric, field="beta", label="m", others={"size": size})
    axes, bar = figure.axes
    assert bar.get_ylabel() == "size"
    means = [drawn for drawn in axes.lines if drawn.get_label() == "mean"]
    assert [drawn.get_ydata().tolist() for drawn in means] == [
        [10.5, 20.5, 40.5],
        [40.5, 30.5, 10.5],
    ]
    assert means[0].get_color() != means[1].get_color()
    # Each bar is that of two seeds.
    bars = [collection.get_segments() for collection in axes.collections]
    assert {round(float(np.ptp(bar[:, 1])), 6) for own in bars for bar in own} == {1.414214}


def test_categories_of_different_colours_are_side_by_side():
    beta, size, _, metric = two_axes()
    nets = [f"net {value}" for value in beta]
    axes = plots.metric_by_value(nets, metric, field="net", label="m", others={"size": size}).axes[
        0
    ]
    small, large = (drawn.get_xdata() for drawn in axes.lines if drawn.get_label() == "mean")
    np.testing.assert_allclose(large - small, 0.3)
    np.testing.assert_allclose((large + small) / 2, [0, 1, 2])


def test_a_setting_that_the_axis_determines_divides_no_line():
    beta, size, _, metric = two_axes()
    others = {"size": size, "zipped": [f"lr {value}" for value in beta], "constant": size * 0}
    axes, bar = plots.metric_by_value(beta, metric, field="beta", label="m", others=others).axes
    assert bar.get_ylabel() == "size"
    assert [drawn.get_label() for drawn in axes.lines].count("mean") == 2


def test_planes_and_curves_have_a_panel_for_each_axis():
    beta, size, _, metric = two_axes()
    columns = {"beta": beta, "size": size}
    plane = plots.rate_distortion(metric, 100 - metric, columns)
    curves_ = [{"epoch": [1, 2], "elbo": [value - 1, value]} for value in metric]
    for figure in (plane, plots.member_curves(curves_, "elbo", columns)):
        assert {axes.get_ylabel() for axes in figure.axes[2:]} == {"beta", "size"}
    dots = [axes.collections[0] for axes in plane.axes[:2]]
    np.testing.assert_array_equal(*(own.get_offsets() for own in dots))
    assert [len(np.unique(own.get_facecolors(), axis=0)) for own in dots] == [3, 2]


def test_a_heat_map_of_two_of_three_axes_has_the_best_setting_in_each_cell():
    beta, size, _, metric = two_axes()
    net = ["mlp"] * len(beta)
    for maximize, best in ((True, [40.5, 30.5, 40.5]), (False, [10.5, 20.5, 10.5])):
        figure = plots.heat_map(
            beta,
            net,
            metric,
            x_field="beta",
            y_field="net",
            label="m",
            maximize=maximize,
            others={"size": size},
        )
        assert figure.axes[0].collections[0].get_array().ravel().tolist() == best
        assert figure.axes[1].get_ylabel() == "m, best size"


@pytest.mark.parametrize("maximize", [True, False])
def test_the_best_is_darkest_in_every_plot_of_a_sweep(maximize):
    metric = np.array([1.0, 2.0, 3.0])
    lightness = []
    cells = (
        plots.heat_map(
            metric, metric, metric, x_field="x", y_field="y", label="m", maximize=maximize
        )
        .axes[0]
        .collections[0]
    )
    lightness.append(cells.to_rgba(metric)[:, :3].mean(axis=1))
    drawn = lines_of(plots.parallel_coordinates({"x": metric}, metric, "m", maximize))
    lightness.append(drawn.get_colors()[:: 1 if maximize else -1, :3].mean(axis=1))
    for shades in lightness:
        assert (np.diff(shades) < 0).all() == maximize


@pytest.mark.parametrize("values", [[0, 10, 100, 1000], [0, 0.001, 0.1, 1], [0, 1, 2, 4, 8, 16]])
def test_zero_beside_decades_is_on_an_axis_that_becomes_logarithmic(values):
    metric = np.arange(len(values))
    axes = plots.metric_by_value(values, metric, field="f", label="m").axes[0]
    assert axes.get_xscale() == "symlog"
    assert texts(shown(axes.xaxis))[0] == "0"
    ends = axes.transAxes.inverted().transform(
        axes.transData.transform([(value, 0) for value in values])
    )[:, 0]
    assert np.diff(ends).min() > 0.1
    # Parallel coordinates and colours have the scale, too.
    figure = plots.parallel_coordinates({"f": values}, metric, "m")
    own = figure.axes[1].transData.transform([(0, value) for value in values])[:, 1]
    heights = np.array([segment[0, 1] for segment in lines_of(figure).get_segments()])
    drawn = figure.axes[0].transData.transform([(0, height) for height in heights])[:, 1]
    np.testing.assert_allclose(drawn, own, atol=1e-6)
    scale = scales.scale_of(values)
    np.testing.assert_allclose(
        scale.colours().norm(scale.positions), scale.fractions(scale.positions)
    )


def test_zero_beside_even_numbers_is_on_a_linear_axis():
    for values in (range(1000), [0, 100], [0.0, 5, 10, 15, 20, 50]):
        assert scales.scale_of(list(values)).linear_to == 0


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["sgd", "adam", "sgd"], ["sgd", "adam"]),
        ([True, False, True], ["False", "True"]),
        ([(64,), (64, 32), (64,)], ["(64,)", "(64, 32)"]),
        ([math.inf, 1, 10.0], ["1", "10", "\N{INFINITY}"]),
        ([None, 5, "$"], ["5", "None", r"\$"]),
        (np.array(["b", "a", "b"]), ["b", "a"]),
        (np.array([True, False, True]), ["False", "True"]),
        (np.array([[1, 2], [3, 4], [1, 2]]), ["[1 2]", "[3 4]"]),
    ],
)
def test_categories_are_side_by_side_without_a_line(values, labels):
    axes = plots.metric_by_value(values, [1.0, 2.0, 3.0], field="f", label="m").axes[0]
    assert texts(axes.get_xticklabels()) == labels
    np.testing.assert_array_equal(axes.get_xticks(), np.arange(len(labels)))
    assert line(axes, "mean").get_linestyle() == "None"


def test_a_random_search_has_no_mean():
    draws = np.arange(5.0)
    figure = plots.metric_by_value(
        draws, draws, field="f", label="m", others={"g": draws % 2}, joined=False
    )
    assert [line.get_label() for line in figure.axes[0].lines] == ["member"]
    assert line(figure.axes[0], "member").get_linestyle() == "None"
    assert texts(figure.legends[0].get_texts()) == ["member"]


def test_long_names_of_many_categories_are_slanted_and_inside():
    values = [f"a rather long name, {i}" for i in range(12)]
    figure = plots.metric_by_value(values, np.arange(12.0), field="f", label="m")
    labels = figure.axes[0].get_xticklabels()
    assert len(labels) == 12
    assert all(label.get_rotation() == 45 for label in labels)
    assert min(label.get_window_extent().x0 for label in labels) >= 0
    assert min(label.get_window_extent().y0 for label in labels) >= 0


def lines_of(figure):
    return figure.axes[0].collections[0]


def test_parallel_coordinates_run_through_the_positions_of_the_values():
    columns = {"rate": [1e-4, 1e-2, 1e-3], "size": [10, 20, 15], "act": ["a", "b", "a"]}
    figure = plots.parallel_coordinates(columns, [-3.0, -1.0, -2.0], "ELBO")
    # From the worst to the best.
    segments = lines_of(figure).get_segments()
    assert np.all([segment[:, 0] == [0, 1, 2, 3] for segment in segments])
    heights = [[0, 0, 0.25, 0], [0.5, 0.5, 0.25, 0.5], [1, 1, 0.75, 1]]
    np.testing.assert_allclose([segment[:, 1] for segment in segments], heights, atol=1e-12)
    widths = lines_of(figure).get_linewidths()
    assert widths[2] > widths[0] == widths[1]
    _, rate, size, act = figure.axes
    bar = figure.axes[0].child_axes[0]
    assert [axes.get_yscale() for axes in (rate, size, act)] == ["log", "linear", "linear"]
    assert texts(size.get_yticklabels()) == ["10", "15", "20"]
    assert texts(act.get_yticklabels()) == ["a", "b"]
    assert texts(bar.get_yticklabels()) == [f"{MINUS}3", f"{MINUS}2", f"{MINUS}1"]
    assert texts(figure.axes[0].texts) == ["rate", "size", "act", "ELBO"]


def test_lines_pass_an_axis_at_their_values():
    rng = np.random.default_rng(0)
    columns = {"lr": 10 ** rng.uniform(-5, -1, 20), "n": rng.integers(0, 9, 20)}
    figure = plots.parallel_coordinates(columns, rng.normal(size=20), "m")
    host = figure.axes[0]
    for index, axes in enumerate(figure.axes[1:]):
        values = np.sort(list(columns.values())[index])
        heights = np.sort([segment[index, 1] for segment in lines_of(figure).get_segments()])
        drawn = host.transData.transform(np.stack([np.zeros(20), heights], axis=1))[:, 1]
        own = axes.transData.transform(np.stack([np.zeros(20), values], axis=1))[:, 1]
        np.testing.assert_allclose(drawn, own, atol=1e-6)
    bar = host.child_axes[0].get_window_extent()
    ends = host.transData.transform([[0, 0], [0, 1]])[:, 1]
    np.testing.assert_allclose([bar.y0, bar.y1], ends, atol=0.5)


@pytest.mark.parametrize("maximize", [True, False])
def test_the_best_is_darkest_and_a_failed_member_sets_no_range(maximize):
    sign = 1 if maximize else -1
    metric = sign * np.array([-1e9, -90, -95, -100, -92, -99, np.nan])
    figure = plots.parallel_coordinates({"beta": np.arange(7)}, metric, "m", maximize)
    drawn = lines_of(figure)
    heights = np.array([segment[1, 1] for segment in drawn.get_segments()])
    expected = np.array([0, 0, 0.1, 0.5, 0.8, 1])
    np.testing.assert_allclose(heights, expected if maximize else 1 - expected, atol=1e-9)
    lightness = drawn.get_colors()[:, :3].mean(axis=1)
    assert (np.diff(lightness) <= 0).all()
    assert figure.axes[0].get_title(loc="right") == "1 of 7 members without a value"


def test_many_members_stay_readable_and_labels_apart():
    rng = np.random.default_rng(0)
    n = 256
    columns = {
        "optimizer.learning_rate": 10 ** rng.uniform(-5, -2, n),
        "model.latent_size": rng.choice([2, 4, 8, 16, 32], n),
        "seed": np.arange(n),
    }
    figure = plots.parallel_coordinates(columns, rng.normal(size=n), "ELBO (nats)")
    alphas = lines_of(figure).get_alpha()
    assert alphas[0] < 0.5
    assert alphas[-1] == 1
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
    for axes in (*figure.axes[1:], figure.axes[0].child_axes[0]):
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert 2 <= len(boxes) <= 12
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    with pytest.raises(ValueError, match="no columns"):
        plots.parallel_coordinates({}, [1.0], "m")
    with pytest.raises(ValueError, match="ELBO: 2, ELBO: 1"):
        plots.parallel_coordinates({"ELBO": [1]}, [1.0, 2.0], "ELBO")


def test_a_heat_map_holds_the_means_and_leaves_missing_pairs_blank():
    x = [1e-3, 1e-2, 1e-3, 1e-3, 1e-2]
    y = ["mlp", "mlp", "conv", "mlp", "conv"]
    metric = [-90.0, -100.0, -80.0, -94.0, None]
    figure = plots.heat_map(x, y, metric, x_field="lr", y_field="net", label="ELBO (nats)")
    axes, bar = figure.axes
    means = axes.collections[0].get_array()
    np.testing.assert_array_equal(means.mask, [[False, False], [False, True]])
    np.testing.assert_allclose(means.compressed(), [-92, -100, -80])
    assert texts(axes.get_xticklabels()) == ["0.001", "0.01"]
    assert texts(axes.get_yticklabels()) == ["mlp", "conv"]
    printed = {text.get_position(): number(text.get_text()) for text in axes.texts}
    assert printed == {(0, 0): -92, (1, 0): -100, (0, 1): -80}
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("lr", "net", "ELBO (nats)")


def test_a_heat_map_orders_numbers_and_prints_only_where_there_is_room():
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(20)[::-1], [8, 16, 64, 32, 2, 4]))
    figure = plots.heat_map(x, y, x + y, x_field="x", y_field="y", label="m", maximize=False)
    axes = figure.axes[0]
    assert not axes.texts
    assert texts(axes.get_yticklabels()) == ["2", "4", "8", "16", "32", "64"]
    means = axes.collections[0].get_array()
    np.testing.assert_array_equal(means[0], np.arange(20) + 2)
    np.testing.assert_array_equal(means[:, 0], [2, 4, 8, 16, 32, 64])


def test_one_cell_that_failed_does_not_set_the_colours():
    x, y = (grid.ravel() for grid in np.meshgrid(range(4), range(4)))
    metric = -90.0 - x - y
    metric[5] = -3e20
    figure = plots.heat_map(x, y, metric, x_field="x", y_field="y", label="m")
    drawn = figure.axes[0].collections[0]
    assert drawn.get_clim() == (-96, -90)
    assert figure.axes[0].texts[5].get_text() == r"$-3\times10^{20}$"


def curves(num_members=4, num_epochs=40):
    epochs = np.arange(1, num_epochs + 1)
    return [
        {"epoch": epochs, "elbo": -90.0 - i - 500 * np.exp(-epochs)} for i in range(num_members)
    ]


def test_a_curve_of_each_member_in_the_colour_of_its_value():
    members = curves()
    axes, bar = plots.member_curves(members, "elbo", {"beta": [0.1, 1, 10, 1]}).axes
    assert len(axes.lines) == 4
    for drawn, curve in zip(axes.lines, members, strict=True):
        np.testing.assert_array_equal(drawn.get_xdata(), curve["epoch"])
        np.testing.assert_array_equal(drawn.get_ydata(), curve["elbo"])
    assert axes.lines[1].get_color() == axes.lines[3].get_color()
    assert len({axes.lines[i].get_color() for i in range(3)}) == 3
    assert bar.get_ylabel() == "beta"
    assert bar.get_yscale() == "log"
    assert axes.get_ylabel() == "validation ELBO (nats)"
    # The first epoch, 184 nats below, is outside the range.
    low, high = axes.get_ylim()
    assert -110 < low < -93
    assert -90 < high < -88


def test_without_values_the_best_curve_is_darkest_and_on_top():
    axes, bar = plots.member_curves(curves()).axes
    assert axes.lines[-1].get_ydata()[-1] == pytest.approx(-90)
    lightness = [sum(to_rgba(drawn.get_color())[:3]) for drawn in axes.lines]
    assert lightness == sorted(lightness, reverse=True)
    assert bar.get_ylabel() == "last ELBO (nats)"


def test_members_that_diverge_are_drawn_while_finite_and_set_no_range():
    members = curves(6)
    members[0] = {"epoch": [1, 20, 30], "elbo": [-600, -1e9, float("nan")]}
    members[1] = {"epoch": [1, 2], "elbo": [None, float("inf")]}
    members[2] = {"epoch": [1], "loss": [3.0]}
    axes = plots.member_curves(members).axes[0]
    assert len(axes.lines) == 4
    assert axes.get_title(loc="right") == "2 of 6 members without a value"
    # With fewer than five members all set the range; with five, one may not.
    assert axes.get_ylim()[0] < -1e8
    members[2] = members[3]
    axes = plots.member_curves(members).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [-600, -1e9])
    assert axes.get_ylim()[0] > -110


def test_curves_that_cannot_be_read_are_refused():
    with pytest.raises(ValueError, match="'epoch'"):
        plots.member_curves([{"elbo": [1.0]}])
    with pytest.raises(ValueError, match="2 epochs and 1 values of elbo"):
        plots.member_curves([{"epoch": [1, 2], "elbo": [1.0]}])
    with pytest.raises(ValueError, match="none of 1 members has a finite fid"):
        plots.member_curves(curves(1), "fid")
    with pytest.raises(ValueError, match="elbo: 2, beta: 1"):
        plots.member_curves(curves(2), columns={"beta": [1]})
    with pytest.raises(ValueError, match="none of 0 members"):
        plots.member_curves([])


@pytest.mark.parametrize("maximize", [True, False])
def test_only_finished_trials_count_for_the_best_so_far(maximize):
    sign = 1 if maximize else -1
    values = sign * np.array([np.nan, -100.0, -80.0, -95.0, -97.0, -90.0, np.nan])
    pruned = [False, False, True, False, False, False, True]
    figure = plots.search_history(values, label="ELBO", pruned=pruned, maximize=maximize)
    axes = figure.axes[0]
    best = line(axes, "best so far")
    assert best.get_drawstyle() == "steps-post"
    np.testing.assert_array_equal(best.get_xdata(), [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(best.get_ydata() * sign, [-100, -100, -95, -95, -90, -90])
    trials, hollow = line(axes, "trial"), line(axes, "pruned")
    np.testing.assert_array_equal(trials.get_xdata(), [1, 3, 4, 5])
    np.testing.assert_array_equal(hollow.get_xydata(), [[2, sign * -80]])
    assert hollow.get_markerfacecolor() == "white"
    assert texts(figure.legends[0].get_texts()) == ["trial", "pruned", "best so far"]
    assert axes.get_title(loc="right") == "2 of 7 trials without a value"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trial", "ELBO")


def test_a_failed_trial_is_a_triangle_at_the_edge():
    axes = plots.search_history([-1e6, -90, -95, -91, -92], label="ELBO").axes[0]
    low, high = axes.get_ylim()
    assert -96 < low < -95 < -90 < high < -89
    (edge,) = (
        drawn for drawn in axes.lines if drawn.get_marker() == "v" and len(drawn.get_xdata())
    )
    assert edge.get_xdata().tolist() == [0]
    assert low < edge.get_ydata()[0] < -95
    # Only the worse side of the range is cut.
    axes = plots.search_history([-90, -200, -200.1, -200.2, -200.3], label="ELBO").axes[0]
    assert axes.get_ylim()[1] > -90


def test_a_search_whose_trials_were_all_pruned_has_no_best():
    figure = plots.search_history([1.0, 2.0], label="m", pruned=np.array([True, True]))
    assert texts(figure.legends[0].get_texts())[-1] == "pruned"
    with pytest.raises(ValueError, match="none of 2 members has a finite m"):
        plots.search_history([None, np.nan], label="m")
    with pytest.raises(ValueError, match="m: 2, pruned: 1"):
        plots.search_history([1, 2], label="m", pruned=[True])


@pytest.mark.parametrize(
    "draw",
    [
        lambda nothing: plots.rate_distortion(nothing, nothing),
        lambda nothing: plots.metric_by_value([1, 2], nothing, field="f", label="m"),
        lambda nothing: plots.parallel_coordinates({"f": [1, 2]}, nothing, "m"),
        lambda nothing: plots.heat_map(
            [1, 2], [1, 2], nothing, x_field="x", y_field="y", label="m"
        ),
    ],
)
def test_an_empty_plot_is_refused_in_one_line(draw):
    for nothing in ([None, None], [math.nan, math.inf], np.full(2, np.nan, np.float32)):
        with pytest.raises(ValueError, match=r"^nothing to draw: none of 2 members has .*$"):
            draw(nothing)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 0.5, 1], ["0", "0.5", "1"]),
        ([-95.25, 784, 12345], [f"{MINUS}95.25", "784", "12345"]),
        ([0.03125, np.float32(0.1), math.pi], ["0.03125", "0.1", "3.14"]),
        ([0.95001, 0.95002], ["0.95001", "0.95002"]),
        ([1e-4, 3e-4, 1e-3], ["$10^{-4}$", r"$3\times10^{-4}$", "$10^{-3}$"]),
        ([-1e7, 0, 2e7], ["$-10^{7}$", "0", r"$2\times10^{7}$"]),
        ([], []),
    ],
)
def test_numbers_have_enough_digits_to_differ(values, labels):
    assert scales.numbers(values) == labels


@quick
@given(
    values=st.lists(st.floats(1e-8, 1e8) | st.integers(-1000, 1000), min_size=1, max_size=12),
)
def test_positions_lie_in_order_within_the_limits(values):
    scale = scales.scale_of(values)
    positions = scale.fractions(scale.positions)
    assert (np.abs(positions - 0.5) <= 0.5 + 1e-6).all()
    assert (np.diff(positions[np.argsort(scale.positions)]) >= 0).all()


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3, 100],
        [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 2e-2],
        np.geomspace(1e-6, 1e-3, 30),
        np.geomspace(1e-8, 1e8, 30),
        np.geomspace(0.1, 10, 30),
        np.arange(1000),
        np.linspace(-1e7, 2e7, 30),
        np.linspace(12345.1, 12345.9, 30),
        [f"{i}" for i in range(60)],
    ],
)
def test_ticks_differ_and_do_not_overlap(values):
    upright = plots.parallel_coordinates({"f": values}, np.arange(len(values)), "m").axes[1]
    level = plots.metric_by_value(values, np.arange(len(values)), field="f", label="m").axes[0]
    for axis in (level.xaxis, upright.yaxis):
        labels = shown(axis)
        assert 2 <= len(labels) <= 24
        assert len(set(texts(labels))) == len(labels)
        if not labels[0].get_rotation():
            boxes = [label.get_window_extent() for label in labels]
            assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_the_colours_follow_the_scale():
    assert isinstance(scales.scale_of([0.1, 1, 10]).colours().norm, LogNorm)
    linear = scales.scale_of([1, 2, 3]).colours()
    assert not isinstance(linear.norm, LogNorm)
    for count in (3, 30):
        colours = scales.scale_of([f"{i}" for i in range(count)]).colours()
        assert len(np.unique(colours.to_rgba(np.arange(count, dtype=float)), axis=0)) == count
