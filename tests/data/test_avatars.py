"""Tests of avatars: their factors, their rendering, the prepared data set, and training on it."""

import hashlib
import itertools
import json
import sys

import jax
import numpy as np
import pytest
from small_configs import small_config

import vae_jax
from experiments import train
from vae_jax import workdir
from vae_jax.data import load, multimodal, prepared, split_sizes
from vae_jax.data.avatars import builder, faces, rendering
from vae_jax.data.captions import grammar as captions
from vae_jax.data.captions.grammars import find_grammar
from vae_jax.errors import UserError
from vae_jax.evaluation import summary
from vae_jax.evaluation.disentanglement import MetricSizes
from vae_jax.evaluation.progress import progress_bar

pytest.importorskip("array_record", reason="has no Windows version")

NAMES = tuple(faces.FACTORS)
SIZES = {"train": 30, "test": 3, "twins": 3}
# Of the pixels, from the top and from the left: what glasses cover at 64x64.
EYES = (slice(20, 40), slice(8, 56))


def prepare(data_dir, image_size=0, num_examples=0):
    return builder.prepare(
        image_size, num_examples, str(data_dir), lambda num: progress_bar(num, "face", show=False)
    )


def with_value(row, name, value):
    changed = row.copy()
    changed[NAMES.index(name)] = faces.FACTORS[name].values.index(value)
    return changed


@pytest.fixture(scope="module")
def packages():
    for name in ("python_avatars", "resvg_py"):
        pytest.importorskip(name, reason="avatars are rendered by optional packages")


@pytest.fixture(scope="module")
def data_dir(packages, tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    made = prepare(root, image_size=32, num_examples=30)
    assert made.sizes == SIZES
    assert not made.was_there
    return root


@pytest.mark.usefixtures("parsed_flags")
@pytest.mark.parametrize("use", ["condition", "disentanglement"])
def test_a_model_trains_with_the_accessory_as_condition_or_is_scored_by_the_factors(
    use, data_dir, tmp_path, monkeypatch
):
    # Ten faces are not drawn thousands of times.
    sizes = MetricSizes(200, 100, 20, 50, 20, 4, 50, 20, 4)
    monkeypatch.setattr(summary, "MetricSizes", lambda: sizes)
    changes = {
        "condition": {"model.condition": {"name": "label", "classes": 3}},
        "disentanglement": {"evaluation.disentanglement": True},
    }
    config = small_config(
        {
            "data.name": "avatars/32x32_first_30",
            "data.dir": str(data_dir),
            "data.train_split": "train[:18]",
            "data.validation_split": "train[18:20]",
            "data.test_split": "train[20:]",
            "data.binarization": "none",
            "epochs": 1,
            "batch_size": 6,
            "tensorboard.images_every_epochs": 0,
            "evaluation.num_samples": 2,
            **changes[use],
        }
    )
    train.train(config, tmp_path)
    measured = workdir.read_summary(tmp_path)["test"]
    assert np.isfinite(measured["elbo"])
    if use == "disentanglement":
        assert "accessory" in measured["factors"]
        for name in ("beta_vae_score", "mig", "sap", "dci_disentanglement", "irs"):
            assert 0 <= measured[name] <= 1, name
        return
    # A face that wears nothing, and one with sunglasses, of the same latents.
    model = vae_jax.load(tmp_path)
    bare, dark = (
        model.sample(jax.random.key(0), 2, condition=np.full(2, label)) for label in (0, 2)
    )
    assert bare.shape == (2, 32, 32, 3)
    assert not np.array_equal(bare, dark)


def test_captions_say_what_is_drawn(data_dir):
    train = load("avatars/32x32_first_30", "train", str(data_dir))
    texts = multimodal.write_texts(train, "avatars/32x32_first_30", part="train", seed=0)
    reading = captions.read_all(
        find_grammar("avatars/32x32_first_30"), texts.vocabulary.decode(texts.ids)
    )
    np.testing.assert_array_equal(reading.labels, train.labels)
    for column, name in enumerate(texts.attributes.names):
        said = reading.values[:, column] >= 0
        assert said.any()
        factor = train.factors.column(name)
        np.testing.assert_array_equal(reading.values[said, column], factor[said])


def test_factors_are_the_same_everywhere_and_other_faces_are_tested():
    train, test = (faces.draw_factors(split) for split in ("train", "test"))
    assert (train.shape, test.shape) == ((40_000, 11), (4_000, 11))
    digest = hashlib.sha256(np.concatenate([train, test]).astype("<i4").tobytes()).hexdigest()
    assert digest == "9b119ef9921db0ff216965ed5c58941cd8d97a8eadf73115a1e8de68f8b12ca0"
    seen = set(map(tuple, train.tolist()))
    assert not any(tuple(row) in seen for row in test.tolist())


def test_twins_differ_in_their_sunglasses_alone():
    test, twins = faces.draw_factors("test"), faces.draw_factors("twins")
    column, dark = NAMES.index("accessory"), faces.FACTORS["accessory"].values.index("sunglasses")
    np.testing.assert_array_equal(np.delete(test, column, 1), np.delete(twins, column, 1))
    np.testing.assert_array_equal(test[:, column] != dark, twins[:, column] == dark)
    assert set(twins[:, column]) == {0, dark}


def test_shares_are_as_stated_and_factors_are_independent():
    train = faces.draw_factors("train")
    for column, factor in zip(train.T, faces.FACTORS.values(), strict=True):
        num = len(factor.values)
        expected = np.array(factor.shares or [100 / num] * num) / 100
        assert expected.sum() == pytest.approx(1)
        np.testing.assert_allclose(np.bincount(column, minlength=num) / 40_000, expected, atol=0.01)
    # Chi-square tests of all 55 pairs, at a level that one of them misses once in 10,000 seeds.
    from scipy.stats import chi2_contingency

    for first, second in itertools.combinations(range(len(NAMES)), 2):
        table = np.zeros((train[:, first].max() + 1, train[:, second].max() + 1))
        np.add.at(table, (train[:, first], train[:, second]), 1)
        assert chi2_contingency(table).pvalue > 1e-4 / 55, (NAMES[first], NAMES[second])


@pytest.mark.usefixtures("packages")
def test_the_recorded_versions_render_the_recorded_pixels():
    if rendering.installed_versions() != rendering.VERSIONS:
        pytest.skip("other versions are installed")
    assert builder._warning_of_first() == ""


@pytest.mark.usefixtures("packages")
def test_other_pixels_are_warned_of_when_they_are_written_and_when_they_are_read(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(builder, "_DIGEST_OF_FIRST", "another")
    made = prepare(tmp_path, image_size=32, num_examples=1)
    written, read = (record.getMessage() for record in caplog.records)
    assert "python_avatars 1.4.1 and resvg_py 0.5.0; results on them" in written
    assert read == f"{made.folder}: {written}"
    # As in another process, which opens several splits.
    caplog.clear()
    prepared._warn.cache_clear()
    for split in ("train", "test"):
        load("avatars", split, str(tmp_path))
    assert [record.getMessage() for record in caplog.records] == [read]


def test_known_pixels_are_kept_with_their_digest_and_without_a_warning(data_dir):
    path = data_dir / "avatars" / "32x32_first_30" / builder.VERSION / "metadata.json"
    metadata = json.loads(path.read_text())
    digest = hashlib.sha256()
    for split in SIZES:
        for row in faces.draw_factors(split)[: SIZES[split]]:
            digest.update(builder._render(row, 32).digest)
    assert metadata["sha256"] == digest.hexdigest()
    if rendering.installed_versions() == rendering.VERSIONS:
        assert set(metadata) == {"sha256"}


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("row", faces.draw_factors("test")[:3].copy(), ids=range(3))
def test_sunglasses_darken_the_eyes_and_change_nothing_else(row):
    bare, dark = (
        rendering.render(with_value(row, "accessory", value), 64).astype(int)
        for value in ("none", "sunglasses")
    )
    changed = np.abs(bare - dark).max(axis=-1) > 0
    outside = changed.copy()
    outside[EYES] = False
    assert not outside.any()
    assert changed.sum() > 200
    assert dark[EYES].mean() < bare[EYES].mean() - 10


@pytest.mark.usefixtures("packages")
def test_every_value_of_every_factor_is_seen_in_the_image():
    row = np.zeros(len(NAMES), np.int32)
    # With hair, whose colour shows.
    row = with_value(row, "top", "bob")
    for name, factor in faces.FACTORS.items():
        images = {rendering.render(with_value(row, name, v), 64).tobytes() for v in factor.values}
        assert len(images) == len(factor.values), name


def test_a_prepared_set_is_read_with_its_labels_and_named_factors(data_dir):
    assert split_sizes("avatars", str(data_dir)) == SIZES
    train = load("avatars", "train", str(data_dir))
    rows = faces.draw_factors("train")[:30]
    assert train.images.shape == (30, 32, 32, 3)
    np.testing.assert_array_equal(train.factors.values, rows)
    np.testing.assert_array_equal(train.labels, rows[:, NAMES.index("accessory")])
    assert train.factors.names == NAMES
    assert train.factors.value_names == tuple(f.values for f in faces.FACTORS.values())
    assert train.factors.sizes == tuple(len(f.values) for f in faces.FACTORS.values())
    for index in (0, 29):
        np.testing.assert_array_equal(train.images[index], rendering.render(rows[index], 32))
    test = load("avatars/32x32_first_30", "test", str(data_dir))
    np.testing.assert_array_equal(test.factors.values, faces.draw_factors("test")[:3])
    assert prepare(data_dir, image_size=32, num_examples=30).was_there


@pytest.mark.parametrize(
    ("image_size", "num_examples", "message"),
    [
        (3, 0, "image_size=3 must be from 32 to 256 for avatars, or 0 for 64"),
        (-1, 0, "image_size=-1 must be"),
        (0, -1, "num_examples=-1 must be from 1 to 40000, or 0 for all"),
        (0, 40_001, "num_examples=40001 must be"),
    ],
)
def test_sizes_out_of_range_are_refused(image_size, num_examples, message, tmp_path):
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "new", image_size, num_examples)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("package", ["python_avatars", "resvg_py"])
def test_without_an_optional_package_one_line_says_how_to_install_it(
    package, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"optional .*: pip install 'python_avatars>=1\.") as error:
        prepare(tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("avatars/**/*.json"))


def test_a_set_that_is_not_prepared_is_refused_with_the_command(tmp_path):
    with pytest.raises(UserError, match=r"run python -m experiments\.prepare --name=avatars --da"):
        load("avatars", "train", str(tmp_path))
