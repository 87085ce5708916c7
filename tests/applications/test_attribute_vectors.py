import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.applications.editing.attribute_vectors import (
    METHODS,
    Contrast,
    between_classes,
    between_quarters,
    conditional_shift,
    linear_classifier,
    mean_difference,
    shift,
)
from vae_jax.errors import UserError

few = settings(max_examples=25, deadline=None)


def world(num=6000, seed=0):
    """Latents that are linear in an attribute, in another that goes along with it, and in class."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, num, p=[0.6, 0.3, 0.1]).astype(np.int32)
    other = rng.normal(size=num) + 2 * labels
    values = 0.8 * other + 0.6 * rng.normal(size=num) - labels
    latents = np.zeros((num, 4))
    latents[:, 0], latents[:, 1], latents[:, 2] = values, other, 3 * labels
    return latents + 0.3 * rng.normal(size=latents.shape), values, other[:, None], labels


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_the_difference_of_means_changes_the_attribute_and_neither_the_others_nor_the_class():
    latents, values, others, labels = world()
    contrast = between_quarters(latents, values, others, labels)
    # A step of degree 1 is as long as the groups are apart, in the attribute's own unit here.
    expected = [contrast.difference(values), 0, 0, 0]
    np.testing.assert_allclose(mean_difference(contrast), expected, atol=0.06)


@pytest.mark.parametrize("method", METHODS)
def test_among_independent_latents_the_direction_is_the_one_that_predicts_the_attribute(method):
    rng = np.random.default_rng(0)
    latents, slope = rng.normal(size=(8000, 3)), np.array([2.0, -1.0, 0.0])
    values, labels = latents @ slope + 0.5 * rng.normal(size=8000), np.zeros(8000, np.int32)
    vector = METHODS[method](between_quarters(latents, values, np.empty((8000, 0)), labels))
    assert cosine(vector, slope) > 0.999


def test_what_is_not_balanced_comes_along():
    latents, values, _, labels = world()
    nothing, one_class = np.empty((len(values), 0)), np.zeros_like(labels)
    vector = mean_difference(between_quarters(latents, values, nothing, one_class))
    assert vector[1] > 0.8 * vector[0]


def test_both_groups_have_the_same_classes_and_the_same_of_the_others():
    latents, values, others, labels = world()
    contrast = between_quarters(latents, values, others, labels)
    is_upper = contrast.weights > 0
    for side, sign in ((is_upper, 1), (~is_upper, -1)):
        assert contrast.weights[side].sum() == pytest.approx(sign)
        for label in range(3):
            members = side & (labels[contrast.indices] == label)
            assert contrast.weights[members].sum() == pytest.approx(sign / 3)
            # A quarter of the class.
            assert members.sum() == pytest.approx((labels == label).sum() / 4, abs=1)
    assert contrast.difference(others[:, 0]) == pytest.approx(0, abs=0.05)
    assert contrast.difference(values) > 1


def test_images_without_the_attribute_are_left_out():
    latents, values, others, labels = world(500)
    hole = np.arange(500) % 7 == 0
    values, latents = np.where(hole, np.nan, values), np.where(hole[:, None], 1e6, latents)
    contrast = between_quarters(latents, values, others, labels)
    assert not hole[contrast.indices].any()
    kept = between_quarters(latents[~hole], values[~hole], others[~hole], labels[~hole])
    np.testing.assert_allclose(mean_difference(contrast), mean_difference(kept))


@few
@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(1, 30), min_size=2, max_size=5))
def test_a_class_is_compared_with_the_mean_of_the_other_classes_means(seed, sizes):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    latents = rng.normal(size=(len(labels), 3))
    means = [latents[labels == label].mean(axis=0) for label in range(len(sizes))]
    against_all = mean_difference(between_classes(latents, labels, 1))
    others = [mean for label, mean in enumerate(means) if label != 1]
    np.testing.assert_allclose(against_all, means[1] - np.mean(others, axis=0), atol=1e-9)
    from_zero = mean_difference(between_classes(latents, labels, 1, 0))
    np.testing.assert_allclose(from_zero, means[1] - means[0], atol=1e-9)


def test_the_classifier_of_normal_groups_is_fishers():
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.8], [0.0, 0.5]])
    labels = np.repeat(np.array([0, 1], np.int32), 10000)
    latents = rng.normal(size=(20000, 2)) @ mix + labels[:, None] * [1.5, 0.5]
    vector = linear_classifier(between_classes(latents, labels, 1))
    expected = np.linalg.solve(mix.T @ mix, [1.5, 0.5])
    assert cosine(vector, expected) > 0.999
    assert cosine(vector, np.array([1.5, 0.5])) < 0.9


def lens(num, seed=0):
    """Latents of faces: darkness of skin, another, and darkness of lenses that cover the skin."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num).astype(np.int32)
    skin, other = rng.normal(size=(2, num))
    lenses = np.where(labels == 0, skin + 0.2 * rng.normal(size=num), 3 + 0.1 * skin)
    return np.column_stack([skin, other, lenses + 0.05 * rng.normal(size=num)]), labels


def test_a_conditional_shift_moves_each_image_as_far_as_its_other_latents_need():
    latents, labels = lens(20000)
    contrast = between_classes(latents, labels, 1)
    bare = latents[labels == 0]
    moved = bare + conditional_shift(contrast, bare)
    np.testing.assert_allclose(moved[:, :2], bare[:, :2], atol=0.1)
    assert np.std(moved[:, 2] - 3 - 0.1 * moved[:, 0]) < 0.07
    # All moved alike, light and dark skins end as far apart as before.
    alike = bare + mean_difference(contrast)
    assert np.std(alike[:, 2] - 3 - 0.1 * alike[:, 0]) > 0.8


def test_a_conditional_shift_maps_normal_groups_to_each_other():
    latents, labels = lens(20000)
    contrast = between_classes(latents, labels, 1)
    bare, covered = latents[labels == 0], latents[labels == 1]
    moved = bare + shift("conditional", contrast, bare)
    np.testing.assert_allclose(moved.mean(axis=0), covered.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(covered.T), atol=0.04)


@few
@given(seed=st.integers(0, 2**32 - 1))
def test_the_reversed_contrast_leads_back(seed):
    latents, labels = lens(200, seed)
    contrast = between_classes(latents, labels, 1)
    for method in (*METHODS, "conditional"):
        there = shift(method, contrast, latents)
        back = shift(method, contrast.reversed(), latents + there)
        np.testing.assert_allclose(back, -there, atol=1e-2 if method in METHODS else 1e-8)


def test_a_conditional_shift_needs_more_images_than_latents():
    latents, labels = lens(12)
    with pytest.raises(UserError, match="images, and the method conditional needs 8 for 3 laten"):
        conditional_shift(between_classes(latents, labels, 1), latents)


@few
@given(seed=st.integers(0, 2**32 - 1))
def test_degree_one_of_a_classifier_is_the_distance_of_the_means_along_its_normal(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(60, dtype=np.int32) % 3)
    contrast = between_classes(rng.normal(size=(60, 4)), labels, 2)
    vector, difference = linear_classifier(contrast), mean_difference(contrast)
    length = np.linalg.norm(vector)
    assert vector / length @ difference == pytest.approx(length, abs=1e-9)
    assert length <= np.linalg.norm(difference) + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_latents_that_are_all_the_same_have_no_direction(method):
    labels = np.array([0, 1] * 10, np.int32)
    vector = METHODS[method](between_classes(np.ones((20, 3)), labels, 1))
    np.testing.assert_allclose(vector, 0, atol=1e-12)


@pytest.mark.parametrize(
    "values", [np.full(40, 2.5), np.full(40, np.nan), np.repeat([1.0, 7.0], 20)]
)
def test_an_attribute_that_varies_within_no_class_is_refused(values):
    labels = np.repeat(np.array([0, 1], np.int32), 20)
    with pytest.raises(UserError, match="varies within no class of the"):
        between_quarters(np.ones((40, 2)), values, np.empty((40, 0)), labels)


def test_classes_that_are_not_there_are_refused():
    latents, labels = np.ones((20, 2)), np.repeat(np.array([3, 5], np.int32), 10)
    for classes, message in (
        ((7,), "no image is of class 7; the classes are 3, 5"),
        ((3, 4), "no image is of class 4"),
        ((3, 3), "class 3 must differ from another"),
    ):
        with pytest.raises(UserError, match=message):
            between_classes(latents, labels, *classes)
    with pytest.raises(UserError, match="class 3 must differ from another; the images have 1"):
        between_classes(latents[:10], labels[:10], 3)


def test_the_difference_of_a_metric_is_that_of_the_groups_means():
    contrast = Contrast(np.array([4, 0, 2]), np.zeros((3, 1)), np.array([0.5, 0.5, -1.0]))
    assert contrast.difference(np.array([1.0, np.nan, 10.0, np.nan, 5.0])) == 3 - 10
