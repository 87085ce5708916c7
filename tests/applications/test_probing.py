import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from vae_jax.applications.representation import probing
from vae_jax.errors import UserError

RNG = np.random.default_rng(0)


def blobs(num, num_classes=4, size=6, apart=4.0, seed=0):
    """Classes around corners of a simplex."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num) % num_classes)
    return apart * np.eye(size)[labels] + rng.normal(size=(num, size)), labels


def test_separate_classes_are_predicted_and_noise_is_not():
    codes, labels = blobs(600, apart=12.0)
    found = probing.linear_accuracy(codes[:300], labels[:300], codes[300:], labels[300:])
    by_neighbours = probing.neighbours_accuracy(
        codes[:300], labels[:300], codes[300:], labels[300:]
    )
    assert found == by_neighbours == 1
    noise = RNG.normal(size=codes.shape)
    found = probing.linear_accuracy(noise[:300], labels[:300], noise[300:], labels[300:])
    assert found == pytest.approx(0.25, abs=0.1)


def test_the_accuracy_on_two_normals_is_that_of_the_best_rule():
    # The sign separates N(-1, 1) and N(1, 1) in 84.13 %; other dimensions are noise.
    labels = np.arange(6000) % 2
    codes = RNG.normal(size=(6000, 5))
    codes[:, 2] += 2.0 * labels - 1
    found = probing.linear_accuracy(codes[:1000], labels[:1000], codes[1000:], labels[1000:])
    assert found == pytest.approx(0.8413, abs=0.015)


def test_neighbours_separate_a_circle_and_a_linear_probe_does_not():
    codes = RNG.normal(size=(1500, 2))
    labels = (np.linalg.norm(codes, axis=1) > 1.1774).astype(int)
    parts = codes[:1000], labels[:1000], codes[1000:], labels[1000:]
    assert probing.linear_accuracy(*parts) < 0.6
    assert probing.neighbours_accuracy(*parts) > 0.9


def test_the_accuracy_does_not_depend_on_the_location_and_the_unit_of_the_codes():
    codes, labels = blobs(300, apart=1.0)
    parts = labels[:100], codes[100:], labels[100:]
    expected = probing.linear_accuracy(codes[:100], *parts)
    moved = 1000.0 * codes + 7000.0
    assert probing.linear_accuracy(moved[:100], parts[0], moved[100:], parts[2]) == expected


def test_the_probe_is_the_best_at_the_penalty_that_held_out_labels_ask_for():
    codes, labels = blobs(120, apart=1.0)
    codes = (codes - codes.mean(axis=0)) / codes.std()
    probes = probing._fit(codes, labels, probing.PENALTIES)
    for probe, penalty in zip(probes, probing.PENALTIES, strict=True):
        alone = LogisticRegression(C=1 / (penalty * 120), max_iter=5000).fit(codes, labels)
        losses = [
            -model.predict_log_proba(codes)[np.arange(120), labels].mean()
            + penalty / 2 * np.square(model.coef_).sum()
            for model in (probe, alone)
        ]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    # Noise needs the largest penalty.
    noise = RNG.normal(size=(60, 30))
    labels = RNG.integers(0, 3, 60)
    chosen = probing._best_penalty(noise[:40], labels[:40], noise[40:], labels[40:])
    assert chosen == max(probing.PENALTIES)


def test_labels_are_drawn_in_equal_parts_and_never_twice():
    labels = RNG.permutation(np.repeat([3, 5, 9], [50, 30, 400]))
    for num_labels in (6, 20, 60):
        chosen = probing.draw_labelled(labels, num_labels, np.random.default_rng(num_labels))
        counts = [np.sum(labels[chosen] == value) for value in (3, 5, 9)]
        assert len(set(chosen)) == sum(counts) == num_labels
        assert max(counts) - min(counts) <= 1
    assert len(probing.draw_labelled(labels, 480, np.random.default_rng(0))) == 480


def test_draws_differ_and_are_the_same_for_all_codes(monkeypatch):
    codes, labels = blobs(200)
    seen = []
    monkeypatch.setattr(probing, "linear_accuracy", lambda *parts: seen.append(parts) or 1.0)
    options = {"num_labels": 12, "num_draws": 3}
    for scale, seed in ((1, 0), (2, 0), (1, 1)):
        probing.accuracies(scale * codes, labels, codes, labels, seed=seed, **options)
    first, second, other = seen[:3], seen[3:6], seen[6:]
    for one, same in zip(first, second, strict=True):
        np.testing.assert_array_equal(2 * one[0], same[0])
        assert one[0].shape == (12, 6)
    assert not np.array_equal(first[0][0], first[1][0])
    assert not np.array_equal(first[0][0], other[0][0])


def test_more_labels_predict_better_and_all_are_drawn_once():
    codes, labels = blobs(1200, apart=1.5)
    found = [
        probing.accuracies(
            codes[:400],
            labels[:400],
            codes[400:],
            labels[400:],
            num_labels=number,
            num_draws=5,
            seed=0,
        )
        for number in (8, 40, 400)
    ]
    assert found[0].linear < found[1].linear < found[2].linear
    assert found[0].neighbours < found[1].neighbours < found[2].neighbours
    whole = probing.linear_accuracy(codes[:400], labels[:400], codes[400:], labels[400:])
    assert found[2].linear == whole


CODES, LABELS = blobs(40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": CODES[:0], "labels": LABELS[:0]}, r"training codes have shape \[0, 6\]"),
        ({"test_codes": CODES[:0], "test_labels": LABELS[:0]}, r"test codes have shape \[0, 6\]"),
        ({"codes": CODES[:, 0]}, r"shape \[40\]"),
        ({"codes": CODES[:, :5]}, "5 numbers each and the test codes 6"),
        ({"labels": LABELS[:7]}, "7 training labels do not fit 40 training codes"),
        ({"codes": np.where(CODES > 3.9, np.nan, CODES)}, "training codes are not finite"),
        ({"test_codes": np.full((40, 6), np.inf)}, "40 of the 40 test codes are not finite"),
        ({"labels": np.full(40, 7)}, "all labels are 7; a probe needs at least two classes"),
        ({"num_labels": 7}, "7 labels are fewer than two for each of 4 classes; use at least 8"),
        ({"num_labels": 48}, "48 labels in 4 classes take 12 of the class 0, which has 10"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, message):
    given = {"codes": CODES, "labels": LABELS, "test_codes": CODES, "test_labels": LABELS}
    options = {"num_labels": 12, "num_draws": 1, "seed": 0}
    with pytest.raises(UserError, match=message):
        probing.accuracies(**{**given, **options, **changes})
