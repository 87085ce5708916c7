"""From a table to a model, and to a filled table, scores and synthetic rows, by the commands."""

import functools
import json
import shutil

import jax
import numpy as np
import pandas
import pytest
from small_tables import config_of, read, run_command, write_customers

import vae_jax
from examples import customers
from experiments import detect, impute, sample
from vae_jax import config as factory
from vae_jax.applications.anomaly import SCORES, Scorer
from vae_jax.applications.generation import samplers
from vae_jax.applications.imputation import filled_cells, kept_draws
from vae_jax.errors import UserError
from vae_jax.evaluation import synthetic_rows

pytestmark = pytest.mark.usefixtures("parsed_flags")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_customers(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def trained(table):
    return vae_jax.train(config_of(table), table.parent / "run")


@pytest.fixture
def run(trained, table, monkeypatch):
    """Run a command on the trained run; return the rows that it writes, as dicts."""
    monkeypatch.chdir(table.parent)
    return run_command


def test_a_run_is_measured_and_learns(trained):
    assert trained.test["nats_of"] == "log density"
    losses = [r["loss"] for r in trained.records if "loss" in r]
    assert losses[-1] < losses[0]
    assert 0 < trained.test["reconstruction_error"] < 2
    assert trained.model.columns.columns[0].column.name == "age"


def test_a_run_goes_on_and_travels_with_its_statistics(trained, table, tmp_path):
    again = vae_jax.train(config_of(table), trained.folder)
    assert again.test == trained.test
    (tmp_path / "model.safetensors").write_bytes(trained.model.to_bytes())
    other = vae_jax.load(tmp_path / "model.safetensors")
    rows = trained.model.load_test().images
    np.testing.assert_array_equal(other.latents(rows), trained.model.latents(rows))
    assert other.columns == trained.model.columns


def test_a_table_with_other_rows_is_refused_when_a_run_goes_on(trained, table, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "run")
    customers.write(tmp_path / "customers.csv", num=300, seed=1)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["data"]["name"] = str(tmp_path / "customers.csv")
    with pytest.raises(UserError, match=r"of another experiment|other columns|data\.name"):
        vae_jax.train(config, tmp_path / "run")


def assert_like(rows, known):
    """Assert that rows have the columns of known ones, and values that these can have."""
    assert list(rows[0]) == list(known[0])
    for name in ("member", "region", "plan", "newsletter"):
        assert {row[name] for row in rows} <= {row[name] for row in known}
    assert all(float(row["spent"]) > 0 and row["visits"].isdigit() for row in rows)
    assert all(np.isfinite(float(row["balance"])) for row in rows)


def test_synthetic_rows_are_like_those_of_the_file(run, table):
    rows = run(sample, "synthetic.csv", num_images=40)
    assert len(rows) == 40
    assert_like(rows, read(table))
    assert table.with_name("synthetic.png").is_file()
    with pytest.raises(UserError, match=r"must end in \.csv or \.parquet"):
        run(sample, "synthetic.npy")


def test_rows_are_decoded_from_the_draws_of_a_fitted_sampler(run, table, monkeypatch):
    # Two steps of a fit: tests/applications proves what more of them and other samplers lead to.
    monkeypatch.setattr(samplers, "build", functools.partial(samplers.build, flow_steps=2))
    monkeypatch.setattr(synthetic_rows.drawing, "draw_columns", lambda path, *_: [path])
    rows = run(sample, "flow.csv", num_images=20, sampler="flow")
    assert len(rows) == 20
    assert_like(rows, read(table))
    assert len({row["income"] for row in rows}) > 15


def test_every_row_gets_a_score(run, table):
    rows = run(detect, "scores.csv", input=str(table))
    # Rows are counted as in the list of filled cells.
    assert [row["row"] for row in rows] == [str(number) for number in range(1, 301)]
    assert all(np.isfinite(float(row["score"])) for row in rows)
    with pytest.raises(UserError, match="compares pixels, and this run is on a table"):
        run(detect, "scores.csv", input=str(table), score="pca")


def test_rows_have_all_scores_but_those_of_pixels(trained):
    model = trained.model
    rows = model.load_test().images.copy()
    # A height of a kilometre.
    rows[25, 0, 1] = 1e5
    names = [name for name in SCORES if name not in ("pca", "isolation_forest")]
    scorer = Scorer(model, rows[:20], jax.random.key(0), num_samples=2)
    scores = scorer(names, rows[20:], jax.random.key(1))
    assert list(scores) == names
    for name in ("elbo", "iwae_bound", "distortion", "reconstruction_error", "typicality"):
        assert scores[name].argmax() == 5


def test_empty_cells_are_filled_and_others_stay(run, table):
    rows, known = run(impute, "filled.csv", input=str(table), num_samples=20), read(table)
    assert [list(row) for row in rows] == [list(row) for row in known]
    for row, before in zip(rows, known, strict=True):
        for name, cell in before.items():
            assert row[name]
            if cell:
                assert row[name] == cell
    cells = read(table.with_name("filled_cells.csv"))
    assert len(cells) == sum(not cell for row in known for cell in row.values())
    numbers = [cell for cell in cells if cell["low"]]
    assert all(float(cell["low"]) <= float(cell["high"]) for cell in numbers)
    others = [cell for cell in cells if not cell["low"]]
    assert {cell["column"] for cell in others} == {"member", "newsletter", "region", "plan"}
    assert all(0 <= float(cell["probability"]) <= 1 for cell in others)


def test_multiple_imputations_are_different_draws(run, table, caplog):
    lines = table.read_text().splitlines()[:4]
    (table.parent / "few.csv").write_text("\n".join([*lines, "," * 11]) + "\n")
    run(impute, "few_filled.csv", input="few.csv", num_samples=20, multiple=2)
    first, second = (read(table.parent / f"few_filled_{i}.csv") for i in (1, 2))
    assert first != second
    assert all(first[3].values())
    assert "1 rows have nothing but empty cells, first row 4" in caplog.text


@pytest.mark.parametrize(("name", "multiple"), [("t_cells.csv", 0), ("t_2.csv", 2)])
def test_no_file_beside_the_output_overwrites_the_input(run, table, tmp_path, name, multiple):
    source = tmp_path / name
    source.write_bytes(table.read_bytes())
    with pytest.raises(UserError, match=f"would overwrite --input={source}, since {source} is"):
        run(impute, str(tmp_path / "t.csv"), input=str(source), multiple=multiple)
    assert source.read_bytes() == table.read_bytes()
    assert list(tmp_path.iterdir()) == [source]


def test_wrong_inputs_are_refused_in_a_line(run, table, tmp_path):
    lines = table.read_text().splitlines()
    wrong = {
        "torn.csv": ([*lines[:3], lines[3][:20]], "is no whole table"),
        "whole.csv": ([lines[0], "57,1.5,1,1,1,1,1,1,yes,1,south,plus"], "no empty cell to fill"),
        "unknown.csv": ([lines[0], "57,,1,1,1,1,1,1,yes,1,moon,plus"], "'region' holds 'moon' in"),
        "negative.csv": ([lines[0], "57,,1,1,1,1,-1,1,yes,1,south,plus"], "'visits': -1, where"),
        "tiny.csv": ([lines[0], "57,,1,1,1e-50,1,1,1,yes,1,south,plus"], "'spent': 1e-50, where"),
        "huge.csv": ([lines[0], "57,1e39,,1,1,1,1,1,yes,1,south,plus"], r"'height': 1e\+39, where"),
        "merged.csv": (
            [lines[0], *(f"57,{1.7e9 + i},,1,1,1,1,1,yes,1,south,plus" for i in range(9))],
            "'height': 9 different values .* are only 1 in float32; subtract an offset",
        ),
        "other.csv": (["age,weight", "57,"], "lacks height, income, .* and has weight"),
        "none.csv": (lines[:1], "has no rows"),
    }
    for name, (content, message) in wrong.items():
        (tmp_path / name).write_text("\n".join(content) + "\n")
        with pytest.raises(UserError, match=message) as error:
            run(impute, "out.csv", input=str(tmp_path / name))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.columns.agee": "real"}, "has no column 'agee'; did you mean age"),
        ({"data.columns.age": "reel"}, r"data.columns.age='reel' must be one of binary"),
        ({"data.columns.income": "count"}, "'income'.*where values of kind count are whole"),
        ({"model.condition": "label"}, "model.condition='label' is a condition of images"),
        ({"model.likelihood": "bernoulli"}, r"is a table; use model.likelihood='columns'"),
        ({"model.likelihood": {"name": "columns"}, "data.name": "mnist"}, "is no table, which"),
        ({"corruption": "gaussian"}, "corruption='gaussian' is one of images"),
        ({"model.encoder": "conv"}, "too small for model.encoder='conv'"),
        (
            {"model": {"name": "top_down", "likelihood": {"name": "columns"}}},
            "model='top_down' is a model of images, and model.likelihood='columns' is for rows",
        ),
        ({"model.prior": "vamp"}, "learns images in the unit interval.*is a table"),
        ({"batch_size": 9999}, "is larger than the 240"),
        ({"data.test_split": "train"}, "shares 240 examples"),
    ],
)
def test_wrong_configs_are_refused_in_a_line(table, tmp_path, changes, message):
    config = {k: v for k, v in changes.items() if k != "model.likelihood"}
    if "data.name" in config:
        config = {"data": {"name": config["data.name"]}}
    content = config_of(table)
    if "model.likelihood" in changes and "data.name" not in changes:
        # Of images: it has no settings of a table.
        content["model"]["likelihood"] = changes["model.likelihood"]
    with pytest.raises(UserError, match=message) as error:
        vae_jax.train(factory.with_values(content, config), tmp_path / "run")
    assert "\n" not in str(error.value)


def test_the_images_of_a_model_of_rows_are_checked_by_column(trained):
    rows = trained.model.load_test().images.copy()
    rows[0, 0, 6, 0] = -2
    with pytest.raises(UserError, match="images column 'visits': -2"):
        trained.model.elbo(rows, jax.random.key(0))
    rows[0, 0, 1, 0] = np.inf
    with pytest.raises(UserError, match="column 'height' holds a number that is infinite"):
        trained.model.latents(rows)


def cells_of(table):
    """Return the rows of the table as an array of numbers, texts and None."""
    texts = [[cell or None for cell in row.values()] for row in read(table)]
    cells = np.array(texts, object)
    for index in [*range(8), 9]:
        cells[:, index] = [None if cell is None else float(cell) for cell in cells[:, index]]
    return cells


def test_cells_of_a_program_are_encoded_and_filled(trained, table, caplog):
    model, key, cells = trained.model, jax.random.key(0), cells_of(table)[:20]
    rows = model.encode_cells(cells)
    assert rows.shape == (20, 1, 12, 1)
    assert np.isfinite(model.elbo(rows, key)).all()
    filled = model.fill(cells, key, num_samples=20)
    missing = cells == None  # noqa: E711
    assert missing.any()
    np.testing.assert_array_equal(filled[~missing], cells[~missing])
    assert None not in filled
    assert set(filled[:, 8]) <= {"yes", "no"}
    expected = model.impute(rows, key, num_samples=20).point[:, 0, 1, 0]
    found = filled[:, 1].astype(float)
    # Rows without holes take no part in the draws.
    np.testing.assert_allclose(found[~missing[:, 1]], expected[~missing[:, 1]], rtol=1e-6)
    for wrong, message in (
        (
            cells[:, :5],
            r"cells have shape \(20, 5\); this run takes \[num, 12\], the columns age",
        ),
        (np.where(cells == "plus", "gold", cells), "cells: column 'plan' holds 'gold' in row"),
        (np.where(cells == "yes", 3.5, cells), "cells: column 'member' holds values of several ty"),
    ):
        with pytest.raises(UserError, match=message):
            model.encode_cells(wrong)


def test_a_frame_is_filled(trained, table):
    frame = pandas.read_csv(table)[:20].astype({"plan": "category"})
    frame.index = range(100, 120)
    filled = trained.model.fill(frame[frame.columns[::-1]], jax.random.key(0), num_samples=20)
    assert list(filled.columns) == list(frame.columns[::-1])
    assert list(filled.index) == list(frame.index)
    assert not filled.isna().to_numpy().any()
    seen = ~frame["plan"].isna()
    assert list(filled["plan"][seen]) == list(frame["plan"][seen])
    assert (filled["age"] == frame["age"])[~frame["age"].isna()].all()


def test_draws_that_do_not_fit_into_memory_are_refused(run, table, monkeypatch):
    monkeypatch.setattr(kept_draws, "_MOST", 1e-6)
    with pytest.raises(UserError, match=r"--multiple=9 draws of \d+ empty cells take 0 GiB; draw"):
        run(impute, "filled.csv", input=str(table), num_samples=20, multiple=9)


def test_draws_of_a_block_are_let_go_before_the_next(run, table, monkeypatch):
    alive = []

    def collect(columns, missing, found, *others):
        kept = collected(columns, missing, found, *others)
        alive.append((found.draws.shape, kept.draws))
        return kept

    collected = filled_cells.collect
    monkeypatch.setattr(filled_cells, "collect", collect)
    run(impute, "filled.csv", input=str(table), num_samples=20)
    assert len(alive) > 2
    assert all(shape[0] == 200 and shape[1] <= 64 for shape, _ in alive)
    assert all(kept.base is None and len(kept) == 0 for _, kept in alive)


def test_commands_that_need_images_refuse_a_run_on_a_table(trained):
    with pytest.raises(UserError, match="holds a run on a table, and this is for images"):
        vae_jax.trained.load_images(trained.folder)
