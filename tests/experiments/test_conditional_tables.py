"""Tables of which some columns are conditions: trained, drawn, scored, filled, swept, refused."""

import csv
import re

import jax
import numpy as np
import pytest
import small_tables
from absl.testing import flagsaver
from small_tables import read, run_command, write_customers

import vae_jax
from experiments import condition_text, detect, draw, impute, sample
from vae_jax import config as factory
from vae_jax.errors import UserError
from vae_jax.sweeps import run as sweeps
from vae_jax.sweeps import space

pytestmark = pytest.mark.usefixtures("parsed_flags")

SEEN = ("age", "plan")


def config_of(path, **changes):
    given = {"model.condition": {"name": "columns", "columns": SEEN}}
    return small_tables.config_of(path, **{**given, "optimizer.learning_rate": 1e-2, **changes})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_customers(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def trained(table):
    return vae_jax.train(config_of(table), table.parent / "run")


@pytest.fixture
def run(trained, table, monkeypatch, unrendered):
    """Run a command on the trained run; return the rows that it writes, as dicts."""
    monkeypatch.chdir(table.parent)
    return run_command


def test_the_summary_is_of_the_other_columns(trained):
    test, model = trained.test, trained.model
    assert np.isfinite([test["elbo"], test["iwae_bound"], test["reconstruction_error"]]).all()
    assert test["aggregate_kl"] is None
    losses = [r["loss"] for r in trained.records if r["split"] == "train"]
    assert losses[-1] < losses[0]
    assert [model.columns.columns[i].column.name for i in model.given_columns] == ["age", "plan"]
    assert model.num_values == 10
    errors = model.squared_errors(model.load_test().images, model.load_test().images)
    assert np.isnan(errors[:, :, list(model.given_columns)]).all()


def test_a_run_goes_on_and_its_model_travels(trained, table, tmp_path):
    again = vae_jax.train(config_of(table), trained.folder)
    assert again.test == trained.test
    (tmp_path / "model.safetensors").write_bytes(trained.model.to_bytes())
    other = vae_jax.load(tmp_path / "model.safetensors")
    key = jax.random.key(0)
    drawn = [m.draw_rows(key, 3, {"age": 40, "plan": "plus"}) for m in (other, trained.model)]
    np.testing.assert_array_equal(*drawn)


def test_a_model_takes_cells_by_column_and_rows(trained):
    model, key = trained.model, jax.random.key(0)
    rows = model.sample(key, 20, {"age": 40, "plan": "basic"})
    assert rows.shape == (20, 1, 12, 1)
    assert (rows[:, 0, 0] == 40).all()
    several = model.draw_rows(key, 3, {"age": [20, 40, 60], "plan": "premium"})
    np.testing.assert_array_equal(several[:, 0, 0, 0], [20, 40, 60])
    assert np.isfinite(several).all()
    test = model.load_test().images
    given = model.sample(key, 5, test[:1])
    np.testing.assert_array_equal(given[:, 0, [0, 11]], np.repeat(test[:1, 0, [0, 11]], 5, 0))
    # Rows are their own conditions.
    assert np.isfinite(model.elbo(test, key)).all()
    np.testing.assert_array_equal(model.encode(test), model.encode(test, test))
    assert (model.encode(test) != model.encode(test, {"age": 90, "plan": "plus"})).any()
    for condition, message in (
        (None, "condition is missing: .* a value, or one per row, of each of age, plan"),
        (3, "condition=3 is no row; give a value, or one per row, of each of age, plan"),
        ("plus", "condition='plus' is no row"),
        ({"age": 40}, "condition lacks 'plan'"),
        (test[:3], "condition has 3 rows for 20"),
    ):
        with pytest.raises(UserError, match=message):
            model.sample(key, 20, condition)


def test_synthetic_rows_have_the_values_that_are_given(run, trained, table):
    rows = run(sample, "given.csv", num_images=15, condition="age:40, plan:plus")
    assert len(rows) == 15
    assert {(row["age"], row["plan"]) for row in rows} == {("40", "plus")}
    assert all(row["income"] for row in rows)
    assert table.with_name("given.png").is_file()
    unseen = run(sample, "given.csv", num_images=15, condition="age:,plan:plus")
    assert {row["age"] for row in unseen} == {""}
    of_row = condition_text.read(trained.model, "0", 3, "prior")
    test = trained.model.load_test().images
    np.testing.assert_array_equal(of_row[:, 0, [0, 11]], np.repeat(test[:1, 0, [0, 11]], 3, 0))


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (None, "condition is missing"),
        ("age:40", "condition lacks 'plan'; give all of age, plan"),
        ("age:40,plan:gold", "'plan' holds 'gold' in row 1, which is none of basic, plus, premium"),
        ("age:old,plan:plus", "'age' holds 'old' in row 1, where values of kind"),
        ("age:40,plam:plus", "'plam' is none of the columns that are seen; did you mean plan"),
        ("age:40,plan:plus,visits:2", "'visits' is none of the columns that are seen"),
        ("age:40,age:41,plan:plus", "a value for each of age, plan, such as age:VALUE"),
        ("forty", "--condition='forty' must be the number of a test row, or a value for each of"),
        ("-1", "--condition=-1 must be a test row, from 0 to 29"),
        ("30", "--condition=30 must be a test row, from 0 to 29"),
    ],
)
def test_wrong_conditions_of_a_command_are_refused(condition, message, run):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run(sample, "given.csv", condition=condition)
    assert "\n" not in str(error.value)


def test_rows_are_scored_by_their_other_columns(run, trained, table):
    rows = run(detect, "scores.csv", input=str(table))
    assert len(rows) == 300
    assert all(np.isfinite(float(row["score"])) for row in rows)
    with pytest.raises(UserError, match="without a condition"):
        run(detect, "scores.csv", input=str(table), score="likelihood_regret")


def test_empty_cells_are_filled_but_those_of_conditions(run, table, capsys):
    rows, known = run(impute, "filled.csv", input=str(table), num_samples=20), read(table)
    for row, before in zip(rows, known, strict=True):
        for name, cell in before.items():
            assert bool(row[name]) == (bool(cell) or name not in SEEN)
    cells = read(table.with_name("filled_cells.csv"))
    assert not {cell["column"] for cell in cells} & set(SEEN)
    left = sum(not row[name] for row in known for name in SEEN)
    assert f"{left} empty cells of conditions stay empty" in capsys.readouterr().out
    lines = table.read_text().splitlines()
    (table.parent / "only.csv").write_text(f"{lines[0]}\n,1.5,1,1,1,1,1,1,yes,1,south,plus\n")
    with pytest.raises(UserError, match="no empty cell to fill but in age, plan, which are cond"):
        run(impute, "filled.csv", input="only.csv", num_samples=20)


@pytest.mark.plots
def test_the_columns_of_test_rows_are_drawn_beside_those_given_their_conditions(run, tmp_path):
    with flagsaver.flagsaver(workdir="run", output=str(tmp_path / "plots")):
        draw.main()
    assert (tmp_path / "plots" / "columns.png").is_file()


def test_a_sweep_on_a_table_is_one_program(table, tmp_path):
    rates = {"optimizer.learning_rate": (1e-3, 1e-2)}
    grid = space.grid(rates, objective="elbo")
    sweeps.run_sweep(config_of(table, epochs=1), grid, tmp_path / "sweep")
    members = sorted((tmp_path / "sweep" / "members").iterdir())
    assert len(members) == 2
    best = vae_jax.load(tmp_path / "sweep", member=1)
    assert best.sample(jax.random.key(0), 2, {"age": 40, "plan": "plus"}).shape == (2, 1, 12, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ()}, "model.condition.columns=() names no column"),
        ({"columns": ("agee",)}, "model.condition.columns=('agee',): the table has no column"),
    ],
)
def test_columns_that_cannot_be_conditions_are_refused(changes, message, table):
    config = config_of(table, **{"model.condition": {"name": "columns", **changes}})
    with pytest.raises(UserError, match=re.escape(message)) as error:
        factory.open_examples(factory.resolve(config))
    assert "\n" not in str(error.value)


def test_all_columns_and_the_label_are_no_conditions(table):
    names = tuple(read(table)[0])
    whole = [row for row in read(table) if row["spent"]]
    path = table.with_name("whole.csv")
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(whole)
    of_label = {"data.name": str(path), "model.condition.columns": ("spent",)}
    for changes, message in (
        ({"model.condition.columns": names}, "leaves no column of the table to model"),
        ({"data.columns": {"spent": "label"}, **of_label}, "'spent' is the label of the table, wh"),
    ):
        with pytest.raises(UserError, match=message):
            factory.open_examples(factory.resolve(config_of(table, **changes)))


def test_columns_are_no_condition_of_images(table):
    config = config_of(table, **{"model.likelihood": "bernoulli"})
    with pytest.raises(UserError, match="is one of the rows of a table, and"):
        factory.resolve(config)
    with pytest.raises(UserError, match="must be a tuple of different names"):
        factory.resolve(config_of(table, **{"model.condition.columns": ("age", "age")}))
    with pytest.raises(UserError, match=r"model\.condition='label' is a condition of images"):
        factory.resolve(config_of(table, **{"model.condition": "label"}))
