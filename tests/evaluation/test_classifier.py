import json

import jax
import numpy as np
import pytest
import small_data
from absl.testing import flagsaver

from experiments import classifier as command
from vae_jax import data
from vae_jax.data import Dataset, corruptions
from vae_jax.errors import UserError
from vae_jax.evaluation import classifier, classifier_training

pytestmark = pytest.mark.usefixtures("parsed_flags")


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return str(small_data.write_bars(tmp_path_factory.mktemp("data") / "bars.npz"))


@pytest.fixture(scope="module")
def splits(bars):
    return [data.load(bars, split, "") for split in ("train", "test")]


@pytest.fixture(scope="module")
def losses():
    return []


@pytest.fixture(scope="module")
def trained(splits, losses):
    return classifier_training.train(
        *splits,
        jax.random.key(0),
        num_epochs=20,
        on_epoch=lambda epoch, loss: losses.append((epoch, loss)),
    )


@pytest.fixture
def folder(trained, tmp_path):
    classifier.save(tmp_path, trained)
    return tmp_path


def test_classes_that_differ_are_learned(trained, splits, losses):
    _, test = splits
    assert trained.num_classes == 4
    assert trained.facts["test_accuracy"] > 0.95
    assert trained.facts["test_accuracy"] == np.mean(trained.predict(test.images) == test.labels)
    assert trained.facts["train_seconds"] > 0
    assert [epoch for epoch, _ in losses] == list(range(1, 21))
    assert losses[-1][1] < 0.3 < losses[0][1]


def test_the_same_key_gives_the_same_classifier_and_another_key_another(trained, splits):
    again, other = (
        classifier_training.train(*splits, jax.random.key(seed), num_epochs=20) for seed in (0, 1)
    )
    images = splits[1].images
    np.testing.assert_array_equal(again.logits(images), trained.logits(images))
    assert not np.allclose(other.logits(images), trained.logits(images))


def test_predictions_features_and_logits_fit_one_another(trained, splits):
    images = splits[1].images
    features, logits = trained.features(images), trained.logits(images)
    head = {name: np.asarray(leaf) for name, leaf in classifier._named(trained.params)}
    expected = features @ head["head/kernel/value"] + head["head/bias/value"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(trained.predict(images), logits.argmax(axis=1))


def test_8_bit_images_and_their_floats_are_the_same_and_batches_do_not_matter(trained, splits):
    images = np.concatenate([splits[0].images, splits[1].images] * 4)
    logits = trained.logits(images)
    assert logits.shape == (4 * (256 + 70), 4)
    np.testing.assert_allclose(trained.logits(images / 255.0), logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trained.logits(images[1000:1010]), logits[1000:1010], rtol=1e-4)


def test_any_shape_and_number_of_channels_can_be_learned_from():
    images = np.random.default_rng(0).random((9, 3, 5, 2), np.float32)
    examples = Dataset(images, np.arange(9, dtype=np.int32) % 3)
    small = classifier_training.train(examples, examples, jax.random.key(0), num_epochs=1)
    assert small.logits(examples.images).shape == (9, 3)


def test_shifts_move_images_by_whole_pixels_and_repeat_their_edge():
    image = np.arange(14 * 28, dtype=np.float32).reshape(1, 14, 28, 1)
    shift = jax.jit(classifier_training._shifted)
    shifted = np.asarray(shift(image.repeat(64, axis=0), jax.random.key(0)))[..., 0]
    padded = np.pad(image[0, ..., 0], ((1, 1), (2, 2)), mode="edge")
    moves = {(i, j): padded[i : i + 14, j : j + 28] for i in range(3) for j in range(5)}
    found = [
        next(at for at, move in moves.items() if np.array_equal(move, image)) for image in shifted
    ]
    assert len(set(found)) == len(moves)


def test_blurred_images_keep_their_mean_and_each_has_a_blur_of_its_own():
    dot = np.zeros((64, 31, 31, 1), np.float32)
    dot[:, 15, 15] = 1
    blur = jax.jit(lambda images, key: classifier_training._blurred(images, key, 2.0))
    blurred = np.asarray(blur(dot, jax.random.key(0)))[..., 0]
    np.testing.assert_allclose(blurred.sum(axis=(1, 2)), 1, rtol=1e-3)
    peaks = blurred[:, 15, 15]
    # Small deviations all leave the peak at 1.
    assert len(np.unique(peaks)) > 50
    # A normal density of standard deviation 2 has the peak 1 / (2 pi 2^2).
    assert peaks.max() > 0.9
    assert 1 / (8 * np.pi) < peaks.min() < 0.1


def test_a_classifier_that_learned_from_blurred_images_reads_them_better():
    rng = np.random.default_rng(0)
    labels = np.arange(240, dtype=np.int32) % 2
    # Stripes of one pixel and of two: narrow ones are fainter when blurred.
    rows = np.arange(16)[:, None]
    stripes = np.stack([rows % 2, rows // 2 % 2])[labels]
    images = np.broadcast_to(stripes[..., None], (240, 16, 16, 1)) * rng.uniform(
        0.2, 1, (240, 1, 1, 1)
    )
    examples = Dataset(images.astype(np.float32), labels)
    blurred = jax.jit(corruptions.blur)(jax.random.key(0), examples.images, 1.0)
    accuracies = [
        classifier_training.train(
            examples, examples, jax.random.key(0), num_epochs=4, blur=blur
        ).accuracy(np.asarray(blurred), labels)
        for blur in (0.0, 1.5)
    ]
    assert accuracies[1] > 0.95 > accuracies[0]


def test_a_classifier_comes_back_from_its_folder(trained, folder, splits):
    back = classifier.load(folder)
    np.testing.assert_array_equal(back.logits(splits[1].images), trained.logits(splits[1].images))
    assert back.facts == trained.facts
    assert not list(folder.glob("*.partial"))


def rewrite(folder, **changes):
    path = folder / "classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def cut(folder):
    path = folder / "parameters.npz"
    path.write_bytes(path.read_bytes()[:-20])


def flip(folder):
    path = folder / "parameters.npz"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(bytes(content))


def sealed(folder, content):
    (folder / "parameters.npz").write_bytes(content)
    rewrite(folder, parameters_sha256=classifier.hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "classifier.json").unlink(), "holds no classifier"),
        (lambda folder: (folder / "classifier.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "classifier.json").write_text("{}"), "is damaged: KeyError"),
        (lambda folder: rewrite(folder, image_shape=[8, 8]), "is damaged: ValueError"),
        (lambda folder: rewrite(folder, num_classes=5), r"needs? float32 \[128, 5\]|head/bias"),
        (lambda folder: rewrite(folder, image_shape=[0, 8, 1]), "is damaged"),
        (lambda folder: (folder / "parameters.npz").unlink(), "cannot be read: No such file"),
        (cut, r"parameters\.npz does not have the checksum"),
        (flip, r"parameters\.npz does not have the checksum"),
        (lambda folder: sealed(folder, b""), r"parameters\.npz is damaged"),
        (lambda folder: sealed(folder, b"PK\3\4 nothing"), r"parameters\.npz is damaged"),
        (lambda folder: sealed(folder, b"\x80\4K\1."), r"parameters\.npz is damaged"),
    ],
)
def test_a_damaged_classifier_is_refused_in_one_line(folder, spoil, message):
    spoil(folder)
    with pytest.raises(UserError, match=message):
        classifier.load(folder)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 9, 8, 1), np.uint8), r"shape \[3, 9, 8, 1\]; this classifier takes \[num, 8"),
        (np.zeros((0, 8, 8, 1), np.uint8), "with num at least 1"),
        (np.zeros((8, 8, 1), np.uint8), r"shape \[8, 8, 1\]"),
        (np.zeros((3, 8, 8, 1), np.int64), "are int64; use uint8 or floats"),
        (np.full((3, 8, 8, 1), np.nan), r"lie in \[nan, nan\]; floats must be in \[0, 1\]"),
        (np.full((3, 8, 8, 1), 1.5), r"lie in \[1\.5, 1\.5\]"),
    ],
)
def test_images_of_another_kind_are_refused(trained, images, message):
    with pytest.raises(UserError, match=message):
        trained.features(images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "the training images have no labels"),
        ({"labels": np.zeros(256, np.int32)}, "of one class"),
        ({"labels": np.full(256, -1, np.int32)}, "hold -1; count classes from 0"),
        ({"labels": np.full(256, 10**6, np.int32)}, "hold the label 1000000; number classes from"),
        ({"images": np.zeros((256, 9, 9, 1), np.uint8)}, "of one shape"),
    ],
)
def test_what_cannot_be_learned_is_refused(splits, changes, message):
    train, test = splits
    with pytest.raises(UserError, match=message):
        classifier_training.train(train._replace(**changes), test, jax.random.key(0), num_epochs=1)


def run(**given):
    with flagsaver.flagsaver(**given):
        command.main()


def test_the_command_trains_once_and_refuses_another_training(bars, tmp_path, capsys):
    given = {"workdir": str(tmp_path / "new" / "classifier"), "data": bars, "epochs": 2}
    run(**given)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["epoch 1", "epoch 2"]
    assert "test accuracy" in lines[2]
    run(**given)
    assert capsys.readouterr().out.splitlines() == lines[2:]
    with pytest.raises(UserError, match=r"holds a classifier of num_epochs=2, not 3"):
        run(**{**given, "epochs": 3})
    with pytest.raises(UserError, match=r"holds a classifier of blur=None, not 1.0"):
        run(**{**given, "blur": 1.0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"blur": 1000.0}, r"blur=1000.0 must be between 0 and \d+, the images' smaller side"),
        ({"data": "none_such"}, "'none_such' is not known"),
        ({"train_split": "lost"}, "names 'lost'"),
        ({"workdir": ""}, "--workdir is missing"),
        ({"workdir": f"{__file__}/classifier"}, "cannot be made: Not a directory"),
    ],
)
def test_a_mistake_on_the_command_line_is_refused(bars, tmp_path, changes, message):
    given = {"workdir": str(tmp_path / "classifier"), "data": bars, "epochs": 1}
    with pytest.raises(UserError, match=message):
        run(**{**given, **changes})
    assert not list(tmp_path.glob("classifier/*.json"))
