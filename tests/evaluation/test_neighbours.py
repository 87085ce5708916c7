import numpy as np
import pytest

from vae_jax.evaluation import neighbours

RNG = np.random.default_rng(0)


def test_the_nearest_vote_as_by_hand():
    latents, labels = RNG.normal(size=(60, 3)), RNG.integers(0, 4, 60)
    queries = RNG.normal(size=(2_345, 3))
    predicted = neighbours.predict(latents, labels, queries, 5)
    for query, label in zip(queries[::97], predicted[::97], strict=True):
        nearest = np.argsort(np.linalg.norm(latents - query, axis=1))[:5]
        assert label == np.bincount(labels[nearest], minlength=4).argmax()


def test_of_equally_many_votes_the_smallest_class_wins():
    latents = np.array([[0.0], [1.0], [9.0]])
    predicted = neighbours.predict(latents, np.array([3, 1, 0]), np.array([[0.2]]), 2)
    assert predicted.tolist() == [1]


def test_separate_classes_are_predicted_and_noise_is_not():
    labels = RNG.integers(0, 10, 800)
    apart = 20.0 * np.eye(10)[labels] + RNG.normal(size=(800, 10))
    noise = RNG.normal(size=(800, 10))
    found = [
        neighbours.accuracy(
            latents[:600], labels[:600], latents[600:], labels[600:], num_labels=200, num_draws=5
        )
        for latents in (apart, noise)
    ]
    assert found[0] == 1
    assert found[1] == pytest.approx(0.1, abs=0.05)


def test_more_labels_predict_better():
    labels = RNG.integers(0, 5, 1500)
    latents = 2.0 * np.eye(5)[labels] + RNG.normal(size=(1500, 5))
    found = [
        neighbours.accuracy(
            latents[:1000], labels[:1000], latents[1000:], labels[1000:], num_labels=number
        )
        for number in (10, 100, 1000)
    ]
    assert found[0] < found[1] < found[2]


def test_labels_may_be_any_integers():
    latents = np.array([[0.0], [0.1], [5.0], [5.1]])
    labels = np.array([-3, -3, 10**6, 10**6])
    found = neighbours.predict(latents, labels, np.array([[0.05], [5.2]]), 2)
    np.testing.assert_array_equal(found, [-3, 10**6])
