import json
import shutil

import jax
import numpy as np
import pytest
import small_joint_runs
from absl.testing import flagsaver
from flax import nnx
from small_models import initialized
from small_runs import make_model
from small_runs import save as save_of_images

from configs import multimodal, multimodal_label, multimodal_renderings
from experiments import draw
from experiments import measure as command
from vae_jax.applications.multimodal import classifiers as classifiers_of_modalities
from vae_jax.applications.multimodal import measure as multimodal_measuring
from vae_jax.applications.multimodal import report as multimodal_report
from vae_jax.data.captions.grammars import GRAMMARS
from vae_jax.errors import UserError
from vae_jax.evaluation import classifier, joint_drawing
from vae_jax.evaluation.classifier import Classifier, ClassifierNetwork

pytestmark = pytest.mark.usefixtures("parsed_flags")

RENDERINGS = ("rendering_0", "rendering_4")


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """A folder with a classifier of MNIST that has not learned anything."""
    folder = tmp_path_factory.mktemp("classifier")
    network = initialized(lambda: ClassifierNetwork((28, 28, 1), 10, rngs=nnx.Rngs(0)))
    params = nnx.split(network)[1]
    classifier.save(folder, Classifier((28, 28, 1), 10, params, {"data": "mnist"}))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small_joint_runs.save(folder / "captions", multimodal.get_config())
    small_joint_runs.save(folder / "labels", multimodal_label.get_config())
    small_joint_runs.save(
        folder / "renderings", multimodal_renderings.get_config(), **{"data.modalities": RENDERINGS}
    )
    return folder


@pytest.fixture
def quick(monkeypatch, unrendered):
    """Measure with one fit of a probe and one epoch of a classifier, and let plots be empty."""
    monkeypatch.setattr(multimodal_measuring, "_NUM_DRAWS", 1)
    monkeypatch.setattr(classifiers_of_modalities, "_NUM_EPOCHS", 1)


def measure(workdirs, judges, out):
    chosen = {
        "use": "multimodal",
        "workdirs": [str(path) for path in workdirs],
        "classifier": str(judges),
        "num_test_examples": 20,
        "output": str(out / "multimodal.json"),
    }
    with flagsaver.flagsaver(**chosen):
        command.main()
    return json.loads((out / "multimodal.json").read_text())["rows"]


def test_a_run_of_images_and_captions_is_measured_drawn_and_reported(
    runs, classifiers, quick, tmp_path, capsys
):
    captions, labels = measure([runs / "captions", runs / "labels"], classifiers, tmp_path)
    assert captions["num_examples"] == 20
    assert captions["reader_accuracy"]["text"] == 1
    assert set(captions["conditional_coherence_by_subset"]) == {"image", "text"}
    assert captions["captions"]["real"]["all_attributes"] == 1
    assert set(captions["probe"]) == {"all", "image", "text"}
    assert captions["likelihood"]["log_likelihood"]["image"] == -24.0
    assert labels["captions"] is None
    assert labels["reader_accuracy"]["label"] == 1
    for folder in ("captions", "labels"):
        drawn = {path.name for path in (tmp_path / "multimodal" / folder).iterdir()}
        assert drawn == {"image_to_text.png", "joint_samples.png", "text_to_image.png"}
    assert "captions, seed 0: coherence 1 given" in capsys.readouterr().out
    text = multimodal_report.section(tmp_path / "multimodal.json")
    assert "| JMVAE | mnist, image and text | 1 |" in text
    assert "| JMVAE | mnist, image and label | 1 | -30.50 | -25.00 | -24.00 | -21.50 | 5 |" in text
    assert "](uses/" not in text  # Only the folder above knows where it is shown.
    assert f"({tmp_path.name}/multimodal/captions/text_to_image.png)" in text


def test_runs_of_folders_with_one_name_are_drawn_apart(runs, classifiers, tmp_path, monkeypatch):
    def measure_run(folder, model, examples):
        row = {**row_of(model.seed, 0.5), "config_digest": model.digest}
        del row["name"]
        return row

    def draw(model, seen, labels, out):
        out.mkdir(parents=True)

    monkeypatch.setattr(multimodal_measuring, "measure_run", measure_run)
    monkeypatch.setattr(multimodal_measuring.joint_drawing, "draw_modalities", draw)
    for parent, name in (("a", "captions"), ("b", "labels")):
        shutil.copytree(runs / name, tmp_path / parent / "0000")
        rows = measure([tmp_path / parent / "0000"], classifiers, tmp_path)
    names = [row["name"] for row in rows]
    assert names == ["0000", f"0000_{rows[1]['config_digest'][:8]}"]
    assert {path.name for path in (tmp_path / "multimodal").iterdir()} == set(names)


def test_renderings_have_a_classifier_each_which_is_trained_once(
    runs, quick, tmp_path, monkeypatch
):
    judges = tmp_path / "judges"
    (row,) = measure([runs / "renderings"], judges, tmp_path)
    assert set(row["classifiers"]) == set(RENDERINGS)
    for name in RENDERINGS:
        facts = classifier.load(judges / name).facts
        assert facts["modality"] == name
        assert facts["num_train"] == 400
        assert row["classifiers"][name] == facts
    assert set(row["conditional_coherence"]) == {"1"}
    drawn = {path.name for path in (tmp_path / "multimodal" / "renderings").iterdir()}
    assert drawn == {"joint_samples.png", "missing_modality.png"}
    monkeypatch.setattr(joint_drawing, "draw_modalities", lambda *_: None)
    (again,) = measure([runs / "renderings"], judges, tmp_path)
    assert again == row


@pytest.mark.plots
def test_a_run_of_several_modalities_can_be_drawn_again(runs, tmp_path):
    shutil.copytree(runs / "labels", tmp_path / "run")
    with flagsaver.flagsaver(workdir=str(tmp_path / "run"), format=["svg"]):
        draw.main()
    drawn = {path.name for path in (tmp_path / "run" / "plots").iterdir()}
    assert drawn == {"image_to_text.svg", "joint_samples.svg", "text_to_image.svg"}


def test_each_modality_beside_images_is_drawn_and_given(tmp_path, monkeypatch, unrendered):
    shown = GRAMMARS["mnist"]._replace(shown=("a thin four", "a three"))
    monkeypatch.setitem(GRAMMARS, "mnist", shown)
    model = small_joint_runs.make_model()
    seen = {"image": small_joint_runs.IMAGES, "label": np.arange(3), "text": ["a thin four"] * 3}
    joint_drawing.draw_modalities(model, seen, None, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {
        "joint_samples",
        "image_to_label",
        "label_to_image",
        "image_to_text",
        "text_to_image",
    }


def test_what_cannot_be_measured_is_refused_in_a_line(runs, classifiers, tmp_path):
    save_of_images(tmp_path / "images", make_model((4, 3, 1), batch_size=20))
    with pytest.raises(UserError, match="is a run of images alone; name runs of several"):
        measure([runs / "captions", tmp_path / "images"], classifiers, tmp_path)
    with pytest.raises(UserError, match="--workdirs is missing"):
        measure([], classifiers, tmp_path)
    with pytest.raises(UserError, match="--classifier is missing"):
        measure([runs / "captions"], "", tmp_path)
    params = classifier.load(classifiers).params
    other = Classifier((28, 28, 1), 10, params, {"data": "fashion_mnist"})
    (tmp_path / "clothes").mkdir()
    classifier.save(tmp_path / "clothes", other)
    with pytest.raises(UserError, match=r"trained on 'fashion_mnist', and the run on data.name="):
        measure([runs / "captions"], tmp_path / "clothes", tmp_path)
    shutil.copytree(runs / "captions", tmp_path / "begun")
    (tmp_path / "begun" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"has no summary.json yet; let the run end first"):
        measure([tmp_path / "begun"], classifiers, tmp_path)


def test_a_classifier_of_a_factor_that_captions_do_not_mention_is_refused(
    runs, classifiers, tmp_path
):
    trained = classifier.load(classifiers)
    for factor, facts in (("mouth", {"factor": "mouth"}), ("classes", {})):
        (tmp_path / factor).mkdir()
        judge = Classifier((28, 28, 1), 10, trained.params, {"data": "mnist", **facts})
        classifier.save(tmp_path / factor, judge)
    for factor, message in (
        ("mouth", r"the factor 'mouth', and the captions .* mention no factors; leave it out"),
        ("classes", r"classes tells classes; train one with experiments\.classifier"),
    ):
        chosen = flagsaver.flagsaver(classifiers=[str(tmp_path / factor)])
        with pytest.raises(UserError, match=message), chosen:
            measure([runs / "captions"], classifiers, tmp_path)


def agreement(label, thickness):
    return {
        "label": label,
        "attributes": {"thickness": thickness, "slant": None},
        "said": {"thickness": 0.5, "slant": 0.0},
        "all_attributes": thickness,
    }


def row_of(seed, share):
    return {
        "name": f"run_{seed}",
        "data": "mnist",
        "modalities": ["image", "text"],
        "joint_posterior": "product",
        "seed": seed,
        "conditional_coherence": {"1": share},
        "joint_coherence": 0.25,
        "reader_accuracy": {"image": 0.99, "text": 1.0},
        "probe": {"all": 0.9, "image": 0.8, "text": 0.7},
        "captions": {
            "image_to_text": {"greedy": agreement(share, 0.75), "sampled": agreement(0.5, 0.5)},
            "words": {"accuracy": 0.6, "nats": 1.25},
            "text_to_image": agreement(0.875, share),
            "real": agreement(0.99, 1.0),
        },
        "likelihood": small_joint_runs.LIKELIHOOD,
    }


def test_the_report_shows_means_over_seeds_and_nothing_before_a_measurement(tmp_path):
    path = tmp_path / "multimodal.json"
    assert multimodal_report.section(path) == ""
    path.write_text(json.dumps({"rows": [row_of(0, 0.5), row_of(1, 0.75)]}))
    text = multimodal_report.section(path)
    deviation = f"{100 * np.std([0.5, 0.75], ddof=1):.1f}"
    assert f"| MVAE | mnist, image and text | 2 | 62.5 ± {deviation} | 25.0 ± 0.0 | 99.0" in text
    assert f"caption to image | 87.5 ± 0.0 | 62.5 ± {deviation} | thickness 62.5" in text
    assert "slant  |" in text.replace("slant |", "slant  |")
    assert "60.0 ± 0.0 % at 1.25 nats per word" in text
    path.write_text(json.dumps({"rows": [{}]}))
    with pytest.raises(UserError, match="cannot be read"):
        multimodal_report.section(path)


def test_every_draw_has_a_key_of_its_own():
    keys = jax.random.key_data(multimodal_measuring._keys(small_joint_runs.make_model()))
    assert len({tuple(key.tolist()) for key in np.asarray(keys)}) == 4
