"""Counts proportional to the library size of a cell: trained, filled, scored, drawn."""

import numpy as np
import pytest
from small_tables import config_of, read, run_command, write_single_cells

import vae_jax
from experiments import detect, impute, sample
from vae_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("parsed_flags")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.csv"
    write_single_cells(path)
    changes = {
        "data.columns": {"library": "exposure", "gene_a": "count", "gene_c": "count"},
        "model.likelihood.count": "zero_inflated_negative_binomial",
    }
    return vae_jax.train(config_of(path, **changes), path.parent / "run")


@pytest.fixture
def run(trained, monkeypatch):
    """Run a command on the trained run; return the rows that it writes, as dicts."""
    monkeypatch.chdir(trained.folder.parent)
    return run_command


def test_an_empty_exposure_stays_empty_and_is_warned_of(run, trained, caplog):
    folder = trained.folder.parent
    header, *lines = (folder / "cells.csv").read_text().splitlines()
    holes = ";1;;3;True\n8000,50;;9;3;False\n2e2;;9;3;True\n"
    (folder / "holes.csv").write_text(f"{header}\n{lines[0]}\n{holes}")
    rows = run(impute, "filled.csv", ";", input="holes.csv", num_samples=20)
    assert "holes.csv: 1 rows have no exposure 'library', first row 2; their counts" in caplog.text
    assert [row["library"] for row in rows[1:]] == ["", "8000,50", "2e2"]
    assert [row["treated"] for row in rows[1:]] == ["True", "False", "True"]
    assert all(row[f"gene_{gene}"] for row in rows for gene in "abc")
    # The counts of a large cell are more than those of a small one.
    assert int(rows[2]["gene_a"]) > int(rows[3]["gene_a"])
    listed = read(folder / "filled_cells.csv", ";")
    assert [(cell["row"], cell["column"]) for cell in listed] == [
        ("3", "gene_a"),
        ("4", "gene_a"),
        ("2", "gene_b"),
    ]
    caplog.clear()
    assert len(run(detect, "scores.csv", input="holes.csv")) == 4
    assert "1 rows have no exposure 'library'" in caplog.text
    (folder / "holes.csv").write_text(f"{header}\n;1;2;3;True\n")
    with pytest.raises(UserError, match="no empty cell to fill but in library, which are expos"):
        run(impute, "filled.csv", input="holes.csv")


def test_synthetic_cells_have_library_sizes_like_those_of_the_training_rows(run, trained):
    rows = run(sample, "synthetic.csv", ";", num_images=300)
    assert list(rows[0]) == ["library", "gene_a", "gene_b", "gene_c", "treated"]
    assert {row["treated"] for row in rows} == {"True", "False"}
    sizes = np.array([float(row["library"].replace(",", ".")) for row in rows])
    known = trained.model.load_splits().train.images[:, 0, 0, 0]
    assert np.log(sizes).mean() == pytest.approx(np.log(known).mean(), abs=0.15)
    assert np.log(sizes).std() == pytest.approx(np.log(known).std(), abs=0.15)
    counts = np.array([float(row["gene_b"]) for row in rows])
    large = sizes > np.median(sizes)
    assert counts[large].mean() > 1.5 * counts[~large].mean()
