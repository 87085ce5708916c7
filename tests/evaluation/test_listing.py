import json

import pytest
import small_joint_runs
import small_runs

from vae_jax import workdir
from vae_jax.errors import UserError
from vae_jax.evaluation import listing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that has begun, one that has finished, a damaged one and a sweep of two members."""
    folder = tmp_path_factory.mktemp("runs")
    model = small_runs.make_model((4, 3, 1))
    for name in ("begun", "deep/finished", "damaged", "sweep/members/0000", "sweep/members/0001"):
        small_runs.save(folder / name, model)
    record = {"step": 7, "epoch": 3, "split": "train", "loss": 1.0}
    (folder / "begun" / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    for name in ("deep/finished", "sweep/members/0001"):
        test = {"elbo": -3.25, "rate": None}
        workdir.write_summary(folder / name, {**small_joint_runs.ENDED, "test": test})
    (folder / "damaged" / "config.json").write_text("{")
    workdir.write_json(folder / "sweep" / "sweep.json", {})
    return folder


def test_each_run_has_a_line_with_its_status_and_its_metrics(folder):
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in listing.table(folder).splitlines()[2:]
    ]
    by_name = {name: cells for name, *cells in lines}
    assert list(by_name) == ["begun", "damaged", "deep/finished", "sweep"]
    epochs = small_runs.make_model((4, 3, 1)).config.epochs
    assert by_name["begun"][:4] == ["vae", "elbo", "mnist", f"epoch 3 of {epochs}"]
    assert by_name["deep/finished"][3:] == ["finished", "-3.25", "", "", ""]
    assert "config.json" in by_name["damaged"][3]
    assert by_name["sweep"][3] == "sweep, 1 of 2 members finished"


def test_a_single_run_is_listed_by_its_own_name(folder):
    assert "| finished | vae |" in listing.table(folder / "deep" / "finished")


@pytest.mark.parametrize(("name", "message"), [("nowhere", "is no folder"), ("", "has no run")])
def test_a_folder_without_runs_is_refused(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        listing.table(tmp_path / name)
