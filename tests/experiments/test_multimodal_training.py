import functools
import json

import jax
import numpy as np
import pytest
import short_runs
from hypothesis import given
from hypothesis import strategies as st
from small_data import write_bars
from small_modalities import draw_texts

import vae_jax
from configs import multimodal, multimodal_label, multimodal_renderings, vanilla
from experiments import train
from vae_jax import config as factory
from vae_jax import trained as trained_models
from vae_jax.config.forms import forms_of, from_metadata, refuse_other_form, to_metadata
from vae_jax.data.captions.vocabulary import UNKNOWN, Vocabulary
from vae_jax.data.multimodal import PRESENT, MultimodalDataset, draw_present
from vae_jax.errors import UserError
from vae_jax.models.modalities import Form
from vae_jax.sweeps.members import InTurn, SideBySide, stack
from vae_jax.sweeps.plan import _member_memory
from vae_jax.training.loop import Interrupted
from vae_jax.training.parallel import compile_program

pytestmark = pytest.mark.usefixtures("parsed_flags")

SMALL = {
    "epochs": 2,
    "batch_size": 32,
    "steps_per_call": 3,
    "data.train_split": "train[:192]",
    "data.validation_split": "train[192:]",
    "model.encoder.widths": (12,),
    "model.label.widths": (12,),
    "model.latent_size": 3,
    "objective.warmup_epochs": 0.0,
    "evaluation.num_samples": 5,
    "evaluation.batch_size": 32,
    "checkpoints.every_seconds": 0.0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("data") / "bars.npz")


def config_of(data, **changes):
    """The experiment; `changes` by dotted name."""
    values = {"data.name": str(data), **SMALL, **changes}
    return factory.resolve(factory.with_values(multimodal_label.get_config(), values))


FORMS = {
    "image": Form("image", (4, 4, 1)),
    "label": Form("class", (3,)),
    "text": Form("text", (5,), ("a", "b", "c")),
}
KINDS = {
    "joint": {"name": "jmvae", "unimodal_kl_weight": 0.1},
    "product": {"name": "mvae", "num_subsets": 1},
    "mixture": {"name": "mmvae", "num_samples": 2},
    "mixture_of_products": {"name": "mopoe", "beta": 0.5},
}


def kind_config(kind, **changes):
    """The experiment of a kind of joint posterior with its objective."""
    values = {
        # A text takes the longest to compile.
        "data.modalities": ("image", "label") if kind == "joint" else tuple(FORMS),
        "model.joint_posterior": kind,
        "objective": KINDS[kind],
        **changes,
    }
    if "text" in values["data.modalities"]:
        values["objective.word_dropout"] = 0.2
    return config_of("mnist", **values)


def draw_examples(names, num, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {
        "image": rng.integers(0, 256, (num, 4, 4, 1), dtype=np.uint8),
        "label": rng.integers(0, 3, num).astype(np.int32),
        "text": draw_texts(rng, num),
    }
    return {name: arrays[name] for name in names}


# The last batch in validation is not full.
EXAMPLES, OTHERS = (draw_examples(tuple(FORMS), num, seed) for num, seed in ((96, 0), (41, 1)))


@functools.cache
def begun(kind):
    """Return the program of a kind and the initial states of two seeds."""
    config = kind_config(kind)
    program, mean = factory.build_program(config, FORMS, 96), np.full((4, 4, 1), 0.5, np.float32)
    init, hparams = jax.jit(program.init), factory.build_hparams(config)
    return program, [init({"image": mean}, factory.make_key(seed), hparams) for seed in (0, 1)]


def trained_over(config, num_devices, kind, num_steps=3):
    """Return what trains a config on several devices, and the state and metrics after steps."""

    def build(**options):
        return factory.build_program(config, FORMS, 96, **options)

    compiled = compile_program(build, jax.devices()[:num_devices], kind)
    start = compiled.put(begun(config.model.joint_posterior)[1][0].train)
    return compiled, *compiled.run_steps(start, compiled.put(EXAMPLES), num_steps)


def trained_members(functions):
    """Return the metrics, states and validation of members that begin with the two seeds."""
    states = stack(begun("mixture_of_products")[1])
    both = np.array([True, True])
    placed = functions.place(states, functions.num_slots(2, 1))
    result = functions.run_steps(placed, both, 3, lambda: False)
    states = [functions.state(result.states, index).train for index in (0, 1)]
    return result.metrics, states, functions.validate(result.states, both)


@functools.cache
def trained_in_turn():
    program, _ = begun("mixture_of_products")
    return trained_members(InTurn(program, *jax.device_put((EXAMPLES, OTHERS))))


def test_one_device_equals_eight():
    compiled, state, metrics = trained_over(kind_config("mixture_of_products"), 8, "jit")
    eight = metrics, jax.tree.leaves(state.params), compiled.validate(state, compiled.put(OTHERS))
    metrics, states, valid = trained_in_turn()
    # The first of the members is the run alone.
    metrics, valid = ({name: rows[0] for name, rows in part.items()} for part in (metrics, valid))
    one = metrics, jax.tree.leaves(states[0].params), valid
    # Adam divides by the size of a gradient: the order of sums shows where that is small.
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=3e-5), eight, one)


def test_accumulated_and_mapped_batches_train_all_modalities():
    config = kind_config("product", **{"optimizer.accumulation_steps": 2})
    metrics = jax.device_get(trained_over(config, 4, "pmap")[2])
    assert np.isfinite(metrics["loss"]).all()
    assert set(metrics) == {
        "loss",
        "elbo",
        "rate",
        "distortion",
        "distortion_image",
        "distortion_label",
        "distortion_text",
    }
    parts = sum(metrics[f"distortion_{name}"] for name in FORMS)
    np.testing.assert_allclose(metrics["distortion"], parts, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["elbo"], -(metrics["rate"] + metrics["distortion"]), rtol=1e-5
    )


def loss_of(config):
    return factory.build_players(config, FORMS, 96)[0].loss


@functools.cache
def compiled_loss(kind):
    return jax.jit(jax.value_and_grad(loss_of(kind_config(kind)), has_aux=True))


def arguments_of(kind, values):
    """Return the arguments of the loss of a kind at its initial parameters."""
    state = begun(kind)[1][0].train
    epoch, key = np.float32(0), jax.random.key(1)
    return state.params, state.extra, (values,), state.hparams, epoch, key


def all_present(num=32):
    return np.ones((num, len(FORMS)), bool)


def test_weights_change_what_is_minimised_and_not_what_is_reported():
    kind = "mixture_of_products"
    weights = {"objective.modality_weights": (1.0, 2.0, 5.0)}
    values = {**draw_examples(tuple(FORMS), 32), PRESENT: all_present()}
    arguments = arguments_of(kind, values)
    weighed, (metrics, _) = jax.jit(loss_of(kind_config(kind, **weights)))(*arguments)
    (_, (plain, _)), _ = jax.device_get(compiled_loss(kind)(*arguments))
    np.testing.assert_allclose(metrics["elbo"], plain["elbo"], rtol=1e-6)
    expected = (
        plain["distortion_image"]
        + 2 * plain["distortion_label"]
        + 5 * plain["distortion_text"]
        + 0.5 * plain["rate"]
    )
    np.testing.assert_allclose(weighed, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["product", "mixture_of_products"])
def test_what_a_training_example_lacks_changes_neither_loss_nor_gradient(kind):
    examples, others = (draw_examples(tuple(FORMS), 32, seed) for seed in (0, 1))
    present = draw_present(32, (1.0, 0.5, 0.3), 0)
    hidden = {
        name: np.where(present[:, i].reshape(-1, *(1,) * (array.ndim - 1)), array, others[name])
        for i, (name, array) in enumerate(examples.items())
    }

    def found(values, present):
        return jax.device_get(
            compiled_loss(kind)(*arguments_of(kind, {**values, PRESENT: present}))
        )

    known = found(examples, present)
    jax.tree.map(np.testing.assert_array_equal, found(hidden, present), known)
    assert known[0][0] != found(examples, all_present())[0][0]
    # Those that no example has cost nothing.
    (_, (metrics, _)), _ = found(examples, np.tile([True, False, True], (32, 1)))
    assert metrics["distortion_label"] == 0
    assert metrics["distortion_text"] > 0


def test_training_examples_have_the_shares_that_the_config_says_and_others_have_all(data):
    config = config_of(
        data,
        **{
            "data.modality_shares": (1.0, 0.25),
            "model.joint_posterior": "product",
            "objective": "mvae",
        },
    )
    splits = factory.load_examples(config)
    present = splits.train_examples[PRESENT]
    assert present.shape == (192, 2)
    assert present[:, 0].all()
    assert 0.15 < present[:, 1].mean() < 0.35
    assert PRESENT not in splits.validation_examples
    np.testing.assert_array_equal(splits.train.read(np.array([5, 3])).present, present[[5, 3]])
    # A step as training makes it.
    program = factory.build_program(config, splits.form, 192)
    start = splits.mean_image, factory.make_key(0), factory.build_hparams(config)
    state = jax.jit(program.init)(*start).train
    _, metrics = jax.jit(program.run_steps, static_argnums=2)(state, splits.train_examples, 1)
    assert np.isfinite(metrics["loss"]).all()


@given(num=st.integers(1, 60), shares=st.lists(st.floats(0.05, 1), min_size=1, max_size=5))
def test_every_training_example_has_a_modality(num, shares):
    present = draw_present(num, shares, seed=3)
    assert present.shape == (num, len(shares))
    assert present.any(axis=1).all()
    assert present[:, [share == 1 for share in shares]].all()
    np.testing.assert_array_equal(draw_present(num, shares, seed=3), present)


def test_members_of_a_sweep_are_trained_on_all_modalities_side_by_side_as_in_turn():
    program, _ = begun("mixture_of_products")
    examples = jax.device_put((EXAMPLES, OTHERS))
    metrics, _, valid = trained_members(SideBySide(program, *examples, jax.local_devices()[:1]))
    in_turn, _, valid_in_turn = trained_in_turn()
    for name, values in in_turn.items():
        np.testing.assert_allclose(metrics[name], values, rtol=2e-4, atol=1e-4)
    np.testing.assert_allclose(valid["elbo"], valid_in_turn["elbo"], rtol=2e-4)
    assert valid["elbo"][0] != valid["elbo"][1]


def test_the_memory_of_a_member_is_known_beforehand():
    memory = _member_memory(kind_config("joint"), {n: FORMS[n] for n in ("image", "label")})
    assert memory.state > 0
    assert memory.step > 0


def test_captions_of_a_user_are_trained_on_in_their_own_words(data, tmp_path):
    for split, num in (("train", 256), ("test", 70)):
        lines = [("a dark bar", "one Bright bar, there")[i % 2] for i in range(num)]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    own = {
        "data.modalities": ("image", "text"),
        "data.captions": {"name": "own", "file": str(tmp_path / "{split}.txt")},
    }
    splits = factory.load_examples(config_of(data, **own))
    form = splits.form["text"]
    assert form == Form("text", (6,), (",", "a", "bar", "bright", "dark", "one", "there"))
    assert Vocabulary(form.words).decode(splits.test.modalities["text"][:2]) == [
        "a dark bar",
        "one bright bar, there",
    ]
    (tmp_path / "test.txt").write_text("a purple bar\n" * 70)
    with pytest.raises(UserError, match="unknown word 'purple'"):
        factory.load_examples(config_of(data, **own))
    replaced = config_of(data, **own, **{"data.unknown_words": "replace"})
    assert (factory.load_examples(replaced).test.modalities["text"][:, 1] == UNKNOWN).all()
    with pytest.raises(UserError, match="give at most 2"):
        factory.load_examples(config_of(data, **own, **{"data.captions.length": 3}))
    (tmp_path / "test.txt").write_text("a dark bar\n" * 69)
    with pytest.raises(UserError, match="69 captions for the 70 images"):
        factory.load_examples(config_of(data, **own))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "jmvae"
    return folder, short_runs.trained(config_of(data), folder, form_of(data))


def form_of(data):
    return factory.load_examples(config_of(data)).form


def test_a_run_learns_and_tells_bounds_of_all_modalities(finished):
    folder, _ = finished
    test = json.loads((folder / "summary.json").read_text())["test"]
    assert test["elbo"] == pytest.approx(-(test["rate"] + test["distortion"]))
    assert test["distortion"] == pytest.approx(test["distortion_image"] + test["distortion_label"])
    known = test["log_likelihood"]
    assert set(known) == {"joint", "image", "label"}
    given_label = test["conditional_log_likelihood"]["image"]
    assert given_label == pytest.approx(known["joint"] - known["label"])
    assert known["joint"] > test["elbo"] - 0.5
    assert (folder / "plots" / "training_curves.png").exists()
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    valid = [r["elbo"] for r in records if r["split"] == "valid"]
    assert valid[-1] > valid[0]
    assert {"kl_to_image", "kl_to_label", "distortion_image"} <= set(records[0])


def test_a_run_that_was_stopped_goes_on_bit_for_bit(data, finished, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        short_runs.stops_after(patch, 1)
        with pytest.raises(Interrupted):
            train.train(config_of(data), tmp_path / "stopped")
    assert short_runs.trained(config_of(data), tmp_path / "stopped", form_of(data)) == finished[1]


def test_the_finished_run_is_loaded_and_a_modality_makes_the_other(finished):
    model = vae_jax.load(finished[0])
    made = model.generate({"label": np.array([0, 3, 1])}, jax.random.key(0))
    assert made["image"].shape == (3, 8, 8, 1)
    assert made["label"].shape == (3,)
    assert model.sample(jax.random.key(1), 2)["image"].shape == (2, 8, 8, 1)
    with pytest.raises(UserError, match=r"holds a run of model='multimodal'"):
        trained_models.load_images(finished[0])


def test_forms_are_kept_beside_a_checkpoint():
    dataset = MultimodalDataset(draw_examples(tuple(FORMS), 50), None, None, Vocabulary(("a", "b")))
    forms = forms_of(dataset)
    assert from_metadata(json.loads(json.dumps(to_metadata(forms)))) == forms
    assert from_metadata(json.loads(json.dumps(to_metadata((8, 8, 1))))) == (8, 8, 1)
    assert forms["text"].words == ("a", "b")
    assert forms["label"].shape == (3,)


def test_a_class_that_training_does_not_show_is_refused(data):
    config = config_of(data)
    splits = factory.load_examples(config)
    labels = splits.train.modalities["label"].copy()
    forms = {**splits.form, "label": splits.form["label"]._replace(shape=(2,))}
    with pytest.raises(UserError, match=r"is none of the 2 classes of data.train_split"):
        refuse_other_form(forms, splits.test, "data.test_split")
    assert labels.max() == 3
    # The label to blame is the one that is wrong, not the largest.
    spoiled = splits.test.modalities["label"].copy()
    spoiled[5] = -1
    test = splits.test._replace(modalities={**splits.test.modalities, "label": spoiled})
    with pytest.raises(UserError, match=r"data.test_split: label -1 is none of the 4 classes"):
        refuse_other_form(splits.form, test, "data.test_split")


@pytest.mark.parametrize("wrong", [-1, 1_000_000])
def test_labels_that_number_no_classes_are_refused(wrong):
    examples = draw_examples(("image", "label"), 20)
    examples["label"][3] = wrong
    with pytest.raises(UserError, match=f"hold the label {wrong}; number classes from 0 to at"):
        forms_of(MultimodalDataset(examples))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data.modalities": ()}, r"data.modalities=\(\) must name at least two"),
        ({"data.modalities": ("image",)}, "data.modalities=.* must name at least two"),
        ({"data.modalities": ("image", "sound")}, "data.modalities=.*'sound' is not known"),
        (
            {"data.modalities": ("image", "label", "text")},
            "model.joint_posterior='joint' has an encoder of two modalities",
        ),
        (
            {"objective.modality_weights": (1.0, 2.0, 3.0)},
            r"objective.modality_weights=\(1.0, 2.0, 3.0\) must have a number for each of the 2",
        ),
        (
            {"objective.modality_weights": (0.0, 0.0)},
            r"objective.modality_weights=\(0.0, 0.0\) must not all be 0",
        ),
        (
            {"data.modality_shares": (1.0,)},
            r"data.modality_shares=\(1.0,\) must have a number for each of the 2",
        ),
        (
            {"data.modality_shares": (0.0, 0.0)},
            r"data.modality_shares=\(0.0, 0.0\) must be a tuple of numbers above 0",
        ),
        (
            {"data.modality_shares": (1.0, 0.1)},
            r"data.modality_shares=\(1.0, 0.1\) leaves examples without a modality, and",
        ),
        ({"objective.num_subsets": 1}, "objective.num_subsets is not a setting of objective="),
        (
            {
                "model.joint_posterior": "product",
                "objective": {"name": "mvae", "num_subsets": 1},
            },
            "objective.num_subsets=1 draws subsets of at least two modalities",
        ),
        (
            {"model.joint_posterior": "mixture"},
            "objective='jmvae' is defined for model.joint_posterior='joint', not 'mixture'",
        ),
        (
            {"objective": "mopoe"},
            "objective='mopoe' is defined for model.joint_posterior='mixture_of_products', not "
            "'joint'",
        ),
        ({"objective": "tc"}, "objective='tc' is defined for models of images alone, and model="),
        ({"objective": "iwae"}, "objective='iwae' is defined for models of images alone"),
        ({"objective.word_dropout": 0.3}, "objective.word_dropout=0.3 needs the modality 'text'"),
        ({"data.captions": "own"}, "data.captions='own' needs the modality 'text'"),
        ({"data.unknown_words": "replace"}, "data.unknown_words='replace' needs the modality"),
        ({"data.binarization": "static"}, "data.binarization.name='static' must be one of"),
        ({"data.mode": "stream"}, "data.mode.name='stream' must be one of auto, memory"),
        ({"model.posterior": "iaf"}, "model.posterior is not a setting of model='multimodal'"),
        ({"corruption": "masking"}, "corruption is not a setting"),
        ({"tensorboard.images_every_epochs": 5}, "tensorboard is not a setting"),
        ({"evaluation.disentanglement": True}, "evaluation.disentanglement is not a setting"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes, told):
    def resolved():
        base = factory.with_values(multimodal_label.get_config(), {"objective": {"name": "jmvae"}})
        return factory.resolve(factory.with_values(base, changes))

    with pytest.raises(UserError, match=f"^{told}") as error:
        resolved()
    assert "\n" not in str(error.value)


def test_a_model_of_images_has_no_modalities():
    config = vanilla.get_config()
    config.data.modalities = ("image", "label")
    with pytest.raises(UserError, match=r"data.modalities is not a setting"):
        factory.resolve(config)


@pytest.mark.parametrize("config", [multimodal, multimodal_label, multimodal_renderings])
def test_every_kind_of_posterior_goes_with_the_configs(config):
    values = config.get_config()
    for kind, objective in KINDS.items():
        if kind == "joint" and len(values.data.modalities) != 2:
            continue
        changes = {"model.joint_posterior": kind, "objective": objective["name"]}
        experiment = factory.resolve(factory.with_values(values, changes))
        assert type(experiment.objective).joint_posterior == experiment.model.joint_posterior
