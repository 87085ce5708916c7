import pytest
from small_codes import coded_config
from small_configs import small_config
from small_data import write_bars

from vae_jax.config import programs
from vae_jax.sweeps import checks, chunks, fields, space
from vae_jax.sweeps.plan import Resources, deal
from vae_jax.training.interruption import Interruption

RESOURCES = Resources(memory_limit=10**9, num_devices=1, side_by_side=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    data = write_bars(tmp_path_factory.mktemp("data") / "bars.npz")
    changes = {
        "epochs": 1,
        "batch_size": 32,
        "data.name": str(data),
        "data.train_split": "train[:64]",
        "data.validation_split": "train[192:]",
    }
    return fields.resolved(small_config(changes))


@pytest.fixture(autouse=True)
def no_program_yet():
    """Forget the programs of other tests, since these count how often there is a new one."""
    chunks._group.cache_clear()


def num_traces(base, sweep, folder, monkeypatch, field="objective.beta"):
    """The number of traces of the step while a sweep is trained, and the members' values."""
    traced, trained = [], []
    step = programs.train_step

    def counted(*args, **kwargs):
        traced.append(True)
        return step(*args, **kwargs)

    def ended(folder, entry, config, group, state, progress):
        hparams = state.train.hparams
        assert progress.status == "finished"
        trained.append((entry["trial"], float(hparams[field])))

    with monkeypatch.context() as patch:
        patch.setattr(programs, "train_step", counted)
        patch.setattr(chunks, "_write_member", ended)
        trials = list(enumerate(space.settings(sweep)))
        dealt, _ = deal(sweep, base, trials, batch=0, rivals={}, resources=RESOURCES)
        for chunk in dealt:
            chunks.train_chunk(folder, chunk, Interruption())
    return len(traced), [value for _, value in sorted(trained)]


BETAS = [1.0, 2.0, 4.0]


def test_a_sweep_over_a_traced_setting_compiles_once(base, tmp_path, monkeypatch):
    one = space.grid({"objective.beta": BETAS[:1]})
    once, first = num_traces(base, one, tmp_path / "one", monkeypatch)
    assert (once > 0, first) == (True, BETAS[:1])
    # Nine members do not fit into one chunk, and share the program all the same.
    whole = space.grid({"objective.beta": BETAS}, seeds=(0, 1, 2))
    number, betas = num_traces(base, whole, tmp_path / "whole", monkeypatch)
    assert betas == [beta for beta in BETAS for _ in range(3)]
    assert number == 0
    # In sections with the choice and without it.
    for index, choice in enumerate(({"name": "elbo"}, {})):
        sections = space.grid({"objective": [{**choice, "beta": beta} for beta in BETAS]})
        folder = tmp_path / str(index)
        assert num_traces(base, sections, folder, monkeypatch) == (0, BETAS)


def test_another_choice_and_a_static_setting_of_it_are_programs_of_their_own(
    base, tmp_path, monkeypatch
):
    def traces(name, *sections):
        sweep = space.grid({"objective": [{"name": "tc", **section} for section in sections]})
        return num_traces(base, sweep, tmp_path / name, monkeypatch)

    once, first = traces("one", {"beta": 2.0})
    assert (once > 0, first) == (True, [2.0])
    assert traces("whole", *({"beta": beta} for beta in BETAS)) == (0, BETAS)
    estimators = ({"beta": 2.0, "estimator": name} for name in ("weighted", "stratified"))
    assert traces("static", *estimators) == (once, [2.0, 2.0])


def outside(base):
    objective = {"name": "own_parts:Loss", "weight": 2.0}
    return fields.with_values(base, {"model": "autoencoder", "objective": objective})


def coded(base):
    config = coded_config(model_changes={"codes": (4, 4)})
    return fields.with_values(base, {"model": config["model"], "objective": "quantized"})


@pytest.mark.parametrize(
    ("of", "field"),
    [(outside, "objective.weight"), (coded, "objective.commitment_weight")],
    ids=["a part from outside", "a model with state that no gradient moves"],
)
def test_a_sweep_over_a_traced_setting_of_a_model_without_density_compiles_once(
    base, of, field, tmp_path, monkeypatch
):
    base, weights, trained = of(base), [1.0, 2.0, 4.0], []
    for values in (weights[:1], weights):
        sweep = space.grid({field: values}, objective="distortion")
        checks.check(sweep, base)
        folder = tmp_path / str(len(values))
        trained.append(num_traces(base, sweep, folder, monkeypatch, field))
    (once, first), (number, found) = trained
    assert once > 0
    assert (number, first, found) == (0, weights[:1], weights)
