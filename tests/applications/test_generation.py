import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from scipy import linalg

from vae_jax import plots
from vae_jax.applications.generation import class_coverage as classes
from vae_jax.applications.generation import density_coverage as density
from vae_jax.applications.generation import frechet, memorisation, nearest
from vae_jax.applications.generation.plot import (
    nearest_distances,
    precision_recall_plane,
    quality_by_temperature,
)
from vae_jax.applications.generation.precision_recall import precision_recall
from vae_jax.errors import UserError

NUM_NEIGHBOURS = 3


def normal(num, size, seed=0, scale=1.0, shift=0.0):
    return (shift + scale * np.random.default_rng(seed).normal(size=(num, size))).astype(np.float32)


def shares(real, generated, num_neighbours=NUM_NEIGHBOURS):
    radii = [nearest.squared_radii(points, (num_neighbours,))[0] for points in (real, generated)]
    return precision_recall(real, radii[0], generated, radii[1])


def filled(real, generated, num_neighbours=5):
    (radii,) = nearest.squared_radii(real, (num_neighbours,))
    return density.density_coverage(real, radii, generated, num_neighbours)


# Distances


def test_distances_radii_and_the_nearest_are_as_by_hand():
    queries, points = normal(333, 5, seed=1, shift=40), normal(600, 5, shift=40)
    expected = np.linalg.norm(queries[:, None].astype(float) - points[None], axis=2)
    blocks = list(nearest.squared_distances(queries, points))
    np.testing.assert_allclose(np.concatenate(blocks), expected**2, rtol=1e-4, atol=1e-4)
    distances, indices = nearest.nearest(queries, points)
    np.testing.assert_array_equal(indices, expected.argmin(axis=1))
    np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-3)
    among = np.sort(np.linalg.norm(points[:, None].astype(float) - points[None], axis=2), axis=1)
    third, fifth = nearest.squared_radii(points, (3, 5))
    np.testing.assert_allclose(third, among[:, 3] ** 2, rtol=1e-3)
    np.testing.assert_allclose(fifth, among[:, 5] ** 2, rtol=1e-3)


def test_a_twin_is_a_neighbour_and_the_point_itself_is_none():
    points = np.array([[0.0], [0.0], [3.0], [7.0]], np.float32)
    (radii,) = nearest.squared_radii(points, (1,))
    np.testing.assert_allclose(radii, [0, 0, 9, 16], atol=1e-5)


@pytest.mark.parametrize("size", [1, 128])
def test_equal_points_have_distance_0_and_close_ones_their_own(size):
    points = normal(200, size, scale=3, shift=20)
    queries = np.concatenate([points[::-1], points + 1e-3 * normal(200, size, seed=1)])
    distances = np.concatenate(list(nearest.squared_distances(queries, points)))
    expected = np.square(queries[:, None].astype(float) - points[None]).sum(axis=2)
    assert (np.diag(distances[199::-1]) == 0).all()
    np.testing.assert_allclose(np.diag(distances[200:]), np.diag(expected[200:]), rtol=0.02)
    np.testing.assert_allclose(distances, expected, rtol=1e-3, atol=1e-4)


def test_a_set_covers_itself_however_far_it_lies_from_the_origin():
    # Every point is there twice, so that many balls have no radius.
    real = np.repeat(normal(150, 64, scale=5, shift=100), 2, axis=0)
    assert shares(real, real[::-1], 1) == (1, 1)
    assert filled(real, real[::-1], 1).coverage == 1


def test_fewer_points_than_neighbours_are_refused():
    with pytest.raises(UserError, match="num_images=3 must be more than the 3 neighbours"):
        nearest.squared_radii(normal(3, 2), (3,))
    nearest.squared_radii(normal(4, 2), (3,))


# The Fréchet distance


def points_of(mean, covariance, num=400):
    """Points whose mean and covariance are exactly these."""
    drawn = np.random.default_rng(0).normal(size=(num, len(mean)))
    drawn -= drawn.mean(axis=0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn.T))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def test_the_frechet_distance_of_known_normals():
    one = points_of(np.zeros(2), np.diag([1.0, 4.0]))
    assert frechet.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    for seed in range(5):
        features = 1e3 * normal(60, 20, seed=seed)
        assert frechet.frechet_distance(features, features[::-1]) >= 0
    moved = one + np.array([3.0, 4.0])
    assert frechet.frechet_distance(one, moved) == pytest.approx(25)
    # For commuting covariances it is the sum of (sqrt(s) - sqrt(t))^2.
    wider = points_of(np.zeros(2), np.diag([9.0, 16.0]))
    assert frechet.frechet_distance(one, wider) == pytest.approx((3 - 1) ** 2 + (4 - 2) ** 2)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_frechet_distance_is_that_of_the_matrix_root_and_symmetric(seed):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(2, 4, 4))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(4)
    means = rng.normal(size=(2, 4))
    first, second = (points_of(means[i], covariances[i]) for i in range(2))
    root = linalg.sqrtm(covariances[0] @ covariances[1])
    expected = np.square(means[0] - means[1]).sum() + np.trace(
        covariances[0] + covariances[1] - 2 * root.real
    )
    found = frechet.frechet_distance(first, second)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert frechet.frechet_distance(second, first) == pytest.approx(found, rel=1e-6, abs=1e-6)


def test_features_that_never_vary_are_no_trouble():
    dead = np.pad(normal(50, 2), ((0, 0), (0, 3)))
    assert frechet.frechet_distance(dead, dead + 1) == pytest.approx(5)
    with pytest.raises(ValueError, match="1 and 50 features"):
        frechet.frechet_distance(dead[:1], dead)


# Precision and recall, density and coverage


def test_identical_sets_lie_on_each_others_manifold():
    points = normal(700, 4)
    assert shares(points, points) == (1, 1)
    assert filled(points, points).coverage == 1


def test_two_draws_of_one_distribution_do_about_as_well():
    real, generated = normal(2000, 2), normal(2000, 2, seed=1)
    precision, recall = shares(real, generated)
    assert precision == pytest.approx(recall, abs=0.03)
    assert precision > 0.9
    found = filled(real, generated)
    assert found.density == pytest.approx(1, abs=0.06)
    # The closed form of Naeem et al., lemma 2: 1 - (1 - 1/2)...(1 - 1/2), about 1 - 2^-k.
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_sets_far_apart_share_nothing():
    real, generated = normal(500, 3), normal(500, 3, seed=1, shift=100)
    assert shares(real, generated) == (0, 0)
    assert filled(real, generated) == (0, 0)


def test_a_lost_mode_costs_recall_and_coverage_and_no_precision():
    modes = np.repeat([[0.0, 0.0], [50.0, 0.0]], 1000, axis=0).astype(np.float32)
    real, generated = modes + normal(2000, 2), normal(2000, 2, seed=1)
    precision, recall = shares(real, generated)
    assert precision > 0.9
    assert recall == pytest.approx(0.5, abs=0.05)
    assert filled(real, generated).coverage == pytest.approx(0.5, abs=0.05)
    # But for a point that rounding puts on either side of a ball.
    assert shares(generated, real) == pytest.approx((recall, precision), abs=0.002)


def test_samples_beside_the_data_cost_precision_and_no_recall():
    real = normal(2000, 2)
    generated = np.concatenate([normal(1000, 2, seed=1), normal(1000, 2, seed=2, shift=50)])
    precision, recall = shares(real, generated)
    assert precision == pytest.approx(0.5, abs=0.05)
    assert recall > 0.85


def test_one_outlier_lends_recall_a_ball_and_coverage_none():
    real, generated = normal(500, 2), normal(500, 2, seed=1, scale=0.001)
    outlying = np.concatenate([generated, np.full((1, 2), 10.0, np.float32)])
    assert shares(real, generated).recall < 0.1
    # Its ball ends where the others are: at the middle of the real points.
    assert shares(real, outlying).recall == pytest.approx(0.5, abs=0.06)
    assert filled(real, outlying).coverage < 0.1


# Classes and copies


def test_missing_and_too_frequent_classes_are_measured():
    real = np.array([0, 1, 2, 3] * 10)
    same = classes.class_coverage(real, real[::-1], 4)
    assert same.class_distance == 0
    assert same.class_entropy == pytest.approx(math.log(4))
    half = classes.class_coverage(real, np.array([0, 0, 1]), 4)
    np.testing.assert_allclose(half.class_shares, [2 / 3, 1 / 3, 0, 0])
    assert half.class_distance == pytest.approx(0.5)
    assert half.class_entropy == pytest.approx(math.log(3) - 2 / 3 * math.log(2))


def test_copies_are_found_and_fresh_images_are_not():
    train, test = normal(400, 20), normal(1000, 20, seed=1)
    found = {}
    for name, images in (("copied", train[:300] + 0.001), ("fresh", normal(1000, 20, seed=2))):
        distances = [nearest.nearest(points, train)[0] for points in (images, test)]
        found[name] = memorisation.memorisation(*distances)
    assert found["copied"].copies == 1
    assert found["copied"].nearest_distance < 0.01
    assert found["fresh"].copies == pytest.approx(0.01, abs=0.01)
    ratio = found["fresh"].nearest_distance / found["fresh"].test_nearest_distance
    assert ratio == pytest.approx(1, abs=0.03)


# Plots


def test_quality_by_temperature_has_a_panel_per_metric_and_a_line_per_sampler():
    values = {"prior": np.array([[0.2, 0.4], [0.4, 0.6]]), "flow": np.array([[0.5, 0.6]])}
    metrics = {"precision": values, "recall": values}
    references = {"training images": {"precision": 0.9, "recall": 0.8}}
    panels = quality_by_temperature([0.8, 1.0], metrics, references).axes
    assert [axes.get_title() for axes in panels] == ["precision", "recall"]
    lines = {container.get_label(): container.lines[0] for container in panels[0].containers}
    np.testing.assert_allclose(lines["prior"].get_ydata(), [0.3, 0.5])
    assert list(lines["flow"].get_xdata()) == [0.8, 1.0]
    assert panels[1].lines[0].get_ydata()[0] == 0.8
    spoilt = {**metrics, "recall": {"prior": np.array([[np.nan, 0.4]])}}
    with pytest.raises(ValueError, match="1 values of recall are not finite"):
        quality_by_temperature([0.8, 1.0], spoilt, references)


def test_precision_against_recall_names_the_temperatures():
    precision, recall = ({"prior": np.array([row, row])} for row in ([0.9, 0.7], [0.3, 0.5]))
    others = {"training images": (0.85, 0.86)}
    axes = precision_recall_plane([0.8, 1.0], precision, recall, others).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.8", "1"]
    by_label = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(by_label["prior"], [[0.3, 0.9], [0.5, 0.7]])
    np.testing.assert_allclose(by_label["training images"], [[0.86, 0.85]])


def test_temperatures_of_samplers_that_are_alike_do_not_overlap():
    recall = {name: np.array([[0.3, 0.5]]) + shift for name, shift in (("a", 0), ("b", 0.005))}
    precision = {name: np.array([[0.9, 0.7]]) for name in recall}
    figure = precision_recall_plane([0.8, 1.0], precision, recall, {})
    # Without the lines to their dots.
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert "temperatures" in figure.axes[0].get_title(loc="right")


def test_distances_rise_from_none_to_all_of_the_images():
    axes = nearest_distances(np.arange(4.0), {"prior": np.array([1.0, 2.0])}).axes[0]
    assert [line.get_label() for line in axes.lines] == ["test images", "prior"]
    assert max(axes.lines[1].get_ydata()) == 1


def test_samples_stand_above_their_nearest_training_images():
    images = np.linspace(0, 1, 5 * 64).reshape(5, 8, 8, 1)
    figure = plots.nearest_neighbours({"prior": (images, images), "flow": (images, images)})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["prior", "nearest in training", "flow", "nearest in training"]
