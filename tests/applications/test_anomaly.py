import csv
import json

import jax
import numpy as np
import pytest
import small_runs
from absl.testing import flagsaver
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics
from small_models import LinearGaussian

from experiments import detect
from vae_jax import config as factory
from vae_jax.applications.anomaly import (
    SCORES,
    Scorer,
    auroc,
    average_precision,
    baselines,
    detection,
    threshold,
    with_intervals,
)
from vae_jax.applications.anomaly import data as anomaly_data
from vae_jax.applications.anomaly import measure as anomaly_measuring
from vae_jax.applications.anomaly import report as anomaly_report
from vae_jax.applications.anomaly.bounds import bound_scores, typicality
from vae_jax.applications.anomaly.distances import mahalanobis_distance
from vae_jax.applications.anomaly.likelihood_regret import likelihood_regret
from vae_jax.applications.anomaly.plot import score_histograms
from vae_jax.data import Dataset, class_left_out
from vae_jax.errors import UserError
from vae_jax.evaluation import foreign_images
from vae_jax.trained import TrainedModel

pytestmark = pytest.mark.usefixtures("parsed_flags")

GREY_SHAPE = (4, 3, 1)
KEY = jax.random.key(0)

# Few values, so that there are ties.
some_scores = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-3, 3).map(float))


@pytest.mark.parametrize(
    ("normal", "anomalous", "area", "precision"),
    [
        ([0, 1], [2, 3], 1, 1),
        ([2, 3], [0, 1], 0, (1 / 3 + 2 / 4) / 2),
        ([1, 1, 1], [1], 0.5, 1 / 4),
        # 3 of the 4 pairs are in order.
        ([0, 2], [1, 3], 3 / 4, (1 + 2 / 3) / 2),
        ([0, 1], [1], 3 / 4, 1 / 2),
    ],
)
def test_cases_that_can_be_counted(normal, anomalous, area, precision):
    normal, anomalous = np.array(normal, float), np.array(anomalous, float)
    assert auroc(normal, anomalous) == pytest.approx(area)
    assert average_precision(normal, anomalous) == pytest.approx(precision)


@settings(max_examples=50)
@given(normal=some_scores, anomalous=some_scores)
def test_areas_are_those_of_scikit_learn_and_all_pairs(normal, anomalous):
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    scores = np.concatenate([normal, anomalous])
    assert auroc(normal, anomalous) == pytest.approx(metrics.roc_auc_score(truth, scores))
    expected = metrics.average_precision_score(truth, scores)
    assert average_precision(normal, anomalous) == pytest.approx(expected)
    differences = anomalous[:, None] - normal
    pairs = (differences > 0).mean() + (differences == 0).mean() / 2
    assert auroc(normal, anomalous) == pytest.approx(pairs)


def test_the_intervals_cover_the_truth_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(detection, "_NUM_DRAWS", 50)
    rng, covered = np.random.default_rng(0), 0
    for _ in range(40):
        area, precision = with_intervals(rng.normal(0, 1, 60), rng.normal(1, 1, 40))
        assert precision.low <= precision.estimate <= precision.high
        # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt(2)).
        covered += area.low <= 0.7602 <= area.high
    assert 34 <= covered < 40


def test_kinds_that_lie_apart_leave_no_doubt(monkeypatch):
    monkeypatch.setattr(detection, "_NUM_DRAWS", 50)
    area, precision = with_intervals(np.zeros(5), np.ones(4))
    assert area == precision == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("metric", [auroc, average_precision, with_intervals])
def test_one_kind_alone_and_scores_that_are_not_finite_are_refused(metric):
    some = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="no anomalous scores"):
        metric(some, np.zeros(0))
    with pytest.raises(ValueError, match="no normal scores"):
        metric(np.zeros(0), some)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="1 anomalous scores are not finite"):
            metric(some, np.array([1.0, bad]))


@settings(max_examples=50)
@given(scores=some_scores, rate=st.floats(0.001, 0.999))
def test_no_lower_threshold_keeps_to_the_rate(scores, rate):
    limit = threshold(scores, rate)
    assert limit in scores
    assert (scores > limit).mean() <= rate + 1e-9
    lower = scores[scores < limit]
    if len(lower):
        assert (scores > lower.max()).mean() > rate


def test_of_many_scores_the_asked_share_lies_above_the_threshold():
    scores = np.random.default_rng(0).permutation(100.0 + np.arange(100))
    assert threshold(scores, 0.29) == 170.0
    assert threshold(scores, 0.001) == 199.0


@pytest.mark.parametrize("rate", [0.0, 1.0, np.nan, -1.0])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold(np.zeros(3), rate)


def test_the_distance_is_that_of_scipy_where_all_directions_vary():
    rng = np.random.default_rng(0)
    known = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)) + 5
    codes = rng.normal(size=(7, 3))
    inverse = np.linalg.inv(np.cov(known, rowvar=False))
    away = codes - known.mean(axis=0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", away, inverse, away))
    np.testing.assert_allclose(mahalanobis_distance(codes, known), expected)


def test_a_direction_that_does_not_vary_counts_nothing():
    rng = np.random.default_rng(0)
    known, codes = rng.normal(size=(50, 2)), rng.normal(size=(7, 2))
    constant = [np.c_[known, np.full(50, 2.0)], np.c_[codes, np.full(7, 3.0)]]
    found = mahalanobis_distance(constant[1], constant[0])
    np.testing.assert_allclose(found, mahalanobis_distance(codes, known))
    with pytest.raises(UserError, match="one training image has no covariance"):
        mahalanobis_distance(codes, known[:1])
    single = mahalanobis_distance(codes[:, :1], known[:, :1])
    expected = abs(codes[:, 0] - known[:, 0].mean()) / known[:, 0].std(ddof=1)
    np.testing.assert_allclose(single, expected)


def test_what_the_components_span_has_no_reconstruction_error():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    known = (rng.normal(size=(40, 2)) @ basis[:2] + 1).reshape(-1, *GREY_SHAPE)
    off = (known[:3].reshape(3, 12) + 0.5 * basis[5]).reshape(3, *GREY_SHAPE)
    errors = baselines.pca_reconstruction_error(np.concatenate([known[:3], off]), known, 2)
    np.testing.assert_allclose(errors, [0, 0, 0, 0.25, 0.25, 0.25], atol=1e-9)


def test_the_forest_finds_the_image_that_stands_alone():
    known = np.random.default_rng(0).random((100, *GREY_SHAPE))
    images = np.concatenate([known[:20], np.full((1, *GREY_SHAPE), 9.0)])
    scores = baselines.isolation_forest(images, known, seed=0)
    assert scores.argmax() == 20
    assert (scores > 0).all()
    assert (scores < 1).all()


def test_typicality_is_the_distance_from_the_mean_of_what_is_known():
    scores = typicality(np.array([1.0, 4.0, 9.0]), np.array([3.0, 5.0]))
    np.testing.assert_array_equal(scores, [3, 0, 5])


class Linear(TrainedModel):
    """A model for the scores whose densities have a closed form."""

    def __init__(self, **options):
        self.case = LinearGaussian(**options)
        model = small_runs.make_model(
            GREY_SHAPE, **{"model.likelihood": "normal", "data.binarization": "none"}
        )
        super().__init__(model.config, model.image_shape, model.params, model.extra)
        self.graphdef, self.params, self.extra = factory.split_model(self.case.model)


def test_with_the_exact_posterior_bounds_are_log_p_and_there_is_nothing_to_regret():
    linear = Linear()
    images = linear.case.draw_images(0, 40)
    scores = bound_scores(linear, images, KEY, num_samples=200)
    exact = -linear.case.log_likelihood(images)
    np.testing.assert_allclose(scores["iwae_bound"], exact, atol=1e-4)
    np.testing.assert_allclose(scores["elbo"], scores["distortion"] + scores["rate"], rtol=1e-5)
    assert scores["elbo"].mean() == pytest.approx(exact.mean(), abs=0.05)
    regret = likelihood_regret(linear, images, KEY, num_samples=1000)
    assert (regret >= 0).all()
    assert (regret < 0.02).all()


def test_the_regret_is_the_gap_that_the_encoder_leaves():
    linear = Linear(shift=2.0, log_stretch=0.5)
    images = linear.case.draw_images(1, 40)
    regret = likelihood_regret(linear, images, KEY, num_samples=2000)
    np.testing.assert_allclose(regret, linear.case.gap, rtol=0.15)
    assert regret.mean() == pytest.approx(linear.case.gap, rel=0.03)


def make_scorer(**changes):
    model = small_runs.make_model(GREY_SHAPE, **{"data.binarization": "none", **changes})
    known = np.random.default_rng(0).random((30, *GREY_SHAPE)).astype(np.float32)
    return Scorer(model, known, KEY, num_samples=3)


def test_every_score_is_one_finite_number_per_image():
    images = np.random.default_rng(1).random((7, *GREY_SHAPE)).astype(np.float32)
    scores = make_scorer()(list(SCORES), images, jax.random.key(1))
    assert list(scores) == list(SCORES)
    for values in scores.values():
        assert values.shape == (7,)
        assert np.isfinite(values).all()
    np.testing.assert_allclose(scores["elbo"], scores["distortion"] + scores["rate"], rtol=1e-5)


def test_models_without_a_score_are_refused():
    images = np.zeros((2, *GREY_SHAPE), np.float32)
    flow = make_scorer(**{"model.posterior": "iaf"})
    with pytest.raises(
        UserError, match="diagonal normal, and model='vae' with this posterior has none"
    ):
        flow(["likelihood_regret"], images, KEY)
    with pytest.raises(UserError, match="model='autoencoder' has no bound"):
        make_scorer(model="autoencoder")


def test_a_model_that_is_not_finite_is_refused():
    scorer = make_scorer()
    scorer.model = scorer.model.with_params(
        scorer.model.config, jax.tree.map(lambda leaf: leaf * np.nan, scorer.model.params)
    )
    with pytest.raises(UserError, match="-ELBO of 2 images is not finite, first of image 0"):
        scorer(["elbo"], np.zeros((2, *GREY_SHAPE), np.float32), KEY)


def test_the_class_that_is_left_out_is_in_no_split_but_its_own():
    rng = np.random.default_rng(0)
    splits = {
        name: Dataset(
            rng.integers(0, 256, (num, 2, 2, 1), np.uint8), np.arange(num, dtype=np.int32) % 3
        )
        for name, num in (("train", 12), ("test", 6))
    }
    arrays = class_left_out.leave_out(splits, 1)
    assert set(arrays["train_labels"]) == set(arrays["test_labels"]) == {0, 2}
    np.testing.assert_array_equal(arrays["outliers_labels"], [1, 1])
    np.testing.assert_array_equal(arrays["outliers_images"], splits["test"].images[1::3])
    kept = splits["train"].images[np.arange(12) % 3 != 1]
    np.testing.assert_array_equal(arrays["train_images"], kept)
    with pytest.raises(UserError, match="label 7 cannot be left out of 'train', which has 0, 1, 2"):
        class_left_out.leave_out(splits, 7)
    with pytest.raises(UserError, match="'train' has no labels"):
        class_left_out.leave_out({"train": Dataset(splits["train"].images, None)}, 1)


def write_data(path, num_outliers=20):
    rng = np.random.default_rng(0)
    arrays = {
        f"{split}_images": rng.integers(0, 128, (num, *GREY_SHAPE), np.uint8)
        for split, num in (("train", 300), ("test", 50))
    }
    arrays["outliers_images"] = rng.integers(128, 256, (num_outliers, *GREY_SHAPE), np.uint8)
    np.savez(path, **arrays)
    return arrays


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_data(folder / "data.npz")
    model = small_runs.make_model(
        GREY_SHAPE,
        **{
            "data.name": str(folder / "data.npz"),
            "data.binarization": "none",
            "data.train_split": "train[:200]",
            "data.validation_split": "train[200:]",
            "model.likelihood": "normal",
            "evaluation.num_samples": 3,
        },
    )
    small_runs.save(folder / "run", model)
    return folder / "run"


def command(**given):
    with flagsaver.flagsaver(**given):
        detect.main()


def test_the_command_flags_as_many_validation_images_as_asked(run, tmp_path, capsys):
    source, target = tmp_path / "new.npy", tmp_path / "scores.csv"
    known = np.load(run.parent / "data.npz")
    # The images of the threshold, without their axis of channels, and others far off.
    far = 40 * np.ones((3, *GREY_SHAPE[:2]), np.uint8) * 6
    np.save(source, np.concatenate([known["train_images"][200:, ..., 0], far]))
    paths = {"workdir": str(run), "input": str(source), "output": str(target)}
    command(**paths, score="reconstruction_error", false_positive_rate=0.1)
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert list(rows[0]) == ["index", "score", "flagged"]
    assert [int(row["index"]) for row in rows] == list(range(103))
    flagged = np.array([int(row["flagged"]) for row in rows])
    scores = np.array([float(row["score"]) for row in rows])
    assert flagged[:100].sum() == 10
    assert flagged[100:].all()
    assert scores[flagged == 1].min() >= scores[flagged == 0].max()
    output = capsys.readouterr().out
    assert "103 images, 13 of them" in output
    assert "10.0% of the 100 validation images, 'train[200:]'" in output


def test_without_a_validation_split_the_training_images_stand_in_and_the_output_says_so(
    run, tmp_path, capsys
):
    changes = {"data.name": str(run.parent / "data.npz"), "data.train_split": "train"}
    model = small_runs.make_model(GREY_SHAPE, **changes, **{"data.validation_split": ""})
    small_runs.save(tmp_path / "run", model)
    np.save(tmp_path / "a.npy", np.zeros((2, *GREY_SHAPE), bool))
    paths = {"workdir": str(tmp_path / "run"), "input": str(tmp_path / "a.npy")}
    command(**paths, output=str(tmp_path / "a.csv"), score="mahalanobis")
    assert "300 training images, 'train'; the run has no validation" in capsys.readouterr().out


def objects(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


ONE_NAN = np.zeros((3, *GREY_SHAPE))
ONE_NAN[1, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "a.npy does not exist"),
        (lambda path: path.write_bytes(b""), "a.npy is not a whole .npy file"),
        (objects, "not a whole .npy file: Object arrays cannot be loaded"),
        (lambda path: np.save(path, np.zeros((3, 5, 3), np.uint8)), "have shape [3, 5, 3]"),
        (lambda path: np.save(path, np.zeros((0, 4, 3), np.uint8)), "with num at least 1"),
        (lambda path: np.save(path, np.zeros((3, 4, 3), np.int64)), "are int64"),
        (lambda path: np.save(path, np.zeros((3, 4, 3), complex)), "are complex128"),
        (lambda path: np.save(path, ONE_NAN), "1 of 3 images hold NaN or infinite values, first"),
        (lambda path: np.save(path, np.full((3, 4, 3), 1e60)), "3 of 3 images hold NaN"),
        (lambda path: np.save(path, np.full((3, 4, 3), 200.0)), "lie in [200, 200], outside"),
        (lambda path: np.save(path, np.ones((3, 4, 3), np.uint8)), "no value above 1, of 255"),
    ],
)
def test_files_that_hold_no_images_of_the_run_are_refused_and_nothing_is_written(
    run, tmp_path, write, message
):
    write(tmp_path / "a.npy")
    target = tmp_path / "a.csv"
    target.write_text("mine")
    with pytest.raises(UserError) as error:
        command(workdir=str(run), input=str(tmp_path / "a.npy"), output=str(target))
    assert message in str(error.value)
    assert target.read_text() == "mine"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"output": "a.csv"}, "--input is missing; name a .npy or .npz file"),
        ({"input": "a.npy"}, "--output is missing"),
        ({"input": "a.npy", "output": "a.npy"}, r"--output=a\.npy must end in \.csv"),
        ({"false_positive_rate": 0.0}, "--false_positive_rate=0.0 must lie between 0 and 1"),
        ({"false_positive_rate": float("nan")}, "--false_positive_rate=nan must lie"),
    ],
)
def test_flags_that_do_not_fit_are_refused(run, given, message):
    with pytest.raises(UserError, match=message):
        command(workdir=str(run), **given)


def test_black_and_white_and_floats_are_stored_as_the_run_has_them():
    model = small_runs.make_model(GREY_SHAPE)
    black_and_white = np.array([[[[False]], [[True]]]])
    stored = foreign_images.as_stored(model, black_and_white, np.dtype(np.uint8))
    assert stored.dtype == np.uint8
    assert stored.ravel().tolist() == [0, 255]
    # Binarised once, such images are what they were.
    seen = anomaly_data.as_seen(model, stored, KEY)
    np.testing.assert_array_equal(seen.ravel(), [0, 1])
    wide = np.full((1, 2, 2, 1), 7.0)
    changes = {"model.likelihood": "normal", "data.binarization": "none"}
    model = small_runs.make_model(GREY_SHAPE, **changes)
    stored = foreign_images.as_stored(model, wide, np.dtype(np.float32))
    assert stored.dtype == np.float32


def test_a_measured_run_becomes_rows_a_plot_and_a_table(run, tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "_NUM_DRAWS", 20)
    rows = anomaly_measuring.measure_run(run, 30, tmp_path)
    assert [row["score"] for row in rows] == list(SCORES)
    assert rows[0]["outliers"] == "outliers"
    assert (rows[0]["num_normal"], rows[0]["num_anomalous"]) == (30, 20)
    # The outliers are brighter than anything known.
    assert {row["score"]: row for row in rows}["pca"]["auroc"]["estimate"] > 0.95
    assert (tmp_path / "data_mlp_normal_0.png").is_file()
    path = tmp_path / "anomaly.json"
    assert anomaly_report.section(path) == ""
    path.write_text(json.dumps({"rows": rows}))
    assert "| data | mlp normal | 1 |" in anomaly_report.section(path)
    assert "| mean | mlp normal | 1 |" in anomaly_report.section(path)


def test_both_kinds_stay_visible_where_their_scores_overlap():
    scores = np.random.default_rng(0).normal(size=400)
    figure = score_histograms({"-ELBO (nats)\nAUROC 0.50": (scores, scores)}, "normal", "others")
    axes = figure.axes[0]
    assert axes.get_title() == "\N{MINUS SIGN}ELBO (nats)\nAUROC 0.50"
    fills = {patch.get_fill() for patch in axes.patches}
    assert fills == {True, False}
    assert figure.get_supylabel() == "share of images"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["normal", "others"]


def test_the_report_shows_the_mean_over_seeds(tmp_path):
    path = tmp_path / "anomaly.json"
    row = {
        "data": "fashion_mnist",
        "outliers": "mnist",
        "network": "mlp",
        "score": "elbo",
        "likelihood": "normal",
        "num_normal": 2000,
        "num_anomalous": 1500,
        "false_positive_rate": 0.051,
        "true_positive_rate": 0.4,
    }
    rows = []
    for seed, value in enumerate((0.8, 0.9)):
        interval = {"estimate": value, "low": value - 0.1, "high": value + 0.1}
        rows.append({**row, "seed": seed, "auroc": interval, "average_precision": interval})
    path.write_text(json.dumps({"rows": rows}))
    cell = "0.850 ± 0.071 [0.750, 0.950]"
    expected = f"mlp normal | -ELBO | 2 | {cell} | {cell} | 5.1% | 40.0% |"
    assert f"| fashion_mnist, mnist | {expected}" in anomaly_report.section(path)
    path.write_text('{"torn')
    with pytest.raises(UserError, match=r"anomaly\.json cannot be read"):
        anomaly_report.section(path)


def test_a_data_set_without_known_outliers_is_refused(run):
    model = small_runs.make_model(GREY_SHAPE, **{"data.name": "sprites"})
    with pytest.raises(UserError, match="has no split 'outliers', and is not one of"):
        anomaly_measuring.load_outliers(model)
